//! A data folder: its lock, its write-ahead log, its partitions.
//!
//! ```text
//! DIR/.lock                       held by the process that has the folder open
//! DIR/checkpoint                  where the log is read from after a restart
//! DIR/wal/00000001.wal …          the write-ahead log
//! DIR/partitions/<topic>-<index>.<topic id>/
//!     partition                   whose folder this is, for people and for repair
//!     00000000000000000000.log    record batches
//!     00000000000000000000.index  where they are
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use kohort_log::{PartitionConfig, Timestamp};
use kohort_protocol::Uuid;
use parking_lot::Mutex;

use crate::background::Background;
use crate::buffers::BufferPool;
use crate::cleaner::Cleaner;
use crate::cleaning::CleanerStats;
use crate::commit::{CommitStep, Committer};
use crate::config::{Background as Who, CleanerConfig, LogDirConfig};
use crate::disk::{DirLock, Disk, Volume};
use crate::error::{FatalError, OpenError, StorageError, io_at};
use crate::failure::FlushError;
use crate::file_disk::FileDisk;
use crate::names::{METADATA_TOPIC, METADATA_TOPIC_ID};
use crate::partition_id::{PartitionId, check_topic_name};
use crate::partition_log::{PartitionLog, Shared};
use crate::partition_state::Restored;
use crate::partitions::Partitions;
use crate::queue::{Done, Pending, PendingEntry};
use crate::recovery::{Recovered, RecoveryReport, recover};
use crate::retention::RetentionReport;
use crate::shared::Shortage;
use crate::threads::spawn;
use crate::wal::entry::{Entry, encode_control};

/// Buffers nobody asked for during this time are let go at the next tick.
const BUFFERS_IDLE: Duration = Duration::from_secs(30);

/// An open data folder. Dropping it without [`shutdown`](LogDir::shutdown) is like killing the
/// process: what was acknowledged is there when it is opened again.
#[derive(Debug)]
pub struct LogDir {
    shared: Arc<Shared>,
    partitions: Arc<Partitions>,
    background: Arc<Background>,
    cleaner: Arc<Cleaner>,
    /// The commit loop, in a simulation; otherwise its thread has it.
    committer: Mutex<Option<Committer>>,
    commit_thread: Mutex<Option<JoinHandle<()>>>,
    background_thread: Mutex<Option<JoinHandle<()>>>,
    cleaner_thread: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn DirLock>>>,
}

impl LogDir {
    /// Opens a data folder, creating it if need be, and brings it to the state it was last
    /// acknowledged in.
    pub fn open(config: LogDirConfig) -> Result<(Arc<LogDir>, RecoveryReport), OpenError> {
        LogDir::open_on(Arc::new(FileDisk), config)
    }

    /// As [`LogDir::open`], on any disk.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        config: LogDirConfig,
    ) -> Result<(Arc<LogDir>, RecoveryReport), OpenError> {
        let who = config.background;
        let Recovered { shared, partitions, wal, lock, report } = recover(disk, config)?;
        let partitions = Arc::new(partitions);
        let background = Arc::new(Background::new(Arc::clone(&shared), Arc::clone(&partitions)));
        let cleaner = Arc::new(Cleaner::new(Arc::clone(&shared), Arc::clone(&partitions)));
        let dir = LogDir {
            shared: Arc::clone(&shared),
            partitions,
            background: Arc::clone(&background),
            cleaner: Arc::clone(&cleaner),
            committer: Mutex::new(None),
            commit_thread: Mutex::new(None),
            background_thread: Mutex::new(None),
            cleaner_thread: Mutex::new(None),
            lock: Mutex::new(Some(lock)),
        };
        let committer = Committer::new(shared, wal);
        match who {
            Who::Manual => *dir.committer.lock() = Some(committer),
            Who::Threads => {
                let shared = &dir.shared;
                let failed = io_at(shared.path());
                let thread = spawn(shared, "commit", || committer.run()).map_err(&failed)?;
                *dir.commit_thread.lock() = Some(thread);
                let thread =
                    spawn(shared, "segments", move || background.run()).map_err(&failed)?;
                *dir.background_thread.lock() = Some(thread);
                if shared.config.cleaner.enabled {
                    let thread =
                        spawn(shared, "cleaner", move || cleaner.run()).map_err(&failed)?;
                    *dir.cleaner_thread.lock() = Some(thread);
                }
            }
        }
        Ok((Arc::new(dir), report))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        self.shared.path()
    }

    /// Creates a partition, or returns it with `config` in force if it is there. The creation enters the
    /// log before any append to the partition, so nobody need wait for it.
    pub fn create_partition(
        &self,
        id: PartitionId,
        config: PartitionConfig,
    ) -> Result<Arc<PartitionLog>, StorageError> {
        self.shared.alive()?;
        check_topic_name(&id.topic)?;
        let key = (id.topic_id, id.index);
        let mut partitions = self.partitions.write();
        if let Some(partition) = partitions.get(&key) {
            partition.set_config(config);
            return Ok(Arc::clone(partition));
        }
        let entry = encode_control(&Entry::Create { key, topic: &id.topic });
        self.shared.enqueue(Pending { what: PendingEntry::Control(entry), done: None });
        let partition =
            PartitionLog::new(id, Arc::clone(&self.shared), config, Restored::default());
        partitions.insert(key, Arc::clone(&partition));
        Ok(partition)
    }

    /// Returns a partition.
    pub fn partition(&self, topic_id: Uuid, index: i32) -> Option<Arc<PartitionLog>> {
        self.partitions.read().get(&(topic_id, index)).cloned()
    }

    /// Returns all partitions, the metadata log included, in order of topic id and index.
    pub fn partitions(&self) -> Vec<Arc<PartitionLog>> {
        self.partitions.all()
    }

    /// Returns the log in which the broker keeps its own metadata. It is an ordinary partition: read
    /// it from its start to its high watermark when the broker starts.
    pub fn metadata_log(&self) -> Result<Arc<PartitionLog>, StorageError> {
        let id =
            PartitionId { topic_id: METADATA_TOPIC_ID, topic: Arc::from(METADATA_TOPIC), index: 0 };
        self.create_partition(id, PartitionConfig::default())
    }

    /// Deletes a partition and its records. It is gone from here at once; `done` is called when the
    /// deletion is durable. Returns whether there was one.
    pub fn delete_partition(
        &self,
        topic_id: Uuid,
        index: i32,
        done: impl FnOnce(Result<(), StorageError>) + Send + 'static,
    ) -> Result<bool, StorageError> {
        self.shared.alive()?;
        let key = (topic_id, index);
        let partition = {
            let mut partitions = self.partitions.write();
            let Some(partition) = partitions.remove(&key) else { return Ok(false) };
            // A checkpoint sees it here or there.
            self.shared.deleting.lock().insert(key, Arc::clone(&partition));
            partition
        };
        partition.set_deleted();
        let shared = Arc::clone(&self.shared);
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                // Only now: a folder without its deletion in the log would be damage.
                shared.work.lock().remove_dirs.push(partition);
                shared.wake_background();
            }
            done(result);
        });
        let entry = encode_control(&Entry::Delete { key });
        self.shared.enqueue(Pending { what: PendingEntry::Control(entry), done: Some(done) });
        Ok(true)
    }

    /// Calls `waiter` when appends refused with
    /// [`AppendError::QueueFull`](crate::AppendError::QueueFull) may be tried again: at once if that is
    /// now, else on the commit or background thread.
    pub fn when_room(&self, waiter: impl FnOnce() + Send + 'static) {
        self.shared.when_room(Box::new(waiter));
    }

    /// Returns the pool that its large buffers come from, for those who hand it large batches.
    pub fn buffers(&self) -> &Arc<BufferPool> {
        &self.shared.buffers
    }

    /// Does what time brings about: forgets idempotent producers that were silent for too long,
    /// lets go of memory that nobody needed since the last time. To be called now and then.
    pub fn tick(&self, now: Timestamp) {
        for partition in self.partitions.all() {
            partition.expire_producers(now);
        }
        self.shared.buffers.let_go_if_unused_for(BUFFERS_IDLE);
    }

    /// Deletes segments that are too old or too many by their partitions' settings. May wait for the
    /// disk. To be called now and then.
    pub fn enforce_retention(&self, now: Timestamp) -> Result<RetentionReport, StorageError> {
        self.shared.alive()?;
        let result = self.background.enforce_retention(now);
        result.map_err(|error| self.shared.storage_error("deleting old segments", error))
    }

    /// Returns the size of the volume the folder is on, and what is left of it.
    pub fn volume(&self) -> std::io::Result<Volume> {
        self.shared.disk.volume(self.shared.path())
    }

    /// Tells whether clients' appends are refused for want of space.
    pub fn is_disk_full(&self) -> bool {
        self.shortage() == Some(Shortage::Space)
    }

    /// Returns for want of what clients' appends are refused, if they are.
    pub fn shortage(&self) -> Option<Shortage> {
        self.shared.shortage()
    }

    /// Returns the failure after which the folder accepts nothing more, if there was one.
    pub fn fatal(&self) -> Option<Arc<FatalError>> {
        self.shared.fatal()
    }

    /// Returns the leader epoch of all partitions: one more after each restart that cut something off.
    pub fn leader_epoch(&self) -> i32 {
        self.shared.leader_epoch.load(Ordering::Relaxed)
    }

    /// Returns how many segment and index files are open now.
    pub fn open_files(&self) -> usize {
        self.shared.files.open_files()
    }

    /// Commits what is queued, in a simulation. Does nothing when threads do it.
    pub fn step_commit(&self) -> CommitStep {
        let mut committer = self.committer.lock();
        committer.as_mut().map_or(CommitStep::Idle, |committer| committer.step(false))
    }

    /// Writes what is committed to segments, prepares a log file and removes deleted partitions'
    /// folders, as the background thread does.
    pub fn step_flush(&self) -> Result<(), StorageError> {
        let background = &self.background;
        let work = || {
            // First what makes room.
            background.trim();
            background.remove_dirs()?;
            if self.shared.pool.wants_spare() {
                background.prepare()?;
            }
            background.flush()
        };
        work().map_err(|error| self.shared.storage_error("writing segments", error))
    }

    /// Compacts the dirtiest partition that is worth it, as the cleaner's thread does. Returns whether
    /// there was one.
    pub fn step_clean(&self) -> Result<bool, StorageError> {
        let cleaned = self.cleaner.step();
        cleaned.map_err(|error| self.shared.storage_error("compacting", error))
    }

    /// Puts other settings of the cleaner in force. Whether there is one is not changed by this.
    pub fn set_cleaner_config(&self, config: CleanerConfig) {
        self.shared.cleaning.set_config(config);
    }

    /// Returns what the cleaner did and has before it.
    pub fn cleaner_stats(&self) -> CleanerStats {
        self.cleaner.stats()
    }

    /// Takes a checkpoint now.
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        let result = self.background.checkpoint(false);
        result.map_err(|error| self.shared.storage_error("taking a checkpoint", error))
    }

    /// Closes the folder: commits what is queued, writes it to segments, takes a checkpoint and
    /// releases the lock. Appends are refused from now on.
    ///
    /// On a full disk there may be no room for segments or checkpoint. That is no failure: the log has
    /// everything that was acknowledged, and the next start reads it as after a crash.
    pub fn shutdown(&self) -> Result<(), StorageError> {
        self.stop_threads();
        if let Some(fatal) = self.shared.fatal() {
            return Err(StorageError::Fatal(fatal));
        }
        let result = match self.background.checkpoint(true) {
            Err(FlushError::NoSpace(error)) => {
                tracing::warn!(%error, "no room for segments and checkpoint: the next start reads the log instead");
                // There may be room for one of what is in segments, after which the log is shorter.
                match self.background.checkpoint(false) {
                    Ok(()) | Err(FlushError::NoSpace(_)) => {
                        self.shared.pool.sync_live().map_err(FlushError::of_sync)
                    }
                    failed => failed,
                }
            }
            result => result,
        };
        let result = result.map_err(|error| self.shared.storage_error("closing", error));
        self.lock.lock().take();
        result
    }

    fn stop_threads(&self) {
        self.shared.cleaning.stop();
        let cleaner_thread = self.cleaner_thread.lock().take();
        if let Some(thread) = cleaner_thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
        self.shared.close_queue();
        if let Some(committer) = &mut *self.committer.lock() {
            committer.close();
        }
        let commit_thread = self.commit_thread.lock().take();
        if let Some(thread) = commit_thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
        self.shared.work.lock().stop = true;
        self.shared.work_ready.notify_all();
        let background_thread = self.background_thread.lock().take();
        if let Some(thread) = background_thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for LogDir {
    fn drop(&mut self) {
        self.stop_threads();
        // Partitions and the folder hold on to each other.
        self.partitions.write().clear();
        self.shared.deleting.lock().clear();
        let mut work = self.shared.work.lock();
        work.dirty.clear();
        work.remove_dirs.clear();
        work.trim.clear();
        work.hot.clear();
    }
}
