//! The words every consumer machine shares: partitions, offsets, epochs and request numbers.

use std::sync::Arc;
use std::time::Duration;

use kohort_protocol::ErrorCode;
pub use kohort_protocol::TopicPartition;

use crate::backoff::{Backoff, Jitter};

/// A moment in Unix milliseconds, as the shell read it once for the event at hand.
pub type Timestamp = i64;

/// A topic's name, shared instead of copied.
pub type TopicName = Arc<str>;

/// One uninterrupted ownership of a partition: a new one starts whenever a partition is assigned.
///
/// Whatever is handed out about a partition (data, commits, lookups) carries the epoch it belongs
/// to, so what arrives after the partition was lost and won again is recognised and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AssignmentEpoch(pub u64);

/// One uninterrupted reading sequence within an ownership: a seek or a reset starts a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PositionEpoch(pub u64);

/// The number of one outstanding request; a reply with another number is late and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequestId(pub u64);

/// Hands out the numbers above, never the same one twice.
#[derive(Debug, Clone, Default)]
pub struct Counter(u64);

impl Counter {
    /// Returns the next number, starting at 1.
    pub fn advance(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// What a consumer commits for a partition: the next offset to read, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OffsetAndMetadata {
    /// The next offset to read, one past the last processed record.
    pub offset: i64,
    /// The leader epoch of the last processed record, when known.
    pub leader_epoch: Option<i32>,
    /// Free text the application keeps with the offset.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// Commits `offset` without leader epoch or metadata.
    pub fn new(offset: i64) -> Self {
        Self { offset, leader_epoch: None, metadata: String::new() }
    }
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> Self {
        Self::new(offset)
    }
}

/// A place in a partition: the next offset to read and the epoch of the record before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last batch read, when known.
    pub leader_epoch: Option<i32>,
}

impl Position {
    /// A place known by its offset alone.
    pub fn at(offset: i64) -> Self {
        Self { offset, leader_epoch: None }
    }
}

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    /// Every record up to the high watermark.
    #[default]
    ReadUncommitted,
    /// Only records of committed transactions, up to the last stable offset.
    ReadCommitted,
}

impl IsolationLevel {
    /// Returns the value the wire uses.
    pub fn wire(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// Where reading starts when the group has no committed offset, or it is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the log's start.
    Earliest,
    /// At the log's end: only what is produced from now on.
    #[default]
    Latest,
    /// Nowhere: polling reports the partition instead.
    None,
    /// At the first record not older than this many milliseconds (KIP-1106).
    ByDuration(i64),
}

/// The waits between attempts at one thing: each failure makes the next one longer.
#[derive(Debug, Clone)]
pub struct Retry {
    backoff: Backoff,
    jitter: Jitter,
    failures: u32,
}

impl Retry {
    /// Waits from `first_ms` to `max_ms`; `seed` decides the jitter.
    pub fn new(first_ms: i64, max_ms: i64, seed: u64) -> Self {
        let duration = |ms: i64| Duration::from_millis(ms.max(0) as u64);
        Self {
            backoff: Backoff::new(duration(first_ms), duration(max_ms)),
            jitter: Jitter::seeded(seed),
            failures: 0,
        }
    }

    /// Counts a failure and returns how many milliseconds to wait.
    pub fn next_ms(&mut self) -> i64 {
        self.failures = self.failures.saturating_add(1);
        self.backoff.delay(self.failures, &mut self.jitter).as_millis() as i64
    }

    /// Forgets the failures so far.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Whether an error says that the coordinator and the member differ about the membership. It says
/// nothing about offsets: the question is asked again under the epoch that comes next.
pub fn is_about_membership(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::REBALANCE_IN_PROGRESS
    )
}
