//! What can be said of logs without reading them.

use crate::partition_log::PartitionLog;

/// A partition in numbers, all of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionStats {
    /// The first offset there is.
    pub log_start: i64,
    /// The offset after the last durable record.
    pub high_watermark: i64,
    /// The offset the next record gets.
    pub log_end: i64,
    /// Bytes in segments, and in memory on their way there.
    pub bytes: u64,
    /// Segments on disk, and the one that unflushed records will be the first of, if there is none.
    pub segments: usize,
}

impl PartitionLog {
    /// Returns the partition's numbers.
    pub fn stats(&self) -> PartitionStats {
        let state = self.state.lock();
        let flushed = state.flushed;
        let unflushed = state.tail.partition_point(|chunk| chunk.first_offset < flushed);
        let in_memory = state.tail.range(unflushed..).map(|chunk| chunk.bytes.len() as u64);
        let on_disk = state.segments.values().map(|segment| u64::from(segment.bytes));
        PartitionStats {
            log_start: self.log_start_offset(),
            high_watermark: self.high_watermark(),
            log_end: state.next_offset,
            bytes: on_disk.sum::<u64>() + in_memory.sum::<u64>(),
            segments: state.segments.len().max(1),
        }
    }
}
