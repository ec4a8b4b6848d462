//! Memory that direct writes accept: a buffer whose first byte lies on a block boundary.
//!
//! Made without `unsafe`: a little more is allocated than asked for, and the bytes before the first
//! boundary are left unused.

use std::fmt;

/// The unit of direct I/O: every buffer, position and size is a multiple of it.
pub const BLOCK: usize = 4096;

/// A growable byte buffer that begins on a [`BLOCK`] boundary. It never reallocates: what it holds is
/// decided when it is made.
pub struct AlignedBuf {
    /// All of it is initialised, so that any length can be set without writing.
    memory: Box<[u8]>,
    start: usize,
    length: usize,
    capacity: usize,
}

impl AlignedBuf {
    /// Makes an empty buffer for up to `capacity` bytes, rounded up to whole blocks.
    pub fn with_capacity(capacity: usize) -> AlignedBuf {
        let capacity = round_up(capacity);
        // Zeroed memory of this size is fresh from the system, which zeroes a page when it is touched.
        let memory = vec![0_u8; capacity + BLOCK].into_boxed_slice();
        let start = memory.as_ptr().align_offset(BLOCK);
        assert!(start < BLOCK, "a byte pointer can always be aligned");
        AlignedBuf { memory, start, length: 0, capacity }
    }

    /// Makes a buffer of `length` zero bytes.
    pub fn zeroed(length: usize) -> AlignedBuf {
        let mut buffer = AlignedBuf::with_capacity(length);
        buffer.length = length;
        buffer
    }

    /// Returns how many bytes the buffer can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns how many bytes the buffer holds.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Tells whether the buffer holds nothing.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Makes the buffer hold `length` bytes: of those that were not there before, any, to be written
    /// over.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn set_len(&mut self, length: usize) {
        assert!(length <= self.capacity, "the buffer was made large enough");
        self.length = length;
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// If they do not fit: growing would move the buffer off its boundary.
    pub fn extend(&mut self, bytes: &[u8]) {
        let from = self.length;
        self.set_len(from + bytes.len());
        self.as_mut_slice()[from..].copy_from_slice(bytes);
    }

    /// Appends zeros up to the next block boundary.
    pub fn pad_to_block(&mut self) {
        let from = self.length;
        self.set_len(round_up(from));
        self.as_mut_slice()[from..].fill(0);
    }

    /// Returns the content.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    /// Returns the content, to change.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} of {} bytes)", self.len(), self.capacity)
    }
}

/// Rounds up to whole blocks.
pub(crate) fn round_up(length: usize) -> usize {
    length.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_starts_on_a_block_boundary_and_stays_there() {
        for capacity in [1, 100, BLOCK, BLOCK + 1, 10 * BLOCK] {
            let mut buffer = AlignedBuf::with_capacity(capacity);
            let at = buffer.as_slice().as_ptr();
            buffer.extend(&vec![1; capacity]);
            buffer.pad_to_block();
            assert_eq!(buffer.as_slice().as_ptr(), at);
            assert_eq!(at.align_offset(BLOCK), 0);
            assert_eq!(buffer.len(), buffer.capacity());
        }
        assert_eq!(AlignedBuf::zeroed(10).as_slice(), &[0; 10]);
    }
}
