//! What records and batches are described by, wherever they are read or written.
//!
//! A [`Record`](crate::consumer::Record) has its [`Headers`] and says of which [`TimestampType`] its timestamp
//! is; a [`Batch`](crate::consumer::Batch) shows its [`BatchHeader`]; a poll that finds bytes that are no
//! batch says where, in a [`CorruptBatch`].

pub use kohort_client_core::consumer::reader::CorruptBatch;
pub use kohort_protocol::compression::Compression;
pub use kohort_protocol::records::{
    Attributes, BatchError, BatchHeader, Header, HeaderIter, Headers, RecordError, TimestampType,
};
