//! OffsetDelete (KIP-496): forgets offsets of topics that the group does not consume.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

use crate::group::entry::{Group, GroupEntry, Groups};
use crate::group::record::GroupRecord;
use crate::group::turn::Turn;

/// Handles an OffsetDelete: adds the tombstones to the outcome and returns the response.
pub(crate) fn delete(
    groups: &Groups,
    turn: &mut Turn<'_>,
    request: &OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let entry = match check(groups, request) {
        Ok(entry) => entry,
        Err(error_code) => {
            return OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
        }
    };
    let mut response = OffsetDeleteResponse::default();
    for topic in &request.topics {
        let found = turn.image.topic(&topic.name);
        let known = 0..found.map_or(0, |found| found.partitions);
        let subscribed = entry.group.is_subscribed_to(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let partition_index = partition.partition_index;
            let error_code = if !known.contains(&partition_index) {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else if subscribed {
                ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
            } else {
                ErrorCode::NONE
            };
            partitions.push(OffsetDeleteResponsePartition { partition_index, error_code });
            let stored = entry.offsets.get(&topic.name, partition_index).is_some();
            if let (ErrorCode::NONE, true, Some(found)) = (error_code, stored, found) {
                turn.outcome.records.push(GroupRecord::OffsetCommitTombstone {
                    group: entry.id.clone(),
                    topic: found.name.clone(),
                    partition: partition_index,
                });
            }
        }
        response.topics.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
    }
    response
}

/// Only where it is known what the members subscribe to can offsets be deleted under them.
fn check<'a>(
    groups: &'a Groups,
    request: &OffsetDeleteRequest,
) -> Result<&'a GroupEntry, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let entry = groups.get(request.group_id.as_str());
    let entry = entry.ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
    let knows_subscriptions = match &entry.group {
        Group::Simple => false,
        Group::Classic(group) => group.is_consumer_group(),
        Group::Consumer(_) => true,
    };
    if entry.group.is_empty() || knows_subscriptions {
        Ok(entry)
    } else {
        Err(ErrorCode::NON_EMPTY_GROUP)
    }
}
