//! Memory that is kept to be used again, within a bound in bytes: fresh memory costs a fault for each of its
//! pages, more than what is done with the records in it.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Pieces of memory, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct KeptMemory {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl KeptMemory {
    /// Keeps a piece if it and what stays are no more than `most` bytes; what came first goes first, since
    /// it is of a size that nobody asks for.
    pub(crate) fn put(&mut self, piece: Vec<u8>, most: usize) {
        let Some(room) = most.checked_sub(piece.capacity()) else { return };
        if piece.capacity() > 0 {
            self.shrink(room);
            self.bytes += piece.capacity();
            self.pieces.push_back(piece);
        }
    }

    /// Lets go of what came first until no more than `most` bytes are kept.
    pub(crate) fn shrink(&mut self, most: usize) {
        while self.bytes > most {
            let Some(oldest) = self.pieces.pop_front() else { break };
            self.bytes -= oldest.capacity();
        }
    }

    /// Returns the piece that came last; it is the likeliest to be in the processor's cache.
    pub(crate) fn take_last(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.pop_back()?;
        self.bytes -= piece.capacity();
        Some(piece)
    }

    /// Returns the least piece whose size lies in `fits`; of equal ones, what came first.
    pub(crate) fn take_least(&mut self, fits: &RangeInclusive<usize>) -> Option<Vec<u8>> {
        let pieces = self.pieces.iter().enumerate();
        let fitting = pieces.filter(|(_, piece)| fits.contains(&piece.capacity()));
        let (at, _) = fitting.min_by_key(|(_, piece)| piece.capacity())?;
        let piece = self.pieces.remove(at)?;
        self.bytes -= piece.capacity();
        Some(piece)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(crate) fn capacities(&self) -> Vec<usize> {
        self.pieces.iter().map(Vec::capacity).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(sizes: &[usize], most: usize) -> KeptMemory {
        let mut kept = KeptMemory::default();
        for size in sizes {
            kept.put(Vec::with_capacity(*size), most);
        }
        kept
    }

    #[test]
    fn what_came_first_makes_way_and_a_piece_beyond_the_bound_is_not_kept() {
        assert_eq!(keeping(&[10, 20, 0, 30], 50).capacities(), [20, 30]);
        assert_eq!(keeping(&[10, 20, 51], 50).capacities(), [10, 20]);
        let mut kept = keeping(&[10, 20, 30], 60);
        kept.shrink(30);
        assert_eq!((kept.capacities(), kept.bytes()), (vec![30], 30));
    }

    #[test]
    fn the_least_that_fits_is_taken_and_no_other() {
        let mut kept = keeping(&[40, 10, 20], 100);
        assert_eq!(kept.take_least(&(15..=40)).map(|it| it.capacity()), Some(20));
        assert_eq!(kept.take_least(&(15..=30)), None);
        assert_eq!(kept.take_last().map(|it| it.capacity()), Some(10));
        assert_eq!(kept.bytes(), 40);
    }
}
