//! The task that sends batches and hears how they fared.
//!
//! One loop: ask the accumulator what to do, do it, wait for whatever comes first (a record that
//! is due, an answer, new metadata). Requests to a node are queued on its connection in the order
//! they were decided on, which is what keeps the sequences in order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kohort_client_core::metadata::{Broker, denies_leadership};
use kohort_client_core::panics::caught;
use kohort_client_core::producer::idempotence::ProducerIdentity;
use kohort_client_core::producer::{
    Failure, GivenUp, OutBatch, Payload, Room, SendRequest, Verdict,
};
use kohort_protocol::compression::{Compression, Compressor};
use kohort_protocol::messages::produce::{
    NodeEndpoint, PartitionProduceResponse, ProduceRequest, ProduceResponse,
};
use kohort_protocol::records::BatchBuilder;
use kohort_protocol::{ErrorCode, Uuid};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::attempts::Attempts;
use super::delivery::{Completion, Words};
use super::requests::{
    SentBatch, ask_size_limit, identify, produce_request, produce_version, unknown_offsets,
};
use super::shared::{Shared, State};
use crate::clock;
use crate::cluster::ClusterError;
use crate::config::{Acks, Codec, ConfigError, ProducerConfig};
use crate::net::{BrokerConnection, Driver, Follower, NetError, Purpose};

pub(super) struct Sender {
    shared: Arc<Shared>,
    /// Keeps the thread until everything is sent.
    _driver: Driver,
    compressor: Compressor,
    follower: Follower,
    /// What batches were built with, to be given back with the next look at the accumulator.
    #[expect(
        clippy::vec_box,
        reason = "they move between batches and here: the box is what moves"
    )]
    builders: Vec<Box<BatchBuilder>>,
    /// Memory of packed batches that are written, for others to be packed into.
    packed: Vec<Vec<u8>>,
    work: JoinSet<Event>,
    /// Requests without an answer, by node.
    in_flight: BTreeMap<i32, usize>,
    connecting: BTreeSet<i32>,
    identifying: bool,
    /// Records refused for their size, by topic, until it is known what the topic takes.
    too_large: BTreeMap<Arc<str>, Vec<(Arc<Completion>, usize)>>,
    attempts: Attempts,
    views: watch::Receiver<Arc<kohort_client_core::metadata::MetadataView>>,
}

/// What a task of ours comes back with.
enum Event {
    Connected { node: i32 },
    Identified(Result<ProducerIdentity, ClusterError>),
    SizeLimit { topic: Arc<str>, limit: Option<usize> },
    Answered { node: i32, sent: Vec<SentBatch>, answer: Result<ProduceResponse, NetError> },
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, driver: Driver, compressor: Compressor) -> Self {
        let views = shared.cluster.subscribe();
        let follower = Follower::new(shared.config.common.thread_near_application);
        Self {
            shared,
            _driver: driver,
            compressor,
            follower,
            builders: Vec::new(),
            packed: Vec::new(),
            work: JoinSet::new(),
            in_flight: BTreeMap::new(),
            connecting: BTreeSet::new(),
            identifying: false,
            too_large: BTreeMap::new(),
            attempts: Attempts::default(),
            views,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let look_at = self.send_what_is_ready();
            let now = clock::now_ms();
            self.follower.look(&self.shared.whereabouts, now);
            let wake_at = earlier(look_at, self.shared.losses.tell(now));
            let closing = self.shared.closing.load(Ordering::Acquire);
            let abandon = self.shared.abandon.get().is_some();
            if abandon {
                self.shared.give_up(Failure::Closed, &Words::default());
            }
            let settled = self.too_large.is_empty() || abandon;
            if closing && settled && self.shared.state.lock().accumulator.is_empty() {
                break;
            }
            let wait = wake_at.map(|at| (at - now).max(0).unsigned_abs());
            // Each branch is cancel-safe: a notification, a finished task, a changed watch and a
            // timer are all still there for the next round.
            tokio::select! {
                () = self.shared.wake.notified() => {}
                Some(event) = self.work.join_next(), if !self.work.is_empty() => {
                    match event.map_err(JoinError::try_into_panic) {
                        Ok(event) => self.apply(event),
                        // What it was to come back with would be waited for in vain.
                        Err(Ok(panic)) => resume_unwind(panic),
                        Err(Err(_cancelled)) => {}
                    }
                }
                changed = self.views.changed() => {
                    if changed.is_ok() {
                        let view = self.views.borrow_and_update().clone();
                        self.shared.learn(&view);
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(wait.unwrap_or(0))), if wait.is_some() => {}
            }
        }
    }

    /// Sends all that is ready; returns when to look again.
    fn send_what_is_ready(&mut self) -> Option<i64> {
        let cluster = &self.shared.cluster;
        let view = cluster.view();
        let leader = |topic: &str, partition: i32| Some(view.leader(topic, partition)?.id);
        let unconnected = RefCell::new(BTreeSet::new());
        let limit = self.shared.config.max_in_flight;
        let room = |node: i32| {
            let under_way = self.in_flight.get(&node).copied().unwrap_or(0);
            if cluster.existing_connection(node, Purpose::General).is_none() {
                unconnected.borrow_mut().insert(node);
                return Room { free: 0, under_way };
            }
            Room { free: limit.saturating_sub(under_way), under_way }
        };
        let polled = {
            let State { accumulator, topics } = &mut *self.shared.state.lock();
            for builder in self.builders.drain(..) {
                accumulator.recycle(builder);
            }
            let polled = accumulator.poll(clock::now_ms(), leader, room);
            topics.note_queues(accumulator, leader);
            polled
        };
        if polled.resume {
            self.shared.caught_up.notify_waiters();
        }
        if !polled.expired.is_empty() {
            let trouble = cluster.trouble().map(Arc::new);
            let waited = clock::ms(self.shared.config.time_to_deliver());
            self.attempts.forget_before(clock::now_ms().saturating_sub(waited));
            for GivenUp { completion, records, failure } in polled.expired {
                let cause = trouble.clone().or_else(|| self.attempts.met(&completion));
                let words = Words { message: None, cause };
                let error = completion.error(failure, words, &self.shared.config);
                self.shared.lost(&completion, records, error);
            }
            self.shared.released();
        }
        if polled.leaderless {
            cluster.refresh_soon();
        }
        if polled.needs_identity && !self.identifying {
            self.identifying = true;
            let asking = identify(cluster.clone(), self.shared.config.common.retry_backoff);
            self.work.spawn(async move { Event::Identified(asking.await) });
        }
        for node in unconnected.into_inner() {
            if self.connecting.insert(node) {
                let cluster = cluster.clone();
                self.work.spawn(async move {
                    // A failure has asked for new metadata; the pool keeps the back-off.
                    let _ = cluster.connection(node, Purpose::General).await;
                    Event::Connected { node }
                });
            }
        }
        for request in polled.requests {
            self.send(request, &view);
        }
        polled.wake_at
    }

    fn send(&mut self, request: SendRequest, view: &kohort_client_core::metadata::MetadataView) {
        let SendRequest { node, batches } = request;
        let mut sent = Vec::with_capacity(batches.len());
        for OutBatch { topic, partition, id, records, payload } in batches {
            let topic_id = view.topic(&topic).map_or(Uuid::ZERO, |topic| topic.id);
            let bytes = match payload {
                Payload::Built(bytes) => bytes,
                Payload::Open(mut builder, options) => {
                    let memory = self.packed.pop().unwrap_or_default();
                    let bytes = builder.build_into(memory, &options, &mut self.compressor);
                    self.builders.push(builder);
                    bytes
                }
            };
            self.follower.count(bytes.len());
            sent.push(SentBatch { topic, topic_id, partition, id, records, bytes });
        }
        self.shared.counters.sent(&sent);
        *self.in_flight.entry(node).or_default() += 1;
        let connection = self.shared.cluster.existing_connection(node, Purpose::General);
        let config = &self.shared.config;
        let started = connection
            .ok_or_else(|| NetError::Closed { address: Arc::from(format!("node {node}")) })
            .and_then(|connection| {
                let version = produce_version(&connection, &sent)?;
                let request = produce_request(&mut sent, version, config);
                if config.acks == Acks::None {
                    return Ok(Started::Unanswered(connection, version, request));
                }
                // The broker's wait for its replicas is part of ours.
                let timeout = config.common.request_timeout;
                Ok(Started::Answered(connection.start(version, &request, timeout)?))
            });
        match started {
            Ok(Started::Answered(answer)) => {
                let (shared, asked) = (self.shared.clone(), Instant::now());
                self.work.spawn(async move {
                    let answer = answer.await;
                    shared.counters.answered(asked.elapsed());
                    Event::Answered { node, sent, answer }
                });
            }
            Ok(Started::Unanswered(connection, version, request)) => {
                self.work.spawn(async move {
                    let written = connection.send_unanswered(version, &request).await;
                    let answer = written.map(|()| unknown_offsets(&sent));
                    Event::Answered { node, sent, answer }
                });
            }
            Err(error) => self.apply(Event::Answered { node, sent, answer: Err(error) }),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Connected { node } => {
                self.connecting.remove(&node);
            }
            Event::Identified(result) => {
                self.identifying = false;
                match result {
                    Ok(identity) => {
                        tracing::debug!(?identity, "producer id");
                        self.shared.state.lock().accumulator.set_identity(identity);
                    }
                    Err(ClusterError::Refused { code, .. }) => {
                        self.shared.give_up(Failure::Broker(code), &Words::default());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no producer id");
                        self.shared.give_up(Failure::NoAnswer, &Words::because(Some(error)));
                    }
                }
            }
            Event::SizeLimit { topic, limit } => {
                for (completion, bytes) in self.too_large.remove(&topic).unwrap_or_default() {
                    let error = completion.too_large(bytes, limit);
                    self.shared.lost(&completion, 1, error);
                }
            }
            Event::Answered { node, sent, answer } => {
                if let Some(count) = self.in_flight.get_mut(&node) {
                    *count -= 1;
                }
                self.settle(node, sent, answer);
            }
        }
    }

    /// Tells the accumulator how each batch of a request fared, and their senders what is final.
    fn settle(
        &mut self,
        node: i32,
        sent: Vec<SentBatch>,
        answer: Result<ProduceResponse, NetError>,
    ) {
        let mut answers: BTreeMap<(&str, i32), &PartitionProduceResponse> = BTreeMap::new();
        let (answer, words) = match &answer {
            Ok(answer) => (Some(answer), Words::default()),
            Err(error) => {
                tracing::debug!(%error, "a produce request failed");
                (None, Words::because(Some(error.clone().into())))
            }
        };
        for topic in answer.iter().flat_map(|answer| &answer.responses) {
            let by_id =
                |batch: &&SentBatch| !topic.topic_id.is_zero() && batch.topic_id == topic.topic_id;
            let name = sent.iter().find(by_id).map_or(topic.name.as_str(), |batch| &batch.topic);
            for partition in &topic.partition_responses {
                answers.insert((name, partition.index), partition);
            }
        }
        let broker = |node: &NodeEndpoint| {
            let port = u16::try_from(node.port).ok()?;
            let (host, rack) = (node.host.clone(), node.rack.clone());
            Some(Broker { id: node.node_id, host, port, rack })
        };
        let named = answer.iter().flat_map(|answer| &answer.node_endpoints);
        let named: Vec<_> = named.filter_map(broker).collect();
        if !named.is_empty() {
            self.shared.cluster.learn_brokers(&named);
        }
        let found: Vec<_> =
            sent.iter().map(|it| answers.get(&(&*it.topic, it.partition)).copied()).collect();
        let (written, failed): (Vec<_>, Vec<_>) = sent
            .into_iter()
            .zip(found)
            .partition(|(_, answer)| answer.is_some_and(|it| it.error_code == ErrorCode::NONE));
        let held = self.settle_written(written);
        self.shared.tell_released(held);
        if failed.is_empty() {
            return;
        }
        let mut stale = false;
        for (batch, answer) in &failed {
            stale |= self.settle_failed(node, batch, *answer, &words);
        }
        if stale {
            self.shared.cluster.refresh_soon();
        }
        self.shared.released();
    }

    /// Takes what is written off the books, and gives its memory to batches to come: all of an answer at
    /// once, since the application's threads want the lock as well. Returns how much is held still.
    fn settle_written(
        &mut self,
        written: Vec<(SentBatch, Option<&PartitionProduceResponse>)>,
    ) -> usize {
        let packs = self.compressor.compression() != Compression::None;
        let mut completed = Vec::with_capacity(written.len());
        let held = {
            let State { accumulator, .. } = &mut *self.shared.state.lock();
            for (batch, answer) in written {
                self.attempts.succeeded(&batch);
                let completion = accumulator.complete(&batch.topic, batch.partition, batch.id);
                completed.extend(completion.zip(answer));
                if !batch.bytes.is_unique() {
                    continue;
                }
                let memory = Vec::from(batch.bytes);
                if !packs {
                    accumulator.recycle_memory(memory);
                } else if self.packed.len() < PACKED_MAX && memory.capacity() <= PACKED_BYTES_MAX {
                    self.packed.push(memory);
                }
            }
            accumulator.buffered_bytes()
        };
        for (completion, answer) in completed {
            completion.written(answer.base_offset, answer.log_append_time_ms);
        }
        held
    }

    /// Returns whether the batch's failure says that our metadata is old.
    fn settle_failed(
        &mut self,
        node: i32,
        batch: &SentBatch,
        answer: Option<&PartitionProduceResponse>,
        words: &Words,
    ) -> bool {
        let Shared { state, cluster, config, .. } = &*self.shared;
        let code = answer.map_or(ErrorCode::NONE, |answer| answer.error_code);
        if denies_leadership(code) {
            cluster.deny_leader(&batch.topic, batch.partition, node);
        }
        if let Some(leader) = answer.map(|it| &it.current_leader).filter(|it| it.leader_id >= 0) {
            let (id, epoch) = (leader.leader_id, leader.leader_epoch);
            cluster.learn_leader(&batch.topic, batch.partition, id, epoch);
        }
        let failure = answer.map_or(Failure::NoAnswer, |_| Failure::Broker(code));
        let verdict = {
            let State { accumulator, .. } = &mut *state.lock();
            if NEEDS_NEW_IDENTITY.contains(&code) {
                accumulator.forget_identity();
            }
            let place = (&*batch.topic, batch.partition, batch.id);
            let part = || Arc::new(Completion::new(batch.topic.clone(), batch.partition));
            accumulator.fail(clock::now_ms(), place, batch.bytes.clone(), failure, part)
        };
        match verdict {
            Verdict::Retry { metadata } => {
                tracing::debug!(topic = %batch.topic, batch.partition, ?failure, "will retry");
                self.shared.counters.retried(batch.records);
                self.attempts.failed(clock::now_ms(), batch, answer, words);
                metadata
            }
            Verdict::Duplicate(completion) => {
                let offset = answer.map_or(-1, |answer| answer.base_offset);
                completion.written(offset, -1);
                false
            }
            Verdict::Split(completion, parts) => {
                tracing::debug!(topic = %batch.topic, batch.partition, "too large: sent in parts");
                self.shared.counters.split();
                completion.split(parts);
                false
            }
            Verdict::Fail(completion, Failure::Broker(ErrorCode::MESSAGE_TOO_LARGE)) => {
                let waiting = self.too_large.entry(batch.topic.clone()).or_default();
                waiting.push((completion, batch.bytes.len()));
                if waiting.len() == 1 {
                    let (cluster, topic) = (cluster.clone(), batch.topic.clone());
                    self.work.spawn(async move {
                        let limit = ask_size_limit(cluster, topic.clone()).await;
                        Event::SizeLimit { topic, limit }
                    });
                }
                false
            }
            Verdict::Fail(completion, failure) => {
                let message = answer.and_then(|answer| answer.error_message.as_deref());
                let words = Words { message: message.map(Arc::from), ..words.clone() };
                let error = completion.error(failure, words, config);
                self.shared.lost(&completion, batch.records, error);
                false
            }
            Verdict::Ignored => false,
        }
    }
}

/// Tells everybody who waits for the sender that it ended, in whichever way: a panic of ours must leave
/// nobody waiting.
impl Drop for Sender {
    fn drop(&mut self) {
        for (completion, bytes) in std::mem::take(&mut self.too_large).into_values().flatten() {
            let error = completion.too_large(bytes, None);
            self.shared.lost(&completion, 1, error);
        }
        let Shared { closing, ended, freed, caught_up, progress, .. } = &*self.shared;
        closing.store(true, Ordering::Release);
        if std::thread::panicking() {
            tracing::error!("the producer's sender panicked: the producer is closed");
        }
        // Nothing is left but after a panic, which may have left anything behind.
        if let Err(said) = caught(|| self.shared.give_up(Failure::Closed, &Words::default())) {
            tracing::error!(said, "deliveries are left that never end");
        }
        self.shared.losses.tell(i64::MAX);
        ended.store(true, Ordering::Release);
        freed.notify_waiters();
        caught_up.notify_waiters();
        progress.notify_waiters();
    }
}

/// Returns the earlier of two times to look again.
fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

enum Started {
    Answered(crate::net::InFlight<ProduceRequest>),
    Unanswered(BrokerConnection, i16, ProduceRequest),
}

/// Makes the compressor a configuration asks for.
pub(super) fn compressor(config: &ProducerConfig) -> Result<Compressor, ConfigError> {
    let default_gzip = config.compression_gzip_level == -1;
    let (compression, level) = match config.compression_type {
        Codec::None => (Compression::None, None),
        Codec::Snappy => (Compression::Snappy, None),
        Codec::Gzip if default_gzip => (Compression::Gzip, None),
        Codec::Gzip => (Compression::Gzip, Some(config.compression_gzip_level)),
        Codec::Lz4 => (Compression::Lz4, Some(config.compression_lz4_level)),
        Codec::Zstd => (Compression::Zstd, Some(config.compression_zstd_level)),
    };
    Compressor::new(compression, level)
        .map_err(|error| ConfigError::Conflict { reason: error.to_string() })
}

/// After these the broker takes nothing more under our id.
const NEEDS_NEW_IDENTITY: [ErrorCode; 2] =
    [ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::INVALID_PRODUCER_ID_MAPPING];

/// As many packed batches as a few requests have.
const PACKED_MAX: usize = 64;

/// Memory of unusually large batches is not kept.
const PACKED_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;
