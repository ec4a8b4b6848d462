//! A segment open to read: finding a place in it by its index, and checking what is there.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use kohort_log::epoch_cache::EpochCache;
use kohort_log::sparse_index::IndexEntry;
use kohort_protocol::records::{BatchError, BatchHeader, BatchRef};

use crate::buffers::{BufferPool, PooledBuf};
use crate::disk::DiskFile;
use crate::error::{ReadError, StorageError};
use crate::failure::is_out_of_handles;
use crate::file_cache::{FileKey, FileKind};
use crate::partition_log::PartitionLog;
use crate::segment::{
    Density, SegmentMeta, SegmentName, index_entry, index_path, read_header, records_path,
};
use crate::segment_scan::{Located, locate};

/// A segment's files, open to read.
pub(crate) struct OpenSegment {
    pub(crate) base: i64,
    pub(crate) segment: SegmentMeta,
    /// The offset after all it holds.
    pub(crate) end: i64,
    /// The greatest leader epoch its batches can have.
    epoch_max: i32,
    /// Where in it epochs began.
    epochs: EpochCache,
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

    /// Returns a batch at or before the one that holds `offset`. Where compaction has left nothing at the end
    /// of a segment, a reader that goes on comes to the next one with an offset that lies before it.
    pub(crate) fn position_for_offset(&self, offset: i64) -> Result<Located, ReadError> {
        let relative = u32::try_from((offset - self.base).max(0)).unwrap_or(u32::MAX);
        self.checked(self.lookup(|entry| entry.relative_offset <= relative))
    }

    /// Returns a batch before which every record is older than `timestamp`.
    pub(crate) fn position_for_time(&self, timestamp: i64) -> Result<Located, ReadError> {
        self.checked(self.lookup(|entry| entry.max_timestamp_before < timestamp))
    }

    fn lookup(&self, not_after: impl Fn(&IndexEntry) -> bool) -> Option<IndexEntry> {
        let index = self.index.as_ref()?;
        index_entry(&**index, self.segment.index_entries, not_after).ok()?
    }

    /// The index is not trusted: what it points at must be a batch of the offset it tells.
    fn checked(&self, entry: Option<IndexEntry>) -> Result<Located, ReadError> {
        let first = Located { position: 0, offset: self.base };
        let Some(IndexEntry { position, relative_offset, .. }) = entry else { return Ok(first) };
        let header = read_header(&*self.file, position, self.segment.bytes)
            .map_err(|error| damaged(&self.path, position, error))?;
        let offset = self.base + i64::from(relative_offset);
        let agrees = header.is_some_and(|header| header.base_offset == offset);
        Ok(if agrees { Located { position, offset } } else { first })
    }

    /// Tells whether no offset may be missing, as far as is known: nothing wrote it anew.
    pub(crate) fn is_strict(&self) -> bool {
        self.segment.generation == 0 && self.segment.density != Density::Gaps
    }

    /// Tells whether a batch does not begin where the one before ends, although it should.
    pub(crate) fn is_odd(&self, header: &BatchHeader, follows: i64) -> bool {
        self.is_strict() && header.base_offset != follows
    }

    /// Finds the batch that is `wanted`, if no offset is missing. Reads all of the segment.
    pub(crate) fn locate(&self, wanted: impl Fn(u32, Range<i64>) -> bool) -> Option<Located> {
        let offsets = self.base..self.end;
        locate((&self.path, &self.file), self.segment.bytes, offsets, wanted)
    }

    /// Checks what lies outside a batch's checksum against what is known of the segment.
    pub(crate) fn check_limits(
        &self,
        position: u32,
        header: &BatchHeader,
    ) -> Result<(), ReadError> {
        let (first, last) = (header.base_offset, header.last_offset());
        if first < self.base || last >= self.end {
            let (base, end) = (self.base, self.end - 1);
            let reason = format!("offsets {first} to {last} in a segment of {base} to {end}");
            return Err(self.damaged(position, reason));
        }
        let (epoch, max) = (header.partition_leader_epoch, self.epoch_max);
        if !(0..=max).contains(&epoch) {
            let reason = format!("leader epoch {epoch} where it is at most {max}");
            return Err(self.damaged(position, reason));
        }
        if let Some(then) = self.epochs.epoch_of(first)
            && epoch < then
            && self.epoch_before(position).is_some_and(|before| epoch < before)
        {
            let reason = format!("leader epoch {epoch} where {then} was in force");
            return Err(self.damaged(position, reason));
        }
        Ok(())
    }

    /// Returns the leader epoch of the batch before the one at `position`, if it is what was in force there.
    /// Where epochs began was perhaps mended and is not believed alone.
    fn epoch_before(&self, position: u32) -> Option<i32> {
        let mut at = self.entry_at(position.checked_sub(1)?).map_or(0, |entry| entry.position);
        loop {
            let header = self.header(at).ok()??;
            at += header.size_in_bytes() as u32;
            if at >= position {
                let epoch = header.partition_leader_epoch;
                let then = self.epochs.epoch_of(header.base_offset);
                return Some(epoch).filter(|_| at == position && then == Some(epoch));
            }
        }
    }

    /// Returns the error for a batch with another first offset than it must have.
    pub(crate) fn misplaced(&self, position: u32, found: i64, follows: i64) -> ReadError {
        self.damaged(position, format!("offset {found} where {follows} follows"))
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

    /// Checks what was read at `position`. Offsets and epochs lie outside the batches' checksums, so that
    /// they fit what comes before is checked as well.
    pub(crate) fn verify(
        &self,
        position: u32,
        batch: Result<BatchRef<'_>, BatchError>,
        follows: i64,
    ) -> Result<BatchHeader, ReadError> {
        let batch = batch
            .and_then(|batch| batch.verify_crc().map(|()| batch))
            .map_err(|error| self.damaged(position, error.to_string()))?;
        let header = *batch.header();
        if header.base_offset < follows || self.is_odd(&header, follows) {
            return Err(self.misplaced(position, header.base_offset, follows));
        }
        self.check_limits(position, &header)?;
        Ok(header)
    }

    /// Reads `length` bytes, all of which must be there.
    pub(crate) fn read(&self, position: u32, length: usize) -> Result<PooledBuf, ReadError> {
        let mut buffer = self.buffers.take(length);
        buffer.set_len(length);
        crate::disk::read_exact_at(&*self.file, buffer.as_mut_slice(), u64::from(position))
            .map_err(|error| damaged(&self.path, position, error))?;
        Ok(buffer)
    }

    /// Reads the batch at `position`.
    pub(crate) fn read_batch(&self, position: u32) -> Result<PooledBuf, ReadError> {
        let end = self.segment.bytes;
        let header = read_header(&*self.file, position, end)
            .map_err(|error| damaged(&self.path, position, error))?
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
            .map_err(|error| damaged(&self.path, position, error))?;
        header.map(Some).ok_or_else(|| self.damaged(position, "no batch begins here".to_owned()))
    }

    pub(crate) fn damaged(&self, position: u32, reason: String) -> ReadError {
        ReadError::Damaged { path: self.path.clone(), position: u64::from(position), reason }
    }
}

/// Says that a file cannot be read: for want of a handle now, and otherwise until somebody mends it.
fn damaged(path: &std::path::Path, position: u32, error: io::Error) -> ReadError {
    if is_out_of_handles(&error) {
        return StorageError::Io { path: path.to_owned(), reason: Arc::new(error) }.into();
    }
    ReadError::Damaged {
        path: path.to_owned(),
        position: u64::from(position),
        reason: error.to_string(),
    }
}

impl PartitionLog {
    /// Opens a segment as it is now; nothing if it was retired since the list was looked at.
    pub(crate) fn open_segment(
        &self,
        base: i64,
        segment: SegmentMeta,
    ) -> Result<Option<OpenSegment>, ReadError> {
        let name = segment.name(base);
        let (segment, end, epoch_max, epochs) = {
            let state = self.state.lock();
            let listed = state.segments.get(&base).filter(|now| now.name(base) == name);
            let Some(&now) = listed else { return Ok(None) };
            // Both of one moment: what is added to the segment moves its end.
            let end = state.segment_end(base);
            let epoch = state.epochs.greatest_until(end - 1).unwrap_or(i32::MAX);
            (now, end, epoch.min(self.leader_epoch()), state.epochs.within(base..end))
        };
        let dir = self.dir();
        let path = records_path(&dir, name);
        let file = match self.open_file(name, FileKind::Records, &path) {
            Ok(file) => file,
            Err(_) if !self.state.lock().has_segment(name) => return Ok(None),
            Err(error) => return Err(damaged(&path, 0, error)),
        };
        let index = index_path(&dir, name);
        // A lost index only makes the search longer.
        let index = self.open_file(name, FileKind::Index, &index).ok();
        let buffers = Arc::clone(&self.shared.buffers);
        Ok(Some(OpenSegment { base, segment, end, epoch_max, epochs, path, file, index, buffers }))
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
