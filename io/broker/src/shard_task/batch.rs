//! From a shard's records to one record batch.

use crate::clock::Timestamp;
use bytes::Bytes;
use kohort_coordinator::GroupRecord;
use kohort_protocol::ErrorCode;
use kohort_protocol::compression::Compressor;
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

/// Makes batches, with buffers that are used again.
#[derive(Debug)]
pub(super) struct BatchWriter {
    builder: BatchBuilder,
    compressor: Compressor,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl BatchWriter {
    pub(super) fn new() -> Self {
        Self {
            builder: BatchBuilder::new(),
            compressor: Compressor::none(),
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Writes the records as one batch.
    pub(super) fn batch(
        &mut self,
        now: Timestamp,
        records: &[GroupRecord],
    ) -> Result<Bytes, ErrorCode> {
        self.builder.clear();
        for record in records {
            let (key, value) = (&mut self.key, &mut self.value);
            key.clear();
            value.clear();
            let has_value = record.encode_into(key, value);
            let has_value = has_value.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
            let record = NewRecord {
                timestamp: now,
                key: Some(key),
                value: has_value.then_some(value),
                ..NewRecord::default()
            };
            self.builder.append(&record).map_err(|_| ErrorCode::RECORD_LIST_TOO_LARGE)?;
        }
        Ok(self.builder.build(&BatchOptions::default(), &mut self.compressor))
    }
}
