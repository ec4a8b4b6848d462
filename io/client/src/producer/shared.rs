//! What the handles of a producer and its sender share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kohort_client_core::backoff::Backoff;
use kohort_client_core::metadata::MetadataView;
use kohort_client_core::producer::{Accumulator, AccumulatorConfig, Failure, GivenUp, Refused};
use kohort_protocol::records::{Header, NewRecord};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::delivery::{Completion, Delivery, Words};
use super::error::SendError;
use super::losses::Losses;
use super::metrics::Counters;
use super::record::ProducerRecord;
use super::topics::{Placement, TopicTable};
use crate::clock;
use crate::cluster::Cluster;
use crate::config::{Codec, ProducerConfig};
use crate::net::Whereabouts;

/// What the handles and the sender share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ProducerConfig,
    pub(super) cluster: Cluster,
    /// Held for the time it takes to encode one record, or to pick the batches to send.
    pub(super) state: Mutex<State>,
    pub(super) counters: Counters,
    /// Failures that nobody hears of.
    pub(super) losses: Losses,
    /// Wakes the sender.
    pub(super) wake: Notify,
    /// Where the application was when it last woke the sender.
    pub(super) whereabouts: Whereabouts,
    /// Wakes those who wait for memory, once there is a good part of it: to wake them for each
    /// batch would cost more than the batch.
    pub(super) freed: Notify,
    /// Wakes those who were too far ahead of the sender.
    pub(super) caught_up: Notify,
    /// Wakes those who wait for a flush or for the end.
    pub(super) progress: Notify,
    pub(super) closing: AtomicBool,
    /// The deadline of the close, once it has passed: give up what is left.
    pub(super) abandon: OnceLock<Duration>,
    /// How many records were given up because the producer was closed.
    pub(super) given_up: AtomicU64,
    /// The sender has ended.
    pub(super) ended: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) accumulator: Accumulator<Arc<Completion>>,
    pub(super) topics: TopicTable,
}

/// Why a record is not in a batch yet.
#[derive(Debug)]
pub(super) enum NotYet {
    UnknownTopic,
    Full,
    /// The sender is to catch up first.
    Ahead,
    Never(SendError),
}

impl Shared {
    /// Puts a record into its batch, if that needs no waiting.
    pub(super) fn try_send(&self, record: &ProducerRecord<'_>) -> Result<Delivery, NotYet> {
        let now = clock::now_ms();
        let timestamp = record.timestamp.unwrap_or(now);
        if timestamp < 0 {
            let topic = Arc::from(record.topic);
            return Err(NotYet::Never(SendError::InvalidTimestamp { topic, timestamp }));
        }
        let headers: &[Header<'_>] = record.headers;
        let new = NewRecord { timestamp, key: record.key, value: record.value, headers };
        let appended = {
            let mut state = self.state.lock();
            // Under the lock: the sender ends once it has seen, under it, that nothing is left, and
            // what came in after that would wait for ever.
            if self.closing.load(Ordering::Acquire) {
                return Err(NotYet::Never(SendError::Closed));
            }
            let State { accumulator, topics } = &mut *state;
            let placed = topics.place(record).ok_or(NotYet::UnknownTopic)?;
            let (placement, topic, random) = placed;
            let (partition, is_current) = match placement {
                Placement::Chosen(partition) => (partition, false),
                Placement::Current(partition) => (partition, true),
                Placement::Wrong(partition) => {
                    return Err(NotYet::Never(SendError::UnknownPartition {
                        topic: topic.name.clone(),
                        partition,
                        partitions: topic.partitions(),
                    }));
                }
                Placement::Unknown => return Err(NotYet::UnknownTopic),
            };
            let appended = accumulator
                .append(now, (topic.slot, partition), &new, || {
                    Arc::new(Completion::new(topic.name.clone(), partition))
                })
                .map_err(|refused| match refused {
                    Refused::Full => NotYet::Full,
                    Refused::Ahead => NotYet::Ahead,
                    Refused::TooLarge { bytes, limit } => {
                        NotYet::Never(SendError::RecordTooLarge {
                            topic: topic.name.clone(),
                            partition,
                            bytes,
                            limit,
                        })
                    }
                })?;
            if is_current {
                topic.appended(appended.bytes, appended.full, random);
            }
            appended
        };
        if appended.wake {
            self.whereabouts.note();
            self.wake.notify_one();
        }
        Ok(Delivery::new(appended.completion, appended.index, timestamp))
    }

    /// Takes over a new picture of the cluster.
    pub(super) fn learn(&self, view: &MetadataView) {
        let State { accumulator, topics } = &mut *self.state.lock();
        topics.update(view, accumulator);
    }

    pub(super) async fn flush(&self) {
        let mark = self.state.lock().accumulator.flush();
        self.wake.notify_one();
        loop {
            let progress = self.progress.notified();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            if self.state.lock().accumulator.flushed(mark) || self.ended.load(Ordering::Acquire) {
                return;
            }
            progress.await;
        }
    }

    pub(super) fn begin_close(&self) {
        self.closing.store(true, Ordering::Release);
        self.state.lock().accumulator.flush();
        self.wake.notify_one();
    }

    pub(super) async fn until_ended(&self) {
        loop {
            let progress = self.progress.notified();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            progress.await;
        }
    }

    /// Gives up everything that is held.
    pub(super) fn give_up(&self, failure: Failure, words: &Words) {
        let abandoned = self.state.lock().accumulator.abandon(failure);
        for GivenUp { completion, records, failure } in abandoned {
            if failure == Failure::Closed {
                self.given_up.fetch_add(records.into(), Ordering::AcqRel);
            }
            let error = completion.error(failure, words.clone(), &self.config);
            self.lost(&completion, records, error);
        }
        self.released();
    }

    /// Tells those who hold deliveries of a batch that it failed, and the log where nobody does.
    pub(super) fn lost(&self, completion: &Arc<Completion>, records: u32, error: SendError) {
        self.counters.failed(records);
        // The handle of whoever tells it.
        if Arc::strong_count(completion) == 1 {
            self.losses.note(completion, records, &error);
        }
        completion.failed(error);
    }

    /// Tells those who wait for it that batches have come to their end.
    pub(super) fn released(&self) {
        let held = self.state.lock().accumulator.buffered_bytes();
        self.tell_released(held);
    }

    /// The same where it is known how much is still held.
    pub(super) fn tell_released(&self, held: usize) {
        let limit = self.config.buffer_memory.get();
        if held <= limit - limit / 8 {
            self.freed.notify_waiters();
        }
        self.progress.notify_waiters();
    }
}

pub(super) fn accumulator_config(config: &ProducerConfig, seed: u64) -> AccumulatorConfig {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    AccumulatorConfig {
        batch_size: config.batch_size.get(),
        linger_ms: ms(config.linger),
        gather_bytes: GATHER_BYTES,
        delivery_timeout_ms: ms(config.time_to_deliver()),
        buffer_memory: config.buffer_memory.get(),
        run_ahead: if config.max_block >= PATIENT { RUN_AHEAD_BYTES } else { usize::MAX },
        availability_timeout_ms: ms(config.partitioner_availability_timeout),
        request_bytes_max: config.max_request_size.get(),
        retries: config.retries,
        in_flight_max: config.max_in_flight,
        packed: config.compression_type != Codec::None,
        idempotent: config.is_idempotent(),
        backoff: Backoff::new(config.common.retry_backoff, config.common.retry_backoff_max),
        seed,
    }
}

/// What makes a request worth its system calls while another one is under way: at this size they cost a
/// tenth of what the records do.
const GATHER_BYTES: usize = 128 * 1024;

/// A small part of what processors have in their last cache, and enough that waking the application costs nothing.
const RUN_AHEAD_BYTES: usize = 4 * 1024 * 1024;

/// Whoever lets `send` wait less than this is not made to wait for the sender while there is memory.
const PATIENT: Duration = Duration::from_secs(1);
