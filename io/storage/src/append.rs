//! Appends: checked, given their offsets, and put into the commit queue.

use bytes::Bytes;
use kohort_log::Timestamp;
use kohort_log::producer_state::SequenceCheck;
use kohort_log::validator::{self, AppendOrigin, InvalidBatch, Scratch};
use kohort_protocol::ErrorCode;
use kohort_protocol::records::BatchHeader;

use crate::error::{AppendError, StorageError};
use crate::names::METADATA_TOPIC_ID;
use crate::partition_log::PartitionLog;
use crate::partition_state::PartitionState;
use crate::queue::{BATCH_HEAD, Done, Pending, PendingEntry};
use crate::wal::reserve::Urgency;

/// What an append was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The offset of the last record.
    pub last_offset: i64,
    /// The broker's time, if the topic stamps append time; else -1.
    pub log_append_time: Timestamp,
    /// The first offset of the log.
    pub log_start_offset: i64,
    /// Whether the batch had been appended before: nothing was appended now.
    pub duplicate: bool,
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

impl PartitionLog {
    /// Appends one record batch.
    ///
    /// Checks it, gives it offsets and puts it into the commit queue; never waits for the disk. `done`
    /// is called when the batch is durable, or with the error that says it never will be: on the commit
    /// thread, or on this one for a duplicate of a batch that is durable already. It is not called when
    /// an error is returned here. It must be quick.
    pub fn append(
        &self,
        now: Timestamp,
        batch: Bytes,
        origin: AppendOrigin,
        done: impl FnOnce(Result<(), StorageError>) + Send + 'static,
    ) -> Result<AppendInfo, AppendError> {
        let urgency = self.urgency(origin);
        self.shared.admit(urgency)?;
        let config = self.config();
        let valid = SCRATCH
            .with_borrow_mut(|scratch| validator::validate(&config, now, batch, origin, scratch))?;
        let mut header = valid.header;
        // As it is stored: compressed anew it may be larger than it came.
        let (size, limit) = (valid.bytes.len(), self.shared.config.batch_bytes_max);
        if size > limit {
            let message = format!("the batch of {size} bytes is larger than a commit of {limit}");
            let code = ErrorCode::MESSAGE_TOO_LARGE;
            return Err(InvalidBatch { code, message, records: Vec::new() }.into());
        }
        let client = origin == AppendOrigin::Client;
        let mut state = self.state.lock();
        if state.deleted {
            return Err(StorageError::Deleted.into());
        }
        if let Some(broken) = &state.broken {
            return Err(broken.refusal(self.id()).into());
        }
        let log_start_offset = self.log_start_offset();
        if header.has_producer_id()
            && let SequenceCheck::Duplicate { first_offset, last_offset, max_timestamp } =
                state.producers.check(&header, client)?
        {
            self.finish_duplicate(state, last_offset, Box::new(done));
            return Ok(AppendInfo {
                base_offset: first_offset,
                last_offset,
                // When it was appended, not when it was repeated.
                log_append_time: valid.log_append_time.map_or(-1, |_| max_timestamp),
                log_start_offset,
                duplicate: true,
            });
        }
        header.base_offset = state.next_offset;
        header.partition_leader_epoch = self.leader_epoch();
        let (first_offset, next_offset) = (header.base_offset, header.next_offset());
        state.next_offset = next_offset;
        state.note_batch(&header, now);
        self.shared.enqueue(Pending {
            what: PendingEntry::Append {
                partition: self.this.upgrade().expect("self is alive"),
                head: batch_head(&header),
                body: valid.bytes.slice(BATCH_HEAD..),
                first_offset,
                next_offset,
                urgency,
            },
            done: Some(Box::new(done)),
        });
        Ok(AppendInfo {
            base_offset: first_offset,
            last_offset: next_offset - 1,
            log_append_time: valid.log_append_time.unwrap_or(-1),
            log_start_offset,
            duplicate: false,
        })
    }

    /// Returns what an append depends on when the disk is full. Topics are deleted, and settings changed,
    /// by records of the cluster's metadata.
    fn urgency(&self, origin: AppendOrigin) -> Urgency {
        match origin {
            AppendOrigin::Client => Urgency::Client,
            AppendOrigin::Coordinator if self.id().topic_id == METADATA_TOPIC_ID => {
                Urgency::Control
            }
            AppendOrigin::Coordinator => Urgency::Coordinator,
        }
    }

    /// A duplicate is acknowledged when the batch it repeats is durable, not before.
    fn finish_duplicate(
        &self,
        state: parking_lot::MutexGuard<'_, PartitionState>,
        last_offset: i64,
        done: Done,
    ) {
        if last_offset < self.high_watermark() {
            drop(state);
            done(Ok(()));
        } else {
            self.shared.enqueue(Pending { what: PendingEntry::Barrier, done: Some(done) });
        }
    }
}

/// Returns the bytes of a batch that lie outside its checksum.
pub(crate) fn batch_head(header: &BatchHeader) -> [u8; BATCH_HEAD] {
    let mut head = [0; BATCH_HEAD];
    head[0..8].copy_from_slice(&header.base_offset.to_be_bytes());
    head[8..12].copy_from_slice(&header.batch_length.to_be_bytes());
    head[12..16].copy_from_slice(&header.partition_leader_epoch.to_be_bytes());
    head
}
