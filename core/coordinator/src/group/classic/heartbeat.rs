//! Heartbeat: a member is alive, and learns whether the group rebalances.
//!
//! This is the most frequent request of all: two map look-ups and a store.

use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::HeartbeatRequest;

use super::state::{ClassicGroup, ClassicState};
use crate::group::hold;
use crate::group::presence::Whose;
use crate::group::refused::heartbeat_error;
use crate::group::turn::Turn;
use crate::outcome::ReplyTo;

impl ClassicGroup {
    /// Handles a Heartbeat. All is well in a stable group, which can be told later.
    pub(crate) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        from: ReplyTo,
        request: &HeartbeatRequest,
    ) {
        if let Err(error) = self.check_heartbeat(turn, request) {
            turn.reply(from, heartbeat_error(error));
            return;
        }
        let member_id = request.member_id.as_str();
        if request.hold_ms > 0
            && matches!(self.state, ClassicState::Stable { .. })
            && let Some(connection) = turn.connection
        {
            self.release_held(turn, member_id, ErrorCode::NONE);
            if let Some(member) = self.members.get_mut(member_id) {
                let hold_ms = hold::bounded(request.hold_ms, member.session_timeout_ms);
                let whose = Whose { group: &self.id, member: &member.id };
                member.held.hold(turn, whose, from, connection, hold_ms);
            }
        } else {
            turn.reply(from, heartbeat_error(ErrorCode::NONE));
        }
    }

    /// Answers a member's held heartbeat, if there is one.
    pub(crate) fn release_held(&mut self, turn: &mut Turn<'_>, member_id: &str, told: ErrorCode) {
        let held = self.members.get_mut(member_id).map(|member| &mut member.held);
        if let Some(from) = held.and_then(|held| held.release(turn.timers, turn.holders)) {
            turn.reply(from, heartbeat_error(told));
        }
    }

    /// Tells everybody whose heartbeat is held that the group rebalances.
    pub(super) fn tell_of_rebalance(&mut self, turn: &mut Turn<'_>) {
        for member in self.members.values_mut() {
            if let Some(from) = member.held.release(turn.timers, turn.holders) {
                turn.reply(from, heartbeat_error(ErrorCode::REBALANCE_IN_PROGRESS));
            }
        }
    }

    /// Handles the end of the time a heartbeat was to be held.
    pub(crate) fn handle_hold_timeout(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>) {
        let whose = Whose { group: &self.id, member: member_id };
        let held = self.members.get_mut(member_id).map(|member| &mut member.held);
        if let Some(from) = held.and_then(|held| held.handle_timeout(turn, whose)) {
            turn.reply(from, heartbeat_error(ErrorCode::NONE));
        }
    }

    /// Checks a Heartbeat and takes it for a sign of life.
    ///
    /// The session is refreshed even when the answer is REBALANCE_IN_PROGRESS: the member is there,
    /// it only has not heard yet. In CompletingRebalance all is well; members begin to send
    /// heartbeats as soon as they have joined.
    fn check_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let member_id = request.member_id.as_str();
        self.check_member(member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        // Found once for both: in a large group, the way to a member is most of what is done here.
        if let Some(member) = self.members.get_mut(member_id) {
            member.refresh_session(turn, &self.id);
            member.presence.hear(turn, Whose { group: &self.id, member: &member.id });
        }
        match self.state {
            ClassicState::PreparingRebalance { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }
}
