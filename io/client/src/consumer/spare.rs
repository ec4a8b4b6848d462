//! Memory that records were unpacked or copied into, used again.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::kept::KeptMemory;

/// What is kept: what a few polls need.
const SPARE_BYTES: usize = 2 * 1024 * 1024;

/// Copies below this are left to the allocator, which is as fast, and whoever keeps one keeps no more.
const SMALL_BYTES: usize = 4 * 1024;

/// Memory for the records of the next batches.
#[derive(Debug, Default)]
pub(super) struct SpareMemory {
    kept: Arc<Mutex<KeptMemory>>,
}

impl SpareMemory {
    /// Returns memory, with what it happens to hold.
    pub(super) fn take(&self) -> Vec<u8> {
        self.kept.lock().take_last().unwrap_or_default()
    }

    /// Lends memory whose first `filled` bytes are records: it comes back when they are dropped.
    pub(super) fn lend(&self, memory: Vec<u8>, filled: usize) -> Bytes {
        Bytes::from_owner(Lent { memory, filled, kept: Arc::downgrade(&self.kept) })
    }

    /// Copies records into memory that is lent to whoever has the copy. A copy may be kept for long, so its
    /// memory is at most twice as large.
    pub(super) fn copy(&self, records: &[u8]) -> Bytes {
        if records.len() < SMALL_BYTES {
            return Bytes::copy_from_slice(records);
        }
        let fits = records.len()..=2 * records.len();
        let mut memory = self.kept.lock().take_least(&fits).unwrap_or_default();
        memory.clear();
        memory.extend_from_slice(records);
        self.lend(memory, records.len())
    }
}

struct Lent {
    memory: Vec<u8>,
    filled: usize,
    /// Records may outlive their consumer, and then nobody wants the memory.
    kept: Weak<Mutex<KeptMemory>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(kept) = self.kept.upgrade() else { return };
        let memory = std::mem::take(&mut self.memory);
        kept.lock().put(memory, SPARE_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(of: usize) -> Vec<u8> {
        vec![7; of]
    }

    #[test]
    fn memory_comes_back_when_the_last_of_a_copy_is_dropped() {
        let spare = SpareMemory::default();
        let first = spare.copy(&records(9_000));
        let (memory, part) = (first.as_ptr(), first.slice(8_995..));
        drop(first);
        let second = spare.copy(&records(9_000));
        assert_ne!(second.as_ptr(), memory);
        assert_eq!(part, [7; 5][..]);
        drop(part);
        assert_eq!(spare.copy(&records(8_000)).as_ptr(), memory);
    }

    #[test]
    fn a_copy_takes_at_most_twice_its_size_of_what_is_kept() {
        let spare = SpareMemory::default();
        drop(spare.lend(Vec::with_capacity(SPARE_BYTES / 2), 0));
        let copies = [spare.copy(&records(5_000)), spare.copy(&records(10))];
        assert_eq!(spare.kept.lock().capacities(), [SPARE_BYTES / 2]);
        drop(copies);
        assert_eq!(spare.kept.lock().capacities(), [SPARE_BYTES / 2, 5_000]);
    }

    #[test]
    fn no_more_is_kept_than_a_few_polls_need() {
        let spare = SpareMemory::default();
        let copies: Vec<_> = (0..3).map(|_| spare.copy(&records(SPARE_BYTES / 2))).collect();
        drop(copies);
        assert_eq!(spare.kept.lock().bytes(), SPARE_BYTES);
        let outlives = spare.copy(&records(5_000));
        drop(spare);
        assert_eq!(outlives, records(5_000));
    }
}
