//! The batches of one partition: open, waiting, in flight, waiting for a retry.
//!
//! ```text
//! append ─► waiting (the last one open) ─► in flight: sent ─► written
//!                                             ▲         │
//!                                             └─ retry ◄┘ ─► given up
//! ```
//!
//! Order is kept by two rules: while a batch waits for a retry, nothing new is sent; and retries
//! go one at a time, oldest first, once every other answer is in.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::records::{BatchBuilder, BatchOptions, set_producer};

use super::idempotence::{Identity, ProducerIdentity, Sequences};

/// A batch that is to be sent.
#[derive(Debug)]
pub struct OutBatch {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Names the batch in [`super::Accumulator::complete`] and [`super::Accumulator::fail`].
    pub id: u64,
    /// How many records it has.
    pub records: u32,
    /// Its bytes, or what makes them.
    pub payload: Payload,
}

/// The bytes of a batch.
#[derive(Debug)]
pub enum Payload {
    /// Still to be built (and packed, which is why the accumulator does not do it).
    Open(Box<BatchBuilder>, BatchOptions),
    /// Built.
    Built(Bytes),
}

/// Why a batch failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The broker said so.
    Broker(ErrorCode),
    /// No answer came.
    NoAnswer,
    /// Its time was up.
    TimedOut,
    /// The producer was closed.
    Closed,
}

/// A batch that is given up without an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp<C> {
    /// Its completion.
    pub completion: C,
    /// How many records it has.
    pub records: u32,
    /// Why.
    pub failure: Failure,
}

/// What becomes of a batch after an answer.
#[derive(Debug, PartialEq)]
pub enum Verdict<C> {
    /// It will be sent again; `metadata` says that the leader may have moved.
    Retry {
        /// Whether to ask for new metadata first.
        metadata: bool,
    },
    /// It is written, though the answer does not say where.
    Duplicate(C),
    /// It is given up.
    Fail(C, Failure),
    /// It was too large for the broker and will be sent in parts: the batch's own completion, and those
    /// of the parts with the place of their first record in it.
    Split(C, Vec<(u32, C)>),
    /// Nobody waits for this answer any more.
    Ignored,
}

#[derive(Debug)]
pub(super) struct Batch<C> {
    pub(super) id: u64,
    /// The id of the batch it was opened as: its own, unless it is a part of a batch that was split.
    pub(super) opened_as: u64,
    /// `None` while it is sent.
    pub(super) payload: Option<Payload>,
    pub(super) completion: C,
    pub(super) created: i64,
    pub(super) records: u32,
    pub(super) bytes: usize,
    pub(super) failures: u32,
    pub(super) not_before: i64,
    pub(super) first_sequence: i32,
    /// Whether it waits with another one behind it, and counts as such.
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct Partition<C> {
    pub(super) waiting: VecDeque<Batch<C>>,
    pub(super) in_flight: VecDeque<Batch<C>>,
    pub(super) sequences: Sequences,
    /// Whether it is in the accumulator's list of those that hold something.
    pub(super) listed: bool,
    /// Whether it has something ready that its node had no room for: an answer is awaited, and more records
    /// change nothing.
    pub(super) no_room: bool,
}

impl<C> Default for Partition<C> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            sequences: Sequences::starting(None),
            listed: false,
            no_room: false,
        }
    }
}

/// Whether a partition has something to send, and if not, from when on it might.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Now,
    /// A batch is full, so it may be sent, but has not waited for its linger yet: it need not be sent
    /// before this time.
    Full(i64),
    At(i64),
    /// After an answer, or never.
    Later,
}

/// The parts of the configuration a partition needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) batch_size: usize,
    pub(super) linger_ms: i64,
    pub(super) in_flight_max: usize,
    pub(super) idempotent: bool,
    /// Batches with a lower id are sent without waiting for more: a flush, or a shortage of memory.
    pub(super) hurry_below: u64,
}

impl<C> Partition<C> {
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    fn sent(&self) -> usize {
        self.in_flight.iter().filter(|batch| batch.payload.is_none()).count()
    }

    fn retries(&self) -> bool {
        self.in_flight.iter().any(|batch| batch.payload.is_some())
    }

    pub(super) fn readiness(&self, now: i64, rules: &Rules) -> Readiness {
        let sent = self.sent();
        if self.retries() {
            let head = &self.in_flight[0];
            return match sent {
                0 if head.not_before <= now => Readiness::Now,
                0 => Readiness::At(head.not_before),
                _ => Readiness::Later,
            };
        }
        let blocked = self.sequences.bump || self.sequences.unresolved;
        let unknown = rules.idempotent && !self.sequences.established;
        let limit = if unknown { 1 } else { rules.in_flight_max };
        if sent >= limit || (blocked && sent > 0) {
            return Readiness::Later;
        }
        let Some(front) = self.waiting.front() else { return Readiness::Later };
        let full = self.waiting.len() > 1 || front.bytes >= rules.batch_size;
        let due = front.created.saturating_add(rules.linger_ms);
        if front.id < rules.hurry_below || due <= now {
            Readiness::Now
        } else if full {
            Readiness::Full(due)
        } else {
            Readiness::At(due)
        }
    }

    /// Brings the sequences in line with the producer's identity where that is safe: with nothing
    /// under way. Returns `false` if a new producer id is needed first.
    pub(super) fn align(&mut self, identity: &mut Identity) -> bool {
        if *identity == Identity::Anonymous {
            return true;
        }
        if self.in_flight.is_empty() {
            self.sequences.settle();
        }
        if self.sequences.bump && self.sent() == 0 {
            // Another partition may have raised it since: that one will do.
            if let Identity::Known(known) = *identity
                && self.sequences.identity == Some(known)
            {
                *identity = identity.bumped();
            }
            let Identity::Known(known) = *identity else { return false };
            self.start_over(known);
        }
        let Identity::Known(known) = *identity else {
            // Batches with the old id may still finish; new ones need the new id.
            return self.retries();
        };
        if self.in_flight.is_empty() && self.sequences.identity != Some(known) {
            self.sequences = Sequences::starting(Some(known));
        }
        true
    }

    /// Gives the batches that wait for a retry sequences from 0 under a new identity.
    fn start_over(&mut self, identity: ProducerIdentity) {
        self.sequences = Sequences::starting(Some(identity));
        for batch in &mut self.in_flight {
            batch.first_sequence = self.sequences.take(batch.records);
            match &mut batch.payload {
                Some(Payload::Built(bytes)) => {
                    let mut patched = bytes.to_vec();
                    let ProducerIdentity { producer_id, epoch } = identity;
                    set_producer(&mut patched, producer_id, epoch, batch.first_sequence);
                    *bytes = Bytes::from(patched);
                }
                Some(Payload::Open(_, options)) => {
                    stamp(options, identity, batch.first_sequence);
                }
                None => unreachable!("sequences start over only with nothing under way"),
            }
        }
    }

    /// Takes the batch to send now: the oldest retry, or else the oldest waiting one. `closed` is told the
    /// bytes of one that had another behind it.
    pub(super) fn take(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        closed: impl FnOnce(usize),
    ) -> OutBatch {
        let retry = self.in_flight.iter_mut().find(|batch| batch.payload.is_some());
        let batch = if let Some(batch) = retry {
            batch
        } else {
            let mut batch = self.waiting.pop_front().expect("the partition said it is ready");
            if std::mem::take(&mut batch.closed) {
                closed(batch.bytes);
            }
            if let Some(identity) = self.sequences.identity {
                batch.first_sequence = self.sequences.take(batch.records);
                if let Some(Payload::Open(_, options)) = &mut batch.payload {
                    stamp(options, identity, batch.first_sequence);
                }
            }
            self.in_flight.push_back(batch);
            self.in_flight.back_mut().expect("it was just pushed")
        };
        let payload = batch.payload.take().expect("a batch that is not sent has its payload");
        let (id, records) = (batch.id, batch.records);
        OutBatch { topic: topic.clone(), partition, id, records, payload }
    }

    /// Returns how large the batch that [`Self::take`] would take is, at most.
    pub(super) fn next_bytes(&self) -> usize {
        let retry = self.in_flight.iter().find(|batch| batch.payload.is_some());
        retry.or(self.waiting.front()).map_or(0, |batch| batch.bytes)
    }

    /// Returns how many bytes wait to be sent, without counting further than to `enough`.
    pub(super) fn held_bytes(&self, enough: usize) -> usize {
        let mut held = 0;
        for batch in &self.waiting {
            if held >= enough {
                break;
            }
            held += batch.bytes;
        }
        held
    }

    pub(super) fn complete(&mut self, id: u64) -> Option<Batch<C>> {
        let at = self.in_flight.iter().position(|batch| batch.id == id)?;
        let batch = self.in_flight.remove(at)?;
        if self.sequences.identity.is_some() {
            self.sequences.acknowledge(batch.first_sequence, batch.records);
        }
        Some(batch)
    }

    /// Decides about a failed batch. On a retry the payload is kept; else the batch is removed.
    pub(super) fn fail(
        &mut self,
        id: u64,
        payload: Bytes,
        failure: Failure,
        retries_max: u32,
    ) -> (Decision, Option<Batch<C>>) {
        let Some(at) = self.in_flight.iter().position(|batch| batch.id == id) else {
            return (Decision::Ignored, None);
        };
        let idempotent = self.sequences.identity.is_some();
        let decision = self.decide(at, failure, retries_max);
        match decision {
            Decision::Retry { .. } => {
                let batch = &mut self.in_flight[at];
                batch.payload = Some(Payload::Built(payload));
                batch.failures += 1;
                (decision, None)
            }
            Decision::Duplicate => (decision, self.complete(id)),
            // The caller puts the parts in its place.
            Decision::Split { .. } => (decision, self.in_flight.remove(at)),
            Decision::Fail | Decision::Ignored => {
                // Given up for good, its sequences will never come: a gap for those after it.
                self.sequences.bump |= idempotent;
                (decision, self.in_flight.remove(at))
            }
        }
    }

    fn decide(&mut self, at: usize, failure: Failure, retries_max: u32) -> Decision {
        let batch = &self.in_flight[at];
        let idempotent = self.sequences.identity.is_some();
        let code = match failure {
            Failure::Broker(code) => code,
            Failure::NoAnswer if batch.failures < retries_max => {
                return Decision::Retry { metadata: true };
            }
            _ => return Decision::Fail,
        };
        match code {
            ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Decision::Duplicate,
            ErrorCode::MESSAGE_TOO_LARGE if batch.records > 1 => Decision::Split { at },
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID
                if idempotent =>
            {
                // Behind an older batch that must be written first, being out of order is due.
                // The oldest one is refused only if the broker has lost the thread, or if one
                // before it was given up and never written.
                self.sequences.bump |= at == 0;
                Decision::Retry { metadata: false }
            }
            code if code.is_retriable() && batch.failures < retries_max => {
                Decision::Retry { metadata: true }
            }
            _ => Decision::Fail,
        }
    }

    /// Removes the batches whose time is up.
    pub(super) fn expire(&mut self, created_before: i64, expired: &mut Vec<Batch<C>>) {
        while self.in_flight.front().is_some_and(|batch| batch.created <= created_before) {
            // Written or not, nobody knows: its answer may be lost or late.
            self.sequences.unresolved |= self.sequences.identity.is_some();
            expired.extend(self.in_flight.pop_front());
        }
        while self.waiting.front().is_some_and(|batch| batch.created <= created_before) {
            expired.extend(self.waiting.pop_front());
        }
    }

    pub(super) fn oldest(&self) -> Option<i64> {
        let fronts = [self.in_flight.front(), self.waiting.front()];
        fronts.into_iter().flatten().map(|batch| batch.created).min()
    }
}

/// What becomes of a failed batch, without its completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Retry {
        metadata: bool,
    },
    Duplicate,
    /// Too large: to be replaced by its parts at this place among those in flight.
    Split {
        at: usize,
    },
    Fail,
    Ignored,
}

pub(super) fn stamp(options: &mut BatchOptions, identity: ProducerIdentity, first_sequence: i32) {
    options.producer_id = identity.producer_id;
    options.producer_epoch = identity.epoch;
    options.base_sequence = first_sequence;
}
