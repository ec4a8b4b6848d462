//! Which batches of a segment are not where they belong.
//!
//! A batch's first offset and its leader epoch lie outside its checksum, because a broker sets them. How
//! many offsets it takes lies inside. So of batches whose checksums hold it is certain in which order
//! they stand and how many offsets each takes, and the first offsets have to agree with that:
//!
//! ```text
//! first offset            0   3   2   3     the segment ends at 4
//! offsets taken before    0   1   2   3
//! missing until there     0   2   0   0     ◄─ never less than before, and at the end no more than
//!                             ▲                the segment has room for
//!                             └ without this one the others agree
//! ```
//!
//! As many batches as can agree are right, and the others are misplaced. Not the first that falls back:
//! the one before it may have gone ahead. Where offsets may be missing (compaction, repair), a first
//! offset that is wrong by less than is missing there cannot be told from a right one.

use std::fmt;

use crate::epoch_cache::EpochCache;

/// The most offsets a segment reaches over: its index counts them in 31 bits.
const REACH: i64 = 1 << 31;

/// What a batch whose checksum holds says of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its first offset: not covered by the checksum.
    pub base_offset: i64,
    /// How many offsets it takes: covered.
    pub offsets: i64,
    /// Its leader epoch: not covered.
    pub leader_epoch: i32,
}

/// Between what a segment's batches lie, as far as that is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits<'a> {
    /// The segment's first offset.
    pub base: i64,
    /// The offset after its last one: where the next segment begins, or what is in segments ends.
    pub end: Option<i64>,
    /// The greatest leader epoch there has been.
    pub epoch_max: Option<i32>,
    /// Where epochs began.
    pub epochs: Option<&'a EpochCache>,
}

impl Limits<'_> {
    fn end(&self) -> i64 {
        self.end.unwrap_or_else(|| self.base.saturating_add(REACH))
    }

    fn epoch_max(&self, offset: i64) -> i32 {
        let greatest = self.epoch_max.unwrap_or(i32::MAX);
        let then = self.epochs.and_then(|epochs| epochs.greatest_until(offset));
        then.map_or(greatest, |then| then.min(greatest))
    }
}

/// What of a batch is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// Its first offset.
    Offset {
        /// What it says.
        found: i64,
        /// The offset after the batch before it.
        follows: i64,
        /// What it must have been, if only one is possible.
        right: Option<i64>,
    },
    /// Its leader epoch.
    Epoch {
        /// What it says.
        found: i32,
        /// What its neighbours and the offsets at which epochs began say.
        right: i32,
    },
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misplaced::Offset { found, follows, .. } => {
                write!(f, "offset {found} where {follows} follows")
            }
            Misplaced::Epoch { found, right } => {
                write!(f, "leader epoch {found} where {right} was in force")
            }
        }
    }
}

/// Returns which of a segment's batches are misplaced: their numbers, ascending. The batches are all of
/// those in the segment whose checksums hold, in the order in which they stand.
pub fn misplaced(batches: &[Placed], limits: &Limits<'_>) -> Vec<(usize, Misplaced)> {
    let wrong = misplaced_offsets(batches, limits);
    let mut placed = batches.to_vec();
    let mut lost = vec![false; batches.len()];
    for (at, misplaced) in &wrong {
        match misplaced {
            Misplaced::Offset { right: Some(right), .. } => placed[*at].base_offset = *right,
            _ => lost[*at] = true,
        }
    }
    let mut all = wrong;
    all.extend(misplaced_epochs(&placed, &lost, limits));
    all.sort_by_key(|(at, _)| *at);
    all
}

fn misplaced_offsets(batches: &[Placed], limits: &Limits<'_>) -> Vec<(usize, Misplaced)> {
    let (base, end) = (limits.base, limits.end());
    let total: i64 = batches.iter().map(|batch| batch.offsets).sum();
    let room = end - total;
    if room < base {
        return falling_back(batches, base, end);
    }
    // How many offsets each batch takes for missing before it, on top of the segment's first.
    let mut taken = 0;
    let mut missing = Vec::with_capacity(batches.len());
    for batch in batches {
        missing.push(batch.base_offset.saturating_sub(taken));
        taken += batch.offsets;
    }
    let agrees = longest_rising(&missing, |_, value| (base..=room).contains(&value));
    let next = next_of(&agrees);
    let mut wrong = Vec::new();
    let mut taken = 0;
    let (mut before, mut follows) = (base, base);
    for (at, batch) in batches.iter().enumerate() {
        if agrees[at] {
            (before, follows) = (missing[at], batch.base_offset + batch.offsets);
        } else {
            let after = next[at].map_or(room, |next| missing[next]);
            let right = (before == after).then_some(before + taken);
            let found = batch.base_offset;
            wrong.push((at, Misplaced::Offset { found, follows, right }));
            follows = right.map_or(follows, |right| right + batch.offsets);
        }
        taken += batch.offsets;
    }
    wrong
}

/// More offsets are taken than there is room for: something counts that should not, and all that can be
/// said is which batches fall back behind others.
fn falling_back(batches: &[Placed], base: i64, end: i64) -> Vec<(usize, Misplaced)> {
    let mut follows = base;
    let mut wrong = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        let found = batch.base_offset;
        if found < follows || found > end.saturating_sub(batch.offsets) {
            wrong.push((at, Misplaced::Offset { found, follows, right: None }));
        } else {
            follows = found + batch.offsets;
        }
    }
    wrong
}

fn misplaced_epochs(
    batches: &[Placed],
    lost: &[bool],
    limits: &Limits<'_>,
) -> Vec<(usize, Misplaced)> {
    let epochs: Vec<i32> = batches.iter().map(|batch| batch.leader_epoch).collect();
    let max = |at: usize| limits.epoch_max(batches[at].base_offset);
    let possible = |at: usize, epoch: i32| !lost[at] && epoch >= 0 && epoch <= max(at);
    let then = |at: usize| limits.epochs.and_then(|known| known.epoch_of(batches[at].base_offset));
    let in_order = longest_rising(&epochs, possible);
    // Of rows equally long it is the one that the known beginnings of epochs speak for. They are not
    // believed against more batches: mending without a checkpoint took them from batches.
    let as_known = longest_rising(&epochs, |at, epoch| {
        possible(at, epoch) && then(at).is_none_or(|then| then == epoch)
    });
    let count = |row: &[bool]| row.iter().filter(|agrees| **agrees).count();
    let agrees = if count(&as_known) == count(&in_order) { as_known } else { in_order };
    let next = next_of(&agrees);
    let mut wrong = Vec::new();
    let mut before = None;
    for (at, batch) in batches.iter().enumerate() {
        if agrees[at] {
            before = Some(batch.leader_epoch);
        } else if !lost[at] {
            let after = next[at].map_or(max(at), |next| epochs[next]);
            // Whatever lies between the neighbours keeps epochs in order, so no record is lost for it.
            let low = before.unwrap_or(0).min(after);
            let right = then(at).or(before).unwrap_or(after).clamp(low, after.max(low));
            let found = batch.leader_epoch;
            wrong.push((at, Misplaced::Epoch { found, right }));
        }
    }
    wrong
}

/// Returns for each batch the first from there on that agrees with the others.
fn next_of(agrees: &[bool]) -> Vec<Option<usize>> {
    let mut next = vec![None; agrees.len()];
    let mut later = None;
    for at in (0..agrees.len()).rev() {
        if agrees[at] {
            later = Some(at);
        }
        next[at] = later;
    }
    next
}

/// Returns which values are in a longest row of them that never falls. Of equally long ones it is the one
/// that ends lowest. Values that are not `possible` are in none.
fn longest_rising<T: Copy + Ord>(values: &[T], possible: impl Fn(usize, T) -> bool) -> Vec<bool> {
    // By length: the lowest value a row of that length can end with. And for each value the one before.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; values.len()];
    for (at, &value) in values.iter().enumerate() {
        if !possible(at, value) {
            continue;
        }
        let length = ends.partition_point(|&end| values[end] <= value);
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    let mut chosen = vec![false; values.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        chosen[at] = true;
        next = before[at];
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of these first offsets, of one record each.
    fn single(offsets: &[i64]) -> Vec<Placed> {
        let placed = |&base_offset| Placed { base_offset, offsets: 1, leader_epoch: 0 };
        offsets.iter().map(placed).collect()
    }

    fn offset(found: i64, follows: i64, right: Option<i64>) -> Misplaced {
        Misplaced::Offset { found, follows, right }
    }

    #[test]
    fn the_batch_is_misplaced_without_which_the_others_agree() {
        type Case = (&'static str, i64, &'static [i64], Vec<(usize, Misplaced)>);
        let right = |found, right| offset(found, right, Some(right));
        let cases: [Case; 8] = [
            ("all in order", 4, &[0, 1, 2, 3], vec![]),
            ("ahead, so that the next falls back", 4, &[0, 3, 2, 3], vec![(1, right(3, 1))]),
            ("ahead of everything", 4, &[0, 1, 2, 7], vec![(3, right(7, 3))]),
            ("the first", 4, &[2, 1, 2, 3], vec![(0, right(2, 0))]),
            ("behind", 4, &[0, 1, 2, 1], vec![(3, right(1, 3))]),
            ("below zero", 4, &[0, i64::MIN, 2, 3], vec![(1, right(i64::MIN, 1))]),
            ("alone", 1, &[64], vec![(0, right(64, 0))]),
            ("two", 5, &[0, 3, 2, 7, 4], vec![(1, right(3, 1)), (3, right(7, 3))]),
        ];
        for (name, end, offsets, expected) in cases {
            let limits = Limits { end: Some(end), ..Limits::default() };
            assert_eq!(misplaced(&single(offsets), &limits), expected, "{name}");
        }
    }

    #[test]
    fn offsets_that_are_missing_for_a_reason_are_no_damage() {
        // Repair took out 2 and 3, and the end is farther than anything here.
        for offsets in [&[0, 1, 4, 5][..], &[4, 5, 6], &[0], &[]] {
            let limits = Limits { end: Some(9), ..Limits::default() };
            assert_eq!(misplaced(&single(offsets), &limits), [], "{offsets:?}");
        }
        let limits = Limits { end: Some(9), ..Limits::default() };
        let wrong = misplaced(&single(&[0, 5, 4, 5, 6]), &limits);
        assert_eq!(wrong, [(1, offset(5, 1, None))], "it may have been 1, 2 or 3");
        assert_eq!(misplaced(&single(&[0, 2, 4, 5, 6]), &limits), [], "nobody can tell");
    }

    #[test]
    fn without_a_known_end_a_segment_reaches_as_far_as_its_index_counts() {
        let limits = Limits { base: 10, ..Limits::default() };
        assert_eq!(misplaced(&single(&[10, 11, 10 + REACH - 1]), &limits), []);
        let wrong = misplaced(&single(&[10, 11, 10 + REACH]), &limits);
        assert_eq!(wrong, [(2, offset(10 + REACH, 12, None))]);
    }

    #[test]
    fn more_offsets_than_there_is_room_for_are_judged_by_their_order_alone() {
        let limits = Limits { end: Some(3), ..Limits::default() };
        let wrong = misplaced(&single(&[0, 1, 1, 2]), &limits);
        assert_eq!(wrong, [(2, offset(1, 2, None))]);
    }

    #[test]
    fn leader_epochs_never_fall_and_never_exceed_what_was_in_force() {
        type Case = (&'static str, &'static [i32], Vec<(usize, Misplaced)>);
        let epochs = |of: &[i32]| -> Vec<Placed> {
            let placed = (0..).zip(of).map(|(base_offset, &leader_epoch)| Placed {
                base_offset,
                offsets: 1,
                leader_epoch,
            });
            placed.collect()
        };
        let mut known = EpochCache::default();
        known.assign(1, 0);
        known.assign(3, 2);
        let wrong = |found, right| Misplaced::Epoch { found, right };
        let cases: [Case; 5] = [
            ("all in order", &[1, 1, 3, 3], vec![]),
            ("above all there were", &[1, 1, 3, 7], vec![(3, wrong(7, 3))]),
            ("above what was in force", &[1, 3, 3, 3], vec![(1, wrong(3, 1))]),
            ("that of before a while longer, which harms nobody", &[1, 1, 1, 3], vec![]),
            ("below those before", &[1, 1, 3, 1, 3], vec![(3, wrong(1, 3))]),
        ];
        for (name, of, expected) in cases {
            let limits = Limits { epochs: Some(&known), ..Limits::default() };
            assert_eq!(misplaced(&epochs(of), &limits), expected, "{name}");
        }
        let limits = Limits { epoch_max: Some(2), ..Limits::default() };
        assert_eq!(misplaced(&epochs(&[0, 2]), &limits), []);
        let found = misplaced(&epochs(&[-5, 0, 3]), &limits);
        assert_eq!(found, [(0, wrong(-5, 0)), (2, wrong(3, 0))]);
        let found = misplaced(&epochs(&[0, 4, 0]), &Limits::default());
        assert_eq!(found, [(1, wrong(4, 0))], "nothing is known but the neighbours");
    }
}
