//! OffsetFetch, versions 1 to 10: several groups since version 8, topic ids since version 10.
//!
//! A group or an offset that does not exist is not an error: the offset is −1, and the client
//! begins where `auto.offset.reset` says. An offset that was committed for an earlier topic of the
//! same name does not exist either.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kohort_protocol::{ErrorCode, Uuid};

use super::{GroupOffsets, StoredOffset};
use crate::group::entry::Groups;
use crate::metadata::MetadataImage;

/// Handles an OffsetFetch.
pub(crate) fn fetch(
    groups: &Groups,
    image: &MetadataImage,
    version: i16,
    request: &OffsetFetchRequest,
) -> OffsetFetchResponse {
    let offsets = |group: &str| groups.get(group).map(|entry| &entry.offsets);
    let group = |group: &OffsetFetchRequestGroup| {
        let error_code = allow(groups, version, group);
        OffsetFetchResponseGroup {
            group_id: group.group_id.clone(),
            error_code,
            topics: match &group.topics {
                _ if !error_code.is_ok() => Vec::new(),
                Some(topics) => fetch_some(offsets(&group.group_id), image, version, topics),
                None => fetch_all(offsets(&group.group_id), image, version),
            },
        }
    };
    let answers = asked_groups(version, request).iter().map(group).collect();
    respond(version, answers)
}

/// Asks a consumer group whether it tells; others tell everybody. Only a member that must not go on is
/// refused: its position would be one that it may no longer use.
fn allow(groups: &Groups, version: i16, group: &OffsetFetchRequestGroup) -> ErrorCode {
    let consumer = groups.get(group.group_id.as_str()).and_then(|entry| entry.group.consumer());
    match consumer {
        Some(consumer) if version >= FIRST_VERSION_WITH_EPOCHS => {
            let allowed = consumer.allow_fetch(group.member_id.as_deref(), group.member_epoch);
            allowed.err().unwrap_or(ErrorCode::NONE)
        }
        _ => ErrorCode::NONE,
    }
}

/// Answers an OffsetFetch with `error`.
pub(crate) fn refuse_fetch(
    version: i16,
    request: &OffsetFetchRequest,
    error: ErrorCode,
) -> OffsetFetchResponse {
    let group = |group: OffsetFetchRequestGroup| OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics: if version < FIRST_VERSION_WITH_GROUP_ERROR {
            let topics = group.topics.unwrap_or_default();
            topics.into_iter().map(|topic| fail_topic(&topic, error)).collect()
        } else {
            Vec::new()
        },
        error_code: error,
    };
    let answers = asked_groups(version, request).into_iter().map(group).collect();
    respond(version, answers)
}

/// Returns the groups asked for; before version 8 there was one, in another place.
fn asked_groups(version: i16, request: &OffsetFetchRequest) -> Vec<OffsetFetchRequestGroup> {
    if version >= FIRST_VERSION_WITH_GROUPS {
        return once_each(&request.groups);
    }
    let topics = request.topics.as_ref().map(|topics| {
        let topic = |topic: &_| {
            let topic: &kohort_protocol::messages::offset_fetch::OffsetFetchRequestTopic = topic;
            OffsetFetchRequestTopics {
                name: topic.name.clone(),
                partition_indexes: topic.partition_indexes.clone(),
                ..OffsetFetchRequestTopics::default()
            }
        };
        topics.iter().map(topic).collect()
    });
    once_each(&[OffsetFetchRequestGroup {
        group_id: request.group_id.clone(),
        topics,
        ..OffsetFetchRequestGroup::default()
    }])
}

/// Returns each group, topic and partition once, in the request's order. Naming one costs a few bytes,
/// and what was committed with it may be thousands: an answer must not grow with repetitions.
fn once_each(asked: &[OffsetFetchRequestGroup]) -> Vec<OffsetFetchRequestGroup> {
    let mut groups: Vec<OffsetFetchRequestGroup> = Vec::with_capacity(asked.len());
    let mut places = BTreeMap::new();
    for group in asked {
        match places.get(&group.group_id) {
            None => {
                places.insert(&group.group_id, groups.len());
                groups.push(group.clone());
            }
            Some(place) => {
                let known: &mut OffsetFetchRequestGroup = &mut groups[*place];
                // Nothing stands for all topics, and so for these too.
                known.topics = known
                    .topics
                    .take()
                    .zip(group.topics.clone())
                    .map(|(known, more)| known.into_iter().chain(more).collect());
            }
        }
    }
    for topics in groups.iter_mut().filter_map(|group| group.topics.as_mut()) {
        *topics = topics_once_each(std::mem::take(topics));
    }
    groups
}

fn topics_once_each(asked: Vec<OffsetFetchRequestTopics>) -> Vec<OffsetFetchRequestTopics> {
    let mut topics: Vec<(OffsetFetchRequestTopics, BTreeSet<i32>)> = Vec::new();
    let mut places = BTreeMap::new();
    for mut topic in asked {
        let key = (topic.name.clone(), topic.topic_id);
        let indexes = std::mem::take(&mut topic.partition_indexes);
        let place = *places.entry(key).or_insert(topics.len());
        if place == topics.len() {
            topics.push((topic, BTreeSet::new()));
        }
        let (known, seen) = &mut topics[place];
        known.partition_indexes.extend(indexes.into_iter().filter(|index| seen.insert(*index)));
    }
    topics.into_iter().map(|(topic, _)| topic).collect()
}

fn respond(version: i16, mut groups: Vec<OffsetFetchResponseGroup>) -> OffsetFetchResponse {
    if version >= FIRST_VERSION_WITH_GROUPS {
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    let group = groups.pop().unwrap_or_default();
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    };
    OffsetFetchResponse {
        error_code: group.error_code,
        topics: group.topics.into_iter().map(topic).collect(),
        ..OffsetFetchResponse::default()
    }
}

fn fetch_some(
    offsets: Option<&GroupOffsets>,
    image: &MetadataImage,
    version: i16,
    topics: &[OffsetFetchRequestTopics],
) -> Vec<OffsetFetchResponseTopics> {
    let by_id = version >= FIRST_VERSION_WITH_TOPIC_IDS;
    let fetch = |topic: &OffsetFetchRequestTopics| {
        let found =
            if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(&topic.name) };
        if by_id && found.is_none() {
            return fail_topic(topic, ErrorCode::UNKNOWN_TOPIC_ID);
        }
        let name = found.map_or(topic.name.as_str(), |found| &found.name);
        let id = found.map_or(Uuid::ZERO, |found| found.id);
        let stored = offsets.and_then(|offsets| offsets.topic(name));
        let partition = |index: &i32| {
            let offset = stored.and_then(|topic| topic.get(*index));
            partition_response(*index, offset.filter(|offset| is_for(offset, id)))
        };
        OffsetFetchResponseTopics {
            partitions: topic.partition_indexes.iter().map(partition).collect(),
            ..topic_response(topic)
        }
    };
    topics.iter().map(fetch).collect()
}

fn fetch_all(
    offsets: Option<&GroupOffsets>,
    image: &MetadataImage,
    version: i16,
) -> Vec<OffsetFetchResponseTopics> {
    let by_id = version >= FIRST_VERSION_WITH_TOPIC_IDS;
    let topics = offsets.into_iter().flat_map(GroupOffsets::topics);
    topics
        .filter_map(|topic| {
            let name = topic.name();
            let id = image.topic(name).map_or(Uuid::ZERO, |topic| topic.id);
            let partitions: Vec<_> = topic
                .iter()
                .filter(|offset| is_for(offset, id))
                .map(|offset| partition_response(offset.partition, Some(offset)))
                .collect();
            // A topic that is gone has no id to be named by.
            let nameless = by_id && id.is_zero();
            (!partitions.is_empty() && !nameless).then(|| OffsetFetchResponseTopics {
                name: if by_id { String::new() } else { name.to_string() },
                topic_id: if by_id { id } else { Uuid::ZERO },
                partitions,
            })
        })
        .collect()
}

/// Tells whether an offset was committed for the topic with that id, as far as both are known.
fn is_for(offset: &StoredOffset, topic_id: Uuid) -> bool {
    offset.topic_id.is_zero() || topic_id.is_zero() || offset.topic_id == topic_id
}

fn topic_response(topic: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: Vec::new(),
    }
}

fn partition_response(index: i32, offset: Option<&StoredOffset>) -> OffsetFetchResponsePartitions {
    let text = offset.and_then(StoredOffset::metadata);
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: offset.map_or(NO_OFFSET, |offset| offset.offset),
        committed_leader_epoch: offset.map_or(-1, |offset| offset.leader_epoch),
        metadata: Some(text.unwrap_or_default().to_owned()),
        error_code: ErrorCode::NONE,
    }
}

fn fail_topic(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let fail = |index: &i32| OffsetFetchResponsePartitions {
        error_code: error,
        ..partition_response(*index, None)
    };
    OffsetFetchResponseTopics {
        partitions: topic.partition_indexes.iter().map(fail).collect(),
        ..topic_response(topic)
    }
}

const NO_OFFSET: i64 = -1;
const FIRST_VERSION_WITH_GROUP_ERROR: i16 = 2;
const FIRST_VERSION_WITH_GROUPS: i16 = 8;
const FIRST_VERSION_WITH_EPOCHS: i16 = 9;
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_topics_and_partitions_named_again_are_answered_once() {
        let topic = |name: &str, partition_indexes: &[i32]| OffsetFetchRequestTopics {
            name: name.to_owned(),
            partition_indexes: partition_indexes.to_vec(),
            ..OffsetFetchRequestTopics::default()
        };
        let group = |group_id: &str, topics| OffsetFetchRequestGroup {
            group_id: group_id.to_owned(),
            topics,
            ..OffsetFetchRequestGroup::default()
        };
        let asked = [
            group("g", Some(vec![topic("t", &[1, 0, 1]), topic("u", &[0]), topic("t", &[2, 1])])),
            group("h", Some(vec![topic("t", &[0])])),
            group("g", Some(vec![topic("u", &[0, 3])])),
            group("h", None),
        ];
        let expected =
            [group("g", Some(vec![topic("t", &[1, 0, 2]), topic("u", &[0, 3])])), group("h", None)];
        assert_eq!(once_each(&asked), expected);
    }
}
