//! Which leader epoch began at which offset (KIP-101, KIP-320).
//!
//! A client that fetched up to some offset under an epoch asks where that epoch ended. If the log was
//! cut meanwhile, the answer lies below the client's position, and the client learns that what it read
//! there is gone.

use std::ops::Range;

/// The first offset of every leader epoch that has records, in order of epoch and of offset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpochCache {
    entries: Vec<EpochStart>,
}

/// Where an epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader epoch.
    pub epoch: i32,
    /// The offset of its first record.
    pub start_offset: i64,
}

impl EpochCache {
    /// Makes a cache of entries read back from disk; they must ascend.
    pub fn from_entries(entries: Vec<EpochStart>) -> Option<EpochCache> {
        let ascending = entries.windows(2).all(|pair| {
            pair[0].epoch < pair[1].epoch && pair[0].start_offset <= pair[1].start_offset
        });
        ascending.then_some(EpochCache { entries })
    }

    /// Returns the entries in order.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Notes that a batch of `epoch` begins at `offset`. Only the first of each epoch matters.
    pub fn assign(&mut self, epoch: i32, offset: i64) {
        if self.entries.last().is_none_or(|last| last.epoch < epoch) {
            self.entries.push(EpochStart { epoch, start_offset: offset });
        }
    }

    /// Returns the newest epoch that has records.
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Returns the epoch of the record at `offset`.
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// Returns what is known of the records at these offsets alone.
    #[must_use]
    pub fn within(&self, offsets: Range<i64>) -> EpochCache {
        let first = self.entries.partition_point(|entry| entry.start_offset <= offsets.start);
        let after = self.entries.partition_point(|entry| entry.start_offset < offsets.end);
        EpochCache { entries: self.entries[first.saturating_sub(1).min(after)..after].to_vec() }
    }

    /// Returns the greatest epoch that a record at `offset` can have. Below the first offset that is known
    /// it is that one's: epochs never fall. Nothing if no epoch is known.
    pub fn greatest_until(&self, offset: i64) -> Option<i32> {
        self.epoch_of(offset).or_else(|| self.entries.first().map(|entry| entry.epoch))
    }

    /// Answers OffsetForLeaderEpoch: the largest epoch not above `requested`, and the offset after
    /// its last record. `current` is the epoch of the leader now and `log_end` the end of its log.
    pub fn end_offset(&self, requested: i32, current: i32, log_end: i64) -> Option<(i32, i64)> {
        if requested < 0 || requested > current {
            return None;
        }
        if requested == current {
            return Some((current, log_end));
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= requested);
        let end = self.entries.get(after).map_or(log_end, |next| next.start_offset);
        match after.checked_sub(1) {
            Some(at) => Some((self.entries[at].epoch, end)),
            // Nothing of that epoch or an older one is left: Kafka answers the requested epoch with
            // the start of the first one it knows.
            None => Some((requested, end)),
        }
    }

    /// Forgets epochs that ended at or before the new start of the log.
    pub fn truncate_front(&mut self, log_start: i64) {
        let after = self.entries.partition_point(|entry| entry.start_offset <= log_start);
        if let Some(first) = after.checked_sub(1) {
            self.entries.drain(..first);
            self.entries[0].start_offset = log_start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> EpochCache {
        let mut cache = EpochCache::default();
        cache.assign(0, 0);
        cache.assign(0, 5);
        cache.assign(2, 10);
        cache.assign(3, 20);
        cache
    }

    #[test]
    fn end_of_an_epoch_is_the_start_of_the_next() {
        let cases = [
            (0, Some((0, 10))),
            (1, Some((0, 10))),
            (2, Some((2, 20))),
            (3, Some((3, 30))),
            (4, Some((4, 30))),
            (5, None),
            (-1, None),
        ];
        for (requested, expected) in cases {
            assert_eq!(cache().end_offset(requested, 4, 30), expected, "epoch {requested}");
        }
    }

    #[test]
    fn first_batch_of_each_epoch_is_noted_and_a_lower_epoch_never() {
        let mut cache = cache();
        cache.assign(3, 25);
        cache.assign(1, 27);
        let noted: Vec<_> = cache.entries().iter().map(|it| (it.epoch, it.start_offset)).collect();
        assert_eq!(noted, [(0, 0), (2, 10), (3, 20)]);
        assert_eq!((cache.latest(), EpochCache::default().latest()), (Some(3), None));
    }

    #[test]
    fn entries_from_disk_that_do_not_ascend_are_refused() {
        let read = |entries: [(i32, i64); 2]| {
            let entries = entries.map(|(epoch, start_offset)| EpochStart { epoch, start_offset });
            EpochCache::from_entries(entries.to_vec()).is_some()
        };
        assert!(read([(0, 5), (1, 9)]));
        assert!(read([(0, 5), (1, 5)]), "an epoch may have no records");
        assert!(!read([(0, 5), (0, 9)]));
        assert!(!read([(1, 5), (0, 9)]));
        assert!(!read([(0, 5), (1, 4)]));
    }

    #[test]
    fn epoch_of_an_offset_is_the_last_one_that_began_at_or_before_it() {
        assert_eq!(cache().epoch_of(9), Some(0));
        assert_eq!(cache().epoch_of(10), Some(2));
        assert_eq!(EpochCache::default().epoch_of(0), None);
        let mut cut = cache();
        cut.truncate_front(15);
        assert_eq!((cut.greatest_until(3), cut.greatest_until(19)), (Some(2), Some(2)));
        assert_eq!(
            (cut.greatest_until(20), EpochCache::default().greatest_until(0)),
            (Some(3), None)
        );
    }

    #[test]
    fn within_a_range_of_offsets_the_same_epochs_are_known() {
        for (offsets, count) in
            [(0..10, 1), (3..11, 2), (10..20, 1), (12..100, 2), (25..26, 1), (5..5, 1)]
        {
            let within = cache().within(offsets.clone());
            assert_eq!(within.entries().len(), count, "{offsets:?}");
            for offset in offsets {
                assert_eq!(within.epoch_of(offset), cache().epoch_of(offset), "{offset}");
            }
        }
        assert_eq!(EpochCache::default().within(0..10), EpochCache::default());
    }

    #[test]
    fn cutting_the_front_keeps_the_epoch_of_the_new_first_record() {
        let mut cache = cache();
        cache.truncate_front(15);
        assert_eq!(
            cache.entries(),
            [EpochStart { epoch: 2, start_offset: 15 }, EpochStart { epoch: 3, start_offset: 20 }]
        );
        assert_eq!(cache.end_offset(0, 4, 30), Some((0, 15)));
        cache.truncate_front(20);
        assert_eq!(cache.entries(), [EpochStart { epoch: 3, start_offset: 20 }]);
    }
}
