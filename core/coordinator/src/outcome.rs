//! What a shard decided: records to append, replies to send, effects to run.

use kohort_protocol::ErrorCode;

/// Names the request a reply belongs to.
///
/// It is a plain value chosen by whoever calls [`Shard::handle`](crate::Shard::handle), so that a request may be answered
/// from any later [`Outcome`]. Each value is answered exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// The result of one event.
///
/// The shell takes it in this order: append `records` as one batch, replay them, then, once they
/// are durable, send `replies` and run `effects`. The replies of outcomes leave in the order of the
/// outcomes, so nobody learns of a state that might still be lost.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an outcome holds replies that somebody waits for"]
pub struct Outcome<R, A, E> {
    /// The records to append, as one batch: all of them or none.
    pub records: Vec<R>,
    /// The answers that leave once the records are durable.
    pub replies: Vec<(ReplyTo, A)>,
    /// What the shell does besides, after the replies.
    pub effects: Vec<E>,
}

impl<R, A, E> Outcome<R, A, E> {
    /// Returns an outcome that asks for nothing.
    pub const fn new() -> Self {
        Self { records: Vec::new(), replies: Vec::new(), effects: Vec::new() }
    }

    /// Returns an outcome that is one reply.
    pub fn reply(to: ReplyTo, answer: A) -> Self {
        Self { records: Vec::new(), replies: vec![(to, answer)], effects: Vec::new() }
    }

    /// Tells whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.replies.is_empty() && self.effects.is_empty()
    }
}

impl<R, A, E> Default for Outcome<R, A, E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns what a client is told when appending its records failed with `error`.
///
/// Clients know how to go on from the two coordinator errors (look the coordinator up again and
/// retry), but not from the storage errors behind them. Kafka maps them the same way.
pub fn error_for_failed_append(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::REQUEST_TIMED_OUT => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => {
            ErrorCode::NOT_COORDINATOR
        }
        ErrorCode::MESSAGE_TOO_LARGE
        | ErrorCode::RECORD_LIST_TOO_LARGE
        | ErrorCode::INVALID_FETCH_SIZE => ErrorCode::UNKNOWN_SERVER_ERROR,
        other => other,
    }
}
