//! ConsumerGroupDescribe 0–1: the epochs of consumer groups, and what each member has and is to have.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_assignor::server::PartitionId;
use kohort_protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
    Member as DescribedMember, TopicPartitions,
};
use kohort_protocol::{ErrorCode, Uuid};

use super::group::ConsumerGroup;
use super::state::Member;
use crate::config::GroupConfig;
use crate::group::describe::ALL_GROUP_OPERATIONS;
use crate::group::entry::{Group, Groups};
use crate::metadata::MetadataImage;

/// Handles a ConsumerGroupDescribe.
pub(crate) fn describe(
    groups: &Groups,
    config: &GroupConfig,
    image: &MetadataImage,
    request: &ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let describe = |id: &String| {
        let refused = |error_code, why: Option<&str>| DescribedGroup {
            error_code,
            error_message: why.map(|why| format!("Group {id} {why}")),
            group_id: id.clone(),
            ..DescribedGroup::default()
        };
        let mut described = match groups.get(id.as_str()).map(|entry| &entry.group) {
            _ if id.is_empty() => refused(ErrorCode::INVALID_GROUP_ID, None),
            Some(Group::Consumer(group)) => group.describe(config, image),
            Some(_) => refused(ErrorCode::GROUP_ID_NOT_FOUND, Some("is not a consumer group.")),
            None => refused(ErrorCode::GROUP_ID_NOT_FOUND, Some("not found.")),
        };
        if request.include_authorized_operations && described.error_code.is_ok() {
            described.authorized_operations = ALL_GROUP_OPERATIONS;
        }
        described
    };
    ConsumerGroupDescribeResponse {
        groups: request.group_ids.iter().map(describe).collect(),
        ..ConsumerGroupDescribeResponse::default()
    }
}

impl ConsumerGroup {
    fn describe(&self, config: &GroupConfig, image: &MetadataImage) -> DescribedGroup {
        let state = &self.state;
        // Of equals the first by name, as when the assignment is made.
        let most = state.assignors().iter().rev().max_by_key(|(_, count)| **count);
        DescribedGroup {
            group_id: self.id.to_string(),
            group_state: state.name().to_owned(),
            group_epoch: state.epoch(),
            assignment_epoch: state.target_epoch(),
            assignor_name: most.map_or(config.default_assignor(), |(name, _)| name).to_owned(),
            members: state.members().map(|member| self.describe_member(&member, image)).collect(),
            ..DescribedGroup::default()
        }
    }

    fn describe_member(&self, member: &Member, image: &MetadataImage) -> DescribedMember {
        let metadata = &member.metadata;
        let name = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
        let target = self.state.target(&member.id);
        DescribedMember {
            member_id: member.id.to_string(),
            instance_id: name(&metadata.instance_id),
            rack_id: name(&metadata.rack_id),
            member_epoch: member.current.epoch,
            client_id: metadata.client_id.to_string(),
            client_host: metadata.client_host.to_string(),
            subscribed_topic_names: metadata.topics.iter().map(ToString::to_string).collect(),
            subscribed_topic_regex: Some(name(&metadata.regex).unwrap_or_default()),
            // What it still has to give up is its own until then.
            assignment: assignment(member.current.held(), image),
            target_assignment: assignment(
                target.into_iter().flat_map(|target| target.iter()),
                image,
            ),
            member_type: i8::from(!member.is_classic()),
        }
    }
}

/// Returns partitions by topic; a topic that is gone has no name to be told by.
fn assignment(partitions: impl Iterator<Item = PartitionId>, image: &MetadataImage) -> Assignment {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic).or_default().push(partition.index);
    }
    let topic = |(topic_id, mut partitions): (Uuid, Vec<i32>)| {
        partitions.sort_unstable();
        let topic_name = image.topic_by_id(topic_id)?.name.to_string();
        Some(TopicPartitions { topic_id, topic_name, partitions })
    };
    Assignment { topic_partitions: topics.into_iter().filter_map(topic).collect() }
}
