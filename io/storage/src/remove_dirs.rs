//! Removes the folders of deleted partitions, whose deletion is durable.
//!
//! To remove one takes milliseconds, and a request may delete thousands. So this has a thread of its own
//! while there is something to remove, which keeps nothing from being written to segments, and asks after
//! each file whether the folder is being closed. What is left then goes at the next start, as after a
//! crash: checkpoints tell of a deletion until its folder is gone.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::background::Background;
use crate::config::FlushMode;
use crate::failure::FlushError;
use crate::names::PARTITIONS;
use crate::partition_log::PartitionLog;

/// So many folders are removed before that is made durable and checkpoints speak of them no more.
const SLICE: usize = 64;

/// How far the removal of some folders came.
enum Removed {
    All,
    /// The folder is being closed.
    Stopped,
}

impl Background {
    /// Removes folders on a thread of its own.
    pub(crate) fn start_removal(self: &Arc<Self>) -> Result<(), FlushError> {
        let this = Arc::clone(self);
        self.removal.start(&self.shared, "removal", move || {
            let _ = this.settle(this.remove_dirs());
            this.removal.ended();
            this.shared.wake_background();
        })
    }

    /// Removes the folders that are to go, until there are none or the folder is being closed.
    pub(crate) fn remove_dirs(&self) -> Result<(), FlushError> {
        loop {
            let mut slice: Vec<Arc<PartitionLog>> = {
                let mut work = self.shared.work.lock();
                let count = work.remove_dirs.len().min(SLICE);
                work.remove_dirs.drain(..count).collect()
            };
            slice.retain(|partition| {
                !self.shared.cleaning.defer_removal(partition, &partition.dir())
            });
            if slice.is_empty() {
                return Ok(());
            }
            let removed = self.remove_slice(&slice);
            if !matches!(removed, Ok(Removed::All)) {
                self.shared.work.lock().remove_dirs.append(&mut slice);
                return removed.map(|_| ());
            }
            let mut deleting = self.shared.deleting.lock();
            for partition in &slice {
                deleting.remove(&partition.key());
            }
        }
    }

    fn remove_slice(&self, slice: &[Arc<PartitionLog>]) -> Result<Removed, FlushError> {
        let shared = &self.shared;
        if shared.config.flush == FlushMode::PageCache {
            // Or a power cut might take the deletion back, but not the files.
            shared.pool.sync_live().map_err(FlushError::of_sync)?;
        }
        // Whoever writes segments since then saw that these are deleted.
        drop(self.writing.lock());
        for partition in slice {
            let dir = partition.dir();
            match self.remove_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Removed::All) => {}
                Ok(Removed::Stopped) => return Ok(Removed::Stopped),
                Err(error) => return Err(FlushError::from(error).at(&dir)),
            }
        }
        // Until then checkpoints tell of the deletion: a start removes only what is on record.
        let folder = shared.path().join(PARTITIONS);
        let synced = shared.disk.sync_dir(&folder);
        synced.map_err(|error| FlushError::of_sync(error).at(&folder))?;
        Ok(Removed::All)
    }

    /// Removes a folder file by file: a large one takes as long as many small folders do.
    fn remove_dir(&self, dir: &Path) -> io::Result<Removed> {
        let disk = &self.shared.disk;
        for name in disk.list(dir)? {
            if self.shared.work.lock().stop {
                return Ok(Removed::Stopped);
            }
            // What is no file goes below.
            let _ = disk.remove_file(&dir.join(name));
        }
        disk.remove_dir_all(dir).map(|()| Removed::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Disk, LogDir, PartitionConfig, SimulatedDisk, fixture};

    /// Deletes three partitions that have segments.
    fn deleted(disk: &SimulatedDisk) -> Arc<LogDir> {
        let dir = fixture::open(disk);
        for index in 0..3 {
            fixture::append(&fixture::partition(&dir, index, PartitionConfig::default()));
        }
        dir.step_commit();
        dir.checkpoint().unwrap();
        for index in 0..3 {
            assert!(dir.delete_partition(fixture::TOPIC_ID, index, drop).unwrap());
        }
        dir.step_commit();
        dir
    }

    #[test]
    fn folders_that_are_left_when_the_log_is_closed_are_removed_by_the_next_start() {
        let disk = SimulatedDisk::new(1);
        let dir = deleted(&disk);
        dir.shared().work.lock().stop = true;
        dir.step_flush().unwrap();
        dir.shutdown().unwrap();
        drop(dir);
        disk.kill_process();
        let (dir, report) = LogDir::open_on(Arc::new(disk), fixture::config()).unwrap();
        let removed = (0..3).map(|index| format!("t-{index}.{}", "01".repeat(16)));
        assert_eq!(report.folders_removed, removed.collect::<Vec<_>>());
        assert!(report.clean && dir.partitions().is_empty());
    }

    #[test]
    fn folders_whose_removal_was_cut_short_are_removed_the_next_time() {
        let disk = SimulatedDisk::new(1);
        let dir = deleted(&disk);
        let folders = || disk.list(Path::new("/data/partitions")).unwrap().len();
        dir.shared().work.lock().stop = true;
        dir.step_flush().unwrap();
        assert_eq!((folders(), dir.shared().deleting.lock().len()), (3, 3));
        dir.shared().work.lock().stop = false;
        dir.step_flush().unwrap();
        assert_eq!((folders(), dir.shared().deleting.lock().len()), (0, 0));
    }

    /// 1. Folders are removed. 2. A checkpoint no longer tells of their deletion. 3. The power goes.
    #[test]
    fn folders_are_gone_for_good_before_checkpoints_speak_of_them_no_more() {
        for seed in 0..20 {
            let disk = SimulatedDisk::new(seed);
            let dir = deleted(&disk);
            dir.step_flush().unwrap();
            dir.checkpoint().unwrap();
            disk.power_cut();
            drop(dir);
            let (_dir, report) = LogDir::open_on(Arc::new(disk), fixture::config()).unwrap();
            let back = (report.folders_removed, report.folders_set_aside);
            assert_eq!(back, (vec![], vec![]), "seed {seed}");
        }
    }
}
