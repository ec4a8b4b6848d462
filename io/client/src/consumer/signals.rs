//! What the consumer's own thread and its partition streams tell each other: that there are records, and that a
//! stream is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kohort_client_core::consumer::buffer::Buffer;
use kohort_client_core::consumer::{AssignmentEpoch, TopicPartition};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Notify;

use super::credits::Hold;

/// Why a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The group wants the partition back: finish, commit, and drop the stream.
    #[error("the group wants the partition back")]
    Revoked,
    /// The partition belongs to another member already; commits are refused.
    #[error("the partition is lost to another member")]
    Lost,
    /// The partition is not assigned any more.
    #[error("the partition is not assigned any more")]
    Unassigned,
    /// The topic was deleted and created anew: what its partition has now are other records.
    #[error("the topic was deleted and created again")]
    Recreated,
    /// The consumer is closed.
    #[error("the consumer is closed")]
    Closed,
    /// The consumer's own task panicked; see [`PollError::Failed`](super::PollError::Failed).
    #[error("the consumer failed and is closed")]
    Failed,
}

/// The streams there are, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Streams {
    signals: Mutex<BTreeMap<TopicPartition, Arc<Signal>>>,
    /// Tells whoever waits for a stream that there may be a partition for it.
    pub(super) owned: Notify,
    waiting: AtomicUsize,
}

/// Tells one stream that there is something to see.
#[derive(Debug)]
pub(super) struct Signal {
    epoch: AssignmentEpoch,
    pub(super) ready: Notify,
    pub(super) end: Mutex<Option<StreamEnd>>,
    /// Whether somebody waits for records.
    waits: AtomicBool,
    /// Shared with all records of the stream.
    pub(super) lease: Arc<()>,
}

impl Streams {
    pub(super) fn add(&self, partition: &TopicPartition, epoch: AssignmentEpoch) -> Arc<Signal> {
        let signal = Arc::new(Signal {
            epoch,
            ready: Notify::new(),
            end: Mutex::new(None),
            waits: AtomicBool::new(false),
            lease: Arc::default(),
        });
        self.signals.lock().insert(partition.clone(), signal.clone());
        signal
    }

    pub(super) fn remove(&self, partition: &TopicPartition, epoch: AssignmentEpoch) {
        let mut signals = self.signals.lock();
        if signals.get(partition).is_some_and(|signal| signal.epoch == epoch) {
            signals.remove(partition);
        }
    }

    pub(super) fn wake(&self, partition: &TopicPartition) {
        if let Some(signal) = self.signals.lock().get(partition) {
            signal.ready.notify_one();
        }
    }

    /// Wakes all streams of a topic.
    pub(super) fn wake_topic(&self, topic: &str) {
        for (partition, signal) in &*self.signals.lock() {
            if *partition.topic == *topic {
                signal.ready.notify_one();
            }
        }
    }

    /// Whether a partition has a stream.
    pub(super) fn has(&self, partition: &TopicPartition) -> bool {
        self.signals.lock().contains_key(partition)
    }

    /// Whether somebody waits for a stream's records who has at most one earlier part of them.
    pub(super) fn starves(&self, partition: &TopicPartition) -> bool {
        let signals = self.signals.lock();
        let signal = signals.get(partition);
        signal.is_some_and(|it| it.waits.load(Ordering::SeqCst) && it.may_exceed())
    }

    /// Ends a partition's stream, if there is one; the first reason stays.
    pub(super) fn end(&self, partition: &TopicPartition, why: StreamEnd) {
        if let Some(signal) = self.signals.lock().get(partition) {
            signal.end(why);
        }
    }

    pub(super) fn end_all(&self, why: StreamEnd) {
        for signal in self.signals.lock().values() {
            signal.end(why);
        }
        self.owned.notify_waiters();
    }

    /// Whether a stream is still there whose partition has to be given back.
    pub(super) fn any_revoked(&self, buffer: &Buffer<Hold>) -> bool {
        self.signals.lock().iter().any(|(partition, signal)| {
            // One that was not dropped in time belongs to an ownership long gone.
            let present = buffer.given(partition).is_some_and(|(epoch, _)| epoch == signal.epoch);
            present && *signal.end.lock() == Some(StreamEnd::Revoked)
        })
    }

    /// Whether somebody waits for a stream while there is none: as good as polling.
    pub(super) fn is_waiting_for_the_first(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 && self.signals.lock().is_empty()
    }

    /// Marks somebody as waiting for a stream for as long as the guard lives.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }
}

impl Signal {
    /// Whether at most one part of the records is still there: it may be needed until there is another.
    pub(super) fn may_exceed(&self) -> bool {
        Arc::strong_count(&self.lease) <= 2
    }

    /// Marks somebody as waiting for records for as long as the guard lives.
    pub(super) fn wait(&self) -> Awaiting<'_> {
        self.waits.store(true, Ordering::SeqCst);
        Awaiting(self)
    }

    fn end(&self, why: StreamEnd) {
        self.end.lock().get_or_insert(why);
        self.ready.notify_one();
    }
}

/// See [`Signal::wait`].
#[derive(Debug)]
pub(super) struct Awaiting<'a>(&'a Signal);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.waits.store(false, Ordering::SeqCst);
    }
}

/// See [`Streams::wait`].
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Streams);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
