//! What a broker checks of a producer's batch before it takes the batch over as it is.

use super::batch::BatchRef;
use super::record::RecordError;
use crate::compression::Decompressor;

/// What is asked of the records beyond being well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordRules {
    /// Every record has a key, as compacted topics need.
    pub keys_required: bool,
}

/// What a walk over a batch's records found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSummary {
    /// The least timestamp of the records.
    pub min_timestamp: i64,
    /// The greatest timestamp of the records. The header's may differ when the
    /// producer got it wrong; this one is right.
    pub max_timestamp: i64,
    /// The offset of the first record with the greatest timestamp, under the batch's base offset.
    pub offset_of_max_timestamp: i64,
    /// The size of the records before they were packed.
    pub payload_bytes: usize,
}

/// Walks over all records of a producer's batch and checks them.
///
/// Beyond what [`RecordIter`](super::RecordIter) checks, a producer's records are numbered from 0
/// without gaps to the last offset delta. The CRC is not checked here.
pub fn validate_records(
    batch: &BatchRef<'_>,
    rules: RecordRules,
    decompressor: &mut Decompressor,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> Result<RecordSummary, RecordError> {
    let header = batch.header();
    let base_offset = header.base_offset;
    // Offsets grow within the batch, so as many of them as there is room for leave no gap.
    if header.record_count.checked_sub(1) != Some(header.last_offset_delta) {
        return Err(RecordError::OffsetGap { base_offset });
    }
    let records = batch.records(decompressor, buffer, limit)?;
    let mut summary = RecordSummary {
        min_timestamp: i64::MAX,
        max_timestamp: i64::MIN,
        offset_of_max_timestamp: base_offset,
        payload_bytes: records.bytes_left(),
    };
    for (index, record) in (0..).zip(records) {
        let record = record?;
        if rules.keys_required && record.key.is_none() {
            return Err(RecordError::MissingKey { base_offset, index });
        }
        summary.min_timestamp = summary.min_timestamp.min(record.timestamp);
        if record.timestamp > summary.max_timestamp {
            summary.max_timestamp = record.timestamp;
            summary.offset_of_max_timestamp = record.offset;
        }
    }
    Ok(summary)
}
