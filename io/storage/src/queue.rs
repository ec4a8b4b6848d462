//! What waits to be committed: filled by appends to partitions, of type `P`, emptied by the commit thread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::error::StorageError;
use crate::wal::reserve::Urgency;

/// Called once, when an append is durable or will never be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// Bytes of a batch that are set on append and lie outside its checksum: base offset, length and
/// leader epoch. They are kept apart so that the batch itself need not be copied to change them.
pub(crate) const BATCH_HEAD: usize = 16;

/// An append to a partition, or another entry, on its way to the log.
pub(crate) struct Pending<P> {
    pub(crate) what: PendingEntry<P>,
    pub(crate) done: Option<Done>,
}

pub(crate) enum PendingEntry<P> {
    Append {
        partition: Arc<P>,
        head: [u8; BATCH_HEAD],
        /// The batch after its head.
        body: Bytes,
        first_offset: i64,
        next_offset: i64,
        urgency: Urgency,
    },
    /// An encoded entry other than an append.
    Control(Vec<u8>),
    /// Nothing to write: done when everything before it is durable.
    Barrier,
}

impl<P> std::fmt::Debug for Pending<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({} bytes)", self.what.bytes())
    }
}

impl<P> PendingEntry<P> {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            PendingEntry::Append { body, .. } => BATCH_HEAD + body.len(),
            PendingEntry::Control(entry) => entry.len(),
            PendingEntry::Barrier => 0,
        }
    }

    /// Returns how much depends on it when the disk is full.
    pub(crate) fn urgency(&self) -> Urgency {
        match self {
            PendingEntry::Append { urgency, .. } => *urgency,
            PendingEntry::Control(_) | PendingEntry::Barrier => Urgency::Control,
        }
    }
}

/// Splits what waits for room into the entries that are at least of `urgency` and may go ahead, and those
/// that stay behind. No append overtakes one of its partition, and no barrier anything.
///
/// That creations, deletions and log starts go ahead of other partitions' appends makes no difference, nor
/// do those of the same: a creation precedes its partition's appends anyway, a log start only speaks of
/// what is durable, and appends of a partition that is deleted are refused before.
pub(crate) fn go_ahead<P>(
    pending: Vec<Pending<P>>,
    urgency: Urgency,
) -> (Vec<Pending<P>>, Vec<Pending<P>>) {
    let mut stayed = BTreeSet::new();
    let mut any_stayed = false;
    pending.into_iter().partition(|entry| {
        let goes = match &entry.what {
            PendingEntry::Append { partition, urgency: of, .. } => {
                let goes = *of >= urgency && !stayed.contains(&Arc::as_ptr(partition));
                if !goes {
                    stayed.insert(Arc::as_ptr(partition));
                }
                goes
            }
            PendingEntry::Control(_) => true,
            PendingEntry::Barrier => !any_stayed,
        };
        any_stayed |= !goes;
        goes
    })
}

/// The queue to the write-ahead log. Its bytes are bounded by whoever lets appends in.
pub(crate) struct CommitQueue<P> {
    state: Mutex<State<P>>,
    filled: Condvar,
    /// Bytes of what is queued or being committed.
    bytes: AtomicUsize,
}

struct State<P> {
    entries: Vec<Pending<P>>,
    /// With how many entries the commit thread, which sleeps, is to be woken; none if it is awake.
    wake_at: Option<usize>,
    closed: bool,
}

impl<P> Default for CommitQueue<P> {
    fn default() -> Self {
        let state = State { entries: Vec::new(), wake_at: None, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), bytes: AtomicUsize::new(0) }
    }
}

impl<P> CommitQueue<P> {
    /// Adds an entry, or gives it back when the queue is closed.
    pub(crate) fn push(&self, pending: Pending<P>) -> Result<(), Pending<P>> {
        let bytes = pending.what.bytes();
        let mut state = self.state.lock();
        if state.closed {
            return Err(pending);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        state.entries.push(pending);
        let queued = state.entries.len();
        let wake = state.wake_at.take_if(|wake_at| queued >= *wake_at).is_some();
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes everything queued into `into`, which is empty. Waits for something if `wait`. Returns
    /// false when the queue is closed and empty.
    pub(crate) fn take(&self, into: &mut Vec<Pending<P>>, wait: bool) -> bool {
        let mut state = self.state.lock();
        while state.entries.is_empty() {
            if state.closed || !wait {
                return !state.closed;
            }
            state.wake_at = Some(1);
            self.filled.wait(&mut state);
        }
        std::mem::swap(into, &mut state.entries);
        true
    }

    /// Waits until `deadline` for more, if something is queued, but fewer than `entries` and less
    /// than `bytes`.
    pub(crate) fn gather(&self, entries: usize, bytes: usize, deadline: Instant) {
        let mut state = self.state.lock();
        while !state.closed && (1..entries).contains(&state.entries.len()) && self.bytes() < bytes {
            state.wake_at = Some(entries);
            if self.filled.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.wake_at = None;
    }

    /// What was taken is committed.
    pub(crate) fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns the bytes of what is queued or being committed.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lets nothing more in, and wakes whoever waits.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FAR: Duration = Duration::from_hours(1);

    fn entry(bytes: usize) -> Pending<()> {
        Pending { what: PendingEntry::Control(vec![0; bytes]), done: None }
    }

    fn queue_of(entries: usize, bytes: usize) -> CommitQueue<()> {
        let queue = CommitQueue::default();
        for _ in 0..entries {
            assert!(queue.push(entry(bytes)).is_ok());
        }
        queue
    }

    #[test]
    fn nothing_gathers_in_an_empty_queue_or_a_closed_one() {
        queue_of(0, 0).gather(4, 100, Instant::now() + FAR);
        let closed = queue_of(1, 1);
        closed.close();
        closed.gather(4, 100, Instant::now() + FAR);
    }

    #[test]
    fn enough_entries_or_bytes_do_not_wait_for_more() {
        queue_of(4, 1).gather(4, 100, Instant::now() + FAR);
        queue_of(1, 100).gather(4, 100, Instant::now() + FAR);
    }

    #[test]
    fn a_few_entries_wait_until_there_are_enough() {
        let queue = queue_of(1, 1);
        std::thread::scope(|threads| {
            let gathering = threads.spawn(|| queue.gather(4, 100, Instant::now() + FAR));
            while queue.state.lock().wake_at.is_none() {
                std::thread::yield_now();
            }
            for _ in 1..4 {
                assert!(!gathering.is_finished(), "fewer than four are still waiting");
                assert!(queue.push(entry(1)).is_ok());
            }
            gathering.join().expect("gathering ends");
        });
        let mut taken = Vec::new();
        assert!(queue.take(&mut taken, true));
        assert_eq!(taken.len(), 4);
    }

    #[test]
    fn a_few_entries_wait_until_the_queue_closes_or_the_time_is_up() {
        let queue = queue_of(1, 1);
        queue.gather(4, 100, Instant::now());
        std::thread::scope(|threads| {
            threads.spawn(|| queue.gather(4, 100, Instant::now() + FAR));
            while queue.state.lock().wake_at.is_none() {
                std::thread::yield_now();
            }
            queue.close();
        });
        assert!(queue.push(entry(1)).is_err());
    }
}
