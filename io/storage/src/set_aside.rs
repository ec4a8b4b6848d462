//! Taking a partition that nobody knows out of service while the broker runs: its folder becomes a
//! [stray](crate::strays).

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kohort_protocol::Uuid;

use crate::background::Background;
use crate::error::StorageError;
use crate::failure::FlushError;
use crate::flush::flush_partition;
use crate::log_dir::LogDir;
use crate::names::PARTITIONS;
use crate::partition_id::dir_name;
use crate::partition_log::PartitionLog;
use crate::queue::{Done, Pending, PendingEntry};
use crate::strays::{
    list_strays, parse_dir_name, partition_of_stray_at, set_name_aside, tell_stray,
};
use crate::unsynced::unsynced;
use crate::wal::entry::{Entry, encode_control};

impl Background {
    /// Takes a partition out of the folder and keeps its records under a name that is left alone.
    ///
    /// 1. All that is acknowledged is made durable in its segments. 2. Its folder is renamed. 3. Its
    ///    deletion enters the log. A start after any of them finds the records here or there.
    fn set_aside(&self, partition: &Arc<PartitionLog>) -> Result<Option<PathBuf>, FlushError> {
        // A checkpoint must not sync segments under their old names.
        let _checkpointing = self.checkpointing.lock();
        let _writing = self.writing.lock();
        flush_partition(partition)?;
        if let Some(unsynced) = unsynced(partition) {
            unsynced.sync()?;
        }
        let disk = &*self.shared.disk;
        let dir = self.shared.path().join(PARTITIONS);
        let name = dir_name(partition.id());
        let stray = if disk.list(&dir)?.contains(&name) {
            let Some(stray) = set_name_aside(disk, &dir, &name)? else { return Ok(None) };
            disk.sync_dir(&dir).map_err(FlushError::of_sync)?;
            Some(dir.join(stray))
        } else {
            None
        };
        let key = partition.key();
        {
            let mut partitions = self.partitions.write();
            partitions.remove(&key);
            // A checkpoint sees it here or there.
            self.shared.deleting.lock().insert(key, Arc::clone(partition));
        }
        partition.set_deleted();
        let shared = Arc::clone(&self.shared);
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                shared.deleting.lock().remove(&key);
            }
        });
        let entry = encode_control(&Entry::Delete { key });
        self.shared.enqueue(Pending { what: PendingEntry::Control(entry), done: Some(done) });
        Ok(stray)
    }
}

impl LogDir {
    /// Takes a partition that nobody knows out of service, and keeps its records in a folder that is
    /// left alone from now on. Says which; nothing if there is no such partition, or nothing to keep.
    /// Waits for the disk.
    pub fn set_aside(&self, topic_id: Uuid, index: i32) -> Result<Option<PathBuf>, StorageError> {
        self.shared().alive()?;
        let Some(partition) = self.partition(topic_id, index) else { return Ok(None) };
        let set_aside = self.background().set_aside(&partition);
        let stray = set_aside
            .map_err(|error| self.shared().storage_error("setting a folder aside", error))?;
        if let Some(path) = &stray {
            tell_stray(path);
        }
        Ok(stray)
    }

    /// Returns the ids of topics of which a partition was set aside, by this start or an earlier one, and is
    /// still there: `kohort log repair` can bring them back.
    pub fn topics_set_aside(&self) -> io::Result<BTreeSet<Uuid>> {
        let strays = list_strays(&*self.shared().disk, self.path())?;
        let partitions = strays.iter().filter_map(|stray| partition_of_stray_at(stray));
        Ok(partitions.filter_map(parse_dir_name).map(|(_, (topic_id, _))| topic_id).collect())
    }
}
