//! What can be said of logs without reading them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::durations::{DurationCounts, Durations};
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

/// What the commit thread counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    committed_bytes: AtomicU64,
    syncs: Durations,
}

impl Counters {
    /// Counts a commit.
    pub(crate) fn commit(&self, bytes: usize, sync: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.committed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.syncs.record(sync);
    }
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
