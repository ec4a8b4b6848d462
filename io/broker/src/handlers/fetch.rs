//! Fetch (key 1), versions 4–18: reads record batches.
//!
//! * 4 brings the isolation level; 5 the log's start; 7 sessions (KIP-227); 9 leader epochs; 11 the
//!   reader's rack; 12 divergence (KIP-595); 13 topic ids; 15–18 fields of followers, of which there
//!   are none here.
//! * A request that finds less than its `min_bytes` waits up to its `max_wait_ms` for more, and looks
//!   again whenever one of its partitions has moved. An error of a partition is told at once, but that one
//!   is not there only with the rest, or when it went meanwhile: as Kafka, which never gives those to
//!   `ReplicaManager.fetchMessages`.
//! * Partitions are read in the order asked for until `max_bytes`; the first one that has records
//!   gives at least one batch, so that a reader always gets on. In a session those that gave records
//!   are read last the next time, so that none starves.
//! * What is no longer in memory is read on a thread that may wait for the disk: a reader far behind
//!   holds up nobody else's requests.
//! * Who says it is a replica is told that it is none, as by Kafka.
//! * Left out: preferred read replicas, tiered storage.

use crate::caller::Caller;
use crate::cluster::topics::Topic;
use crate::fetch_frame;
use crate::fetch_session::{Plan, PlanKind, Told, TopicKey, Wanted};
use crate::group_events::GroupEvents;
use crate::node::Node;
use crate::partition::Partition;
use crate::purgatory::Waiter;
use crate::request::{Answer, Context, Response};
use crate::stopping::stopped;
use kohort_protocol::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData,
};
use kohort_protocol::messages::{FetchRequest, FetchResponse};
use kohort_protocol::{ErrorCode, Message, Uuid};
use kohort_storage::{Isolation, Records};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::Instant;

/// The version from which readers are told where the leader they are wrong about is (KIP-951).
const LEADER_SINCE: i16 = 16;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: FetchRequest) -> Answer {
    let plan = match node.sessions.plan(&request, context.version, node.clock.steady()) {
        Ok(plan) => plan,
        Err(error_code) => {
            return context.answer(&FetchResponse { error_code, ..FetchResponse::default() });
        }
    };
    if let Some(events) = node.events.as_deref().filter(|events| events.awaits_fetches()) {
        tell_of_fetch(node, events, &context, &request);
    }
    let limits = Limits::new(node, &request);
    let work = Work { node: Arc::clone(node), version: context.version, plan, limits };
    if work.is_in_memory() {
        let found = work.read();
        if work.limits.max_wait.is_zero() || work.is_enough(&found) {
            return Answer::Ready(encode(&context, work.respond(found)));
        }
    }
    Answer::Later(Box::pin(async move {
        match work.wait(&context.caller).await {
            Ok(answer) => encode(&context, answer),
            Err(error) => Response::Broken(format!("a Fetch failed: {error}")),
        }
    }))
}

/// Tells which partitions a client begins to read. Those it only goes on with are not named.
fn tell_of_fetch(node: &Node, events: &GroupEvents, context: &Context, request: &FetchRequest) {
    let client_id = context.client_id.as_deref().unwrap_or_default();
    let now = node.clock.steady();
    for asked in &request.topics {
        let Ok(topic) = node.topic(&asked.topic, asked.topic_id) else { continue };
        for partition in &asked.partitions {
            let host = context.client_host().to_string();
            events.fetched(now, &topic.name, partition.partition, client_id, host);
        }
    }
}

fn encode(context: &Context, answer: FetchAnswer) -> Response {
    let FetchAnswer { response, records } = answer;
    match fetch_frame::encode(&response, records, context.version, context.correlation_id) {
        Ok(pieces) => Response::Pieces(pieces).telling(response.errors()),
        Err(error) => context.broken(&error),
    }
}

/// How much a request wants, and how long it waits for it.
#[derive(Debug)]
struct Limits {
    max_bytes: usize,
    min_bytes: usize,
    max_wait: Duration,
    isolation: Isolation,
    /// Whether it says it comes from another broker. There is none, so no partition has it as replica.
    is_replica: bool,
    slots: usize,
}

impl Limits {
    fn new(node: &Node, request: &FetchRequest) -> Self {
        let config = node.config();
        let max_bytes = request.max_bytes.clamp(0, config.fetch_max_bytes) as usize;
        Self {
            max_bytes,
            min_bytes: (request.min_bytes.max(0) as usize).min(max_bytes),
            max_wait: Duration::from_millis(request.max_wait_ms.max(0) as u64),
            isolation: match request.isolation_level {
                1 => Isolation::ReadCommitted,
                _ => Isolation::ReadUncommitted,
            },
            is_replica: request.replica_id >= 0 || request.replica_state.replica_id >= 0,
            slots: config.max_incremental_fetch_session_cache_slots as usize,
        }
    }
}

struct Work {
    node: Arc<Node>,
    version: i16,
    plan: Plan,
    limits: Limits,
}

/// What one look at the logs found.
#[derive(Default)]
struct Found {
    /// One for each partition of the plan.
    partitions: Vec<(PartitionData, Records)>,
    bytes: usize,
    /// How many partitions are not there.
    missing: usize,
    /// Whether something must be told at once.
    urgent: bool,
}

impl Work {
    /// Looks until there is enough or the time is over. Fails if looking panicked.
    async fn wait(mut self, caller: &Caller) -> Result<FetchAnswer, JoinError> {
        let mut deadline = Instant::now() + self.limits.max_wait;
        let mut stopping = self.node.stopping.clone();
        let mut alarm = caller.alarm.lend();
        let waiter = Waiter::register(self.places());
        let mut missing_before = None;
        loop {
            let found = if self.is_in_memory() {
                self.read()
            } else {
                let looked = spawn_blocking(move || (self.read(), self));
                let (found, work) = looked.await?;
                self = work;
                found
            };
            let gone = found.missing > *missing_before.get_or_insert(found.missing);
            // After the deadline whatever there is, is answered.
            if gone || self.is_enough(&found) || Instant::now() >= deadline {
                return Ok(self.respond(found));
            }
            drop(found);
            // All are cancel-safe: a wake-up that is not taken is kept.
            tokio::select! {
                () = waiter.moved() => {}
                () = alarm.until(deadline) => {}
                () = stopped(&mut stopping) => deadline = Instant::now(),
            }
        }
    }

    /// Tells whether looking would not touch the disk.
    fn is_in_memory(&self) -> bool {
        let mut topics = TopicCursor::default();
        self.plan.wanted.iter().all(|wanted| {
            let topic = topics.find(&self.node, &wanted.topic).ok();
            let partition = topic.and_then(|topic| topic.partition(wanted.partition.partition));
            partition.is_none_or(|it| it.log.is_in_memory(wanted.partition.fetch_offset))
        })
    }

    fn places(&self) -> Vec<Arc<crate::purgatory::Waiters>> {
        let mut topics = TopicCursor::default();
        let wanted = self.plan.wanted.iter();
        wanted
            .filter_map(|wanted| {
                let topic = topics.find(&self.node, &wanted.topic).ok()?;
                Some(Arc::clone(&topic.partition(wanted.partition.partition)?.waiters))
            })
            .collect()
    }

    fn is_enough(&self, found: &Found) -> bool {
        found.urgent
            || found.bytes >= self.limits.min_bytes
            || found.missing == self.plan.wanted.len()
    }

    fn read(&self) -> Found {
        let mut found = Found::default();
        found.partitions.reserve(self.plan.wanted.len());
        let mut topics = TopicCursor::default();
        for wanted in &self.plan.wanted {
            let index = wanted.partition.partition;
            let partition = topics.find(&self.node, &wanted.topic).and_then(|topic| {
                topic.partition(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            });
            let (data, records) = match partition {
                Ok(partition) => {
                    let room = self.limits.max_bytes.saturating_sub(found.bytes);
                    let found = self.read_one(partition, wanted, room, found.bytes == 0);
                    partition.counters.fetch_requests.add(1);
                    if !found.0.error_code.is_ok() {
                        partition.counters.failed_fetch_requests.add(1);
                    }
                    found
                }
                Err(error) => {
                    found.missing += 1;
                    found.partitions.push((failed(index, error), Records::default()));
                    continue;
                }
            };
            found.bytes += records.len();
            found.urgent |= !data.error_code.is_ok() || data.diverging_epoch.epoch >= 0;
            found.partitions.push((data, records));
        }
        found
    }

    fn read_one(
        &self,
        partition: &Partition,
        wanted: &Wanted,
        room: usize,
        first: bool,
    ) -> (PartitionData, Records) {
        let index = wanted.partition.partition;
        let wanted = &wanted.partition;
        if let Some(refusal) = self.refused(partition, wanted) {
            return (refusal, Records::default());
        }
        let max_bytes = room.min(wanted.partition_max_bytes.max(0) as usize);
        match partition.log.lend(wanted.fetch_offset, max_bytes, first, self.limits.isolation) {
            Ok(read) => {
                let data = PartitionData {
                    partition_index: index,
                    high_watermark: read.high_watermark,
                    last_stable_offset: read.last_stable_offset,
                    log_start_offset: read.log_start_offset,
                    aborted_transactions: aborted(self.limits.isolation, read.aborted),
                    records: None,
                    ..PartitionData::default()
                };
                (data, read.records)
            }
            Err(error) => {
                let in_range = error.code() != ErrorCode::OFFSET_OUT_OF_RANGE;
                if in_range {
                    self.node.tell_unreadable(&partition.log, &error);
                }
                (unread(index, error.code()), Records::default())
            }
        }
    }

    /// Answers a reader that is wrong about the leader's epochs, whose log departs from ours, or that
    /// takes itself for a replica.
    fn refused(&self, partition: &Partition, wanted: &FetchPartition) -> Option<PartitionData> {
        let index = wanted.partition;
        // Unlike elsewhere, any negative number stands for none, as in Kafka.
        if let Err(error_code) = partition.check_epoch(wanted.current_leader_epoch.max(-1)) {
            let leader_epoch = partition.log.leader_epoch();
            let current_leader = match error_code {
                ErrorCode::FENCED_LEADER_EPOCH if self.version >= LEADER_SINCE => {
                    LeaderIdAndEpoch { leader_id: self.node.id, leader_epoch }
                }
                // One who knows a later epoch than we do learns nothing from ours.
                _ => LeaderIdAndEpoch::default(),
            };
            return Some(PartitionData { current_leader, ..unread(index, error_code) });
        }
        if self.limits.is_replica {
            return Some(unread(index, ErrorCode::NOT_LEADER_OR_FOLLOWER));
        }
        if wanted.last_fetched_epoch < 0 {
            return None;
        }
        match partition.log.end_offset_for_epoch(wanted.last_fetched_epoch) {
            None => Some(unread(index, ErrorCode::OFFSET_OUT_OF_RANGE)),
            Some((epoch, end_offset))
                if epoch < wanted.last_fetched_epoch || end_offset < wanted.fetch_offset =>
            {
                Some(PartitionData {
                    high_watermark: partition.log.high_watermark(),
                    last_stable_offset: partition.log.high_watermark(),
                    log_start_offset: partition.log.log_start_offset(),
                    diverging_epoch: EpochEndOffset { epoch, end_offset },
                    ..unread(index, ErrorCode::NONE)
                })
            }
            Some(_) => None,
        }
    }

    /// Counts what is sent.
    fn count_bytes(&self, found: &Found) {
        let mut topics = TopicCursor::default();
        for (wanted, (_, records)) in self.plan.wanted.iter().zip(&found.partitions) {
            let bytes = records.len();
            if bytes > 0
                && let Ok(topic) = topics.find(&self.node, &wanted.topic)
                && let Some(partition) = topic.partition(wanted.partition.partition)
            {
                partition.counters.bytes_out.add(bytes as u64);
            }
        }
    }

    /// Cuts the response to what the session has news of.
    fn respond(self, found: Found) -> FetchAnswer {
        self.count_bytes(&found);
        let wanted = self.plan.wanted.into_iter().zip(found.partitions);
        let uses_ids = self.version >= 13;
        let mut answer = FetchAnswer::default();
        match self.plan.kind {
            PlanKind::Sessionless => {
                for (wanted, found) in wanted {
                    answer.push(&wanted.topic, found);
                }
            }
            PlanKind::Full => {
                let mut read = Vec::new();
                for (wanted, found) in wanted {
                    let told = told(&found.0);
                    answer.push(&wanted.topic, found);
                    read.push((wanted, told));
                }
                let now = self.node.clock.steady();
                answer.response.session_id =
                    self.node.sessions.begin(read, uses_ids, self.limits.slots, now);
            }
            PlanKind::Incremental(session) => {
                let mut session = session.lock();
                answer.response.session_id = session.id();
                for (wanted, found) in wanted {
                    if session.note(&wanted, told(&found.0), !found.1.is_empty()) {
                        answer.push(&wanted.topic, found);
                    }
                }
            }
        }
        answer
    }
}

/// A response, and the records of its partitions in their order.
#[derive(Default)]
struct FetchAnswer {
    response: FetchResponse,
    records: Vec<Records>,
}

impl FetchAnswer {
    fn push(&mut self, topic: &TopicKey, (data, records): (PartitionData, Records)) {
        push(&mut self.response.responses, topic, data);
        self.records.push(records);
    }
}

/// Finds topics, remembering the last one: requests name a topic's partitions one after another.
#[derive(Default)]
struct TopicCursor {
    last: Option<(TopicKey, Result<Arc<Topic>, ErrorCode>)>,
}

impl TopicCursor {
    fn find(&mut self, node: &Node, key: &TopicKey) -> Result<&Arc<Topic>, ErrorCode> {
        if self.last.as_ref().is_none_or(|(last, _)| last != key) {
            let found = match key {
                TopicKey::Name(name) => node.topic(name, Uuid::ZERO),
                TopicKey::Id(id) if id.is_zero() => Err(ErrorCode::UNKNOWN_TOPIC_ID),
                TopicKey::Id(id) => node.topic("", *id),
            };
            self.last = Some((key.clone(), found));
        }
        let (_, found) = self.last.as_ref().expect("it was just set");
        found.as_ref().map_err(|error| *error)
    }
}

/// Answers for a partition that is there, without records.
fn unread(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    PartitionData { aborted_transactions: None, ..failed(partition_index, error_code) }
}

/// Answers for a partition that is not there.
fn failed(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index,
        error_code,
        high_watermark: -1,
        records: None,
        ..PartitionData::default()
    }
}

fn aborted(isolation: Isolation, aborted: Vec<(i64, i64)>) -> Option<Vec<AbortedTransaction>> {
    let transaction =
        |(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset };
    match isolation {
        Isolation::ReadUncommitted => None,
        Isolation::ReadCommitted => Some(aborted.into_iter().map(transaction).collect()),
    }
}

fn told(data: &PartitionData) -> Told {
    Told {
        high_watermark: data.high_watermark,
        log_start_offset: data.log_start_offset,
        failed: !data.error_code.is_ok() || data.diverging_epoch.epoch >= 0,
    }
}

/// Adds a partition to its topic in the response, which is the last one or a new one.
fn push(responses: &mut Vec<FetchableTopicResponse>, key: &TopicKey, data: PartitionData) {
    let (topic, topic_id) = match key {
        TopicKey::Name(name) => (&**name, Uuid::ZERO),
        TopicKey::Id(id) => ("", *id),
    };
    if let Some(last) = responses.last_mut()
        && last.topic == topic
        && last.topic_id == topic_id
    {
        last.partitions.push(data);
        return;
    }
    let topic = topic.to_owned();
    responses.push(FetchableTopicResponse { topic, topic_id, partitions: vec![data] });
}
