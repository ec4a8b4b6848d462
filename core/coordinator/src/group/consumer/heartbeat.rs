//! ConsumerGroupHeartbeat: how a member joins, says that it lives, reports what it owns, and learns what
//! it is to own.
//!
//! | epoch in the request | means | answer |
//! |---|---|---|
//! | 0 | joins, or begins anew | the member's epoch and all it has |
//! | the member's | it lives | what changed for it, mostly nothing |
//! | the one before, owning no more than it has | it missed our last answer | as above |
//! | any other | | FENCED_MEMBER_EPOCH: it gives everything up and joins again |
//! | −1, −2 | leaves, see [`leave`](super::leave) | |
//! | any but 0, of a classic group that may be upgraded | it was put out | UNKNOWN_MEMBER_ID: it joins again |
//!
//! A heartbeat that changes nothing costs two look-ups and a store, and writes nothing.
//!
//! An answer says what the member has when that changed, when the member asked for it by telling
//! everything about itself, and when it joins.

use std::sync::Arc;

use kohort_assignor::server::PartitionSet;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    ConsumerGroupHeartbeatResponseTopicPartitions,
};

use super::beat::{Beat, check};
use super::draft::Draft;
use super::group::ConsumerGroup;
use super::interval::heartbeat_interval_ms;
use super::leave::leave;
use super::partitions::OwnedPartitions;
use super::record::{CurrentAssignment, MemberMetadata, MemberState};
use super::refusal::Refusal;
use super::state::{JOIN_EPOCH, LEAVE_STATIC_EPOCH, Member};
use super::{migrate, regex};
use crate::group::entry::{Group, GroupEntry, Groups};
use crate::group::event::CauseKind;
use crate::group::request::RequestContext;
use crate::group::turn::Turn;
use crate::outcome::ReplyTo;

/// Handles a ConsumerGroupHeartbeat.
pub(crate) fn heartbeat(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    from: ReplyTo,
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) {
    let checked = check(turn.config, context, request);
    let answer = checked.and_then(|()| to_its_group(groups, turn, context, request));
    let response = match answer {
        // Whoever asks for holding has to know whether it gets it before it relies on it.
        Ok(response) => ConsumerGroupHeartbeatResponse { holds: request.hold_ms > 0, ..response },
        Err(refusal) => {
            turn.reply(from, refusal.into_response());
            return;
        }
    };
    let group = groups.get_mut(request.group_id.as_str()).and_then(GroupEntry::consumer_mut);
    match group {
        Some(group) if request.member_epoch >= JOIN_EPOCH => {
            group.heard(turn, from, request, response);
        }
        _ => turn.reply(from, response),
    }
}

/// A member that joins may found a group, or turn another kind of group into one of this protocol; one
/// that has an epoch must have it from somewhere.
fn to_its_group(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let id = request.group_id.as_str();
    let joins = request.member_epoch == JOIN_EPOCH;
    let Some(entry) = groups.get_mut(id) else {
        if !joins {
            return Err(Refusal::no_group(id));
        }
        let id: Arc<str> = id.into();
        let mut entry = GroupEntry::new(&id);
        let response = migrate::join(&mut entry, turn, context, request)?;
        groups.insert(id, entry);
        return Ok(response);
    };
    match &mut entry.group {
        Group::Consumer(_) if request.member_epoch < JOIN_EPOCH => leave(entry, turn, request),
        Group::Consumer(group) => group.heartbeat(turn, context, request),
        Group::Simple | Group::Classic(_) if joins => migrate::join(entry, turn, context, request),
        // Perhaps it was the group's last of this protocol, and was put out while its connection was cut.
        // Clients give up where there is no group; this one may have it turned back by joining anew.
        Group::Classic(classic) if migrate::may_upgrade(turn.config, classic) => {
            Err(Refusal::unknown_member(&request.member_id))
        }
        Group::Simple | Group::Classic(_) => Err(Refusal::no_group(id)),
    }
}

impl ConsumerGroup {
    /// Handles a heartbeat, but for one that leaves: returns the answer.
    pub(crate) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let beat = Beat { context, request };
        if let Some(response) = self.idle_heartbeat(turn, beat) {
            return Ok(response);
        }
        if !self.has_room_for(turn, &request.member_id, request.instance_id.as_deref()) {
            let max = turn.config.consumer_max_size;
            let why = format!("the group has {max} members and may not have more");
            return Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, why));
        }
        let made;
        let member_id = if request.member_id.is_empty() {
            made = turn.member_ids.next_uuid();
            made.as_str()
        } else {
            request.member_id.as_str()
        };

        let mut draft = Draft::new(&self.state, turn.image, turn.now);
        let owned = beat.owned();
        let before = match request.instance_id.as_deref() {
            None => self.dynamic_member(beat, member_id, owned.as_ref())?,
            Some(instance) => {
                self.static_member(&mut draft, beat, instance, member_id, owned.as_ref())?
            }
        };
        let instance = request.instance_id.as_deref();
        let replaced = instance.and_then(|instance| self.state.static_member(instance));
        let replaced = replaced.filter(|old| old.id != before.id);
        let is_new = before.metadata == Arc::default();
        let metadata = beat.metadata(&before.metadata);
        self.check_regex(&before.metadata, &metadata)?;
        let renamed = before.metadata.topics != metadata.topics;
        let repatterned = before.metadata.regex != metadata.regex;
        draft.update(&before, metadata.clone());
        let resolved = draft.resolve_regexes(self.topics_may_have_changed);
        let changed = renamed || repatterned || resolved;
        if changed || self.topics_may_have_changed {
            draft.raise_epoch(changed);
        }
        let ready = draft.needs_assignment() && self.may_assign(turn);
        if ready {
            draft.assign(turn.config.default_assignor());
        }
        let fenced = |_| fenced("the member is in a state that is not known here");
        let after = draft.reconcile(owned.as_ref(), changed).map_err(fenced)?;
        let decision = draft.into_decision();

        self.note_topics_seen();
        if let Some(old) = &replaced {
            self.note_replaced(turn.now, old, &before.id, &metadata);
        }
        let member: Arc<str> = before.id.clone();
        if changed && is_new {
            self.note_cause(turn.now, CauseKind::MemberJoined { member, reason: None });
        } else if changed {
            self.note_cause(turn.now, CauseKind::SubscriptionChanged { member, reason: None });
        }
        self.follow_step(turn, &before.id, &before.current, &after, beat.revocation_ms(&before));
        self.note_step(turn.now, &before.id, &metadata, &before.current, &after);
        self.refresh_session(turn, &before.id, None);
        let urgent = decision.is_under_way();
        self.apply(turn, decision);
        let holds =
            |partition| after.assigned.contains(partition) || after.revoking.contains(partition);
        if before.current.held().any(|partition| !holds(partition)) {
            self.wake_waiting(turn);
        }

        let told_all = beat.joins() || beat.is_full();
        let moved = before.current.assigned != after.assigned;
        // The answer that said so may be lost: librdkafka, for one, repeats the same short heartbeat then,
        // and would never hear of it. With a new epoch it could not, as its own is refused.
        let given = moved && after.epoch == request.member_epoch;
        let unheard = self.note_heard(&before.id, &after, given, owned.as_ref());
        let assigned = (told_all || moved || unheard).then_some(&after.assigned);
        Ok(self.answer(turn, &before.id, after.epoch, urgent, assigned))
    }

    /// Takes in what a member says to own, and whether it is given something just now. Returns whether it
    /// may not have heard of what it is to give up, or of what it was given, and is to be told again.
    fn note_heard(
        &mut self,
        id: &str,
        current: &CurrentAssignment,
        given: bool,
        owned: Option<&PartitionSet>,
    ) -> bool {
        let has_all = |owned: &PartitionSet| {
            current.assigned.partitions().all(|partition| owned.contains(partition))
        };
        let Some(member) = self.timers.get_mut(id) else { return false };
        if given {
            member.unheard = true;
        } else if owned.is_some_and(has_all) {
            member.unheard = false;
        }
        let gives_up = current.state == MemberState::UnrevokedPartitions;
        (gives_up || member.unheard) && owned.is_none()
    }

    /// Answers a heartbeat that changes nothing, which nearly every one does.
    fn idle_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        beat: Beat<'_>,
    ) -> Option<ConsumerGroupHeartbeatResponse> {
        let request = beat.request;
        let (metadata, current) = self.state.peek(&request.member_id)?;
        let idle = request.member_epoch == current.epoch
            && !beat.joins()
            && !self.topics_may_have_changed
            && current.is_settled(self.state.target_epoch())
            && beat.repeats(metadata);
        if !idle {
            return None;
        }
        let epoch = current.epoch;
        if !self.renew_session(turn, &request.member_id) {
            return None;
        }
        let urgent = self.state.is_under_way();
        Some(self.answer(turn, &request.member_id, epoch, urgent, None))
    }

    /// Returns what a member is told: the one place where answers to heartbeats are made. `urgent` says
    /// that the group is on the way to a new assignment, so that members had better come back soon; and so
    /// they had while one of them may be gone, to hear of it when it is known.
    pub(super) fn answer(
        &self,
        turn: &Turn<'_>,
        member_id: &str,
        member_epoch: i32,
        urgent: bool,
        assigned: Option<&OwnedPartitions>,
    ) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            member_id: Some(member_id.to_owned()),
            member_epoch,
            heartbeat_interval_ms: heartbeat_interval_ms(
                turn.config,
                &turn.image.group(&self.id),
                turn.consumer_members(),
                urgent || turn.now < self.member_in_doubt_until,
            ),
            assignment: assigned.map(assignment),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }

    /// Finds a member without an instance id, or makes one that joins.
    fn dynamic_member(
        &self,
        beat: Beat<'_>,
        member_id: &str,
        owned: Option<&PartitionSet>,
    ) -> Result<Member, Refusal> {
        match self.state.member(member_id) {
            Some(member) => {
                check_epoch(beat.request.member_epoch, &member, owned)?;
                Ok(member)
            }
            None if beat.joins() => Ok(Member::new(member_id.into())),
            None => Err(Refusal::unknown_member(member_id)),
        }
    }

    /// Finds a member by its instance id, or makes one that joins: new, or in the place of the one that
    /// left for a while.
    fn static_member(
        &self,
        draft: &mut Draft<'_>,
        beat: Beat<'_>,
        instance: &str,
        member_id: &str,
        owned: Option<&PartitionSet>,
    ) -> Result<Member, Refusal> {
        match self.state.static_member(instance) {
            None if beat.joins() => {
                let known = self.state.member(member_id);
                Ok(known.unwrap_or_else(|| Member::new(member_id.into())))
            }
            None => Err(Refusal::unknown_member(instance)),
            Some(member) if *member.id == *member_id => {
                check_epoch(beat.request.member_epoch, &member, owned)?;
                Ok(member)
            }
            Some(old) if !beat.joins() => {
                let why = format!("instance {instance} is member {} now", old.id);
                Err(Refusal::new(ErrorCode::FENCED_INSTANCE_ID, why))
            }
            Some(old) if old.is_classic() || old.current.epoch == LEAVE_STATIC_EPOCH => {
                Ok(draft.replace(&old, member_id.into()))
            }
            Some(old) => {
                let why = format!("instance {instance} is member {}, which has not left", old.id);
                Err(Refusal::new(ErrorCode::UNRELEASED_INSTANCE_ID, why))
            }
        }
    }

    /// Tells whether the group may have this member: those that are in it, and who takes the place of
    /// one.
    pub(super) fn has_room_for(
        &self,
        turn: &Turn<'_>,
        member_id: &str,
        instance: Option<&str>,
    ) -> bool {
        self.state.member_count() < turn.config.consumer_max_size
            || self.state.member(member_id).is_some()
            || instance.is_some_and(|instance| self.state.static_member(instance).is_some())
    }

    fn check_regex(&self, before: &MemberMetadata, after: &MemberMetadata) -> Result<(), Refusal> {
        let Some(new) = after.regex.as_ref().filter(|_| before.regex != after.regex) else {
            return Ok(());
        };
        if self.state.resolved(new).is_some() {
            return Ok(());
        }
        regex::check(new).map_err(|why| {
            let why = format!("{new} is not a pattern: {why}");
            Refusal::new(ErrorCode::INVALID_REGULAR_EXPRESSION, why)
        })
    }
}

/// Checks that a member is in the epoch that it should be in, or in the one before because our answer
/// has not reached it. Zero begins anew and is always right.
fn check_epoch(epoch: i32, member: &Member, owned: Option<&PartitionSet>) -> Result<(), Refusal> {
    let current = &member.current;
    if epoch == JOIN_EPOCH || epoch == current.epoch {
        return Ok(());
    }
    let owns_no_more = || {
        owned
            .is_some_and(|owned| owned.iter().all(|partition| current.assigned.contains(partition)))
    };
    if epoch < current.epoch && epoch == current.previous_epoch && owns_no_more() {
        return Ok(());
    }
    Err(fenced(&format!("the member is in epoch {}, not {epoch}", current.epoch)))
}

fn fenced(why: &str) -> Refusal {
    let why = format!("{why}; it has to give everything up and join again");
    Refusal::new(ErrorCode::FENCED_MEMBER_EPOCH, why)
}

fn assignment(owned: &OwnedPartitions) -> Assignment {
    let topic = |(topic_id, partitions, _)| ConsumerGroupHeartbeatResponseTopicPartitions {
        topic_id,
        partitions,
    };
    Assignment { topic_partitions: owned.by_topic().map(topic).collect() }
}
