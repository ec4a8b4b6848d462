//! From a shard's records to one record batch.

use crate::clock::Timestamp;
use bytes::Bytes;
use kohort_coordinator::{GroupRecord, RecordBuffers};
use kohort_protocol::compression::Compressor;
use kohort_protocol::records::{AppendError, BatchBuilder, BatchOptions, NewRecord};
use kohort_protocol::{EncodeError, ErrorCode};

/// Makes batches, with buffers that are used again.
#[derive(Debug)]
pub(super) struct BatchWriter {
    builder: BatchBuilder,
    compressor: Compressor,
    buffers: RecordBuffers,
}

/// Why records were not written.
struct Refused(ErrorCode);

impl BatchWriter {
    pub(super) fn new() -> Self {
        Self {
            builder: BatchBuilder::new(),
            compressor: Compressor::none(),
            buffers: RecordBuffers::default(),
        }
    }

    /// Writes the records as one batch.
    pub(super) fn batch(
        &mut self,
        now: Timestamp,
        records: &[GroupRecord],
    ) -> Result<Bytes, ErrorCode> {
        let Self { builder, compressor, buffers } = self;
        builder.clear();
        let mut append = |key: &[u8], value: Option<&[u8]>| -> Result<(), Refused> {
            let record =
                NewRecord { timestamp: now, key: Some(key), value, ..NewRecord::default() };
            builder.append(&record)?;
            Ok(())
        };
        for record in records {
            record.encode(buffers, &mut append).map_err(|Refused(code)| code)?;
        }
        Ok(builder.build(&BatchOptions::default(), compressor))
    }
}

impl From<EncodeError> for Refused {
    fn from(_: EncodeError) -> Self {
        Self(ErrorCode::UNKNOWN_SERVER_ERROR)
    }
}

impl From<AppendError> for Refused {
    fn from(_: AppendError) -> Self {
        Self(ErrorCode::RECORD_LIST_TOO_LARGE)
    }
}
