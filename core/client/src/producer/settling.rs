//! What becomes of batches: written, to be sent again, split, given up.

use std::collections::btree_map::Entry;
use std::time::Duration;

use bytes::Bytes;
use kohort_protocol::records::BatchOptions;

use super::accumulator::{Accumulator, TopicSlot};
use super::idempotence::advance;
use super::partition::{Batch, Decision, Failure, GivenUp, Partition, Payload, Verdict, stamp};
use super::split::halves;

impl<C: Clone> Accumulator<C> {
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

    /// Gives up everything, for the reason given.
    pub fn abandon(&mut self, failure: Failure) -> Vec<GivenUp<C>> {
        let mut abandoned = Vec::new();
        for (slot, partition) in std::mem::take(&mut self.busy) {
            let partition = std::mem::take(&mut self.topics[slot.0].partitions[partition as usize]);
            abandoned.extend(partition.in_flight);
            abandoned.extend(partition.waiting);
        }
        for batch in abandoned.iter().filter(|batch| batch.closed) {
            self.ahead.taken(batch.bytes);
        }
        abandoned.into_iter().map(|batch| self.give_up(batch, failure)).collect()
    }

    pub(super) fn give_up(&mut self, batch: Batch<C>, failure: Failure) -> GivenUp<C> {
        GivenUp { records: batch.records, completion: self.release(batch), failure }
    }

    pub(super) fn release(&mut self, batch: Batch<C>) -> C {
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
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
