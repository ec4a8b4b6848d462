//! The cluster's metadata in a data folder without a broker: whether it can be read, and what of it can
//! be made again from the folders of partitions.

use crate::cluster::controller::batch_of;
use crate::cluster::load::{decode, holds_records, replay};
use crate::cluster::record::MetadataRecord;
use crate::cluster::remake::{FoundPartition, RemadeTopic, remake};
use crate::config::Settings;
use bytes::Bytes;
use kohort_log::validator::AppendOrigin;
use kohort_protocol::compression::Decompressor;
use kohort_storage::{
    Background, CommitStep, Disk, LogDir, LogDirConfig, METADATA_TOPIC, METADATA_TOPIC_ID,
    OpenError, PartitionLog, Problem,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// How much one batch may unpack to. The broker's own batches are not packed.
const UNPACKED_MAX: usize = 1 << 26;
/// Records in one batch: far below what a log takes at once.
const RECORDS_PER_BATCH: usize = 1000;

/// What mending did to the metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataReport {
    /// Topics made again, or of which partitions were, from the partitions' folders. Their own
    /// properties are lost.
    pub topics: Vec<RemadeTopic>,
    /// Whether the cluster's id was lost, and there is another now.
    pub new_cluster_id: bool,
    /// Folders of topics whose name another topic has: set aside.
    pub set_aside: Vec<PathBuf>,
}

/// Reads all metadata as a start does, and returns what is wrong with it.
pub(super) fn check(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Vec<Problem>, OpenError> {
    let mut decompressor = Decompressor::default();
    let mut unpacked = Vec::new();
    let mut problems = Vec::new();
    kohort_storage::read_topic(disk, folder, METADATA_TOPIC, |_, batch| {
        if batch.header().is_control() {
            return Ok(());
        }
        let records = batch.records(&mut decompressor, &mut unpacked, UNPACKED_MAX);
        for record in records.map_err(io::Error::other)? {
            let record = record.map_err(io::Error::other)?;
            if let Err(reason) = decode(record.value.map(Bytes::copy_from_slice)) {
                let reason = format!("the metadata at offset {}: {reason}", record.offset);
                problems.push(Problem { path: folder.to_owned(), position: 0, reason });
            }
        }
        Ok(())
    })?;
    Ok(problems)
}

/// Makes topics again that the metadata does not know any more.
pub(super) fn mend(config: LogDirConfig) -> Result<MetadataReport, OpenError> {
    let folder = config.path.clone();
    let failed =
        |reason: String| OpenError::Io { path: folder.clone(), reason: io::Error::other(reason) };
    let clock = config.clock.clone();
    let (dir, _) = LogDir::open(LogDirConfig { background: Background::Manual, ..config })?;
    let log = dir.metadata_log().map_err(|error| failed(error.to_string()))?;
    let replayed = replay(&log).map_err(|error| failed(error.to_string()))?;
    let others = dir.partitions().into_iter().filter(|log| log.id().topic_id != METADATA_TOPIC_ID);
    let found: Vec<FoundPartition> = others.map(|log| found(&log)).collect();
    let mut settings = Settings::default();
    settings.complete().map_err(|error| failed(error.to_string()))?;
    let remade = remake(&replayed, &found, &settings.typed());
    for records in remade.records.chunks(RECORDS_PER_BATCH) {
        append(&dir, &log, clock.now(), records).map_err(failed)?;
    }
    let mut set_aside = Vec::new();
    for (topic_id, index) in remade.homeless {
        let stray = dir.set_aside(topic_id, index).map_err(|error| failed(error.to_string()))?;
        set_aside.extend(stray);
    }
    dir.shutdown().map_err(|error| failed(error.to_string()))?;
    let (topics, new_cluster_id) = (remade.topics, remade.new_cluster_id);
    Ok(MetadataReport { topics, new_cluster_id, set_aside })
}

fn found(log: &PartitionLog) -> FoundPartition {
    let id = log.id();
    FoundPartition {
        topic: id.topic.to_string(),
        topic_id: id.topic_id,
        index: id.index,
        holds_records: holds_records(log),
        producer_id: log.producers().iter().map(|producer| producer.producer_id).max(),
    }
}

/// Appends records as one batch and makes them durable.
fn append(
    dir: &LogDir,
    log: &PartitionLog,
    now: i64,
    records: &[MetadataRecord],
) -> Result<(), String> {
    let (done, durable) = channel();
    let told = move |result| drop(done.send(result));
    log.append(now, batch_of(now, records)?, AppendOrigin::Coordinator, told)
        .map_err(|error| error.to_string())?;
    while dir.step_commit() == CommitStep::Committed {}
    match durable.try_recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("there is no room for the log".to_owned()),
    }
}
