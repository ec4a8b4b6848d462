//! Group commit: everything that gathered while the last sync was under way becomes one frame.
//!
//! There is no timer: an append to an idle folder is written at once, and under load the sync itself
//! is the time in which the next frame fills.
//!
//! On a full disk there is room for the more urgent entries longer than for the others (see
//! [`reserve`](crate::wal::reserve)). Those then go ahead of what waits, though never ahead of anything of
//! their own partition.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::buffers::PooledBuf;
use crate::commit_frame::{Frame, Group, SMALL_FRAME, payload_max, prefix_within};
use crate::error::{FatalError, StorageError};
use crate::partition_log::{PartitionLog, Shared};
use crate::queue::{Pending, PendingEntry, go_ahead};
use crate::shared::Hot;
use crate::wal::frame::FRAME_HEADER;
use crate::wal::reserve::Urgency;
use crate::wal::writer::{WalError, WalWriter};

/// The most that is written before a sync. At the rate of a fast disk this is a few milliseconds,
/// which is what the first append of a frame waits for the last.
const COMMIT_BYTES_MAX: usize = 8 << 20;
/// While appends keep coming during syncs, syncs begin at least this far apart.
const SPACING: Duration = Duration::from_micros(750);
/// With as many appends in a frame, more of them would hardly make each of them cheaper.
const GATHERED: usize = 16;

/// The commit thread's state.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    wal: WalWriter,
    taken: Vec<Pending<PartitionLog>>,
    small: Option<PooledBuf>,
    /// What was taken from the queue and had no room on the disk.
    waiting: Vec<Pending<PartitionLog>>,
    /// When the last sync began.
    sync_began: Option<Instant>,
}

/// What a step of the commit loop came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitStep {
    /// There was nothing to commit.
    Idle,
    /// Something was committed.
    Committed,
    /// There is no room on the disk.
    NoRoom,
    /// The folder is closed or failed.
    Ended,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, wal: WalWriter) -> Committer {
        Committer {
            shared,
            wal,
            taken: Vec::new(),
            small: None,
            waiting: Vec::new(),
            sync_began: None,
        }
    }

    /// Commits until the queue is closed: the body of the commit thread.
    pub(crate) fn run(mut self) {
        loop {
            self.gather();
            match self.step(true) {
                CommitStep::Idle | CommitStep::Committed => {}
                CommitStep::NoRoom => {
                    if self.shared.is_closing() {
                        // Nobody will make room any more; those who wait were never acknowledged.
                        self.refuse_all(StorageError::Closed);
                        return;
                    }
                    self.shared.wake_background();
                    std::thread::sleep(ROOM_POLL);
                }
                CommitStep::Ended => return,
            }
        }
    }

    /// Lets a few appends that came during the last sync wait for more.
    ///
    /// A sync costs the same whatever it makes durable, and where it takes a tenth of a millisecond
    /// ten thousand appends a second would get one each. Who finds nothing under way never waits:
    /// the queue is empty then, and is not asked about again before it fills.
    fn gather(&self) {
        if let Some(began) = self.sync_began {
            self.shared.queue.gather(GATHERED, SMALL_FRAME, began + SPACING);
        }
    }

    /// Commits what is queued, waiting for something if `wait`.
    pub(crate) fn step(&mut self, wait: bool) -> CommitStep {
        let mut taken = std::mem::take(&mut self.taken);
        let open = self.shared.queue.take(&mut taken, wait && self.waiting.is_empty());
        if !self.waiting.is_empty() {
            self.waiting.append(&mut taken);
            self.taken = taken;
            let waiting = std::mem::take(&mut self.waiting);
            return self.commit_all(waiting);
        }
        if !open {
            return CommitStep::Ended;
        }
        if taken.is_empty() {
            self.taken = taken;
            return CommitStep::Idle;
        }
        self.commit_all(taken)
    }

    /// Commits what there is room for and refuses the rest: the end of a folder without threads, whose queue
    /// is closed.
    pub(crate) fn close(&mut self) {
        while self.step(false) == CommitStep::Committed {}
        self.refuse_all(StorageError::Closed);
    }

    /// Commits entries in their order; where there is no room for all, those that may go ahead.
    fn commit_all(&mut self, mut pending: Vec<Pending<PartitionLog>>) -> CommitStep {
        if let Some(fatal) = self.shared.fatal() {
            self.waiting = pending;
            self.refuse_all(StorageError::Fatal(fatal));
            return CommitStep::Ended;
        }
        let least = pending.iter().map(|entry| entry.what.urgency()).min();
        let mut no_room_for = None;
        for urgency in Urgency::ALL.into_iter().skip_while(|&urgency| Some(urgency) < least) {
            if no_room_for.is_some() {
                self.refuse_deleted(&mut pending);
            }
            // All are at least as urgent as the least urgent.
            let (ahead, mut behind) = if no_room_for.is_none() {
                (pending, Vec::new())
            } else {
                go_ahead(pending, urgency)
            };
            let (mut rest, outcome) = self.commit_while_room(ahead, urgency);
            if !rest.is_empty() {
                no_room_for = Some(urgency);
            }
            // None of the rest comes after anything of its partition that stayed behind.
            rest.append(&mut behind);
            pending = rest;
            if let Err(fatal) = outcome {
                self.waiting = pending;
                self.refuse_all(StorageError::Fatal(fatal));
                return CommitStep::Ended;
            }
            if pending.is_empty() {
                self.shared.set_no_room_for(None);
                self.taken = pending;
                return CommitStep::Committed;
            }
        }
        self.shared.set_no_room_for(no_room_for);
        self.waiting = pending;
        CommitStep::NoRoom
    }

    /// Commits entries, none less urgent than `urgency`, in their order as long as there is room. Returns
    /// those that are left, and how the folder failed if it did.
    fn commit_while_room(
        &mut self,
        mut pending: Vec<Pending<PartitionLog>>,
        urgency: Urgency,
    ) -> (Vec<Pending<PartitionLog>>, Result<(), Arc<FatalError>>) {
        while !pending.is_empty() {
            let count = match self.make_room(&pending, urgency) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return (pending, Err(self.fail(error))),
            };
            let rest = if count < pending.len() { Some(pending.split_off(count)) } else { None };
            let frame = self.build(&mut pending);
            if let Some(rest) = rest {
                pending = rest;
            }
            if let Err(fatal) = self.write(frame) {
                return (pending, Err(fatal));
            }
        }
        (pending, Ok(()))
    }

    /// Makes room for a frame; returns how many of the first entries it can hold.
    fn make_room(
        &mut self,
        pending: &[Pending<PartitionLog>],
        urgency: Urgency,
    ) -> Result<usize, io::Error> {
        let count = prefix_within(pending, COMMIT_BYTES_MAX).max(1);
        let bytes = pending[..count].iter().map(payload_max).sum();
        if bytes == 0 {
            return Ok(count);
        }
        let error = match self.wal.make_room(bytes, urgency) {
            Ok(()) => return Ok(count),
            Err(WalError::Failed(error)) => return Err(error),
            Err(WalError::NoSpace(error)) => error,
        };
        let count = prefix_within(pending, self.wal.room(urgency)).min(count);
        if count == 0 {
            self.shared.note_full(&error);
            return Ok(0);
        }
        let bytes = pending[..count].iter().map(payload_max).sum();
        match self.wal.make_room(bytes, urgency) {
            Ok(()) => Ok(count),
            Err(WalError::NoSpace(error) | WalError::Failed(error)) => Err(error),
        }
    }

    /// Refuses appends of partitions that were deleted while they waited: their deletion is behind them,
    /// and makes the room that they wait for.
    fn refuse_deleted(&self, pending: &mut Vec<Pending<PartitionLog>>) {
        let is_deleted = |entry: &mut Pending<PartitionLog>| match &entry.what {
            PendingEntry::Append { partition, .. } => partition.state.lock().deleted,
            PendingEntry::Control(_) | PendingEntry::Barrier => false,
        };
        for entry in pending.extract_if(.., is_deleted) {
            self.shared.queue.release(entry.what.bytes());
            if let Some(done) = entry.done {
                done(Err(StorageError::Deleted));
            }
        }
    }

    /// Builds a frame of all of `pending`, leaving it empty.
    fn build(&mut self, pending: &mut Vec<Pending<PartitionLog>>) -> Frame {
        let capacity = FRAME_HEADER + pending.iter().map(payload_max).sum::<usize>();
        let small = capacity <= SMALL_FRAME;
        let buffer = if small {
            let kept = self.small.take();
            kept.unwrap_or_else(|| self.shared.buffers.take(SMALL_FRAME))
        } else {
            self.shared.buffers.take(capacity)
        };
        let mut frame = Frame::new(buffer, small);
        frame.fill(pending);
        frame
    }

    /// Makes a frame, for which there is room, durable and lets its effects be seen.
    fn write(&mut self, mut frame: Frame) -> Result<(), Arc<FatalError>> {
        if frame.entries > 0 {
            self.sync_began = self.wal.is_synced().then(Instant::now);
            let written = self.wal.write(&mut frame.buffer, frame.entries);
            if let Err(WalError::NoSpace(error) | WalError::Failed(error)) = written {
                let fatal = self.fail(error);
                for done in frame.done.0 {
                    done(Err(StorageError::Fatal(Arc::clone(&fatal))));
                }
                return Err(fatal);
            }
            self.shared.counters.commit(frame.bytes, self.wal.last_sync());
        }
        self.shared.queue.release(frame.bytes);
        self.apply(frame);
        Ok(())
    }

    fn fail(&self, error: io::Error) -> Arc<FatalError> {
        let fatal = self.shared.fail("committing to the write-ahead log", error);
        self.shared.close_queue();
        fatal
    }

    /// The frame is durable: readers see it, waiters are told.
    fn apply(&mut self, frame: Frame) {
        let Frame { buffer, small, entries, groups, done, .. } = frame;
        let mut hot = Vec::with_capacity(groups.len());
        let wal_file = self.wal.position().file_number;
        if small {
            for group in &groups {
                let bytes = Bytes::copy_from_slice(&buffer.as_slice()[group.at.clone()]);
                hot.extend(group.commit(bytes, wal_file));
            }
            self.small = Some(buffer);
        } else {
            let shared = Bytes::from_owner(buffer);
            for group in &groups {
                hot.extend(group.commit(shared.slice(group.at.clone()), wal_file));
            }
        }
        if entries > 0 {
            self.note_work(&groups, hot);
        }
        // Only now: a checkpoint at this position writes what is on the list of the partitions with
        // something to flush, and whatever is not on it yet would be in no segment and before the
        // place from which a restart reads the log.
        *self.shared.committed.lock() = self.wal.position();
        for group in &groups {
            group.partition.announce();
        }
        for done in done.0 {
            done(Ok(()));
        }
        self.shared.announce_room();
    }

    /// Tells the background thread what there is to flush.
    fn note_work(&self, groups: &[Group], hot: Vec<Hot<PartitionLog>>) {
        let bytes: usize = hot.iter().map(|hot| hot.bytes).sum();
        self.shared.add_unflushed(bytes);
        let unflushed = self.shared.unflushed();
        let due = unflushed >= self.shared.config.flush_bytes || self.shared.pool.wants_spare();
        let wake = {
            let mut work = self.shared.work.lock();
            work.dirty.extend(groups.iter().filter_map(|group| group.partition.mark_dirty()));
            work.hot_bytes += bytes;
            work.hot.extend(hot);
            let now = Instant::now();
            let first = work.dirty_since.is_none();
            work.dirty_since.get_or_insert(now);
            work.unsynced_since.get_or_insert(now);
            // The first record after a pause starts the background thread's clock; after that it is
            // woken only when there is enough to do.
            (first || due) && std::mem::take(&mut work.waiting)
        };
        if wake {
            self.shared.work_ready.notify_all();
        }
    }

    /// Answers everybody who still waits, and lets nobody in any more. An append may have found the folder alive a
    /// moment ago: in a queue that nobody empties it would have no answer, and partition and folder would keep
    /// each other.
    fn refuse_all(&mut self, error: StorageError) {
        self.shared.close_queue();
        let mut pending = std::mem::take(&mut self.waiting);
        self.shared.queue.take(&mut self.taken, false);
        pending.append(&mut self.taken);
        for done in pending.into_iter().filter_map(|p| p.done) {
            done(Err(error.clone()));
        }
    }
}

/// How often a commit without room is tried again.
const ROOM_POLL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::queue::BATCH_HEAD;
    use crate::{Background, LogDir, LogDirConfig, PartitionConfig, fixture};

    /// 1. An append finds the folder alive. 2. The disk fails elsewhere, and nothing more is committed. 3. The
    ///    append is queued.
    #[test]
    fn whoever_is_queued_after_the_last_commit_is_refused_and_keeps_nothing_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, _) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
        let log = fixture::partition(&dir, 0, PartitionConfig::default());
        let (sender, refused) = channel();
        let enqueue = |what| {
            let sender = sender.clone();
            let done = Box::new(move |result| sender.send(result).unwrap());
            log.shared.enqueue(Pending { what, done: Some(done) });
        };
        log.shared.fail("testing", io::Error::other("the device is gone"));
        enqueue(PendingEntry::Barrier);
        let first = refused.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(first, Err(StorageError::Fatal(_))), "{first:?}");
        enqueue(PendingEntry::Append {
            partition: Arc::clone(&log),
            head: [0; BATCH_HEAD],
            body: Bytes::new(),
            first_offset: 0,
            next_offset: 1,
            urgency: Urgency::Control,
        });
        let second = refused.try_recv().expect("it was answered at once");
        assert!(matches!(second, Err(StorageError::Fatal(_))), "{second:?}");
        let (log_left, shared_left) = (Arc::downgrade(&log), Arc::downgrade(&log.shared));
        drop((log, dir));
        assert_eq!((log_left.strong_count(), shared_left.strong_count()), (0, 0));
    }

    /// 1. The records are readable. 2. A checkpoint begins and notes the log's position. 3. It writes
    ///    the partitions on the list to segments. If the position were past records whose partition is
    ///    not on the list yet, they would be lost.
    #[test]
    fn position_of_a_checkpoint_never_passes_records_that_are_not_listed_for_flushing() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            LogDirConfig { background: Background::Manual, ..LogDirConfig::new(folder.path()) };
        let (dir, _) = LogDir::open(config).unwrap();
        let log = fixture::partition(&dir, 0, PartitionConfig::default());
        fixture::append(&log);
        let shared = &log.shared;
        let before = *shared.committed.lock();
        std::thread::scope(|scope| {
            let work = shared.work.lock();
            scope.spawn(|| dir.step_commit());
            while log.high_watermark() == 0 {
                std::thread::yield_now();
            }
            let until = Instant::now() + Duration::from_millis(50);
            while Instant::now() < until {
                assert!(!work.dirty.is_empty() || *shared.committed.lock() == before);
            }
        });
        assert_ne!(*shared.committed.lock(), before);
    }
}
