//! Memory that records were unpacked or copied into, used again: fresh memory costs a fault for each of
//! its pages, more than what is done with the records in it.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

/// What is kept: what a few polls need.
const SPARE_BYTES: usize = 2 * 1024 * 1024;

/// Memory for the records of the next batches.
#[derive(Debug, Default)]
pub(super) struct SpareMemory {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl SpareMemory {
    /// Returns memory, with what it happens to hold.
    pub(super) fn take(&self) -> Vec<u8> {
        self.kept.lock().pop().unwrap_or_default()
    }

    /// Lends memory whose first `filled` bytes are records: it comes back when they are dropped.
    pub(super) fn lend(&self, memory: Vec<u8>, filled: usize) -> Bytes {
        Bytes::from_owner(Lent { memory, filled, kept: Arc::downgrade(&self.kept) })
    }

    /// Copies records into memory that is lent to whoever has the copy.
    pub(super) fn copy(&self, records: &[u8]) -> Bytes {
        let mut memory = self.take();
        memory.clear();
        memory.extend_from_slice(records);
        self.lend(memory, records.len())
    }
}

struct Lent {
    memory: Vec<u8>,
    filled: usize,
    /// Records may outlive their consumer, and then nobody wants the memory.
    kept: Weak<Mutex<Vec<Vec<u8>>>>,
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
        let mut kept = kept.lock();
        let bytes: usize = kept.iter().map(Vec::capacity).sum();
        if bytes + memory.capacity() <= SPARE_BYTES {
            kept.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_of_a_copy_is_dropped() {
        let spare = SpareMemory::default();
        let first = spare.copy(b"some records");
        let (memory, part) = (first.as_ptr(), first.slice(5..));
        drop(first);
        assert_ne!(spare.copy(b"others").as_ptr(), memory);
        assert_eq!(part, "records");
        drop(part);
        assert_eq!(spare.copy(b"the next").as_ptr(), memory);
    }

    #[test]
    fn no_more_is_kept_than_a_few_polls_need() {
        let spare = SpareMemory::default();
        let copies: Vec<_> = (0..3).map(|_| spare.copy(&vec![7; SPARE_BYTES / 2])).collect();
        drop(copies);
        assert_eq!(spare.kept.lock().len(), 2);
        let outlives = spare.copy(b"whoever lent it");
        drop(spare);
        assert_eq!(outlives, "whoever lent it");
    }
}
