//! What can go wrong, by operation, with the facts and whether trying again may help.
//!
//! `is_retriable` means the same everywhere: the same call may succeed later without anybody changing
//! configuration, rights or code. A consumer goes on trying by itself in most cases, whatever it says: an ACL may
//! be granted. But a program that cannot go on without should end where it is `false`, and be heard of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::consumer::TopicPartition;
use kohort_client_core::consumer::committer::CommitFailure;
use kohort_client_core::consumer::membership::MembershipError;
use kohort_client_core::consumer::reader::CorruptBatch;
use kohort_protocol::ErrorCode;
use thiserror::Error;

use crate::cluster::ClusterError;

/// Why a poll gave no records, or [`Consumer::next_stream`](super::Consumer::next_stream) no stream.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum PollError {
    /// A partition has no committed offset, or one that is out of range, and `auto.offset.reset` is
    /// `none`: seek.
    #[error("`{partition}` has no valid offset{} and auto.offset.reset is none", show_offset(*.out_of_range))]
    NoOffset {
        /// The partition.
        partition: TopicPartition,
        /// The offset that is out of range, if there was one.
        out_of_range: Option<i64>,
    },
    /// A new leader's log lacks records that were read (an unclean election), and `auto.offset.reset` is
    /// `none`: seek.
    #[error("the log of `{partition}` was cut before offset {offset}{}, and auto.offset.reset is none", show_divergence(*.diverges_at))]
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// The next offset the application would have been given.
        offset: i64,
        /// The first offset known to differ.
        diverges_at: Option<i64>,
    },
    /// The cluster refuses to say anything about a topic that is subscribed to or assigned: this member
    /// may not read it, or no topic can have that name. Told once; the other topics go on.
    #[error("topic `{topic}` cannot be read: {code}")]
    Topic {
        /// The topic.
        topic: Arc<str>,
        /// What the broker says.
        code: ErrorCode,
    },
    /// A broker refuses a partition, or its topic does not have it (`UNKNOWN_TOPIC_OR_PARTITION`). Told again,
    /// with a pause, as long as it lasts.
    #[error("`{partition}` cannot be read: {code}")]
    Partition {
        /// The partition.
        partition: TopicPartition,
        /// What the broker says.
        code: ErrorCode,
    },
    /// Data is damaged. The position stays before it; seek past it to go on.
    #[error(transparent)]
    Corrupt(#[from] CorruptBatch),
    /// The cluster refuses this client: a wrong password, a certificate that is not trusted, a
    /// listener that speaks something else. The consumer goes on trying, with a back-off, and each refusal
    /// is told. So is each connection that a server closes at its beginning, from the third in a row on, if
    /// none ever answered: with TLS against a listener without, or the other way round, that is often all there is.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The group refuses this member. The consumer goes on trying, with a back-off, and each refusal is
    /// told: until an ACL is granted, say. What [ended](MembershipError::is_final) the membership is told
    /// again by each call that has waited its time, until something else is subscribed to or assigned.
    #[error(transparent)]
    Group(MembershipError),
    /// Nothing was subscribed to or assigned when the call was made, so nothing could come. Streams that
    /// are still there go on.
    #[error("this consumer has neither subscribed to topics nor been assigned partitions")]
    NotSubscribed,
    /// The consumer is closed.
    #[error("the consumer is closed")]
    Closed,
    /// The consumer's own task panicked, which is a mistake of this library's: build another consumer.
    #[error("the consumer failed and is closed")]
    Failed,
}

impl PollError {
    /// Returns whether polling again may succeed without anybody changing configuration, rights or code.
    /// Where it is `false`, the application has to do something (seek, subscribe) or somebody else has.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Topic { code, .. } | Self::Partition { code, .. } => code.is_retriable(),
            Self::Cluster(error) => error.is_retriable(),
            Self::Group(error) => error.is_retriable(),
            Self::NoOffset { .. }
            | Self::Truncated { .. }
            | Self::Corrupt(_)
            | Self::NotSubscribed
            | Self::Closed
            | Self::Failed => false,
        }
    }
}

/// Why a commit failed, in whole or in part.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Some partitions were not committed; the others were.
    #[error("{} of the offsets were not committed, first `{}`: {}", .failures.len(), first(.failures).0, first(.failures).1)]
    Partitions {
        /// Why, for each.
        failures: BTreeMap<TopicPartition, CommitRefusal>,
    },
    /// The consumer has no `group.id`.
    #[error("a consumer without group.id cannot commit")]
    NoGroup,
    /// An offset is negative; nothing was committed.
    #[error("{offset} is no offset to commit for `{partition}`")]
    NegativeOffset {
        /// The partition.
        partition: TopicPartition,
        /// The offset.
        offset: i64,
    },
    /// The consumer is closed.
    #[error("the consumer is closed")]
    Closed,
}

impl CommitError {
    /// Returns whether the same commit may succeed later without anybody changing configuration, rights or
    /// code: all of it, so not if one partition is somebody else's.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Partitions { failures } => failures.values().all(CommitRefusal::is_retriable),
            Self::NoGroup | Self::NegativeOffset { .. } | Self::Closed => false,
        }
    }
}

/// Why the offset of one partition was not committed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommitRefusal {
    /// The partition belongs to another member by now, or was never this consumer's.
    #[error("this consumer does not own it")]
    NotOwned,
    /// The coordinator refused it.
    #[error("{0}")]
    Refused(ErrorCode),
    /// It was not done in time.
    #[error("it was not done in time{}", .last.map(|code| format!(" ({code})")).unwrap_or_default())]
    TimedOut {
        /// What the last attempt met.
        last: Option<ErrorCode>,
    },
}

impl CommitRefusal {
    /// Returns whether the same offset may be committed later without anybody changing configuration, rights
    /// or code.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::NotOwned => false,
            Self::Refused(code) => code.is_retriable(),
            Self::TimedOut { last } => last.is_none_or(ErrorCode::is_retriable),
        }
    }
}

impl From<CommitFailure> for CommitRefusal {
    fn from(failure: CommitFailure) -> Self {
        match failure {
            CommitFailure::Refused(code) => Self::Refused(code),
            CommitFailure::TimedOut { last } => Self::TimedOut { last },
            _ => Self::NotOwned,
        }
    }
}

/// Why a consumer was not closed as it should be. It is closed all the same.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Something was not committed: the last records are read again.
    #[error("closed without its last commit: {0}")]
    Commit(CommitError),
    /// The time was over before the group had heard of it. Its partitions may wait for the session's end.
    #[error("not closed within {timeout:?}")]
    TimedOut {
        /// How long it was given.
        timeout: Duration,
    },
    /// The consumer's own task panicked; see [`PollError::Failed`].
    #[error("the consumer failed before it was closed")]
    Failed,
}

/// Why an operation on the consumer failed.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The partition is not assigned to this consumer.
    #[error("this consumer does not own `{partition}`")]
    NotAssigned {
        /// The partition.
        partition: TopicPartition,
    },
    /// There is no negative offset to read on at.
    #[error("{offset} is no offset of `{partition}`")]
    NegativeOffset {
        /// The partition.
        partition: TopicPartition,
        /// The offset.
        offset: i64,
    },
    /// The pattern is no regular expression.
    #[error("`{pattern}` is no pattern for topics: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// Subscribing and committing need a `group.id`.
    #[error("this needs a group.id")]
    NoGroup,
    /// A broker refuses a topic.
    #[error("topic `{topic}`: {code}")]
    Topic {
        /// The topic.
        topic: Arc<str>,
        /// What the broker says.
        code: ErrorCode,
    },
    /// A broker refuses a partition.
    #[error("`{partition}`: {code}")]
    Partition {
        /// The partition.
        partition: TopicPartition,
        /// What the broker says.
        code: ErrorCode,
    },
    /// It was not done in time; the last failure says why.
    #[error("it was not done within {timeout:?}: {last}")]
    TimedOut {
        /// How long it was given.
        timeout: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// The cluster could not be asked, and asking again does not help.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The consumer is closed.
    #[error("the consumer is closed")]
    Closed,
    /// The consumer's own task panicked, which is a mistake of this library's: build another consumer.
    #[error("the consumer failed and is closed")]
    Failed,
}

impl ConsumerError {
    /// Returns whether the same call may succeed later without anybody changing configuration, rights or code.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Topic { code, .. } | Self::Partition { code, .. } => code.is_retriable(),
            Self::Cluster(error) => error.is_retriable(),
            Self::NotAssigned { .. }
            | Self::NegativeOffset { .. }
            | Self::Pattern { .. }
            | Self::NoGroup
            | Self::Closed
            | Self::Failed => false,
        }
    }
}

fn show_divergence(offset: Option<i64>) -> String {
    offset.map(|offset| format!(" (at {offset})")).unwrap_or_default()
}

fn show_offset(offset: Option<i64>) -> String {
    offset.map(|offset| format!(" ({offset} is out of range)")).unwrap_or_default()
}

fn first(failures: &BTreeMap<TopicPartition, CommitRefusal>) -> (&TopicPartition, &CommitRefusal) {
    failures.iter().next().expect("an error names at least one partition")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::{StreamEnd, StreamError};

    fn refused(code: ErrorCode) -> PollError {
        PollError::Group(MembershipError::Refused { group_id: "g".to_owned(), code })
    }

    #[test]
    fn what_somebody_has_to_change_is_not_retriable_and_what_passes_by_itself_is() {
        let partition = TopicPartition::new("t", 0);
        let of_partition = |code| PollError::Partition { partition: partition.clone(), code };
        let retriable = [
            refused(ErrorCode::GROUP_MAX_SIZE_REACHED),
            refused(ErrorCode::UNRELEASED_INSTANCE_ID),
            of_partition(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            of_partition(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            PollError::Cluster(ClusterError::UnknownNode { node: 1 }),
        ];
        let lasting = [
            refused(ErrorCode::INVALID_SESSION_TIMEOUT),
            refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
            refused(ErrorCode::UNSUPPORTED_ASSIGNOR),
            refused(ErrorCode::GROUP_AUTHORIZATION_FAILED),
            refused(ErrorCode::INVALID_GROUP_ID),
            of_partition(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
            PollError::NoOffset { partition: partition.clone(), out_of_range: None },
            PollError::NotSubscribed,
            PollError::Closed,
        ];
        for error in retriable {
            assert!(error.is_retriable(), "{error}");
        }
        for error in lasting {
            assert!(!error.is_retriable(), "{error}");
        }
    }

    #[test]
    fn no_error_says_again_what_its_source_says() {
        let close = CloseError::Commit(CommitError::NoGroup);
        assert!(close.to_string().contains(&CommitError::NoGroup.to_string()));
        let ended = StreamError::from(StreamEnd::Lost);
        assert_eq!(ended.to_string(), StreamEnd::Lost.to_string());
        let chains: [&dyn std::error::Error; 2] = [&close, &ended];
        for error in chains {
            assert!(error.source().is_none(), "{error}");
        }
    }

    #[test]
    fn a_commit_may_be_tried_again_if_all_of_it_may() {
        let late = CommitRefusal::TimedOut { last: Some(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) };
        let error = |refusals: &[&CommitRefusal]| {
            let failures = refusals.iter().zip(0..);
            let failures = failures.map(|(why, at)| (TopicPartition::new("t", at), (*why).clone()));
            CommitError::Partitions { failures: failures.collect() }
        };
        assert!(error(&[&late, &late]).is_retriable());
        assert!(!error(&[&late, &CommitRefusal::NotOwned]).is_retriable());
        let denied = CommitRefusal::Refused(ErrorCode::GROUP_AUTHORIZATION_FAILED);
        assert!(!error(&[&denied]).is_retriable());
    }
}
