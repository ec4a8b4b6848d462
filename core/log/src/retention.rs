//! Which segments are old enough, or too many, to go.
//!
//! As Kafka's `UnifiedLog.deleteOldSegments`: whole segments go, the oldest first, and the log's start
//! moves to the first that stays. First those by which the log is larger than `retention.bytes`, as long
//! as what stays is no smaller than that; then those whose newest record is older than `retention.ms`.
//! A log whose `cleanup.policy` does not contain `delete` loses nothing this way.
//!
//! The active segment may go like any other: all that is written of it is expired then, and the next
//! record begins a new one.
//!
//! Age is told by the records' timestamps. A segment without any is as old as the last write to it.
//! One with a timestamp in the future stays until that time has passed.

use crate::{PartitionConfig, Timestamp};

/// What is known of a segment with records in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldSegment {
    /// The offset after its last record, where the next segment begins.
    pub end_offset: i64,
    /// Its size.
    pub bytes: u64,
    /// The greatest timestamp of its records, if any has one.
    pub max_timestamp: Option<Timestamp>,
    /// When it was last added to, by the broker's clock.
    pub written: Timestamp,
}

impl OldSegment {
    /// Returns the time its age is counted from.
    fn newest(&self) -> Timestamp {
        self.max_timestamp.unwrap_or(self.written)
    }
}

/// What is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// How many of the first segments go because the log is too large.
    pub by_size: usize,
    /// How many after those go because of their age.
    pub by_time: usize,
    /// Where the log begins then.
    pub log_start: i64,
}

/// Decides which of a log's segments go now. `segments` are in order of their offsets.
pub fn expired(
    config: &PartitionConfig,
    segments: &[OldSegment],
    now: Timestamp,
) -> Option<Expired> {
    if !config.deletes {
        return None;
    }
    let by_size = too_large(config.retention_bytes, segments);
    let by_time = match config.retention_ms {
        ..0 => 0,
        limit => {
            let old = |segment: &&OldSegment| now.saturating_sub(segment.newest()) > limit;
            segments[by_size..].iter().take_while(old).count()
        }
    };
    let last = (by_size + by_time).checked_sub(1)?;
    Some(Expired { by_size, by_time, log_start: segments[last].end_offset })
}

/// Returns how many of the first segments can go so that at least `limit` bytes stay.
fn too_large(limit: i64, segments: &[OldSegment]) -> usize {
    let Ok(limit) = u64::try_from(limit) else { return 0 };
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut excess = total.saturating_sub(limit);
    let goes = |segment: &&OldSegment| {
        let left = excess.checked_sub(segment.bytes);
        excess = left.unwrap_or(0);
        left.is_some()
    };
    segments.iter().take_while(goes).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three segments of 100 bytes whose newest records are of the times 1000, 2000 and 3000.
    fn segments() -> Vec<OldSegment> {
        (1..=3)
            .map(|number| OldSegment {
                end_offset: number * 10,
                bytes: 100,
                max_timestamp: Some(number * 1000),
                written: 9000,
            })
            .collect()
    }

    fn config(retention_ms: i64, retention_bytes: i64) -> PartitionConfig {
        PartitionConfig {
            deletes: true,
            retention_ms,
            retention_bytes,
            ..PartitionConfig::default()
        }
    }

    /// Returns how many segments go by size and by time.
    fn goes(config: &PartitionConfig, segments: &[OldSegment], now: Timestamp) -> (usize, usize) {
        match expired(config, segments, now) {
            None => (0, 0),
            Some(found) => {
                let count = found.by_size + found.by_time;
                assert_eq!(found.log_start, segments[count - 1].end_offset);
                (found.by_size, found.by_time)
            }
        }
    }

    #[test]
    fn segment_goes_when_its_newest_record_is_older_than_retention_ms() {
        let cases = [
            ("exactly as old stays", 500, 1500, (0, 0)),
            ("one more and it goes", 500, 1501, (0, 1)),
            ("two", 500, 2501, (0, 2)),
            ("the active one as well", 500, 9999, (0, 3)),
            ("-1 is for ever", -1, i64::MAX, (0, 0)),
            ("0 is all that is past", 0, 3001, (0, 3)),
        ];
        for (name, retention_ms, now, expected) in cases {
            assert_eq!(goes(&config(retention_ms, -1), &segments(), now), expected, "{name}");
        }
    }

    #[test]
    fn segments_go_while_what_stays_is_at_least_retention_bytes() {
        let cases = [
            ("all fit", 300, (0, 0)),
            ("one byte too many is not a segment", 299, (0, 0)),
            ("one segment too many", 200, (1, 0)),
            ("a part of the second", 150, (1, 0)),
            ("two", 100, (2, 0)),
            ("nothing is to stay", 0, (3, 0)),
            ("-1 is any size", -1, (0, 0)),
        ];
        for (name, retention_bytes, expected) in cases {
            assert_eq!(goes(&config(-1, retention_bytes), &segments(), 9999), expected, "{name}");
        }
        assert_eq!(goes(&config(500, 200), &segments(), 2501), (1, 1), "size first, then time");
    }

    #[test]
    fn segment_without_timestamps_is_as_old_as_the_last_write_to_it() {
        let mut segments = segments();
        segments[0].max_timestamp = None;
        assert_eq!(goes(&config(500, -1), &segments, 9500), (0, 0));
        assert_eq!(goes(&config(500, -1), &segments, 9501), (0, 3));
    }

    #[test]
    fn record_from_the_future_keeps_its_segment_and_those_behind_it() {
        let mut segments = segments();
        segments[1].max_timestamp = Some(50_000);
        assert_eq!(goes(&config(500, -1), &segments, 9999), (0, 1));
    }

    #[test]
    fn log_that_is_only_compacted_loses_nothing_by_age_or_size() {
        let config = PartitionConfig { deletes: false, ..config(0, 0) };
        assert_eq!(goes(&config, &segments(), i64::MAX), (0, 0));
        assert_eq!(goes(&PartitionConfig { deletes: true, ..config }, &[], i64::MAX), (0, 0));
    }
}
