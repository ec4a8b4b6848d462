//! Why an administrator's request failed.

use std::io;
use std::time::Duration;

use kohort_protocol::{ErrorCode, TopicPartition};
use thiserror::Error;

use crate::cluster::ClusterError;
use crate::config::ConfigError;
use crate::net::NetError;

/// Why an administrator's request failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client's own thread could not be started.
    #[error("the client's thread cannot be started")]
    Start(#[source] io::Error),
    /// The cluster could not be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The broker refused.
    #[error("{what}: {}", explain(*code, message.as_deref()))]
    Refused {
        /// What was asked for, with its name.
        what: String,
        /// Kafka's error.
        code: ErrorCode,
        /// What the broker said beside it.
        message: Option<String>,
    },
    /// The broker's answer lacks something it must have.
    #[error("{what}: the broker's answer does not mention it")]
    Unanswered {
        /// What was asked for, with its name.
        what: String,
    },
    /// There is no such broker.
    #[error("the cluster has no broker {broker}")]
    UnknownBroker {
        /// Its id as given.
        broker: i32,
    },
    /// A negative offset was to be committed; nothing was.
    #[error("{offset} is no offset to commit for partition {partition}")]
    NegativeOffset {
        /// The partition.
        partition: TopicPartition,
        /// The offset.
        offset: i64,
    },
    /// A reset starts from what is committed, and nothing is.
    #[error("group `{group}` has committed nothing for {partition}")]
    NothingCommitted {
        /// The group.
        group: String,
        /// The partition.
        partition: TopicPartition,
    },
    /// Every attempt failed until `default.api.timeout.ms` was over.
    #[error("gave up after {timeout:?}: {last}")]
    TimedOut {
        /// How long it was tried.
        timeout: Duration,
        /// Why the last attempt failed.
        last: Box<AdminError>,
    },
}

impl AdminError {
    /// Returns whether asking again may help.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_retriable(),
            Self::Refused { code, .. } => is_passing(*code),
            Self::TimedOut { .. } => true,
            Self::Config(_)
            | Self::Start(_)
            | Self::Unanswered { .. }
            | Self::UnknownBroker { .. }
            | Self::NegativeOffset { .. }
            | Self::NothingCommitted { .. } => false,
        }
    }

    /// Whether the broker says that it did nothing, and somebody will soon.
    pub(super) fn was_not_begun(&self) -> bool {
        let codes = [ErrorCode::NOT_CONTROLLER, ErrorCode::THROTTLING_QUOTA_EXCEEDED];
        matches!(self, Self::Refused { code, .. } if codes.contains(code))
    }

    /// Whether a broker may have done what it was asked, and its answer was lost.
    pub(super) fn lost_an_answer(&self) -> bool {
        let Self::Cluster(ClusterError::Net(error)) = self else { return false };
        matches!(
            error,
            NetError::ClosedByPeer { .. }
                | NetError::Broken { .. }
                | NetError::Closed { .. }
                | NetError::RequestTimeout { .. }
        )
    }

    /// Returns the same error for another object. What only a client's start can meet has no copy.
    pub(super) fn copied(&self) -> Option<Self> {
        Some(match self {
            Self::Cluster(error) => Self::Cluster(error.clone()),
            Self::Refused { what, code, message } => {
                Self::Refused { what: what.clone(), code: *code, message: message.clone() }
            }
            Self::TimedOut { timeout, last } => {
                Self::TimedOut { timeout: *timeout, last: Box::new(last.copied()?) }
            }
            _ => return None,
        })
    }

    /// Returns Kafka's error where the broker gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } | Self::Cluster(ClusterError::Refused { code, .. }) => {
                Some(*code)
            }
            Self::TimedOut { last, .. } => last.code(),
            _ => None,
        }
    }
}

impl From<NetError> for AdminError {
    fn from(error: NetError) -> Self {
        Self::Cluster(error.into())
    }
}

/// Turns a code that came with an answer into a result.
pub(super) fn check(
    code: ErrorCode,
    message: Option<String>,
    what: impl FnOnce() -> String,
) -> Result<(), AdminError> {
    if code.is_ok() {
        return Ok(());
    }
    let message = message.filter(|text| !text.is_empty());
    Err(AdminError::Refused { what: what(), code, message })
}

pub(super) fn unanswered(what: String) -> AdminError {
    AdminError::Unanswered { what }
}

/// Whether a broker that answers this will soon answer otherwise, without anybody's help. A topic
/// that is unknown may be created by somebody; waiting for that is the caller's decision.
fn is_passing(code: ErrorCode) -> bool {
    [
        ErrorCode::NOT_CONTROLLER,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::LEADER_NOT_AVAILABLE,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::THROTTLING_QUOTA_EXCEEDED,
    ]
    .contains(&code)
}

fn explain(code: ErrorCode, message: Option<&str>) -> String {
    match message {
        Some(text) => format!("{text} ({code})"),
        None => match words(code) {
            Some(text) => format!("{text} ({code})"),
            None => code.to_string(),
        },
    }
}

/// Says what a code means that brokers send without a word, where whoever asked can do something about it.
fn words(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "there is no such topic or partition",
        ErrorCode::GROUP_ID_NOT_FOUND => "there is no such group",
        ErrorCode::NON_EMPTY_GROUP => "the group has members, who must stop first",
        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => "members of the group subscribe to the topic",
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::GROUP_AUTHORIZATION_FAILED
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => "the user is not permitted to do this",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_refuses_without_a_word_is_told_in_words() {
        let told = |code, message: Option<&str>| {
            let refused = check(code, message.map(str::to_owned), || "group `g`".to_owned());
            refused.expect_err("it is an error's code").to_string()
        };
        let refused = told(ErrorCode::NON_EMPTY_GROUP, None);
        assert_eq!(
            refused,
            "group `g`: the group has members, who must stop first (NON_EMPTY_GROUP)"
        );
        let refused = told(ErrorCode::NON_EMPTY_GROUP, Some("Not empty."));
        assert_eq!(refused, "group `g`: Not empty. (NON_EMPTY_GROUP)", "its own words are better");
        assert_eq!(told(ErrorCode::INVALID_REQUEST, None), "group `g`: INVALID_REQUEST");
    }
}
