//! A segment: a stretch of a partition's batches in one file, and its index beside it.
//!
//! `<first offset, 20 digits>.log` holds the batches as clients sent them, one after another;
//! `.index` holds entries of [`sparse_index`](kohort_log::sparse_index). How long they are is told by
//! the checkpoint, not by the files: bytes beyond are left over from before a crash.
//!
//! A segment that was written anew has the next *generation*, which is part of its files' names. Which
//! segments there are is told by the checkpoint alone, so nothing is ever renamed: a new list takes the
//! place of the old one in memory, what is no longer on it is *retired*, and goes when a durable
//! checkpoint does not name it any more.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use kohort_log::Timestamp;
use kohort_log::sparse_index::{ENTRY_BYTES, IndexEntry, search};
use kohort_protocol::records::{BATCH_HEADER_BYTES, BatchHeader};

use crate::disk::{DiskFile, read_exact_at};

/// Stretches of a segment that are remembered as sound.
pub(crate) const CHECKED_MAX: usize = 3;

/// Whether offsets are missing between a segment's batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Density {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// None is.
    Whole,
    /// It cannot be told from damage where some are.
    Gaps,
}

/// What is known of a segment without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    /// 0 as it was first written, one more each time it is written anew.
    pub(crate) generation: u32,
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
    /// When, by the broker's clock, it was begun.
    pub(crate) created: Timestamp,
    /// When, by the broker's clock, it was last added to.
    pub(crate) written: Timestamp,
    /// Whether the files were written since they were last synced.
    pub(crate) unsynced: bool,
    /// Whether the file may be longer than `bytes`.
    pub(crate) maybe_longer: bool,
    /// What lies from here to the end was written by this process.
    pub(crate) written_from: u32,
    /// Stretches that were read since the start and found sound, for a few readers at different
    /// places.
    pub(crate) checked: [(u32, u32); CHECKED_MAX],
    /// What was found out since the start.
    pub(crate) density: Density,
}

impl SegmentMeta {
    /// Returns the name of the segment that begins at `base_offset`.
    pub(crate) fn name(&self, base_offset: i64) -> SegmentName {
        SegmentName { base_offset, generation: self.generation }
    }

    pub(crate) fn empty(now: Timestamp) -> SegmentMeta {
        SegmentMeta {
            generation: 0,
            bytes: 0,
            index_entries: 0,
            last_indexed: 0,
            max_timestamp: -1,
            first_timestamp: -1,
            created: now,
            written: now,
            unsynced: false,
            maybe_longer: true,
            written_from: 0,
            checked: [(0, 0); CHECKED_MAX],
            density: Density::Unknown,
        }
    }

    /// Tells whether a stretch was written by this process or found sound by it.
    pub(crate) fn is_known_sound(&self, stretch: Range<u32>) -> bool {
        let reaches = |&(from, to): &(u32, u32)| {
            from <= stretch.start && (stretch.end <= to || self.written_from <= to)
        };
        stretch.end <= self.bytes
            && (self.written_from <= stretch.start || self.checked.iter().any(reaches))
    }

    /// Remembers that a stretch was found sound. If there are more than can be remembered, the
    /// shortest is forgotten, and will be checked again.
    pub(crate) fn note_checked(&mut self, stretch: Range<u32>) {
        let (mut from, mut to) = (stretch.start, stretch.end);
        for known in &mut self.checked {
            if known.0 <= to && from <= known.1 && known.0 < known.1 {
                (from, to) = (from.min(known.0), to.max(known.1));
                *known = (0, 0);
            }
        }
        let shortest = self.checked.iter_mut().min_by_key(|(from, to)| to - from);
        if let Some(shortest) = shortest.filter(|known| known.1 - known.0 < to - from) {
            *shortest = (from, to);
        }
    }
}

/// Returns the path of a segment's records.
pub(crate) fn records_path(dir: &Path, name: SegmentName) -> PathBuf {
    dir.join(format!("{name}.log"))
}

/// Returns the path of a segment's index.
pub(crate) fn index_path(dir: &Path, name: SegmentName) -> PathBuf {
    dir.join(format!("{name}.index"))
}

/// Which segment of a partition: no two that ever were have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) base_offset: i64,
    pub(crate) generation: u32,
}

impl SegmentName {
    /// Returns the segment a file of this name belongs to, and what the file holds.
    pub(crate) fn of_file(file: &str) -> Option<(SegmentName, &str)> {
        let (digits, rest) = file.split_once('.')?;
        let base_offset = digits.parse().ok().filter(|_| digits.len() == 20)?;
        let (generation, suffix) = match rest.split_once('.') {
            Some((generation, suffix)) => (generation.parse().ok().filter(|&g| g > 0)?, suffix),
            None => (0, rest),
        };
        Some((SegmentName { base_offset, generation }, suffix))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.base_offset)?;
        if self.generation > 0 { write!(f, ".{}", self.generation) } else { Ok(()) }
    }
}

/// Finds the last index entry for which `not_after` holds.
pub(crate) fn index_entry(
    index: &dyn DiskFile,
    entries: u32,
    not_after: impl Fn(&IndexEntry) -> bool,
) -> io::Result<Option<IndexEntry>> {
    let read = |at: usize| {
        let mut bytes = [0; ENTRY_BYTES];
        read_exact_at(index, &mut bytes, (at * ENTRY_BYTES) as u64)?;
        Ok::<_, io::Error>(IndexEntry::decode(&bytes))
    };
    search(entries as usize, read, not_after)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_tell_segment_and_generation_and_no_other_names_do() {
        let name = |base_offset, generation| SegmentName { base_offset, generation };
        for (segment, file) in [
            (name(0, 0), "00000000000000000000.log"),
            (name(42, 0), "00000000000000000042.index"),
            (name(42, 3), "00000000000000000042.3.log"),
        ] {
            let (read, suffix) = SegmentName::of_file(file).unwrap();
            assert_eq!((read, format!("{read}.{suffix}")), (segment, file.to_owned()));
        }
        for other in
            ["partition", "42.log", "00000000000000000042.0.log", "0000000000000000004x.log"]
        {
            assert_eq!(SegmentName::of_file(other), None, "{other}");
        }
    }

    #[test]
    fn what_was_written_or_checked_is_known_to_be_sound_and_nothing_else() {
        let mut meta = SegmentMeta { bytes: 1000, written_from: 900, ..SegmentMeta::empty(0) };
        assert!(meta.is_known_sound(900..1000));
        assert!(!meta.is_known_sound(899..1000) && !meta.is_known_sound(0..10));
        assert!(!meta.is_known_sound(950..1001));
        meta.note_checked(500..600);
        meta.note_checked(100..200);
        meta.note_checked(600..700);
        assert!(meta.is_known_sound(500..700) && meta.is_known_sound(150..200));
        assert!(!meta.is_known_sound(150..550) && !meta.is_known_sound(600..701));
        meta.note_checked(200..500);
        meta.note_checked(700..900);
        assert!(meta.is_known_sound(100..1000) && !meta.is_known_sound(99..1000));
    }

    #[test]
    fn more_stretches_than_can_be_remembered_cost_the_shortest() {
        let mut meta = SegmentMeta { bytes: 1000, written_from: 1000, ..SegmentMeta::empty(0) };
        for (from, to) in [(0, 50), (100, 110), (200, 250), (300, 320), (400, 405)] {
            meta.note_checked(from..to);
        }
        for (from, to, known) in [(0, 50, true), (100, 110, false), (300, 320, true)] {
            assert_eq!(meta.is_known_sound(from..to), known, "{from}");
        }
    }
}
