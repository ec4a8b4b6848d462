//! Which fetches can leave now, and what holds the others back.

use std::collections::BTreeMap;

use kohort_protocol::Uuid;
use kohort_protocol::messages::fetch::FetchRequest;

use super::session::{Named, Wanted};
use super::{Asked, Fetcher, Flight};
use crate::consumer::positions::{Positions, Slot};
use crate::consumer::types::{RequestId, Timestamp, TopicPartition};
use crate::metadata::MetadataView;

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
    /// What would let more be fetched.
    pub wants: Wants,
}

/// What fetches that are held back wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants {
    /// That something is dropped, or that somebody waits who has nothing: the budget is spent.
    pub budget: bool,
    /// That so many bytes are taken, at the least.
    pub taken: Option<i64>,
}

impl Wants {
    /// Whether anything is held back.
    pub fn any(self) -> bool {
        self.budget || self.taken.is_some()
    }

    fn take(&mut self, bytes: i64) {
        self.taken = Some(self.taken.map_or(bytes, |least| least.min(bytes)));
    }
}

/// A broker that could be asked now.
#[derive(Debug, Default)]
struct Source {
    partitions: Vec<(TopicPartition, Asked)>,
    /// How many bytes of it wait for polls.
    waiting: i64,
    /// How many of them have to be taken before none of its partitions is full.
    over: i64,
    /// Whether partitions of it are read by streams, and whether one of them is left out.
    apart: bool,
    left_out: bool,
    /// Whether a stream waits that has nothing more than it was given last.
    starved: bool,
    /// Whether it is not to name replicas in our rack.
    rackless: bool,
}

/// How long a broker may hold an answer back that a partition was left out of: its stream may catch up
/// at any moment.
const LEFT_OUT_WAIT_MS: i32 = 50;

/// The smallest answer worth asking for.
const FETCH_BYTES_MIN: i64 = 64 * 1024;

impl Fetcher {
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
        let mut sources: BTreeMap<i32, Source> = BTreeMap::new();
        let (mut paused_bytes, mut takeable) = (0, false);
        let credit = self.credit_apart(positions);
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
            let source = sources.entry(node).or_default();
            source.apart |= slot.apart;
            source.rackless |= slot.stays_with_leader(now);
            if self.is_full(waiting, slot, credit) {
                if slot.apart {
                    // A stream that is slow must not hold up the others: they are fetched without it.
                    source.left_out = true;
                    planned.wants.take(1);
                    continue;
                }
                source.over = source.over.max(waiting as i64 - self.waiting_max() + 1);
            }
            if !slot.apart {
                source.waiting += waiting as i64;
            } else if waiting == 0 && (memory.starves)(Some(partition)) {
                source.starved = true;
            }
            let bytes_max = if slot.apart { credit as i32 } else { i32::MAX };
            let asked = Asked {
                epoch: slot.epoch,
                position_epoch: slot.position_epoch,
                position,
                leader_epoch,
                bytes_max: bytes_max.min(self.config.partition_max_bytes),
            };
            source.partitions.push((partition.clone(), asked));
        }
        self.behind.clear();
        for (node, source) in sources {
            let Source { mut partitions, waiting, over, apart, left_out, starved, rackless } =
                source;
            if partitions.is_empty() || self.retry_at.get(&node).is_some_and(|at| now < *at) {
                continue;
            }
            let mut size = self.fetch_bytes(node, view);
            // A fetch without a partition that is full could keep the broker busy long after the
            // application has emptied it, so the broker waits for the application instead. And what
            // lies ready beyond one more answer would only grow cold; but no stream waits for polls.
            let over = if apart { over } else { over.max(waiting - size + 1) };
            if over > 0 {
                self.behind.insert(node);
                planned.wants.take(over);
                continue;
            }
            let reserved = self.reserved_bytes();
            // With nothing in memory one fetch is always allowed, however large its batches are.
            let budget = self.config.budget_bytes - memory.kept;
            if used + reserved + size > budget && used + reserved > 0 {
                // Whoever has no more than what he was given last may need it until there is more.
                let starves = starved || !takeable && (memory.starves)(None);
                // What paused partitions keep comes back only when they are resumed, which may never
                // be: meanwhile the others go on, one small answer at a time.
                let stuck = !takeable && paused_bytes > 0 && reserved == 0;
                let fits = used - paused_bytes + FETCH_BYTES_MIN.min(budget) <= budget;
                if !(starves || stuck && fits) {
                    planned.wants.budget = true;
                    continue;
                }
                size = FETCH_BYTES_MIN.min(size);
            }
            partitions
                .sort_by_key(|(partition, _)| self.served.get(partition).copied().unwrap_or(0));
            let max_wait = if left_out { LEFT_OUT_WAIT_MS } else { i32::MAX };
            let mut plan = self.send(now, node, partitions, size, max_wait, view);
            if rackless {
                plan.request.rack_id.clear();
            }
            planned.fetches.push(plan);
        }
        planned
    }

    /// Two answers' worth: while the application reads one, the next is there. More would only hold
    /// memory that other partitions need. A partition read apart has its own credit. Whatever the limits, what
    /// has nothing is not full: a broker returns a batch however little was asked for (KIP-74).
    pub(super) fn is_full(&self, buffered: usize, slot: &Slot, credit_apart: i64) -> bool {
        let most = if slot.apart { credit_apart } else { self.waiting_max() };
        buffered as i64 >= most
    }

    fn waiting_max(&self) -> i64 {
        (2 * i64::from(self.config.partition_max_bytes)).max(1)
    }

    /// How much may wait of each partition that is read apart: together at most half of the budget, so
    /// that streams nobody reads from leave room for the others.
    pub(super) fn credit_apart(&self, positions: &Positions) -> i64 {
        let apart = positions.iter().filter(|(_, slot)| slot.apart).count().max(1) as i64;
        let share = self.config.budget_bytes / (4 * apart);
        share.max(FETCH_BYTES_MIN).min(i64::from(self.config.partition_max_bytes)).max(1)
    }

    /// Shares the budget so that every broker can have one answer in flight and one in use.
    fn fetch_bytes(&mut self, node: i32, view: &MetadataView) -> i64 {
        let brokers = view.brokers().len().max(1) as i64;
        let share = self.config.budget_bytes / (2 * brokers);
        let share = share.max(FETCH_BYTES_MIN).min(i64::from(self.config.max_bytes)).max(1);
        self.paces.entry(node).or_default().bytes(i64::from(self.config.min_bytes), share)
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
}

/// Returns the node to read a partition from, and its leader's epoch.
pub(super) fn source(
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
