//! What the rest of a folder tells the cleaner and asks it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::config::CleanerConfig;

/// What the cleaner did since the folder was opened, and what it has before it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CleanerStats {
    /// Rounds that ended well.
    pub rounds: u64,
    /// Bytes of batches they read.
    pub bytes_read: u64,
    /// Bytes of batches they left.
    pub bytes_kept: u64,
    /// Records they read.
    pub records_read: u64,
    /// Records they left.
    pub records_kept: u64,
    /// The dirty share of the dirtiest log at the last look, from 0 to 1.
    pub max_dirty_ratio: f64,
    /// Partitions that are not cleaned until the next start, because a segment of theirs is damaged, or
    /// because cleaning them panicked.
    pub uncleanable_partitions: usize,
    /// Their bytes.
    pub uncleanable_bytes: u64,
    /// How long ago the cleaner last looked for work. Zero while there can be none for it.
    pub since_last_run: Duration,
}

/// What the rest of the folder tells the cleaner, and asks it.
#[derive(Debug)]
pub(crate) struct Cleaning<P> {
    pub(crate) state: Mutex<State<P>>,
    pub(crate) wake: Condvar,
}

#[derive(Debug)]
pub(crate) struct State<P> {
    pub(crate) config: CleanerConfig,
    pub(crate) stop: bool,
    /// Something may have become cleanable since the last look.
    pub(crate) wanted: bool,
    /// Whether the thread sleeps until something is wanted.
    pub(crate) waiting: bool,
    pub(crate) last_look: Option<Instant>,
    /// The folder of the partition that is being cleaned.
    pub(crate) busy: Option<PathBuf>,
    /// Partitions whose folders are to be removed when it is left.
    pub(crate) remove_after: Vec<Arc<P>>,
    pub(crate) totals: CleanerStats,
}

impl<P> Cleaning<P> {
    pub(crate) fn new(config: CleanerConfig) -> Self {
        let state = State {
            config,
            stop: false,
            wanted: false,
            waiting: false,
            last_look: None,
            busy: None,
            remove_after: Vec::new(),
            totals: CleanerStats::default(),
        };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Something may have become cleanable.
    pub(crate) fn want(&self) {
        let mut state = self.state.lock();
        state.wanted = true;
        if std::mem::take(&mut state.waiting) {
            self.wake.notify_all();
        }
    }

    pub(crate) fn set_config(&self, config: CleanerConfig) {
        let mut state = self.state.lock();
        state.config = config;
        state.wanted = true;
        self.wake.notify_all();
    }

    /// Has the cleaner stop, at the next few hundred kilobytes if it is at work.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_all();
    }

    /// Puts off the removal of a deleted partition's folder while the cleaner is at work in it.
    pub(crate) fn defer_removal(&self, partition: &Arc<P>, dir: &Path) -> bool {
        let mut state = self.state.lock();
        let busy = state.busy.as_deref() == Some(dir);
        if busy {
            state.remove_after.push(Arc::clone(partition));
        }
        busy
    }
}
