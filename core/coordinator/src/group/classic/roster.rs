//! The members of a classic group coming and going, with all that hangs on them: who leads, who can
//! speak what, whose request is parked, whose session runs out when.

use std::sync::Arc;

use kohort_protocol::ErrorCode;

use super::member::{ClassicMember, Parked, Protocols};
use super::state::{ClassicGroup, ClassicState};
use crate::group::presence::Whose;
use crate::group::refused::{join_error, sync_error};
use crate::group::timer_key::TimerKey;
use crate::group::turn::Turn;
use crate::shard::Timestamp;

impl ClassicGroup {
    /// Adds a member. The first one lends its protocol type to the group and leads it.
    pub(super) fn insert(&mut self, member: ClassicMember) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.joining += usize::from(member.awaits_join());
        self.count_votes(&member.protocols, true);
        self.members.insert(member.id.clone(), Box::new(member));
    }

    /// Removes a member or a pending one with its timer. What it had parked is answered with
    /// `error`, so that its owner finds out. Returns when the member's connection closed, if it did.
    pub(super) fn remove(
        &mut self,
        turn: &mut Turn<'_>,
        member_id: &str,
        error: ErrorCode,
    ) -> Option<Timestamp> {
        self.remove_pending(turn, member_id);
        if !self.members.contains_key(member_id) {
            return None;
        }
        self.refuse_parked(turn, member_id, error, "");
        self.release_held(turn, member_id, error);
        let mut member = self.members.remove(member_id)?;
        if let Some(rebalance) = &mut self.rebalance {
            rebalance.gone.insert(member.id.clone(), member.who());
        }
        turn.timers.disarm(&mut member.session);
        let whose = Whose { group: &self.id, member: &member.id };
        member.presence.forget(turn.timers, turn.heard, whose);
        self.count_votes(&member.protocols, false);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if let ClassicState::CompletingRebalance { pending_sync }
        | ClassicState::Stable { pending_sync } = &mut self.state
        {
            pending_sync.remove(member_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        member.presence.lost_since()
    }

    /// Forgets a pending member, if it is one.
    pub(super) fn remove_pending(&mut self, turn: &mut Turn<'_>, member_id: &str) {
        if let Some((member, mut pending)) = self.pending.remove_entry(member_id) {
            turn.timers.disarm(&mut pending.session);
            let whose = Whose { group: &self.id, member: &member };
            pending.presence.forget(turn.timers, turn.heard, whose);
        }
    }

    /// Answers what a member has parked with `error`, if anything.
    pub(super) fn refuse_parked(
        &mut self,
        turn: &mut Turn<'_>,
        member_id: &str,
        error: ErrorCode,
        told_id: &str,
    ) {
        match self.unpark(member_id) {
            Parked::Join { from, version } => {
                turn.reply(from, join_error(version, error, told_id.to_owned()));
            }
            Parked::Sync { from } => turn.reply(from, sync_error(error)),
            Parked::Nothing => {}
        }
    }

    /// Answers everything that is parked with `error`.
    pub(crate) fn refuse_all_parked(&mut self, turn: &mut Turn<'_>, error: ErrorCode) {
        let members: Vec<_> = self.members.keys().cloned().collect();
        for member_id in members {
            self.refuse_parked(turn, &member_id, error, &member_id);
            self.release_held(turn, &member_id, error);
        }
    }

    /// Parks a request. One that is parked already is superseded: its sender gave up on it or lost
    /// the connection, but is owed an answer all the same (KAFKA-20938).
    pub(super) fn park(&mut self, turn: &mut Turn<'_>, member_id: &str, parked: Parked) {
        self.refuse_parked(turn, member_id, ErrorCode::NOT_COORDINATOR, member_id);
        self.release_held(turn, member_id, ErrorCode::NONE);
        if let Some(member) = self.members.get_mut(member_id) {
            self.joining += usize::from(matches!(parked, Parked::Join { .. }));
            member.parked = parked;
        }
    }

    pub(super) fn unpark(&mut self, member_id: &str) -> Parked {
        let Some(member) = self.members.get_mut(member_id) else {
            return Parked::Nothing;
        };
        let parked = std::mem::take(&mut member.parked);
        self.joining -= usize::from(matches!(parked, Parked::Join { .. }));
        parked
    }

    /// Replaces what a member said about itself when it joined.
    pub(super) fn update_member(
        &mut self,
        member_id: &str,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32,
        protocols: Protocols,
    ) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        member.session_timeout_ms = session_timeout_ms;
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        let before = std::mem::replace(&mut member.protocols, protocols.clone());
        self.count_votes(&before, false);
        self.count_votes(&protocols, true);
    }

    fn count_votes(&mut self, protocols: &Protocols, add: bool) {
        for name in protocols.names() {
            let votes = self.votes.entry(name.clone()).or_default();
            *votes = if add { *votes + 1 } else { *votes - 1 };
            if *votes == 0 {
                self.votes.remove(name);
            }
        }
    }

    /// Gives a member a whole session from now.
    pub(super) fn refresh_session(&mut self, turn: &mut Turn<'_>, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.refresh_session(turn, &self.id);
        }
    }

    pub(super) fn arm_session(&mut self, turn: &mut Turn<'_>, member_id: &str, timeout_ms: i64) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.arm_session(turn, &self.id, timeout_ms);
        }
    }
}

impl ClassicMember {
    /// Gives the member of `group` a whole session from now.
    pub(super) fn refresh_session(&mut self, turn: &mut Turn<'_>, group: &Arc<str>) {
        self.presence.note_sign(turn.now);
        self.arm_session(turn, group, self.session_timeout_ms.into());
    }

    fn arm_session(&mut self, turn: &mut Turn<'_>, group: &Arc<str>, timeout_ms: i64) {
        let key = || TimerKey::session(group, &self.id);
        turn.timers.arm(&mut self.session, turn.now + timeout_ms, key);
    }
}
