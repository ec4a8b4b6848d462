//! Takes checkpoints: makes segments durable, notes from where the log is read after a restart, and frees
//! the log's files before that.
//!
//! On a full disk not all of the log may be in segments. Then the checkpoint is of what is: from the first
//! file of the log on that holds anything else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::background::Background;
use crate::checkpoint::{CheckpointHead, encode, write};
use crate::config::FlushMode;
use crate::failure::FlushError;
use crate::names::PARTITIONS;
use crate::partition_log::PartitionLog;
use crate::segment::SegmentName;
use crate::unsynced::{Unsynced, unsynced};
use crate::wal::position::WalPosition;

/// A checkpoint about to be written.
struct Prepared {
    wal: WalPosition,
    content: Vec<u8>,
    /// What it relies on and must be made durable before.
    unsynced: Vec<Unsynced>,
    /// Segments it does not name, whose files can go after it.
    retired: Vec<(Arc<PartitionLog>, Vec<SegmentName>)>,
    /// Whether everything committed before is in segments.
    complete: bool,
}

impl Background {
    /// Takes a checkpoint on a thread of its own.
    pub(crate) fn start_checkpoint(self: &Arc<Self>) -> Result<(), FlushError> {
        let this = Arc::clone(self);
        self.checkpoint_thread.start(&self.shared, "checkpoint", move || {
            let _ = this.settle(this.checkpoint(false));
            this.checkpoint_thread.ended();
            this.shared.wake_background();
        })
    }

    /// Makes all segments durable and notes from where the log must be read after a restart; the log's
    /// files before that are free again.
    pub(crate) fn checkpoint(&self, clean: bool) -> Result<(), FlushError> {
        let _checkpointing = self.checkpointing.lock();
        let retired_since = {
            let mut work = self.shared.work.lock();
            work.unsynced_since = None;
            work.retired_since.take()
        };
        let result = self.checkpoint_now(clean);
        if result.is_err() {
            let now = Instant::now();
            let mut work = self.shared.work.lock();
            work.unsynced_since.get_or_insert(now);
            work.retired_since = work.retired_since.or(retired_since.map(|_| now));
        }
        result
    }

    fn checkpoint_now(&self, clean: bool) -> Result<(), FlushError> {
        let shared = &self.shared;
        let Prepared { wal, content, unsynced, retired, complete } =
            self.prepare_checkpoint(clean)?;
        self.make_durable(&unsynced)?;
        if !complete && shared.config.flush == FlushMode::PageCache {
            // The log is read from before deletions of partitions that the checkpoint does not name any
            // more: those must not be lost.
            shared.pool.sync_live().map_err(FlushError::of_sync)?;
        }
        write(&*shared.disk, shared.path(), &content)?;
        *shared.checkpointed.lock() = Some(wal);
        shared.pool.release_before(wal.file_number)?;
        for (partition, segments) in &retired {
            let removed = partition.remove_retired(segments);
            removed.map_err(|error| FlushError::from(error).at(&partition.dir()))?;
        }
        if complete || !retired.is_empty() {
            self.space_is_back();
        }
        shared.announce_room();
        Ok(())
    }

    /// Makes what was written to segments durable. Meanwhile the log grows, and at its bound clients' appends
    /// wait: so where there is much of it, at one go.
    fn make_durable(&self, unsynced: &[Unsynced]) -> Result<(), FlushError> {
        let shared = &self.shared;
        if unsynced.is_empty() {
            return Ok(());
        }
        if let Some(volume) = &shared.volume
            && unsynced.len() >= shared.config.sync_volume_from
        {
            let synced = volume.sync();
            synced.map_err(|error| FlushError::of_sync(error).at(shared.path()))?;
            unsynced.iter().for_each(Unsynced::note_synced);
            return Ok(());
        }
        for unsynced in unsynced {
            unsynced.sync()?;
        }
        let folder = shared.path().join(PARTITIONS);
        let synced = shared.disk.sync_dir(&folder);
        synced.map_err(|error| FlushError::of_sync(error).at(&folder))
    }

    /// Writes segments up to where the log is now, and notes how all is at that moment. What is
    /// written after that may be durable as well; the checkpoint does not speak of it.
    fn prepare_checkpoint(&self, clean: bool) -> Result<Prepared, FlushError> {
        let _writing = self.writing.lock();
        let shared = &self.shared;
        // Before the flush: what is committed after this is read from the log again.
        let mut wal = *shared.committed.lock();
        let flushed = self.flush_dirty();
        let partitions = self.partitions.all_with(&shared.deleting);
        let complete = flushed.is_ok();
        if let Err(error) = flushed {
            let retired = partitions.iter().any(|partition| !partition.retired().is_empty());
            let earlier = *shared.checkpointed.lock();
            let FlushError::NoSpace(error) = error else { return Err(error) };
            // What can go makes room for the rest: files of segments that were retired, and those of the
            // log before the first that has a record which is in no segment. What segments have of the
            // log after that is passed over when it is read.
            wal = self.position_to_keep(&partitions, wal, earlier);
            let frees = retired || earlier.is_none_or(|at| at.file_number < wal.file_number);
            if clean || !frees {
                return Err(FlushError::NoSpace(error));
            }
        }
        let leader_epoch = shared.leader_epoch.load(Ordering::Relaxed);
        let head = CheckpointHead { salt: shared.salt, leader_epoch, clean, wal };
        // Before the content is made: what is retired after it is named in it.
        let retired =
            partitions.iter().map(|partition| (Arc::clone(partition), partition.retired()));
        let retired = retired.filter(|(_, segments)| !segments.is_empty()).collect();
        let content = encode(&head, &partitions);
        let unsynced = partitions.iter().filter_map(unsynced).collect();
        Ok(Prepared { wal, content, unsynced, retired, complete })
    }

    /// Returns from where the log must be read if not everything up to `now` is in segments.
    fn position_to_keep(
        &self,
        partitions: &[Arc<PartitionLog>],
        now: WalPosition,
        earlier: Option<WalPosition>,
    ) -> WalPosition {
        let unflushed = partitions.iter().filter_map(|partition| partition.oldest_unflushed());
        let file = unflushed.min().map_or(now.file_number, |file| file.min(now.file_number));
        let start = self.shared.pool.start_of(file);
        let keep = start.into_iter().chain(earlier).max_by_key(|at| (at.file_number, at.position));
        keep.unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use crate::{PartitionConfig, SimulatedDisk, fixture};

    #[test]
    fn checkpoint_that_fails_is_wanted_as_before_it() {
        let disk = SimulatedDisk::new(1);
        let dir = fixture::open(&disk);
        let log = fixture::partition(&dir, 0, PartitionConfig::default());
        fixture::append(&log);
        dir.step_commit();
        let wanted = || {
            let work = dir.shared().work.lock();
            (work.unsynced_since.is_some(), work.retired_since.is_some())
        };
        disk.set_capacity(Some(disk.used()));
        for (retired, expected) in [(false, (true, false)), (true, (true, true))] {
            if retired {
                dir.shared().want_checkpoint();
            }
            dir.checkpoint().unwrap_err();
            assert_eq!(wanted(), expected);
        }
        disk.set_capacity(None);
        dir.checkpoint().unwrap();
        assert_eq!(wanted(), (false, false));
    }
}
