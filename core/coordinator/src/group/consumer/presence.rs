//! Members of a consumer group whose connection closed without a leave, and heartbeats that are held; the
//! rules are in [`crate::group::presence`] and [`crate::group::hold`].
//!
//! Nothing is decided for a member but by its own heartbeat. So one whose answer is held and for whom
//! something may have changed is *woken*: it is told to heartbeat again at once, and that one brings what
//! there is. Woken is everybody when there is a new target, and who waits for partitions when some
//! become free.

use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

use super::group::ConsumerGroup;
use super::leave::remove;
use super::record::MemberState;
use super::refusal::refused;
use crate::clients::Signs;
use crate::group::entry::{Group, GroupEntry};
use crate::group::event::CauseKind;
use crate::group::hold;
use crate::group::presence::{Absent, Whose, ends_with_connection, grace_ms};
use crate::group::turn::Turn;
use crate::outcome::ReplyTo;
use crate::shard::Timestamp;

impl ConsumerGroup {
    /// Takes in over which connection a member speaks, and answers its heartbeat: later, if the member
    /// asks for that and there is nothing to tell it now.
    pub(super) fn heard(
        &mut self,
        turn: &mut Turn<'_>,
        from: ReplyTo,
        request: &ConsumerGroupHeartbeatRequest,
        response: ConsumerGroupHeartbeatResponse,
    ) {
        let id = response.member_id.as_deref().unwrap_or_default();
        if request.hold_ms <= 0
            && let Some(member) = self.timers.get(id)
            && member.presence.is_heard_over(turn.connection)
            && !member.held.is_held()
        {
            turn.reply(from, response);
            return;
        }
        let session_ms = self.session_ms(turn);
        let id = id.to_owned();
        let found = self.timers.get_key_value(id.as_str()).map(|(id, _)| id.clone());
        let entry = found.and_then(|id| Some((id.clone(), self.timers.get_mut(&id)?)));
        let Some((id, member)) = entry else {
            turn.reply(from, response);
            return;
        };
        let whose = Whose { group: &self.id, member: &id };
        member.presence.hear(turn, whose);
        let older = member.held.release(turn.timers, turn.holders);
        let quiet = response.assignment.is_none()
            && response.member_epoch == request.member_epoch
            && request.topic_partitions.is_none();
        if let Some(connection) = turn.connection.filter(|_| quiet && request.hold_ms > 0) {
            let hold_ms = hold::bounded(request.hold_ms, session_ms);
            member.held.hold(turn, whose, from, connection, hold_ms);
        } else {
            turn.reply(from, response);
        }
        if let Some(older) = older {
            self.tell_nothing_new(turn, older, &id);
        }
    }

    /// Takes in over which connection a member of the classic protocol speaks.
    pub(crate) fn hear(&mut self, turn: &mut Turn<'_>, id: &str) {
        let found = self.timers.get_key_value(id).map(|(id, _)| id.clone());
        if let Some(id) = found
            && let Some(member) = self.timers.get_mut(&id)
        {
            member.presence.hear(turn, Whose { group: &self.id, member: &id });
        }
    }

    /// Takes in that a member lives, over whichever connection.
    pub(crate) fn see(&mut self, turn: &mut Turn<'_>, id: &str) {
        let found = self.timers.get_key_value(id).map(|(id, _)| id.clone());
        if let Some(id) = found
            && let Some(member) = self.timers.get_mut(&id)
        {
            member.presence.see(turn, Whose { group: &self.id, member: &id });
        }
    }

    /// Takes in that a member is away on purpose: its connection may close.
    pub(super) fn excuse(&mut self, turn: &mut Turn<'_>, id: &Arc<str>) {
        if let Some(member) = self.timers.get_mut(id) {
            let whose = Whose { group: &self.id, member: id };
            member.presence.excuse(turn.timers, turn.heard, whose, turn.now);
        }
    }

    /// Returns since when there has been no sign of a member, if it is known.
    pub(super) fn silent_since(&self, id: &str) -> Option<Timestamp> {
        self.timers.get(id).map(|member| member.presence.silent_since())
    }

    /// Wakes everybody: there is a new target.
    pub(super) fn wake_all(&mut self, turn: &mut Turn<'_>) {
        self.wake(turn, |_| true);
    }

    /// Wakes who waits for partitions of others.
    pub(super) fn wake_waiting(&mut self, turn: &mut Turn<'_>) {
        self.wake(turn, |state| state == MemberState::UnreleasedPartitions);
    }

    fn wake(&mut self, turn: &mut Turn<'_>, which: impl Fn(MemberState) -> bool) {
        for (id, member) in &mut self.timers {
            if !member.held.is_held() {
                continue;
            }
            let Some((_, current)) = self.state.peek(id) else { continue };
            if which(current.state)
                && let Some(from) = member.held.release(turn.timers, turn.holders)
            {
                let response = ConsumerGroupHeartbeatResponse {
                    member_id: Some(id.to_string()),
                    member_epoch: current.epoch,
                    heartbeat_interval_ms: AT_ONCE_MS,
                    ..ConsumerGroupHeartbeatResponse::default()
                };
                turn.reply(from, response);
            }
        }
    }

    /// Answers a member's held heartbeat, if there is one: nothing has changed for it.
    pub(crate) fn let_go(&mut self, turn: &mut Turn<'_>, id: &Arc<str>) {
        let held = self.timers.get_mut(id).map(|member| &mut member.held);
        if let Some(from) = held.and_then(|held| held.release(turn.timers, turn.holders)) {
            self.tell_nothing_new(turn, from, id);
        }
    }

    /// Handles the end of the time a heartbeat was to be held.
    pub(crate) fn handle_hold_timeout(&mut self, turn: &mut Turn<'_>, id: &Arc<str>) {
        let whose = Whose { group: &self.id, member: id };
        let held = self.timers.get_mut(id).map(|member| &mut member.held);
        if let Some(from) = held.and_then(|held| held.handle_timeout(turn, whose)) {
            self.tell_nothing_new(turn, from, id);
        }
    }

    /// Answers everything that is held with `error`.
    pub(crate) fn refuse_all_held(&mut self, turn: &mut Turn<'_>, error: ErrorCode) {
        for member in self.timers.values_mut() {
            if let Some(from) = member.held.release(turn.timers, turn.holders) {
                turn.reply(from, refused(error));
            }
        }
    }

    fn tell_nothing_new(&self, turn: &mut Turn<'_>, from: ReplyTo, id: &str) {
        let response = match self.state.peek(id) {
            Some((_, current)) => {
                self.answer(turn, id, current.epoch, self.state.is_under_way(), None)
            }
            None => refused(ErrorCode::UNKNOWN_MEMBER_ID),
        };
        turn.reply(from, response);
    }

    /// Handles the end of the connection over which a member was heard last.
    pub(crate) fn handle_connection_closed(&mut self, turn: &mut Turn<'_>, id: &Arc<str>) {
        let is_static =
            self.state.peek(id).is_some_and(|(metadata, _)| metadata.instance_id.is_some());
        let ends = ends_with_connection(turn, is_static);
        if let Some(member) = self.timers.get_mut(id) {
            if ends {
                self.member_in_doubt_until = turn.now + grace_ms(turn);
            }
            member.presence.lose(turn, Whose { group: &self.id, member: id }, ends);
        }
    }

    /// Handles the end of a member's grace.
    pub(crate) fn handle_absence_timeout(&mut self, turn: &mut Turn<'_>, id: &Arc<str>) {
        if let Some((metadata, _)) = self.state.peek(id)
            && let Some(member) = self.timers.get_mut(id)
        {
            let whose = Whose { group: &self.id, member: id };
            let (client_id, client_host) = (&metadata.client_id, &metadata.client_host);
            member.presence.handle_timeout(turn, whose, client_id, client_host);
        }
    }

    fn judge(&mut self, turn: &mut Turn<'_>, id: &Arc<str>, signs: Signs) -> Absent {
        let session_ms = self.session_ms(turn);
        let whose = Whose { group: &self.id, member: id };
        let member = self.timers.get_mut(id);
        member.map_or(Absent::Wait, |member| member.presence.judge(turn, whose, signs, session_ms))
    }
}

/// Takes in what there is of an absent member.
pub(crate) fn handle_signs(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    member: &Arc<str>,
    signs: Signs,
) {
    let Group::Consumer(group) = &mut entry.group else { return };
    if let Absent::Gone(since) = group.judge(turn, member, signs) {
        let cause = CauseKind::MemberDisconnected { member: member.clone(), since };
        remove(entry, turn, &[(member.clone(), cause)]);
    }
}

/// The interval that makes a member heartbeat again at once. Zero would be none at all.
const AT_ONCE_MS: i32 = 1;
