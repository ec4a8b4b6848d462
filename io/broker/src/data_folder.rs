//! A data folder without a broker: looked at, mended, and its committed offsets read.
//!
//! For `kohort log` and whoever does the same in a program. Every function takes the folder's lock, so
//! it is refused while a broker runs on the folder; none makes a folder that does not exist.

use bytes::Bytes;
use kohort_protocol::compression::Decompressor;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolAssignment;
use kohort_protocol::messages::group_records::{
    GroupMetadataKey, GroupMetadataValue, GroupRecordKey, MemberMetadata, OffsetCommitKey,
    OffsetCommitValue,
};
use kohort_protocol::records::{BatchRef, RecordView};
use kohort_storage::{Disk, FileDisk, LogDirConfig};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

mod consumer_group;
mod metadata;

pub use crate::cluster::remake::RemadeTopic;
pub use metadata::MetadataReport;

pub use kohort_storage::{OpenError, Problem, RepairReport, VerifyReport};

/// The topic the committed offsets are in.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// How much one batch may unpack to. The broker's own batches are not packed.
const UNPACKED_MAX: usize = 1 << 26;

/// What mending a folder did.
#[derive(Debug, Clone, Default)]
pub struct Repaired {
    /// What was taken out, and what it took.
    pub log: RepairReport,
    /// What was made again of the cluster's metadata.
    pub metadata: MetadataReport,
}

impl Repaired {
    /// Tells whether there was nothing to mend.
    pub fn is_nothing(&self) -> bool {
        self.log.is_nothing() && self.metadata == MetadataReport::default()
    }
}

/// Reads everything in a folder and reports what is damaged, and whether a broker could start on it.
/// Changes nothing.
pub fn verify(folder: &Path) -> Result<VerifyReport, OpenError> {
    let mut report = kohort_storage::verify(&disk(), folder)?;
    if report.problems.is_empty() {
        report.problems = metadata::check(&disk(), folder)?;
    }
    Ok(report)
}

/// Takes what is damaged out of a folder, after copying it to a folder `damaged-N` inside, so that a
/// broker starts on it; topics whose metadata was among it are made again.
pub fn repair(folder: &Path) -> Result<Repaired, OpenError> {
    let config = LogDirConfig::new(folder);
    let log = kohort_storage::repair(&disk(), &config)?;
    let metadata = metadata::mend(config)?;
    Ok(Repaired { log, metadata })
}

/// Writes what a folder holds in words: checkpoint, segments with their batches, commits of the
/// write-ahead log with their entries. Changes nothing.
pub fn dump(folder: &Path, out: &mut dyn Write) -> Result<(), OpenError> {
    kohort_storage::dump(&disk(), folder, out)
}

/// Writes every record of `__consumer_offsets` in words, one a line, partition by partition in the
/// order in which the group coordinator replays them: offsets committed, groups and their members,
/// and what was deleted. Changes nothing.
pub fn dump_offsets(folder: &Path, out: &mut dyn Write) -> Result<(), OpenError> {
    let mut decompressor = Decompressor::default();
    let mut unpacked = Vec::new();
    kohort_storage::read_topic(&disk(), folder, OFFSETS_TOPIC, |id, batch: BatchRef<'_>| {
        if batch.header().is_control() {
            return Ok(());
        }
        let records = batch.records(&mut decompressor, &mut unpacked, UNPACKED_MAX);
        for record in records.map_err(io::Error::other)? {
            let record = record.map_err(io::Error::other)?;
            writeln!(out, "{id} at {}: {}", record.offset, describe(&record))?;
        }
        Ok(())
    })
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(FileDisk)
}

/// Says what a record means; a record that cannot be read is said to be so.
fn describe(record: &RecordView<'_>) -> String {
    let key = Bytes::copy_from_slice(record.key.unwrap_or_default());
    let value = record.value.map(Bytes::copy_from_slice);
    match GroupRecordKey::from_bytes(&key) {
        Ok(GroupRecordKey::OffsetCommit(key)) => offset_commit(&key, value.as_ref()),
        Ok(GroupRecordKey::GroupMetadata(key)) => group_metadata(&key, value.as_ref()),
        Ok(key) => consumer_group::describe(&key, value.as_ref())
            .unwrap_or_else(|| format!("a record of kind {}", key.kind())),
        Err(error) => format!("a key that cannot be read: {error}"),
    }
}

fn offset_commit(key: &OffsetCommitKey, value: Option<&Bytes>) -> String {
    let OffsetCommitKey { group, topic, partition, .. } = key;
    let Some(value) = value else {
        return format!("group `{group}` has no offset for {topic}-{partition} any more");
    };
    match OffsetCommitValue::from_bytes(value) {
        Ok(value) => {
            let mut text =
                format!("group `{group}` commits {topic}-{partition} at {}", value.offset);
            if value.leader_epoch >= 0 {
                let _ = write!(text, ", leader epoch {}", value.leader_epoch);
            }
            if !value.metadata.is_empty() {
                let _ = write!(text, ", metadata {:?}", value.metadata);
            }
            let _ = write!(text, ", time {}", value.commit_timestamp);
            text
        }
        Err(error) => {
            format!("group `{group}` commits {topic}-{partition}, which cannot be read: {error}")
        }
    }
}

fn group_metadata(key: &GroupMetadataKey, value: Option<&Bytes>) -> String {
    let group = &key.group;
    let Some(value) = value else { return format!("group `{group}` is deleted") };
    match GroupMetadataValue::from_bytes(value) {
        Ok(value) => {
            let mut text = format!("group `{group}` is at generation {}", value.generation);
            if let Some(protocol) = &value.protocol {
                let _ = write!(text, ", protocol {protocol}");
            }
            if value.members.is_empty() {
                text.push_str(", without members");
            }
            for member in &value.members {
                let leads = value.leader.as_ref() == Some(&member.member_id);
                let role = if leads { "leader" } else { "member" };
                let _ = write!(text, "; {role} {}", owner(member));
            }
            text
        }
        Err(error) => format!("group `{group}` with a state that cannot be read: {error}"),
    }
}

fn owner(member: &MemberMetadata) -> String {
    let mut text = format!("`{}` on {}", member.member_id, member.client_host);
    // Other kinds of group than consumers have assignments of their own making.
    if let Ok(assignment) = ConsumerProtocolAssignment::from_bytes(&member.assignment) {
        text.push_str(" owns");
        if assignment.assigned_partitions.is_empty() {
            text.push_str(" nothing");
        }
        for of in &assignment.assigned_partitions {
            for partition in &of.partitions {
                let _ = write!(text, " {}-{partition}", of.topic);
            }
        }
    }
    text
}
