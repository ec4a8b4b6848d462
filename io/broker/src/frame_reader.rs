//! Cuts the bytes of a connection into request frames.
//!
//! Memory follows the bytes that have arrived, never the length a peer announces: a frame's buffer
//! starts small and at most doubles as it fills, and only a connection that has sent large frames
//! before gets one of that size at once. Small frames are read into a buffer that all connections
//! of a thread share, and copied out of it: a connection with nothing to read holds none. Large ones
//! are read into buffers of the data folder's pool, which then travel to the log without a copy.

use bytes::{Buf, Bytes, BytesMut};
use kohort_protocol::DecodeError;
use kohort_protocol::frame::{LENGTH_BYTES, frame_length};
use kohort_storage::{BufferPool, PooledBuf};
use std::sync::Arc;

/// How much one read of small frames may take.
pub(crate) const SMALL_BUFFER: usize = 16 * 1024;
/// Frames up to this size are copied, so that keeping one does not keep the whole buffer.
const COPIED_FRAME: usize = 4 * 1024;
/// What a large frame's buffer starts with.
const LARGE_BUFFER: usize = 64 * 1024;

/// The incoming half of a connection, as frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    limit: usize,
    pool: Arc<BufferPool>,
    small: BytesMut,
    large: Option<LargeFrame>,
    /// The largest frame this connection has sent in full.
    proven: usize,
}

#[derive(Debug)]
struct LargeFrame {
    buffer: PooledBuf,
    /// How much of it has come.
    come: usize,
    length: usize,
}

impl LargeFrame {
    fn is_whole(&self) -> bool {
        self.come == self.length
    }

    fn come(&self) -> &[u8] {
        &self.buffer.as_slice()[..self.come]
    }
}

impl FrameReader {
    /// Starts with nothing; frames above `limit` bytes are refused.
    pub(crate) fn new(limit: usize, pool: Arc<BufferPool>) -> Self {
        Self { limit, pool, small: BytesMut::new(), large: None, proven: 0 }
    }

    /// Returns where the next bytes from the peer go, if a large frame has begun: how many came is
    /// then told to [`put_large`](Self::put_large). Otherwise up to [`SMALL_BUFFER`] bytes are to be
    /// read elsewhere and [`put`](Self::put) here.
    pub(crate) fn large_space(&mut self) -> Option<&mut [u8]> {
        let large = self.large.as_mut()?;
        if large.come == large.buffer.capacity() {
            let room = large.length.min(large.come + large.come.max(LARGE_BUFFER));
            let mut larger = self.pool.take(room);
            larger.extend(large.come());
            large.buffer = larger;
        }
        let end = large.length.min(large.buffer.capacity());
        large.buffer.set_len(end);
        Some(&mut large.buffer.as_mut_slice()[large.come..])
    }

    /// So many bytes were written to [`large_space`](Self::large_space).
    pub(crate) fn put_large(&mut self, count: usize) {
        if let Some(large) = &mut self.large {
            large.come += count;
        }
    }

    /// Takes bytes that were read while no large frame had begun.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if !self.small.is_empty() {
            self.small.extend_from_slice(bytes);
            return;
        }
        if let Some((prefix, begun)) = bytes.split_first_chunk::<LENGTH_BYTES>()
            && let Ok(length) = frame_length(*prefix, self.limit)
            && is_large(length)
        {
            self.begin_large(length, begun);
        } else {
            self.small = BytesMut::from(bytes);
        }
    }

    /// Returns whether a whole frame is waiting, so that nothing more need be read yet.
    pub(crate) fn has_frame(&self) -> bool {
        match &self.large {
            Some(large) => large.is_whole(),
            None => self.small.first_chunk::<LENGTH_BYTES>().is_some_and(|prefix| {
                frame_length(*prefix, self.limit)
                    .map_or(true, |length| self.small.len() - LENGTH_BYTES >= length)
            }),
        }
    }

    /// Returns the length of the large frame that has begun.
    pub(crate) fn large_length(&self) -> Option<usize> {
        self.large.as_ref().map(|large| large.length)
    }

    /// Returns the length of the next whole frame, if it is a small one.
    pub(crate) fn small_length(&self) -> Option<usize> {
        if self.large.is_some() {
            return None;
        }
        let length = frame_length(*self.small.first_chunk::<LENGTH_BYTES>()?, self.limit).ok()?;
        (self.small.len() - LENGTH_BYTES >= length).then_some(length)
    }

    /// Returns whether the peer is in the middle of a frame.
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.large.is_some() || !self.small.is_empty()
    }

    /// Returns the API key of the next whole frame, to decide whether it may start.
    pub(crate) fn peek_api_key(&self) -> Option<i16> {
        let body = match &self.large {
            Some(large) => large.come(),
            None => self.small.get(LENGTH_BYTES..)?,
        };
        body.first_chunk::<2>().map(|key| i16::from_be_bytes(*key))
    }

    /// Takes the next whole frame.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, DecodeError> {
        if let Some(mut large) = self.large.take_if(|large| large.is_whole()) {
            self.proven = self.proven.max(large.length);
            large.buffer.set_len(large.length);
            return Ok(Some(Bytes::from_owner(large.buffer)));
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let Some(prefix) = self.small.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = frame_length(*prefix, self.limit)?;
        if self.small.len() - LENGTH_BYTES < length {
            self.prepare_large(length);
            return Ok(None);
        }
        self.small.advance(LENGTH_BYTES);
        let frame = if self.small.len() == length {
            std::mem::take(&mut self.small).freeze()
        } else if length <= COPIED_FRAME {
            let frame = Bytes::copy_from_slice(&self.small[..length]);
            self.small.advance(length);
            frame
        } else {
            self.small.split_to(length).freeze()
        };
        Ok(Some(frame))
    }

    /// Moves the start of a frame that will not fit the small buffer to memory of its own.
    fn prepare_large(&mut self, length: usize) {
        if is_large(length) {
            let small = std::mem::take(&mut self.small);
            self.begin_large(length, &small[LENGTH_BYTES..]);
        }
    }

    /// Starts a large frame with what has come of it.
    fn begin_large(&mut self, length: usize, begun: &[u8]) {
        let room = length.min(LARGE_BUFFER.max(2 * begun.len()).max(self.proven));
        let mut buffer = self.pool.take(room);
        buffer.extend(begun);
        self.large = Some(LargeFrame { buffer, come: begun.len(), length });
    }
}

/// Tells whether a frame does not fit the small buffer with its length.
fn is_large(length: usize) -> bool {
    length + LENGTH_BYTES > SMALL_BUFFER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(limit: usize) -> FrameReader {
        FrameReader::new(limit, BufferPool::new(1 << 20))
    }

    /// Feeds `bytes` in pieces of `piece` bytes and returns the frames that come out.
    fn frames(bytes: &[u8], piece: usize, limit: usize) -> Vec<Bytes> {
        let mut reader = reader(limit);
        let mut found = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = if let Some(space) = reader.large_space() {
                let taken = piece.min(space.len()).min(rest.len());
                space[..taken].copy_from_slice(&rest[..taken]);
                reader.put_large(taken);
                taken
            } else {
                let taken = piece.min(SMALL_BUFFER).min(rest.len());
                reader.put(&rest[..taken]);
                taken
            };
            rest = &rest[taken..];
            while let Some(frame) = reader.next_frame().unwrap() {
                found.push(frame);
            }
        }
        assert!(!reader.is_inside_frame());
        found
    }

    #[test]
    fn frames_of_all_sizes_come_out_whole_however_they_arrive() {
        let sizes = [0_usize, 1, 5, 4096, 4097, 16_380, 16_381, 70_000, 300_000, 2];
        let mut stream = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            stream.extend_from_slice(&(*size as u32).to_be_bytes());
            stream.extend(std::iter::repeat_n(index as u8, *size));
        }
        for piece in [1, 3, 1000, 65_536, usize::MAX] {
            let found = frames(&stream, piece, 1 << 20);
            assert_eq!(found.iter().map(Bytes::len).collect::<Vec<_>>(), sizes);
            for (index, frame) in found.iter().enumerate() {
                assert!(frame.iter().all(|byte| *byte == index as u8));
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_at_once() {
        for prefix in [-1_i32, i32::MIN, 1001, i32::MAX] {
            let mut reader = reader(1000);
            reader.put(&prefix.to_be_bytes());
            assert!(reader.has_frame(), "the refusal counts as something to take");
            assert!(reader.next_frame().is_err());
        }
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let mut reader = reader(100 << 20);
        reader.put(&(100_u32 << 20).to_be_bytes());
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.large_space().unwrap().len() <= LARGE_BUFFER);
    }
}
