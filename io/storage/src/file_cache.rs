//! Keeps the number of open files bounded, however many partitions there are.
//!
//! Segments and indexes are opened when they are used and stay open while they are among the most
//! recently used. One that is in use is kept: if all are, there are more than wanted until some are not.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::segment::SegmentName;

/// Which file of which segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileKey {
    pub(crate) partition: u32,
    pub(crate) segment: SegmentName,
    pub(crate) kind: FileKind,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileKind {
    Records,
    Index,
}

#[derive(Debug)]
pub(crate) struct FileCache {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clock: u64,
    files: BTreeMap<FileKey, (u64, Arc<dyn DiskFile>)>,
    by_use: BTreeMap<u64, FileKey>,
}

impl FileCache {
    pub(crate) fn new(capacity: usize) -> FileCache {
        FileCache { capacity: capacity.max(2), state: Mutex::default() }
    }

    /// Returns the file, opening it at `path` if it is not open. `create` makes it if it is not there.
    pub(crate) fn get(
        &self,
        disk: &dyn Disk,
        key: FileKey,
        path: &Path,
        create: bool,
    ) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.state.lock().touch(key) {
            return Ok(file);
        }
        // Without the lock: opening may take long. Two openers at once are harmless.
        // For writing in any case, since the same handle serves the writer.
        let mode = if create { OpenMode::Write } else { OpenMode::Existing };
        let file = disk.open(path, mode)?;
        self.state.lock().insert(key, Arc::clone(&file), self.capacity);
        Ok(file)
    }

    /// Returns the file if it is open.
    pub(crate) fn opened(&self, key: FileKey) -> Option<Arc<dyn DiskFile>> {
        self.state.lock().touch(key)
    }

    /// Closes a file if it is open.
    pub(crate) fn forget(&self, key: FileKey) {
        let mut state = self.state.lock();
        if let Some((used, _)) = state.files.remove(&key) {
            state.by_use.remove(&used);
        }
    }

    /// Closes all files of a partition.
    pub(crate) fn forget_partition(&self, partition: u32) {
        let keys: Vec<FileKey> = {
            let state = self.state.lock();
            state.files.keys().filter(|key| key.partition == partition).copied().collect()
        };
        for key in keys {
            self.forget(key);
        }
    }

    /// Tells whether more files are in use at once than are to be open.
    pub(crate) fn is_overfull(&self) -> bool {
        self.open_files() > self.capacity
    }

    /// Returns how many files are open.
    pub(crate) fn open_files(&self) -> usize {
        self.state.lock().files.len()
    }
}

impl State {
    fn touch(&mut self, key: FileKey) -> Option<Arc<dyn DiskFile>> {
        self.clock += 1;
        let now = self.clock;
        let (used, file) = self.files.get_mut(&key)?;
        self.by_use.remove(used);
        *used = now;
        self.by_use.insert(now, key);
        Some(Arc::clone(file))
    }

    fn insert(&mut self, key: FileKey, file: Arc<dyn DiskFile>, capacity: usize) {
        self.clock += 1;
        let now = self.clock;
        if let Some((used, _)) = self.files.insert(key, (now, file)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(now, key);
        while self.files.len() > capacity {
            // To drop a file that somebody uses would not close it.
            let unused = |(_, key): &(&u64, &FileKey)| {
                self.files.get(*key).is_some_and(|(_, file)| Arc::strong_count(file) == 1)
            };
            let Some((used, key)) = self.by_use.iter().find(unused) else { break };
            let (used, key) = (*used, *key);
            self.by_use.remove(&used);
            self.files.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileDisk;

    #[test]
    fn open_files_stay_bounded_and_the_recently_used_stay_open() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FileCache::new(3);
        let segment = SegmentName { base_offset: 0, generation: 0 };
        let key = |partition| FileKey { partition, segment, kind: FileKind::Records };
        let get = |partition: u32| {
            let path = dir.path().join(partition.to_string());
            cache.get(&FileDisk, key(partition), &path, true).unwrap()
        };
        let first = get(0);
        for partition in 1..10 {
            get(0);
            get(partition);
        }
        assert_eq!(cache.open_files(), 3);
        assert!(Arc::ptr_eq(&first, &get(0)), "the file used all along was not closed");
        cache.forget_partition(0);
        assert_eq!(cache.open_files(), 2);
        let missing = cache.get(&FileDisk, key(99), &dir.path().join("99"), false);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn files_in_use_are_known_and_close_when_they_are_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FileCache::new(2);
        let get = |partition: u32| {
            let segment = SegmentName { base_offset: 0, generation: 0 };
            let key = FileKey { partition, segment, kind: FileKind::Records };
            cache.get(&FileDisk, key, &dir.path().join(partition.to_string()), true).unwrap()
        };
        let used = [get(0), get(1), get(2)];
        assert!(cache.is_overfull());
        assert!(Arc::ptr_eq(&used[0], &get(0)), "no file is opened twice");
        drop(used);
        get(3);
        assert!(!cache.is_overfull());
        assert_eq!(cache.open_files(), 2);
    }
}
