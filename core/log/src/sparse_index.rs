//! From an offset or a time to a place in a segment.
//!
//! One entry for about every 4 KiB of the segment (`index.interval.bytes`) serves both questions. It says: *at this position
//! begins the batch with this first offset, and all batches before it have timestamps up to that*.
//! So a search for an offset starts at the last entry not above it, and a search for a time at the last
//! entry before which everything is older.
//!
//! Kafka keeps two files for this; one is half the writes. An index is derived and never trusted: the
//! reader checks the batch at the position, and rebuilds the index when it finds another.

use crate::Timestamp;

/// Bytes of an encoded entry.
pub const ENTRY_BYTES: usize = 16;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The batch's first offset, counted from the segment's.
    pub relative_offset: u32,
    /// Where in the segment the batch begins.
    pub position: u32,
    /// The greatest timestamp of all batches before it in the segment.
    pub max_timestamp_before: Timestamp,
}

impl IndexEntry {
    /// Encodes the entry: relative offset u32, position u32, timestamp i64, little-endian.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[0..4].copy_from_slice(&self.relative_offset.to_le_bytes());
        out[4..8].copy_from_slice(&self.position.to_le_bytes());
        out[8..16].copy_from_slice(&self.max_timestamp_before.to_le_bytes());
        out
    }

    /// Decodes an entry.
    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> IndexEntry {
        let (offset, rest) = bytes.split_first_chunk().expect("an entry has 16 bytes");
        let (position, rest) = rest.split_first_chunk().expect("an entry has 16 bytes");
        let time = rest.first_chunk().expect("an entry has 16 bytes");
        IndexEntry {
            relative_offset: u32::from_le_bytes(*offset),
            position: u32::from_le_bytes(*position),
            max_timestamp_before: i64::from_le_bytes(*time),
        }
    }
}

/// Decides which batches get an entry while a segment grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexBuilder {
    interval: u32,
    last_position: u32,
    max_timestamp: Timestamp,
}

impl IndexBuilder {
    /// Begins at `position` of a segment whose batches so far have timestamps up to `max_timestamp`
    /// (-1 in an empty segment). Entries are at least `interval` bytes apart.
    pub fn new(interval: u32, position: u32, max_timestamp: Timestamp) -> IndexBuilder {
        IndexBuilder { interval, last_position: position, max_timestamp }
    }

    /// Takes note of the next batch and returns its entry if it is to have one. A segment's first
    /// batch has none: the search starts there anyway.
    pub fn add(
        &mut self,
        relative_offset: u32,
        position: u32,
        max_timestamp: Timestamp,
    ) -> Option<IndexEntry> {
        let apart = position.saturating_sub(self.last_position);
        let due = apart > 0 && apart >= self.interval;
        let entry =
            IndexEntry { relative_offset, position, max_timestamp_before: self.max_timestamp };
        if due {
            self.last_position = position;
        }
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
        due.then_some(entry)
    }

    /// Returns the greatest timestamp seen.
    pub fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }
}

/// Finds the last entry for which `not_after` holds, given that it holds for a prefix of the entries.
/// `read` fetches an entry by number, so a search needs no index in memory.
pub fn search<E>(
    count: usize,
    mut read: impl FnMut(usize) -> Result<IndexEntry, E>,
    not_after: impl Fn(&IndexEntry) -> bool,
) -> Result<Option<IndexEntry>, E> {
    let (mut low, mut high) = (0, count);
    let mut best = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = read(middle)?;
        if not_after(&entry) {
            best = Some(entry);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(batches: &[(u32, u32, Timestamp)]) -> Vec<IndexEntry> {
        let mut builder = IndexBuilder::new(4096, 0, -1);
        batches.iter().filter_map(|&(o, p, t)| builder.add(o, p, t)).collect()
    }

    fn find(entries: &[IndexEntry], not_after: impl Fn(&IndexEntry) -> bool) -> Option<IndexEntry> {
        search::<()>(entries.len(), |at| Ok(entries[at]), not_after).unwrap()
    }

    #[test]
    fn entries_are_an_interval_apart_and_carry_the_greatest_time_before_them() {
        let batches = [
            (0, 0, 10),
            (5, 3000, 50),
            (9, 5000, 60),
            (12, 8000, 20),
            (20, 9100, 70),
            (21, 13_195, 0),
            (22, 13_196, 0),
        ];
        let entries = build(&batches);
        assert_eq!(
            entries,
            [
                IndexEntry { relative_offset: 9, position: 5000, max_timestamp_before: 50 },
                IndexEntry { relative_offset: 20, position: 9100, max_timestamp_before: 60 },
                IndexEntry { relative_offset: 22, position: 13_196, max_timestamp_before: 70 },
            ]
        );
        assert_eq!(find(&entries, |e| e.relative_offset <= 8), None);
        assert_eq!(find(&entries, |e| e.relative_offset <= 19), Some(entries[0]));
        assert_eq!(find(&entries, |e| e.relative_offset <= 21), Some(entries[1]));
        assert_eq!(find(&entries, |e| e.relative_offset <= 99), Some(entries[2]));
        // Looking for time 60: everything before position 5000 is older, before 9100 it is not.
        assert_eq!(find(&entries, |e| e.max_timestamp_before < 60), Some(entries[0]));
        assert_eq!(IndexEntry::decode(&entries[0].encode()), entries[0]);
    }

    #[test]
    fn first_batch_of_a_segment_has_no_entry_however_small_the_interval() {
        let mut builder = IndexBuilder::new(0, 0, -1);
        assert_eq!(builder.add(0, 0, 10), None);
        assert!(builder.add(1, 1, 5).is_some());
        assert_eq!(builder.max_timestamp(), 10);
    }
}
