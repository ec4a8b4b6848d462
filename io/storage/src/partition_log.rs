//! One partition's log: what is appended, what is readable, and where it is kept.
//!
//! ```text
//! log start            flushed            high watermark        log end
//!     │ segments on disk  │ tail, in memory       │ in the commit queue │
//!     ▼                   ▼                       ▼                     ▼
//!     ──────────────────────────────────────────────────────────────────
//!                    └ part of the flushed records also stays in the tail, for readers close behind
//! ```
//!
//! An append takes its offsets under the partition's lock and enters the queue before the lock is
//! released, so the log's order is the order of offsets. Nothing above the high watermark is readable;
//! it moves when the commit thread has the records on disk.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use kohort_log::producer_state::ActiveProducer;
use kohort_log::{PartitionConfig, Timestamp};
use kohort_protocol::records::batches;
use parking_lot::{Mutex, RwLock};

use crate::broken::Broken;
use crate::error::StorageError;
use crate::partition_id::{PartitionId, dir_name};
use crate::partition_state::{Chunk, PartitionState, Restored};
use crate::queue::{Done, Pending, PendingEntry};
use crate::shared::{Hot, SharedBy};
use crate::wal::entry::{Entry, PartitionKey, encode_control};

/// How a log is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCounters {
    /// The first offset there is.
    pub log_start_offset: i64,
    /// The offset after the last durable record.
    pub high_watermark: i64,
    /// The offset the next record gets.
    pub log_end_offset: i64,
    /// How many bytes segments and records not yet in them take.
    pub size_in_bytes: u64,
    /// How many segments there are.
    pub segments: usize,
}

/// What the partitions of a folder share.
pub(crate) type Shared = SharedBy<PartitionLog>;

/// Called on the commit thread, without any lock, with the new high watermark.
pub type AdvanceListener = Arc<dyn Fn(i64) + Send + Sync>;

/// One partition's log. Obtained from [`LogDir`](crate::LogDir); all methods may be called from any
/// thread and none but reads and lookups touch the disk.
pub struct PartitionLog {
    id: PartitionId,
    pub(crate) uid: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) this: Weak<PartitionLog>,
    config: RwLock<Arc<PartitionConfig>>,
    high_watermark: AtomicI64,
    log_start: AtomicI64,
    pub(crate) dirty: AtomicBool,
    /// Whether the folder may hold files from before a restart that no checkpoint names.
    pub(crate) untidy: AtomicBool,
    listeners: RwLock<Vec<AdvanceListener>>,
    pub(crate) state: Mutex<PartitionState>,
}

impl PartitionLog {
    pub(crate) fn new(
        id: PartitionId,
        shared: Arc<Shared>,
        config: PartitionConfig,
        restored: Restored,
    ) -> Arc<PartitionLog> {
        let uid = shared.next_uid.fetch_add(1, Ordering::Relaxed);
        Arc::new_cyclic(|this| PartitionLog {
            id,
            uid,
            shared,
            this: Weak::clone(this),
            config: RwLock::new(Arc::new(config)),
            high_watermark: AtomicI64::new(restored.state.next_offset),
            log_start: AtomicI64::new(restored.log_start),
            dirty: AtomicBool::new(false),
            untidy: AtomicBool::new(restored.untidy),
            listeners: RwLock::default(),
            state: Mutex::new(restored.state),
        })
    }

    /// Returns which partition this is.
    pub fn id(&self) -> &PartitionId {
        &self.id
    }

    pub(crate) fn key(&self) -> PartitionKey {
        self.id.key()
    }

    /// Returns the settings in force.
    pub fn config(&self) -> Arc<PartitionConfig> {
        Arc::clone(&self.config.read())
    }

    /// Puts other settings in force, from the next append on.
    pub fn set_config(&self, config: PartitionConfig) {
        let compacted = config.compacted;
        *self.config.write() = Arc::new(config);
        if compacted {
            self.shared.cleaning.want();
        }
    }

    /// Returns the offset after the last durable record: readers see what is below.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Returns the offset after the last record of a decided transaction; as long as there are no
    /// transactions, the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        self.high_watermark()
    }

    /// Returns the first offset there is.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start.load(Ordering::Acquire)
    }

    /// Returns the offset the next record gets.
    pub fn log_end_offset(&self) -> i64 {
        self.state.lock().next_offset
    }

    /// Returns the leader epoch that appends are stamped with.
    pub fn leader_epoch(&self) -> i32 {
        self.shared.leader_epoch.load(Ordering::Relaxed)
    }

    /// Returns the leader epoch of the record at `offset`, or -1.
    pub fn epoch_of(&self, offset: i64) -> i32 {
        self.state.lock().epochs.epoch_of(offset).unwrap_or(-1)
    }

    /// Answers OffsetForLeaderEpoch: the largest epoch not above `epoch` and its end. Nothing if
    /// `epoch` is not known.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let end = self.high_watermark();
        self.state.lock().epochs.end_offset(epoch, self.leader_epoch(), end)
    }

    /// Lists the idempotent producers that are remembered.
    pub fn producers(&self) -> Vec<ActiveProducer> {
        self.state.lock().producers.active().collect()
    }

    /// Returns what an operator wants to know of the log, all of one moment.
    pub fn counters(&self) -> LogCounters {
        let state = self.state.lock();
        let log_start_offset = self.log_start_offset();
        LogCounters {
            log_start_offset,
            high_watermark: self.high_watermark(),
            log_end_offset: state.next_offset,
            size_in_bytes: self.size_of(&state),
            segments: state
                .segments
                .keys()
                .filter(|base| state.segment_end(**base) > log_start_offset)
                .count(),
        }
    }

    /// Returns how many bytes the partition's segments and unflushed records take. Segments below the
    /// log's start count no more, although their files go a little later.
    pub fn size_in_bytes(&self) -> u64 {
        self.size_of(&self.state.lock())
    }

    fn size_of(&self, state: &PartitionState) -> u64 {
        let log_start = self.log_start_offset();
        let written = state.flushed.max(log_start);
        let tail = state.tail.iter().filter(|chunk| chunk.next_offset > written);
        let kept = state.segments.iter().filter(|(base, _)| state.segment_end(**base) > log_start);
        kept.map(|(_, segment)| u64::from(segment.bytes)).sum::<u64>()
            + tail.map(|chunk| chunk.bytes.len() as u64).sum::<u64>()
    }

    /// Calls `listener` whenever the high watermark moved. Listeners stay for the partition's life
    /// and must return quickly: they hold up the commit thread.
    pub fn on_advance(&self, listener: AdvanceListener) {
        self.listeners.write().push(listener);
    }

    /// Makes records below `offset` unreadable for good (DeleteRecords). `done` is called when that is
    /// durable. Returns the new log start.
    pub fn advance_log_start(
        &self,
        offset: i64,
        done: impl FnOnce(Result<(), StorageError>) + Send + 'static,
    ) -> Result<i64, StorageError> {
        self.shared.alive()?;
        let mut state = self.state.lock();
        if state.deleted {
            return Err(StorageError::Deleted);
        }
        let offset = offset.min(self.high_watermark());
        let start = self.log_start.fetch_max(offset, Ordering::AcqRel).max(offset);
        state.epochs.truncate_front(start);
        let entry = encode_control(&Entry::LogStart { key: self.key(), offset: start });
        let done: Done = Box::new(done);
        self.shared.enqueue(Pending { what: PendingEntry::Control(entry), done: Some(done) });
        drop(state);
        // Not only when that is durable: files go after a checkpoint, which states the new start as
        // well. On a full disk the log may have to wait for just that.
        self.shared.want_trim(&self.this.upgrade().expect("self is alive"));
        Ok(start)
    }

    /// Forgets idempotent producers that were silent for too long.
    pub(crate) fn expire_producers(&self, now: Timestamp) {
        let expiration_ms = self.shared.config.producer_expiration_ms;
        self.state.lock().producers.remove_expired(now, expiration_ms);
    }

    /// Takes over batches that are durable now.
    pub(crate) fn commit(&self, chunk: Chunk) -> Option<Hot<PartitionLog>> {
        let Chunk { first_offset, next_offset, .. } = chunk;
        let bytes = chunk.bytes.len();
        {
            let mut state = self.state.lock();
            if state.deleted {
                return None;
            }
            assert_eq!(
                self.high_watermark(),
                first_offset,
                "commits of a partition come in the order of its offsets"
            );
            state.tail.push_back(chunk);
            self.high_watermark.store(next_offset, Ordering::Release);
        }
        Some(Hot { partition: Weak::clone(&self.this), next_offset, bytes })
    }

    /// Tells the listeners that the high watermark moved.
    pub(crate) fn announce(&self) {
        let high_watermark = self.high_watermark();
        for listener in self.listeners.read().iter() {
            listener(high_watermark);
        }
    }

    /// Puts the partition on the list of those with something to flush; returns whether it was not.
    pub(crate) fn mark_dirty(&self) -> Option<Arc<PartitionLog>> {
        if self.dirty.swap(true, Ordering::AcqRel) { None } else { self.this.upgrade() }
    }

    /// Drops what the tail holds below `offset`, which is in segments.
    pub(crate) fn evict(&self, offset: i64) {
        let mut state = self.state.lock();
        let offset = offset.min(state.flushed);
        while state.tail.front().is_some_and(|chunk| chunk.next_offset <= offset) {
            state.tail.pop_front();
        }
        if state.tail.is_empty() {
            state.tail.shrink_to_fit();
        }
    }

    /// Takes over an append found in the log after a restart.
    pub(crate) fn replay_append(
        &self,
        chunk: Chunk,
        now: Timestamp,
        allow_gap: bool,
    ) -> Result<Option<Hot<PartitionLog>>, ReplayGap> {
        let Chunk { first_offset, next_offset, .. } = chunk;
        let mut state = self.state.lock();
        if next_offset <= state.next_offset {
            return Ok(None);
        }
        if first_offset != state.next_offset && !(allow_gap && first_offset > state.next_offset) {
            return Err(ReplayGap { expected: state.next_offset, found: first_offset });
        }
        for batch in batches(&chunk.bytes) {
            // The frame's checksum covered it, and it was checked when it was appended.
            let Ok(batch) = batch else { break };
            state.note_batch(batch.header(), now);
        }
        let bytes = chunk.bytes.len();
        state.tail.push_back(chunk);
        state.next_offset = next_offset;
        self.high_watermark.store(next_offset, Ordering::Release);
        Ok(Some(Hot { partition: Weak::clone(&self.this), next_offset, bytes }))
    }

    pub(crate) fn replay_log_start(&self, offset: i64) {
        self.log_start.fetch_max(offset, Ordering::AcqRel);
        self.state.lock().epochs.truncate_front(offset);
    }

    /// After a restart: if the log was cut below its start, it begins there and is empty.
    pub(crate) fn begin_at_log_start(&self) {
        let mut state = self.state.lock();
        let log_start = self.log_start_offset();
        if state.next_offset < log_start {
            state.next_offset = log_start;
            self.high_watermark.store(log_start, Ordering::Release);
        }
    }

    /// Returns the first file of the log that holds a record which is in no segment.
    pub(crate) fn oldest_unflushed(&self) -> Option<u64> {
        let state = self.state.lock();
        let first = state.tail.partition_point(|chunk| chunk.next_offset <= state.flushed);
        state.tail.get(first).map(|chunk| chunk.wal_file)
    }

    /// Marks the partition as gone.
    pub(crate) fn set_deleted(&self) {
        let mut state = self.state.lock();
        let flushed = state.flushed;
        let unflushed = state.tail.iter().filter(|chunk| chunk.next_offset > flushed);
        self.shared.take_unflushed(unflushed.map(|chunk| chunk.bytes.len()).sum());
        state.deleted = true;
        state.tail = VecDeque::new();
        state.segments = BTreeMap::new();
        state.retired = Vec::new();
        self.shared.files.forget_partition(self.uid);
    }

    /// Refuses appends from now on. The first reason stays, and is told once.
    pub(crate) fn fail_alone(&self, path: &Path, reason: String) {
        let mut state = self.state.lock();
        if state.broken.is_none() && !state.deleted {
            let broken = Arc::new(Broken { path: path.to_owned(), reason });
            state.broken = Some(Arc::clone(&broken));
            drop(state);
            let error = broken.refusal(self.id());
            tracing::error!(%error, "a partition is damaged: the others go on");
        }
    }

    /// Returns the partition's folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.shared.path().join(crate::names::PARTITIONS).join(dir_name(&self.id))
    }
}

impl fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionLog")
            .field("id", &self.id)
            .field("log_start", &self.log_start_offset())
            .field("high_watermark", &self.high_watermark())
            .finish_non_exhaustive()
    }
}

/// A partition's entries in the log do not follow one another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplayGap {
    pub(crate) expected: i64,
    pub(crate) found: i64,
}
