//! Idempotent producers: which sequence comes next, and what a repeated batch is answered.
//!
//! A producer numbers its records per partition. The broker remembers the last [`BATCHES_KEPT`]
//! batches of each producer id, because a client may have that many requests in flight and repeat any
//! of them; a repeated batch is answered with the offsets it already has (KIP-98). Follows Kafka's
//! `ProducerAppendInfo`:
//!
//! * a producer id not known here may begin at any sequence: its earlier records may have been deleted;
//! * a lower epoch than the last seen is fenced; a higher one must begin at sequence 0;
//! * sequences go on at 0 after `i32::MAX`;
//! * duplicates are looked for within the same epoch only, or a sequence used anew after an epoch bump
//!   would be answered with the offset of another record.
//!
//! Left out: transactions.

use std::collections::BTreeMap;

use kohort_protocol::ErrorCode;
use kohort_protocol::records::{BatchHeader, NO_PRODUCER_EPOCH};

use crate::Timestamp;

/// Batches remembered per producer: Kafka's limit of requests in flight for idempotent producers.
pub const BATCHES_KEPT: usize = 5;

/// The producers of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerStates {
    producers: BTreeMap<i64, ProducerState>,
}

/// What is remembered of one producer. There is always at least one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProducerState {
    epoch: i16,
    /// When it last appended: by the broker's clock, since a record's own time may be years ago.
    last_append: Timestamp,
    /// Oldest first.
    batches: Vec<KnownBatch>,
}

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KnownBatch {
    first_sequence: i32,
    last_sequence: i32,
    first_offset: i64,
    last_offset: i64,
    max_timestamp: Timestamp,
}

/// Where the last records of a producer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastOfProducer {
    /// The offset of its last record; nothing if only a transaction's marker is left of it.
    pub last_data_offset: Option<i64>,
    /// The last epoch seen.
    pub epoch: i16,
}

/// A producer as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The greatest timestamp of its last batch.
    pub last_timestamp: Timestamp,
}

/// What is to be done with a batch of an idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It is the next one: append it.
    InSequence,
    /// It was appended before: answer with what was answered then, append nothing.
    Duplicate {
        /// The offset its first record has.
        first_offset: i64,
        /// The offset its last record has.
        last_offset: i64,
        /// The timestamp it was stored with.
        max_timestamp: Timestamp,
    },
}

/// Why a batch of an idempotent producer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceError {
    /// The sequence is not the one that follows.
    #[error(
        "sequence {sequence} of producer {producer_id} is out of order: {expected} was expected"
    )]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// The first sequence of the batch.
        sequence: i32,
        /// The sequence that would have been accepted.
        expected: i32,
    },
    /// A newer instance of the producer is at work.
    #[error("epoch {epoch} of producer {producer_id} is older than the last seen epoch {current}")]
    Fenced {
        /// The producer.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The epoch of the newer instance.
        current: i16,
    },
}

impl SequenceError {
    /// Returns the code that Kafka answers.
    pub fn code(&self) -> ErrorCode {
        match self {
            SequenceError::OutOfOrder { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            SequenceError::Fenced { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
        }
    }
}

impl ProducerStates {
    /// Decides about a batch with a producer id. `check_sequence` is false for the broker's own
    /// writes, whose order is not in doubt.
    pub fn check(
        &self,
        batch: &BatchHeader,
        check_sequence: bool,
    ) -> Result<SequenceCheck, SequenceError> {
        let Some(state) = self.producers.get(&batch.producer_id) else {
            return Ok(SequenceCheck::InSequence);
        };
        let first = batch.base_sequence;
        if check_sequence && batch.producer_epoch == state.epoch {
            let same = |known: &&KnownBatch| {
                known.first_sequence == first && known.last_sequence == batch.last_sequence()
            };
            if let Some(known) = state.batches.iter().find(same) {
                return Ok(SequenceCheck::Duplicate {
                    first_offset: known.first_offset,
                    last_offset: known.last_offset,
                    max_timestamp: known.max_timestamp,
                });
            }
        }
        if batch.producer_epoch < state.epoch {
            return Err(SequenceError::Fenced {
                producer_id: batch.producer_id,
                epoch: batch.producer_epoch,
                current: state.epoch,
            });
        }
        let expected = if batch.producer_epoch > state.epoch {
            if state.epoch == NO_PRODUCER_EPOCH { first } else { 0 }
        } else {
            state.batches.last().map_or(first, |last| next_sequence(last.last_sequence))
        };
        if check_sequence && first != expected {
            return Err(SequenceError::OutOfOrder {
                producer_id: batch.producer_id,
                sequence: first,
                expected,
            });
        }
        Ok(SequenceCheck::InSequence)
    }

    /// Takes note of an appended batch, whose base offset is final.
    pub fn update(&mut self, batch: &BatchHeader, now: Timestamp) {
        let known = KnownBatch {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            first_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            max_timestamp: batch.max_timestamp,
        };
        let state = self.producers.entry(batch.producer_id).or_insert_with(|| ProducerState {
            epoch: batch.producer_epoch,
            last_append: now,
            batches: Vec::with_capacity(1),
        });
        if state.epoch != batch.producer_epoch {
            state.epoch = batch.producer_epoch;
            state.batches.clear();
        }
        if state.batches.len() == BATCHES_KEPT {
            state.batches.remove(0);
        }
        state.batches.push(known);
        state.last_append = now;
    }

    /// Forgets producers that appended nothing for `expiration_ms`
    /// (`transactional.id.expiration.ms`' sibling `producer.id.expiration.ms`).
    pub fn remove_expired(&mut self, now: Timestamp, expiration_ms: i64) {
        self.producers.retain(|_, state| now.saturating_sub(state.last_append) < expiration_ms);
    }

    /// Returns where the last records of each producer are: compaction keeps the batch they are in.
    pub fn last_batches(&self) -> BTreeMap<i64, LastOfProducer> {
        let last = |state: &ProducerState| LastOfProducer {
            last_data_offset: state.batches.last().map(|batch| batch.last_offset),
            epoch: state.epoch,
        };
        self.producers.iter().map(|(&id, state)| (id, last(state))).collect()
    }

    /// Lists the producers remembered, in the order of their ids.
    pub fn active(&self) -> impl Iterator<Item = ActiveProducer> {
        self.producers.iter().filter_map(|(&producer_id, state)| {
            let last = state.batches.last()?;
            Some(ActiveProducer {
                producer_id,
                epoch: state.epoch,
                last_sequence: last.last_sequence,
                last_timestamp: last.max_timestamp,
            })
        })
    }

    /// Returns how many producers are remembered.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Tells whether no producer is remembered.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Appends a snapshot to `out`, of what concerns records below the offset `below` only: count u32,
    /// then per producer id i64, epoch i16, last append i64, number of batches u8, and per batch
    /// first and last sequence i32, first and last offset i64, timestamp i64; little-endian.
    pub fn encode(&self, below: i64, out: &mut Vec<u8>) {
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut count: u32 = 0;
        for (id, state) in &self.producers {
            let kept = state.batches.partition_point(|batch| batch.last_offset < below);
            if kept == 0 {
                continue;
            }
            count += 1;
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&state.epoch.to_le_bytes());
            out.extend_from_slice(&state.last_append.to_le_bytes());
            out.push(kept as u8);
            for batch in &state.batches[..kept] {
                out.extend_from_slice(&batch.first_sequence.to_le_bytes());
                out.extend_from_slice(&batch.last_sequence.to_le_bytes());
                out.extend_from_slice(&batch.first_offset.to_le_bytes());
                out.extend_from_slice(&batch.last_offset.to_le_bytes());
                out.extend_from_slice(&batch.max_timestamp.to_le_bytes());
            }
        }
        out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
    }

    /// Reads a snapshot back, and returns how many bytes it took. Returns nothing if it makes no
    /// sense.
    pub fn decode(bytes: &[u8]) -> Option<(ProducerStates, usize)> {
        let mut input = Input { bytes, at: 0 };
        let count = u32::from_le_bytes(input.take()?);
        let mut producers = BTreeMap::new();
        for _ in 0..count {
            let id = i64::from_le_bytes(input.take()?);
            let epoch = i16::from_le_bytes(input.take()?);
            let last_append = i64::from_le_bytes(input.take()?);
            let [kept] = input.take()?;
            if kept == 0 || usize::from(kept) > BATCHES_KEPT {
                return None;
            }
            let mut batches = Vec::with_capacity(usize::from(kept));
            for _ in 0..kept {
                batches.push(KnownBatch {
                    first_sequence: i32::from_le_bytes(input.take()?),
                    last_sequence: i32::from_le_bytes(input.take()?),
                    first_offset: i64::from_le_bytes(input.take()?),
                    last_offset: i64::from_le_bytes(input.take()?),
                    max_timestamp: i64::from_le_bytes(input.take()?),
                });
            }
            producers.insert(id, ProducerState { epoch, last_append, batches });
        }
        Some((ProducerStates { producers }, input.at))
    }
}

/// Returns the sequence after `last`.
fn next_sequence(last: i32) -> i32 {
    last.checked_add(1).unwrap_or(0)
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::records::Attributes;

    fn batch(id: i64, epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: offset,
            batch_length: 100,
            partition_leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: offset * 10,
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
        }
    }

    /// Applies a batch as a client's, and returns what was decided.
    fn apply(states: &mut ProducerStates, batch: BatchHeader) -> Result<SequenceCheck, ErrorCode> {
        let decided = states.check(&batch, true).map_err(|e| e.code())?;
        if decided == SequenceCheck::InSequence {
            states.update(&batch, 1000);
        }
        Ok(decided)
    }

    #[test]
    fn unknown_producer_may_begin_at_any_sequence_and_then_must_go_on() {
        let mut states = ProducerStates::default();
        assert_eq!(apply(&mut states, batch(1, 0, 40, 2, 0)), Ok(SequenceCheck::InSequence));
        assert_eq!(apply(&mut states, batch(1, 0, 42, 1, 2)), Ok(SequenceCheck::InSequence));
        assert_eq!(
            apply(&mut states, batch(1, 0, 44, 1, 3)),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        );
    }

    #[test]
    fn repeated_batch_is_answered_with_its_old_offsets_while_it_is_remembered() {
        let mut states = ProducerStates::default();
        for sequence in 0..6 {
            apply(&mut states, batch(1, 0, sequence, 1, i64::from(sequence) + 100)).unwrap();
        }
        for sequence in 1..6 {
            let offset = i64::from(sequence) + 100;
            assert_eq!(
                apply(&mut states, batch(1, 0, sequence, 1, 999)),
                Ok(SequenceCheck::Duplicate {
                    first_offset: offset,
                    last_offset: offset,
                    max_timestamp: offset * 10
                })
            );
        }
        assert_eq!(
            apply(&mut states, batch(1, 0, 0, 1, 999)),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            "the sixth batch back is forgotten"
        );
    }

    #[test]
    fn new_epoch_begins_at_sequence_zero_and_fences_the_old_one() {
        let mut states = ProducerStates::default();
        apply(&mut states, batch(1, 0, 0, 5, 0)).unwrap();
        assert_eq!(
            apply(&mut states, batch(1, 1, 5, 1, 5)),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        );
        assert_eq!(
            apply(&mut states, batch(1, 1, 0, 5, 5)),
            Ok(SequenceCheck::InSequence),
            "the same sequences under a new epoch are new records, not duplicates"
        );
        assert_eq!(
            apply(&mut states, batch(1, 0, 5, 1, 10)),
            Err(ErrorCode::INVALID_PRODUCER_EPOCH)
        );
    }

    #[test]
    fn sequence_used_anew_after_an_epoch_bump_is_no_duplicate() {
        let mut states = ProducerStates::default();
        for (epoch, sequence, offset) in [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)] {
            assert_eq!(
                apply(&mut states, batch(1, epoch, sequence, 1, offset)),
                Ok(SequenceCheck::InSequence),
                "sequence {sequence} of epoch {epoch}"
            );
        }
    }

    #[test]
    fn batch_that_is_only_partly_known_is_no_duplicate() {
        let mut states = ProducerStates::default();
        apply(&mut states, batch(1, 0, 0, 5, 0)).unwrap();
        for (sequence, count) in [(0, 4), (0, 6), (1, 4)] {
            assert_eq!(
                apply(&mut states, batch(1, 0, sequence, count, 5)),
                Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
                "{count} records from sequence {sequence} on"
            );
        }
    }

    #[test]
    fn brokers_own_writes_are_in_sequence_whatever_their_numbers() {
        let mut states = ProducerStates::default();
        apply(&mut states, batch(1, 0, 0, 1, 0)).unwrap();
        for sequence in [0, 7] {
            let own = batch(1, 0, sequence, 1, 1);
            assert_eq!(states.check(&own, false), Ok(SequenceCheck::InSequence));
        }
    }

    #[test]
    fn sequence_goes_on_at_zero_after_the_largest() {
        let mut states = ProducerStates::default();
        apply(&mut states, batch(1, 0, i32::MAX - 1, 2, 0)).unwrap();
        assert_eq!(apply(&mut states, batch(1, 0, 0, 1, 2)), Ok(SequenceCheck::InSequence));
        let mut states = ProducerStates::default();
        apply(&mut states, batch(1, 0, i32::MAX, 3, 0)).unwrap();
        assert_eq!(apply(&mut states, batch(1, 0, 2, 1, 3)), Ok(SequenceCheck::InSequence));
    }

    #[test]
    fn producer_that_was_silent_for_too_long_is_forgotten() {
        let mut states = ProducerStates::default();
        states.update(&batch(1, 0, 0, 1, 0), 1000);
        states.update(&batch(2, 0, 0, 1, 1), 1001);
        states.remove_expired(1500, 500);
        assert_eq!(states.len(), 1);
        assert_eq!(apply(&mut states, batch(1, 0, 77, 1, 2)), Ok(SequenceCheck::InSequence));
    }

    #[test]
    fn producer_that_goes_on_appending_is_remembered() {
        let mut states = ProducerStates::default();
        states.update(&batch(1, 0, 0, 1, 0), 1000);
        states.update(&batch(1, 0, 1, 1, 1), 1400);
        states.remove_expired(1899, 500);
        assert_eq!(states.len(), 1);
    }

    #[test]
    fn snapshot_reads_back_and_every_cut_one_is_refused() {
        let mut states = ProducerStates::default();
        for (at, sequence) in (0..12).enumerate() {
            states.update(&batch(at as i64 % 2, 3, sequence, 1, at as i64), 50);
        }
        let mut bytes = Vec::new();
        states.encode(i64::MAX, &mut bytes);
        assert_eq!(ProducerStates::decode(&bytes), Some((states.clone(), bytes.len())));
        for length in 0..bytes.len() {
            assert_eq!(ProducerStates::decode(&bytes[..length]), None);
        }
    }

    #[test]
    fn snapshot_of_a_producer_with_no_batch_or_too_many_is_refused() {
        const BATCHES_AT: usize = 4 + 8 + 2 + 8;
        let mut states = ProducerStates::default();
        for sequence in 0..BATCHES_KEPT as i32 {
            states.update(&batch(1, 0, sequence, 1, i64::from(sequence)), 50);
        }
        let mut bytes = Vec::new();
        states.encode(i64::MAX, &mut bytes);
        for kept in [0, BATCHES_KEPT as u8 + 1] {
            bytes[BATCHES_AT] = kept;
            let enough = [&bytes[..], &[0; 32]].concat();
            assert_eq!(ProducerStates::decode(&enough), None, "{kept} batches");
        }
    }

    #[test]
    fn snapshot_leaves_out_batches_that_are_not_yet_durable() {
        let mut states = ProducerStates::default();
        states.update(&batch(1, 0, 0, 1, 0), 50);
        let before = states.clone();
        states.update(&batch(1, 0, 1, 1, 1), 50);
        states.update(&batch(2, 0, 0, 1, 2), 50);
        let mut bytes = Vec::new();
        states.encode(1, &mut bytes);
        assert_eq!(ProducerStates::decode(&bytes), Some((before, bytes.len())));
    }
}
