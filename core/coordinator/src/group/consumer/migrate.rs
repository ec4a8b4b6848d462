//! From one protocol to the other while the group runs (KIP-848, "Migration").
//!
//! ```text
//!                    the first member of the consumer protocol joins
//!   classic group ────────────────────────────────────────────────────► consumer group
//!                 ◄────────────────────────────────────────────────────  with classic members
//!                    the last member of the consumer protocol is gone,
//!                    or a classic static member takes its place
//! ```
//!
//! *Upgrade*: everybody who waits is told REBALANCE_IN_PROGRESS, and the members and what they have are
//! taken over in the generation they are in, which becomes the group's epoch. From then on the
//! coordinator assigns, to classic members by way of their rebalances
//! ([`classic_member`](super::classic_member)). The members' subscriptions and assignments must be
//! readable, and an assignor's own notes (user data) must not get lost.
//!
//! *Downgrade*: the classic members keep what they were to have, and rebalance among themselves.
//!
//! `group.consumer.migration.policy` allows either, both or none. An empty group goes over to whichever
//! protocol its next member speaks.
//!
//! What the handler does to the group at once and what the log says are the same in the end: replaying
//! the records over a group that went over already changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kohort_assignor::server::{PartitionId, PartitionSet};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use kohort_protocol::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscription,
};

use super::group::ConsumerGroup;
use super::record::{
    ClassicSubscription, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata, TargetEpoch,
};
use super::refusal::Refusal;
use super::state::Member;
use super::target;
use crate::config::GroupConfig;
use crate::group::classic::{ClassicGroup, ConvertedMember, HandedOver};
use crate::group::entry::{Group, GroupEntry};
use crate::group::event::CauseKind;
use crate::group::record::GroupRecord;
use crate::group::request::RequestContext;
use crate::group::turn::Turn;
use crate::metadata::MetadataImage;
use crate::shard::Timestamp;

/// Lets a member of the consumer protocol join what is no group of that protocol yet.
pub(super) fn join(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let before = turn.outcome.records.len();
    let mut group = ConsumerGroup::new(entry.id.clone());
    if let Group::Classic(classic) = &entry.group {
        let records = if classic.is_empty() {
            Vec::new()
        } else {
            check_upgrade(turn.config, classic)?;
            upgraded(classic, turn.image)?
        };
        if let Some(persisted) = classic.persisted() {
            group.replay_classic(Some(persisted.clone()));
            let group = entry.id.clone();
            turn.outcome.records.push(GroupRecord::GroupMetadataTombstone { group });
        }
        // The heartbeat builds on them, so they are there before they are replayed.
        for record in records {
            group.replay(&record);
            let record = group.record(record);
            turn.outcome.records.push(record);
        }
        if !classic.is_empty() {
            group.take_over_story(turn, classic.unfinished(turn.now));
        }
    }
    match group.heartbeat(turn, context, request) {
        Ok(response) => {
            if let Group::Classic(classic) = &mut entry.group {
                classic.refuse_all_parked(turn, ErrorCode::REBALANCE_IN_PROGRESS);
                classic.disarm_all(turn.timers, turn.heard, turn.holders);
            }
            let classic: Vec<_> = group.state.members().filter(Member::is_classic).collect();
            for member in classic {
                let session_ms = member.metadata.classic.as_ref().map(|own| own.session_timeout_ms);
                group.refresh_session(turn, &member.id, session_ms);
            }
            *turn.own_consumer_members += group.state.member_count();
            entry.group = Group::Consumer(Box::new(group));
            Ok(response)
        }
        Err(refusal) => {
            turn.outcome.records.truncate(before);
            group.disarm_all(turn.timers, turn.heard, turn.holders);
            Err(refusal)
        }
    }
}

/// Lets a classic member in: an empty group of this protocol makes way for a classic one. Returns whether
/// there is no such group in the way now.
pub(crate) fn make_way(entry: &mut GroupEntry, turn: &mut Turn<'_>) -> bool {
    let Group::Consumer(group) = &mut entry.group else {
        return true;
    };
    if !group.is_empty() {
        return false;
    }
    turn.outcome.records.extend(group.tombstones());
    group.disarm_all(turn.timers, turn.heard, turn.holders);
    entry.group = Group::Simple;
    true
}

/// Tells whether the group goes over to the classic protocol when these members are gone.
pub(super) fn downgrades_without(
    group: &ConsumerGroup,
    config: &GroupConfig,
    leaving: &BTreeSet<&Arc<str>>,
) -> bool {
    let mut staying = group.state.members().filter(|member| !leaving.contains(&member.id));
    let left = group.state.member_count().saturating_sub(leaving.len());
    config.consumer_migration_policy.allows_downgrade()
        && left > 0
        && left <= config.group_max_size
        && group.state.classic_count() >= left
        && staying.all(|member| member.is_classic())
}

/// Turns the group into a classic one of the members that stay, one of which may take the place of
/// another. Returns it, for what has to be answered.
pub(super) fn downgrade<'a>(
    entry: &'a mut GroupEntry,
    turn: &mut Turn<'_>,
    gone: Vec<(Arc<str>, Timestamp)>,
    instead: Option<(&Arc<str>, Member)>,
    causes: impl IntoIterator<Item = CauseKind>,
    rebalances: bool,
) -> Option<&'a mut ClassicGroup> {
    let Group::Consumer(group) = &mut entry.group else {
        return None;
    };
    let converted = |member: &Member, target: Option<&Arc<PartitionSet>>| {
        let classic = member.metadata.classic.clone().unwrap_or_default();
        let version = classic.version();
        ConvertedMember {
            id: member.id.clone(),
            instance_id: member.metadata.instance_id.clone(),
            client_id: member.metadata.client_id.clone(),
            client_host: member.metadata.client_host.clone(),
            rebalance_timeout_ms: member.metadata.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic.protocols,
            assignment: encode_assignment(
                target.into_iter().flat_map(|target| target.iter()),
                version,
                turn.image,
            ),
        }
    };
    let replaced = instead.as_ref().map(|(old, _)| *old);
    let leaving: BTreeSet<&Arc<str>> = gone.iter().map(|(member, _)| member).collect();
    let stays = |member: &Member| !leaving.contains(&member.id) && Some(&member.id) != replaced;
    let staying = group.state.members().filter(stays);
    let mut members: Vec<_> =
        staying.map(|member| converted(&member, group.state.target(&member.id))).collect();
    if let Some((old, new)) = &instead {
        members.push(converted(new, group.state.target(old)));
    }
    let generation = group.state.epoch();
    let owner = |(partition, member): (PartitionId, &Arc<str>)| {
        let topic = turn.image.topic_by_id(partition.topic)?.name.clone();
        Some(((topic, partition.index), member.clone()))
    };
    let owners = group.state.owners().filter_map(owner).collect();
    let unfinished = group.unfinished(turn);
    let handed_over = HandedOver { members, unfinished, owners, gone };
    *turn.own_consumer_members -= group.state.member_count();
    turn.outcome.records.extend(group.tombstones());
    group.refuse_all_held(turn, ErrorCode::UNKNOWN_MEMBER_ID);
    group.disarm_all(turn.timers, turn.heard, turn.holders);
    let classic = ClassicGroup::of_converted(
        turn,
        entry.id.clone(),
        generation,
        handed_over,
        causes,
        rebalances,
    );
    entry.group = Group::Classic(Box::new(classic));
    entry.classic_mut()
}

/// Whether a member of this protocol that joins would turn the group into one of it.
pub(super) fn may_upgrade(config: &GroupConfig, classic: &ClassicGroup) -> bool {
    classic.is_empty() || check_upgrade(config, classic).is_ok()
}

fn check_upgrade(config: &GroupConfig, classic: &ClassicGroup) -> Result<(), Refusal> {
    let why = if !config.consumer_migration_policy.allows_upgrade() {
        "the group is of the classic protocol, and may not change it while members are in it"
    } else if !classic.is_consumer_group() {
        "the group is not one of consumers"
    } else if classic.member_count() > config.consumer_max_size {
        "the group has more members than a consumer group may have"
    } else {
        return Ok(());
    };
    Err(Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, why))
}

/// Returns the records of a consumer group with the classic group's members, and what they have.
fn upgraded(classic: &ClassicGroup, image: &MetadataImage) -> Result<Vec<ConsumerRecord>, Refusal> {
    let unreadable = |why: &str| Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, why);
    let epoch = classic.generation();
    let (mut metadata, mut targets, mut currents) = (Vec::new(), Vec::new(), Vec::new());
    let mut topics = BTreeSet::new();
    // An assignor of the members' own may have given a partition to two of them.
    let mut given = BTreeSet::new();
    for member in classic.converted_members() {
        let subscription = member.protocols.first().map(|(_, metadata)| metadata);
        let subscription = subscription.and_then(read_subscription);
        let subscription =
            subscription.ok_or_else(|| unreadable("a member's subscription cannot be read"))?;
        let assigned = if member.assignment.is_empty() {
            Vec::new()
        } else {
            let assignment = ConsumerProtocolAssignment::from_bytes(&member.assignment)
                .map_err(|_| unreadable("a member's assignment cannot be read"))?;
            if assignment.user_data.as_ref().is_some_and(|data| !data.is_empty()) {
                return Err(unreadable("the members' assignor has notes of its own"));
            }
            let topics = assignment.assigned_partitions.into_iter();
            let partitions = topics.flat_map(|topic| {
                let found = image.topic(&topic.topic).map(|topic| topic.id);
                let partition = move |index| Some(PartitionId { topic: found?, index });
                topic.partitions.into_iter().filter_map(partition)
            });
            partitions.filter(|partition| given.insert(*partition)).collect()
        };
        let wanted: BTreeSet<Arc<str>> =
            subscription.topics.iter().map(|topic| topic.as_str().into()).collect();
        topics.extend(wanted.iter().cloned());
        let member_metadata = MemberMetadata {
            instance_id: member.instance_id,
            rack_id: subscription.rack_id.map(Arc::from),
            client_id: member.client_id,
            client_host: member.client_host,
            topics: wanted,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            classic: Some(ClassicSubscription {
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols,
            }),
            ..MemberMetadata::default()
        };
        let current = CurrentAssignment {
            epoch,
            previous_epoch: epoch,
            assigned: assigned.iter().map(|partition| (*partition, epoch)).collect(),
            ..CurrentAssignment::default()
        };
        let id = member.id;
        metadata.push(ConsumerRecord::Member(id.clone(), Some(Arc::new(member_metadata))));
        let target = Arc::new(assigned.into_iter().collect());
        targets.push(ConsumerRecord::Target(id.clone(), Some(target)));
        currents.push(ConsumerRecord::Current(id, Some(Arc::new(current))));
    }
    let metadata_hash = target::metadata_hash(&topics, image);
    let group = ConsumerRecord::Epoch(Some(GroupEpoch { epoch, metadata_hash }));
    let target = ConsumerRecord::TargetEpoch(Some(TargetEpoch { epoch, made_at: 0 }));
    let mut records = metadata;
    records.push(group);
    records.append(&mut targets);
    records.push(target);
    records.append(&mut currents);
    Ok(records)
}

/// Reads what a classic member subscribes to; `None` if that cannot be read.
pub(super) fn read_subscription(metadata: &Bytes) -> Option<ConsumerProtocolSubscription> {
    ConsumerProtocolSubscription::from_bytes(metadata).ok()
}

/// Writes partitions as a classic member expects them. Topics that are gone have no name to be told by.
pub(super) fn encode_assignment(
    partitions: impl Iterator<Item = PartitionId>,
    version: i16,
    image: &MetadataImage,
) -> Bytes {
    let set: PartitionSet = partitions.collect();
    let topic = |(id, partitions)| {
        let topic = image.topic_by_id(id)?.name.to_string();
        Some(ConsumerProtocolAssignmentTopicPartition { topic, partitions })
    };
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: set.by_topic().filter_map(topic).collect(),
        user_data: None,
    };
    // Names of topics and lists of partitions that are kept in records fit into an assignment.
    assignment.to_bytes(version).unwrap_or_default()
}
