//! The byte budget: what is in memory, as it came and unpacked, and how it comes back when data is
//! dropped.
//!
//! Fetches are asked for only as far as the budget goes. What their records unpack to is known only
//! afterwards: while compressed data comes, a part of the budget is kept for it, and another batch is
//! unpacked only while there is room for one like the last. A batch can be larger than all of the budget,
//! so whoever reads may exceed it by one batch, unless he has more than the records of one earlier poll.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use kohort_client_core::consumer::fetcher::Wants;
use kohort_client_core::consumer::reader::Memory;
use tokio::sync::Notify;

use super::spare::SpareMemory;

/// Counts the bytes in use, and wakes whoever waits for some to come back.
#[derive(Debug)]
pub(super) struct Credits {
    budget: i64,
    used: AtomicI64,
    /// The part of what is used that was unpacked.
    unpacked: AtomicI64,
    /// What the fetches under way may bring.
    reserved: AtomicI64,
    /// What the latest batch unpacked to: as much is expected of the next. 0 while none was compressed.
    expected: AtomicI64,
    /// Set by the network side while it holds fetches back; whether dropping something may change that;
    /// and what `taken` has to come to before taking may.
    held: AtomicBool,
    by_budget: AtomicBool,
    held_until: AtomicI64,
    /// How many waiting bytes were ever taken.
    taken: AtomicI64,
    pub(super) wake: Notify,
    /// Set by readers while they wait for room to unpack.
    readers_wait: AtomicBool,
    pub(super) room: Notify,
    /// Memory that records were unpacked or copied into, for the next ones.
    spare: SpareMemory,
}

/// The part of the budget that is kept for unpacked records.
const UNPACKED_PART: i64 = 4;

impl Credits {
    /// Starts with `budget` bytes to use.
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget: i64::try_from(budget).unwrap_or(i64::MAX),
            used: AtomicI64::new(0),
            unpacked: AtomicI64::new(0),
            reserved: AtomicI64::new(0),
            expected: AtomicI64::new(0),
            held: AtomicBool::new(false),
            by_budget: AtomicBool::new(false),
            held_until: AtomicI64::new(i64::MIN),
            taken: AtomicI64::new(0),
            wake: Notify::new(),
            readers_wait: AtomicBool::new(false),
            room: Notify::new(),
            spare: SpareMemory::default(),
        }
    }

    /// Takes `bytes` for as long as the hold or a clone of it lives.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Hold {
        self.hold(bytes as i64, false)
    }

    fn hold(self: &Arc<Self>, bytes: i64, unpacked: bool) -> Hold {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        if unpacked {
            self.unpacked.fetch_add(bytes, Ordering::SeqCst);
        }
        Hold { share: Arc::new(Share { credits: self.clone(), bytes, unpacked }) }
    }

    /// Returns the bytes in use.
    pub(super) fn used(&self) -> i64 {
        self.used.load(Ordering::SeqCst)
    }

    /// Returns how many more bytes are kept for what is unpacked.
    pub(super) fn kept(&self) -> i64 {
        if self.expected.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        (self.budget / UNPACKED_PART - self.unpacked.load(Ordering::SeqCst)).max(0)
    }

    /// Says what the fetches under way may bring.
    pub(super) fn set_reserved(&self, bytes: i64) {
        if self.reserved.swap(bytes, Ordering::SeqCst) > bytes {
            self.wake_readers();
        }
    }

    /// Says that the network side is about to look at what is in use: to lose no wake-up, any change from
    /// here on wakes it. Returns what [`hold_back`](Self::hold_back) wants to know.
    pub(super) fn begin_look(&self) -> i64 {
        self.by_budget.store(true, Ordering::SeqCst);
        self.held_until.store(i64::MIN, Ordering::SeqCst);
        self.held.store(true, Ordering::SeqCst);
        self.taken.load(Ordering::SeqCst)
    }

    /// Says what the look came to, and so what wakes the network side.
    pub(super) fn hold_back(&self, taken: i64, wants: Wants) {
        if !wants.any() {
            self.held.store(false, Ordering::SeqCst);
            return;
        }
        let until = wants.taken.map_or(i64::MAX, |bytes| taken.saturating_add(bytes));
        self.held_until.store(until, Ordering::SeqCst);
        self.by_budget.store(wants.budget, Ordering::SeqCst);
        self.took(0);
    }

    /// Tells the network side that so many waiting bytes were taken, if that is enough to go on.
    pub(super) fn took(&self, bytes: i64) {
        let taken = self.taken.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if taken >= self.held_until.load(Ordering::SeqCst) {
            self.look_again();
        }
    }

    /// Tells the network side that there is room, if it waits for that.
    fn made_room(&self) {
        if self.by_budget.load(Ordering::SeqCst) {
            self.look_again();
        }
    }

    /// Wakes the network side if it holds anything back.
    pub(super) fn look_again(&self) {
        // Looked at first, since it seldom is and every poll comes by here.
        if self.held.load(Ordering::SeqCst) && self.held.swap(false, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    fn wake_readers(&self) {
        if self.readers_wait.load(Ordering::SeqCst)
            && self.readers_wait.swap(false, Ordering::SeqCst)
        {
            self.room.notify_waiters();
        }
    }

    /// Whether what is left of the budget is enough for another batch, as far as one can tell. If not,
    /// `room` tells of a change from here on.
    fn has_room(&self) -> bool {
        let left = || {
            let spoken_for = self.used() + self.reserved.load(Ordering::SeqCst);
            spoken_for + self.expected.load(Ordering::Relaxed).max(1) <= self.budget
        };
        left() || {
            self.readers_wait.store(true, Ordering::SeqCst);
            left()
        }
    }
}

/// Memory to unpack into for one poll.
#[derive(Debug)]
pub(super) struct Unpacking<'a> {
    credits: &'a Arc<Credits>,
    /// Whether a batch may exceed the budget.
    may_exceed: Cell<bool>,
}

impl<'a> Unpacking<'a> {
    pub(super) fn new(credits: &'a Arc<Credits>, may_exceed: bool) -> Self {
        Self { credits, may_exceed: Cell::new(may_exceed) }
    }
}

impl Memory<Hold> for Unpacking<'_> {
    fn admits(&self) -> bool {
        self.credits.has_room() || self.may_exceed.get()
    }

    fn spare(&self) -> Vec<u8> {
        self.credits.spare.take()
    }

    fn keep(&self, memory: Vec<u8>, filled: usize) -> (Bytes, Hold) {
        self.may_exceed.set(false);
        let bytes = memory.capacity() as i64;
        self.credits.expected.store(bytes, Ordering::Relaxed);
        let hold = self.credits.hold(bytes, true);
        (self.credits.spare.lend(memory, filled), hold)
    }
}

/// A share of the budget, given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    share: Arc<Share>,
}

impl Hold {
    /// Copies records out of what is held, into memory that is outside the budget.
    pub(super) fn copy(&self, records: &[u8]) -> Bytes {
        self.share.credits.spare.copy(records)
    }
}

#[derive(Debug)]
struct Share {
    credits: Arc<Credits>,
    bytes: i64,
    unpacked: bool,
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.unpacked {
            self.credits.unpacked.fetch_sub(self.bytes, Ordering::SeqCst);
        }
        self.credits.used.fetch_sub(self.bytes, Ordering::SeqCst);
        self.credits.made_room();
        self.credits.wake_readers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_exceeds_the_budget_by_one_batch_and_gives_back_by_dropping() {
        let credits = Arc::new(Credits::new(1000));
        let wire = credits.take(900);
        credits.set_reserved(100);
        let unpacking = Unpacking::new(&credits, true);
        assert!(unpacking.admits(), "nothing is given out yet");
        let (records, hold) = unpacking.keep(Vec::with_capacity(5000), 0);
        assert!(!unpacking.admits());
        assert_eq!((credits.used(), credits.kept()), (5900, 0));
        drop((records, hold));
        assert_eq!((credits.used(), credits.kept()), (900, 250));
        assert!(!unpacking.admits(), "what is on its way will need its place");
        drop(wire);
        assert!(!unpacking.admits(), "the next one may be as large");
        let (_, small) = unpacking.keep(Vec::with_capacity(100), 0);
        drop(small);
        assert!(unpacking.admits());
    }

    #[test]
    fn the_network_side_is_woken_when_enough_was_taken_and_not_before() {
        let credits = Credits::new(1000);
        let is_held = || credits.held.load(Ordering::SeqCst);
        let held = |wants| {
            credits.hold_back(credits.begin_look(), wants);
            is_held()
        };
        assert!(!held(Wants::default()));
        assert!(held(Wants { budget: false, taken: Some(100) }));
        credits.took(99);
        credits.made_room();
        assert!(is_held(), "neither is enough");
        credits.took(1);
        assert!(!is_held());
        assert!(held(Wants { budget: true, taken: None }));
        credits.took(1000);
        assert!(is_held(), "what was taken is still there");
        credits.made_room();
        assert!(!is_held());
        let looked = credits.begin_look();
        credits.took(100);
        credits.hold_back(looked, Wants { budget: false, taken: Some(100) });
        assert!(!is_held(), "it was taken meanwhile");
    }

    #[test]
    fn readers_that_wait_are_woken_when_something_is_dropped_or_a_fetch_ends() {
        let credits = Arc::new(Credits::new(1000));
        let waits = |credits: &Arc<Credits>| {
            assert!(!Unpacking::new(credits, false).admits());
            credits.readers_wait.load(Ordering::SeqCst)
        };
        let held = credits.take(500);
        credits.set_reserved(500);
        assert!(waits(&credits));
        credits.set_reserved(0);
        assert!(!credits.readers_wait.load(Ordering::SeqCst));
        credits.set_reserved(500);
        assert!(waits(&credits));
        drop(held);
        assert!(!credits.readers_wait.load(Ordering::SeqCst));
    }
}
