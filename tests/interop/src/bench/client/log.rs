//! The log that everybody reads: one batch, made beforehand, again and again without an end.
//!
//! A batch's first offset lies outside its checksum, so the same bytes serve at every offset. A
//! partition thus has as many records as anybody cares to read and takes no memory, and a broker that
//! sends them does next to nothing for it.

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use kohort_protocol::compression::{Compression, Compressor};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

/// What the records are like.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Shape {
    /// The bytes of each value; there is no key.
    #[arg(long)]
    pub(crate) value_bytes: usize,
    /// The records of each batch.
    #[arg(long)]
    pub(crate) batch_records: usize,
    /// The codec, by the name `compression.type` has for it.
    #[arg(long, default_value = "none")]
    pub(crate) codec: Codec,
}

/// The codecs that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Codec {
    None,
    Lz4,
    Zstd,
}

impl Codec {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// The one batch.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// Its bytes, with a first offset of 0.
    pub(crate) batch: Bytes,
    /// How many records it has.
    pub(crate) records: i64,
}

impl Template {
    pub(crate) fn new(shape: Shape) -> Result<Self> {
        let mut builder = BatchBuilder::new();
        for index in 0..shape.batch_records {
            let value = text(index, shape.value_bytes);
            builder.append(&NewRecord {
                timestamp: TIMESTAMP + index as i64,
                value: Some(&value),
                ..NewRecord::default()
            })?;
        }
        let codec = match shape.codec {
            Codec::None => Compression::None,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        };
        let mut compressor = Compressor::new(codec, None).context("a codec at its default")?;
        let batch = builder.build(&BatchOptions::default(), &mut compressor);
        Ok(Self { batch, records: shape.batch_records as i64 })
    }
}

/// Returns a value that a codec shrinks about as much as events in JSON: half of it is the same from
/// record to record, the rest is digits.
pub(crate) fn text(index: usize, size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (index as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mut value = Vec::with_capacity(size + FIELD.len() + 20);
    while value.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend_from_slice(FIELD);
        value.extend_from_slice(format!("{:013}", state % 10_000_000_000_000).as_bytes());
        value.extend_from_slice(b"\",");
    }
    value.truncate(size);
    value
}

const FIELD: &[u8] = b"\"reading\":\"";
const TIMESTAMP: i64 = 1_700_000_000_000;
