//! The byte budget: what is in memory, and how it comes back when data is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use kohort_client_core::consumer::reader::Memory;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Counts the bytes in use, and wakes the network side when it waits for some to come back.
#[derive(Debug, Default)]
pub(super) struct Credits {
    used: AtomicI64,
    /// Set by the network side while it holds fetches back.
    starved: AtomicBool,
    pub(super) wake: Notify,
    /// Memory that records were unpacked into, for the next ones.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// What is kept to unpack into: what a few polls need.
const SPARE_BYTES: usize = 2 * 1024 * 1024;

impl Credits {
    /// Takes `bytes` for as long as the hold or a clone of it lives.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Hold {
        self.used.fetch_add(bytes as i64, Ordering::Relaxed);
        Hold { _share: Arc::new(Share { credits: self.clone(), bytes: bytes as i64 }) }
    }

    /// Returns the bytes in use.
    pub(super) fn used(&self) -> i64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Says whether fetches are held back. To lose no wake-up it is set before looking at what is in
    /// use, and cleared after.
    pub(super) fn set_starved(&self, starved: bool) {
        self.starved.store(starved, Ordering::SeqCst);
    }

    /// Tells the network side that there is room, if it waits for it.
    pub(super) fn made_room(&self) {
        if self.starved.swap(false, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }
}

impl Memory<Hold> for Arc<Credits> {
    fn spare(&self) -> Vec<u8> {
        self.spare.lock().pop().unwrap_or_default()
    }

    fn keep(&self, memory: Vec<u8>, filled: usize) -> (Bytes, Hold) {
        let hold = self.take(memory.capacity());
        (Bytes::from_owner(Unpacked { memory, filled, credits: self.clone() }), hold)
    }
}

/// Unpacked records, whose memory is used again.
struct Unpacked {
    memory: Vec<u8>,
    filled: usize,
    credits: Arc<Credits>,
}

impl AsRef<[u8]> for Unpacked {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut spare = self.credits.spare.lock();
        let held: usize = spare.iter().map(Vec::capacity).sum();
        if held + memory.capacity() <= SPARE_BYTES {
            spare.push(memory);
        }
    }
}

/// A share of the budget, given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    _share: Arc<Share>,
}

#[derive(Debug)]
struct Share {
    credits: Arc<Credits>,
    bytes: i64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.credits.used.fetch_sub(self.bytes, Ordering::SeqCst);
        self.credits.made_room();
    }
}
