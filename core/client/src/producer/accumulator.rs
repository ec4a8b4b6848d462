//! The batches of every partition, and how records get into them. What is sent when is in
//! [`sending`](super::sending), what becomes of it in [`settling`](super::settling).

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

use super::ahead::RunAhead;
use super::idempotence::{Identity, ProducerIdentity};
use super::node_times::NodeTimes;
use super::partition::{Batch, Partition, Payload};
use super::spare::Spare;
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
    /// How many bytes an application may have waiting behind batches that are ready, as long as the sender
    /// keeps up: see [`Refused::Ahead`].
    pub run_ahead: usize,
    /// How long a node may have something waiting before its partitions are passed over (KIP-794); 0 for
    /// ever.
    pub availability_timeout_ms: i64,
    /// The most one request carries, and the largest record.
    pub request_bytes_max: usize,
    /// How often a batch is tried again.
    pub retries: u32,
    /// How many batches of a partition may be in flight.
    pub in_flight_max: usize,
    /// Whether the records of a batch are packed when it is built.
    pub packed: bool,
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
    pub(super) config: AccumulatorConfig,
    pub(super) identity: Identity,
    pub(super) jitter: Jitter,
    pub(super) slots: BTreeMap<Arc<str>, TopicSlot>,
    /// By their slots. A topic stays when it is deleted: another of its name may come.
    pub(super) topics: Vec<Topic<C>>,
    /// The partitions that hold something.
    pub(super) busy: Vec<(TopicSlot, i32)>,
    pub(super) buffered: usize,
    pub(super) next_id: u64,
    /// How many batches, parts of split ones counted, are not at their end, by the id they were opened
    /// as.
    pub(super) incomplete: BTreeMap<u64, u32>,
    pub(super) hurry_below: u64,
    /// When the sender looks again; a record that is due earlier has to wake it.
    pub(super) wake_at: i64,
    /// While full batches wait for company: how much has to be held for the sender to look at once.
    pub(super) wake_bytes: Option<usize>,
    /// Where the next request starts among the partitions, so that none is starved.
    pub(super) rotation: usize,
    pub(super) spare: Spare,
    pub(super) ahead: RunAhead,
    /// By node, where that is asked for.
    pub(super) nodes: BTreeMap<i32, NodeTimes>,
}

/// A topic's place in an [`Accumulator`]: what appending a record needs to find it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicSlot(pub(super) usize);

#[derive(Debug)]
pub(super) struct Topic<C> {
    pub(super) name: Arc<str>,
    pub(super) partitions: Vec<Partition<C>>,
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
    /// There is memory, but the sender has enough to do and keeps up: try again when
    /// [`Polled::resume`](super::Polled) says so, which is a matter of a millisecond.
    Ahead,
    /// It is larger than one request may be.
    TooLarge {
        /// Its size in a batch of its own.
        bytes: usize,
        /// The most it may be.
        limit: usize,
    },
}

impl<C: Clone> Accumulator<C> {
    /// Returns an accumulator without records.
    pub fn new(config: AccumulatorConfig) -> Self {
        Self {
            identity: if config.idempotent { Identity::Wanted } else { Identity::Anonymous },
            jitter: Jitter::seeded(config.seed),
            ahead: RunAhead::new(config.run_ahead, config.buffer_memory),
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
            spare: Spare::default(),
            nodes: BTreeMap::new(),
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
                let is_full = batch.bytes >= self.config.batch_size;
                let wake = is_full && now < self.wake_at && !slot.no_room;
                let full = batch.bytes + bytes > self.config.batch_size;
                let completion = batch.completion.clone();
                return Ok(Appended { completion, index, bytes, full, wake });
            }
            if builder.size_with(record) <= self.config.batch_size {
                return Err(self.full(now));
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
        if self.ahead.refuses(now) {
            return Err(Refused::Ahead);
        }
        let mut builder = self.spare.take(self.config.batch_size, self.config.packed);
        let bytes = builder.size_with(record);
        let limit = self.config.request_bytes_max.min(self.config.buffer_memory);
        if bytes > limit {
            self.spare.put(builder);
            return Err(Refused::TooLarge { bytes, limit });
        }
        if self.buffered + bytes > self.config.buffer_memory {
            self.spare.put(builder);
            return Err(self.full(now));
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
        let behind = slot.waiting.back_mut().map(|before| {
            before.closed = true;
            self.ahead.closed(before.bytes);
        });
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
            closed: false,
        });
        // The batch before is now full; this one is due after its linger.
        let is_full = behind.is_some() || bytes >= self.config.batch_size;
        let gathered = self.wake_bytes.is_none_or(|enough| self.buffered >= enough);
        let due = if is_full && gathered { now } else { now.saturating_add(self.config.linger_ms) };
        let wake = due < self.wake_at && !slot.no_room;
        if wake {
            self.wake_at = due;
        }
        let full = bytes + bytes > self.config.batch_size;
        Ok(Appended { completion, index: 0, bytes, full, wake })
    }

    /// Hurries what is held, since there is no memory for more.
    fn full(&mut self, now: i64) -> Refused {
        self.hurry_below = self.next_id;
        self.ahead.note_waiting(now);
        Refused::Full
    }

    /// Takes back the builder of a batch that was built.
    pub fn recycle(&mut self, builder: Box<BatchBuilder>) {
        self.spare.put(builder);
    }

    /// Takes the memory of a batch that is written, to be filled again.
    pub fn recycle_memory(&mut self, memory: Vec<u8>) {
        let most = self.config.buffer_memory / SPARE_MEMORY_SHARE;
        self.spare.put_memory(memory, self.config.batch_size, most);
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

    /// Returns how many bytes are held.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    /// Returns whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.incomplete.is_empty()
    }
}

/// At most this part of `buffer.memory` is kept for reuse beside what is held.
const SPARE_MEMORY_SHARE: usize = 4;

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
