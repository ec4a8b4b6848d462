//! Group commit: everything that gathered while the last sync was under way becomes one frame.
//!
//! There is no timer: an append to an idle folder is written at once, and under load the sync itself
//! is the time in which the next frame fills. A frame holds a partition's batches next to each other,
//! so what a reader asks for is one stretch of the frame's memory and is handed out without a copy.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::buffers::PooledBuf;
use crate::error::StorageError;
use crate::partition_log::PartitionLog;
use crate::queue::{Done, Pending, PendingEntry};
use crate::shared::{Hot, Shared};
use crate::wal::entry::{APPEND_PREFIX, ENTRY_HEADER, append_prefix};
use crate::wal::frame::FRAME_HEADER;
use crate::wal::writer::{WalError, WalWriter};

/// The most that is written before a sync. At the rate of a fast disk this is a few milliseconds,
/// which is what the first append of a frame waits for the last.
const COMMIT_BYTES_MAX: usize = 8 << 20;
/// Frames up to this size are built in one buffer that is used again, and their batches are copied
/// out for the readers: a small batch must not keep a whole block of memory alive.
const SMALL_FRAME: usize = 64 << 10;
/// While appends keep coming during syncs, syncs begin at least this far apart.
const SPACING: Duration = Duration::from_micros(750);
/// With as many appends in a frame, more of them would hardly make each of them cheaper.
const GATHERED: usize = 16;

/// The commit thread's state.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    wal: WalWriter,
    taken: Vec<Pending>,
    small: Option<PooledBuf>,
    /// A frame that had no room on the disk, to be tried again.
    parked: Option<Frame>,
    /// What was taken from the queue and comes after the parked frame.
    behind: Vec<Pending>,
    /// When the last sync began.
    sync_began: Option<Instant>,
}

/// A frame ready to be written, and what is to be done once it is durable.
#[derive(Debug)]
struct Frame {
    buffer: PooledBuf,
    small: bool,
    entries: u32,
    bytes: usize,
    groups: Vec<Group>,
    done: Dones,
}

struct Dones(Vec<Done>);

impl std::fmt::Debug for Dones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} callbacks", self.0.len())
    }
}

/// A partition's batches in a frame.
#[derive(Debug)]
struct Group {
    partition: Arc<PartitionLog>,
    at: Range<usize>,
    first_offset: i64,
    next_offset: i64,
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
            parked: None,
            behind: Vec::new(),
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
        if let Some(frame) = self.parked.take() {
            match self.write(frame) {
                CommitStep::Committed => {
                    let behind = std::mem::take(&mut self.behind);
                    return self.commit_all(behind);
                }
                other => return other,
            }
        }
        let mut taken = std::mem::take(&mut self.taken);
        if !self.shared.queue.take(&mut taken, wait) {
            return CommitStep::Ended;
        }
        if taken.is_empty() {
            self.taken = taken;
            return CommitStep::Idle;
        }
        self.commit_all(taken)
    }

    fn commit_all(&mut self, mut pending: Vec<Pending>) -> CommitStep {
        if let Some(fatal) = self.shared.fatal() {
            self.behind = pending;
            self.refuse_all(StorageError::Fatal(fatal));
            return CommitStep::Ended;
        }
        while !pending.is_empty() {
            let count = prefix_within(&pending, COMMIT_BYTES_MAX);
            let rest = if count < pending.len() { Some(pending.split_off(count)) } else { None };
            let frame = self.build(&mut pending);
            if let Some(rest) = rest {
                pending = rest;
            }
            match self.write(frame) {
                CommitStep::Committed => {}
                other => {
                    self.behind = pending;
                    if other == CommitStep::Ended {
                        let error = self.shared.alive().err().unwrap_or(StorageError::Closed);
                        self.refuse_all(error);
                    }
                    return other;
                }
            }
        }
        self.taken = pending;
        CommitStep::Committed
    }

    /// Builds a frame of all of `pending`, leaving it empty.
    fn build(&mut self, pending: &mut Vec<Pending>) -> Frame {
        let bytes: usize = pending.iter().map(|p| p.what.bytes()).sum();
        let capacity = FRAME_HEADER + bytes + pending.len() * (ENTRY_HEADER + APPEND_PREFIX);
        let small = capacity <= SMALL_FRAME;
        let mut buffer = if small {
            let kept = self.small.take();
            kept.unwrap_or_else(|| self.shared.buffers.take(SMALL_FRAME))
        } else {
            self.shared.buffers.take(capacity)
        };
        buffer.clear();
        buffer.extend(&[0; FRAME_HEADER]);
        sort_within_runs(pending);
        let mut frame = Frame {
            buffer,
            small,
            entries: 0,
            bytes,
            groups: Vec::new(),
            done: Dones(Vec::with_capacity(pending.len())),
        };
        let mut at = 0;
        while at < pending.len() {
            at += match &pending[at].what {
                PendingEntry::Append { .. } => frame.add_group(&pending[at..]),
                PendingEntry::Control(entry) => {
                    frame.buffer.extend(entry);
                    frame.entries += 1;
                    1
                }
                PendingEntry::Barrier => 1,
            };
        }
        frame.done.0.extend(pending.drain(..).filter_map(|p| p.done));
        frame
    }

    /// Makes a frame durable and lets its effects be seen.
    fn write(&mut self, mut frame: Frame) -> CommitStep {
        if frame.entries > 0 {
            self.sync_began = self.wal.is_synced().then(Instant::now);
            match self.wal.write(&mut frame.buffer, frame.entries) {
                Ok(()) => {}
                Err(WalError::NoSpace(error)) => {
                    if !self.shared.commit_stuck.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "no room for the log: appends wait until space is freed");
                    }
                    self.shared.disk_full.store(true, Ordering::Relaxed);
                    self.parked = Some(frame);
                    return CommitStep::NoRoom;
                }
                Err(WalError::Failed(error)) => {
                    let fatal = self.shared.fail("committing to the write-ahead log", error);
                    self.shared.close_queue();
                    for done in frame.done.0 {
                        done(Err(StorageError::Fatal(Arc::clone(&fatal))));
                    }
                    return CommitStep::Ended;
                }
            }
            self.shared.commit_stuck.store(false, Ordering::Relaxed);
            self.shared.counters.commit(frame.bytes, self.wal.last_sync());
        }
        self.shared.queue.release(frame.bytes);
        self.apply(frame);
        CommitStep::Committed
    }

    /// The frame is durable: readers see it, waiters are told.
    fn apply(&mut self, frame: Frame) {
        let Frame { buffer, small, entries, groups, done, .. } = frame;
        let mut hot = Vec::with_capacity(groups.len());
        if small {
            for group in &groups {
                let bytes = Bytes::copy_from_slice(&buffer.as_slice()[group.at.clone()]);
                hot.extend(group.commit(bytes));
            }
            self.small = Some(buffer);
        } else {
            let shared = Bytes::from_owner(buffer);
            for group in &groups {
                hot.extend(group.commit(shared.slice(group.at.clone())));
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
    fn note_work(&self, groups: &[Group], hot: Vec<Hot>) {
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

    /// Answers everybody who still waits.
    fn refuse_all(&mut self, error: StorageError) {
        let mut pending = std::mem::take(&mut self.behind);
        self.shared.queue.take(&mut self.taken, false);
        pending.append(&mut self.taken);
        if let Some(frame) = self.parked.take() {
            for done in frame.done.0 {
                done(Err(error.clone()));
            }
        }
        for done in pending.into_iter().filter_map(|p| p.done) {
            done(Err(error.clone()));
        }
    }
}

/// How often a commit without room is tried again.
const ROOM_POLL: Duration = Duration::from_millis(100);

impl Frame {
    /// Adds the appends of one partition that stand first in `pending`; returns how many they are.
    fn add_group(&mut self, pending: &[Pending]) -> usize {
        let mut count = 0;
        let mut length = 0;
        let mut group: Option<Group> = None;
        for entry in pending {
            let PendingEntry::Append { partition, body, first_offset, next_offset, .. } =
                &entry.what
            else {
                break;
            };
            match &mut group {
                None => {
                    group = Some(Group {
                        partition: Arc::clone(partition),
                        at: 0..0,
                        first_offset: *first_offset,
                        next_offset: *next_offset,
                    });
                }
                Some(group) if group.partition.uid == partition.uid => {
                    assert_eq!(group.next_offset, *first_offset, "offsets are queued in order");
                    group.next_offset = *next_offset;
                }
                Some(_) => break,
            }
            count += 1;
            length += entry.what.bytes() - body.len() + body.len();
        }
        let mut group = group.expect("the first entry is an append");
        let key = group.partition.key();
        self.buffer.extend(&append_prefix(key, group.first_offset, group.next_offset, length));
        let from = self.buffer.len();
        for entry in &pending[..count] {
            if let PendingEntry::Append { head, body, .. } = &entry.what {
                self.buffer.extend(head);
                self.buffer.extend(body);
            }
        }
        group.at = from..self.buffer.len();
        assert_eq!(group.at.len(), length);
        self.groups.push(group);
        self.entries += 1;
        count
    }
}

impl Group {
    fn commit(&self, bytes: Bytes) -> Option<Hot> {
        self.partition.commit(self.first_offset, self.next_offset, bytes)
    }
}

/// Returns how many of the first entries fit `bytes`; at least one.
fn prefix_within(pending: &[Pending], bytes: usize) -> usize {
    let mut total = 0;
    let fitting = pending.iter().take_while(|entry| {
        total += entry.what.bytes();
        total <= bytes
    });
    fitting.count().max(1)
}

/// Brings appends of the same partition next to each other, keeping their order, and never moving one
/// across a control entry: a partition is created before its first append and deleted after its last.
fn sort_within_runs(pending: &mut [Pending]) {
    let uid = |entry: &Pending| match &entry.what {
        PendingEntry::Append { partition, .. } => Some(partition.uid),
        PendingEntry::Control(_) | PendingEntry::Barrier => None,
    };
    for run in pending.chunk_by_mut(|a, b| uid(a).is_some() == uid(b).is_some()) {
        if run.len() > 1 && uid(&run[0]).is_some() {
            run.sort_by_key(|entry| uid(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use kohort_log::validator::AppendOrigin;
    use kohort_protocol::Uuid;
    use kohort_protocol::compression::Compressor;
    use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

    use crate::{Background, LogDir, LogDirConfig, PartitionConfig, PartitionId};

    /// 1. The records are readable. 2. A checkpoint begins and notes the log's position. 3. It writes
    ///    the partitions on the list to segments. If the position were past records whose partition is
    ///    not on the list yet, they would be lost.
    #[test]
    fn position_of_a_checkpoint_never_passes_records_that_are_not_listed_for_flushing() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            LogDirConfig { background: Background::Manual, ..LogDirConfig::new(folder.path()) };
        let (dir, _) = LogDir::open(config).unwrap();
        let id = PartitionId { topic_id: Uuid([1; 16]), topic: "t".into(), index: 0 };
        let log = dir.create_partition(id, PartitionConfig::default()).unwrap();
        let mut builder = BatchBuilder::new();
        builder.append(&NewRecord { value: Some(b"a"), ..NewRecord::default() }).unwrap();
        let batch = builder.build(&BatchOptions::default(), &mut Compressor::none());
        log.append(1, batch, AppendOrigin::Coordinator, drop).unwrap();
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
