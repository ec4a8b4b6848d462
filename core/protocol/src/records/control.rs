//! Control records: what a broker writes into a log for readers rather than users.
//!
//! The key says what it is (version, type), the value is the type's own. Only the two that end a
//! transaction matter to clients and to one broker; others are recognised by number and skipped.

use super::builder::{BatchBuilder, BatchOptions};
use super::encoding::NewRecord;
use crate::compression::Compressor;
use bytes::Bytes;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkerKind {
    /// Its records are to be skipped.
    Abort,
    /// Its records are to be read.
    Commit,
}

/// The record that ends a producer's transaction in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndTransactionMarker {
    /// How the transaction ended.
    pub kind: MarkerKind,
    /// The epoch of the transaction coordinator that ended it.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// Builds the batch that holds this marker and nothing else.
    pub fn batch(&self, timestamp: i64, producer_id: i64, producer_epoch: i16) -> Bytes {
        let kind: i16 = match self.kind {
            MarkerKind::Abort => ABORT,
            MarkerKind::Commit => COMMIT,
        };
        let mut key = [0; 4];
        key[..2].copy_from_slice(&VERSION.to_be_bytes());
        key[2..].copy_from_slice(&kind.to_be_bytes());
        let mut value = [0; 6];
        value[..2].copy_from_slice(&VERSION.to_be_bytes());
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        let mut builder = BatchBuilder::new();
        builder
            .append(&NewRecord { timestamp, key: Some(&key), value: Some(&value), headers: &[] })
            .expect("ten bytes fit into a batch");
        let options = BatchOptions {
            producer_id,
            producer_epoch,
            transactional: true,
            control: true,
            ..BatchOptions::default()
        };
        builder.build(&options, &mut Compressor::none())
    }
}

/// What a record of a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    /// A transaction ended.
    EndTransaction(EndTransactionMarker),
    /// Something else, by its type number: of no concern to a reader.
    Other(i16),
}

impl ControlRecord {
    /// Reads the key and value of a control record; `None` if they are not of a control record.
    ///
    /// Later versions may be longer, so what follows the known fields is left alone.
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Self> {
        let (version, rest) = take_i16(key?)?;
        let (kind, _) = take_i16(rest)?;
        if version < 0 {
            return None;
        }
        let kind = match kind {
            ABORT => MarkerKind::Abort,
            COMMIT => MarkerKind::Commit,
            other => return Some(Self::Other(other)),
        };
        let (version, rest) = take_i16(value?)?;
        if version < 0 {
            return None;
        }
        Some(Self::EndTransaction(EndTransactionMarker {
            kind,
            coordinator_epoch: i32::from_be_bytes(*rest.first_chunk()?),
        }))
    }
}

fn take_i16(bytes: &[u8]) -> Option<(i16, &[u8])> {
    let (value, rest) = bytes.split_first_chunk()?;
    Some((i16::from_be_bytes(*value), rest))
}

const VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;
