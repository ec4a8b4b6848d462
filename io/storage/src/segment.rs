//! A segment: a stretch of a partition's batches in one file, and its index beside it.
//!
//! `<first offset, 20 digits>.log` holds the batches as clients sent them, one after another;
//! `.index` holds entries of [`sparse_index`](kohort_log::sparse_index). How long they are is told by
//! the checkpoint, not by the files: bytes beyond are left over from before a crash.

use std::io;
use std::path::{Path, PathBuf};

use kohort_log::Timestamp;
use kohort_log::sparse_index::{ENTRY_BYTES, IndexEntry, search};
use kohort_protocol::records::{BATCH_HEADER_BYTES, BatchHeader};

use crate::disk::{DiskFile, read_exact_at};

/// What is known of a segment without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    /// Valid bytes.
    pub(crate) bytes: u32,
    /// Valid index entries.
    pub(crate) index_entries: u32,
    /// Where in the segment the last index entry points.
    pub(crate) last_indexed: u32,
    /// The greatest timestamp, -1 if there is none.
    pub(crate) max_timestamp: Timestamp,
    /// The greatest timestamp of the first batch, -1 if it has none.
    pub(crate) first_timestamp: Timestamp,
    /// Whether the files were written since they were last synced.
    pub(crate) unsynced: bool,
    /// Whether the file may be longer than `bytes`.
    pub(crate) maybe_longer: bool,
}

impl SegmentMeta {
    pub(crate) fn empty() -> SegmentMeta {
        SegmentMeta {
            bytes: 0,
            index_entries: 0,
            last_indexed: 0,
            max_timestamp: -1,
            first_timestamp: -1,
            unsynced: false,
            maybe_longer: true,
        }
    }
}

/// Returns the path of a segment's records.
pub(crate) fn records_path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.log"))
}

/// Returns the path of a segment's index.
pub(crate) fn index_path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.index"))
}

/// Returns the first offset of the segment whose records a file of this name holds.
pub(crate) fn base_offset_of(name: &str) -> Option<i64> {
    name.strip_suffix(".log").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// Finds where to start looking: the position of the last index entry for which `not_after` holds, or
/// the beginning.
pub(crate) fn index_lookup(
    index: &dyn DiskFile,
    entries: u32,
    not_after: impl Fn(&IndexEntry) -> bool,
) -> io::Result<u32> {
    let read = |at: usize| {
        let mut bytes = [0; ENTRY_BYTES];
        read_exact_at(index, &mut bytes, (at * ENTRY_BYTES) as u64)?;
        Ok::<_, io::Error>(IndexEntry::decode(&bytes))
    };
    Ok(search(entries as usize, read, not_after)?.map_or(0, |entry| entry.position))
}

/// Reads the header of the batch at `position`. Nothing if there is no sound header.
pub(crate) fn read_header(
    records: &dyn DiskFile,
    position: u32,
    end: u32,
) -> io::Result<Option<BatchHeader>> {
    if end.saturating_sub(position) < BATCH_HEADER_BYTES as u32 {
        return Ok(None);
    }
    let mut bytes = [0; BATCH_HEADER_BYTES];
    read_exact_at(records, &mut bytes, u64::from(position))?;
    let header = BatchHeader::parse(&bytes).ok();
    Ok(header.filter(|h| u64::from(position) + h.size_in_bytes() as u64 <= u64::from(end)))
}
