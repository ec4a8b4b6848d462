//! What can be said of logs without reading them.

use std::sync::atomic::Ordering;

use crate::durations::DurationCounts;
use crate::log_dir::LogDir;

/// A data folder in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirStats {
    /// Bytes of appends that wait to be committed.
    pub queued_bytes: usize,
    /// Committed bytes that are not in segments yet.
    pub unflushed_bytes: usize,
    /// Bytes of the write-ahead log's files in use.
    pub wal_bytes: u64,
    /// Segment and index files open.
    pub open_files: usize,
    /// Commits: one write and one sync each.
    pub commits: u64,
    /// Bytes of appends that were committed.
    pub committed_bytes: u64,
    /// How long the syncs of commits took.
    pub syncs: DurationCounts,
}

impl LogDir {
    /// Returns the folder's numbers.
    pub fn stats(&self) -> LogDirStats {
        let shared = self.shared();
        let mut syncs = DurationCounts::default();
        syncs.add(&shared.counters.syncs);
        LogDirStats {
            queued_bytes: shared.queue.bytes(),
            unflushed_bytes: shared.unflushed(),
            wal_bytes: shared.pool.live_bytes(),
            open_files: shared.files.open_files(),
            commits: shared.counters.commits.load(Ordering::Relaxed),
            committed_bytes: shared.counters.committed_bytes.load(Ordering::Relaxed),
            syncs,
        }
    }
}
