//! Record batches of format 2, the only format Kafka 4 reads and writes.
//!
//! ```text
//! base offset 8 | length 4 | leader epoch 4 | magic 1 | CRC-32C 4 |              not under the CRC
//! attributes 2 | last offset delta 4 | base timestamp 8 | max timestamp 8 |      under it, to the
//! producer id 8 | producer epoch 2 | base sequence 4 | record count 4 | records… end of the batch
//! ```
//!
//! A broker lives on the header alone: [`batches`] walks a byte string of batches, and the `set_*`
//! functions patch one in place. A reader asks a [`BatchRef`] for its records and gets
//! [`RecordView`]s that borrow from the batch, or from the caller's buffer when the batch was
//! packed; nothing is allocated per record. A writer fills a [`BatchBuilder`], and a broker that writes for
//! itself an [`OwnBatch`].
//!
//! Left out: formats 0 and 1, which are recognised and refused by name
//! ([`BatchError::UnsupportedMagic`]).

mod batch;
mod batch_header;
mod builder;
mod control;
mod encoding;
mod own_batch;
mod patch;
mod record;
mod running_sum;
mod validate;
mod varint;

pub use batch::{BatchIter, BatchRef, batches};
pub use batch_header::{Attributes, BatchError, BatchHeader, TimestampType};
pub use builder::{AppendError, BatchBuilder, BatchOptions, empty_batch_in_place_of};
pub use control::{ControlRecord, EndTransactionMarker, MarkerKind};
pub use encoding::NewRecord;
pub use own_batch::OwnBatch;
pub use patch::{set_base_offset, set_leader_epoch, set_max_timestamp, set_producer};
pub use record::{Header, HeaderIter, Headers, RecordError, RecordIter, RecordView};
pub use validate::{RecordRules, RecordSummary, validate_records};

/// The size of a batch's header; its records follow.
pub const BATCH_HEADER_BYTES: usize = 61;

/// The bytes of a batch that its own length field does not count: base offset and length.
pub const LOG_OVERHEAD_BYTES: usize = 12;

/// The record batch format this module is about.
pub const MAGIC: i8 = 2;

/// The producer id of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;

/// The producer epoch of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_EPOCH: i16 = -1;

/// The base sequence of a batch from a producer that is not idempotent.
pub const NO_SEQUENCE: i32 = -1;

/// The leader epoch of a batch that no broker has appended yet.
pub const NO_LEADER_EPOCH: i32 = -1;

/// The timestamp of a batch without any.
pub const NO_TIMESTAMP: i64 = -1;

/// Where the fields of a batch lie.
mod field {
    use std::ops::Range;

    pub(super) const BASE_OFFSET: Range<usize> = 0..8;
    pub(super) const BATCH_LENGTH: Range<usize> = 8..12;
    pub(super) const LEADER_EPOCH: Range<usize> = 12..16;
    pub(super) const MAGIC: usize = 16;
    pub(super) const CRC: Range<usize> = 17..21;
    pub(super) const ATTRIBUTES: Range<usize> = 21..23;
    pub(super) const LAST_OFFSET_DELTA: Range<usize> = 23..27;
    pub(super) const BASE_TIMESTAMP: Range<usize> = 27..35;
    pub(super) const MAX_TIMESTAMP: Range<usize> = 35..43;
    pub(super) const PRODUCER_ID: Range<usize> = 43..51;
    pub(super) const PRODUCER_EPOCH: Range<usize> = 51..53;
    pub(super) const BASE_SEQUENCE: Range<usize> = 53..57;
    pub(super) const RECORD_COUNT: Range<usize> = 57..61;
    /// The CRC covers from here to the end.
    pub(super) const CRC_START: usize = 21;
}
