//! Memory for large answers, used again.
//!
//! An answer to a fetch takes megabytes, and every page of fresh memory costs a fault when it is first
//! touched: more than reading the records it holds. So the memory of an answer goes back to its client's
//! pool when the last record that lies in it is dropped, and the next answer is read into it.

use std::sync::{Arc, Weak};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::answer::TRUSTED_BYTES;
use crate::kept::KeptMemory;

/// Answers from this size on are read into pooled memory.
pub(super) const LARGE_BYTES: usize = 64 * 1024;

/// The memory one client's connections share. Clones are the same pool.
#[derive(Debug, Clone)]
pub struct FramePool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    memory: Mutex<Memory>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Memory {
    /// For the next answers.
    kept: KeptMemory,
    /// What answers lie in.
    used_bytes: usize,
}

/// What is kept unless it is said otherwise: as much as a consumer's budget is by default, so that no
/// more is ever kept than was in use at once.
pub(crate) const KEPT_BYTES: usize = 16 * 1024 * 1024;

impl Default for FramePool {
    fn default() -> Self {
        Self::new(KEPT_BYTES)
    }
}

impl FramePool {
    /// Returns an empty pool that keeps memory for later as long as it all, with what is in use, is not
    /// more than `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self { inner: Arc::new(Inner { memory: Mutex::default(), bytes_max }) }
    }

    /// Reads the rest of a frame of `length` bytes, whose beginning has been `received` without what
    /// precedes the frame; `None` when the stream ends before.
    pub(super) async fn read(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        received: &mut BytesMut,
        length: usize,
    ) -> std::io::Result<Option<Bytes>> {
        let pool = Arc::downgrade(&self.inner);
        let mut frame = self.take(length, pool);
        let bytes = &mut frame.bytes;
        bytes.extend_from_slice(&received.split_to(received.len().min(length)));
        while bytes.len() < length {
            let missing = length - bytes.len();
            // A length alone never claims more than an answer to our own request may take.
            bytes.reserve(even(missing.min(self.trusted().max(bytes.len()))));
            if reader.read_buf(&mut bytes.limit(missing)).await? == 0 {
                return Ok(None);
            }
        }
        let memory = &mut *self.inner.memory.lock();
        memory.used_bytes -= frame.counted;
        frame.counted = frame.bytes.capacity();
        memory.used_bytes += frame.counted;
        memory.kept.shrink(self.inner.bytes_max.saturating_sub(memory.used_bytes));
        Ok(Some(Bytes::from_owner(frame)))
    }

    /// What room is made for at once. A pool is as large as its client's budget, of which one fetch asks
    /// for half; growing step by step would copy, and leave holes.
    fn trusted(&self) -> usize {
        TRUSTED_BYTES.max(self.inner.bytes_max / 2)
    }

    /// Takes the least memory that is enough and not far too much, which would be missing elsewhere. If
    /// there is none, what is kept makes way for what will be used.
    fn take(&self, wanted: usize, pool: Weak<Inner>) -> Frame {
        let memory = &mut *self.inner.memory.lock();
        let fits = wanted..=wanted.saturating_mul(4).max(SMALL_BYTES);
        let bytes = memory.kept.take_least(&fits).unwrap_or_default();
        let counted = bytes.capacity().max(wanted);
        memory.used_bytes += counted;
        memory.kept.shrink(self.inner.bytes_max.saturating_sub(memory.used_bytes));
        Frame { bytes, pool, counted }
    }
}

/// Answers are of much the same size, but seldom of the very same: rounded up, the memory of one serves the
/// next.
fn even(bytes: usize) -> usize {
    if bytes < LARGE_BYTES { bytes } else { bytes.next_multiple_of(LARGE_BYTES) }
}

/// Memory of this size serves any answer.
const SMALL_BYTES: usize = 512 * 1024;

/// An answer, whose memory goes back to its pool.
struct Frame {
    bytes: Vec<u8>,
    pool: Weak<Inner>,
    counted: usize,
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let memory = &mut *pool.memory.lock();
        memory.used_bytes -= self.counted;
        let most = pool.bytes_max.saturating_sub(memory.used_bytes);
        memory.kept.put(bytes, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pool: &FramePool, begun: &[u8], rest: &[u8], length: usize) -> Option<Bytes> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut received = BytesMut::from(begun);
        let mut rest = rest;
        runtime.block_on(pool.read(&mut rest, &mut received, length)).unwrap()
    }

    #[test]
    fn a_frame_ends_where_its_length_says_and_its_memory_serves_the_next_one() {
        let pool = FramePool::default();
        let frame = read(&pool, b"ab", b"cdefgh", 5).unwrap();
        assert_eq!(frame, "abcde");
        let (slice, memory) = (frame.slice(1..2), frame.as_ptr());
        drop(frame);
        let other = read(&pool, b"", b"uvxyz", 5).unwrap();
        assert_ne!(other.as_ptr(), memory, "a slice of it is alive");
        drop(slice);
        assert_eq!(read(&pool, b"", b"fghij", 5).unwrap().as_ptr(), memory);
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_gives_none() {
        assert_eq!(read(&FramePool::default(), b"ab", b"c", 100), None);
    }

    #[test]
    fn a_pool_keeps_no_more_than_it_may() {
        let pool = FramePool::new(10);
        drop(read(&pool, b"", &[1; 64], 64));
        assert!(pool.inner.memory.lock().kept.bytes() == 0);
        let pool = FramePool::new(100);
        let used = read(&pool, b"", &[1; 64], 64);
        drop(read(&pool, b"", &[1; 64], 64));
        assert!(pool.inner.memory.lock().kept.bytes() == 0, "what is in use counts");
        drop(used);
        drop(read(&pool, b"", &[1; 90], 90));
        let memory = pool.inner.memory.lock();
        assert_eq!(
            (memory.kept.capacities().len(), memory.used_bytes),
            (1, 0),
            "the older one went"
        );
        assert!((90..=100).contains(&memory.kept.bytes()), "{}", memory.kept.bytes());
    }

    #[test]
    fn what_is_kept_makes_way_for_what_is_used() {
        let pool = FramePool::new(4 << 20);
        let answers: Vec<_> =
            (0..3).map(|_| read(&pool, b"", &vec![1; 1 << 20], 1 << 20)).collect();
        drop(answers);
        let large = read(&pool, b"", &vec![1; 3 << 20], 3 << 20);
        let memory = pool.inner.memory.lock();
        let (kept, used) = (memory.kept.bytes(), memory.used_bytes);
        drop(memory);
        assert!(kept + used <= 4 << 20, "{kept} kept, {used} used");
        drop(large);
    }

    #[test]
    fn a_small_answer_does_not_take_the_memory_of_a_large_one() {
        let pool = FramePool::default();
        drop(read(&pool, b"", &vec![1; 4 << 20], 4 << 20));
        let small = read(&pool, b"", &vec![1; 70_000], 70_000);
        assert_eq!(pool.inner.memory.lock().kept.capacities().len(), 1);
        drop(small);
    }

    #[test]
    fn a_length_claims_no_memory_before_the_data_comes() {
        let pool = FramePool::default();
        assert_eq!(read(&pool, b"", b"abc", 64 << 20), None);
        let memory = pool.inner.memory.lock();
        assert!(memory.kept.bytes() <= KEPT_BYTES);
    }
}
