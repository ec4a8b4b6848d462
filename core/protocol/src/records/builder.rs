//! Writing batches.

use bytes::Bytes;

use super::batch_header::{Attributes, BatchHeader, TimestampType};
use super::encoding::{EncodedRecord, NewRecord};
use super::patch::{set_crc, set_crc_with};
use super::running_sum::RunningSum;
use super::{
    BATCH_HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC, NO_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, field,
};
use crate::compression::{Compression, Compressor};

/// What a batch says of itself beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// The first record's offset; producers leave it 0 for the broker to set.
    pub base_offset: i64,
    /// The leader's epoch, or -1.
    pub partition_leader_epoch: i32,
    /// Who gave the timestamps.
    pub timestamp_type: TimestampType,
    /// The idempotent producer's id, or -1.
    pub producer_id: i64,
    /// The idempotent producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The first record's sequence number, or -1.
    pub base_sequence: i32,
    /// Whether the batch is part of a transaction.
    pub transactional: bool,
    /// Whether the records are the broker's own markers.
    pub control: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            base_offset: 0,
            partition_leader_epoch: NO_LEADER_EPOCH,
            timestamp_type: TimestampType::CreateTime,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
        }
    }
}

/// Why a record could not be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The batch's length field could not hold it.
    #[error("a record of {record_bytes} bytes does not fit into a batch of {batch_bytes} bytes")]
    TooLarge {
        /// The record's size.
        record_bytes: usize,
        /// The batch's size so far.
        batch_bytes: usize,
    },
    /// The offset is not after the last one, or is too far from the first one.
    #[error("offset delta {offset_delta} does not follow {last_offset_delta}")]
    OffsetNotGrowing {
        /// The delta asked for.
        offset_delta: i32,
        /// The last record's delta, -1 without any.
        last_offset_delta: i32,
    },
}

/// Collects records into a batch.
///
/// Records are encoded as they are appended, behind room for the header, so building an unpacked
/// batch copies nothing. The builder is empty again after [`build`](Self::build) and may be reused.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    /// What to reserve when the buffer was given away with the last batch.
    capacity: usize,
    record_count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    /// Set when the base timestamp is not that of the first record.
    fixed_base_timestamp: Option<i64>,
    max_timestamp: i64,
    /// Where the checksum of the records keeps up with them.
    running_sum: Option<RunningSum>,
}

/// Returns the batch that is left of `original` when all its records are gone: the header, which still
/// tells where the log goes on and which sequence its producer used last.
pub fn empty_batch_in_place_of(original: &BatchHeader) -> Bytes {
    let attributes =
        original.attributes.with_compression(Compression::None).with_delete_horizon(false);
    let header = BatchHeader {
        batch_length: (BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32,
        attributes,
        base_timestamp: NO_TIMESTAMP,
        record_count: 0,
        ..*original
    };
    let mut bytes = [0; BATCH_HEADER_BYTES];
    header.write(&mut bytes);
    set_crc(&mut bytes);
    Bytes::copy_from_slice(&bytes)
}

impl BatchBuilder {
    /// Creates an empty builder.
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            capacity: 0,
            record_count: 0,
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            fixed_base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            running_sum: None,
        }
    }

    /// Creates an empty builder that makes room for a batch of `bytes` at its first record.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), ..Self::new() }
    }

    /// Returns how many records were appended.
    pub const fn record_count(&self) -> usize {
        self.record_count as usize
    }

    /// Returns whether no record was appended.
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Returns the greatest timestamp appended, -1 without any.
    pub const fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Returns the size of the batch if it is built without compression.
    pub fn size_in_bytes(&self) -> usize {
        self.buffer.len().max(BATCH_HEADER_BYTES)
    }

    /// Returns what [`size_in_bytes`](Self::size_in_bytes) would be with one more record.
    pub fn size_with(&self, record: &NewRecord<'_>) -> usize {
        let encoded = self.encode(record, self.last_offset_delta.saturating_add(1));
        self.size_in_bytes() + encoded.len()
    }

    /// Appends a record at the next offset if it takes `most` bytes at the most, and returns what it
    /// took: for a batch that is filled to a size, whose records are measured once.
    #[inline]
    pub fn append_within(&mut self, record: &NewRecord<'_>, most: usize) -> Option<usize> {
        let offset_delta = self.last_offset_delta.saturating_add(1);
        let encoded = self.encode(record, offset_delta);
        if encoded.len() > most || offset_delta == self.last_offset_delta {
            return None;
        }
        self.write(offset_delta, record.timestamp, &encoded).ok()
    }

    /// Returns whether there is memory for records: not after a batch took it along.
    pub const fn has_memory(&self) -> bool {
        self.buffer.capacity() > 0
    }

    /// Gives an empty builder memory to use in place of fresh one.
    ///
    /// # Panics
    /// If there are records.
    pub fn reuse(&mut self, memory: Vec<u8>) {
        assert!(self.is_empty(), "the records lie in the memory there is");
        self.buffer = memory;
    }

    /// Has the checksum of the records computed while they are appended, and so while the caches hold them:
    /// for batches that are not packed, and built long after they were filled. To be called while empty.
    pub fn sum_while_filling(&mut self) {
        assert!(self.is_empty(), "records so far were not counted in");
        self.running_sum = Some(RunningSum::behind(BATCH_HEADER_BYTES));
    }

    /// Appends a record at the next offset and returns the record's encoded size.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<usize, AppendError> {
        self.append_at(self.last_offset_delta.saturating_add(1), record)
    }

    /// Appends a record at a given distance from the base offset, as compaction does.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        record: &NewRecord<'_>,
    ) -> Result<usize, AppendError> {
        if offset_delta <= self.last_offset_delta {
            return Err(AppendError::OffsetNotGrowing {
                offset_delta,
                last_offset_delta: self.last_offset_delta,
            });
        }
        self.write(offset_delta, record.timestamp, &self.encode(record, offset_delta))
    }

    /// Writes a record whose place was checked.
    #[inline]
    fn write(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        encoded: &EncodedRecord<'_>,
    ) -> Result<usize, AppendError> {
        if self.is_empty() {
            self.buffer.clear();
            self.buffer.reserve(self.capacity);
            self.buffer.resize(BATCH_HEADER_BYTES, 0);
            self.base_timestamp = self.fixed_base_timestamp.unwrap_or(timestamp);
            self.max_timestamp = timestamp;
        }
        let start = self.buffer.len();
        if start + encoded.len() > MOST_BATCH_BYTES {
            return Err(AppendError::TooLarge { record_bytes: encoded.len(), batch_bytes: start });
        }
        encoded.write(&mut self.buffer);
        assert_eq!(self.buffer.len() - start, encoded.len(), "the size was foretold");
        self.record_count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        if let Some(sum) = &mut self.running_sum {
            sum.follow(&self.buffer);
        }
        Ok(encoded.len())
    }

    /// Makes the timestamps of the records to come relative to `base_timestamp`, rather than to the first
    /// of them: for a batch that keeps its delete horizon there (KIP-534). To be called while empty.
    pub fn set_base_timestamp(&mut self, base_timestamp: i64) {
        assert!(self.is_empty(), "records so far are relative to another time");
        self.fixed_base_timestamp = Some(base_timestamp);
    }

    /// Builds a batch in place of `original`, some of whose records were appended with
    /// [`append_at`](Self::append_at), and empties the builder. Offsets, leader epoch, producer and
    /// sequence stay those of the original, so that a reader and a repeating producer find what they
    /// found before. `delete_horizon` is the base timestamp the records were appended under, if it is
    /// one.
    ///
    /// # Panics
    /// If no record was appended, or `compressor` has another codec than the original.
    pub fn build_in_place_of(
        &mut self,
        original: &BatchHeader,
        delete_horizon: Option<i64>,
        compressor: &mut Compressor,
    ) -> Bytes {
        assert_eq!(original.compression(), Ok(compressor.compression()), "the codec stays");
        assert_eq!(self.fixed_base_timestamp, delete_horizon, "the horizon is the base timestamp");
        let max_timestamp = match original.timestamp_type() {
            TimestampType::CreateTime => self.max_timestamp,
            TimestampType::LogAppendTime => original.max_timestamp,
        };
        let header = BatchHeader {
            attributes: original.attributes.with_delete_horizon(delete_horizon.is_some()),
            base_timestamp: self.base_timestamp,
            max_timestamp,
            record_count: self.record_count,
            ..*original
        };
        self.finish(header, compressor, Vec::new())
    }

    /// Builds the batch and empties the builder.
    ///
    /// # Panics
    /// If no record was appended.
    pub fn build(&mut self, options: &BatchOptions, compressor: &mut Compressor) -> Bytes {
        self.build_into(Vec::new(), options, compressor)
    }

    /// Builds the batch and empties the builder. A batch that is packed is packed into `memory`, whatever that
    /// held.
    ///
    /// # Panics
    /// If no record was appended.
    pub fn build_into(
        &mut self,
        memory: Vec<u8>,
        options: &BatchOptions,
        compressor: &mut Compressor,
    ) -> Bytes {
        let header = BatchHeader {
            base_offset: options.base_offset,
            batch_length: 0,
            partition_leader_epoch: options.partition_leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes::default()
                .with_compression(compressor.compression())
                .with_timestamp_type(options.timestamp_type)
                .with_transactional(options.transactional)
                .with_control(options.control),
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            record_count: self.record_count,
        };
        self.finish(header, compressor, memory)
    }

    /// Packs the records behind `header`, whose length and checksum are still to be set.
    fn finish(
        &mut self,
        mut header: BatchHeader,
        compressor: &mut Compressor,
        memory: Vec<u8>,
    ) -> Bytes {
        assert!(!self.is_empty(), "a batch without records says nothing");
        let mut running_sum = self.running_sum.take();
        let mut bytes = if compressor.compression() == Compression::None {
            self.capacity = self.capacity.max(self.buffer.len());
            std::mem::take(&mut self.buffer)
        } else {
            running_sum = None;
            let mut packed = memory;
            packed.clear();
            packed.resize(BATCH_HEADER_BYTES, 0);
            compressor.compress(&self.buffer[BATCH_HEADER_BYTES..], &mut packed);
            packed
        };
        header.batch_length = i32::try_from(bytes.len() - LOG_OVERHEAD_BYTES)
            .expect("a batch that fits unpacked fits packed: codecs add less than a record");
        header.write(
            bytes.first_chunk_mut().expect("room for the header was made with the first record"),
        );
        match running_sum {
            Some(sum) => set_crc_with(&mut bytes, |covered| {
                let records_at = BATCH_HEADER_BYTES - field::CRC_START;
                let header = crc32c::crc32c(&covered[..records_at]);
                sum.finish_behind(header, &covered[records_at..])
            }),
            None => set_crc(&mut bytes),
        }
        self.clear();
        Bytes::from(bytes)
    }

    /// Drops the records appended so far.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.record_count = 0;
        self.last_offset_delta = -1;
        self.base_timestamp = NO_TIMESTAMP;
        self.fixed_base_timestamp = None;
        self.max_timestamp = NO_TIMESTAMP;
        self.running_sum = None;
    }

    #[inline]
    fn encode<'a>(&self, record: &'a NewRecord<'a>, offset_delta: i32) -> EncodedRecord<'a> {
        let base_timestamp = if self.is_empty() {
            self.fixed_base_timestamp.unwrap_or(record.timestamp)
        } else {
            self.base_timestamp
        };
        let timestamp_delta = record.timestamp.wrapping_sub(base_timestamp);
        EncodedRecord::new(record, timestamp_delta, offset_delta)
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Leaves room below the length field's end for data that a codec makes larger.
const MOST_BATCH_BYTES: usize = 2_000_000_000;
