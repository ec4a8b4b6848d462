//! From a shard's records to one record batch.

use crate::clock::Timestamp;
use bytes::Bytes;
use kohort_coordinator::{GroupRecord, RecordBuffers};
use kohort_protocol::ErrorCode;
use kohort_protocol::records::OwnBatch;

/// Makes batches, with buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct BatchWriter {
    batch: OwnBatch,
    buffers: RecordBuffers,
}

impl BatchWriter {
    /// Writes the records as one batch.
    pub(super) fn batch(
        &mut self,
        now: Timestamp,
        records: &[GroupRecord],
    ) -> Result<Bytes, ErrorCode> {
        let Self { batch, buffers } = self;
        batch.clear();
        for record in records {
            record.encode(buffers, batch).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        }
        Ok(batch.build(now))
    }
}
