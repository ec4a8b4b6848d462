//! Leaving: of its own accord (−1), for a while (−2), by force, or because a time ran out.
//!
//! What a member had is free at once. If only classic members are left, the group is a classic one from
//! then on, see [`migrate`](super::migrate). A static member that leaves for a while keeps its place and its
//! partitions until its session ends; who comes back with its instance id takes them over.

use std::collections::BTreeSet;
use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

use super::draft::Draft;
use super::group::ConsumerGroup;
use super::migrate::{downgrade, downgrades_without};
use super::partitions::OwnedPartitions;
use super::record::CurrentAssignment;
use super::refusal::Refusal;
use super::state::{LEAVE_STATIC_EPOCH, Member};
use crate::group::entry::{Group, GroupEntry};
use crate::group::event::CauseKind;
use crate::group::timer_key::MemberAlarm;
use crate::group::turn::Turn;
use crate::shard::Timestamp;

/// Handles a heartbeat that leaves.
pub(super) fn leave(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let Group::Consumer(group) = &mut entry.group else {
        unreachable!("the caller found a consumer group");
    };
    let member = group.leaving_member(request)?;
    if request.member_epoch == LEAVE_STATIC_EPOCH {
        group.leave_for_a_while(turn, &member);
    } else {
        let cause = CauseKind::MemberLeft { member: member.id.clone(), reason: None };
        remove(entry, turn, &[(member.id.clone(), cause)]);
    }
    Ok(ConsumerGroupHeartbeatResponse {
        member_id: Some(member.id.to_string()),
        member_epoch: request.member_epoch,
        ..ConsumerGroupHeartbeatResponse::default()
    })
}

/// Handles the end of a time that a member had: it goes.
pub(crate) fn handle_member_timeout(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    member: &Arc<str>,
    alarm: MemberAlarm,
) {
    let Group::Consumer(group) = &mut entry.group else {
        return;
    };
    let Some(cause) = group.ring(turn, member, alarm) else {
        return;
    };
    if group.state.member(member).is_some() {
        remove(entry, turn, &[(member.clone(), cause)]);
    } else {
        group.forget_timers(turn, member);
    }
}

/// Takes members out of the group, each for its cause.
pub(super) fn remove(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    members: &[(Arc<str>, CauseKind)],
) {
    let Group::Consumer(group) = &mut entry.group else {
        return;
    };
    if members.is_empty() {
        return;
    }
    let leaving: BTreeSet<_> = members.iter().map(|(member, _)| member).collect();
    if downgrades_without(group, turn.config, &leaving) {
        let causes = members.iter().map(|(_, cause)| cause.clone());
        let since = |(id, cause): &(Arc<str>, CauseKind)| {
            (id.clone(), group.gone_since(id, cause, turn.now))
        };
        let gone = members.iter().map(since).collect();
        downgrade(entry, turn, gone, None, causes, true);
        return;
    }
    group.remove_members(turn, members);
}

impl ConsumerGroup {
    /// Returns since when a member that goes has served nothing. One that is put out for something else may
    /// have been gone for long, if its connection was; one that leaves worked until then.
    fn gone_since(&self, member: &str, cause: &CauseKind, now: Timestamp) -> Timestamp {
        let lost = || self.timers.get(member)?.presence.lost_since();
        match cause {
            CauseKind::MemberLeft { .. } => now,
            cause => cause.silent_since().or_else(lost).unwrap_or(now),
        }
    }

    fn remove_members(&mut self, turn: &mut Turn<'_>, members: &[(Arc<str>, CauseKind)]) {
        for (_, cause) in members {
            self.note_cause(turn.now, cause.clone());
        }
        let leaving: Vec<_> = members
            .iter()
            .filter_map(|(id, cause)| {
                Some((self.state.member(id)?, self.gone_since(id, cause, turn.now)))
            })
            .collect();
        for (member, since) in leaving {
            let nothing = CurrentAssignment::default();
            self.note_let_go(turn.now, &member.id);
            self.note_step(since, &member.id, &member.metadata, &member.current, &nothing);
        }
        let mut draft = Draft::new(&self.state, turn.image, turn.now);
        for (member, _) in members {
            draft.remove(member);
        }
        draft.resolve_regexes(false);
        draft.raise_epoch(true);
        // An empty group gets its target at once: there is nobody to wait for (KAFKA-20442).
        let nobody = draft.members().next().is_none();
        if nobody || self.may_assign(turn) {
            draft.assign(turn.config.default_assignor());
        }
        let decision = draft.into_decision();
        for (member, _) in members {
            self.forget_timers(turn, member);
        }
        self.apply(turn, decision);
        self.wake_waiting(turn);
    }

    fn leaving_member(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<Member, Refusal> {
        let id = request.member_id.as_str();
        let Some(instance) = request.instance_id.as_deref() else {
            return self.state.member(id).ok_or_else(|| Refusal::unknown_member(id));
        };
        let member =
            self.state.static_member(instance).ok_or_else(|| Refusal::unknown_member(instance))?;
        if *member.id == *id {
            return Ok(member);
        }
        let why = format!("instance {instance} is member {} now", member.id);
        Err(Refusal::new(ErrorCode::FENCED_INSTANCE_ID, why))
    }

    /// Notes that a static member is away. Whatever it was to give up it has given up; what it has it
    /// keeps, as if from the beginning: who takes its place commits in epochs of its own (KIP-1251).
    fn leave_for_a_while(&mut self, turn: &mut Turn<'_>, member: &Member) {
        let away = CurrentAssignment {
            epoch: LEAVE_STATIC_EPOCH,
            assigned: member.current.assigned.with_epoch(0),
            revoking: OwnedPartitions::default(),
            ..(*member.current).clone()
        };
        self.disarm_revocation(turn, &member.id);
        self.excuse(turn, &member.id);
        self.let_go(turn, &member.id);
        self.note_step(turn.now, &member.id, &member.metadata, &member.current, &away);
        let mut draft = Draft::new(&self.state, turn.image, turn.now);
        draft.leave_for_a_while(member, away);
        let mut decision = draft.into_decision();
        decision.stepped = None;
        // The others may have waited for nobody else.
        if decision.is_under_way() {
            self.go_on_with_story(turn);
        } else {
            self.finish_story(turn, &decision);
        }
        let records = decision.records.into_iter();
        turn.outcome.records.extend(records.map(|record| self.record(record)));
        if !member.current.revoking.is_empty() {
            self.wake_waiting(turn);
        }
    }
}
