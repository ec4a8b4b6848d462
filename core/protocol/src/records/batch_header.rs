//! A batch's header: reading it, and what can be wrong with it.

use super::{BATCH_HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC, field};
use crate::compression::Compression;

/// Who gave a batch's records their timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer; each record has its own.
    #[default]
    CreateTime,
    /// The broker, at the append; all records have the batch's maximum timestamp.
    LogAppendTime,
}

/// The flags of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION_MASK: i16 = 0b111;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// Returns the codec, or the unknown id in its place.
    pub const fn compression(self) -> Result<Compression, BatchError> {
        let id = (self.0 & Self::COMPRESSION_MASK) as u8;
        match Compression::from_id(id) {
            Some(compression) => Ok(compression),
            None => Err(BatchError::UnknownCompression { id }),
        }
    }

    /// Returns who gave the timestamps.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Returns whether the batch is part of a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Returns whether the records are the broker's own markers.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Returns whether the base timestamp is the time at which compaction may drop tombstones.
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// Returns these flags with another codec.
    #[must_use]
    pub const fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !Self::COMPRESSION_MASK | compression.id() as i16)
    }

    /// Returns these flags with another timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.with(Self::LOG_APPEND_TIME, matches!(timestamp_type, TimestampType::LogAppendTime))
    }

    /// Returns these flags, transactional or not.
    #[must_use]
    pub const fn with_transactional(self, transactional: bool) -> Self {
        self.with(Self::TRANSACTIONAL, transactional)
    }

    /// Returns these flags, control or not.
    #[must_use]
    pub const fn with_control(self, control: bool) -> Self {
        self.with(Self::CONTROL, control)
    }

    /// Returns these flags, with or without a delete horizon.
    #[must_use]
    pub const fn with_delete_horizon(self, delete_horizon: bool) -> Self {
        self.with(Self::DELETE_HORIZON, delete_horizon)
    }

    const fn with(self, flag: i16, on: bool) -> Self {
        if on { Self(self.0 | flag) } else { Self(self.0 & !flag) }
    }
}

/// The fixed 61 bytes in front of a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record, or of the first one there was before compaction.
    pub base_offset: i64,
    /// The bytes of the batch after this field.
    pub batch_length: i32,
    /// The epoch of the leader that appended the batch.
    pub partition_leader_epoch: i32,
    /// The batch format.
    pub magic: i8,
    /// The CRC-32C of everything from the attributes to the end, as stored.
    pub crc: u32,
    /// The flags.
    pub attributes: Attributes,
    /// The last record's offset less the base offset, kept by compaction.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to, or the delete horizon.
    pub base_timestamp: i64,
    /// The greatest timestamp of the records.
    pub max_timestamp: i64,
    /// The idempotent producer's id, or -1.
    pub producer_id: i64,
    /// The idempotent producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The first record's sequence number, or -1.
    pub base_sequence: i32,
    /// How many records follow.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header and checks what can be checked without the records: format, length, counts.
    ///
    /// `bytes` may end anywhere after the header.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        check_prefix(bytes)?;
        let Some(header) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else {
            return Err(BatchError::Truncated {
                needed: BATCH_HEADER_BYTES,
                available: bytes.len(),
            });
        };
        let header = Self::read(header);
        header.check_counts()?;
        Ok(header)
    }

    fn read(bytes: &[u8; BATCH_HEADER_BYTES]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(array(&bytes[field::BASE_OFFSET])),
            batch_length: i32::from_be_bytes(array(&bytes[field::BATCH_LENGTH])),
            partition_leader_epoch: i32::from_be_bytes(array(&bytes[field::LEADER_EPOCH])),
            magic: bytes[field::MAGIC] as i8,
            crc: u32::from_be_bytes(array(&bytes[field::CRC])),
            attributes: Attributes(i16::from_be_bytes(array(&bytes[field::ATTRIBUTES]))),
            last_offset_delta: i32::from_be_bytes(array(&bytes[field::LAST_OFFSET_DELTA])),
            base_timestamp: i64::from_be_bytes(array(&bytes[field::BASE_TIMESTAMP])),
            max_timestamp: i64::from_be_bytes(array(&bytes[field::MAX_TIMESTAMP])),
            producer_id: i64::from_be_bytes(array(&bytes[field::PRODUCER_ID])),
            producer_epoch: i16::from_be_bytes(array(&bytes[field::PRODUCER_EPOCH])),
            base_sequence: i32::from_be_bytes(array(&bytes[field::BASE_SEQUENCE])),
            record_count: i32::from_be_bytes(array(&bytes[field::RECORD_COUNT])),
        }
    }

    pub(super) fn write(&self, bytes: &mut [u8; BATCH_HEADER_BYTES]) {
        bytes[field::BASE_OFFSET].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[field::BATCH_LENGTH].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[field::LEADER_EPOCH].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        bytes[field::MAGIC] = self.magic as u8;
        bytes[field::CRC].copy_from_slice(&self.crc.to_be_bytes());
        bytes[field::ATTRIBUTES].copy_from_slice(&self.attributes.0.to_be_bytes());
        bytes[field::LAST_OFFSET_DELTA].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[field::BASE_TIMESTAMP].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[field::MAX_TIMESTAMP].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[field::PRODUCER_ID].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[field::PRODUCER_EPOCH].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[field::BASE_SEQUENCE].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[field::RECORD_COUNT].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// Compaction leaves holes, so there may be fewer records than offsets, never more.
    fn check_counts(&self) -> Result<(), BatchError> {
        let holds = self.record_count >= 0
            && self.last_offset_delta >= 0
            && i64::from(self.record_count) <= i64::from(self.last_offset_delta) + 1
            && self.base_offset.checked_add(i64::from(self.last_offset_delta) + 1).is_some();
        if holds {
            Ok(())
        } else {
            Err(BatchError::BadCounts {
                base_offset: self.base_offset,
                last_offset_delta: self.last_offset_delta,
                record_count: self.record_count,
            })
        }
    }

    /// Returns the codec, or the unknown id in its place.
    pub const fn compression(&self) -> Result<Compression, BatchError> {
        self.attributes.compression()
    }

    /// Returns who gave the timestamps.
    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// Returns whether the batch is part of a transaction.
    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// Returns whether the records are the broker's own markers.
    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// Returns whether the base timestamp is a delete horizon.
    pub const fn has_delete_horizon(&self) -> bool {
        self.attributes.has_delete_horizon()
    }

    /// Returns the time from which compaction may drop the batch's tombstones, if it is set.
    pub const fn delete_horizon(&self) -> Option<i64> {
        if self.has_delete_horizon() { Some(self.base_timestamp) } else { None }
    }

    /// Returns whether the batch comes from an idempotent producer.
    pub const fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// Returns the offset of the last record, or of the last one there was before compaction.
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(self.last_offset_delta as i64)
    }

    /// Returns the offset that follows the batch.
    pub const fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Returns the last record's sequence number, which wraps to 0 after `i32::MAX`; -1 without a
    /// producer.
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return super::NO_SEQUENCE;
        }
        let last = self.base_sequence as i64 + self.last_offset_delta as i64;
        (last % (i32::MAX as i64 + 1)) as i32
    }

    /// Returns the size of the whole batch, header included.
    pub const fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD_BYTES + self.batch_length as usize
    }
}

/// What is wrong with a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch needs {needed} bytes and {available} are there")]
    Truncated {
        /// How many bytes the batch takes, as far as that is known.
        needed: usize,
        /// How many there are.
        available: usize,
    },
    /// The format is 0 or 1, which Kafka 4 no longer reads, or one that does not exist yet.
    #[error("batch format {magic} is not supported, only {MAGIC} is")]
    UnsupportedMagic {
        /// The format.
        magic: i8,
    },
    /// The length field is smaller than a header or negative.
    #[error("batch length {batch_length} is less than a header takes")]
    BadLength {
        /// The length.
        batch_length: i32,
    },
    /// The stored checksum is not the one of the bytes.
    #[error(
        "batch at offset {base_offset} has CRC {stored:#010x}, its bytes have {computed:#010x}"
    )]
    BadCrc {
        /// The batch's base offset, which the CRC does not cover.
        base_offset: i64,
        /// The CRC in the header.
        stored: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// Record count and offsets contradict each other.
    #[error(
        "batch at offset {base_offset} counts {record_count} records over a last offset delta of \
         {last_offset_delta}"
    )]
    BadCounts {
        /// The batch's base offset.
        base_offset: i64,
        /// The last record's offset less the base offset.
        last_offset_delta: i32,
        /// The number of records.
        record_count: i32,
    },
    /// The attributes name a codec that does not exist.
    #[error("compression id {id} is not known")]
    UnknownCompression {
        /// The id.
        id: u8,
    },
}

/// Checks length and format. Formats 0 and 1 have both at the same places, and are reported as such
/// even when they are too short for a header of format 2.
pub(super) fn check_prefix(bytes: &[u8]) -> Result<(), BatchError> {
    if let Some(&magic) = bytes.get(field::MAGIC)
        && magic as i8 != MAGIC
    {
        return Err(BatchError::UnsupportedMagic { magic: magic as i8 });
    }
    if let Some(length) = bytes.get(field::BATCH_LENGTH) {
        let batch_length = i32::from_be_bytes(array(length));
        let known_to_be_ours = bytes.len() > field::MAGIC;
        let least = if known_to_be_ours {
            BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES
        } else {
            LEAST_LENGTH_OF_ANY_FORMAT
        };
        if usize::try_from(batch_length).is_ok_and(|length| length >= least) {
            return Ok(());
        }
        return Err(BatchError::BadLength { batch_length });
    }
    Ok(())
}

pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("the field ranges have the fields' sizes")
}

/// A message of format 0: CRC, magic, attributes, and the lengths of a null key and value.
const LEAST_LENGTH_OF_ANY_FORMAT: usize = 14;
