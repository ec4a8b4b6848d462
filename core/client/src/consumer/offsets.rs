//! Questions about offsets as the wire has them, and their answers as the machines want them.

use std::collections::BTreeMap;

use kohort_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use kohort_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use kohort_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use kohort_protocol::{ErrorCode, Uuid};

use super::group_protocol::by_topic;
use super::membership::GroupIdentity;
use super::positions::{CommittedAnswer, EpochEnd};
use super::types::{IsolationLevel, Position, TopicName, TopicPartition};
use crate::metadata::MetadataView;

/// Asks for a group's committed offsets of partitions. Both forms are filled in, with one group and
/// with several: which one travels depends on the negotiated version.
///
/// Under the consumer protocol the member names itself, so that one whose partitions went to others
/// learns no offsets of theirs.
pub fn offsets_request(
    group_id: String,
    member: Option<GroupIdentity>,
    partitions: &[TopicPartition],
    require_stable: bool,
    view: &MetadataView,
) -> OffsetFetchRequest {
    let topics = by_topic(partitions);
    let old = |(name, indexes): (&TopicName, &Vec<i32>)| OffsetFetchRequestTopic {
        name: name.to_string(),
        partition_indexes: indexes.clone(),
    };
    let new = |(name, indexes): (&TopicName, &Vec<i32>)| OffsetFetchRequestTopics {
        name: name.to_string(),
        topic_id: view.topic(name).map_or(Uuid::ZERO, |topic| topic.id),
        partition_indexes: indexes.clone(),
    };
    OffsetFetchRequest {
        group_id: group_id.clone(),
        topics: Some(topics.iter().map(old).collect()),
        groups: vec![OffsetFetchRequestGroup {
            group_id,
            topics: Some(topics.iter().map(new).collect()),
            member_epoch: member.as_ref().map_or(-1, |member| member.generation),
            member_id: member.map(|member| member.member_id),
        }],
        require_stable,
    }
}

/// Reads committed offsets out of either form of the answer.
pub fn read_offsets(
    answer: OffsetFetchResponse,
    view: &MetadataView,
) -> Result<Vec<(TopicPartition, CommittedAnswer)>, ErrorCode> {
    let code = answer.groups.first().map_or(answer.error_code, |group| group.error_code);
    if code != ErrorCode::NONE {
        return Err(code);
    }
    let mut offsets = Vec::new();
    let mut add = |topic: &TopicName, partition: i32, offset: i64, epoch: i32, code: ErrorCode| {
        let position = Position { offset, leader_epoch: (epoch >= 0).then_some(epoch) };
        let answer =
            if code == ErrorCode::NONE { Ok((offset >= 0).then_some(position)) } else { Err(code) };
        offsets.push((TopicPartition { topic: topic.clone(), partition }, answer));
    };
    for topic in answer.topics {
        let name: TopicName = topic.name.into();
        for it in topic.partitions {
            add(
                &name,
                it.partition_index,
                it.committed_offset,
                it.committed_leader_epoch,
                it.error_code,
            );
        }
    }
    for topic in answer.groups.into_iter().flat_map(|group| group.topics) {
        let name = view
            .topic_by_id(topic.topic_id)
            .map_or_else(|| topic.name.into(), |it| it.name.clone());
        for it in topic.partitions {
            add(
                &name,
                it.partition_index,
                it.committed_offset,
                it.committed_leader_epoch,
                it.error_code,
            );
        }
    }
    Ok(offsets)
}

/// Asks for offsets by time: each partition with the time and the leader epoch known.
pub fn list_offsets_request(
    partitions: &[(TopicPartition, i64, i32)],
    isolation: IsolationLevel,
) -> ListOffsetsRequest {
    let mut topics: BTreeMap<&TopicName, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (it, timestamp, epoch) in partitions {
        topics.entry(&it.topic).or_default().push(ListOffsetsPartition {
            partition_index: it.partition,
            current_leader_epoch: *epoch,
            timestamp: *timestamp,
        });
    }
    ListOffsetsRequest {
        replica_id: -1,
        isolation_level: isolation.wire(),
        topics: topics
            .into_iter()
            .map(|(name, partitions)| ListOffsetsTopic { name: name.to_string(), partitions })
            .collect(),
        ..ListOffsetsRequest::default()
    }
}

/// Asks where epochs ended: each partition with the epoch in question and the leader epoch known.
pub fn epoch_ends_request(
    partitions: &[(TopicPartition, i32, i32)],
) -> OffsetForLeaderEpochRequest {
    let mut topics: BTreeMap<&TopicName, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
    for (it, leader_epoch, current_leader_epoch) in partitions {
        topics.entry(&it.topic).or_default().push(OffsetForLeaderPartition {
            partition: it.partition,
            current_leader_epoch: *current_leader_epoch,
            leader_epoch: *leader_epoch,
        });
    }
    let topic = |(name, partitions): (&TopicName, Vec<OffsetForLeaderPartition>)| {
        OffsetForLeaderTopic { topic: name.to_string(), partitions }
    };
    OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.into_iter().map(topic).collect() }
}

/// Reads where epochs ended: `None` where the leader knows neither the epoch nor one before it.
pub fn read_epoch_ends(answer: OffsetForLeaderEpochResponse) -> Vec<(TopicPartition, EpochEnd)> {
    let mut ends = Vec::new();
    for topic in answer.topics {
        let name: TopicName = topic.topic.into();
        for it in topic.partitions {
            let known = it.end_offset >= 0 && it.leader_epoch >= 0;
            let end = Position { offset: it.end_offset, leader_epoch: Some(it.leader_epoch) };
            let answer = match it.error_code {
                ErrorCode::NONE => Ok(known.then_some(end)),
                code => Err(code),
            };
            ends.push((TopicPartition { topic: name.clone(), partition: it.partition }, answer));
        }
    }
    ends
}

/// Reads offsets by time: `None` where no record is that young.
pub fn read_listed(answer: ListOffsetsResponse) -> Vec<(TopicPartition, CommittedAnswer)> {
    let mut listed = Vec::new();
    for topic in answer.topics {
        let name: TopicName = topic.name.into();
        for it in topic.partitions {
            let position = Position {
                offset: it.offset,
                leader_epoch: (it.leader_epoch >= 0).then_some(it.leader_epoch),
            };
            let answer = if it.error_code == ErrorCode::NONE {
                Ok((it.offset >= 0).then_some(position))
            } else {
                Err(it.error_code)
            };
            listed.push((
                TopicPartition { topic: name.clone(), partition: it.partition_index },
                answer,
            ));
        }
    }
    listed
}
