//! The work behind appends: writing segments, checkpoints, files for the log, and what is let go.
//!
//! One thread does it all, and sleeps without a timer while there is nothing to do; only what takes
//! long, the syncs of a checkpoint and removing the folders of deleted partitions, has a thread of its own
//! while it lasts, so that segments are written on. In a simulation the test calls the same functions itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::failure::FlushError;
use crate::flush::flush_partition;
use crate::partition_log::Shared;
use crate::partitions::Partitions;
use crate::threads::spawn;

/// Committed records wait this long for more before they are written to segments.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// After this long without one, a checkpoint is taken if anything changed: it bounds what a restart
/// reads of a log that grows slowly.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(60);
/// After this long without appends the records kept in memory for readers are let go.
const FORGET_AFTER: Duration = Duration::from_secs(10);
/// Files of retired segments wait this long for a checkpoint, which may come for another reason.
const REMOVE_AFTER: Duration = Duration::from_secs(5);
/// How often is tried again what failed for want of space.
const SPACE_POLL: Duration = Duration::from_millis(500);

/// The background thread's part of a folder.
#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partitions: Arc<Partitions>,
    /// Only one at a time writes segments.
    pub(crate) writing: Mutex<()>,
    /// Only one at a time takes a checkpoint.
    pub(crate) checkpointing: Mutex<()>,
    pub(crate) checkpoint_thread: Helper,
    pub(crate) removal: Helper,
}

/// A thread that lives while there is some work of one kind.
#[derive(Debug, Default)]
pub(crate) struct Helper {
    thread: Mutex<Option<JoinHandle<()>>>,
    runs: AtomicBool,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Stop,
    Prepare,
    Flush,
    Checkpoint,
    RemoveDirs,
    Trim,
    Forget,
}

impl Background {
    pub(crate) fn new(shared: Arc<Shared>, partitions: Arc<Partitions>) -> Background {
        Background {
            shared,
            partitions,
            writing: Mutex::new(()),
            checkpointing: Mutex::new(()),
            checkpoint_thread: Helper::default(),
            removal: Helper::default(),
        }
    }

    /// Works until told to stop: the body of the background thread.
    pub(crate) fn run(self: &Arc<Self>) {
        loop {
            let due = self.wait_for_work();
            let result = match due {
                Due::Stop => break,
                Due::Prepare => self.prepare(),
                Due::Flush => self.flush(),
                Due::Checkpoint => self.start_checkpoint(),
                Due::RemoveDirs => self.start_removal(),
                Due::Trim => {
                    self.trim();
                    Ok(())
                }
                Due::Forget => {
                    self.evict_to(0);
                    self.shared.buffers.let_go_if_unused_for(FORGET_AFTER / 2);
                    Ok(())
                }
            };
            if self.settle(result).is_err() {
                return;
            }
        }
        self.checkpoint_thread.join();
        self.removal.join();
    }

    /// Waits if there is no space; ends the folder if the disk failed.
    pub(crate) fn settle(&self, result: Result<(), FlushError>) -> Result<(), ()> {
        match result {
            Ok(()) => Ok(()),
            Err(FlushError::NoSpace(error)) => {
                self.out_of_space(&error);
                Ok(())
            }
            Err(FlushError::Failed(error)) => {
                self.shared.fail("writing behind the log", error);
                self.shared.close_queue();
                Err(())
            }
        }
    }

    fn wait_for_work(&self) -> Due {
        let shared = &self.shared;
        let mut work = shared.work.lock();
        loop {
            if work.stop {
                return Due::Stop;
            }
            // First what makes room.
            if !work.remove_dirs.is_empty() && !self.removal.runs() {
                return Due::RemoveDirs;
            }
            if !work.trim.is_empty() {
                return Due::Trim;
            }
            let may_start = !self.checkpoint_thread.runs();
            let full = shared.shortage().is_some();
            if full && may_start && work.retired_since.is_some() {
                return Due::Checkpoint;
            }
            if !full && shared.pool.wants_spare() {
                return Due::Prepare;
            }
            let unflushed = shared.unflushed();
            let now = Instant::now();
            let flush_at = work.dirty_since.map(|since| since + FLUSH_AFTER);
            if flush_at.is_some_and(|at| at <= now)
                || (unflushed >= shared.config.flush_bytes && !work.dirty.is_empty())
            {
                return Due::Flush;
            }
            let unsynced_since = work.unsynced_since.filter(|_| may_start);
            let retired_since = work.retired_since.filter(|_| may_start);
            let checkpoint_at = [
                unsynced_since.map(|since| since + CHECKPOINT_AFTER),
                retired_since.map(|since| since + REMOVE_AFTER),
            ];
            let checkpoint_at = checkpoint_at.into_iter().flatten().min();
            let many = || shared.pool.live_bytes() > shared.config.wal_file_bytes * 3 / 2;
            if checkpoint_at.is_some_and(|at| at <= now)
                || (unsynced_since.is_some() && (full || many()))
            {
                return Due::Checkpoint;
            }
            if full && shared.pool.wants_spare() {
                return Due::Prepare;
            }
            let mut wake_at = [flush_at, checkpoint_at].into_iter().flatten().min();
            let idle = work.dirty_since.is_none() && !work.hot.is_empty();
            work.waiting = true;
            if idle {
                let forget_at = now + FORGET_AFTER;
                let until = wake_at.map_or(forget_at, |at| at.min(forget_at));
                let timed_out = shared.work_ready.wait_until(&mut work, until).timed_out();
                if timed_out && until == forget_at && work.dirty_since.is_none() {
                    return Due::Forget;
                }
            } else if let Some(at) = wake_at.take() {
                shared.work_ready.wait_until(&mut work, at);
            } else {
                shared.work_ready.wait(&mut work);
            }
            work.waiting = false;
        }
    }

    /// Gets the next file of the log ready.
    pub(crate) fn prepare(&self) -> Result<(), FlushError> {
        self.shared.pool.prepare_spare()?;
        self.space_is_back();
        Ok(())
    }

    /// Writes all that is committed to segments.
    pub(crate) fn flush(&self) -> Result<(), FlushError> {
        let _writing = self.writing.lock();
        self.flush_dirty()
    }

    pub(crate) fn flush_dirty(&self) -> Result<(), FlushError> {
        let mut dirty = {
            let mut work = self.shared.work.lock();
            work.dirty_since = None;
            std::mem::take(&mut work.dirty)
        };
        let mut retired = false;
        while let Some(partition) = dirty.pop() {
            if let Err(error) = flush_partition(&partition).and_then(|()| self.prepare_meanwhile())
            {
                partition.dirty.store(true, Ordering::Release);
                dirty.push(partition);
                let mut work = self.shared.work.lock();
                work.dirty.append(&mut dirty);
                work.dirty_since.get_or_insert_with(Instant::now);
                return Err(error);
            }
            // What one commit brought is written as a whole, also what was deleted since.
            retired |= partition.trim();
        }
        if retired {
            self.shared.want_checkpoint();
        }
        self.evict_to(self.shared.config.hot_bytes_max);
        self.shared.announce_room();
        self.space_is_back();
        Ok(())
    }

    /// Gets the next file of the log ready between partitions, of which there may be thousands: without it the
    /// commit thread would have to make one, which is megabytes to write and sync.
    fn prepare_meanwhile(&self) -> Result<(), FlushError> {
        let shared = &self.shared;
        // Where there is no room, first what makes some.
        if shared.shortage().is_some() || !shared.pool.wants_spare() {
            return Ok(());
        }
        match shared.pool.prepare_spare().map_err(FlushError::from) {
            Err(FlushError::NoSpace(error)) => {
                shared.note_full(&error);
                Ok(())
            }
            prepared => prepared,
        }
    }

    /// Takes segments below their log's start off the lists.
    pub(crate) fn trim(&self) {
        let _writing = self.writing.lock();
        let partitions = std::mem::take(&mut self.shared.work.lock().trim);
        let mut retired = false;
        for partition in partitions {
            retired |= partition.trim();
        }
        if retired {
            self.shared.want_checkpoint();
        }
    }

    /// Lets go of the oldest records in memory that are in segments, until `bytes` remain.
    fn evict_to(&self, bytes: usize) {
        loop {
            let hot = {
                let mut work = self.shared.work.lock();
                if work.hot_bytes <= bytes {
                    return;
                }
                let Some(hot) = work.hot.front() else { return };
                let flushed = hot.partition.upgrade().map(|p| {
                    let flushed = p.state.lock().flushed;
                    (flushed, p)
                });
                if flushed.as_ref().is_some_and(|(flushed, _)| *flushed < hot.next_offset) {
                    return;
                }
                let hot = work.hot.pop_front().expect("there is a front");
                work.hot_bytes -= hot.bytes;
                if work.hot.is_empty() {
                    work.hot.shrink_to_fit();
                }
                flushed.map(|(_, partition)| (partition, hot.next_offset))
            };
            if let Some((partition, offset)) = hot {
                partition.evict(offset);
            }
        }
    }

    fn out_of_space(&self, error: &std::io::Error) {
        self.shared.note_full(error);
        let mut work = self.shared.work.lock();
        if !work.stop {
            self.shared.work_ready.wait_for(&mut work, SPACE_POLL);
        }
    }

    /// Something that needs space worked. Appends are taken again once the log has a spare file.
    pub(crate) fn space_is_back(&self) {
        if !self.shared.pool.wants_spare() {
            self.shared.note_room();
        }
    }
}

impl Helper {
    /// Begins the work. The thread before has ended.
    pub(crate) fn start(
        &self,
        shared: &Arc<Shared>,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), FlushError> {
        self.runs.store(true, Ordering::Relaxed);
        let thread = spawn(shared, name, body);
        *self.thread.lock() = Some(thread.map_err(FlushError::Failed)?);
        Ok(())
    }

    /// Notes that the work is done, on its thread.
    pub(crate) fn ended(&self) {
        self.runs.store(false, Ordering::Relaxed);
    }

    fn runs(&self) -> bool {
        self.runs.load(Ordering::Relaxed)
    }

    fn join(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
