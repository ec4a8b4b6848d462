//! What the application's side and the network side share: the buffer, the budget, what the
//! application has to be told, and when it last polled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use kohort_client_core::consumer::buffer::Buffer;
use kohort_client_core::consumer::machine::{Application, Fault};
use kohort_client_core::consumer::{
    AssignmentEpoch, Position, RequestId, Timestamp, TopicName, TopicPartition,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::credits::{Credits, Hold};
use super::error::{CloseError, PollError};
use super::signals::{StreamEnd, Streams};
use crate::net::Whereabouts;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Shared {
    /// How many commits of the application the task has not taken yet.
    pub(super) commits_sent: AtomicUsize,
    pub(super) buffer: Mutex<Buffer<Hold>>,
    pub(super) credits: Arc<Credits>,
    /// Where the latest poll was made.
    pub(super) whereabouts: Whereabouts,
    /// Tells a waiting poll to look again.
    pub(super) ready: Notify,
    /// The streams that have partitions to themselves.
    pub(super) streams: Streams,
    pub(super) faults: Mutex<Faults>,
    /// A revocation that waits for the application's next poll.
    pub(super) revocation: Mutex<Option<RequestId>>,
    /// Whether anything is subscribed to or assigned, as of the application's latest call.
    pub(super) wanted: AtomicBool,
    /// Set when nothing is wanted of the group any more, though guards and streams may not be done with what
    /// it had given.
    pub(super) unsubscribed: AtomicBool,
    /// Set when the member left because nobody polled.
    pub(super) away: AtomicBool,
    closed: AtomicBool,
    /// Set with it if the task panicked.
    failed: AtomicBool,
    /// How closing ended, once it has.
    pub(super) close_outcome: OnceLock<Result<(), CloseError>>,
    /// How many partitions' records of the latest poll were not walked to their end.
    pub(super) unread: Mutex<Arc<AtomicUsize>>,
    /// Shared with the records of all polls.
    pub(super) lease: Arc<()>,
    polls: AtomicUsize,
    /// How many streams wait for records.
    reads: AtomicUsize,
    polled_at: AtomicI64,
    clock: Clock,
}

/// What the application has to know; a partition's fault is forgotten when the partition goes on.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) group: Option<PollError>,
    /// What ended the membership, until something else is wanted.
    pub(super) group_end: Option<PollError>,
    pub(super) topics: BTreeMap<TopicName, PollError>,
    pub(super) partitions: BTreeMap<TopicPartition, PollError>,
}

/// Unix milliseconds that never go back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    base: Timestamp,
    since: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { base: crate::clock::now_ms(), since: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.base + self.since.elapsed().as_millis() as i64
    }

    /// Returns how long it is until `at`.
    pub(super) fn until(&self, at: Timestamp) -> std::time::Duration {
        std::time::Duration::from_millis(at.saturating_sub(self.now()).max(0) as u64)
    }
}

impl Shared {
    pub(super) fn new(budget_bytes: u64) -> Self {
        let clock = Clock::new();
        Self {
            commits_sent: AtomicUsize::new(0),
            buffer: Mutex::default(),
            credits: Arc::new(Credits::new(budget_bytes)),
            whereabouts: Whereabouts::default(),
            ready: Notify::new(),
            streams: Streams::default(),
            faults: Mutex::default(),
            revocation: Mutex::default(),
            wanted: AtomicBool::new(false),
            unsubscribed: AtomicBool::new(false),
            away: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            close_outcome: OnceLock::new(),
            // Before the first poll there is nothing that could be done with.
            unread: Mutex::new(Arc::new(AtomicUsize::new(1))),
            lease: Arc::default(),
            polls: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            polled_at: AtomicI64::new(clock.now()),
            clock,
        }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Ends everything that waits for the task.
    pub(super) fn close(&self, failed: bool) {
        self.failed.fetch_or(failed, Ordering::SeqCst);
        self.closed.store(true, Ordering::SeqCst);
        self.ready.notify_waiters();
        self.streams.end_all(if failed { StreamEnd::Failed } else { StreamEnd::Closed });
    }

    /// Returns why there is nothing more to be had, once the consumer closes.
    pub(super) fn ended(&self) -> Option<PollError> {
        if !self.closed.load(Ordering::SeqCst) {
            return None;
        }
        let failed = self.failed.load(Ordering::SeqCst);
        Some(if failed { PollError::Failed } else { PollError::Closed })
    }

    /// Returns why there is nothing to wait for, if so.
    pub(super) fn nothing_to_come(&self) -> Option<PollError> {
        let wanted = self.wanted.load(Ordering::SeqCst);
        self.ended().or_else(|| (!wanted).then_some(PollError::NotSubscribed))
    }

    /// Marks the application as polling for as long as the guard lives.
    pub(super) fn polling(&self) -> Polling<'_> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        Polling { shared: self }
    }

    /// Marks a stream as waiting for as long as the guard lives: a sign of life, but no poll.
    pub(super) fn reading(self: &Arc<Self>) -> Reading {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Reading { shared: self.clone() }
    }

    pub(super) fn is_polling(&self) -> bool {
        self.polls() > 0
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    /// Whether those who poll have at most the records of one earlier poll each: they may need them until
    /// there are more, whatever is left of the budget.
    pub(super) fn may_exceed(&self) -> bool {
        Arc::strong_count(&self.lease) - 1 <= self.polls()
    }

    /// Tells whoever reads a partition to look again: its stream, if that is given, or a poll.
    pub(super) fn wake_reader(&self, apart: Option<&TopicPartition>) {
        match apart {
            Some(partition) => self.streams.wake(partition),
            None => self.ready.notify_waiters(),
        }
    }

    /// Counts the time without polls from now on.
    pub(super) fn touch(&self) {
        self.polled_at.store(self.clock.now(), Ordering::SeqCst);
    }

    /// Takes that something else is subscribed to: what refused the earlier group is history.
    pub(super) fn begin_subscription(&self) {
        self.touch();
        self.begin_anew();
    }

    /// Takes that something else is wanted.
    pub(super) fn begin_anew(&self) {
        self.unsubscribed.store(false, Ordering::SeqCst);
        let mut faults = self.faults.lock();
        (faults.group, faults.group_end) = (None, None);
    }

    /// Keeps what the application has to be told, and wakes who may be waiting to hear it.
    pub(super) fn add_fault(&self, fault: Fault) {
        match fault {
            Fault::NoOffset { partition, out_of_range } => {
                let error = PollError::NoOffset { partition: partition.clone(), out_of_range };
                self.add_partition_fault(partition, error);
            }
            Fault::Truncated { partition, offset, diverges_at } => {
                let error =
                    PollError::Truncated { partition: partition.clone(), offset, diverges_at };
                self.add_partition_fault(partition, error);
            }
            Fault::Partition { partition, code } => {
                let error = PollError::Partition { partition: partition.clone(), code };
                self.add_partition_fault(partition, error);
            }
            Fault::Topic { topic, code } => {
                let error = PollError::Topic { topic: topic.clone(), code };
                self.faults.lock().topics.insert(topic.clone(), error);
                self.streams.wake_topic(&topic);
            }
            Fault::Group(error) => {
                let mut faults = self.faults.lock();
                faults.group_end = error.is_final().then(|| PollError::Group(error.clone()));
                faults.group = Some(PollError::Group(error));
            }
            _ => {}
        }
        self.ready.notify_waiters();
        self.streams.owned.notify_waiters();
    }

    fn add_partition_fault(&self, partition: TopicPartition, error: PollError) {
        self.faults.lock().partitions.insert(partition.clone(), error);
        self.streams.wake(&partition);
    }

    /// Returns what a poll has to be told, once: what stops a partition apart is its stream's to hear.
    pub(super) fn take_fault(&self) -> Option<PollError> {
        self.take_common_fault().or_else(|| {
            let partitions = &mut self.faults.lock().partitions;
            let polled = partitions.keys().find(|partition| !self.streams.has(partition));
            let polled = polled.cloned()?;
            partitions.remove(&polled)
        })
    }

    /// Returns what is wrong with the group or a topic, once.
    pub(super) fn take_common_fault(&self) -> Option<PollError> {
        let mut faults = self.faults.lock();
        let group = faults.group.take();
        group.or_else(|| faults.topics.pop_first().map(|(_, error)| error))
    }

    /// Returns what ended the membership: told again to whoever has waited, since nothing comes any more.
    pub(super) fn lasting_fault(&self) -> Option<PollError> {
        self.faults.lock().group_end.clone()
    }

    /// Returns what a partition's stream has to be told, once.
    pub(super) fn take_fault_of(&self, partition: &TopicPartition) -> Option<PollError> {
        let mut faults = self.faults.lock();
        let own = faults.partitions.remove(partition);
        own.or_else(|| faults.topics.remove(&partition.topic))
    }
}

impl Application for Shared {
    fn buffered(&self, partition: &TopicPartition) -> usize {
        self.buffer.lock().bytes(partition)
    }

    fn used_bytes(&self) -> i64 {
        self.credits.used()
    }

    fn kept_bytes(&self) -> i64 {
        self.credits.kept()
    }

    fn starves(&self, partition: Option<&TopicPartition>) -> bool {
        match partition {
            Some(partition) => self.streams.starves(partition),
            None => self.is_polling() && self.may_exceed(),
        }
    }

    fn consumed(&self, partition: &TopicPartition) -> Option<Position> {
        self.buffer.lock().given(partition)?.1
    }

    fn processed(&self) -> Vec<(TopicPartition, AssignmentEpoch, Position)> {
        self.buffer.lock().all_processed()
    }

    fn is_committing(&self) -> bool {
        self.commits_sent.load(Ordering::SeqCst) > 0
    }

    fn idle_since(&self) -> Option<Timestamp> {
        let reads = self.reads.load(Ordering::SeqCst) > 0;
        let waits = self.is_polling() || reads || self.streams.is_waiting_for_the_first();
        (!waits).then(|| self.polled_at.load(Ordering::SeqCst))
    }
}

/// See [`Shared::polling`].
#[derive(Debug)]
pub(super) struct Polling<'a> {
    shared: &'a Shared,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.shared.touch();
        self.shared.polls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// See [`Shared::reading`].
#[derive(Debug)]
pub(super) struct Reading {
    shared: Arc<Shared>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.shared.touch();
        self.shared.reads.fetch_sub(1, Ordering::SeqCst);
    }
}
