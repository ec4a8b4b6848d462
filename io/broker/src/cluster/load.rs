//! Start: from the metadata log to topics in service.

use super::controller::{append, apply_broker_configs, make_log, topic_config};
use super::metadata::Metadata;
use super::record::MetadataRecord;
use super::state::ClusterState;
use super::topics::{Topic, Topics};
use crate::config::LiveConfig;
use crate::partition::Partition;
use crate::random;
use bytes::Bytes;
use kohort_protocol::Uuid;
use kohort_protocol::compression::Decompressor;
use kohort_protocol::records::batches;
use kohort_storage::{Isolation, LogDir, METADATA_TOPIC_ID, PartitionLog};
use std::collections::BTreeSet;
use std::sync::Arc;
use thiserror::Error;
use tracing::warn;

/// How much of the log is read at a time.
const READ_BYTES: usize = 1 << 20;
/// How much one batch may unpack to. The broker's own batches are not packed.
const UNPACKED_MAX: usize = 1 << 26;

/// Why a log could not be replayed.
#[derive(Debug, Error)]
#[error(
    "{log} cannot be read at offset {offset}: {reason}; `kohort log verify` on the data folder shows \
     what is damaged, `kohort log repair` keeps the rest"
)]
pub struct LoadError {
    /// Which log, in words.
    pub log: String,
    /// Where reading ended.
    pub offset: i64,
    /// Why.
    pub reason: String,
    /// Whether it may pass by itself, such as a want of file handles. Damage does not.
    pub passes: bool,
}

/// Replays the metadata log and puts its topics into service.
pub(crate) async fn load(
    log_dir: &LogDir,
    log: &PartitionLog,
    config: &LiveConfig,
    node_id: i32,
    now: i64,
) -> Result<Metadata, LoadError> {
    let Replayed { mut state, removed, .. } = replay(log)?;
    if state.cluster_id.is_none() {
        let record = MetadataRecord::ClusterId(random::uuid());
        let failed = |reason| LoadError::at(log, log.log_end_offset(), reason);
        append(log, now, std::slice::from_ref(&record))
            .await
            .map_err(|error| failed(error.message.unwrap_or_default()))?;
        state.apply(&record);
    }
    apply_broker_configs(&state, node_id, config, log_dir);
    clear_unknown(log_dir, &state, &removed);
    let broker = config.typed();
    let topics = Topics::default();
    for (name, topic) in &state.topics {
        let config = topic_config(&state, name, config);
        let mut partitions = Vec::with_capacity(topic.leader_epochs.len());
        for index in 0..topic.leader_epochs.len() as i32 {
            let made = make_log(log_dir, topic.id, name, index, &config);
            let log = made.map_err(|error| {
                LoadError::at(log, -1, format!("the log of {name}-{index}: {error}"))
            })?;
            partitions.push(Arc::new(Partition::new(topic.id, index, log)));
        }
        let name = Arc::from(name.as_str());
        topics.put(Topic { name, id: topic.id, config: Arc::new(config), partitions });
    }
    let set_aside = log_dir.topics_set_aside().map_err(|error| {
        LoadError::at(log, -1, format!("the folders that were set aside: {error}"))
    })?;
    Ok(Metadata::new(state, topics, set_aside, &broker, (*config.settings()).clone()))
}

impl LoadError {
    fn at(log: &PartitionLog, offset: i64, reason: String) -> Self {
        let id = log.id();
        let log = if id.topic_id == METADATA_TOPIC_ID {
            "the metadata log, which every topic and setting is in,".to_owned()
        } else {
            format!("the log of {id}")
        };
        Self { log, offset, reason, passes: false }
    }
}

/// The metadata log, replayed.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) state: ClusterState,
    /// Topics on record as removed.
    pub(crate) removed: BTreeSet<Uuid>,
    /// Records that were in the log and are not any more: `kohort log repair` took them out. The
    /// broker itself never does.
    pub(crate) lost: u64,
}

impl Replayed {
    /// Takes one record in.
    pub(crate) fn take(&mut self, record: &MetadataRecord) {
        self.state.apply(record);
        if let MetadataRecord::RemoveTopic { id } = record {
            self.removed.insert(*id);
        }
    }

    /// Tells whether nothing was ever lost.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost == 0 && self.state.cluster_id.is_some()
    }
}

/// Replays the metadata log.
pub(crate) fn replay(log: &PartitionLog) -> Result<Replayed, LoadError> {
    let mut replayed = Replayed::default();
    let mut records = 0;
    let read = read_records(log, log.log_start_offset(), |_, value| {
        records += 1;
        if let Some(record) = decode(value)? {
            replayed.take(&record);
        }
        Ok(())
    })?;
    replayed.lost = u64::try_from(read.end).unwrap_or(0).saturating_sub(records);
    Ok(replayed)
}

/// Reads the value of a record of the metadata log; nothing if it is of a type this broker does not use.
pub(crate) fn decode(value: Option<Bytes>) -> Result<Option<MetadataRecord>, String> {
    MetadataRecord::decode(&value.unwrap_or_default()).map_err(|error| error.to_string())
}

/// What was read of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadTo {
    /// The offset after the last record.
    pub(crate) end: i64,
    /// How many bytes the batches had.
    pub(crate) bytes: u64,
}

/// Calls `each` with the key and value of every record of a log from an offset on, in order.
pub(crate) fn read_records(
    log: &PartitionLog,
    from: i64,
    mut each: impl FnMut(Option<Bytes>, Option<Bytes>) -> Result<(), String>,
) -> Result<ReadTo, LoadError> {
    let mut read_to = ReadTo { end: from, bytes: 0 };
    let mut decompressor = Decompressor::default();
    let mut unpacked = Vec::new();
    while read_to.end < log.high_watermark() {
        let offset = read_to.end;
        let failed = |reason: String| LoadError::at(log, offset, reason);
        let read = log
            .read(offset, READ_BYTES, true, Isolation::ReadUncommitted)
            .map_err(|error| LoadError { passes: error.passes(), ..failed(error.to_string()) })?;
        let next = each_record(&read.records, from, &mut decompressor, &mut unpacked, &mut each)
            .map_err(failed)?;
        read_to.end = next
            .filter(|next| *next > offset)
            .ok_or_else(|| failed("nothing can be read below the high watermark".to_owned()))?;
        read_to.bytes += read.records.len() as u64;
    }
    Ok(read_to)
}

/// Calls `each` with the key and value of every record in these batches from an offset on. Returns the
/// offset after the last batch, if there is one.
pub(crate) fn each_record(
    bytes: &Bytes,
    from: i64,
    decompressor: &mut Decompressor,
    unpacked: &mut Vec<u8>,
    mut each: impl FnMut(Option<Bytes>, Option<Bytes>) -> Result<(), String>,
) -> Result<Option<i64>, String> {
    let mut next = None;
    for batch in batches(bytes) {
        let batch = batch.map_err(|error| error.to_string())?;
        next = Some(batch.header().next_offset());
        if batch.header().is_control() {
            continue;
        }
        let records = batch
            .records(decompressor, unpacked, UNPACKED_MAX)
            .map_err(|error| error.to_string())?;
        for record in records {
            let record = record.map_err(|error| error.to_string())?;
            if record.offset >= from {
                let value = record.value.map(Bytes::copy_from_slice);
                each(record.key.map(Bytes::copy_from_slice), value)?;
            }
        }
    }
    Ok(next)
}

/// Clears away logs the metadata does not know. Their deletion was cut short if it is on record, and
/// their creation if they hold nothing: those are removed. Others are set aside, since metadata may have
/// been lost and records never are with it. Waits for the disk in that case.
fn clear_unknown(log_dir: &LogDir, state: &ClusterState, removed: &BTreeSet<Uuid>) {
    let mut known = BTreeSet::from([(METADATA_TOPIC_ID, 0)]);
    for topic in state.topics.values() {
        known.extend((0..topic.leader_epochs.len() as i32).map(|index| (topic.id, index)));
    }
    for log in log_dir.partitions() {
        let id = log.id();
        if known.contains(&(id.topic_id, id.index)) {
            continue;
        }
        let cleared = if removed.contains(&id.topic_id) || !holds_records(&log) {
            log_dir.delete_partition(id.topic_id, id.index, drop).map(drop)
        } else {
            log_dir.set_aside(id.topic_id, id.index).map(drop)
        };
        if let Err(error) = cleared {
            warn!(topic = %id.topic, partition = id.index, %error, "a log that no topic has could not be cleared away");
        }
    }
}

/// Tells whether there may be a record in a log.
pub(crate) fn holds_records(log: &PartitionLog) -> bool {
    log.log_start_offset() < log.log_end_offset()
}
