//! How the senders of a batch's records learn its end.
//!
//! The records of a batch share one [`Completion`]: a [`Delivery`] is a handle of it and the record's
//! place, so that a record costs no memory of its own. A batch that was split points on to its parts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kohort_client_core::producer::Failure;
use parking_lot::Mutex;

use super::SendError;
use crate::cluster::ClusterError;
use crate::config::ProducerConfig;

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset, or -1 where the broker does not say: with `acks=0`, and when it recognised a
    /// retry it no longer remembers the offset of.
    pub offset: i64,
    /// Its timestamp: the record's own, or the broker's if the topic is configured so.
    pub timestamp: i64,
}

/// The future of a record's delivery. It may be dropped: the record is delivered all the same. If it is
/// not, that is seen nowhere but in a warning of the log and in [`Producer::metrics`](super::Producer::metrics).
#[derive(Debug)]
#[must_use = "a record that is not written is told here; without, a warning in the log and \
              `Producer::metrics` are all there is"]
pub struct Delivery {
    completion: Arc<Completion>,
    index: u32,
    timestamp: i64,
    /// The place of this future's waker, once it has been polled.
    waker: u32,
}

impl Delivery {
    pub(super) fn new(completion: Arc<Completion>, index: u32, timestamp: i64) -> Self {
        Self { completion, index, timestamp, waker: NO_WAKER }
    }

    /// Returns the batch's completion and the record's place in it.
    pub(super) fn into_parts(self) -> (Arc<Completion>, u32) {
        (self.completion, self.index)
    }

    /// Returns the topic the record goes to.
    pub fn topic(&self) -> &Arc<str> {
        &self.completion.topic
    }

    /// Returns the partition the record goes to.
    pub fn partition(&self) -> i32 {
        self.completion.partition
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let mut outcome = this.completion.outcome.lock();
            let (first, part) = match &mut *outcome {
                Outcome::Written { base_offset, log_append_time } => {
                    let offset = match *base_offset {
                        -1 => -1,
                        base => base + i64::from(this.index),
                    };
                    return Poll::Ready(Ok(RecordMetadata {
                        topic: this.completion.topic.clone(),
                        partition: this.completion.partition,
                        offset,
                        timestamp: match *log_append_time {
                            -1 => this.timestamp,
                            time => time,
                        },
                    }));
                }
                Outcome::Failed(error) => return Poll::Ready(Err(error.clone())),
                Outcome::Pending(wakers) => {
                    register(wakers, &mut this.waker, cx.waker());
                    return Poll::Pending;
                }
                Outcome::Split(parts) => part_of(parts, this.index),
            };
            drop(outcome);
            (this.completion, this.waker) = (part, NO_WAKER);
            this.index -= first;
        }
    }
}

/// Keeps the waker of a future that polls a batch, at the place it had the last time.
pub(super) fn register(wakers: &mut Vec<Waker>, place: &mut u32, waker: &Waker) {
    if let Some(kept) = wakers.get_mut(*place as usize) {
        kept.clone_from(waker);
    } else {
        *place = wakers.len() as u32;
        wakers.push(waker.clone());
    }
}

/// Returns the part of a batch that has its record `index`, and the place of the part's first record.
fn part_of(parts: &[(u32, Arc<Completion>)], index: u32) -> (u32, Arc<Completion>) {
    let at = parts.partition_point(|(first, _)| *first <= index);
    parts[at - 1].clone()
}

/// The end of a batch, shared by its records.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) outcome: Mutex<Outcome>,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Pending(Vec<Waker>),
    Written {
        base_offset: i64,
        log_append_time: i64,
    },
    /// It was sent on in parts, each with the place of its first record.
    Split(Vec<(u32, Arc<Completion>)>),
    Failed(SendError),
}

/// What is known of a failure beside its kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    /// What the broker said.
    pub(super) message: Option<Arc<str>>,
    /// Why there was no answer.
    pub(super) cause: Option<Arc<ClusterError>>,
}

impl Words {
    /// Returns the words for what had no answer.
    pub(super) fn because(cause: Option<ClusterError>) -> Self {
        Self { message: None, cause: cause.map(Arc::new) }
    }
}

impl Completion {
    pub(super) fn new(topic: Arc<str>, partition: i32) -> Self {
        Self { topic, partition, outcome: Mutex::new(Outcome::Pending(Vec::new())) }
    }

    pub(super) fn written(&self, base_offset: i64, log_append_time: i64) {
        self.end(Outcome::Written { base_offset, log_append_time });
    }

    /// Sends those who wait on to the parts the batch was split into.
    pub(super) fn split(&self, parts: Vec<(u32, Arc<Self>)>) {
        self.end(Outcome::Split(parts));
    }

    /// Tells that the batch failed.
    pub(super) fn failed(&self, error: SendError) {
        self.end(Outcome::Failed(error));
    }

    /// Returns the error where the one record of the batch was refused for its size.
    pub(super) fn too_large(&self, bytes: usize, limit: Option<usize>) -> SendError {
        let (topic, partition) = (self.topic.clone(), self.partition);
        SendError::RefusedTooLarge { topic, partition, bytes, limit }
    }

    /// Returns the error of a failure, in the broker's words or with what keeps us from a broker.
    pub(super) fn error(
        &self,
        failure: Failure,
        words: Words,
        config: &ProducerConfig,
    ) -> SendError {
        let Words { message, cause } = words;
        let (topic, partition) = (self.topic.clone(), self.partition);
        match failure {
            Failure::Broker(code) => SendError::Refused { topic, partition, code, message },
            Failure::NoAnswer => SendError::NoAnswer { topic, partition, cause },
            Failure::TimedOut => {
                let waited = config.time_to_deliver();
                SendError::Timeout { topic, partition, waited, cause }
            }
            Failure::Closed => SendError::Closed,
        }
    }

    fn end(&self, outcome: Outcome) {
        let before = std::mem::replace(&mut *self.outcome.lock(), outcome);
        if let Outcome::Pending(wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

/// A place no waker has.
pub(super) const NO_WAKER: u32 = u32::MAX;
