//! What of a partition is not durable yet, and how it is made so.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::OpenMode;
use crate::failure::FlushError;
use crate::failure::named;
use crate::file_cache::{FileKey, FileKind};
use crate::names::PARTITION_FILE;
use crate::partition_log::PartitionLog;
use crate::segment::{SegmentName, index_path, records_path};

/// What of a partition is to be made durable: segments that were written to, and how long they were.
#[derive(Debug)]
pub(crate) struct Unsynced {
    partition: Arc<PartitionLog>,
    /// Whether no sync has covered the file yet that tells whose the folder is.
    new_dir: bool,
    segments: Vec<(SegmentName, u32)>,
}

/// Lists what of a partition is not durable.
pub(crate) fn unsynced(partition: &Arc<PartitionLog>) -> Option<Unsynced> {
    let state = partition.state.lock();
    if state.deleted {
        return None;
    }
    let written = state.segments.iter().filter(|(_, meta)| meta.unsynced);
    let segments: Vec<_> = written.map(|(&base, meta)| (meta.name(base), meta.bytes)).collect();
    let new_dir = state.new_dir;
    let any = new_dir || !segments.is_empty();
    any.then(|| Unsynced { partition: Arc::clone(partition), new_dir, segments })
}

impl Unsynced {
    /// Makes it durable. Segments may be written to meanwhile; what is added then may be durable or
    /// not.
    pub(crate) fn sync(&self) -> Result<(), FlushError> {
        match self.sync_files() {
            Ok(()) => self.note_synced(),
            // Its files may have been removed under our hands.
            Err(_) if self.partition.state.lock().deleted => {}
            // Somebody removed it: nothing that could be synced is there.
            Err((path, error)) if error.kind() == io::ErrorKind::NotFound => {
                self.partition.fail_alone(&path, error.to_string());
            }
            Err((path, error)) => return Err(FlushError::of_sync(named(&path, error))),
        }
        Ok(())
    }

    /// Notes that it is durable.
    pub(crate) fn note_synced(&self) {
        let mut state = self.partition.state.lock();
        state.new_dir = false;
        for (name, bytes) in &self.segments {
            if let Some(meta) = state.segments.get_mut(&name.base_offset)
                && meta.generation == name.generation
                && meta.bytes == *bytes
            {
                meta.unsynced = false;
            }
        }
    }

    /// Fails with the file or folder that could not be synced.
    fn sync_files(&self) -> Result<(), (PathBuf, io::Error)> {
        let partition = &*self.partition;
        let shared = &partition.shared;
        let dir = partition.dir();
        if self.new_dir {
            let path = dir.join(PARTITION_FILE);
            let opened = shared.disk.open(&path, OpenMode::Existing);
            opened.and_then(|file| file.sync()).map_err(|error| (path, error))?;
        }
        for &(segment, _) in &self.segments {
            for (kind, path) in [
                (FileKind::Records, records_path(&dir, segment)),
                (FileKind::Index, index_path(&dir, segment)),
            ] {
                let key = FileKey { partition: partition.uid, segment, kind };
                let opened = shared.files.get(&*shared.disk, key, &path, false);
                opened.and_then(|file| file.sync()).map_err(|error| (path, error))?;
            }
        }
        shared.disk.sync_dir(&dir).map_err(|error| (dir, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PartitionConfig, SimulatedDisk, fixture};

    /// 1. A checkpoint lists a segment. 2. More is written to it. 3. The segment is synced. The sync may have
    ///    come before what was added, so the next checkpoint has to sync it once more.
    #[test]
    fn segment_that_grew_while_it_was_synced_is_synced_again() {
        let dir = fixture::open(&SimulatedDisk::new(1));
        let log = fixture::partition(&dir, 0, PartitionConfig::default());
        let append = || {
            fixture::append(&log);
            dir.step_commit();
            dir.step_flush().unwrap();
        };
        append();
        let listed = unsynced(&log).expect("it was written to");
        append();
        listed.sync().unwrap();
        let again = unsynced(&log).expect("what was added may not be durable");
        assert!(!again.new_dir, "the folder is");
        again.sync().unwrap();
        assert!(unsynced(&log).is_none());
    }
}
