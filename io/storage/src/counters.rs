//! What the commit thread counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::durations::Durations;

/// What the commit thread counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) committed_bytes: AtomicU64,
    pub(crate) syncs: Durations,
}

impl Counters {
    /// Counts a commit.
    pub(crate) fn commit(&self, bytes: usize, sync: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.committed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.syncs.record(sync);
    }
}
