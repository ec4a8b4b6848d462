//! The phases of a rebalance and the timers that end them.
//!
//! ```text
//!                 all joined, or                 leader's Sync
//!        a cause  time is up                     (see sync.rs)
//! Empty ───────► PreparingRebalance ───────────► CompletingRebalance ──► Stable
//!   ▲             │  ▲          ▲   generation + 1        │                │
//!   └─────────────┘  │          └──────── a cause ────────┴────────────────┘
//!      nobody left   └ nobody rejoined: wait again
//! ```
//!
//! Three rules that look alike and are not:
//!
//! - *The initial delay* (KIP-134) holds an empty group's join phase open for more members; nothing
//!   but time ends it (the wait's own, or that nobody new has come for a while and all are there), be everyone there or gone (KAFKA-4925). Kafka lets the expiry of a pending
//!   member end it early; we do not.
//! - *The rebalance timeout* ends the join phase without those who did not rejoin. Static members
//!   stay: they may be restarting, and their session decides about them (KAFKA-8220). So a static
//!   member that did not rejoin does not get a new session either when the others are answered,
//!   nor is a Sync expected of it.
//! - *The sync timeout*, as long, removes members that joined but never asked for their assignment,
//!   the leader included; otherwise a group whose leader died would wait for it forever.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::ErrorCode;

use super::member::{ClassicMember, Parked};
use super::moves::places;
use super::state::{ClassicGroup, ClassicState, InitialDelay};
use super::story::{Before, GivenUp, Owners, RebalanceInProgress};
use crate::group::causes::{Causes, Unfinished};
use crate::group::event::{CauseKind, GroupEffect, Rebalance};
use crate::group::refused::sync_error;
use crate::group::revocation::Told;
use crate::group::timer_key::TimerKey;
use crate::group::turn::Turn;
use crate::group::who::Roll;
use crate::shard::Timestamp;

impl ClassicGroup {
    /// Rebalances the group because of `cause`, or lets it flow into the rebalance under way.
    pub(super) fn rebalance(&mut self, turn: &mut Turn<'_>, cause: CauseKind) {
        self.note_cause(turn.now, cause);
        self.advance_rebalance(turn);
    }

    /// Goes on with the rebalance whose cause was just noted.
    pub(super) fn advance_rebalance(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            ClassicState::PreparingRebalance { .. } => self.maybe_complete_join(turn),
            _ => self.prepare(turn),
        }
    }

    /// Ends the join phase if everybody is there and the group does not wait for newcomers.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, ClassicState::PreparingRebalance { initial: None })
            && self.all_joined()
        {
            self.complete_join(turn);
        }
    }

    /// Handles the end of the time that the current phase was given.
    pub(crate) fn handle_phase_timeout(&mut self, turn: &mut Turn<'_>) {
        let group = &self.id;
        if !turn.timers.ring(&mut self.phase, turn.now, || TimerKey::Phase(group.clone())) {
            return;
        }
        let quiet = self.is_quiet(turn);
        match &mut self.state {
            ClassicState::PreparingRebalance { initial: Some(delay) }
                if turn.now < delay.step_ends && !quiet =>
            {
                let ends = delay.step_ends;
                self.arm_phase(turn, ends - turn.now);
            }
            ClassicState::PreparingRebalance { initial: Some(delay) }
                if !quiet && delay.member_added && delay.remaining_ms > 0 =>
            {
                let waited_ms = delay.step_ms;
                let longest_ms = i64::from(turn.config.group_initial_rebalance_delay_ms);
                delay.member_added = false;
                delay.step_ms = longest_ms.min(delay.remaining_ms);
                delay.remaining_ms = (delay.remaining_ms - waited_ms).max(0);
                let step_ms = delay.step_ms;
                delay.step_ends = turn.now + step_ms;
                self.arm_phase(turn, step_ms);
                self.await_quiet(turn);
            }
            ClassicState::PreparingRebalance { .. } => self.complete_join(turn),
            ClassicState::CompletingRebalance { pending_sync }
            | ClassicState::Stable { pending_sync } => {
                let late = std::mem::take(pending_sync);
                self.evict_unsynced(turn, late);
            }
            ClassicState::Empty => {}
        }
    }

    /// Lets the initial delay end when nobody new has come for a while. To be called when somebody has.
    pub(super) fn await_quiet(&mut self, turn: &mut Turn<'_>) {
        let quiet_ms = i64::from(turn.config.group_initial_rebalance_quiet_ms);
        if quiet_ms >= 0
            && let ClassicState::PreparingRebalance { initial: Some(delay) } = &self.state
        {
            let due = delay.step_ends.min(turn.now + quiet_ms);
            self.arm_phase(turn, due - turn.now);
        }
    }

    /// Tells whether all who are on the way are there, and only quiet can have ended the wait.
    fn is_quiet(&self, turn: &Turn<'_>) -> bool {
        turn.config.group_initial_rebalance_quiet_ms >= 0
            && self.pending.is_empty()
            && matches!(
                &self.state,
                ClassicState::PreparingRebalance { initial: Some(delay) } if turn.now < delay.step_ends
            )
    }

    /// Handles the end of a session: the member's, or the time a pending one had to come back.
    pub(crate) fn handle_session_timeout(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>) {
        let (now, group) = (turn.now, &self.id);
        let key = || TimerKey::session(group, member_id);
        if let Some(pending) = self.pending.get_mut(member_id) {
            if turn.timers.ring(&mut pending.session, now, key) {
                self.remove_pending(turn, member_id);
                self.maybe_complete_join(turn);
            }
            return;
        }
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        if !turn.timers.ring(&mut member.session, now, key) {
            return;
        }
        // A member that waits for us is not silent. Its session starts anew when it is answered.
        if !member.is_new && (member.awaits_join() || member.awaits_sync()) {
            return;
        }
        let since = member.presence.silent_since();
        self.remove(turn, member_id, ErrorCode::UNKNOWN_MEMBER_ID);
        self.rebalance(turn, CauseKind::MemberExpired { member: member_id.clone(), since });
    }

    /// Calls the members to a group that was loaded with more of them than may be.
    pub(crate) fn shrink_to_capacity(&mut self, turn: &mut Turn<'_>) {
        let members = self.members.len();
        if members > turn.config.group_max_size {
            self.rebalance(turn, CauseKind::OverCapacity { members });
        }
    }

    /// Remembers who came last to the join phase, which is whom the others waited for.
    pub(super) fn note_joined(&mut self, now: Timestamp, member_id: &Arc<str>) {
        if let Some(rebalance) = &mut self.rebalance {
            rebalance.last_to_join = Some((member_id.clone(), now));
            rebalance.given_up.insert(member_id.clone(), now);
        }
    }

    /// Notes a cause that took a member out whose connection had closed before, if it had: the member has
    /// served nothing since then.
    pub(super) fn note_gone(&mut self, now: Timestamp, kind: CauseKind, lost: Option<Timestamp>) {
        let member = kind.member_gone().cloned();
        self.note_cause(now, kind);
        if let Some(member) = member {
            self.note_given_up(&member, lost);
        }
    }

    /// Notes since when a member has served nothing, if that is known and the group rebalances.
    pub(super) fn note_given_up(&mut self, member: &Arc<str>, since: Option<Timestamp>) {
        if let (Some(rebalance), Some(since)) = (&mut self.rebalance, since) {
            let known = rebalance.given_up.entry(member.clone()).or_insert(since);
            *known = since.min(*known);
        }
    }

    pub(super) fn note_cause(&mut self, now: Timestamp, kind: CauseKind) {
        let rebalance = self.rebalance.get_or_insert_with(|| {
            Box::new(RebalanceInProgress {
                causes: Causes::new(now),
                joined: now,
                last_to_join: None,
                given_up: GivenUp::new(),
                gone: Roll::new(),
                before: None,
                continues: false,
            })
        });
        if let Some(member) = kind.member_gone() {
            let since = kind.silent_since().unwrap_or(now);
            rebalance.given_up.entry(member.clone()).or_insert(since);
        }
        rebalance.causes.add(now, kind);
    }

    /// Lets a rebalance that was just begun go on with one that began before, when the group was another.
    pub(super) fn begin_before(&mut self, begun: Option<Causes>, before: Before, continues: bool) {
        let Some(rebalance) = &mut self.rebalance else { return };
        rebalance.continues = continues;
        if let Some(mut causes) = begun {
            for cause in std::mem::take(&mut rebalance.causes.noted) {
                causes.add(cause.at, cause.kind);
            }
            rebalance.causes = causes;
        }
        rebalance.before = Some(before);
    }

    /// Returns what a group of the other protocol is to know of the rebalance under way.
    pub(crate) fn unfinished(&self, now: Timestamp) -> Unfinished {
        let persisted = self.persisted().map(|persisted| &persisted.members[..]);
        let before = persisted.unwrap_or_default().iter();
        let given_up = self.rebalance.as_ref().map(|rebalance| &rebalance.given_up);
        let mut orphans = self.orphans.clone();
        for member in before.clone().filter(|it| !self.members.contains_key(&it.member_id)) {
            let since = given_up.and_then(|given_up| given_up.get(&member.member_id));
            let was = (member.member_id.clone(), since.copied().unwrap_or(now));
            orphans.extend(places(&member.assignment).into_iter().map(|it| (it, was.clone())));
        }
        let mut roll = self.logged().roll;
        roll.extend(self.rebalance.iter().flat_map(|rebalance| rebalance.gone.clone()));
        roll.extend(self.members.values().map(|member| (member.id.clone(), member.who())));
        Unfinished {
            roll,
            causes: self.rebalance.as_ref().map(|rebalance| rebalance.causes.clone()),
            members_before: before.map(|member| member.member_id.clone()).collect(),
            orphans,
            continues: self.rebalance.as_ref().is_some_and(|rebalance| rebalance.continues),
        }
    }

    /// Opens the join phase.
    fn prepare(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, ClassicState::CompletingRebalance { .. }) {
            self.refuse_parked_syncs(turn);
        }
        self.tell_of_rebalance(turn);
        turn.timers.disarm(&mut self.phase);
        if self.is_empty() {
            let delay_ms = i64::from(turn.config.group_initial_rebalance_delay_ms);
            let initial = Some(InitialDelay {
                step_ms: delay_ms,
                remaining_ms: (self.rebalance_timeout_ms() - delay_ms).max(0),
                member_added: false,
                step_ends: turn.now + delay_ms,
            });
            self.arm_phase(turn, delay_ms);
            self.enter(turn.wall, ClassicState::PreparingRebalance { initial });
            self.await_quiet(turn);
        } else {
            self.enter(turn.wall, ClassicState::PreparingRebalance { initial: None });
            if self.all_joined() {
                self.complete_join(turn);
            } else {
                self.arm_phase(turn, self.rebalance_timeout_ms());
            }
        }
    }

    fn refuse_parked_syncs(&mut self, turn: &mut Turn<'_>) {
        for member_id in self.waiting(ClassicMember::awaits_sync) {
            if let Parked::Sync { from } = self.unpark(&member_id) {
                turn.reply(from, sync_error(ErrorCode::REBALANCE_IN_PROGRESS));
                self.refresh_session(turn, &member_id);
            }
        }
    }

    fn waiting(&self, which: impl Fn(&ClassicMember) -> bool) -> Vec<Arc<str>> {
        let members = self.members.values().filter(|member| which(member));
        members.map(|member| member.id.clone()).collect()
    }

    /// Closes the join phase with those who are there.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        turn.timers.disarm(&mut self.phase);
        for member in self.waiting(|member| !member.awaits_join() && !member.is_static()) {
            let lost = self.remove(turn, &member, ErrorCode::UNKNOWN_MEMBER_ID);
            self.note_gone(turn.now, CauseKind::MemberDidNotRejoin { member }, lost);
        }
        if self.members.is_empty() {
            self.become_empty(turn);
        } else if self.joining == 0 {
            // Only static members are left and none has rejoined. An empty generation would take
            // their partitions away, so wait until one of them comes or their sessions end.
            self.state = ClassicState::PreparingRebalance { initial: None };
            self.arm_phase(turn, self.rebalance_timeout_ms());
        } else {
            self.elect_leader();
            self.start_generation(turn);
        }
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.generation += 1;
        self.protocol = None;
        self.leader = None;
        self.enter(turn.wall, ClassicState::Empty);
        self.update_subscribed(turn);
        self.finish_rebalance(turn, |_| Bytes::new());
        self.persist(turn, |_| unreachable!("an empty group has no members to assign to"));
    }

    /// Keeps the leader if it rejoined, and otherwise takes the first member that did.
    fn elect_leader(&mut self) {
        let joined =
            |id: &Arc<str>| self.members.get(id).is_some_and(|member| member.awaits_join());
        if !self.leader.as_ref().is_some_and(joined) {
            let mut members = self.members.values();
            let first = members.find(|member| member.awaits_join());
            self.leader = first.map(|member| member.id.clone());
        }
    }

    fn start_generation(&mut self, turn: &mut Turn<'_>) {
        self.generation += 1;
        self.protocol = self.select_protocol();
        self.update_subscribed(turn);
        let mut pending_sync = BTreeSet::new();
        for member_id in self.waiting(ClassicMember::awaits_join) {
            if let Parked::Join { from, version } = self.unpark(&member_id) {
                turn.reply(from, self.join_response(version, &member_id));
            }
            self.refresh_session(turn, &member_id);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
            }
            pending_sync.insert(member_id);
        }
        self.enter(turn.wall, ClassicState::CompletingRebalance { pending_sync });
        self.arm_phase(turn, self.rebalance_timeout_ms());
        if let Some(rebalance) = &mut self.rebalance {
            rebalance.joined = turn.now;
        }
    }

    fn evict_unsynced(&mut self, turn: &mut Turn<'_>, late: BTreeSet<Arc<str>>) {
        if late.is_empty() {
            return;
        }
        for member in late {
            let lost = self.remove(turn, &member, ErrorCode::UNKNOWN_MEMBER_ID);
            self.note_gone(turn.now, CauseKind::MemberDidNotSync { member }, lost);
        }
        self.prepare(turn);
    }

    /// Tells the story of the rebalance that just ended, or of a take-over if the group is stable. To be called
    /// before its record is made, when the log still knows the members before.
    pub(super) fn finish_rebalance(
        &mut self,
        turn: &mut Turn<'_>,
        assignment: impl Fn(&ClassicMember) -> Bytes,
    ) {
        let Some(rebalance) = self.rebalance.take() else {
            return;
        };
        let RebalanceInProgress { causes, joined, last_to_join, given_up, gone, before, continues } =
            *rebalance;
        let before = before.unwrap_or_else(|| self.logged());
        let Told { revocations, omitted, span } = self.revocations(&causes, &given_up);
        let (moves, omitted_moves) = self.moves(turn.now, &given_up, before.owners, assignment);
        let joined = if self.is_empty() { turn.now } else { joined };
        let is_take_over = matches!(self.state, ClassicState::Stable { .. })
            && !continues
            && causes.are_of_a_take_over();
        let mut told = Rebalance {
            group: self.id.clone(),
            group_type: "classic",
            generation: self.generation,
            causes: causes.noted,
            omitted_causes: causes.omitted,
            started: causes.started,
            joined,
            ended: turn.now,
            last_to_join,
            revocations,
            omitted_revocations: omitted,
            revoking: span,
            members_before: before.members,
            members_after: self.members.keys().cloned().collect(),
            members: Roll::new(),
            omitted_members: 0,
            leader: self.leader.clone(),
            moves,
            omitted_moves,
            continues,
            unfinished: false,
            is_take_over,
        };
        told.introduce(|id| {
            let there = self.members.get(id).map(|member| member.who());
            there.or_else(|| gone.get(id).or_else(|| before.roll.get(id)).cloned())
        });
        turn.outcome.effects.push(GroupEffect::Rebalance(Box::new(told)));
    }

    /// Returns how the group was by the log.
    fn logged(&self) -> Before {
        let mut before = Before { members: Vec::new(), roll: Roll::new(), owners: Owners::new() };
        for member in self.persisted().iter().flat_map(|persisted| &persisted.members) {
            before.members.push(member.member_id.clone());
            before.roll.insert(member.member_id.clone(), member.who());
            let owned = places(&member.assignment).into_iter();
            before.owners.extend(owned.map(|place| (place, member.member_id.clone())));
        }
        before
    }
}
