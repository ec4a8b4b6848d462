//! When a segment is closed and the next one begun.

use crate::{PartitionConfig, Timestamp};

/// What is known of the segment being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveSegment {
    /// Its first offset.
    pub base_offset: i64,
    /// Its size so far.
    pub bytes: u32,
    /// The greatest timestamp of its first batch, or when it was created if that batch has none.
    pub first_timestamp: Timestamp,
}

/// A batch about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingBatch {
    /// The offset of its last record.
    pub last_offset: i64,
    /// Its size.
    pub bytes: usize,
    /// Its greatest timestamp, if it has one.
    pub max_timestamp: Option<Timestamp>,
}

/// Returns whether `batch` must begin a new segment.
///
/// As in Kafka, an empty segment takes any batch; time is told by the records, not by the clock, so
/// that a replay closes segments where the first run did; and an offset must fit the index, which
/// counts from the segment's first in 31 bits.
pub fn must_roll(config: &PartitionConfig, active: &ActiveSegment, batch: &IncomingBatch) -> bool {
    if active.bytes == 0 {
        return batch.last_offset - active.base_offset > i64::from(i32::MAX);
    }
    let too_large = u64::from(active.bytes) + batch.bytes as u64 > u64::from(config.segment_bytes);
    let too_old = batch
        .max_timestamp
        .is_some_and(|latest| latest.saturating_sub(active.first_timestamp) > config.segment_ms);
    let too_far = batch.last_offset - active.base_offset > i64::from(i32::MAX);
    too_large || too_old || too_far
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_rolls_by_size_time_and_offset_but_an_empty_one_takes_any_batch() {
        let config =
            PartitionConfig { segment_bytes: 100, segment_ms: 50, ..PartitionConfig::default() };
        let active = ActiveSegment { base_offset: 10, bytes: 60, first_timestamp: 1000 };
        let batch = IncomingBatch { last_offset: 20, bytes: 40, max_timestamp: Some(1050) };
        let cases = [
            ("fits exactly", active, batch, false),
            ("one byte too many", active, IncomingBatch { bytes: 41, ..batch }, true),
            ("too late", active, IncomingBatch { max_timestamp: Some(1051), ..batch }, true),
            ("no time", active, IncomingBatch { max_timestamp: None, ..batch }, false),
            ("too far", active, IncomingBatch { last_offset: 10 + (1 << 31), ..batch }, true),
            (
                "empty takes any size",
                ActiveSegment { bytes: 0, ..active },
                IncomingBatch { bytes: 1000, max_timestamp: Some(9999), ..batch },
                false,
            ),
        ];
        for (name, active, batch, expected) in cases {
            assert_eq!(must_roll(&config, &active, &batch), expected, "{name}");
        }
    }
}
