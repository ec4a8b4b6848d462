//! What a broker accepts of a Produce request, and what it rewrites before storing it.
//!
//! Batches are stored as they came whenever that is right: offsets and leader epoch lie outside the
//! checksum. A batch is rewritten only where Kafka does so too: when the topic stamps append time, when
//! the producer got the greatest timestamp wrong, or when the topic asks for another codec.
//!
//! Follows Kafka's `ProduceRequest.validateRecords` and `LogValidator` for Produce v3 and later, with
//! one difference: records numbered with gaps are refused whatever the codec, while Kafka renumbers
//! them in packed batches and stores them as they are otherwise.

use bytes::{Bytes, BytesMut};
use kohort_protocol::ErrorCode;
use kohort_protocol::compression::{Compression, Compressor, Decompressor};
use kohort_protocol::records::{
    BatchBuilder, BatchError, BatchHeader, BatchOptions, BatchRef, Header, NO_TIMESTAMP, NewRecord,
    RecordError, RecordRules, RecordSummary, TimestampType, set_max_timestamp, validate_records,
};

use crate::{PartitionConfig, Timestamp};

/// How much larger than a topic's largest batch its records may be once unpacked. A batch of one
/// repeated byte packs about a thousandfold; nobody sends that for good.
const UNPACKED_FACTOR_MAX: usize = 64;
/// Whatever the topic's largest batch, records may unpack to this.
const UNPACKED_BYTES_MIN: usize = 64 << 20;
/// Failing records named in an answer, as in Kafka's message.
const RECORD_ERRORS_MAX: usize = 100;

/// Who appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: nothing it sends is trusted.
    Client,
    /// The broker's own coordinators and metadata: control batches are allowed, contents are trusted.
    Coordinator,
}

/// Memory that validation uses and keeps between batches; one per thread is enough.
#[derive(Debug, Default)]
pub struct Scratch {
    decompressor: Decompressor,
    buffer: Vec<u8>,
    /// The level and the compressor that packed last: mostly the next batch is packed alike.
    compressor: (Option<i32>, Compressor),
}

/// A batch that may be appended. Its base offset and leader epoch are still to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidBatch {
    /// The header of `bytes`.
    pub header: BatchHeader,
    /// The whole batch.
    pub bytes: Bytes,
    /// The broker's time, when the topic stamps append time.
    pub log_append_time: Option<Timestamp>,
}

/// Why a batch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidBatch {
    /// What Kafka answers.
    pub code: ErrorCode,
    /// In words, for the response's error message.
    pub message: String,
    /// Which records are at fault, if it is some of them.
    pub records: Vec<InvalidRecord>,
}

/// A record that is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRecord {
    /// Which record of the batch, from 0.
    pub index: i32,
    /// What is wrong with it.
    pub message: String,
}

/// Checks what a partition is sent: exactly one batch, sound and within the topic's rules.
pub fn validate(
    config: &PartitionConfig,
    now: Timestamp,
    records: Bytes,
    origin: AppendOrigin,
    scratch: &mut Scratch,
) -> Result<ValidBatch, InvalidBatch> {
    let batch = only_batch(&records)?;
    let header = *batch.header();
    let size = header.size_in_bytes();
    if origin == AppendOrigin::Client && size > config.max_message_bytes {
        return Err(invalid(
            ErrorCode::MESSAGE_TOO_LARGE,
            format!(
                "the batch of {size} bytes is larger than the {} bytes that max.message.bytes allows",
                config.max_message_bytes
            ),
        ));
    }
    if size > config.segment_bytes as usize {
        return Err(invalid(
            ErrorCode::RECORD_LIST_TOO_LARGE,
            format!("the batch of {size} bytes does not fit a segment of {}", config.segment_bytes),
        ));
    }
    if origin == AppendOrigin::Coordinator {
        return Ok(ValidBatch { header, bytes: records, log_append_time: None });
    }
    batch.verify_crc().map_err(batch_error)?;
    check_client_header(&header)?;
    let limit = unpacked_max(config);
    let rules = RecordRules { keys_required: config.compacted };
    let checked =
        validate_records(&batch, rules, &mut scratch.decompressor, &mut scratch.buffer, limit);
    let summary = match checked {
        Ok(summary) => summary,
        Err(RecordError::Batch(error)) => return Err(batch_error(error)),
        Err(error) => {
            if matches!(error, RecordError::MissingKey { .. }) {
                wrong_records(config, now, &batch, scratch, limit)?;
            }
            return Err(invalid(ErrorCode::INVALID_RECORD, error.to_string()));
        }
    };
    check_timestamps(config, now, &batch, &summary, scratch, limit)?;
    let valid = store_as(config, now, &batch, &records, &summary, scratch, limit);
    scratch.trim();
    valid
}

impl Scratch {
    /// Gives memory back after an unusually large batch.
    fn trim(&mut self) {
        const KEEP_BYTES: usize = 1 << 20;
        if self.buffer.capacity() > KEEP_BYTES {
            self.buffer = Vec::new();
        }
    }
}

/// Where a batch says how long the rest of it is, in all formats.
const LENGTH_AT: usize = 8;
/// The least that the rest of a record takes in the oldest format.
const LENGTH_MIN: i32 = 14;

/// Returns the one batch there must be.
fn only_batch(records: &Bytes) -> Result<BatchRef<'_>, InvalidBatch> {
    if records.is_empty() {
        return Err(invalid(
            ErrorCode::INVALID_RECORD,
            "a partition must be sent a record batch".to_owned(),
        ));
    }
    let length = records.get(LENGTH_AT..LENGTH_AT + 4).and_then(|bytes| bytes.try_into().ok());
    if let Some(length) = length.map(i32::from_be_bytes)
        && length < LENGTH_MIN
    {
        // Whatever the format, this is none: Kafka says so before it looks for the format.
        return Err(batch_error(BatchError::BadLength { batch_length: length }));
    }
    let batch = BatchRef::parse(records).map_err(batch_error)?;
    if batch.bytes().len() < records.len() {
        // A batch that is cut short by its own length is damaged, and what follows is its rest.
        batch.verify_crc().map_err(batch_error)?;
        return Err(invalid(
            ErrorCode::INVALID_RECORD,
            "a partition must be sent exactly one record batch".to_owned(),
        ));
    }
    Ok(batch)
}

fn check_client_header(header: &BatchHeader) -> Result<(), InvalidBatch> {
    let refuse = |message: String| Err(invalid(ErrorCode::INVALID_RECORD, message));
    if header.base_offset != 0 {
        return refuse(format!("the batch has the base offset {}, not 0", header.base_offset));
    }
    if header.record_count <= 0 {
        return refuse(format!("the batch has {} records", header.record_count));
    }
    if header.record_count - 1 != header.last_offset_delta {
        return refuse(format!(
            "the batch has {} records but a last offset delta of {}",
            header.record_count, header.last_offset_delta
        ));
    }
    if header.is_control() {
        return refuse("clients may not write control records".to_owned());
    }
    if header.is_transactional() {
        // As Kafka answers transactional records without a transactional id; there are no others.
        let message = "transactional records need a transactional id".to_owned();
        return Err(invalid(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, message));
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return refuse(format!(
            "the batch of producer {} has the sequence {}",
            header.producer_id, header.base_sequence
        ));
    }
    Ok(())
}

fn check_timestamps(
    config: &PartitionConfig,
    now: Timestamp,
    batch: &BatchRef<'_>,
    summary: &RecordSummary,
    scratch: &mut Scratch,
    limit: usize,
) -> Result<(), InvalidBatch> {
    let rule = TimestampRule::new(config, now, batch);
    let (min, max) = (summary.min_timestamp, summary.max_timestamp);
    if rule.allows(max) && rule.allows(min) && (min != NO_TIMESTAMP || max == NO_TIMESTAMP) {
        return Ok(());
    }
    // Something is out of range, or records without a time hide the earliest: look at each.
    wrong_records(config, now, batch, scratch, limit)
}

/// Which timestamps records may have.
enum TimestampRule {
    /// The broker stamps them.
    Any,
    /// None is right, since the producer claims that they are append times.
    None,
    /// From one to the other, or missing.
    Within(Timestamp, Timestamp),
}

impl TimestampRule {
    fn new(config: &PartitionConfig, now: Timestamp, batch: &BatchRef<'_>) -> Self {
        match (config.timestamp_type, batch.header().timestamp_type()) {
            (TimestampType::LogAppendTime, TimestampType::LogAppendTime) => TimestampRule::None,
            (TimestampType::LogAppendTime, TimestampType::CreateTime) => TimestampRule::Any,
            (TimestampType::CreateTime, _) => TimestampRule::Within(
                now.saturating_sub(config.timestamp_before_max_ms),
                now.saturating_add(config.timestamp_after_max_ms),
            ),
        }
    }

    fn allows(&self, at: Timestamp) -> bool {
        match self {
            TimestampRule::Any => true,
            TimestampRule::None => false,
            TimestampRule::Within(earliest, latest) => {
                at == NO_TIMESTAMP || (*earliest..=*latest).contains(&at)
            }
        }
    }

    fn refusal(&self, at: Timestamp) -> String {
        match self {
            TimestampRule::Within(earliest, latest) => {
                format!("timestamp {at} is not within {earliest} and {latest}")
            }
            _ => "a producer may not claim that its timestamps are append times".to_owned(),
        }
    }
}

/// Looks at each record for the topic's rules, and names those that break one. Of a record that has
/// neither key nor a right timestamp it is the key; but one wrong timestamp makes timestamps the reason the
/// batch is refused for, as in Kafka's `validateRecord` and `processRecordErrors`.
fn wrong_records(
    config: &PartitionConfig,
    now: Timestamp,
    batch: &BatchRef<'_>,
    scratch: &mut Scratch,
    limit: usize,
) -> Result<(), InvalidBatch> {
    let rule = TimestampRule::new(config, now, batch);
    let mut wrong = Vec::new();
    let mut code = ErrorCode::INVALID_RECORD;
    let records = batch
        .records(&mut scratch.decompressor, &mut scratch.buffer, limit)
        .map_err(|error| invalid(ErrorCode::INVALID_RECORD, error.to_string()))?;
    for (index, record) in (0..).zip(records) {
        let Ok(record) = record else { break };
        let message = if config.compacted && record.key.is_none() {
            "a compacted topic does not accept a record without a key".to_owned()
        } else if rule.allows(record.timestamp) {
            continue;
        } else {
            code = ErrorCode::INVALID_TIMESTAMP;
            rule.refusal(record.timestamp)
        };
        if wrong.len() < RECORD_ERRORS_MAX {
            wrong.push(InvalidRecord { index, message });
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let message = match (code, rule) {
        (ErrorCode::INVALID_RECORD, _) => {
            "a compacted topic does not accept records without a key".to_owned()
        }
        (_, TimestampRule::Within(..)) => {
            "the timestamps of some records are out of range".to_owned()
        }
        (_, rule) => rule.refusal(NO_TIMESTAMP),
    };
    Err(InvalidBatch { code, message, records: wrong })
}

/// Returns the batch in the form it is to be stored in.
fn store_as(
    config: &PartitionConfig,
    now: Timestamp,
    batch: &BatchRef<'_>,
    records: &Bytes,
    summary: &RecordSummary,
    scratch: &mut Scratch,
    limit: usize,
) -> Result<ValidBatch, InvalidBatch> {
    let source = batch.header().compression().map_err(batch_error)?;
    let mut bytes = records.clone();
    if let Some(target) = config.compression
        && target != source
    {
        bytes = repack(batch, target, config.compression_level, scratch, limit)?;
        if bytes.len() > config.max_message_bytes {
            return Err(invalid(
                ErrorCode::MESSAGE_TOO_LARGE,
                format!(
                    "the batch has {} bytes with compression.type={target}, more than the {} that \
                     max.message.bytes allows",
                    bytes.len(),
                    config.max_message_bytes
                ),
            ));
        }
    }
    let (timestamp_type, max_timestamp) = match config.timestamp_type {
        TimestampType::LogAppendTime => (TimestampType::LogAppendTime, now),
        TimestampType::CreateTime => (TimestampType::CreateTime, summary.max_timestamp),
    };
    let mut header = BatchHeader::parse(&bytes).map_err(batch_error)?;
    if header.max_timestamp != max_timestamp || header.timestamp_type() != timestamp_type {
        let mut changed = BytesMut::from(&bytes[..]);
        set_max_timestamp(&mut changed, timestamp_type, max_timestamp);
        bytes = changed.freeze();
        header = BatchHeader::parse(&bytes).map_err(batch_error)?;
    }
    let log_append_time = (timestamp_type == TimestampType::LogAppendTime).then_some(now);
    Ok(ValidBatch { header, bytes, log_append_time })
}

/// Packs a batch's records anew.
fn repack(
    batch: &BatchRef<'_>,
    target: Compression,
    level: Option<i32>,
    scratch: &mut Scratch,
    limit: usize,
) -> Result<Bytes, InvalidBatch> {
    let failed = |message: String| invalid(ErrorCode::INVALID_RECORD, message);
    let header = batch.header();
    let mut builder = BatchBuilder::with_capacity(batch.bytes().len());
    let records = batch
        .records(&mut scratch.decompressor, &mut scratch.buffer, limit)
        .map_err(|error| failed(error.to_string()))?;
    let mut headers: Vec<Header<'_>> = Vec::new();
    for record in records {
        let record = record.map_err(|error| failed(error.to_string()))?;
        headers.clear();
        headers.extend(record.headers.iter());
        builder
            .append(&NewRecord {
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: &headers,
            })
            .map_err(|error| failed(error.to_string()))?;
    }
    let options = BatchOptions {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.is_transactional(),
        ..BatchOptions::default()
    };
    let (of_level, compressor) = &mut scratch.compressor;
    if (*of_level, compressor.compression()) != (level, target) {
        *compressor = Compressor::new(target, level).map_err(|error| failed(error.to_string()))?;
        *of_level = level;
    }
    Ok(builder.build(&options, compressor))
}

fn unpacked_max(config: &PartitionConfig) -> usize {
    config.max_message_bytes.saturating_mul(UNPACKED_FACTOR_MAX).max(UNPACKED_BYTES_MIN)
}

fn invalid(code: ErrorCode, message: String) -> InvalidBatch {
    InvalidBatch { code, message, records: Vec::new() }
}

fn batch_error(error: BatchError) -> InvalidBatch {
    let code = match &error {
        BatchError::BadCrc { .. } | BatchError::BadLength { .. } => ErrorCode::CORRUPT_MESSAGE,
        // Formats 0 and 1 were once good; one that never was is taken for damage.
        BatchError::UnsupportedMagic { magic } if !matches!(magic, 0 | 1) => {
            ErrorCode::CORRUPT_MESSAGE
        }
        BatchError::UnknownCompression { .. } => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        _ => ErrorCode::INVALID_RECORD,
    };
    invalid(code, error.to_string())
}
