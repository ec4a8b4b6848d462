//! Why a record was not written.

use std::sync::Arc;
use std::time::Duration;

use kohort_protocol::ErrorCode;
use thiserror::Error;

use crate::cluster::ClusterError;

/// Why a record was not written. Records of one batch share it, so it is cheap to clone.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The producer is closed, or was before the record was delivered.
    #[error("the producer is closed")]
    Closed,
    /// The record is larger than what this producer may send or hold.
    #[error(
        "a record of {bytes} bytes for `{topic}-{partition}` is larger than {limit} ({})",
        "the smaller of `max.request.size` and `buffer.memory`"
    )]
    RecordTooLarge {
        /// Its topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// Its size with the batch around it.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The record, in a batch of its own, is larger than what the topic takes.
    #[error("a record of {bytes} bytes is larger than `{topic}-{partition}` takes{}", limit.map(|limit| format!(": {limit} (`max.message.bytes`)")).unwrap_or_default())]
    RefusedTooLarge {
        /// Its topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// Its size with the batch around it, as it was sent.
        bytes: usize,
        /// The topic's limit, where the broker lets us know.
        limit: Option<usize>,
    },
    /// The timestamp is none. Leave it out to have the present.
    #[error(
        "{timestamp} is no timestamp of a record for `{topic}`: it is milliseconds since 1970, not negative"
    )]
    InvalidTimestamp {
        /// The record's topic.
        topic: Arc<str>,
        /// What it was given.
        timestamp: i64,
    },
    /// `buffer.memory` stayed used up for `max.block.ms`.
    #[error("no room within {waited:?}: {limit} bytes (`buffer.memory`) wait to be delivered")]
    NoMemory {
        /// The limit.
        limit: usize,
        /// How long the call waited.
        waited: Duration,
    },
    /// The topic's partitions could not be learned.
    #[error("`{topic}` cannot be described: {reason}")]
    UnknownTopic {
        /// The topic.
        topic: Arc<str>,
        /// What the cluster says.
        reason: ClusterError,
    },
    /// The topic has no such partition.
    #[error("`{topic}` has no partition {partition}: it has {partitions}")]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition asked for.
        partition: i32,
        /// How many there are.
        partitions: usize,
    },
    /// `delivery.timeout.ms` passed. The record may have been written or not.
    #[error(
        "`{topic}-{partition}` was not written within {waited:?} (`delivery.timeout.ms`){}",
        because(cause.as_deref())
    )]
    Timeout {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The time it had.
        waited: Duration,
        /// Why no server can be reached, if none can; else what the last attempt for its partition met in
        /// the time it had: [`ClusterError::Refused`] with the leader's code and words, if it answered.
        cause: Option<Arc<ClusterError>>,
    },
    /// The connection was lost and no retries were left. The record may have been written or not.
    #[error(
        "`{topic}-{partition}`: no answer from its leader, and no retries left{}",
        because(cause.as_deref())
    )]
    NoAnswer {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// What the last attempt met.
        cause: Option<Arc<ClusterError>>,
    },
    /// The broker refused the batch.
    #[error("`{topic}-{partition}`: {code}{}", message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// Kafka's error.
        code: ErrorCode,
        /// What the broker said beside it.
        message: Option<Arc<str>>,
    },
}

impl SendError {
    /// Returns whether sending the record again may help. After a timeout or a lost answer it may
    /// also write the record twice.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::NoMemory { .. } | Self::Timeout { .. } | Self::NoAnswer { .. } => true,
            Self::UnknownTopic { reason, .. } => reason.is_retriable(),
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Closed
            | Self::InvalidTimestamp { .. }
            | Self::RecordTooLarge { .. }
            | Self::RefusedTooLarge { .. }
            | Self::UnknownPartition { .. } => false,
        }
    }
}

/// Why a producer was not closed in good order. It is closed all the same.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The deadline passed first. The records that were left may have been written or not; each of their
    /// deliveries is [`SendError::Closed`].
    #[error("{records} records were not delivered within {waited:?} and were given up")]
    Timeout {
        /// The deadline.
        waited: Duration,
        /// How many records were given up.
        records: u64,
    },
    /// The task that sends records ended before its time, which it does only by a fault of ours; the log
    /// says more.
    #[error("the producer failed with {records} records undelivered")]
    Failed {
        /// How many records were given up.
        records: u64,
    },
}

fn because(cause: Option<&ClusterError>) -> String {
    cause.map(|cause| format!(": {cause}")).unwrap_or_default()
}
