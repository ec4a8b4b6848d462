//! What the partitions of a folder share: the queue to the write-ahead log, the flags that stop
//! appends, and the list of partitions with something to write to segments.
//!
//! ```text
//! append ──► queue ──► commit (one thread) ──► tail in memory ──► flush (one thread) ──► segments
//!              │            │ fdatasync             │                    │
//!          bounded      high watermark           readers             checkpoint, log files go round
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicIsize, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::buffers::BufferPool;
use crate::cleaning::Cleaning;
use crate::config::LogDirConfig;
use crate::counters::Counters;
use crate::disk::{Disk, WholeVolume};
use crate::error::{AppendError, FatalError, StorageError};
use crate::failure::{FlushError, is_no_space, is_out_of_handles};
use crate::file_cache::FileCache;
use crate::lending::Lending;
use crate::queue::{CommitQueue, Pending};
use crate::wal::entry::PartitionKey;
use crate::wal::file::FilePool;
use crate::wal::position::WalPosition;
use crate::wal::reserve::Urgency;

/// What partitions of type `P` share. They know it, and it need not know more of them than that they are
/// partitions.
pub(crate) struct SharedBy<P> {
    pub(crate) config: LogDirConfig,
    pub(crate) disk: Arc<dyn Disk>,
    /// By what all segments can be made durable at once. Opened before any is written, since it tells of
    /// what failed from then on.
    pub(crate) volume: Option<Box<dyn WholeVolume>>,
    pub(crate) pool: Arc<FilePool>,
    pub(crate) files: FileCache,
    pub(crate) buffers: Arc<BufferPool>,
    pub(crate) lending: Lending,
    pub(crate) salt: u64,
    /// With as many bytes of the log's files before the newest, clients' appends wait for a checkpoint.
    wal_bytes_max: u64,
    pub(crate) leader_epoch: AtomicI32,
    pub(crate) queue: CommitQueue<P>,
    room_waiters: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    /// Below zero for a moment when a partition is deleted while its records are being committed.
    unflushed_bytes: AtomicIsize,
    /// What ran out somewhere, as [`Shortage`]'s number; 0 for nothing. Clients' appends are refused, the
    /// broker's own go on while they can.
    shortage: AtomicU8,
    /// Appends up to this urgency have no room in the log, as the number of the next; 0 if all have.
    no_room_for: AtomicU8,
    fatal: OnceLock<Arc<FatalError>>,
    closing: AtomicBool,
    /// Everything before this is applied to the partitions.
    pub(crate) committed: Mutex<WalPosition>,
    /// From where the newest durable checkpoint has the log read.
    pub(crate) checkpointed: Mutex<Option<WalPosition>>,
    /// Partitions that are gone from the list, but whose folders may still be there.
    pub(crate) deleting: Mutex<BTreeMap<PartitionKey, Arc<P>>>,
    pub(crate) work: Mutex<Work<P>>,
    pub(crate) work_ready: Condvar,
    /// Held while a partition's folder is looked at for files that no checkpoint names.
    pub(crate) tidying: Mutex<()>,
    /// What the cleaner is asked for, and what it is at.
    pub(crate) cleaning: Cleaning<P>,
    pub(crate) next_uid: AtomicU32,
    pub(crate) counters: Counters,
}

/// What the background thread has to do.
pub(crate) struct Work<P> {
    pub(crate) dirty: Vec<Arc<P>>,
    pub(crate) dirty_since: Option<Instant>,
    pub(crate) unsynced_since: Option<Instant>,
    /// Deleted partitions whose folders are to be removed.
    pub(crate) remove_dirs: Vec<Arc<P>>,
    /// Partitions whose log start moved.
    pub(crate) trim: Vec<Arc<P>>,
    /// Since when a checkpoint is wanted so that files can be removed.
    pub(crate) retired_since: Option<Instant>,
    /// Committed bytes in memory, oldest first, to be dropped in this order.
    pub(crate) hot: VecDeque<Hot<P>>,
    pub(crate) hot_bytes: usize,
    pub(crate) stop: bool,
    pub(crate) waiting: bool,
}

impl<P> Default for Work<P> {
    fn default() -> Self {
        Self {
            dirty: Vec::new(),
            dirty_since: None,
            unsynced_since: None,
            remove_dirs: Vec::new(),
            trim: Vec::new(),
            retired_since: None,
            hot: VecDeque::new(),
            hot_bytes: 0,
            stop: false,
            waiting: false,
        }
    }
}

/// A stretch of a partition's tail.
pub(crate) struct Hot<P> {
    pub(crate) partition: std::sync::Weak<P>,
    pub(crate) next_offset: i64,
    pub(crate) bytes: usize,
}

/// What the folder has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The disk, or the user's share of it, is full.
    Space = 1,
    /// The process, or the system, has too many files open.
    Handles = 2,
}

/// Returns how large the log may grow: on a small disk an eighth of it, but no less than three files.
fn wal_bytes_max(config: &LogDirConfig, disk: &dyn Disk) -> u64 {
    let total = disk.volume(&config.path).map_or(u64::MAX, |volume| volume.total);
    config.wal_bytes_max.min(total / 8).max(config.wal_file_bytes * 3)
}

impl<P> SharedBy<P> {
    pub(crate) fn new(
        config: LogDirConfig,
        disk: Arc<dyn Disk>,
        pool: Arc<FilePool>,
        salt: u64,
        leader_epoch: i32,
        committed: WalPosition,
    ) -> Self {
        let files = FileCache::new(config.open_files_max);
        let buffers = BufferPool::new(config.buffer_bytes_max);
        let cleaning = Cleaning::new(config.cleaner);
        let wal_bytes_max = wal_bytes_max(&config, &*disk);
        // Without it files are synced one by one.
        let volume = disk.whole_volume(&config.path).ok().flatten();
        Self {
            config,
            disk,
            volume,
            pool,
            files,
            buffers,
            lending: Lending::default(),
            salt,
            wal_bytes_max,
            leader_epoch: AtomicI32::new(leader_epoch),
            queue: CommitQueue::default(),
            room_waiters: Mutex::default(),
            unflushed_bytes: AtomicIsize::new(0),
            shortage: AtomicU8::new(0),
            no_room_for: AtomicU8::new(0),
            fatal: OnceLock::new(),
            closing: AtomicBool::new(false),
            committed: Mutex::new(committed),
            checkpointed: Mutex::default(),
            deleting: Mutex::default(),
            work: Mutex::default(),
            work_ready: Condvar::new(),
            tidying: Mutex::default(),
            cleaning,
            next_uid: AtomicU32::new(0),
            counters: Counters::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.config.path
    }

    /// Decides whether an append may enter the queue.
    pub(crate) fn admit(&self, urgency: Urgency) -> Result<(), AppendError> {
        self.alive()?;
        let client = urgency == Urgency::Client;
        let has_room = self.no_room_for.load(Ordering::Relaxed) <= urgency as u8;
        match self.shortage() {
            Some(Shortage::Space) if client || !has_room => return Err(AppendError::DiskFull),
            Some(Shortage::Handles) if client || !has_room => {
                return Err(AppendError::OutOfHandles);
            }
            _ => {}
        }
        // The broker's own records may use twice the room: a coordinator that cannot write must
        // unload its groups, which is worse than a little memory.
        let factor = if client { 1 } else { 2 };
        if self.queue.bytes() >= self.config.queue_bytes_max * factor
            || self.unflushed() >= self.config.unflushed_bytes_max * factor
            || (client && self.pool.behind_bytes() >= self.wal_bytes_max)
        {
            return Err(AppendError::QueueFull);
        }
        Ok(())
    }

    /// Returns what there is too little of, if there is.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        match self.shortage.load(Ordering::Relaxed) {
            0 => None,
            number if number == Shortage::Space as u8 => Some(Shortage::Space),
            _ => Some(Shortage::Handles),
        }
    }

    /// Notes that something failed for want of space, or of file handles.
    pub(crate) fn note_full(&self, error: &std::io::Error) {
        debug_assert!(is_no_space(error), "other errors end the folder");
        let handles = is_out_of_handles(error);
        let shortage = if handles { Shortage::Handles } else { Shortage::Space };
        if self.shortage.swap(shortage as u8, Ordering::Relaxed) == shortage as u8 {
            return;
        }
        if handles {
            tracing::warn!(%error, "too many files are open: appends are refused until some are closed; raise the limit for the process (`ulimit -n`)");
        } else {
            let folder = self.path().display();
            tracing::warn!(%error, %folder, "no room for segments or the log: appends are refused until space is freed, or inodes if it is those that the folder's disk lacks");
        }
    }

    /// Notes that what failed for want of space or file handles works again.
    pub(crate) fn note_room(&self) {
        let shortage = self.shortage();
        self.shortage.store(0, Ordering::Relaxed);
        match shortage {
            Some(Shortage::Space) => tracing::info!("there is space again: appends are accepted"),
            Some(Shortage::Handles) => {
                tracing::info!("files can be opened again: appends are accepted");
            }
            None => return,
        }
        self.announce_room();
    }

    /// Notes which appends have no room in the log: those of `urgency` and below.
    pub(crate) fn set_no_room_for(&self, urgency: Option<Urgency>) {
        let number = urgency.map_or(0, |urgency| urgency as u8 + 1);
        self.no_room_for.store(number, Ordering::Relaxed);
    }

    /// Fails if the folder accepts nothing any more.
    pub(crate) fn alive(&self) -> Result<(), StorageError> {
        if let Some(fatal) = self.fatal.get() {
            return Err(StorageError::Fatal(Arc::clone(fatal)));
        }
        if self.closing.load(Ordering::Relaxed) {
            return Err(StorageError::Closed);
        }
        Ok(())
    }

    /// Returns how many committed bytes are not yet in segments.
    pub(crate) fn unflushed(&self) -> usize {
        usize::try_from(self.unflushed_bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn add_unflushed(&self, bytes: usize) {
        self.unflushed_bytes.fetch_add(bytes as isize, Ordering::Relaxed);
    }

    pub(crate) fn take_unflushed(&self, bytes: usize) {
        self.unflushed_bytes.fetch_sub(bytes as isize, Ordering::Relaxed);
    }

    pub(crate) fn fatal(&self) -> Option<Arc<FatalError>> {
        self.fatal.get().cloned()
    }

    /// Notes that the disk cannot be trusted any more, or that a thread panicked, and tells the broker, once.
    pub(crate) fn fail(&self, doing: impl Into<String>, reason: std::io::Error) -> Arc<FatalError> {
        let mut first = false;
        let fatal = self.fatal.get_or_init(|| {
            first = true;
            Arc::new(FatalError { doing: doing.into(), reason })
        });
        if first {
            // First: nothing that becomes of a line of the log may keep the process from ending.
            if let Some(hook) = &self.config.on_fatal {
                hook(fatal);
            }
            let next_step = fatal.next_step();
            tracing::error!(error = %fatal, "the data folder failed, nothing more is accepted: {next_step}");
        }
        Arc::clone(fatal)
    }

    /// Turns a failure into the error the caller of a folder gets.
    pub(crate) fn storage_error(&self, doing: &str, error: FlushError) -> StorageError {
        match error {
            FlushError::NoSpace(reason) => {
                StorageError::Io { path: self.path().to_owned(), reason: Arc::new(reason) }
            }
            FlushError::Failed(reason) => {
                let fatal = self.fail(doing, reason);
                self.close_queue();
                StorageError::Fatal(fatal)
            }
        }
    }

    /// Puts an entry into the queue. The caller holds its partition's lock, which makes the order of
    /// a partition's entries that of its offsets.
    pub(crate) fn enqueue(&self, pending: Pending<P>) {
        if let Err(refused) = self.queue.push(pending)
            && let Some(done) = refused.done
        {
            done(Err(self.alive().err().unwrap_or(StorageError::Closed)));
        }
    }

    /// Ends the queue: what is in it is still committed, nothing more is taken.
    pub(crate) fn close_queue(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.queue.close();
        self.call_room_waiters();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Calls `waiter` when appends may be tried again, at once if that is now.
    pub(crate) fn when_room(&self, waiter: Box<dyn FnOnce() + Send>) {
        let mut waiters = self.room_waiters.lock();
        if self.has_room() || self.queue.is_closed() {
            drop(waiters);
            waiter();
        } else {
            waiters.push(waiter);
        }
    }

    /// Room is announced at half of the limits, so that those woken do not find it gone at once.
    fn has_room(&self) -> bool {
        self.queue.bytes() <= self.config.queue_bytes_max / 2
            && self.unflushed() <= self.config.unflushed_bytes_max / 2
            && self.pool.behind_bytes() < self.wal_bytes_max
    }

    /// Called after queue or tail shrank.
    pub(crate) fn announce_room(&self) {
        if self.has_room() {
            self.call_room_waiters();
        }
    }

    fn call_room_waiters(&self) {
        let waiters = std::mem::take(&mut *self.room_waiters.lock());
        for waiter in waiters {
            waiter();
        }
    }

    /// Has the segments below a partition's start retired.
    pub(crate) fn want_trim(&self, partition: &Arc<P>) {
        self.work.lock().trim.push(Arc::clone(partition));
        self.wake_background();
    }

    /// Has a checkpoint taken soon, because segments were retired whose files can go after it.
    pub(crate) fn want_checkpoint(&self) {
        self.work.lock().retired_since.get_or_insert_with(Instant::now);
        self.wake_background();
    }

    /// Has a checkpoint taken when its time comes, since something changed that it should tell.
    pub(crate) fn note_change(&self) {
        self.work.lock().unsynced_since.get_or_insert_with(Instant::now);
        self.wake_background();
    }

    /// Wakes the background thread if it sleeps.
    pub(crate) fn wake_background(&self) {
        let waiting = std::mem::take(&mut self.work.lock().waiting);
        if waiting {
            self.work_ready.notify_all();
        }
    }
}

impl<P> std::fmt::Debug for SharedBy<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}
