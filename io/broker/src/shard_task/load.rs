//! Loading a shard: from its partition's snapshot if there is one that fits, and from the log.

use crate::cluster::load::{LoadError, each_record, read_records};
use crate::partition::Partition;
use crate::random;
use bytes::Bytes;
use kohort_coordinator::{GroupConfig, GroupRecord, GroupShard, Shard};
use kohort_protocol::compression::Decompressor;
use kohort_storage::{PartitionLog, Snapshot};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// From when on loading is worth a line in the log.
const LONG_LOAD: Duration = Duration::from_millis(500);

/// A shard as its log makes it, and what that took.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) shard: GroupShard,
    /// The offset after the last record replayed.
    pub(super) end: i64,
    /// The size of the snapshot, 0 without one.
    pub(super) snapshot_bytes: u64,
    /// How much of the log was read after it.
    pub(super) log_bytes: u64,
    pub(super) load: ShardLoad,
}

/// What loading the group coordinator's part of one `__consumer_offsets` partition took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardLoad {
    /// The partition.
    pub partition: i32,
    /// How many records came from its snapshot.
    pub snapshot_records: u64,
    /// How many were replayed from the log after that.
    pub log_records: u64,
    /// How long it took.
    pub took: Duration,
}

/// Loads the shard of a partition. Reads the disk.
pub(super) fn load(partition: &Partition, config: &GroupConfig) -> Result<Loaded, LoadError> {
    let began = Instant::now();
    let log = &partition.log;
    let restored = open(partition).and_then(|snapshot| match restore(snapshot, config) {
        Ok(restored) => Some(restored),
        Err(reason) => {
            discard(partition, &reason);
            None
        }
    });
    let Restored { mut shard, covers, bytes: snapshot_bytes, records: snapshot_records } =
        restored.unwrap_or_else(|| Restored::nothing(log, config));
    let mut log_records = 0;
    let read = read_records(log, covers, |key, value| {
        log_records += 1;
        replay(&mut shard, key, value)
    })?;
    let load = ShardLoad {
        partition: partition.index,
        snapshot_records,
        log_records,
        took: began.elapsed(),
    };
    let took_ms = u64::try_from(load.took.as_millis()).unwrap_or(u64::MAX);
    // There are fifty of them at each start: only what takes long is worth a line.
    if load.took >= LONG_LOAD {
        info!(
            partition = load.partition,
            snapshot_records, log_records, took_ms, "group coordinator loaded"
        );
    } else if snapshot_records + log_records > 0 {
        debug!(
            partition = load.partition,
            snapshot_records, log_records, took_ms, "group coordinator loaded"
        );
    }
    Ok(Loaded { shard, end: read.end, snapshot_bytes, log_bytes: read.bytes, load })
}

/// Sees to it that a partition whose log is empty has no snapshot either: the log may come to fit it.
pub(super) fn begin_empty(partition: &Partition) {
    drop(open(partition));
}

/// A shard as a snapshot makes it.
struct Restored {
    shard: GroupShard,
    covers: i64,
    bytes: u64,
    records: u64,
}

impl Restored {
    fn nothing(log: &PartitionLog, config: &GroupConfig) -> Self {
        let shard = GroupShard::new(config.clone(), random::word());
        Self { shard, covers: log.log_start_offset(), bytes: 0, records: 0 }
    }
}

/// Opens the partition's snapshot if it fits the log.
fn open(partition: &Partition) -> Option<Snapshot> {
    partition.log.snapshot().unwrap_or_else(|error| {
        discard(partition, &error.to_string());
        None
    })
}

fn restore(mut snapshot: Snapshot, config: &GroupConfig) -> Result<Restored, String> {
    let mut shard = GroupShard::new(config.clone(), random::word());
    let (mut bytes, mut records) = (0, 0);
    let mut decompressor = Decompressor::default();
    let mut unpacked = Vec::new();
    while let Some(batches) = snapshot.next_batches().map_err(|error| error.to_string())? {
        bytes += batches.len() as u64;
        each_record(&batches, i64::MIN, &mut decompressor, &mut unpacked, |key, value| {
            records += 1;
            replay(&mut shard, key, value)
        })?;
    }
    Ok(Restored { shard, covers: snapshot.covers(), bytes, records })
}

fn replay(shard: &mut GroupShard, key: Option<Bytes>, value: Option<Bytes>) -> Result<(), String> {
    let key = key.ok_or("a record has no key")?;
    let record = GroupRecord::decode(&key, value.as_ref()).map_err(|error| error.to_string())?;
    shard.replay(&record);
    Ok(())
}

/// A snapshot of no use is no loss, but it must not be there when the log has grown on.
fn discard(partition: &Partition, reason: &str) {
    warn!(
        partition = partition.index,
        reason, "a group coordinator's snapshot is ignored, all of its log is read"
    );
    if let Err(error) = partition.log.discard_snapshot() {
        warn!(partition = partition.index, %error, "the snapshot could not be removed");
    }
}
