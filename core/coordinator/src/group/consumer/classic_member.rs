//! Members of the classic protocol in a consumer group: JoinGroup, SyncGroup, Heartbeat and LeaveGroup.
//!
//! To such a member the group looks like a classic one in which somebody else leads. Its epoch is the
//! generation; it is told REBALANCE_IN_PROGRESS when it has to take a step, its JoinGroup takes the step,
//! and its SyncGroup fetches what it has then:
//!
//! | told to rejoin | because |
//! |---|---|
//! | its epoch is older than the target's | there is a new target to go to |
//! | it has partitions to give up | only its next JoinGroup says that it did |
//! | nobody else has any more what it waits for | its next JoinGroup gives it to it |
//!
//! Nothing is parked: a JoinGroup is answered at once, with the epoch that the step led to. A member that
//! is told to rejoin and does not, or that joins and does not sync, is removed after its rebalance
//! timeout.

use std::sync::Arc;

use bytes::Bytes;
use kohort_assignor::server::{PartitionId, PartitionSet};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolSubscription;
use kohort_protocol::messages::leave_group::{MemberIdentity, MemberResponse};
use kohort_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::draft::Draft;
use super::group::ConsumerGroup;
use super::leave::remove;
use super::migrate::{downgrade, encode_assignment, read_subscription};
use super::record::{ClassicSubscription, MemberMetadata, MemberState};
use super::state::Member;
use crate::config::GroupConfig;
use crate::group::classic::{cause_of_leave, member_response};
use crate::group::entry::{Group, GroupEntry};
use crate::group::event::CauseKind;
use crate::group::own::own;
use crate::group::refused::for_join_version;
use crate::group::request::RequestContext;
use crate::group::turn::Turn;
use crate::metadata::MetadataImage;

impl ClassicSubscription {
    /// Returns the version in which the member reads its assignment: the one it wrote its subscription in.
    pub(super) fn version(&self) -> i16 {
        let first = self.protocols.first().map(|(_, metadata)| metadata.get(..2));
        let version = first.flatten().map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
        version.clamp(0, NEWEST_ASSIGNMENT_VERSION)
    }
}

/// Handles a JoinGroup: returns the answer, or why it is refused and under which member id.
pub(crate) fn join(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    context: &RequestContext,
    request: &JoinGroupRequest,
) -> Result<JoinGroupResponse, (ErrorCode, String)> {
    let Group::Consumer(group) = &mut entry.group else {
        unreachable!("the caller found a consumer group");
    };
    let known = request.member_id.as_str();
    let refuse = |error| (error, known.to_owned());
    let instance = request.group_instance_id.as_deref();
    if !group.has_room_for(turn, known, instance) {
        return Err((ErrorCode::GROUP_MAX_SIZE_REACHED, String::new()));
    }
    let protocols: Vec<(Arc<str>, Bytes)> = request
        .protocols
        .iter()
        .map(|protocol| (protocol.name.as_str().into(), own(&protocol.metadata)))
        .collect();
    let subscription = protocols.first().and_then(|(_, metadata)| read_subscription(metadata));
    let Some(subscription) = subscription.filter(|_| group.speaks(request, &protocols)) else {
        return Err(refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    };
    let made;
    let member_id = if known.is_empty() {
        made = turn.member_ids.next_uuid();
        made.as_str()
    } else {
        known
    };
    if known.is_empty()
        && instance.is_none()
        && context.api_version >= FIRST_VERSION_THAT_ASKS_FOR_AN_ID
    {
        return Err((ErrorCode::MEMBER_ID_REQUIRED, member_id.to_owned()));
    }

    let mut draft = Draft::new(&group.state, turn.image, turn.now);
    let replaced = instance.and_then(|instance| group.state.static_member(instance));
    let before = match (&replaced, known.is_empty()) {
        (None, false) if instance.is_some() => return Err(refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
        (Some(old), false) if *old.id != *known => {
            return Err(refuse(ErrorCode::FENCED_INSTANCE_ID));
        }
        (Some(old), true) => draft.replace(old, member_id.into()),
        _ => match group.state.member(member_id) {
            Some(member) => member,
            // It was put out and has not heard of it: what it says it has may be somebody else's by now.
            None if !known.is_empty() && !subscription.owned_partitions.is_empty() => {
                return Err(refuse(ErrorCode::UNKNOWN_MEMBER_ID));
            }
            None => Member::new(member_id.into()),
        },
    };
    let is_new = before.metadata == Arc::default();
    let metadata = joined_metadata(&before.metadata, context, request, &subscription, protocols);
    let resubscribes =
        before.metadata.topics != metadata.topics || before.metadata.regex != metadata.regex;

    let replaces_the_last =
        replaced.as_ref().is_some_and(|old| group.is_last_but_classic(turn.config, old));
    if let (true, Some(old)) = (replaces_the_last, &replaced) {
        let member = Member { metadata: Arc::new(metadata), ..before };
        return Ok(join_by_downgrade(entry, turn, context, old, member, resubscribes));
    }

    draft.update(&before, metadata.clone());
    let resolved = draft.resolve_regexes(group.topics_may_have_changed);
    let changed = resubscribes || resolved;
    if changed || group.topics_may_have_changed {
        draft.raise_epoch(changed);
    }
    if draft.needs_assignment() && group.may_assign(turn) {
        draft.assign(turn.config.default_assignor());
    }
    let owned = owned(&subscription, turn.image);
    let after = draft.reconcile(Some(&owned), changed);
    let after = after.map_err(|_| refuse(ErrorCode::UNKNOWN_MEMBER_ID))?;
    let decision = draft.into_decision();

    group.note_topics_seen();
    let member = before.id.clone();
    let reason = request.reason.as_deref().filter(|reason| !reason.is_empty()).map(Arc::from);
    let replaced = replaced.filter(|old| old.id != before.id);
    if let Some(old) = &replaced {
        group.note_replaced(turn.now, old, &before.id, &metadata);
    }
    if changed && is_new {
        group.note_cause(turn.now, CauseKind::MemberJoined { member, reason });
    } else if changed {
        group.note_cause(turn.now, CauseKind::SubscriptionChanged { member, reason });
    }
    if let Some(old) = replaced {
        group.forget_timers(turn, &old.id);
    }
    group.note_step(turn.now, &before.id, &metadata, &before.current, &after);
    group.disarm_revocation(turn, &before.id);
    group.disarm_join(turn, &before.id);
    group.refresh_session(turn, &before.id, Some(request.session_timeout_ms));
    group.arm_sync(turn, &before.id, metadata.rebalance_timeout_ms);
    group.apply(turn, decision);
    Ok(join_response(context, &before.id, after.epoch, &metadata))
}

/// Handles a SyncGroup.
pub(crate) fn sync(
    group: &mut ConsumerGroup,
    turn: &mut Turn<'_>,
    request: &SyncGroupRequest,
) -> Result<SyncGroupResponse, ErrorCode> {
    let (member, classic) = group.classic_member(
        &request.member_id,
        request.group_instance_id.as_deref(),
        request.generation_id,
    )?;
    let spoken = classic.protocols.first().map(|(name, _)| &**name);
    let differs =
        |given: &Option<String>, own: Option<&str>| given.is_some() && given.as_deref() != own;
    if differs(&request.protocol_type, Some(CONSUMER)) || differs(&request.protocol_name, spoken) {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    let current = &member.current;
    // One that has partitions to give up has joined for the new target already.
    if group.state.target_epoch() > current.epoch
        && current.state != MemberState::UnrevokedPartitions
    {
        group.arm_join(turn, &member.id, member.metadata.rebalance_timeout_ms);
        return Err(ErrorCode::REBALANCE_IN_PROGRESS);
    }
    group.disarm_sync(turn, &member.id);
    group.refresh_session(turn, &member.id, Some(classic.session_timeout_ms));
    let owned = current.assigned.partitions();
    Ok(SyncGroupResponse {
        protocol_type: request.protocol_type.clone(),
        protocol_name: request.protocol_name.clone(),
        assignment: encode_assignment(owned, classic.version(), turn.image),
        ..SyncGroupResponse::default()
    })
}

/// Handles a Heartbeat.
pub(crate) fn heartbeat(
    group: &mut ConsumerGroup,
    turn: &mut Turn<'_>,
    request: &HeartbeatRequest,
) -> Result<(), ErrorCode> {
    let (member, classic) = group.classic_member(
        &request.member_id,
        request.group_instance_id.as_deref(),
        request.generation_id,
    )?;
    group.refresh_session(turn, &member.id, Some(classic.session_timeout_ms));
    let current = &member.current;
    let has_a_step_to_take = current.epoch < group.state.target_epoch()
        || match current.state {
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !group.waits_for_others(&member),
            MemberState::Stable | MemberState::Unknown => false,
        };
    if !has_a_step_to_take {
        return Ok(());
    }
    group.arm_join(turn, &member.id, member.metadata.rebalance_timeout_ms);
    Err(ErrorCode::REBALANCE_IN_PROGRESS)
}

/// Handles a LeaveGroup: returns the result of each member. An administrator may take out members of
/// the consumer protocol, too.
pub(crate) fn leave(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    context: &RequestContext,
    leaving: &[MemberIdentity],
) -> Vec<MemberResponse> {
    let Group::Consumer(group) = &entry.group else {
        return Vec::new();
    };
    let (mut results, mut gone) = (Vec::with_capacity(leaving.len()), Vec::new());
    for identity in leaving {
        let result = group.leaving(context, identity);
        let error = result.as_ref().err().copied().unwrap_or(ErrorCode::NONE);
        results.push(member_response(identity, error));
        if let Ok((member, cause)) = result
            && gone.iter().all(|(other, _)| *other != member)
        {
            gone.push((member, cause));
        }
    }
    remove(entry, turn, &gone);
    results
}

impl ConsumerGroup {
    /// Tells whether a classic member with these protocols fits in with the others of its kind.
    fn speaks(&self, request: &JoinGroupRequest, protocols: &[(Arc<str>, Bytes)]) -> bool {
        let spoken_by_all = |(name, _): &(Arc<str>, Bytes)| {
            let count = self.state.classic_protocols().get(name).copied().unwrap_or(0);
            count == self.state.classic_count()
        };
        request.protocol_type == CONSUMER && protocols.iter().any(spoken_by_all)
    }

    /// Tells whether the group goes over to the classic protocol when this member does.
    fn is_last_but_classic(&self, config: &GroupConfig, member: &Member) -> bool {
        let members = self.state.member_count();
        config.consumer_migration_policy.allows_downgrade()
            && !member.is_classic()
            && self.state.classic_count() == members - 1
            && members <= config.group_max_size
    }

    /// Finds a classic member that names its generation.
    fn classic_member(
        &self,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(Member, ClassicSubscription), ErrorCode> {
        let member = match instance {
            None => self.state.member(member_id),
            Some(instance) => self.state.static_member(instance),
        };
        let member = member.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if *member.id != *member_id {
            return Err(ErrorCode::FENCED_INSTANCE_ID);
        }
        let classic = member.metadata.classic.clone().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if generation != member.current.epoch {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        Ok((member, classic))
    }

    /// Tells whether somebody else still has what the member is to have.
    fn waits_for_others(&self, member: &Member) -> bool {
        let target = self.state.target(&member.id);
        target.into_iter().flat_map(|target| target.iter()).any(|partition| {
            let owner = self.state.owner(partition);
            owner.is_some_and(|owner| *owner != member.id)
        })
    }

    /// Finds who leaves, and says why.
    fn leaving(
        &self,
        context: &RequestContext,
        identity: &MemberIdentity,
    ) -> Result<(Arc<str>, CauseKind), ErrorCode> {
        let found = match identity.group_instance_id.as_deref() {
            None => self.state.member(&identity.member_id),
            Some(instance) => self.state.static_member(instance),
        };
        let member = found.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if !identity.member_id.is_empty() && *member.id != *identity.member_id {
            return Err(ErrorCode::FENCED_INSTANCE_ID);
        }
        let cause = cause_of_leave(context, identity, &member.id, &member.metadata.client_id);
        Ok((member.id, cause))
    }
}

/// Lets a classic member take the place of the last one of the consumer protocol: the group is a classic
/// one from here on. If the member wants the same, everybody keeps what they have.
fn join_by_downgrade(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    context: &RequestContext,
    old: &Member,
    member: Member,
    resubscribes: bool,
) -> JoinGroupResponse {
    let (unassigned, since) = match &entry.group {
        Group::Consumer(group) => (group.state.needs_assignment(), group.silent_since(&old.id)),
        Group::Simple | Group::Classic(_) => (false, None),
    };
    let (id, metadata) = (member.id.clone(), member.metadata.clone());
    let instance = metadata.instance_id.clone().unwrap_or_default();
    let cause = CauseKind::StaticMemberReplaced { instance, old: old.id.clone(), new: id.clone() };
    let gone = since.map(|since| (old.id.clone(), since)).into_iter().collect();
    let rebalances = resubscribes || unassigned;
    let group = downgrade(entry, turn, gone, Some((&old.id, member)), [cause], rebalances);
    let generation = group.map_or(0, |group| group.generation());
    join_response(context, &id, generation, &metadata)
}

fn joined_metadata(
    before: &MemberMetadata,
    context: &RequestContext,
    request: &JoinGroupRequest,
    subscription: &ConsumerProtocolSubscription,
    protocols: Vec<(Arc<str>, Bytes)>,
) -> MemberMetadata {
    // Version 0 had only a session timeout.
    let timeout = request.rebalance_timeout_ms;
    let timeout = if timeout < 0 { request.session_timeout_ms } else { timeout };
    let instance = request.group_instance_id.as_deref().map(Arc::from);
    let rack = subscription.rack_id.as_deref().filter(|rack| !rack.is_empty()).map(Arc::from);
    MemberMetadata {
        instance_id: instance.or_else(|| before.instance_id.clone()),
        rack_id: rack.or_else(|| before.rack_id.clone()),
        client_id: context.client_id.clone(),
        client_host: context.client_host.clone(),
        topics: subscription.topics.iter().map(|topic| topic.as_str().into()).collect(),
        regex: None,
        rebalance_timeout_ms: timeout,
        assignor: before.assignor.clone(),
        classic: Some(ClassicSubscription {
            session_timeout_ms: request.session_timeout_ms,
            protocols,
        }),
    }
}

fn join_response(
    context: &RequestContext,
    member_id: &str,
    generation: i32,
    metadata: &MemberMetadata,
) -> JoinGroupResponse {
    let classic = metadata.classic.as_ref();
    let protocol = classic.and_then(|classic| classic.protocols.first());
    for_join_version(
        context.api_version,
        JoinGroupResponse {
            generation_id: generation,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name: protocol.map(|(name, _)| name.to_string()),
            member_id: member_id.to_owned(),
            ..JoinGroupResponse::default()
        },
    )
}

/// Returns what a classic member says it owns.
fn owned(subscription: &ConsumerProtocolSubscription, image: &MetadataImage) -> PartitionSet {
    let topics = subscription.owned_partitions.iter();
    let partitions = topics.flat_map(|topic| {
        let found = image.topic(&topic.topic).map(|topic| topic.id);
        let partition = move |index: &i32| Some(PartitionId { topic: found?, index: *index });
        topic.partitions.iter().filter_map(partition)
    });
    partitions.collect()
}

const CONSUMER: &str = "consumer";
const FIRST_VERSION_THAT_ASKS_FOR_AN_ID: i16 = 4;
const NEWEST_ASSIGNMENT_VERSION: i16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_in_the_version_of_the_subscription_or_the_newest_there_is() {
        let versions =
            [(&[0, 0][..], 0), (&[0, 1], 1), (&[0, 3], 3), (&[0, 9], 3), (&[255, 255], 0)];
        for (bytes, version) in versions {
            let protocols = vec![("range".into(), Bytes::copy_from_slice(bytes))];
            let subscription = ClassicSubscription { protocols, ..ClassicSubscription::default() };
            assert_eq!(subscription.version(), version, "{bytes:?}");
        }
    }
}
