//! Which partitions to fetch from which broker, and what an answer means.
//!
//! One fetch is kept in flight per broker, and the next one leaves as soon as the answer to the
//! last has been walked, batch headers only, unless the application has as much as that would bring
//! still to read, or the byte budget is spent.
//!
//! The rule that keeps a consumer from stalling silently: **every owned partition has a fetch in
//! flight, or [`Fetcher::status`] names the reason.** It is checked by a test on every plan.
//!
//! Answers are walked, not decoded: the offset to fetch next is in the last batch's header. Records
//! are checked, decompressed and read where the application takes them.
//!
//! A request says only what changed since the one before (a fetch session, KIP-227). A leader that is far
//! away names a replica in our rack (KIP-392), which is read for a while; whatever goes wrong there is
//! settled with the leader, who is not told our rack for a while if that replica does not answer.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::fetch::{
    AbortedTransaction, FetchRequest, FetchResponse, NodeEndpoint, PartitionData,
};

use super::positions::{Positions, Slot};
use super::types::{
    AssignmentEpoch, Counter, IsolationLevel, Position, PositionEpoch, RequestId, Timestamp,
    TopicName, TopicPartition,
};
use super::walk::walk_batches;
use crate::metadata::{Broker, denies_leadership};
use pace::Pace;
use session::{FetchSession, Named};

mod pace;
mod plan;
mod session;
mod status;

pub use plan::{FetchPlan, Memory, Planned, Wants};
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
    /// How long the replica a leader named is read before the leader is asked again, and how long one that
    /// did not answer is left alone, in milliseconds.
    pub preferred_replica_ms: i64,
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
    /// Partitions that the node is not the leader of, by its own word.
    pub denied: Vec<TopicPartition>,
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
    /// What the latest answers said of partitions that they brought nothing of, or nothing sound, and in
    /// which ownership.
    refusals: BTreeMap<TopicPartition, (AssignmentEpoch, ErrorCode)>,
    /// The brokers whose latest answer was an error, or that gave none.
    failing: BTreeMap<i32, Option<ErrorCode>>,
    /// The brokers that the latest plan left alone until the application has taken more.
    behind: BTreeSet<i32>,
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
            failing: BTreeMap::new(),
            behind: BTreeSet::new(),
        }
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
                self.failing.insert(node, Some(response.error_code));
                self.retry_at.insert(node, now + self.config.retry_backoff_ms);
            }
            outcome.refresh_metadata =
                !begins_anew || response.error_code == ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR;
            return outcome;
        }
        self.failing.remove(&node);
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
            self.paces.entry(node).or_default().unanswered();
            positions.avoid(node, now + self.config.preferred_replica_ms);
            self.failing.insert(node, None);
            self.retry_at.insert(node, now + self.config.retry_backoff_ms);
        }
    }

    /// Returns when [`plan`](Self::plan) may find more without an event.
    pub fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry_at.values().copied().filter(|retry_at| *retry_at > now).min()
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
                    self.refusals.insert(partition.clone(), (asked.epoch, why));
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
                self.refusals.insert(partition.clone(), (asked.epoch, data.error_code));
                outcome.out_of_range.push((partition, asked.position_epoch));
            }
            code => {
                self.refusals.insert(partition.clone(), (asked.epoch, code));
                positions.prefer_leader(&partition, asked.position_epoch);
                let leader = data.current_leader;
                if leader.leader_id >= 0 && leader.leader_epoch > asked.leader_epoch {
                    // Nothing is to be found out first: the new leader is asked at once.
                    let (node, epoch) = (leader.leader_id, leader.leader_epoch);
                    outcome.leaders.push((partition, node, epoch));
                    return;
                }
                if denies_leadership(code) {
                    outcome.denied.push(partition.clone());
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

fn broker(node: NodeEndpoint) -> Option<Broker> {
    let port = u16::try_from(node.port).ok()?;
    Some(Broker { id: node.node_id, host: node.host, port, rack: node.rack })
}

#[cfg(test)]
mod tests;
