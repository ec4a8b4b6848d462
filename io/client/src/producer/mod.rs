//! Writing records.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use kohort::producer::{Producer, ProducerRecord};
//!
//! let producer =
//!     Producer::builder().set("bootstrap.servers", "localhost:9092").set("linger.ms", "20").build()?;
//! // Waits for memory if need be; the record is then in a batch.
//! let delivery = producer.send(ProducerRecord::to("flights").key("JFK").value("{}")).await?;
//! // Waits for the broker's answer.
//! let written = delivery.await?;
//! println!("{}-{} at {}", written.topic, written.partition, written.offset);
//! producer.close(std::time::Duration::from_secs(5)).await?;
//! # Ok(()) }
//! ```
//!
//! [`Producer::send`] encodes the record into its partition's open batch under a lock, with no
//! memory of its own but a share in the batch's completion. A task on the client's thread sends
//! the batches: [`kohort_client_core::producer`] decides which and when, `sender` does it. Records
//! of one partition are written in the order of their `send` calls, and once, unless
//! `enable.idempotence` is off ([`ProducerConfig::is_idempotent`]).
//!
//! A batch that the broker finds too large is split and sent again, as in Java; [`Deliveries`] tells of
//! many records batch by batch, [`Producer::metrics`] of all there were; a [`Partitioner`] of the application's own takes the place of Kafka's.
//!
//! Left out: transactions.

mod attempts;
mod builder;
mod deliveries;
mod delivery;
mod error;
mod losses;
mod metrics;
mod partitioner;
mod record;
mod requests;
mod sender;
mod shared;
mod topics;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kohort_client_core::producer::Accumulator;
use kohort_protocol::ApiKey;
pub use kohort_protocol::records::Header;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;
use crate::cluster::{Cluster, ClusterOptions};
use crate::config::{ProducerConfig, Properties};
use crate::error::BuildError;
use crate::net::{Driver, Throttled, Whereabouts, after};
pub use builder::ProducerBuilder;
pub use deliveries::{BatchMetadata, Deliveries};
pub use delivery::{Delivery, RecordMetadata};
pub use error::{CloseError, SendError};
use losses::Losses;
use metrics::Counters;
pub use metrics::ProducerMetrics;
pub use partitioner::{Partitioner, RoundRobin, TopicPartitions, partition_for_key};
pub use record::ProducerRecord;
use sender::Sender;
use shared::{NotYet, Shared, State, accumulator_config};
use topics::TopicTable;

/// Writes records to topics. Clones share everything; `send` may be called from many tasks and in
/// any runtime.
///
/// Dropping the last clone does not block: what was sent is still delivered in the background, for
/// as long as the process lives. [`Producer::close`] waits for it.
#[derive(Debug, Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    driver: Driver,
}

impl Producer {
    /// Starts a configuration.
    pub fn builder() -> ProducerBuilder {
        ProducerBuilder::default()
    }

    /// Starts a producer from a configuration. The first connection is made in the background.
    pub fn new(config: ProducerConfig) -> Result<Self, BuildError> {
        Self::start(config, None)
    }

    fn start(
        config: ProducerConfig,
        partitioner: Option<Box<dyn Partitioner>>,
    ) -> Result<Self, BuildError> {
        config.validate()?;
        let config = config.with_client_id();
        if let Some(because) = config.rules_out_idempotence() {
            tracing::info!("`enable.idempotence` is off because {because}");
        }
        let driver = Driver::start("kohort-producer").map_err(BuildError::Thread)?;
        let compressor = sender::compressor(&config)?;
        let seed = clock::seed();
        let options = ClusterOptions {
            allow_auto_create_topics: true,
            seed: Some(seed),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(&driver, &config.common, options)?;
        let accumulator = Accumulator::new(accumulator_config(&config, seed));
        let topics = TopicTable::new(&config, seed, partitioner);
        let shared = Arc::new(Shared {
            config,
            cluster,
            counters: Counters::default(),
            losses: Losses::default(),
            state: Mutex::new(State { accumulator, topics }),
            wake: Notify::new(),
            whereabouts: Whereabouts::default(),
            freed: Notify::new(),
            caught_up: Notify::new(),
            progress: Notify::new(),
            closing: AtomicBool::new(false),
            abandon: OnceLock::new(),
            given_up: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        // The sender holds the thread, so that what is left when the producer is dropped is sent.
        driver.spawn(Sender::new(shared.clone(), driver.clone(), compressor).run());
        Ok(Self { handle: Arc::new(Handle { shared, driver }) })
    }

    /// Takes in a record and returns the future of its delivery. Waits while `buffer.memory` is
    /// used up or the topic is not known yet, `max.block.ms` at most.
    ///
    /// Cancel-safe: a dropped future has taken in nothing.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Delivery, SendError> {
        match self.handle.shared.try_send(&record) {
            Ok(delivery) => Ok(delivery),
            Err(NotYet::Never(error)) => Err(error),
            Err(reason) => self.send_slowly(&record, reason).await,
        }
    }

    async fn send_slowly(
        &self,
        record: &ProducerRecord<'_>,
        mut reason: NotYet,
    ) -> Result<Delivery, SendError> {
        let shared = &self.handle.shared;
        let max_block = shared.config.max_block;
        let deadline = after(Instant::now(), max_block);
        loop {
            match reason {
                NotYet::Never(error) => return Err(error),
                NotYet::UnknownTopic => {
                    let lookup = topics::wait_for_topic(
                        shared.cluster.clone(),
                        Arc::from(record.topic),
                        record.partition,
                        deadline,
                    );
                    let found = self.handle.driver.run(lookup).await;
                    let view = found.map_err(|_| SendError::Closed)??;
                    shared.learn(&view);
                }
                NotYet::Ahead => {
                    let caught_up = shared.caught_up.notified();
                    let mut caught_up = std::pin::pin!(caught_up);
                    caught_up.as_mut().enable();
                    match shared.try_send(record) {
                        // The sender looks after who waits like this, so it is not for long.
                        Err(NotYet::Ahead) => caught_up.await,
                        Ok(delivery) => return Ok(delivery),
                        Err(other) => {
                            reason = other;
                            continue;
                        }
                    }
                }
                NotYet::Full => {
                    let freed = shared.freed.notified();
                    let mut freed = std::pin::pin!(freed);
                    // Registered before the next try, so that no release is missed in between.
                    freed.as_mut().enable();
                    match shared.try_send(record) {
                        Err(NotYet::Full) => {}
                        Ok(delivery) => return Ok(delivery),
                        Err(other) => {
                            reason = other;
                            continue;
                        }
                    }
                    shared.wake.notify_one();
                    let timer = self.handle.driver.sleep_until(deadline);
                    tokio::select! {
                        () = freed => {}
                        _ = timer => {
                            return Err(SendError::NoMemory {
                                limit: shared.config.buffer_memory.get(),
                                waited: max_block,
                            });
                        }
                    }
                }
            }
            match shared.try_send(record) {
                Ok(delivery) => return Ok(delivery),
                Err(next) => reason = next,
            }
        }
    }

    /// Sends everything taken in so far without waiting for `linger.ms`, and waits until each of
    /// those records is delivered or given up.
    pub async fn flush(&self) {
        self.handle.shared.flush().await;
    }

    /// Delivers what was taken in and closes; what is not delivered within `deadline` is given up
    /// and reported as [`SendError::Closed`]. Another call returns the same.
    ///
    /// # Errors
    /// How many records were given up. Records that failed before are told by their [`Delivery`] alone.
    pub async fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        let shared = self.handle.shared.clone();
        shared.begin_close();
        let timer = self.handle.driver.sleep(deadline);
        tokio::select! {
            biased;
            () = shared.until_ended() => {}
            slept = timer => {
                // A driver that has stopped takes the sender with it before any deadline.
                if slept.is_ok() {
                    let _ = shared.abandon.set(deadline);
                }
                shared.wake.notify_one();
                shared.until_ended().await;
            }
        }
        match (shared.given_up.load(Ordering::Acquire), shared.abandon.get().copied()) {
            (0, _) => Ok(()),
            (records, Some(waited)) => Err(CloseError::Timeout { waited, records }),
            (records, None) => Err(CloseError::Failed { records }),
        }
    }

    /// Returns how many partitions a topic has, asking the cluster if need be.
    pub async fn partitions(&self, topic: &str) -> Result<usize, SendError> {
        let shared = &self.handle.shared;
        let deadline = after(Instant::now(), shared.config.max_block);
        let lookup =
            topics::wait_for_topic(shared.cluster.clone(), Arc::from(topic), None, deadline);
        let view = self.handle.driver.run(lookup).await.map_err(|_| SendError::Closed)??;
        Ok(view.topic(topic).map_or(0, |topic| topic.partitions.len()))
    }

    /// Returns what was counted since the producer was built.
    pub fn metrics(&self) -> ProducerMetrics {
        let Shared { counters, config, cluster, .. } = &*self.handle.shared;
        let buffered_bytes = self.buffered_bytes();
        ProducerMetrics {
            buffered_bytes,
            buffer_available_bytes: config.buffer_memory.get().saturating_sub(buffered_bytes),
            throttled: cluster.throttles().by_api(),
            ..counters.read()
        }
    }

    /// Returns how often and for how long brokers throttled this client, because of a quota: `Produce` is
    /// Kafka's `produce-throttle-time`.
    pub fn throttled(&self) -> BTreeMap<ApiKey, Throttled> {
        self.handle.shared.cluster.throttles().by_api()
    }

    /// Returns how many bytes wait to be sent or for an answer.
    pub fn buffered_bytes(&self) -> usize {
        self.handle.shared.state.lock().accumulator.buffered_bytes()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}
