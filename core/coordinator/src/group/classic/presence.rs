//! Members of a classic group whose connection closed without a leave; the rules are in
//! [`presence`](crate::group::presence).
//!
//! A member that waits in a join or a sync is not silent, but it is gone if its connection is: nobody
//! can read the answer. So absence ends its membership whether something is parked or not.

use std::sync::Arc;

use kohort_protocol::ErrorCode;

use super::state::ClassicGroup;
use crate::clients::Signs;
use crate::group::event::CauseKind;
use crate::group::presence::{Absent, Whose, ends_with_connection};
use crate::group::timer_key::TimerKey;
use crate::group::turn::Turn;

impl ClassicGroup {
    /// Takes in over which connection a member speaks.
    pub(super) fn hear(&mut self, turn: &mut Turn<'_>, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.presence.hear(turn, Whose { group: &self.id, member: &member.id });
        }
    }

    /// Takes in that a member lives, over whichever connection.
    pub(super) fn see(&mut self, turn: &mut Turn<'_>, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.presence.see(turn, Whose { group: &self.id, member: &member.id });
        }
    }

    /// Handles the end of the connection over which a member was heard last.
    pub(crate) fn handle_connection_closed(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>) {
        let whose = Whose { group: &self.id, member: member_id };
        if let Some(pending) = self.pending.get_mut(member_id) {
            // It holds the others up, and if it lives after all it gets another id.
            if ends_with_connection(turn, false) {
                let due = turn.now + i64::from(turn.config.group_disconnect_grace_ms);
                let key = || TimerKey::session(whose.group, whose.member);
                turn.timers.arm(&mut pending.session, due, key);
            }
        } else if let Some(member) = self.members.get_mut(member_id) {
            let ends = ends_with_connection(turn, member.is_static());
            member.presence.lose(turn, whose, ends);
        }
    }

    /// Handles the end of a member's grace.
    pub(crate) fn handle_absence_timeout(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>) {
        if let Some(member) = self.members.get_mut(member_id) {
            let whose = Whose { group: &self.id, member: member_id };
            let (client_id, client_host) = (&member.client_id, &member.client_host);
            member.presence.handle_timeout(turn, whose, client_id, client_host);
        }
    }

    /// Takes in what there is of an absent member.
    pub(crate) fn handle_signs(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>, signs: Signs) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let whose = Whose { group: &self.id, member: member_id };
        let session_timeout_ms = member.session_timeout_ms;
        if let Absent::Gone(since) = member.presence.judge(turn, whose, signs, session_timeout_ms) {
            self.remove(turn, member_id, ErrorCode::UNKNOWN_MEMBER_ID);
            let member = member_id.clone();
            self.rebalance(turn, CauseKind::MemberDisconnected { member, since });
        }
    }
}
