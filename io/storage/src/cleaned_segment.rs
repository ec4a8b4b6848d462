//! A segment as compaction writes it: under a name nobody has used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kohort_log::sparse_index::ENTRY_BYTES;
use kohort_protocol::records::BatchHeader;

use crate::active_segment::Active;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::failure::FlushError;
use crate::segment::{SegmentMeta, SegmentName, index_path, records_path};

/// Written between two syncs: it bounds how long one takes, and so how long a shutdown waits for it.
const SYNC_BYTES: u64 = 16 << 20;

/// A segment that is being written in the place of others.
pub(crate) struct CleanedSegment<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    name: SegmentName,
    active: Active,
    unsynced: u64,
}

impl<'a> CleanedSegment<'a> {
    /// Begins a segment under a name that is on no list.
    pub(crate) fn create(
        disk: &'a dyn Disk,
        dir: PathBuf,
        base_offset: i64,
        meta: SegmentMeta,
        index_interval_bytes: u32,
    ) -> Result<CleanedSegment<'a>, FlushError> {
        let name = meta.name(base_offset);
        let create = |path: &Path| -> io::Result<Arc<dyn DiskFile>> {
            let file = disk.open(path, OpenMode::Write)?;
            if !file.is_empty()? {
                // A round that was given up may have left it.
                file.set_len(0)?;
            }
            Ok(file)
        };
        let made = create(&records_path(&dir, name)).and_then(|records| {
            let index = create(&index_path(&dir, name))?;
            Ok(Active::new(base_offset, meta, records, index, index_interval_bytes))
        });
        match made {
            Ok(active) => Ok(CleanedSegment { disk, dir, name, active, unsynced: 0 }),
            Err(error) => {
                remove_files(disk, &dir, name);
                Err(error.into())
            }
        }
    }

    /// Appends a batch.
    pub(crate) fn append(&mut self, batch: &[u8]) -> Result<(), FlushError> {
        let mut header = BatchHeader::parse(batch).expect("what is kept is sound");
        if header.record_count == 0 {
            // It says when there was a record; a search by time finds none.
            header.max_timestamp = -1;
        }
        self.active.note(&header, 0);
        self.active.write(Bytes::copy_from_slice(batch))?;
        self.unsynced += batch.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes the segment durable and returns what the list is to say of it.
    pub(crate) fn finish(mut self) -> Result<SegmentMeta, FlushError> {
        self.sync()?;
        self.disk.sync_dir(&self.dir)?;
        Ok(self.active.meta)
    }

    /// Removes what was written. What cannot be removed is removed after a restart.
    pub(crate) fn remove(disk: &dyn Disk, dir: &Path, name: SegmentName) {
        remove_files(disk, dir, name);
    }

    pub(crate) fn name(&self) -> SegmentName {
        self.name
    }

    fn sync(&mut self) -> Result<(), FlushError> {
        self.unsynced = 0;
        self.active.sync()
    }
}

fn remove_files(disk: &dyn Disk, dir: &Path, name: SegmentName) {
    for path in [records_path(dir, name), index_path(dir, name)] {
        if let Err(error) = disk.remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a file nobody needs cannot be removed");
        }
    }
}

/// Index entries take a 256th of what they index: they fit memory until the next sync.
const _: () = assert!(SYNC_BYTES / 4096 * (ENTRY_BYTES as u64) <= 1 << 20);
