//! When a segment is closed and the next one begun.

use crate::{PartitionConfig, Timestamp};

/// What is known of the segment being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveSegment {
    /// Its first offset.
    pub base_offset: i64,
    /// Its size so far.
    pub bytes: u32,
    /// The greatest timestamp of its first batch, if that has one.
    pub first_timestamp: Option<Timestamp>,
    /// When it was begun, by the broker's clock.
    pub created: Timestamp,
    /// A number that differs from segment to segment, to draw its jitter from.
    pub seed: u64,
}

/// A batch about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingBatch {
    /// The offset of its last record.
    pub last_offset: i64,
    /// Its size.
    pub bytes: usize,
    /// Its greatest timestamp, -1 if it has none.
    pub max_timestamp: Timestamp,
}

/// Returns whether `batch` must begin a new segment.
///
/// As in Kafka (`LogSegment.shouldRoll`), an empty segment takes any batch, and an offset must fit the
/// index, which counts from the segment's first in 31 bits. Time is told by the records: from the first
/// batch of the segment to the incoming one. Only if the first has no timestamp, it is the time by the
/// broker's clock since the segment was begun. A segment nobody adds to is not closed, however old it
/// is; it can be deleted as it is (see [`retention`](crate::retention)).
pub fn must_roll(
    config: &PartitionConfig,
    active: &ActiveSegment,
    batch: &IncomingBatch,
    now: Timestamp,
) -> bool {
    if active.bytes == 0 {
        return batch.last_offset - active.base_offset > i64::from(i32::MAX);
    }
    let too_large = u64::from(active.bytes) + batch.bytes as u64 > u64::from(config.segment_bytes);
    let age = match active.first_timestamp {
        Some(first) => batch.max_timestamp.saturating_sub(first),
        None => now.saturating_sub(active.created),
    };
    let too_old = age > config.segment_ms - jitter(config, active.seed);
    let too_far = batch.last_offset - active.base_offset > i64::from(i32::MAX);
    too_large || too_old || too_far
}

/// Returns how much earlier a segment is closed, so that not all partitions' are at once.
fn jitter(config: &PartitionConfig, seed: u64) -> i64 {
    let most = config.segment_jitter_ms.min(config.segment_ms);
    if most <= 0 {
        return 0;
    }
    // The middle of a product by a large odd number depends on all of the seed.
    let drawn = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) & 0x7fff_ffff;
    (drawn as i64) % most
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CREATED: Timestamp = 5_000;

    fn active() -> ActiveSegment {
        let (base_offset, bytes, first_timestamp) = (10, 60, Some(1000));
        ActiveSegment { base_offset, bytes, first_timestamp, created: CREATED, seed: 7 }
    }

    fn batch() -> IncomingBatch {
        IncomingBatch { last_offset: 20, bytes: 40, max_timestamp: 1050 }
    }

    fn config() -> PartitionConfig {
        PartitionConfig { segment_bytes: 100, segment_ms: 50, ..PartitionConfig::default() }
    }

    #[test]
    fn segment_rolls_by_size_time_and_offset_but_an_empty_one_takes_any_batch() {
        let (active, batch) = (active(), batch());
        let empty = ActiveSegment { bytes: 0, ..active };
        let reach = i64::from(i32::MAX);
        let as_far_as_possible = IncomingBatch { last_offset: 10 + reach, ..batch };
        let too_far = IncomingBatch { last_offset: 10 + reach + 1, ..batch };
        let cases = [
            ("fits exactly", active, batch, false),
            ("one byte too many", active, IncomingBatch { bytes: 41, ..batch }, true),
            ("too late", active, IncomingBatch { max_timestamp: 1051, ..batch }, true),
            ("no time", active, IncomingBatch { max_timestamp: -1, ..batch }, false),
            ("as far as an index reaches", active, as_far_as_possible, false),
            ("too far", active, too_far, true),
            (
                "empty takes any size",
                empty,
                IncomingBatch { bytes: 1000, max_timestamp: 9999, ..batch },
                false,
            ),
            ("empty, as far as possible", empty, as_far_as_possible, false),
            ("empty, too far", empty, too_far, true),
        ];
        for (name, active, batch, expected) in cases {
            let rolls = must_roll(&config(), &active, &batch, Timestamp::MAX);
            assert_eq!(rolls, expected, "{name}");
        }
    }

    #[test]
    fn segment_whose_first_batch_has_no_time_rolls_by_the_clock() {
        let timeless = ActiveSegment { first_timestamp: None, ..active() };
        assert!(!must_roll(&config(), &timeless, &batch(), CREATED + 50));
        assert!(must_roll(&config(), &timeless, &batch(), CREATED + 51));
    }

    #[test]
    fn jitter_closes_segments_earlier_each_at_a_time_of_its_own() {
        let rolls_at = |segment_jitter_ms: i64, seed: u64| {
            let config = PartitionConfig { segment_ms: 1000, segment_jitter_ms, ..config() };
            let active = ActiveSegment { seed, ..active() };
            let rolls = |age| {
                must_roll(
                    &config,
                    &active,
                    &IncomingBatch { max_timestamp: 1000 + age, ..batch() },
                    0,
                )
            };
            (0..=1001).find(|&age| rolls(age)).expect("later than segment.ms it rolls in any case")
        };
        for (jitter, least) in [(400, 602), (5000, 2)] {
            let ages: BTreeSet<i64> = (0..50).map(|seed| rolls_at(jitter, seed)).collect();
            let within = ages.iter().all(|age| (least..=1001).contains(age));
            assert!(ages.len() > 20 && within, "jitter {jitter}: {ages:?}");
        }
    }
}
