//! What a member of the demo tells its parent: one JSON object a line on the member's stdout.
//!
//! Times are Unix microseconds; parent and members share one machine and so one clock.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Something a member did, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberEvent {
    /// Unix microseconds at which it happened.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// The things a member does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum What {
    /// These partitions were added to what the member owns.
    Assigned { partitions: Vec<i32> },
    /// The member has stopped working on these partitions, and says so before it acknowledges.
    Revoked { partitions: Vec<i32> },
    /// The group took these partitions away without asking.
    Lost { partitions: Vec<i32> },
    /// Records were worked on; `records` are their offset, key and measured value.
    Processed { partition: i32, records: Vec<Worked> },
    /// The member's offsets are committed up to here.
    Committed { partition: i32, offset: i64 },
    /// The member cannot go on.
    Failed { why: String },
}

/// One processed record: offset, key, and the value of the measured field where it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worked(pub(crate) i64, pub(crate) String, pub(crate) Option<f64>);

impl MemberEvent {
    /// An event that happens now.
    pub(crate) fn now(what: What) -> Self {
        Self { at: unix_micros(), what }
    }
}

/// The time of day in Unix microseconds.
pub(crate) fn unix_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
