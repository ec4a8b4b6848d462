//! How the senders of a batch's records learn its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kohort_client_core::producer::Failure;
use parking_lot::Mutex;

use super::SendError;
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

/// The future of a record's delivery. It may be dropped: the record is delivered all the same.
#[derive(Debug)]
pub struct Delivery {
    completion: Arc<Completion>,
    index: u32,
    timestamp: i64,
    /// The place of this future's waker, once it has been polled.
    waker: Option<usize>,
}

impl Delivery {
    pub(super) fn new(completion: Arc<Completion>, index: u32, timestamp: i64) -> Self {
        Self { completion, index, timestamp, waker: None }
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
        let completion = self.completion.clone();
        let mut outcome = completion.outcome.lock();
        match &mut *outcome {
            Outcome::Written { base_offset, log_append_time } => {
                let offset = match *base_offset {
                    -1 => -1,
                    base => base + i64::from(self.index),
                };
                Poll::Ready(Ok(RecordMetadata {
                    topic: completion.topic.clone(),
                    partition: completion.partition,
                    offset,
                    timestamp: if *log_append_time < 0 { self.timestamp } else { *log_append_time },
                }))
            }
            Outcome::Failed(error) => Poll::Ready(Err(error.clone())),
            Outcome::Pending(wakers) => {
                if let Some(place) = self.waker {
                    wakers[place].clone_from(cx.waker());
                } else {
                    self.waker = Some(wakers.len());
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

/// The end of a batch, shared by its records.
#[derive(Debug)]
pub(super) struct Completion {
    topic: Arc<str>,
    partition: i32,
    outcome: Mutex<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Pending(Vec<Waker>),
    Written { base_offset: i64, log_append_time: i64 },
    Failed(SendError),
}

impl Completion {
    pub(super) fn new(topic: Arc<str>, partition: i32) -> Self {
        Self { topic, partition, outcome: Mutex::new(Outcome::Pending(Vec::new())) }
    }

    pub(super) fn written(&self, base_offset: i64, log_append_time: i64) {
        self.end(Outcome::Written { base_offset, log_append_time });
    }

    pub(super) fn fail(
        &self,
        failure: Failure,
        message: Option<Arc<str>>,
        config: &ProducerConfig,
    ) {
        let (topic, partition) = (self.topic.clone(), self.partition);
        self.end(Outcome::Failed(match failure {
            Failure::Broker(code) => SendError::Refused { topic, partition, code, message },
            Failure::NoAnswer => SendError::NoAnswer { topic, partition },
            Failure::TimedOut => {
                SendError::Timeout { topic, partition, waited: config.delivery_timeout }
            }
            Failure::Closed => SendError::Closed,
        }));
    }

    fn end(&self, outcome: Outcome) {
        let before = std::mem::replace(&mut *self.outcome.lock(), outcome);
        if let Outcome::Pending(wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}
