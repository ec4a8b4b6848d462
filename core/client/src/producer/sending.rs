//! What is sent, and when.
//!
//! [`Accumulator::poll`] looks at the partitions that hold something, gathers what is ready by leader, and
//! fills requests with it: at most one batch of a partition in each, the partitions in turn. What is left
//! waits for a time, which it names, or for an answer.

use std::collections::{BTreeMap, VecDeque};

use super::accumulator::{Accumulator, TopicSlot};
use super::partition::{Failure, GivenUp, OutBatch, Readiness, Rules};

/// What a node may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How many more requests it may be sent.
    pub free: usize,
    /// How many it has not answered.
    pub under_way: usize,
}

/// A request to one node: at most one batch of each partition.
#[derive(Debug)]
pub struct SendRequest {
    /// The leader of them all.
    pub node: i32,
    /// The batches.
    pub batches: Vec<OutBatch>,
}

/// What to do now.
#[derive(Debug)]
pub struct Polled<C> {
    /// To be sent.
    pub requests: Vec<SendRequest>,
    /// Given up: their time was up.
    pub expired: Vec<GivenUp<C>>,
    /// Something is ready whose leader is not known: metadata is needed.
    pub leaderless: bool,
    /// Something is ready, but a producer id is needed first.
    pub needs_identity: bool,
    /// Whoever was refused for being ahead may try again.
    pub resume: bool,
    /// When to poll again, answers and appends apart.
    pub wake_at: Option<i64>,
}

impl<C: Clone> Accumulator<C> {
    /// Decides what to send. `leader` names the leader of a partition, `room` what a node may be
    /// sent.
    pub fn poll(
        &mut self,
        now: i64,
        leader: impl Fn(&str, i32) -> Option<i32>,
        room: impl Fn(i32) -> Room,
    ) -> Polled<C> {
        let mut polled = Polled {
            requests: Vec::new(),
            expired: self.expire(now),
            leaderless: false,
            needs_identity: false,
            resume: false,
            wake_at: None,
        };
        let rules = self.rules();
        let mut wake_at = i64::MAX;
        let mut ready: BTreeMap<i32, Ready> = BTreeMap::new();
        let Self { topics, busy, identity, config, .. } = self;
        busy.retain(|(slot, index)| {
            let topic = &mut topics[slot.0];
            let partition = &mut topic.partitions[*index as usize];
            partition.no_room = false;
            if partition.is_idle() {
                partition.listed = false;
                return false;
            }
            let oldest = partition.oldest().unwrap_or(now);
            wake_at = wake_at.min(oldest.saturating_add(config.delivery_timeout_ms));
            let hold_until = match partition.readiness(now, &rules) {
                Readiness::Later => return true,
                Readiness::At(at) => {
                    wake_at = wake_at.min(at);
                    return true;
                }
                Readiness::Full(due) => due,
                Readiness::Now => now,
            };
            if !partition.align(identity) {
                polled.needs_identity = true;
                return true;
            }
            match leader(&topic.name, *index) {
                Some(node) => ready.entry(node).or_default().add(
                    (*slot, *index),
                    partition.held_bytes(config.gather_bytes),
                    hold_until,
                ),
                None => polled.leaderless = true,
            }
            true
        });
        self.wake_bytes = None;
        for (node, ready) in ready {
            let Room { free, under_way } = room(node);
            if self.config.availability_timeout_ms > 0 {
                self.nodes.entry(node).or_default().note(now, free > 0);
            }
            if under_way > 0 && ready.hold_until > now && ready.bytes < self.config.gather_bytes {
                // With the answer, or before it when they have waited long or become many.
                wake_at = wake_at.min(ready.hold_until);
                let enough = self.buffered + (self.config.gather_bytes - ready.bytes);
                self.wake_bytes = Some(self.wake_bytes.map_or(enough, |others| others.min(enough)));
                continue;
            }
            self.fill_requests(now, node, ready.queue, free, &mut polled.requests);
        }
        self.rotation = self.rotation.wrapping_add(1);
        polled.resume = self.ahead.resumes(now);
        wake_at = wake_at.min(self.ahead.look_by(now).unwrap_or(i64::MAX));
        self.wake_at = wake_at;
        polled.wake_at = Some(wake_at).filter(|at| *at < i64::MAX);
        polled
    }

    /// Fills requests with a batch of each ready partition in turn, until nothing more is ready or
    /// the node has enough.
    fn fill_requests(
        &mut self,
        now: i64,
        node: i32,
        mut queue: VecDeque<(TopicSlot, i32)>,
        room: usize,
        requests: &mut Vec<SendRequest>,
    ) {
        let rules = self.rules();
        let shift = self.rotation % queue.len().max(1);
        queue.rotate_left(shift);
        for _ in 0..room {
            let mut batches = Vec::new();
            let mut size = 0;
            let mut again = VecDeque::new();
            while let Some((slot, index)) = queue.pop_front() {
                let topic = &mut self.topics[slot.0];
                let partition = &mut topic.partitions[index as usize];
                let bytes = partition.next_bytes();
                if size > 0 && size + bytes > self.config.request_bytes_max {
                    again.push_back((slot, index));
                    continue;
                }
                size += bytes;
                let closed = |bytes| self.ahead.taken(bytes);
                batches.push(partition.take(&topic.name, index, closed));
                if let Readiness::Now | Readiness::Full(_) = partition.readiness(now, &rules) {
                    again.push_back((slot, index));
                }
            }
            if batches.is_empty() {
                return;
            }
            requests.push(SendRequest { node, batches });
            queue = again;
        }
        for (slot, index) in queue {
            self.topics[slot.0].partitions[index as usize].no_room = true;
        }
    }

    /// Tells how many batches wait for a partition, for a partitioner that avoids the longer queues: of topics
    /// where a batch waits behind another one, or for a node that does not take any. Of partitions led by
    /// such a node it tells `None` (KIP-794).
    pub fn queue_lengths(
        &self,
        leader: impl Fn(&str, i32) -> Option<i32>,
        mut tell: impl FnMut(&str, &dyn Fn(i32) -> Option<u32>),
    ) {
        let mut last = None;
        for (slot, partition) in &self.busy {
            let topic = &self.topics[slot.0];
            let waiting = topic.partitions[*partition as usize].waiting.len();
            let stuck = |partition| {
                !self.nodes.is_empty()
                    && leader(&topic.name, partition).is_some_and(|node| self.is_stuck(node))
            };
            if last == Some(*slot) || waiting == 0 || waiting == 1 && !stuck(*partition) {
                continue;
            }
            last = Some(*slot);
            tell(&topic.name, &|partition| {
                let length =
                    topic.partitions.get(partition as usize).map_or(0, |it| it.waiting.len());
                (!stuck(partition)).then_some(length as u32)
            });
        }
    }

    fn is_stuck(&self, node: i32) -> bool {
        let timeout = self.config.availability_timeout_ms;
        self.nodes.get(&node).is_some_and(|times| times.waits_for_ms() > timeout)
    }

    fn expire(&mut self, now: i64) -> Vec<GivenUp<C>> {
        let created_before = now.saturating_sub(self.config.delivery_timeout_ms);
        let mut expired = Vec::new();
        for (slot, partition) in &self.busy {
            let partition = &mut self.topics[slot.0].partitions[*partition as usize];
            partition.expire(created_before, &mut expired);
        }
        for batch in expired.iter().filter(|batch| batch.closed) {
            self.ahead.taken(batch.bytes);
        }
        expired.into_iter().map(|batch| self.give_up(batch, Failure::TimedOut)).collect()
    }

    fn rules(&self) -> Rules {
        Rules {
            batch_size: self.config.batch_size,
            linger_ms: self.config.linger_ms,
            in_flight_max: self.config.in_flight_max,
            idempotent: self.config.idempotent,
            hurry_below: self.hurry_below,
        }
    }
}

/// What is ready for one node.
#[derive(Default)]
struct Ready {
    queue: VecDeque<(TopicSlot, i32)>,
    bytes: usize,
    /// Until then it may wait for more.
    hold_until: i64,
}

impl Ready {
    fn add(&mut self, place: (TopicSlot, i32), bytes: usize, hold_until: i64) {
        let alone = self.queue.is_empty();
        self.hold_until = if alone { hold_until } else { self.hold_until.min(hold_until) };
        self.bytes += bytes;
        self.queue.push_back(place);
    }
}
