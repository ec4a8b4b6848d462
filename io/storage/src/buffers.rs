//! Large buffers, used again: for requests, frames of the write-ahead log and reads from segments.
//!
//! Asking the system for a megabyte and giving it back costs more than copying into it: each page is
//! zeroed and mapped anew. A buffer here goes back to its pool when the last reader lets go of it. What
//! the pool keeps is bounded, and let go of when nothing needed it for a while.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::aligned::AlignedBuf;

/// Smaller buffers are not kept: the allocator has those at hand.
const KEPT_MIN: usize = 64 << 10;
/// Capacities are rounded up to steps of an eighth, so that buffers of about a size serve each other.
const STEPS: usize = 8;

/// Buffers that wait to be used again.
#[derive(Debug)]
pub struct BufferPool {
    kept_bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The one given back last is the last.
    kept: VecDeque<AlignedBuf>,
    bytes: usize,
    last_used: Option<Instant>,
}

impl BufferPool {
    /// Makes a pool that keeps at most so many bytes.
    pub fn new(kept_bytes_max: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool { kept_bytes_max, state: Mutex::default() })
    }

    /// Returns an empty buffer for at least `capacity` bytes.
    pub fn take(self: &Arc<Self>, capacity: usize) -> PooledBuf {
        let buffer =
            self.kept(capacity).unwrap_or_else(|| AlignedBuf::with_capacity(rounded(capacity)));
        PooledBuf { buffer: Some(buffer), home: Arc::clone(self) }
    }

    /// Takes a kept buffer: the one that was given back last, which the processor still has in its
    /// cache, unless it is far too large.
    fn kept(&self, capacity: usize) -> Option<AlignedBuf> {
        if capacity < KEPT_MIN {
            return None;
        }
        let mut state = self.state.lock();
        state.last_used = Some(Instant::now());
        let fits = |kept: &AlignedBuf| (capacity..=2 * capacity).contains(&kept.capacity());
        let at = state.kept.iter().rposition(fits)?;
        let mut buffer = state.kept.remove(at)?;
        state.bytes -= buffer.capacity();
        buffer.clear();
        Some(buffer)
    }

    /// Keeps a buffer. Where there is no room for it, those go that lay there longest: they are of
    /// sizes that are not asked for now.
    fn give_back(&self, buffer: AlignedBuf) {
        let capacity = buffer.capacity();
        if !(KEPT_MIN..=self.kept_bytes_max).contains(&capacity) {
            return;
        }
        let mut surplus = Vec::new();
        {
            let mut state = self.state.lock();
            while state.bytes + capacity > self.kept_bytes_max
                && let Some(oldest) = state.kept.pop_front()
            {
                state.bytes -= oldest.capacity();
                surplus.push(oldest);
            }
            state.bytes += capacity;
            state.kept.push_back(buffer);
        }
        // Without the lock: the system takes its time to take memory back.
        drop(surplus);
    }

    /// Lets go of everything kept, unless something was asked for within the time given.
    pub(crate) fn let_go_if_unused_for(&self, time: Duration) {
        let mut state = self.state.lock();
        if state.last_used.is_none_or(|last| last.elapsed() >= time) {
            state.bytes = 0;
            state.kept = VecDeque::new();
        }
    }
}

fn rounded(capacity: usize) -> usize {
    if capacity < KEPT_MIN {
        return capacity;
    }
    capacity.next_multiple_of((capacity.next_power_of_two() / 2 / STEPS).max(1))
}

/// A buffer that goes back to its pool when it is dropped.
pub struct PooledBuf {
    /// There until the drop.
    buffer: Option<AlignedBuf>,
    home: Arc<BufferPool>,
}

impl Deref for PooledBuf {
    type Target = AlignedBuf;

    fn deref(&self) -> &AlignedBuf {
        self.buffer.as_ref().expect("only a drop takes it")
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut AlignedBuf {
        self.buffer.as_mut().expect("only a drop takes it")
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.home.give_back(buffer);
        }
    }
}

impl fmt::Debug for PooledBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.buffer.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_sizes_no_longer_asked_for_make_room_for_those_that_are() {
        let pool = BufferPool::new(1 << 20);
        let small: Vec<_> = (0..8).map(|_| pool.take(128 << 10)).collect();
        drop(small);
        let large = pool.take(512 << 10);
        let at = large.as_slice().as_ptr();
        drop(large);
        assert_eq!(pool.take(512 << 10).as_slice().as_ptr(), at);
        let kept = pool.state.lock().bytes;
        assert!(kept <= 1 << 20, "{kept} bytes are kept");
    }

    #[test]
    fn a_buffer_is_used_again_and_holds_nothing_of_its_former_life() {
        let pool = BufferPool::new(4 << 20);
        let mut buffer = pool.take(1 << 20);
        buffer.extend(&[7; 1000]);
        let at = buffer.as_slice().as_ptr();
        drop(buffer);
        let mut again = pool.take((1 << 20) - 5000);
        assert_eq!(again.as_slice().as_ptr(), at);
        assert!(again.is_empty());
        again.set_len(10);
        assert_eq!(again.len(), 10);
        assert_ne!(
            pool.take(1 << 20).as_slice().as_ptr(),
            at,
            "one that is in use is nobody else's"
        );
    }

    #[test]
    fn what_is_kept_is_bounded_and_fits() {
        let pool = BufferPool::new(3 << 20);
        let four: Vec<PooledBuf> = (0..4).map(|_| pool.take(1 << 20)).collect();
        drop(four);
        assert_eq!(pool.state.lock().kept.len(), 3);
        assert!(pool.take(100 << 10).capacity() < 1 << 20, "a small need takes no large buffer");
        drop(pool.take(1000));
        assert!(pool.state.lock().bytes <= 3 << 20);
    }

    #[test]
    fn an_unused_pool_lets_go() {
        let pool = BufferPool::new(4 << 20);
        drop(pool.take(1 << 20));
        pool.let_go_if_unused_for(Duration::from_secs(3600));
        assert_eq!(pool.state.lock().kept.len(), 1, "it was used just now");
        pool.let_go_if_unused_for(Duration::ZERO);
        assert_eq!(pool.state.lock().kept.len(), 0);
        assert_eq!(pool.state.lock().bytes, 0);
    }
}
