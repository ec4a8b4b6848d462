//! What members of a classic group tell each other through the coordinator: subscriptions inside
//! the join, assignments inside the sync.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kohort_assignor::{
    Assignment, Assignor, ClusterTopics, MemberSubscription, RebalanceProtocol, TopicLayout,
};
use kohort_protocol::DecodeError;
use kohort_protocol::messages::join_group::JoinGroupResponseMember;

use super::types::{TopicName, TopicPartition};
use crate::metadata::{MetadataView, PartitionView, TopicView};
use crate::panics::caught;

/// What a member holds when it joins.
#[derive(Debug, Clone, Copy)]
pub struct OwnedPartitions<'a> {
    /// The partitions.
    pub partitions: &'a BTreeSet<TopicPartition>,
    /// The generation that gave them, or -1.
    pub generation: i32,
}

/// Returns the bytes that describe this member to the group's leader. Fails if the assignor panics.
pub fn encode_subscription(
    assignor: &dyn Assignor,
    topics: &BTreeSet<TopicName>,
    owned: &OwnedPartitions<'_>,
    rack: Option<&str>,
) -> Result<Bytes, String> {
    let user_data = run(assignor.name(), || assignor.subscription_user_data())?;
    let subscription = MemberSubscription {
        topics: topics.iter().cloned().collect(),
        user_data,
        owned_partitions: owned.partitions.iter().cloned().collect(),
        generation_id: (owned.generation >= 0).then_some(owned.generation),
        rack_id: rack.map(Into::into),
        group_instance_id: None,
    };
    Ok(subscription
        .to_bytes(MemberSubscription::VERSION)
        .expect("a subscription holds no null where none is allowed"))
}

/// Tells the assignor what this member got. Fails if it panics.
pub fn tell(
    assignor: &mut dyn Assignor,
    assignment: &Assignment,
    generation_id: i32,
) -> Result<(), String> {
    let name = assignor.name().to_owned();
    run(&name, || assignor.on_assignment(assignment, generation_id))
}

/// Has an assignor, which may be the application's own, do its part.
fn run<T>(name: &str, part: impl FnOnce() -> T) -> Result<T, String> {
    caught(part).map_err(|said| format!("assignor `{name}` panicked: {said}"))
}

/// Reads what the leader gave this member; no bytes at all mean nothing.
pub fn decode_assignment(bytes: &Bytes) -> Result<Assignment, DecodeError> {
    if bytes.is_empty() { Ok(Assignment::default()) } else { Assignment::from_bytes(bytes) }
}

/// Whether every one of these assignors works without everybody giving everything back first: only
/// then the group rebalances cooperatively.
pub fn all_cooperative(assignors: &[Box<dyn Assignor>]) -> bool {
    assignors.iter().all(|assignor| assignor.protocols().contains(&RebalanceProtocol::Cooperative))
}

/// Returns the topics that members of a group want. What cannot be read wants nothing here, and
/// fails the assignment later.
pub fn topics_of(members: &[JoinGroupResponseMember]) -> BTreeSet<TopicName> {
    let read =
        |member: &JoinGroupResponseMember| MemberSubscription::from_bytes(&member.metadata).ok();
    members.iter().filter_map(read).flat_map(|subscription| subscription.topics).collect()
}

/// Divides partitions among the members as their leader. Fails if a subscription cannot be read, or the
/// assignor panics.
pub fn assign(
    assignor: &dyn Assignor,
    members: Vec<JoinGroupResponseMember>,
    view: &MetadataView,
) -> Result<Vec<(String, Bytes)>, String> {
    let mut subscriptions = BTreeMap::new();
    for member in members {
        let mut subscription =
            MemberSubscription::from_bytes(&member.metadata).map_err(|error| {
                format!("the subscription of `{}` cannot be read: {error}", member.member_id)
            })?;
        subscription.group_instance_id = member.group_instance_id;
        subscriptions.insert(member.member_id, subscription);
    }
    let mut topics = ClusterTopics::new();
    for topic in subscriptions.values().flat_map(|subscription| &subscription.topics) {
        if topics.get(topic).is_none()
            && let Some(known) = view.topic(topic)
        {
            topics.insert_layout(known.name.clone(), layout(known, view));
        }
    }
    let encode = |(member_id, assignment): (String, Assignment)| {
        let bytes = assignment.to_bytes(Assignment::VERSION).map_err(|error| error.to_string())?;
        Ok((member_id, bytes))
    };
    let shares = run(assignor.name(), || assignor.assign(&topics, &subscriptions))?;
    shares.into_iter().map(encode).collect()
}

fn layout(topic: &TopicView, view: &MetadataView) -> TopicLayout {
    TopicLayout {
        partition_count: topic.partitions.len() as i32,
        replica_racks: topic.partitions.iter().map(|it| replica_racks(it, view)).collect(),
    }
}

/// Returns the racks of a partition's replicas, as far as their nodes tell them.
pub fn replica_racks(partition: &PartitionView, view: &MetadataView) -> BTreeSet<Arc<str>> {
    let rack = |node: &i32| view.broker(*node)?.rack.as_deref().map(Arc::from);
    partition.replicas.iter().filter_map(rack).collect()
}

/// Groups partitions by topic, in order.
pub fn by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> BTreeMap<TopicName, Vec<i32>> {
    let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for it in partitions {
        topics.entry(it.topic.clone()).or_default().push(it.partition);
    }
    topics
}
