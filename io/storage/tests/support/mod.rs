//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

pub mod accidents;
pub mod folder;
pub mod keyed;
pub mod seeds;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use bytes::Bytes;
use kohort_protocol::Uuid;
use kohort_protocol::compression::{Compression, Compressor};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord, RecordView, batches};
use kohort_storage::{
    AppendError, AppendInfo, AppendOrigin, Isolation, PartitionId, PartitionLog, StorageError,
};

/// The time at which tests happen.
pub const NOW: i64 = 1_700_000_000_000;

/// Names partition `index` of a topic.
pub fn id(topic: &str, index: i32) -> PartitionId {
    let mut bytes = [0; 16];
    bytes[..topic.len().min(16)].copy_from_slice(&topic.as_bytes()[..topic.len().min(16)]);
    PartitionId { topic_id: Uuid(bytes), topic: Arc::from(topic), index }
}

/// Builds a batch of these values.
pub fn batch(values: &[&[u8]]) -> Bytes {
    batch_of(values, &BatchOptions::default(), NOW)
}

/// Builds a batch of an idempotent producer.
pub fn producer_batch(producer_id: i64, epoch: i16, sequence: i32, values: &[&[u8]]) -> Bytes {
    let options = BatchOptions {
        producer_id,
        producer_epoch: epoch,
        base_sequence: sequence,
        ..BatchOptions::default()
    };
    batch_of(values, &options, NOW)
}

/// Builds a batch whose records are a millisecond apart from `timestamp` on.
pub fn batch_of(values: &[&[u8]], options: &BatchOptions, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (at, value) in (0..).zip(values) {
        let record =
            NewRecord { timestamp: timestamp + at, value: Some(value), ..NewRecord::default() };
        builder.append(&record).unwrap();
    }
    builder.build(options, &mut Compressor::none())
}

/// Builds a batch of keys and values, none for a tombstone, whose records are a millisecond apart.
pub fn keyed_batch(
    records: &[(&str, Option<&[u8]>)],
    options: &BatchOptions,
    timestamp: i64,
    codec: Compression,
) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (at, (key, value)) in (0..).zip(records) {
        let (key, value) = (Some(key.as_bytes()), *value);
        let timestamp = timestamp + at;
        builder.append(&NewRecord { timestamp, key, value, ..NewRecord::default() }).unwrap();
    }
    builder.build(options, &mut Compressor::new(codec, None).unwrap())
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// Reads all records of a compacted log from `offset` on.
pub fn read_compacted(partition: &PartitionLog, offset: i64, max_bytes: usize) -> Vec<Found> {
    let mut found = Vec::new();
    read_each(partition, offset, max_bytes, |record| {
        found.push(Found {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.unwrap().to_vec(),
            value: record.value.map(<[u8]>::to_vec),
        });
    });
    found
}

/// Reads from `offset` to the end, checks that every batch is sound, and hands on the records.
fn read_each(
    partition: &PartitionLog,
    mut offset: i64,
    max_bytes: usize,
    mut each: impl FnMut(&RecordView<'_>),
) {
    loop {
        let info = partition.read(offset, max_bytes, true, Isolation::ReadUncommitted).unwrap();
        if info.records.is_empty() {
            assert_eq!(offset, info.high_watermark, "reads end at the high watermark only");
            return;
        }
        for batch in batches(&info.records) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            assert!(batch.header().last_offset() >= offset, "reads begin where they are asked to");
            let mut buffer = Vec::new();
            let mut decompressor = kohort_protocol::compression::Decompressor::default();
            for record in batch.records(&mut decompressor, &mut buffer, 1 << 20).unwrap() {
                let record = record.unwrap();
                if record.offset >= offset {
                    each(&record);
                }
            }
            offset = batch.header().next_offset();
        }
    }
}

/// Where the outcome of something arrives when it is durable.
pub type Done = Receiver<Result<(), StorageError>>;

/// Raises what is promised if `done` says so. Returns whether nothing is said yet.
pub fn settled(done: &Done, promised: &mut i64, to: i64) -> bool {
    let outcome = done.try_recv();
    if let Ok(Ok(())) = outcome {
        *promised = (*promised).max(to);
    }
    matches!(outcome, Err(TryRecvError::Empty))
}

/// Appends as a client and returns where the outcome will arrive.
pub fn append(partition: &PartitionLog, batch: Bytes) -> Result<(AppendInfo, Done), AppendError> {
    let (sender, receiver) = channel();
    let info = partition.append(NOW, batch, AppendOrigin::Client, move |result| {
        let _ = sender.send(result);
    })?;
    Ok((info, receiver))
}

/// Appends and waits until it is durable.
pub fn append_durably(partition: &PartitionLog, batch: Bytes) -> AppendInfo {
    let (info, done) = append(partition, batch).unwrap();
    done.recv().unwrap().unwrap();
    info
}

/// Reads all records from `offset` on: their offsets and values.
pub fn read_all(partition: &PartitionLog, offset: i64, max_bytes: usize) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    read_each(partition, offset, max_bytes, |record| {
        found.push((record.offset, record.value.unwrap().to_vec()));
    });
    found
}
