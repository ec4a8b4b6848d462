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

/// Why the metadata could not be read.
#[derive(Debug, Error)]
#[error(
    "the metadata log, which every topic and setting is in, cannot be read at offset {offset}: {reason}; \
     `kohort log verify` on the data folder shows what is damaged, `kohort log repair` keeps the rest"
)]
pub struct LoadError {
    /// Where reading ended.
    pub offset: i64,
    /// Why.
    pub reason: String,
}

/// Replays the metadata log and puts its topics into service.
pub(crate) async fn load(
    log_dir: &LogDir,
    log: &PartitionLog,
    config: &LiveConfig,
    node_id: i32,
    now: i64,
) -> Result<Metadata, LoadError> {
    let mut state = ClusterState::default();
    read_records(log, log.log_start_offset(), |_, value| {
        let value = value.unwrap_or_default();
        let record = MetadataRecord::decode(&value).map_err(|error| error.to_string())?;
        if let Some(record) = &record {
            state.apply(record);
        }
        Ok(())
    })?;
    if state.cluster_id.is_none() {
        let record = MetadataRecord::ClusterId(random::uuid());
        let failed = |reason| LoadError { offset: log.log_end_offset(), reason };
        append(log, now, std::slice::from_ref(&record))
            .await
            .map_err(|error| failed(error.message.unwrap_or_default()))?;
        state.apply(&record);
    }
    apply_broker_configs(&state, node_id, config, log_dir);
    remove_unknown(log_dir, &state);
    let broker = config.typed();
    let topics = Topics::default();
    for (name, topic) in &state.topics {
        let config = topic_config(&state, name, config);
        let mut partitions = Vec::with_capacity(topic.leader_epochs.len());
        for index in 0..topic.leader_epochs.len() as i32 {
            let log = make_log(log_dir, topic.id, name, index, &config).map_err(|error| {
                LoadError { offset: -1, reason: format!("the log of {name}-{index}: {error}") }
            })?;
            partitions.push(Arc::new(Partition::new(topic.id, index, log)));
        }
        let name = Arc::from(name.as_str());
        topics.put(Topic { name, id: topic.id, config: Arc::new(config), partitions });
    }
    Ok(Metadata::new(state, topics, &broker, (*config.settings()).clone()))
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
        let failed = |reason: String| LoadError { offset, reason };
        let read = log
            .read(offset, READ_BYTES, true, Isolation::ReadUncommitted)
            .map_err(|error| failed(error.to_string()))?;
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

/// Removes logs the metadata does not know: their creation was cut short, or their deletion was.
fn remove_unknown(log_dir: &LogDir, state: &ClusterState) {
    let mut known = BTreeSet::from([(METADATA_TOPIC_ID, 0)]);
    for topic in state.topics.values() {
        known.extend((0..topic.leader_epochs.len() as i32).map(|index| (topic.id, index)));
    }
    for log in log_dir.partitions() {
        let id = log.id();
        if known.contains(&(id.topic_id, id.index)) {
            continue;
        }
        if let Err(error) = log_dir.delete_partition(id.topic_id, id.index, drop) {
            warn!(topic = %id.topic, partition = id.index, %error, "a leftover log could not be removed");
        }
    }
}
