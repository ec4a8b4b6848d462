//! The bounded buffer that decoders write into.

use super::codec::{Compression, DecompressError};

/// A reusable buffer with a fill mark and a limit.
///
/// The buffer's length is how much of it is initialised, not how much is filled: it only grows, so
/// a buffer used again is not cleared again.
pub(super) struct Output<'b> {
    compression: Compression,
    buffer: &'b mut Vec<u8>,
    filled: usize,
    limit: usize,
}

impl<'b> Output<'b> {
    pub(super) fn new(compression: Compression, buffer: &'b mut Vec<u8>, limit: usize) -> Self {
        Self { compression, buffer, filled: 0, limit }
    }

    /// Returns free space of at least one byte, more when there is more, growing the buffer by
    /// doubling. One byte beyond the limit can be had, so that a decoder can tell "exactly full"
    /// from "too much"; [`Self::advance`] refuses it once it is used.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        if self.buffer.len() == self.filled {
            let ceiling = self.limit.saturating_add(1);
            let target = self.filled.saturating_mul(2).max(SMALLEST_BUFFER);
            self.buffer.resize(target.min(ceiling).max(self.filled + 1), 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// Returns everything filled since `start` and free space of exactly `len` bytes behind it.
    ///
    /// The caller has bounded `len` by what its input can become.
    pub(super) fn split(&mut self, start: usize, len: usize) -> (&[u8], &mut [u8]) {
        let end = self.filled + len;
        if self.buffer.len() < end {
            let doubled = self.filled.saturating_mul(2).min(self.limit);
            self.buffer.resize(end.max(doubled), 0);
        }
        let (before, after) = self.buffer.split_at_mut(self.filled);
        (&before[start..], &mut after[..len])
    }

    /// Counts `len` bytes of the free space as filled.
    pub(super) fn advance(&mut self, len: usize) -> Result<(), DecompressError> {
        self.filled += len;
        if self.filled > self.limit {
            return Err(self.too_large());
        }
        Ok(())
    }

    /// Copies bytes in.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), DecompressError> {
        if bytes.len() > self.remaining() {
            return Err(self.too_large());
        }
        let (_, space) = self.split(self.filled, bytes.len());
        space.copy_from_slice(bytes);
        self.advance(bytes.len())
    }

    /// Returns the bytes filled since `start`.
    pub(super) fn since(&self, start: usize) -> &[u8] {
        &self.buffer[start..self.filled]
    }

    /// Returns how many bytes are filled.
    pub(super) fn position(&self) -> usize {
        self.filled
    }

    /// Returns how many bytes the limit still allows.
    pub(super) fn remaining(&self) -> usize {
        self.limit - self.filled
    }

    pub(super) fn finish(self) -> &'b [u8] {
        &self.buffer[..self.filled]
    }

    pub(super) fn too_large(&self) -> DecompressError {
        DecompressError::TooLarge { compression: self.compression, limit: self.limit }
    }

    pub(super) fn corrupt(&self, reason: &'static str) -> DecompressError {
        DecompressError::Corrupt { compression: self.compression, reason }
    }
}

/// The first allocation of a decoder that cannot know the size: a few small records.
const SMALLEST_BUFFER: usize = 4 * 1024;
