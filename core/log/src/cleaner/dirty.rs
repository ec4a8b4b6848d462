//! What of a log is dirty, what of that may be cleaned, and whether it is worth a round.
//!
//! The rules are those of Kafka's `LogCleanerManager` and `LogToClean`, segment by segment: nothing of
//! the active segment, nothing at or beyond the last stable offset, nothing from the first segment on
//! whose newest record is younger than `min.compaction.lag.ms`. A log is worth a round when the share
//! of cleanable bytes is above `min.cleanable.dirty.ratio`, or a dirty record has waited for longer than
//! `max.compaction.lag.ms`.

use crate::{PartitionConfig, Timestamp};

/// A segment, as far as the choice of what to clean needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its first offset.
    pub base_offset: i64,
    /// Its size.
    pub bytes: u64,
    /// Its greatest timestamp, -1 if there is none.
    pub max_timestamp: Timestamp,
    /// The greatest timestamp of its first batch, -1 if there is none.
    pub first_timestamp: Timestamp,
}

/// A log, as far as the choice of what to clean needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirtyLog<'a> {
    /// All segments in order; the last one is active.
    pub segments: &'a [SegmentSummary],
    /// The first offset there is.
    pub log_start: i64,
    /// The offset the next record gets.
    pub log_end: i64,
    /// The offset after the last record of a decided transaction.
    pub last_stable_offset: i64,
    /// Up to where earlier rounds came; 0 if there was none.
    pub cleaned_to: i64,
}

/// What a round could do to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanable {
    /// The first offset no round has read.
    pub first_dirty: i64,
    /// The first offset of the first segment that may not be cleaned.
    pub first_uncleanable: i64,
    /// Bytes of segments that were cleaned before.
    pub clean_bytes: u64,
    /// Bytes of segments that are dirty and may be cleaned.
    pub cleanable_bytes: u64,
    /// Whether a dirty record has waited for longer than `max.compaction.lag.ms`.
    pub overdue: bool,
    /// When time alone changes any of this: one of the two lags ends.
    pub look_again_at: Option<Timestamp>,
}

impl Cleanable {
    /// Looks at a log.
    pub fn of(log: &DirtyLog<'_>, config: &PartitionConfig, now: Timestamp) -> Cleanable {
        let first_dirty = log.first_dirty();
        let Some((active, sealed)) = log.segments.split_last() else {
            return Cleanable::nothing(first_dirty);
        };
        let dirty = if first_dirty < active.base_offset {
            &sealed[first_from(sealed, first_dirty)..]
        } else {
            &[]
        };
        let too_young = dirty.iter().find(|segment| {
            config.min_compaction_lag_ms > 0
                && segment.max_timestamp > now.saturating_sub(config.min_compaction_lag_ms)
        });
        let limit = too_young
            .map_or(active.base_offset, |segment| segment.base_offset)
            .min(log.last_stable_offset)
            .max(first_dirty);
        // A segment is cleaned as a whole or not at all.
        let first_uncleanable = if limit >= active.base_offset {
            active.base_offset
        } else {
            sealed[first_from(sealed, limit)].base_offset
        };
        let clean = log.segments.iter().take_while(|segment| segment.base_offset < first_dirty);
        let cleanable = dirty.iter().take_while(|segment| segment.base_offset < first_uncleanable);
        let waiting_since =
            dirty.iter().map(|segment| segment.first_timestamp).filter(|&at| at > 0).min();
        let overdue_at = waiting_since.map(|at| at.saturating_add(config.max_compaction_lag_ms));
        let overdue = overdue_at.is_some_and(|at| at < now);
        let old_enough_at =
            too_young.map(|s| s.max_timestamp.saturating_add(config.min_compaction_lag_ms));
        let next_overdue_at =
            overdue_at.filter(|&at| !overdue && at < Timestamp::MAX).map(|at| at + 1);
        Cleanable {
            first_dirty,
            first_uncleanable,
            clean_bytes: clean.map(|segment| segment.bytes).sum(),
            cleanable_bytes: cleanable.map(|segment| segment.bytes).sum(),
            overdue,
            look_again_at: old_enough_at.into_iter().chain(next_overdue_at).min(),
        }
    }

    fn nothing(first_dirty: i64) -> Cleanable {
        Cleanable {
            first_dirty,
            first_uncleanable: first_dirty,
            clean_bytes: 0,
            cleanable_bytes: 0,
            overdue: false,
            look_again_at: None,
        }
    }

    /// Returns the share of bytes a round would find dirty: `MaxDirtyPercent` is made of this.
    pub fn dirty_ratio(&self) -> f64 {
        let total = self.clean_bytes + self.cleanable_bytes;
        if total == 0 { 0.0 } else { self.cleanable_bytes as f64 / total as f64 }
    }

    /// Decides whether the log is worth a round.
    pub fn is_due(&self, config: &PartitionConfig) -> bool {
        self.cleanable_bytes > 0
            && (self.overdue || self.dirty_ratio() > config.min_cleanable_dirty_ratio)
    }
}

impl DirtyLog<'_> {
    /// Returns the first dirty offset. What was cleaned counts only while it lies inside the log: records
    /// below may have been deleted, and a log that was cut begins anew.
    fn first_dirty(&self) -> i64 {
        if (self.log_start..=self.log_end).contains(&self.cleaned_to) {
            self.cleaned_to
        } else {
            self.log_start
        }
    }
}

/// Returns the number of the segment that holds `offset`, or of the first one after it.
fn first_from(segments: &[SegmentSummary], offset: i64) -> usize {
    segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_000_000;

    /// Segments of 100 bytes with ten offsets each; segment `n` has timestamps `n * 1000` and on.
    fn segments(count: i64) -> Vec<SegmentSummary> {
        let segment = |n| SegmentSummary {
            base_offset: n * 10,
            bytes: 100,
            max_timestamp: n * 1000 + 999,
            first_timestamp: n * 1000 + 1,
        };
        (0..count).map(segment).collect()
    }

    /// Looks at segments no round has read, all of whose transactions are decided.
    fn of(segments: &[SegmentSummary], config: &PartitionConfig, log_end: i64) -> Cleanable {
        let (log_start, cleaned_to, last_stable_offset) = (0, 0, log_end);
        let log = DirtyLog { segments, log_start, log_end, last_stable_offset, cleaned_to };
        Cleanable::of(&log, config, NOW)
    }

    fn look(config: &PartitionConfig, cleaned_to: i64, last_stable_offset: i64) -> Cleanable {
        let log = DirtyLog {
            segments: &segments(5),
            log_start: 0,
            log_end: 50,
            last_stable_offset,
            cleaned_to,
        };
        Cleanable::of(&log, config, NOW)
    }

    fn summary(found: Cleanable) -> (i64, i64, u64, u64) {
        (found.first_dirty, found.first_uncleanable, found.clean_bytes, found.cleanable_bytes)
    }

    #[test]
    fn everything_sealed_and_stable_that_no_round_has_read_is_cleanable() {
        let config = PartitionConfig::default();
        let cases = [
            ("never cleaned", (0, 50), (0, 40, 0, 400)),
            ("half cleaned", (20, 50), (20, 40, 200, 200)),
            ("all sealed segments cleaned", (40, 50), (40, 40, 400, 0)),
            // The segment that is half clean counts on both sides, as in Kafka.
            ("cleaned into a segment", (25, 50), (25, 40, 300, 200)),
            ("open transaction in a segment", (0, 27), (0, 20, 0, 200)),
            ("open transaction below what is clean", (20, 15), (20, 20, 200, 0)),
            ("cleaned beyond the end: begins anew", (51, 50), (0, 40, 0, 400)),
        ];
        for (name, (cleaned_to, stable), expected) in cases {
            assert_eq!(summary(look(&config, cleaned_to, stable)), expected, "{name}");
        }
    }

    #[test]
    fn deleted_records_are_not_dirty() {
        let config = PartitionConfig::default();
        let log = DirtyLog {
            segments: &segments(5)[2..],
            log_start: 23,
            log_end: 50,
            last_stable_offset: 50,
            cleaned_to: 10,
        };
        assert_eq!(summary(Cleanable::of(&log, &config, NOW)), (23, 40, 100, 200));
        let empty = DirtyLog { segments: &[], ..log };
        assert_eq!(summary(Cleanable::of(&empty, &config, NOW)), (23, 23, 0, 0));
        assert!(Cleanable::of(&empty, &config, NOW).dirty_ratio().abs() < f64::EPSILON);
    }

    #[test]
    fn log_is_due_when_more_than_the_ratio_of_it_is_dirty() {
        let config = PartitionConfig::default();
        assert!(!look(&config, 20, 50).is_due(&config), "exactly half is not more than half");
        assert!(look(&config, 10, 50).is_due(&config));
        let always = PartitionConfig { min_cleanable_dirty_ratio: 0.0, ..config };
        assert!(look(&always, 30, 50).is_due(&always));
        assert!(!look(&always, 40, 50).is_due(&always), "there is nothing to clean");
    }

    #[test]
    fn young_segments_wait_for_the_least_lag() {
        let config =
            PartitionConfig { min_compaction_lag_ms: NOW - 2000, ..PartitionConfig::default() };
        let found = look(&config, 0, 50);
        assert_eq!(summary(found), (0, 20, 0, 200), "the third one is less than the lag ago");
        assert_eq!(found.look_again_at, Some(2999 + NOW - 2000));
        let exactly = PartitionConfig { min_compaction_lag_ms: NOW - 2999, ..config };
        assert_eq!(look(&exactly, 0, 50).first_uncleanable, 30, "the third one is as old as that");
    }

    #[test]
    fn without_a_least_lag_no_segment_is_too_young_whatever_its_records_say() {
        let mut segments = segments(2);
        segments[0].max_timestamp = NOW + 1;
        assert_eq!(of(&segments, &PartitionConfig::default(), 20).cleanable_bytes, 100);
    }

    #[test]
    fn dirty_record_waits_no_longer_than_the_greatest_lag() {
        let waits = |max_compaction_lag_ms| {
            let config = PartitionConfig {
                max_compaction_lag_ms,
                min_cleanable_dirty_ratio: 1.0,
                ..PartitionConfig::default()
            };
            let found = look(&config, 20, 50);
            (found.is_due(&config), found.look_again_at)
        };
        assert_eq!(waits(NOW - 2002), (true, None), "it waits for a millisecond too long");
        assert_eq!(waits(NOW - 2001), (false, Some(NOW + 1)));
        assert_eq!(waits(i64::MAX), (false, None));
    }

    #[test]
    fn records_without_a_time_wait_for_nothing() {
        let mut segments = segments(2);
        segments[0].first_timestamp = -1;
        let config = PartitionConfig { max_compaction_lag_ms: 1, ..PartitionConfig::default() };
        assert!(!of(&segments, &config, 20).overdue);
    }

    #[test]
    fn log_of_which_nothing_may_be_cleaned_is_not_due_however_long_it_waits() {
        let config = PartitionConfig { max_compaction_lag_ms: 1, ..PartitionConfig::default() };
        let found = look(&config, 0, 0);
        assert!(found.overdue && !found.is_due(&config));
    }
}
