//! Which partitions to fetch from which broker, and what an answer means.
//!
//! One fetch is kept in flight per broker, and the next one leaves as soon as the answer to the
//! last has been walked, batch headers only: what the application still has to read does not hold
//! it back as long as the byte budget allows.
//!
//! The rule that keeps a consumer from stalling silently: **every owned partition has a fetch in
//! flight, or [`Fetcher::status`] names the reason.** It is checked by a test on every plan.
//!
//! Answers are walked, not decoded: the offset to fetch next is in the last batch's header. Records
//! are checked, decompressed and read where the application takes them.
//!
//! A request says only what changed since the one before (a fetch session, KIP-227). A leader that is far
//! away names a replica in our rack (KIP-392), which is read for a while; whatever goes wrong there is
//! settled with the leader.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kohort_protocol::messages::fetch::{
    AbortedTransaction, FetchRequest, FetchResponse, NodeEndpoint, PartitionData,
};
use kohort_protocol::{ErrorCode, Uuid};

use super::positions::{Positions, Slot};
use super::types::{
    AssignmentEpoch, Counter, IsolationLevel, Position, PositionEpoch, RequestId, Timestamp,
    TopicName, TopicPartition,
};
use super::walk::walk_batches;
use crate::metadata::{Broker, MetadataView};
use pace::Pace;
use session::{FetchSession, Named, Wanted};

mod pace;
mod session;
mod status;

pub use status::FetchStatus;

/// How records are fetched.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// How long a broker may wait for [`min_bytes`](Self::min_bytes), in milliseconds.
    pub max_wait_ms: i32,
    /// What a broker waits for.
    pub min_bytes: i32,
    /// The most bytes of one answer.
    pub max_bytes: i32,
    /// The most bytes of one partition in one answer.
    pub partition_max_bytes: i32,
    /// The most bytes in memory, in flight and handed out, as they came and unpacked.
    pub budget_bytes: i64,
    /// Which records are visible.
    pub isolation: IsolationLevel,
    /// The rack the consumer runs in, or empty.
    pub rack: String,
    /// How long a broker that failed is left alone, in milliseconds.
    pub retry_backoff_ms: i64,
    /// How long the replica a leader named is read before the leader is asked again, in milliseconds.
    pub preferred_replica_ms: i64,
}

/// A fetch to send.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchPlan {
    /// The number the answer carries.
    pub id: RequestId,
    /// The broker.
    pub node: i32,
    /// What to send.
    pub request: FetchRequest,
}

/// What there is of the budget.
pub struct Memory<'a> {
    /// How many bytes are in memory.
    pub used: i64,
    /// How many more are kept for what is unpacked.
    pub kept: i64,
    /// Whether somebody waits for records who has at most those of one earlier time: of a stream's
    /// partition, or of all that no stream has.
    pub starves: &'a dyn Fn(Option<&TopicPartition>) -> bool,
}

impl std::fmt::Debug for Memory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { used, kept, .. } = self;
        f.debug_struct("Memory").field("used", used).field("kept", kept).finish_non_exhaustive()
    }
}

/// What can leave now, and what holds the rest back.
#[derive(Debug, Default, PartialEq)]
pub struct Planned {
    /// The fetches to send.
    pub fetches: Vec<FetchPlan>,
    /// Whether a partition has no leader to ask.
    pub leaderless: bool,
    /// Whether the application has to take or drop records before more is fetched.
    pub held_back: bool,
}

/// Data of one partition, in order, ready for the application.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The partition.
    pub partition: TopicPartition,
    /// The ownership it was fetched for.
    pub epoch: AssignmentEpoch,
    /// The reading sequence it was fetched for.
    pub position_epoch: PositionEpoch,
    /// Whole batches; empty when only the offsets below are news.
    pub records: Bytes,
    /// The first offset wanted: the first batch may begin before it.
    pub position: Position,
    /// Where reading goes on after these batches.
    pub next: Position,
    /// The end of what is replicated.
    pub high_watermark: i64,
    /// The end of what transactions have decided, or -1 from a broker that tells none.
    pub last_stable_offset: i64,
    /// The first offset that exists.
    pub log_start_offset: i64,
    /// The aborted transactions that reach into these batches.
    pub aborted: Vec<AbortedTransaction>,
}

/// What an answer brought.
#[derive(Debug, Default, PartialEq)]
pub struct FetchOutcome {
    /// Data and offsets to hand over.
    pub deliveries: Vec<Delivery>,
    /// Partitions whose offset is out of range, with the reading sequence that met it.
    pub out_of_range: Vec<(TopicPartition, PositionEpoch)>,
    /// Partitions an error holds up, with whether anybody but the application can mend it.
    pub errors: Vec<(TopicPartition, ErrorCode)>,
    /// Newer leaders the answer names (KIP-951): partition, node and epoch.
    pub leaders: Vec<(TopicPartition, i32, i32)>,
    /// Where nodes the answer names are.
    pub brokers: Vec<Broker>,
    /// Whether the cluster's picture is too old.
    pub refresh_metadata: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Fetcher {
    config: FetchConfig,
    ids: Counter,
    in_flight: BTreeMap<i32, Flight>,
    sessions: BTreeMap<i32, FetchSession>,
    paces: BTreeMap<i32, Pace>,
    retry_at: BTreeMap<i32, Timestamp>,
    /// When each partition last brought data: who waited longest is asked for first, because a
    /// broker fills an answer in the order of the request.
    served: BTreeMap<TopicPartition, u64>,
    clock: u64,
    /// How many answers in a row said that a partition's disk failed.
    disk_errors: BTreeMap<TopicPartition, u32>,
    /// What the latest answers said of partitions that they brought nothing of.
    refusals: BTreeMap<TopicPartition, ErrorCode>,
}

#[derive(Debug)]
struct Flight {
    id: RequestId,
    sent_at: Timestamp,
    reserved: i64,
    partitions: BTreeMap<TopicPartition, Asked>,
    topic_ids: BTreeMap<[u8; 16], TopicName>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    epoch: AssignmentEpoch,
    position_epoch: PositionEpoch,
    position: Position,
    leader_epoch: i32,
    bytes_max: i32,
}

impl Asked {
    /// Whether an answer still says where the partition's reading goes on.
    fn is_for(&self, slot: &Slot) -> bool {
        slot.position_epoch == self.position_epoch
            && slot.fetch_position() == Some(self.position)
            && slot.checked_epoch() <= self.leader_epoch
    }
}

/// How long a broker may hold an answer back that a partition was left out of: its stream may catch up
/// at any moment.
const LEFT_OUT_WAIT_MS: i32 = 50;

/// The smallest answer worth asking for.
const FETCH_BYTES_MIN: i64 = 64 * 1024;

impl Fetcher {
    /// Starts with nothing in flight.
    pub fn new(config: FetchConfig) -> Self {
        Self {
            config,
            ids: Counter::default(),
            in_flight: BTreeMap::new(),
            sessions: BTreeMap::new(),
            paces: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            served: BTreeMap::new(),
            clock: 0,
            disk_errors: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// Returns the fetches that can leave now.
    ///
    /// `buffered` tells how many bytes of a partition wait for the application.
    pub fn plan(
        &mut self,
        now: Timestamp,
        positions: &Positions,
        view: &MetadataView,
        buffered: &dyn Fn(&TopicPartition) -> usize,
        memory: &Memory<'_>,
    ) -> Planned {
        let mut planned = Planned::default();
        // Brokers of which a partition is full. A fetch without it could keep the broker busy long
        // after the application has emptied it, so the broker waits for the application instead.
        let mut full: BTreeSet<i32> = BTreeSet::new();
        let mut ready: BTreeMap<i32, Vec<(TopicPartition, Asked)>> = BTreeMap::new();
        let (mut paused_bytes, mut takeable) = (0, false);
        let credit = self.credit_apart(positions);
        let (mut left_out, mut starved): (BTreeSet<i32>, BTreeSet<i32>) = Default::default();
        let used = memory.used;
        for (partition, slot) in positions.iter() {
            let waiting = buffered(partition);
            if slot.paused {
                paused_bytes += waiting as i64;
            } else if !slot.revoking {
                takeable |= waiting > 0;
            }
            let Some(position) = slot.fetch_position() else { continue };
            if slot.paused || slot.revoking || now < slot.retry_at() {
                continue;
            }
            let Some((node, leader_epoch)) = source(now, view, partition, slot) else {
                planned.leaderless = true;
                continue;
            };
            if self.in_flight.contains_key(&node) {
                continue;
            }
            if self.is_full(waiting, slot, credit) {
                if slot.apart {
                    // A stream that is slow must not hold up the others: they are fetched without it.
                    left_out.insert(node);
                    planned.held_back = true;
                    continue;
                }
                full.insert(node);
            }
            if slot.apart && waiting == 0 && (memory.starves)(Some(partition)) {
                starved.insert(node);
            }
            let bytes_max = if slot.apart { credit as i32 } else { i32::MAX };
            let asked = Asked {
                epoch: slot.epoch,
                position_epoch: slot.position_epoch,
                position,
                leader_epoch,
                bytes_max: bytes_max.min(self.config.partition_max_bytes),
            };
            ready.entry(node).or_default().push((partition.clone(), asked));
        }
        for (node, mut partitions) in ready {
            if full.contains(&node) {
                planned.held_back = true;
                continue;
            }
            if self.retry_at.get(&node).is_some_and(|retry_at| now < *retry_at) {
                continue;
            }
            let mut size = self.fetch_bytes(node, view);
            let reserved = self.reserved_bytes();
            // With nothing in memory one fetch is always allowed, however large its batches are.
            let budget = self.config.budget_bytes - memory.kept;
            if used + reserved + size > budget && used + reserved > 0 {
                // Whoever has no more than what he was given last may need it until there is more.
                let starves = starved.contains(&node) || !takeable && (memory.starves)(None);
                // What paused partitions keep comes back only when they are resumed, which may never
                // be: meanwhile the others go on, one small answer at a time.
                let stuck = !takeable && paused_bytes > 0 && reserved == 0;
                let fits = used - paused_bytes + FETCH_BYTES_MIN.min(budget) <= budget;
                if !(starves || stuck && fits) {
                    planned.held_back = true;
                    continue;
                }
                size = FETCH_BYTES_MIN.min(size);
            }
            partitions
                .sort_by_key(|(partition, _)| self.served.get(partition).copied().unwrap_or(0));
            let max_wait = if left_out.contains(&node) { LEFT_OUT_WAIT_MS } else { i32::MAX };
            let plan = self.send(now, node, partitions, size, max_wait, view);
            planned.fetches.push(plan);
        }
        planned
    }

    /// Takes a broker's answer.
    pub fn handle_response(
        &mut self,
        now: Timestamp,
        node: i32,
        id: RequestId,
        response: FetchResponse,
        positions: &mut Positions,
    ) -> FetchOutcome {
        let mut outcome = FetchOutcome::default();
        let Some(flight) = self.land(node, id) else { return outcome };
        let session = self.sessions.entry(node).or_default();
        let begins_anew = session.answered(response.error_code, response.session_id);
        if response.error_code != ErrorCode::NONE {
            if !begins_anew {
                self.retry_at.insert(node, now + self.config.retry_backoff_ms);
            }
            outcome.refresh_metadata =
                !begins_anew || response.error_code == ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR;
            return outcome;
        }
        outcome.brokers = response.node_endpoints.into_iter().filter_map(broker).collect();
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        let sizes = partitions.map(|data| data.records.as_ref().map_or(0, Bytes::len) as i64);
        let pace = self.paces.entry(node).or_default();
        pace.answered(flight.reserved, sizes.sum(), now - flight.sent_at);
        for topic in response.responses {
            let by_id = flight.topic_ids.get(&topic.topic_id.0).cloned();
            let name = by_id.unwrap_or_else(|| topic.topic.as_str().into());
            for data in topic.partitions {
                let partition =
                    TopicPartition { topic: name.clone(), partition: data.partition_index };
                let Some(asked) = flight.partitions.get(&partition) else { continue };
                // A seek, a reset or a revocation since makes this answer worthless; so does another
                // leader's answer to the same question, when leadership moved while this one came; and
                // so does the newer leader itself, whose log may not have what the old one sent.
                let current = positions.get(&partition).is_some_and(|slot| asked.is_for(slot));
                if current {
                    self.partition_answered(now, partition, *asked, data, positions, &mut outcome);
                }
            }
        }
        outcome
    }

    /// Takes that a broker did not answer.
    pub fn handle_failure(
        &mut self,
        now: Timestamp,
        node: i32,
        id: RequestId,
        positions: &mut Positions,
    ) {
        if self.land(node, id).is_some() {
            self.sessions.entry(node).or_default().unanswered();
            positions.avoid(node);
            self.retry_at.insert(node, now + self.config.retry_backoff_ms);
        }
    }

    /// Returns when [`plan`](Self::plan) may find more without an event.
    pub fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry_at.values().copied().filter(|retry_at| *retry_at > now).min()
    }

    /// Two answers' worth: while the application reads one, the next is there. More would only hold
    /// memory that other partitions need. A partition read apart has its own credit.
    fn is_full(&self, buffered: usize, slot: &Slot, credit_apart: i64) -> bool {
        let most =
            if slot.apart { credit_apart } else { 2 * i64::from(self.config.partition_max_bytes) };
        buffered as i64 >= most
    }

    /// How much may wait of each partition that is read apart: together at most half of the budget, so
    /// that streams nobody reads from leave room for the others.
    fn credit_apart(&self, positions: &Positions) -> i64 {
        let apart = positions.iter().filter(|(_, slot)| slot.apart).count().max(1) as i64;
        let share = self.config.budget_bytes / (4 * apart);
        share.max(FETCH_BYTES_MIN).min(i64::from(self.config.partition_max_bytes))
    }

    /// Shares the budget so that every broker can have one answer in flight and one in use.
    fn fetch_bytes(&self, node: i32, view: &MetadataView) -> i64 {
        let brokers = view.brokers().len().max(1) as i64;
        let share = self.config.budget_bytes / (2 * brokers);
        let share = share.max(FETCH_BYTES_MIN).min(i64::from(self.config.max_bytes));
        let pace = self.paces.get(&node).copied().unwrap_or_default();
        pace.bytes(i64::from(self.config.min_bytes), share)
    }

    /// Returns how many bytes the fetches in flight may bring.
    pub fn reserved_bytes(&self) -> i64 {
        self.in_flight.values().map(|flight| flight.reserved).sum()
    }

    /// Ends the fetch sessions: returns what to send to which broker. Nobody needs the answers.
    pub fn close_sessions(&mut self) -> Vec<(i32, FetchRequest)> {
        let sessions = std::mem::take(&mut self.sessions);
        let closes =
            sessions.into_iter().filter_map(|(node, session)| Some((node, session.close()?)));
        let request = |(node, Named { session_id, session_epoch, .. })| {
            let request = FetchRequest { session_id, session_epoch, ..FetchRequest::default() };
            (node, request)
        };
        closes.map(request).collect()
    }

    fn send(
        &mut self,
        now: Timestamp,
        node: i32,
        partitions: Vec<(TopicPartition, Asked)>,
        size: i64,
        max_wait_ms: i32,
        view: &MetadataView,
    ) -> FetchPlan {
        let id = RequestId(self.ids.advance());
        let mut flight = Flight {
            id,
            sent_at: now,
            reserved: size,
            partitions: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
        };
        let mut wanted = Vec::with_capacity(partitions.len());
        for (partition, asked) in partitions {
            let topic_id = view.topic(&partition.topic).map_or(Uuid::ZERO, |topic| topic.id);
            if topic_id != Uuid::ZERO {
                flight.topic_ids.insert(topic_id.0, partition.topic.clone());
            }
            let entry = Wanted {
                topic_id,
                offset: asked.position.offset,
                leader_epoch: asked.leader_epoch,
                bytes_max: asked.bytes_max,
            };
            wanted.push((partition.clone(), entry));
            flight.partitions.insert(partition, asked);
        }
        let Named { session_id, session_epoch, topics, forgotten } =
            self.sessions.entry(node).or_default().name(&wanted);
        self.in_flight.insert(node, flight);
        let request = FetchRequest {
            max_wait_ms: self.config.max_wait_ms.min(max_wait_ms),
            min_bytes: self.config.min_bytes,
            max_bytes: size as i32,
            isolation_level: self.config.isolation.wire(),
            session_id,
            session_epoch,
            topics,
            forgotten_topics_data: forgotten,
            rack_id: self.config.rack.clone(),
            ..FetchRequest::default()
        };
        FetchPlan { id, node, request }
    }

    fn land(&mut self, node: i32, id: RequestId) -> Option<Flight> {
        if self.in_flight.get(&node)?.id != id {
            return None;
        }
        self.in_flight.remove(&node)
    }

    fn partition_answered(
        &mut self,
        now: Timestamp,
        partition: TopicPartition,
        asked: Asked,
        data: PartitionData,
        positions: &mut Positions,
        outcome: &mut FetchOutcome,
    ) {
        match data.error_code {
            ErrorCode::NONE => {
                self.disk_errors.remove(&partition);
                self.refusals.remove(&partition);
                let preferred = data.preferred_read_replica;
                if preferred >= 0 {
                    let known = positions.get(&partition).and_then(|slot| slot.preferred(now));
                    if known == Some(preferred) {
                        // We could not go where we were sent: nobody has told us of that broker yet.
                        positions.back_off(now, &partition);
                        outcome.refresh_metadata = true;
                    }
                    positions.prefer(&partition, preferred, now + self.config.preferred_replica_ms);
                }
                let records = data.records.unwrap_or_default();
                let walked = walk_batches(&records);
                let next = match walked.next {
                    Some(next) if next.offset > asked.position.offset => next,
                    _ => asked.position,
                };
                if let Some(why) = walked.broken {
                    // Nothing can be skipped safely: the same offset is tried again.
                    outcome.errors.push((partition.clone(), why));
                    positions.back_off(now, &partition);
                }
                if walked.bytes > 0 {
                    self.clock += 1;
                    self.served.insert(partition.clone(), self.clock);
                }
                positions.advance_to(&partition, asked.position_epoch, next);
                outcome.deliveries.push(Delivery {
                    partition,
                    epoch: asked.epoch,
                    position_epoch: asked.position_epoch,
                    records: records.slice(..walked.bytes),
                    position: asked.position,
                    next,
                    high_watermark: data.high_watermark,
                    last_stable_offset: data.last_stable_offset,
                    log_start_offset: data.log_start_offset,
                    aborted: data.aborted_transactions.unwrap_or_default(),
                });
            }
            // A replica may lag behind its leader, who has the last word.
            ErrorCode::OFFSET_OUT_OF_RANGE
                if positions.prefer_leader(&partition, asked.position_epoch) => {}
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                outcome.out_of_range.push((partition, asked.position_epoch));
            }
            code => {
                self.refusals.insert(partition.clone(), code);
                positions.prefer_leader(&partition, asked.position_epoch);
                let leader = data.current_leader;
                if leader.leader_id >= 0 && leader.leader_epoch > asked.leader_epoch {
                    // Nothing is to be found out first: the new leader is asked at once.
                    let (node, epoch) = (leader.leader_id, leader.leader_epoch);
                    outcome.leaders.push((partition, node, epoch));
                    return;
                }
                positions.back_off(now, &partition);
                outcome.refresh_metadata = true;
                if !code.is_retriable() || self.stays_damaged(&partition, code) {
                    outcome.errors.push((partition, code));
                }
            }
        }
    }
}

impl Fetcher {
    /// Counts failures of a leader's disk. The first ones pass when another node takes over; one that
    /// stays is damage, which no retry mends and which somebody has to hear of.
    fn stays_damaged(&mut self, partition: &TopicPartition, code: ErrorCode) -> bool {
        if code != ErrorCode::KAFKA_STORAGE_ERROR {
            return false;
        }
        let errors = self.disk_errors.entry(partition.clone()).or_default();
        *errors = errors.saturating_add(1);
        *errors >= DISK_ERRORS_BORNE
    }
}

/// How many failures of a disk in a row are kept from the application: with the waits between them
/// enough for another leader to be elected.
const DISK_ERRORS_BORNE: u32 = 3;

/// Returns the node to read a partition from, and its leader's epoch.
fn source(
    now: Timestamp,
    view: &MetadataView,
    partition: &TopicPartition,
    slot: &Slot,
) -> Option<(i32, i32)> {
    let known = view.partition(&partition.topic, partition.partition)?;
    if let Some(node) = slot.preferred(now).filter(|node| view.broker(*node).is_some()) {
        return Some((node, known.leader_epoch));
    }
    view.broker(known.leader)?;
    Some((known.leader, known.leader_epoch))
}

fn broker(node: NodeEndpoint) -> Option<Broker> {
    let port = u16::try_from(node.port).ok()?;
    Some(Broker { id: node.node_id, host: node.host, port, rack: node.rack })
}

#[cfg(test)]
mod tests;
