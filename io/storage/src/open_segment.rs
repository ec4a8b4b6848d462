//! A segment open to read: finding a place in it by its index, and checking what is there.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kohort_log::sparse_index::IndexEntry;
use kohort_protocol::records::{BatchError, BatchHeader, BatchRef};

use crate::buffers::{BufferPool, PooledBuf};
use crate::disk::DiskFile;
use crate::error::ReadError;
use crate::file_cache::{FileKey, FileKind};
use crate::partition_log::PartitionLog;
use crate::segment::{
    SegmentMeta, SegmentName, index_entry, index_path, read_header, records_path,
};

/// A segment's files, open to read.
pub(crate) struct OpenSegment {
    pub(crate) base: i64,
    pub(crate) segment: SegmentMeta,
    path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    index: Option<Arc<dyn DiskFile>>,
    buffers: Arc<BufferPool>,
}

impl OpenSegment {
    /// Returns which segment it is.
    pub(crate) fn name(&self) -> SegmentName {
        self.segment.name(self.base)
    }

    /// Returns a position at or before the batch that holds `offset`.
    pub(crate) fn position_for_offset(&self, offset: i64) -> Result<u32, ReadError> {
        let relative = u32::try_from(offset - self.base).unwrap_or(u32::MAX);
        let position = self.lookup(|entry| entry.relative_offset <= relative);
        self.checked(position, |header| header.base_offset <= offset)
    }

    /// Returns a position before which every record is older than `timestamp`.
    pub(crate) fn position_for_time(&self, timestamp: i64) -> Result<u32, ReadError> {
        let position = self.lookup(|entry| entry.max_timestamp_before < timestamp);
        self.checked(position, |_| true)
    }

    fn lookup(&self, not_after: impl Fn(&IndexEntry) -> bool) -> u32 {
        let Some(index) = &self.index else { return 0 };
        let found = index_entry(&**index, self.segment.index_entries, not_after);
        found.ok().flatten().map_or(0, |entry| entry.position)
    }

    /// The index is not trusted: what it points at must be a batch that fits.
    fn checked(
        &self,
        position: u32,
        fits: impl Fn(&BatchHeader) -> bool,
    ) -> Result<u32, ReadError> {
        if position == 0 {
            return Ok(0);
        }
        let header = read_header(&*self.file, position, self.segment.bytes)
            .map_err(|error| damaged(&self.path, position, &error))?;
        let plausible =
            header.is_some_and(|header| header.base_offset >= self.base && fits(&header));
        Ok(if plausible { position } else { 0 })
    }

    /// Returns how many bytes from `position` on a reader of `offset` gets, if that can be told from
    /// a few headers: if the batch there holds `offset`, and batches are large. To read what does not
    /// fit and is then thrown away would cost more than the headers do.
    pub(crate) fn large_batches(
        &self,
        position: u32,
        offset: i64,
        max_bytes: usize,
        min_one_message: bool,
    ) -> Option<usize> {
        let end = self.segment.bytes;
        let mut length = 0;
        // What is not sound is found again, and told, when it is read.
        while let Ok(Some(header)) = read_header(&*self.file, position + length as u32, end) {
            let size = header.size_in_bytes();
            let is_first = length == 0;
            if size < LARGE_BATCH
                || (is_first && !(header.base_offset..=header.last_offset()).contains(&offset))
            {
                return None;
            }
            if length + size > max_bytes && !(is_first && min_one_message) {
                return Some(length);
            }
            length += size;
        }
        (length > 0).then_some(length)
    }

    /// Returns the last index entry not beyond `position`.
    pub(crate) fn entry_at(&self, position: u32) -> Option<IndexEntry> {
        let index = self.index.as_ref()?;
        let not_beyond = |entry: &IndexEntry| entry.position <= position;
        index_entry(&**index, self.segment.index_entries, not_beyond).ok()?
    }

    /// Checks what was read at `position`. Offsets lie outside the batches' checksums, so that they
    /// ascend is checked as well.
    pub(crate) fn verify(
        &self,
        position: u32,
        batch: Result<BatchRef<'_>, BatchError>,
        not_before: i64,
    ) -> Result<BatchHeader, ReadError> {
        let batch = batch
            .and_then(|batch| batch.verify_crc().map(|()| batch))
            .map_err(|error| self.damaged(position, error.to_string()))?;
        let header = *batch.header();
        if header.base_offset < not_before {
            let found = header.base_offset;
            let reason = format!("offset {found} where {not_before} follows");
            return Err(self.damaged(position, reason));
        }
        Ok(header)
    }

    /// Reads `length` bytes, all of which must be there.
    pub(crate) fn read(&self, position: u32, length: usize) -> Result<PooledBuf, ReadError> {
        let mut buffer = self.buffers.take(length);
        buffer.set_len(length);
        crate::disk::read_exact_at(&*self.file, buffer.as_mut_slice(), u64::from(position))
            .map_err(|error| damaged(&self.path, position, &error))?;
        Ok(buffer)
    }

    /// Reads the batch at `position`.
    pub(crate) fn read_batch(&self, position: u32) -> Result<PooledBuf, ReadError> {
        let end = self.segment.bytes;
        let header = read_header(&*self.file, position, end)
            .map_err(|error| damaged(&self.path, position, &error))?
            .ok_or_else(|| self.damaged(position, "no batch begins here".to_owned()))?;
        let batch = self.read(position, header.size_in_bytes())?;
        BatchRef::parse(batch.as_slice())
            .and_then(|batch| batch.verify_crc())
            .map_err(|error| self.damaged(position, error.to_string()))?;
        Ok(batch)
    }

    /// Reads the header of the batch at `position`; nothing at the end of the segment.
    pub(crate) fn header(&self, position: u32) -> Result<Option<BatchHeader>, ReadError> {
        if position >= self.segment.bytes {
            return Ok(None);
        }
        let header = read_header(&*self.file, position, self.segment.bytes)
            .map_err(|error| damaged(&self.path, position, &error))?;
        header.map(Some).ok_or_else(|| self.damaged(position, "no batch begins here".to_owned()))
    }

    pub(crate) fn damaged(&self, position: u32, reason: String) -> ReadError {
        ReadError::Damaged { path: self.path.clone(), position: u64::from(position), reason }
    }
}

fn damaged(path: &std::path::Path, position: u32, error: &io::Error) -> ReadError {
    ReadError::Damaged {
        path: path.to_owned(),
        position: u64::from(position),
        reason: error.to_string(),
    }
}

impl PartitionLog {
    /// Opens a segment; nothing if it was retired since the list was looked at, and its files are
    /// removed.
    pub(crate) fn open_segment(
        &self,
        base: i64,
        segment: SegmentMeta,
    ) -> Result<Option<OpenSegment>, ReadError> {
        let dir = self.dir();
        let name = segment.name(base);
        let path = records_path(&dir, name);
        let file = match self.open_file(name, FileKind::Records, &path) {
            Ok(file) => file,
            Err(_) if !self.state.lock().has_segment(name) => return Ok(None),
            Err(error) => return Err(damaged(&path, 0, &error)),
        };
        let index = index_path(&dir, name);
        // A lost index only makes the search longer.
        let index = self.open_file(name, FileKind::Index, &index).ok();
        let buffers = Arc::clone(&self.shared.buffers);
        Ok(Some(OpenSegment { base, segment, path, file, index, buffers }))
    }

    fn open_file(
        &self,
        segment: SegmentName,
        kind: FileKind,
        path: &std::path::Path,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let files = &self.shared.files;
        let key = FileKey { partition: self.uid, segment, kind };
        if let Some(file) = files.opened(key) {
            return Ok(file);
        }
        let file = files.get(&*self.shared.disk, key, path, false)?;
        if !self.state.lock().has_segment(segment) {
            // It may have been removed before it came into the cache, which would keep its space taken.
            files.forget(key);
        }
        Ok(file)
    }
}

/// Batches of at least this size are asked for one by one.
const LARGE_BATCH: usize = 64 << 10;
