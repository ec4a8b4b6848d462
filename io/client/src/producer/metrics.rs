//! What a producer counts: under Kafka's names where Kafka has one, batch by batch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kohort_protocol::ApiKey;

use super::requests::SentBatch;
use crate::net::Throttled;

/// What a producer has counted since it started; see [`Producer::metrics`](super::Producer::metrics).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProducerMetrics {
    /// How many records were sent; those of a batch that is sent again count again.
    pub record_send_total: u64,
    /// How many records were taken in and not written: refused, out of time, or given up by a close.
    pub record_error_total: u64,
    /// How many records were put back to be sent again.
    pub record_retry_total: u64,
    /// How many batches were sent; one that is sent again counts again.
    pub batch_send_total: u64,
    /// How many batches were too large for their topic and were split.
    pub batch_split_total: u64,
    /// How many bytes of batches were sent, compressed if they are.
    pub byte_total: u64,
    /// How many requests with batches were sent.
    pub request_total: u64,
    /// How long brokers took to answer them, on average since the start.
    pub request_latency_avg: Duration,
    /// The longest of these times.
    pub request_latency_max: Duration,
    /// How many bytes wait to be sent or for an answer.
    pub buffered_bytes: usize,
    /// How much of `buffer.memory` is free.
    pub buffer_available_bytes: usize,
    /// How often and for how long brokers throttled this client, because of a quota: `Produce` is Kafka's
    /// `produce-throttle-time`.
    pub throttled: BTreeMap<ApiKey, Throttled>,
}

/// The counters behind it. Each is right by itself; together they are as of slightly different times.
#[derive(Debug, Default)]
pub(super) struct Counters {
    records: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    batches: AtomicU64,
    splits: AtomicU64,
    bytes: AtomicU64,
    requests: AtomicU64,
    answers: AtomicU64,
    latency_us: AtomicU64,
    latency_us_max: AtomicU64,
}

impl Counters {
    /// Counts the batches of one request.
    pub(super) fn sent(&self, batches: &[SentBatch]) {
        let sum = |of: fn(&SentBatch) -> u64| batches.iter().map(of).sum();
        add(&self.requests, 1);
        add(&self.batches, batches.len() as u64);
        add(&self.records, sum(|batch| batch.records.into()));
        add(&self.bytes, sum(|batch| batch.bytes.len() as u64));
    }

    /// Counts an answer that took so long.
    pub(super) fn answered(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&self.answers, 1);
        add(&self.latency_us, took);
        self.latency_us_max.fetch_max(took, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, records: u32) {
        add(&self.failed, records.into());
    }

    pub(super) fn retried(&self, records: u32) {
        add(&self.retried, records.into());
    }

    pub(super) fn split(&self) {
        add(&self.splits, 1);
    }

    /// Returns what is counted here.
    pub(super) fn read(&self) -> ProducerMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let average = read(&self.latency_us).checked_div(read(&self.answers)).unwrap_or(0);
        ProducerMetrics {
            record_send_total: read(&self.records),
            record_error_total: read(&self.failed),
            record_retry_total: read(&self.retried),
            batch_send_total: read(&self.batches),
            batch_split_total: read(&self.splits),
            byte_total: read(&self.bytes),
            request_total: read(&self.requests),
            request_latency_avg: Duration::from_micros(average),
            request_latency_max: Duration::from_micros(read(&self.latency_us_max)),
            ..ProducerMetrics::default()
        }
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}
