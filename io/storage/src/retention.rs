//! Carries out what [`kohort_log::retention`] decides, partition by partition.
//!
//! Nothing is deleted but by moving the log's start, as DeleteRecords does: the segments below it leave
//! the list, and their files go after the next checkpoint.

use kohort_log::Timestamp;
use kohort_log::retention::{Expired, OldSegment, expired};

use crate::background::Background;
use crate::error::StorageError;
use crate::failure::FlushError;
use crate::partition_log::PartitionLog;

/// What looking for old segments came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Partitions whose log begins later now.
    pub partitions: usize,
    /// Segments that went because of their age.
    pub by_time: usize,
    /// Segments that went because their log is too large.
    pub by_size: usize,
}

impl Background {
    /// Moves the start of every log past the segments that are to go.
    pub(crate) fn enforce_retention(&self, now: Timestamp) -> Result<RetentionReport, FlushError> {
        // While this is held nobody adds to a segment, so the last one can be judged, too.
        let _writing = self.writing.lock();
        match self.flush_dirty() {
            // What is written already can go, which may be what makes room for the rest.
            Ok(()) | Err(FlushError::NoSpace(_)) => {}
            Err(failed) => return Err(failed),
        }
        let mut report = RetentionReport::default();
        for partition in self.partitions.all() {
            partition.tidy()?;
            let Some(expired) = partition.expired(now) else { continue };
            match partition.advance_log_start(expired.log_start, drop) {
                Ok(_) => {
                    report.partitions += 1;
                    report.by_time += expired.by_time;
                    report.by_size += expired.by_size;
                }
                // It is gone, or all is about to end.
                Err(StorageError::Deleted) => {}
                Err(_) => return Ok(report),
            }
            tracing::info!(
                partition = %partition.id(),
                by_time = expired.by_time,
                by_size = expired.by_size,
                log_start = expired.log_start,
                "old segments are deleted"
            );
        }
        Ok(report)
    }
}

impl PartitionLog {
    /// Decides which segments are to go. The caller holds the background's writing lock.
    fn expired(&self, now: Timestamp) -> Option<Expired> {
        let config = self.config();
        if !config.deletes {
            return None;
        }
        let segments: Vec<OldSegment> = {
            let state = self.state.lock();
            let log_start = self.log_start_offset();
            let segments = state.segments.iter().map(|(&base, meta)| OldSegment {
                end_offset: state.segment_end(base),
                bytes: u64::from(meta.bytes),
                max_timestamp: Some(meta.max_timestamp).filter(|&greatest| greatest >= 0),
                written: meta.written,
            });
            segments.filter(|segment| segment.end_offset > log_start).collect()
        };
        expired(&config, &segments, now)
    }
}
