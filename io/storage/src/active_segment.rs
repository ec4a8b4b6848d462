//! A segment that is written to: batches are gathered and written behind its end, and the index with them.

use std::sync::Arc;

use bytes::Bytes;
use kohort_log::sparse_index::{ENTRY_BYTES, IndexBuilder};
use kohort_protocol::records::BatchHeader;

use crate::disk::DiskFile;
use crate::failure::FlushError;
use crate::segment::{SegmentMeta, SegmentName};

/// Batches are gathered up to this size, without copying them, before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// A segment that is written to.
pub(crate) struct Active {
    pub(crate) base: i64,
    pub(crate) meta: SegmentMeta,
    records: Arc<dyn DiskFile>,
    index: Arc<dyn DiskFile>,
    builder: IndexBuilder,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    entries: Vec<u8>,
}

impl Active {
    /// Goes on at the end of a segment.
    pub(crate) fn new(
        base: i64,
        meta: SegmentMeta,
        records: Arc<dyn DiskFile>,
        index: Arc<dyn DiskFile>,
        index_interval_bytes: u32,
    ) -> Active {
        let builder =
            IndexBuilder::new(index_interval_bytes, meta.last_indexed, meta.max_timestamp);
        let (gathered, entries) = (Vec::new(), Vec::new());
        Active { base, meta, records, index, builder, gathered, gathered_bytes: 0, entries }
    }

    /// Writes what is gathered and makes everything durable. Only for files nobody relies on yet: that the
    /// disk is full may come out only now, and loses nothing.
    pub(crate) fn sync(&mut self) -> Result<(), FlushError> {
        self.write_gathered()?;
        self.write_entries()?;
        self.records.sync()?;
        self.index.sync()?;
        self.meta.unsynced = false;
        Ok(())
    }

    /// Returns the segment's name.
    pub(crate) fn name(&self) -> SegmentName {
        self.meta.name(self.base)
    }

    /// Size including what is gathered but not written.
    pub(crate) fn size(&self) -> u32 {
        self.meta.bytes + self.gathered_bytes as u32
    }

    /// Takes note of a batch that lies `ahead` bytes after the end.
    pub(crate) fn note(&mut self, header: &BatchHeader, ahead: u32) {
        let position = self.size() + ahead;
        let relative = (header.base_offset - self.base) as u32;
        if let Some(entry) = self.builder.add(relative, position, header.max_timestamp) {
            self.entries.extend_from_slice(&entry.encode());
            self.meta.last_indexed = position;
        }
        if position == 0 {
            self.meta.first_timestamp = header.max_timestamp;
        }
        self.meta.max_timestamp = self.builder.max_timestamp();
    }

    /// Adds whole batches, which are written together with others.
    pub(crate) fn write(&mut self, bytes: Bytes) -> Result<(), FlushError> {
        if self.gathered_bytes + bytes.len() > WRITE_BYTES {
            self.write_gathered()?;
        }
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        Ok(())
    }

    pub(crate) fn write_gathered(&mut self) -> Result<(), FlushError> {
        if !self.gathered.is_empty() {
            let pieces: Vec<&[u8]> = self.gathered.iter().map(AsRef::as_ref).collect();
            self.records.write_pieces_at(&pieces, u64::from(self.meta.bytes))?;
            self.meta.bytes += self.gathered_bytes as u32;
            self.meta.unsynced = true;
            self.gathered_bytes = 0;
            self.gathered.clear();
        }
        Ok(())
    }

    pub(crate) fn write_entries(&mut self) -> Result<(), FlushError> {
        if !self.entries.is_empty() {
            let position = u64::from(self.meta.index_entries) * ENTRY_BYTES as u64;
            self.index.write_at(&self.entries, position)?;
            self.meta.index_entries += (self.entries.len() / ENTRY_BYTES) as u32;
            self.entries.clear();
        }
        Ok(())
    }
}
