//! What runs out in a consumer group: sessions, the time to give partitions up, and the wait before the
//! next target assignment. A member of the classic protocol also has a time to join again and one to
//! ask for its assignment.

use std::sync::Arc;

use kohort_protocol::ErrorCode;

use super::group::ConsumerGroup;
use super::interval::assignment_interval_ms;
use super::record::{CurrentAssignment, MemberState};
use super::refusal::refused;
use crate::group::event::CauseKind;
use crate::group::presence::Whose;
use crate::group::timer_key::{MemberAlarm, TimerKey};
use crate::group::turn::{Heard, Holders, Turn};
use crate::shard::Timestamp;
use crate::timers::Timers;

impl ConsumerGroup {
    /// Gives every member a whole session to come back, and those that have partitions to give up the
    /// whole time for it: how much of it had passed is not in the log.
    pub(crate) fn load(&mut self, turn: &mut Turn<'_>) {
        let members: Vec<_> = self.state.members().collect();
        for member in members {
            let classic = member.metadata.classic.as_ref();
            let session_ms = classic.map(|classic| classic.session_timeout_ms);
            self.refresh_session(turn, &member.id, session_ms);
            if member.current.state == MemberState::UnrevokedPartitions && !member.is_classic() {
                let timeout_ms = member.metadata.rebalance_timeout_ms;
                self.arm(turn, &member.id, MemberAlarm::Revocation, timeout_ms);
            }
        }
        if self.state.needs_assignment() {
            self.arm_assignment(turn, self.next_assignment(turn));
        }
    }

    /// Starts a member's session anew: the group's, or the one that a classic member chose.
    pub(super) fn refresh_session(
        &mut self,
        turn: &mut Turn<'_>,
        member: &str,
        session_ms: Option<i32>,
    ) {
        let session_ms = session_ms.unwrap_or_else(|| self.session_ms(turn));
        self.arm(turn, member, MemberAlarm::Session, session_ms);
        if let Some(timers) = self.timers.get_mut(member) {
            timers.presence.note_sign(turn.now);
        }
    }

    /// Starts the session of a member anew that there is nothing to tell. Returns whether there is such a
    /// member.
    pub(super) fn renew_session(&mut self, turn: &mut Turn<'_>, member: &str) -> bool {
        let due = turn.now + i64::from(self.session_ms(turn).max(0));
        let group = &self.id;
        let Some(timers) = self.timers.get_mut(member).filter(|timers| !timers.unheard) else {
            return false;
        };
        let key = || MemberAlarm::Session.key(group, &member.into());
        turn.timers.arm(&mut timers.session, due, key);
        timers.presence.note_sign(turn.now);
        true
    }

    /// Returns how long a member of this protocol may be silent.
    pub(super) fn session_ms(&self, turn: &Turn<'_>) -> i32 {
        let own = turn.image.group(&self.id).consumer_session_timeout_ms;
        own.unwrap_or(turn.config.consumer_session_timeout_ms)
    }

    /// Gives a member that was just told to give partitions up its time for it, and takes that back
    /// when it has. A step that changes nothing leaves the time as it is.
    pub(super) fn follow_step(
        &mut self,
        turn: &mut Turn<'_>,
        member: &Arc<str>,
        before: &CurrentAssignment,
        after: &CurrentAssignment,
        revocation_ms: i32,
    ) {
        if before == after {
            return;
        }
        if after.state == MemberState::UnrevokedPartitions {
            self.arm(turn, member, MemberAlarm::Revocation, revocation_ms);
        } else {
            self.disarm(turn, member, MemberAlarm::Revocation);
        }
    }

    /// Gives a classic member a time to join again, unless it has one already.
    pub(super) fn arm_join(&mut self, turn: &mut Turn<'_>, member: &Arc<str>, timeout_ms: i32) {
        if self.timers.get(member).is_none_or(|timers| !timers.join_is_armed) {
            self.arm(turn, member, MemberAlarm::Join, timeout_ms);
            if let Some(timers) = self.timers.get_mut(member) {
                timers.join_is_armed = true;
            }
        }
    }

    pub(super) fn disarm_join(&mut self, turn: &mut Turn<'_>, member: &str) {
        self.disarm(turn, member, MemberAlarm::Join);
        if let Some(timers) = self.timers.get_mut(member) {
            timers.join_is_armed = false;
        }
    }

    pub(super) fn arm_sync(&mut self, turn: &mut Turn<'_>, member: &str, timeout_ms: i32) {
        self.arm(turn, member, MemberAlarm::Sync, timeout_ms);
    }

    pub(super) fn disarm_revocation(&mut self, turn: &mut Turn<'_>, member: &str) {
        self.disarm(turn, member, MemberAlarm::Revocation);
    }

    pub(super) fn disarm_sync(&mut self, turn: &mut Turn<'_>, member: &str) {
        self.disarm(turn, member, MemberAlarm::Sync);
    }

    /// Forgets the timers of a member that goes.
    pub(super) fn forget_timers(&mut self, turn: &mut Turn<'_>, member: &str) {
        if let Some((member, mut timers)) = self.timers.remove_entry(member) {
            timers.disarm_all(turn.timers);
            let whose = Whose { group: &self.id, member: &member };
            timers.presence.forget(turn.timers, turn.heard, whose);
            if let Some(from) = timers.held.release(turn.timers, turn.holders) {
                turn.reply(from, refused(ErrorCode::UNKNOWN_MEMBER_ID));
            }
        }
    }

    /// Disarms every timer of the group, which is about to go.
    pub(crate) fn disarm_all(
        &mut self,
        timers: &mut Timers<TimerKey>,
        heard: &mut Heard,
        holders: &mut Holders,
    ) {
        timers.disarm(&mut self.assignment);
        timers.disarm(&mut self.part);
        for (id, member) in &mut self.timers {
            member.disarm_all(timers);
            member.presence.forget(timers, heard, Whose { group: &self.id, member: id });
            member.held.release(timers, holders);
        }
        self.timers.clear();
    }

    pub(super) fn arm_assignment(&mut self, turn: &mut Turn<'_>, due: Timestamp) {
        let group = &self.id;
        turn.timers.arm(&mut self.assignment, due, || TimerKey::Assignment(group.clone()));
    }

    pub(super) fn ring_assignment(&mut self, turn: &mut Turn<'_>) -> bool {
        let group = &self.id;
        let key = || TimerKey::Assignment(group.clone());
        turn.timers.ring(&mut self.assignment, turn.now, key)
    }

    /// Tells whether a target assignment may be made now.
    pub(super) fn may_assign(&self, turn: &Turn<'_>) -> bool {
        self.next_assignment(turn) <= turn.now
    }

    /// Returns when the next target assignment may be made.
    pub(super) fn next_assignment(&self, turn: &Turn<'_>) -> Timestamp {
        let Some(last) = self.state.assigned_at() else {
            return turn.now;
        };
        let interval = assignment_interval_ms(
            turn.config,
            &turn.image.group(&self.id),
            self.state.member_count(),
            self.state.owned_count(),
        );
        // A clock that was set back must not stop the group.
        last.min(turn.now) + interval
    }

    /// Tells whether one of a member's alarms goes off now, and what that means if it does.
    pub(super) fn ring(
        &mut self,
        turn: &mut Turn<'_>,
        member: &Arc<str>,
        which: MemberAlarm,
    ) -> Option<CauseKind> {
        let (group, now) = (&self.id, turn.now);
        let timers = self.timers.get_mut(member)?;
        let alarm = timers.alarm(which);
        let key = || which.key(group, member);
        if !turn.timers.ring(alarm, now, key) {
            return None;
        }
        if which == MemberAlarm::Join {
            timers.join_is_armed = false;
        }
        let since = timers.presence.silent_since();
        let member = member.clone();
        Some(match which {
            MemberAlarm::Session => CauseKind::MemberExpired { member, since },
            MemberAlarm::Revocation => CauseKind::MemberDidNotRevoke { member },
            MemberAlarm::Join => CauseKind::MemberDidNotRejoin { member },
            MemberAlarm::Sync => CauseKind::MemberDidNotSync { member },
        })
    }

    fn arm(&mut self, turn: &mut Turn<'_>, member: &str, which: MemberAlarm, timeout_ms: i32) {
        let due = turn.now + i64::from(timeout_ms.max(0));
        let group = &self.id;
        if let Some(timers) = self.timers.get_mut(member) {
            turn.timers.arm(timers.alarm(which), due, || which.key(group, &member.into()));
        } else {
            let member: Arc<str> = member.into();
            let timers = self.timers.entry(member.clone()).or_default();
            turn.timers.arm(timers.alarm(which), due, || which.key(group, &member));
        }
    }

    fn disarm(&mut self, turn: &mut Turn<'_>, member: &str, which: MemberAlarm) {
        if let Some(timers) = self.timers.get_mut(member) {
            turn.timers.disarm(timers.alarm(which));
        }
    }
}
