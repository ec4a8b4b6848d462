//! The two passes of a round, batch by batch.
//!
//! A batch is kept as it is when nothing of it goes; otherwise it is written anew with its offsets,
//! leader epoch, producer, sequence, codec and flags. Which records stay:
//!
//! * of each key the last one, as far as the map knows; records beyond the map are not judged;
//! * a tombstone that is the last of its key stays until the batch's delete horizon. The round that
//!   removes what it deletes sets the horizon, `delete.retention.ms` from then, as the batch's base
//!   timestamp (KIP-534): whoever began to read before that round has so much time to learn of it;
//! * records without a key do not belong into a compacted log and go;
//! * records of aborted transactions go; a marker that ends a transaction of which nothing is left goes
//!   after a delete horizon of its own.
//!
//! A batch without records goes, with two exceptions whose header stays: the last batch of each active
//! producer, which tells its sequence, and the last batch of the round, which tells where the log goes
//! on.
//!
//! One difference from Kafka: a batch gets its horizon only when the map knows all its tombstones, that
//! is when what they delete is really gone. Kafka sets it also beyond the end of a full map, so that a
//! tombstone can go in the same round as the value it deletes.

use std::collections::BTreeMap;

use bytes::Bytes;
use kohort_protocol::compression::{Compression, Compressor, Decompressor};
use kohort_protocol::records::{
    BatchBuilder, BatchHeader, BatchRef, ControlRecord, Header, NewRecord, RecordError, RecordIter,
    RecordView, empty_batch_in_place_of,
};

use super::{AbortedTransaction, OffsetMap, TransactionsCleaned};
use crate::Timestamp;
use crate::producer_state::LastOfProducer;

/// A batch that was accepted unpacks to far less.
const UNPACKED_MAX: usize = 1 << 30;
/// Buffers larger than this are given back after the batch that needed them.
const KEEP_BYTES: usize = 4 << 20;

/// The first pass: reads the dirty part into the map.
#[derive(Debug)]
pub struct IndexPass {
    map: OffsetMap,
    from: i64,
    transactions: TransactionsCleaned,
    decompressor: Decompressor,
    buffer: Vec<u8>,
}

/// How far the first pass got with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexed {
    /// Past its end.
    All,
    /// The map is full: the round ends here.
    Full,
}

impl IndexPass {
    /// Begins with an empty map at the first dirty offset.
    pub fn new(map: OffsetMap, from: i64) -> IndexPass {
        IndexPass {
            map,
            from,
            transactions: TransactionsCleaned::default(),
            decompressor: Decompressor::new(),
            buffer: Vec::new(),
        }
    }

    /// Makes aborted transactions known, before the pass comes to them.
    pub fn add_aborted(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        self.transactions.add_aborted(aborted);
    }

    /// Reads a batch.
    pub fn batch(&mut self, batch: &BatchRef<'_>) -> Result<Indexed, RecordError> {
        let header = batch.header();
        if header.is_control() {
            let marker = control_record(batch, &mut self.decompressor, &mut self.buffer)?;
            self.transactions.is_useless_marker(header, marker);
        } else if !self.transactions.is_aborted(header) && header.last_offset() >= self.from {
            let records = batch.records(&mut self.decompressor, &mut self.buffer, UNPACKED_MAX)?;
            for record in records {
                let record = record?;
                if let Some(key) = record.key
                    && record.offset >= self.from
                    && self.map.put(key, record.offset).is_err()
                {
                    return Ok(Indexed::Full);
                }
            }
            trim(&mut self.buffer);
        }
        if header.last_offset() >= self.from {
            self.map.advance_latest(header.last_offset());
        }
        Ok(Indexed::All)
    }

    /// Takes note of a segment's end: there is nothing more below `next_offset`.
    pub fn segment_ends(&mut self, next_offset: i64) {
        self.map.advance_latest(next_offset - 1);
    }

    /// Returns the map.
    pub fn finish(self) -> OffsetMap {
        self.map
    }
}

/// What the second pass goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundLimits {
    /// When the round began.
    pub now: Timestamp,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// The offset the round may clean up to.
    pub end: i64,
}

/// The second pass: decides what is left of each batch.
#[derive(Debug)]
pub struct CleanPass<'a> {
    map: &'a OffsetMap,
    limits: RoundLimits,
    producers: BTreeMap<i64, LastOfProducer>,
    transactions: TransactionsCleaned,
    decompressor: Decompressor,
    buffer: Vec<u8>,
    /// Which records of the batch stay.
    keep: Vec<bool>,
    builder: BatchBuilder,
    compressors: BTreeMap<Compression, Compressor>,
    stats: CleanStats,
}

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchFate {
    /// It stays as it is.
    Kept,
    /// These bytes take its place.
    Rewritten(Bytes),
    /// Nothing is left of it.
    Dropped,
}

/// What the second pass saw and left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleanStats {
    /// Bytes of all batches read.
    pub bytes_read: u64,
    /// Bytes of all batches that are left.
    pub bytes_kept: u64,
    /// Records read.
    pub records_read: u64,
    /// Records that are left.
    pub records_kept: u64,
    /// Records without a key, which do not belong into a compacted log, and were dropped.
    pub without_key: u64,
}

impl<'a> CleanPass<'a> {
    /// Begins. `producers` are the active ones, with the place of their last records.
    pub fn new(
        map: &'a OffsetMap,
        limits: RoundLimits,
        producers: BTreeMap<i64, LastOfProducer>,
    ) -> CleanPass<'a> {
        CleanPass {
            map,
            limits,
            producers,
            transactions: TransactionsCleaned::default(),
            decompressor: Decompressor::new(),
            buffer: Vec::new(),
            keep: Vec::new(),
            builder: BatchBuilder::new(),
            compressors: BTreeMap::new(),
            stats: CleanStats::default(),
        }
    }

    /// Makes aborted transactions known, before the pass comes to them.
    pub fn add_aborted(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        self.transactions.add_aborted(aborted);
    }

    /// Returns what was seen and left so far.
    pub fn stats(&self) -> CleanStats {
        self.stats
    }

    /// Decides about a batch.
    pub fn batch(&mut self, batch: &BatchRef<'_>) -> Result<BatchFate, RecordError> {
        let fate = self.decide(batch)?;
        let read = batch.bytes().len() as u64;
        self.stats.bytes_read += read;
        self.stats.bytes_kept += match &fate {
            BatchFate::Kept => read,
            BatchFate::Rewritten(bytes) => bytes.len() as u64,
            BatchFate::Dropped => 0,
        };
        trim(&mut self.buffer);
        Ok(fate)
    }

    fn decide(&mut self, batch: &BatchRef<'_>) -> Result<BatchFate, RecordError> {
        let header = batch.header();
        let control = header.is_control();
        let useless = if control {
            let marker = control_record(batch, &mut self.decompressor, &mut self.buffer)?;
            self.transactions.is_useless_marker(header, marker)
        } else {
            self.transactions.is_aborted(header)
        };
        // A marker that is of no use waits for its horizon nevertheless, as a tombstone does.
        let discard = useless && (!control || self.horizon_passed(header));
        let fate_if_empty = |this: &Self| {
            let stays =
                this.is_last_of_its_producer(header) || header.next_offset() == this.limits.end;
            match (stays, header.record_count) {
                (true, 0) => BatchFate::Kept,
                (true, _) => BatchFate::Rewritten(empty_batch_in_place_of(header)),
                (false, _) => BatchFate::Dropped,
            }
        };
        if discard {
            self.stats.records_read += header.record_count as u64;
            return Ok(fate_if_empty(self));
        }
        let judge = Judge { map: self.map, tombstones_stay: !self.horizon_passed(header), control };
        let records = batch.records(&mut self.decompressor, &mut self.buffer, UNPACKED_MAX)?;
        let mut kept = 0;
        let mut tombstones = false;
        let mut judged = true;
        self.keep.clear();
        for record in records.clone() {
            let record = record?;
            let keep = judge.stays(&record);
            self.keep.push(keep);
            kept += u64::from(keep);
            if keep && record.value.is_none() && !control {
                tombstones = true;
                judged &= record.offset <= self.map.latest();
            }
            self.stats.without_key += u64::from(!keep && record.key.is_none());
        }
        self.stats.records_read += header.record_count as u64;
        self.stats.records_kept += kept;
        if kept == 0 {
            return Ok(fate_if_empty(self));
        }
        let needs_horizon = ((tombstones && judged) || useless) && !header.has_delete_horizon();
        if kept == header.record_count as u64 && !needs_horizon {
            return Ok(BatchFate::Kept);
        }
        let horizon = if needs_horizon {
            Some(self.limits.now.saturating_add(self.limits.delete_retention_ms))
        } else {
            header.delete_horizon()
        };
        let kept = records.zip(&self.keep).filter(|(_, keep)| **keep).map(|(record, _)| record);
        let compression = header.compression()?;
        let compressor = self.compressors.entry(compression).or_insert_with(|| {
            Compressor::new(compression, None).expect("every codec has a default level")
        });
        let bytes = rewrite(&mut self.builder, header, kept, horizon, compressor)?;
        Ok(BatchFate::Rewritten(bytes))
    }

    fn horizon_passed(&self, header: &BatchHeader) -> bool {
        header.delete_horizon().is_some_and(|horizon| horizon <= self.limits.now)
    }

    fn is_last_of_its_producer(&self, header: &BatchHeader) -> bool {
        header.has_producer_id()
            && self.producers.get(&header.producer_id).is_some_and(|last| {
                match last.last_data_offset {
                    Some(offset) => offset == header.last_offset(),
                    // Only its marker tells the epoch that fences older ones.
                    None => header.is_control() && header.producer_epoch == last.epoch,
                }
            })
    }
}

/// Decides about the records of one batch.
struct Judge<'a> {
    map: &'a OffsetMap,
    tombstones_stay: bool,
    control: bool,
}

impl Judge<'_> {
    fn stays(&self, record: &RecordView<'_>) -> bool {
        if self.control || record.offset > self.map.latest() {
            return true;
        }
        let Some(key) = record.key else { return false };
        let is_last = self.map.get(key).is_none_or(|last| record.offset >= last);
        is_last && (record.value.is_some() || self.tombstones_stay)
    }
}

/// Returns what a control batch says, if it still has its record.
fn control_record(
    batch: &BatchRef<'_>,
    decompressor: &mut Decompressor,
    buffer: &mut Vec<u8>,
) -> Result<Option<ControlRecord>, RecordError> {
    let first = batch.records(decompressor, buffer, UNPACKED_MAX)?.next().transpose()?;
    // What cannot be read is of a kind not known: it stays.
    Ok(first.map(|record| {
        ControlRecord::parse(record.key, record.value).unwrap_or(ControlRecord::Other(-1))
    }))
}

/// Writes a batch anew with some of its records.
fn rewrite<'r>(
    builder: &mut BatchBuilder,
    original: &BatchHeader,
    records: impl Iterator<Item = <RecordIter<'r> as Iterator>::Item>,
    delete_horizon: Option<Timestamp>,
    compressor: &mut Compressor,
) -> Result<Bytes, RecordError> {
    if let Some(horizon) = delete_horizon {
        builder.set_base_timestamp(horizon);
    }
    let mut headers: Vec<Header<'r>> = Vec::new();
    for record in records {
        let record = record?;
        headers.clear();
        headers.extend(record.headers.iter());
        let new = NewRecord {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        let delta = (record.offset - original.base_offset) as i32;
        builder.append_at(delta, &new).expect("it was in the batch, in this order");
    }
    Ok(builder.build_in_place_of(original, delete_horizon, compressor))
}

fn trim(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEEP_BYTES {
        *buffer = Vec::new();
    }
}
