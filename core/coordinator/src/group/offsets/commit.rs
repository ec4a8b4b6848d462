//! OffsetCommit, versions 2 to 10.
//!
//! Whether a topic exists is decided first, partition by partition; whether the group takes the
//! commit comes second and counts for all partitions that exist. Version 10 names topics by id.

use std::sync::Arc;

use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kohort_protocol::{ErrorCode, Uuid};

use super::{GroupOffsets, TopicOffsets};
use crate::config::GroupConfig;
use crate::group::committed_offset::CommittedOffset;
use crate::group::consumer::Allowed;
use crate::group::entry::{Group, GroupEntry, Groups};
use crate::group::record::{GroupRecord, LONGEST_NAME};
use crate::group::request::RequestContext;
use crate::group::turn::Turn;
use crate::metadata::{MetadataImage, TopicImage};

/// Handles an OffsetCommit: adds the records to the outcome and returns the response.
pub(crate) fn commit(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    context: &RequestContext,
    request: &OffsetCommitRequest,
) -> OffsetCommitResponse {
    let version = context.api_version;
    let image = turn.image;
    let topics: Vec<_> =
        request.topics.iter().map(|topic| (topic, resolve(image, version, topic))).collect();
    let exists = |(topic, found): &(&OffsetCommitRequestTopic, Result<&TopicImage, ErrorCode>)| {
        let has = |partition: &_| found.is_ok_and(|found| has_partition(found, partition));
        topic.partitions.iter().any(has)
    };
    let mut entry = groups.get_mut(request.group_id.as_str());
    let allowed = if topics.iter().any(exists) {
        allow(entry.as_deref_mut(), turn, version, request)
    } else {
        Ok(Allowed::All)
    };
    let entry = entry.as_deref();
    let group = entry.map_or_else(|| request.group_id.as_str().into(), |entry| entry.id.clone());
    let offsets = entry.map(|entry| &entry.offsets);

    // A negative time leaves the retention to the broker; only versions 2 to 4 can choose.
    let expiry = (request.retention_time_ms >= 0)
        .then(|| turn.wall.saturating_add(request.retention_time_ms));

    let mut response = OffsetCommitResponse {
        topics: Vec::with_capacity(topics.len()),
        ..OffsetCommitResponse::default()
    };
    for (topic, found) in topics {
        let mut answer = topic_response(version, topic);
        let mut committed = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let result = found
                .and_then(|found| check_partition(found, partition).map(|()| found))
                .and_then(|found| allows(&allowed, found, partition).map(|()| found))
                .and_then(|found| check_metadata(turn.config, partition).map(|()| found));
            answer.partitions.push(OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: result.err().unwrap_or(ErrorCode::NONE),
            });
            if let Ok(found) = result {
                let value = CommittedOffset {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: stored_text(partition),
                    commit_timestamp: turn.wall,
                    expire_timestamp: expiry,
                    // The record has room for one or the other; see `CommittedOffset`.
                    topic_id: expiry.map_or(found.id, |_| Uuid::ZERO),
                };
                committed.push((partition.partition_index, value));
            }
        }
        if let Ok(found) = found
            && !committed.is_empty()
        {
            turn.outcome.records.push(GroupRecord::OffsetCommit {
                group: Arc::clone(&group),
                topic: Arc::clone(own_name(offsets, found)),
                offsets: committed,
            });
        }
        response.topics.push(answer);
    }
    response
}

/// Returns the topic's name as this shard keeps it, if the group has committed to the topic before. The
/// image's own is shared by all shards, and counting the references to it would pass its memory to and
/// fro between the processors for each commit.
fn own_name<'a>(offsets: Option<&'a GroupOffsets>, topic: &'a TopicImage) -> &'a Arc<str> {
    let known = offsets.and_then(|offsets| offsets.topic(&topic.name));
    known.map_or(&topic.name, TopicOffsets::name)
}

/// Asks the group whether it takes the commit. Without a group, only those may commit that do not
/// claim to be members: their commit makes a *simple* group that does nothing but hold offsets.
fn allow(
    entry: Option<&mut GroupEntry>,
    turn: &mut Turn<'_>,
    version: i16,
    request: &OffsetCommitRequest,
) -> Result<Allowed, ErrorCode> {
    match entry.map(|entry| &mut entry.group) {
        None if request.group_id.len() > LONGEST_NAME => Err(ErrorCode::INVALID_GROUP_ID),
        Some(Group::Classic(group)) => group.allow_commit(turn, request).map(|()| Allowed::All),
        Some(Group::Consumer(group)) => {
            let allowed = group.allow_commit(version, request);
            if allowed.is_ok() {
                group.see(turn, &request.member_id);
            }
            allowed
        }
        Some(Group::Simple) | None if request.generation_id_or_member_epoch < 0 => Ok(Allowed::All),
        Some(Group::Simple) => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        None if version < FIRST_VERSION_OF_CONSUMER_GROUPS => Err(ErrorCode::ILLEGAL_GENERATION),
        None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
    }
}

/// Asks for one partition what the group said of the whole.
fn allows(
    allowed: &Result<Allowed, ErrorCode>,
    topic: &TopicImage,
    partition: &OffsetCommitRequestPartition,
) -> Result<(), ErrorCode> {
    match allowed {
        Ok(allowed) => allowed.check(topic.id, partition.partition_index),
        Err(error) => Err(*error),
    }
}

/// Answers every partition of an OffsetCommit with `error`.
pub(crate) fn refuse_commit(
    version: i16,
    request: &OffsetCommitRequest,
    error: ErrorCode,
) -> OffsetCommitResponse {
    let refuse = |partition: &OffsetCommitRequestPartition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: error,
    };
    let topic = |topic: &OffsetCommitRequestTopic| OffsetCommitResponseTopic {
        partitions: topic.partitions.iter().map(refuse).collect(),
        ..topic_response(version, topic)
    };
    OffsetCommitResponse {
        topics: request.topics.iter().map(topic).collect(),
        ..OffsetCommitResponse::default()
    }
}

fn resolve<'a>(
    image: &'a MetadataImage,
    version: i16,
    topic: &OffsetCommitRequestTopic,
) -> Result<&'a TopicImage, ErrorCode> {
    if version >= FIRST_VERSION_WITH_TOPIC_IDS {
        image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        image.topic(&topic.name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

fn has_partition(topic: &TopicImage, partition: &OffsetCommitRequestPartition) -> bool {
    (0..topic.partitions).contains(&partition.partition_index)
}

fn check_partition(
    topic: &TopicImage,
    partition: &OffsetCommitRequestPartition,
) -> Result<(), ErrorCode> {
    if has_partition(topic, partition) {
        Ok(())
    } else {
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

/// Measures the text as Java does: in UTF-16 units, of which there are never more than bytes.
fn check_metadata(
    config: &GroupConfig,
    partition: &OffsetCommitRequestPartition,
) -> Result<(), ErrorCode> {
    let text = partition.committed_metadata.as_deref().unwrap_or_default();
    let longest = config.offset_metadata_max_bytes;
    if text.len() <= longest || text.encode_utf16().count() <= longest {
        Ok(())
    } else {
        Err(ErrorCode::OFFSET_METADATA_TOO_LARGE)
    }
}

fn stored_text(partition: &OffsetCommitRequestPartition) -> Option<Box<str>> {
    let text = partition.committed_metadata.as_deref();
    text.filter(|text| !text.is_empty()).map(Box::from)
}

/// Returns the topic's answer without partitions, with the name or the id the version has room for.
fn topic_response(version: i16, topic: &OffsetCommitRequestTopic) -> OffsetCommitResponseTopic {
    let by_id = version >= FIRST_VERSION_WITH_TOPIC_IDS;
    OffsetCommitResponseTopic {
        name: if by_id { String::new() } else { topic.name.clone() },
        topic_id: if by_id { topic.topic_id } else { Uuid::ZERO },
        partitions: Vec::with_capacity(topic.partitions.len()),
    }
}

const FIRST_VERSION_OF_CONSUMER_GROUPS: i16 = 9;
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;
