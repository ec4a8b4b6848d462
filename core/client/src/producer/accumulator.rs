//! The batches of every partition.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

use super::idempotence::{Identity, ProducerIdentity};
use super::partition::{
    Batch, Decision, Failure, OutBatch, Partition, Payload, Readiness, Rules, Verdict,
};
use crate::backoff::{Backoff, Jitter};

/// How a producer batches and retries.
#[derive(Debug, Clone)]
pub struct AccumulatorConfig {
    /// The size a batch is filled to.
    pub batch_size: usize,
    /// How long a batch waits for more records.
    pub linger_ms: i64,
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
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Partition<C>>>,
    buffered: usize,
    next_id: u64,
    incomplete: BTreeSet<u64>,
    hurry_below: u64,
    /// When the sender looks again; a record that is due earlier has to wake it.
    wake_at: i64,
    /// Where the next request starts among the partitions, so that none is starved.
    rotation: usize,
    /// Buffers of sent batches, to be filled again.
    #[expect(
        clippy::vec_box,
        reason = "they move between batches and here: the box is what moves"
    )]
    spare: Vec<Box<BatchBuilder>>,
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
            topics: BTreeMap::new(),
            buffered: 0,
            next_id: 0,
            incomplete: BTreeSet::new(),
            hurry_below: 0,
            wake_at: i64::MAX,
            rotation: 0,
            spare: Vec::new(),
        }
    }

    /// Takes in a record. `completion` is called if it opens a batch.
    pub fn append(
        &mut self,
        now: i64,
        topic: &str,
        partition: i32,
        record: &NewRecord<'_>,
        completion: impl FnOnce() -> C,
    ) -> Result<Appended<C>, Refused> {
        if !self.topics.contains_key(topic) {
            self.topics.insert(Arc::from(topic), BTreeMap::new());
        }
        let partitions = self.topics.get_mut(topic).expect("it was just made");
        let slot = partitions.entry(partition).or_default();
        if let Some(batch) = slot.waiting.back_mut()
            && let Some(Payload::Open(builder, _)) = &mut batch.payload
        {
            let size = builder.size_with(record);
            if size <= self.config.batch_size {
                if self.buffered + (size - batch.bytes) > self.config.buffer_memory {
                    self.hurry_below = self.next_id;
                    return Err(Refused::Full);
                }
                let bytes = builder.append(record).expect("batch.size is below a batch's limit");
                batch.bytes += bytes;
                self.buffered += bytes;
                let index = batch.records;
                batch.records += 1;
                let wake = batch.bytes >= self.config.batch_size && now < self.wake_at;
                let full = batch.bytes + bytes > self.config.batch_size;
                let completion = batch.completion.clone();
                return Ok(Appended { completion, index, bytes, full, wake });
            }
        }
        self.open_batch(now, topic, partition, record, completion)
    }

    fn open_batch(
        &mut self,
        now: i64,
        topic: &str,
        partition: i32,
        record: &NewRecord<'_>,
        completion: impl FnOnce() -> C,
    ) -> Result<Appended<C>, Refused> {
        let mut builder = self
            .spare
            .pop()
            .unwrap_or_else(|| Box::new(BatchBuilder::with_capacity(self.config.batch_size)));
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
        self.incomplete.insert(id);
        self.buffered += bytes;
        let completion = completion();
        let slot = self
            .topics
            .get_mut(topic)
            .and_then(|partitions| partitions.get_mut(&partition))
            .expect("append has made the partition");
        let behind = !slot.waiting.is_empty();
        slot.waiting.push_back(Batch {
            id,
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
        let due = if behind || bytes >= self.config.batch_size {
            now
        } else {
            now.saturating_add(self.config.linger_ms)
        };
        let wake = due < self.wake_at;
        if wake {
            self.wake_at = due;
        }
        let full = bytes + bytes > self.config.batch_size;
        Ok(Appended { completion, index: 0, bytes, full, wake })
    }

    /// Decides what to send. `leader` names the leader of a partition, `room` how many more
    /// requests a node may be sent.
    pub fn poll(
        &mut self,
        now: i64,
        leader: impl Fn(&str, i32) -> Option<i32>,
        room: impl Fn(i32) -> usize,
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
        let mut ready: BTreeMap<i32, VecDeque<(Arc<str>, i32)>> = BTreeMap::new();
        for (topic, partitions) in &mut self.topics {
            for (index, partition) in partitions {
                if partition.is_idle() {
                    continue;
                }
                let oldest = partition.oldest().unwrap_or(now);
                wake_at = wake_at.min(oldest.saturating_add(self.config.delivery_timeout_ms));
                match partition.readiness(now, &rules) {
                    Readiness::Later => continue,
                    Readiness::At(at) => {
                        wake_at = wake_at.min(at);
                        continue;
                    }
                    Readiness::Now => {}
                }
                if !partition.align(&mut self.identity) {
                    polled.needs_identity = true;
                    continue;
                }
                match leader(topic, *index) {
                    Some(node) => {
                        ready.entry(node).or_default().push_back((topic.clone(), *index));
                    }
                    None => polled.leaderless = true,
                }
            }
        }
        for (node, queue) in ready {
            self.fill_requests(now, node, queue, room(node), &mut polled.requests);
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
        mut queue: VecDeque<(Arc<str>, i32)>,
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
            while let Some((topic, index)) = queue.pop_front() {
                let partition = partition_mut(&mut self.topics, &topic, index)
                    .expect("the queue names partitions there are");
                let bytes = partition.next_bytes();
                if size > 0 && size + bytes > self.config.request_bytes_max {
                    again.push_back((topic, index));
                    continue;
                }
                size += bytes;
                batches.push(partition.take(&topic, index));
                if partition.readiness(now, &rules) == Readiness::Now {
                    again.push_back((topic, index));
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
        let batch = partition_mut(&mut self.topics, topic, partition)?.complete(id)?;
        Some(self.release(batch))
    }

    /// Decides about a batch that failed; `payload` is what was sent.
    pub fn fail(
        &mut self,
        now: i64,
        (topic, partition, id): (&str, i32, u64),
        payload: Bytes,
        failure: Failure,
    ) -> Verdict<C> {
        let retries = self.config.retries;
        let Some(slot) = partition_mut(&mut self.topics, topic, partition) else {
            return Verdict::Ignored;
        };
        let (decision, batch) = slot.fail(id, payload, failure, retries);
        match (decision, batch) {
            (Decision::Retry { metadata }, _) => {
                let retried = slot.in_flight.iter_mut().find(|batch| batch.id == id);
                if let Some(batch) = retried {
                    let delay = self.config.backoff.delay(batch.failures, &mut self.jitter);
                    batch.not_before = now.saturating_add(millis(delay));
                }
                Verdict::Retry { metadata }
            }
            (Decision::Duplicate, Some(batch)) => Verdict::Duplicate(self.release(batch)),
            (Decision::Fail, Some(batch)) => Verdict::Fail(self.release(batch), failure),
            _ => Verdict::Ignored,
        }
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
        self.incomplete.first().is_none_or(|id| *id >= mark)
    }

    /// Gives up everything, for the reason given.
    pub fn abandon(&mut self, failure: Failure) -> Vec<(C, Failure)> {
        let mut abandoned = Vec::new();
        for partition in
            std::mem::take(&mut self.topics).into_values().flat_map(BTreeMap::into_values)
        {
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
        for partition in self.topics.values_mut().flat_map(BTreeMap::values_mut) {
            partition.expire(created_before, &mut expired);
        }
        expired.into_iter().map(|batch| (self.release(batch), Failure::TimedOut)).collect()
    }

    fn release(&mut self, batch: Batch<C>) -> C {
        self.buffered -= batch.bytes;
        self.incomplete.remove(&batch.id);
        batch.completion
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

fn partition_mut<'a, C>(
    topics: &'a mut BTreeMap<Arc<str>, BTreeMap<i32, Partition<C>>>,
    topic: &str,
    partition: i32,
) -> Option<&'a mut Partition<C>> {
    topics.get_mut(topic)?.get_mut(&partition)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Builders kept for reuse: as many as a few nodes have requests in flight.
const SPARE_BUILDERS_MAX: usize = 64;

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
