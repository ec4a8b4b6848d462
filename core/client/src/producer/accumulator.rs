//! The batches of every partition.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

use super::idempotence::{Identity, ProducerIdentity, advance};
use super::partition::{
    Batch, Decision, Failure, OutBatch, Partition, Payload, Readiness, Rules, Verdict, stamp,
};
use super::split::halves;
use crate::backoff::{Backoff, Jitter};

/// How a producer batches and retries.
#[derive(Debug, Clone)]
pub struct AccumulatorConfig {
    /// The size a batch is filled to.
    pub batch_size: usize,
    /// How long a batch waits for more records.
    pub linger_ms: i64,
    /// How many bytes of full batches are worth a request while another one is under way to the same
    /// node. With fewer, and within their linger, they wait for its answer.
    pub gather_bytes: usize,
    /// How long a record may take, retries included.
    pub delivery_timeout_ms: i64,
    /// The most that may be held.
    pub buffer_memory: usize,
    /// The most one request carries, and the largest record.
    pub request_bytes_max: usize,
    /// How often a batch is tried again.
    pub retries: u32,
    /// How many batches of a partition may be in flight.
    pub in_flight_max: usize,
    /// Whether batches carry sequences.
    pub idempotent: bool,
    /// The wait before a retry.
    pub backoff: Backoff,
    /// The seed of the back-off's jitter.
    pub seed: u64,
}

/// The batches of every partition. `C` is what a batch's owner uses to tell its senders the end;
/// a clone is handed out with each record.
#[derive(Debug)]
pub struct Accumulator<C> {
    config: AccumulatorConfig,
    identity: Identity,
    jitter: Jitter,
    slots: BTreeMap<Arc<str>, TopicSlot>,
    /// By their slots. A topic stays when it is deleted: another of its name may come.
    topics: Vec<Topic<C>>,
    /// The partitions that hold something.
    busy: Vec<(TopicSlot, i32)>,
    buffered: usize,
    next_id: u64,
    /// How many batches, parts of split ones counted, are not at their end, by the id they were opened
    /// as.
    incomplete: BTreeMap<u64, u32>,
    hurry_below: u64,
    /// When the sender looks again; a record that is due earlier has to wake it.
    wake_at: i64,
    /// While full batches wait for company: how much has to be held for the sender to look at once.
    wake_bytes: Option<usize>,
    /// Where the next request starts among the partitions, so that none is starved.
    rotation: usize,
    /// Buffers of sent batches, to be filled again.
    #[expect(
        clippy::vec_box,
        reason = "they move between batches and here: the box is what moves"
    )]
    spare: Vec<Box<BatchBuilder>>,
    /// Memory of batches that are written, for others to be filled into.
    spare_memory: Vec<Vec<u8>>,
}

/// A topic's place in an [`Accumulator`]: what appending a record needs to find it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicSlot(usize);

#[derive(Debug)]
struct Topic<C> {
    name: Arc<str>,
    partitions: Vec<Partition<C>>,
}

/// A record that was taken in.
#[derive(Debug, PartialEq, Eq)]
pub struct Appended<C> {
    /// Its batch's completion.
    pub completion: C,
    /// Its place in the batch.
    pub index: u32,
    /// How many bytes it added.
    pub bytes: usize,
    /// Whether another record like it would not fit into the batch.
    pub full: bool,
    /// Whether the sender has to look now: it would otherwise look too late.
    pub wake: bool,
}

/// Why a record was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no memory at present: try again after a batch completed.
    Full,
    /// It is larger than one request may be.
    TooLarge {
        /// Its size in a batch of its own.
        bytes: usize,
        /// The most it may be.
        limit: usize,
    },
}

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
    pub expired: Vec<(C, Failure)>,
    /// Something is ready whose leader is not known: metadata is needed.
    pub leaderless: bool,
    /// Something is ready, but a producer id is needed first.
    pub needs_identity: bool,
    /// When to poll again, answers and appends apart.
    pub wake_at: Option<i64>,
}

impl<C: Clone> Accumulator<C> {
    /// Returns an accumulator without records.
    pub fn new(config: AccumulatorConfig) -> Self {
        Self {
            identity: if config.idempotent { Identity::Wanted } else { Identity::Anonymous },
            jitter: Jitter::seeded(config.seed),
            config,
            slots: BTreeMap::new(),
            topics: Vec::new(),
            busy: Vec::new(),
            buffered: 0,
            next_id: 0,
            incomplete: BTreeMap::new(),
            hurry_below: 0,
            wake_at: i64::MAX,
            wake_bytes: None,
            rotation: 0,
            spare: Vec::new(),
            spare_memory: Vec::new(),
        }
    }

    /// Returns the place of a topic, for [`Accumulator::append`].
    pub fn slot(&mut self, topic: &Arc<str>) -> TopicSlot {
        if let Some(slot) = self.slots.get(topic) {
            return *slot;
        }
        let slot = TopicSlot(self.topics.len());
        self.topics.push(Topic { name: topic.clone(), partitions: Vec::new() });
        self.slots.insert(topic.clone(), slot);
        slot
    }

    /// Takes in a record for a partition of the topic at `slot`; the partition is one the cluster has.
    /// `completion` is called if the record opens a batch.
    pub fn append(
        &mut self,
        now: i64,
        (TopicSlot(topic), partition): (TopicSlot, i32),
        record: &NewRecord<'_>,
        completion: impl FnOnce() -> C,
    ) -> Result<Appended<C>, Refused> {
        let known = self.topics[topic].partitions.get_mut(partition as usize);
        if let Some(slot) = known
            && let Some(batch) = slot.waiting.back_mut()
            && let Some(Payload::Open(builder, _)) = &mut batch.payload
        {
            let room = self.config.batch_size.saturating_sub(batch.bytes);
            let memory = self.config.buffer_memory - self.buffered;
            if let Some(bytes) = builder.append_within(record, room.min(memory)) {
                batch.bytes += bytes;
                self.buffered += bytes;
                let index = batch.records;
                batch.records += 1;
                let wake = batch.bytes >= self.config.batch_size && now < self.wake_at;
                let full = batch.bytes + bytes > self.config.batch_size;
                let completion = batch.completion.clone();
                return Ok(Appended { completion, index, bytes, full, wake });
            }
            if builder.size_with(record) <= self.config.batch_size {
                self.hurry_below = self.next_id;
                return Err(Refused::Full);
            }
        }
        self.open_batch(now, (TopicSlot(topic), partition), record, completion)
    }

    fn open_batch(
        &mut self,
        now: i64,
        (topic, partition): (TopicSlot, i32),
        record: &NewRecord<'_>,
        completion: impl FnOnce() -> C,
    ) -> Result<Appended<C>, Refused> {
        let mut builder = self.spare.pop().unwrap_or_default();
        if !builder.has_memory() {
            let memory = self.spare_memory.pop();
            builder.reuse(memory.unwrap_or_else(|| Vec::with_capacity(self.config.batch_size)));
        }
        let bytes = builder.size_with(record);
        let limit = self.config.request_bytes_max.min(self.config.buffer_memory);
        if bytes > limit {
            self.spare.push(builder);
            return Err(Refused::TooLarge { bytes, limit });
        }
        if self.buffered + bytes > self.config.buffer_memory {
            self.spare.push(builder);
            self.hurry_below = self.next_id;
            return Err(Refused::Full);
        }
        builder.append(record).expect("a request's limit is below a batch's");
        let id = self.next_id;
        self.next_id += 1;
        self.incomplete.insert(id, 1);
        self.buffered += bytes;
        let completion = completion();
        let partitions = &mut self.topics[topic.0].partitions;
        if partitions.len() <= partition as usize {
            partitions.resize_with(partition as usize + 1, Partition::default);
        }
        let slot = &mut partitions[partition as usize];
        if !slot.listed {
            slot.listed = true;
            self.busy.push((topic, partition));
        }
        let behind = !slot.waiting.is_empty();
        slot.waiting.push_back(Batch {
            id,
            opened_as: id,
            payload: Some(Payload::Open(builder, BatchOptions::default())),
            completion: completion.clone(),
            created: now,
            records: 1,
            bytes,
            failures: 0,
            not_before: now,
            first_sequence: -1,
        });
        // The batch before is now full; this one is due after its linger.
        let is_full = behind || bytes >= self.config.batch_size;
        let gathered = self.wake_bytes.is_none_or(|enough| self.buffered >= enough);
        let due = if is_full && gathered { now } else { now.saturating_add(self.config.linger_ms) };
        let wake = due < self.wake_at;
        if wake {
            self.wake_at = due;
        }
        let full = bytes + bytes > self.config.batch_size;
        Ok(Appended { completion, index: 0, bytes, full, wake })
    }

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
            wake_at: None,
        };
        let rules = self.rules();
        let mut wake_at = i64::MAX;
        let mut ready: BTreeMap<i32, Ready> = BTreeMap::new();
        let Self { topics, busy, identity, config, .. } = self;
        busy.retain(|(slot, index)| {
            let topic = &mut topics[slot.0];
            let partition = &mut topic.partitions[*index as usize];
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
                batches.push(partition.take(&topic.name, index));
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
    }

    /// Notes that a batch was written; returns its completion, unless it was given up before.
    pub fn complete(&mut self, topic: &str, partition: i32, id: u64) -> Option<C> {
        let batch = self.partition_mut(topic, partition)?.1.complete(id)?;
        Some(self.release(batch))
    }

    /// Decides about a batch that failed; `payload` is what was sent. `completion` is called for each
    /// part if it is split.
    pub fn fail(
        &mut self,
        now: i64,
        (topic, partition, id): (&str, i32, u64),
        payload: Bytes,
        failure: Failure,
        completion: impl FnMut() -> C,
    ) -> Verdict<C> {
        let retries = self.config.retries;
        let Some((slot, queue)) = self.partition_mut(topic, partition) else {
            return Verdict::Ignored;
        };
        let (decision, batch) = queue.fail(id, payload.clone(), failure, retries);
        match (decision, batch) {
            (Decision::Retry { metadata }, _) => {
                let partition = &mut self.topics[slot.0].partitions[partition as usize];
                let retried = partition.in_flight.iter_mut().find(|batch| batch.id == id);
                if let Some(batch) = retried {
                    let delay = self.config.backoff.delay(batch.failures, &mut self.jitter);
                    batch.not_before = now.saturating_add(millis(delay));
                }
                Verdict::Retry { metadata }
            }
            (Decision::Duplicate, Some(batch)) => Verdict::Duplicate(self.release(batch)),
            (Decision::Split { at }, Some(batch)) => {
                self.split((slot, partition), at, batch, &payload, completion)
            }
            (Decision::Fail, Some(batch)) => Verdict::Fail(self.release(batch), failure),
            _ => Verdict::Ignored,
        }
    }

    /// Puts the parts of a batch in its place among those in flight.
    fn split(
        &mut self,
        (slot, partition): (TopicSlot, i32),
        mut at: usize,
        whole: Batch<C>,
        payload: &Bytes,
        mut completion: impl FnMut() -> C,
    ) -> Verdict<C> {
        let queue = &mut self.topics[slot.0].partitions[partition as usize];
        let mut parts = Vec::new();
        let mut first = 0;
        for builder in halves(payload, whole.bytes) {
            let (records, bytes) = (builder.record_count() as u32, builder.size_in_bytes());
            let mut options = BatchOptions::default();
            let mut first_sequence = -1;
            if let Some(identity) = queue.sequences.identity {
                first_sequence = advance(whole.first_sequence, first);
                stamp(&mut options, identity, first_sequence);
            }
            let part = Batch {
                id: self.next_id,
                opened_as: whole.opened_as,
                payload: Some(Payload::Open(builder, options)),
                completion: completion(),
                records,
                bytes,
                first_sequence,
                ..whole
            };
            self.next_id += 1;
            self.buffered += bytes;
            *self.incomplete.entry(whole.opened_as).or_default() += 1;
            parts.push((first, part.completion.clone()));
            first += records;
            queue.in_flight.insert(at, part);
            at += 1;
        }
        Verdict::Split(self.release(whole), parts)
    }

    /// Takes over the id and epoch the broker gave out.
    pub fn set_identity(&mut self, identity: ProducerIdentity) {
        self.identity = Identity::Known(identity);
    }

    /// Drops the identity: a new id is asked for before the next new batch.
    pub fn forget_identity(&mut self) {
        if self.identity != Identity::Anonymous {
            self.identity = Identity::Wanted;
        }
    }

    /// Sends everything taken in so far without waiting for more; returns what
    /// [`Accumulator::flushed`] wants to know.
    pub fn flush(&mut self) -> u64 {
        self.hurry_below = self.next_id;
        self.next_id
    }

    /// Returns whether every batch before `mark` has come to its end.
    pub fn flushed(&self, mark: u64) -> bool {
        self.incomplete.first_key_value().is_none_or(|(id, _)| *id >= mark)
    }

    /// Gives up everything, for the reason given.
    pub fn abandon(&mut self, failure: Failure) -> Vec<(C, Failure)> {
        let mut abandoned = Vec::new();
        for (slot, partition) in std::mem::take(&mut self.busy) {
            let partition = std::mem::take(&mut self.topics[slot.0].partitions[partition as usize]);
            abandoned.extend(partition.in_flight);
            abandoned.extend(partition.waiting);
        }
        abandoned.into_iter().map(|batch| (self.release(batch), failure)).collect()
    }

    /// Takes back the builder of a batch that was built.
    pub fn recycle(&mut self, builder: Box<BatchBuilder>) {
        if self.spare.len() < SPARE_BUILDERS_MAX {
            self.spare.push(builder);
        }
    }

    /// Takes the memory of a batch that is written, to be filled again: fresh memory costs more than the
    /// records that are put into it.
    pub fn recycle_memory(&mut self, mut memory: Vec<u8>) {
        let kept = self.spare_memory.len() * self.config.batch_size;
        let fits = memory.capacity() <= 2 * self.config.batch_size;
        if fits && kept <= self.config.buffer_memory / SPARE_MEMORY_SHARE {
            memory.clear();
            self.spare_memory.push(memory);
        }
    }

    /// Tells for each topic with a batch behind another one how many batches wait for each of its
    /// partitions, for a partitioner that avoids the longer queues.
    pub fn queue_lengths(&self, mut tell: impl FnMut(&str, &mut dyn Iterator<Item = (i32, u32)>)) {
        let mut last = None;
        for (slot, partition) in &self.busy {
            let topic = &self.topics[slot.0];
            if topic.partitions[*partition as usize].waiting.len() < 2 || last == Some(*slot) {
                continue;
            }
            last = Some(*slot);
            let lengths = (0..).zip(topic.partitions.iter().map(|it| it.waiting.len() as u32));
            tell(&topic.name, &mut { lengths });
        }
    }

    /// Returns how many bytes are held.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    /// Returns whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.incomplete.is_empty()
    }

    fn expire(&mut self, now: i64) -> Vec<(C, Failure)> {
        let created_before = now.saturating_sub(self.config.delivery_timeout_ms);
        let mut expired = Vec::new();
        for (slot, partition) in &self.busy {
            let partition = &mut self.topics[slot.0].partitions[*partition as usize];
            partition.expire(created_before, &mut expired);
        }
        expired.into_iter().map(|batch| (self.release(batch), Failure::TimedOut)).collect()
    }

    fn release(&mut self, batch: Batch<C>) -> C {
        self.buffered -= batch.bytes;
        if let Entry::Occupied(mut left) = self.incomplete.entry(batch.opened_as) {
            *left.get_mut() -= 1;
            if *left.get() == 0 {
                left.remove();
            }
        }
        batch.completion
    }

    fn partition_mut(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> Option<(TopicSlot, &mut Partition<C>)> {
        let slot = *self.slots.get(topic)?;
        Some((slot, self.topics[slot.0].partitions.get_mut(usize::try_from(partition).ok()?)?))
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

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Builders kept for reuse: as many as a few nodes have requests in flight.
const SPARE_BUILDERS_MAX: usize = 64;
/// At most this part of `buffer.memory` is kept for reuse beside what is held.
const SPARE_MEMORY_SHARE: usize = 8;

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
