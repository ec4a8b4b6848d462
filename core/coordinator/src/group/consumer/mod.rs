//! The consumer group protocol (KIP-848): the coordinator assigns, members follow at their own pace.
//!
//! Three epochs tell how far everybody is:
//!
//! ```text
//! group epoch         raised when members come and go, subscribe to something else, or topics change
//!   └► target epoch   the group epoch for which the target assignment was made: who is to have what
//!        └► member epoch   how far this member has come: it has what that target gives it, as far as
//!                          others have let go of it
//! ```
//!
//! A member that has to give something up stays in its epoch until it says that it did; one that waits
//! for others' partitions is in the new epoch already and is given them one by one. So the group never
//! stops as a whole, and each partition goes from hand to hand ([`reconcile`]).
//!
//! All of this is hard state: a coordinator that starts anew knows what the one before knew, and members
//! notice nothing. Soft are the timers and the story of the rebalance under way.
//!
//! Members of the classic protocol can be in such a group while it goes from one protocol to the other,
//! see [`classic_member`] and [`migrate`].

mod classic_member;
mod commit;
mod describe;
mod draft;
mod heartbeat;
mod interval;
mod leave;
mod migrate;
mod partitions;
mod presence;
mod reconcile;
mod record;
mod regex;
mod state;
mod story;
mod target;
mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::draft::{Decision, Draft};
use self::heartbeat::default_assignor;
use self::state::ConsumerState;
use self::story::Story;
use self::timers::MemberTimers;
use super::event::CauseKind;
use super::record::{ClassicMetadata, GroupRecord};
use super::turn::Turn;
use crate::shard::Timestamp;
use crate::timers::Alarm;

pub(crate) use self::classic_member::{
    heartbeat as classic_heartbeat, join, leave as classic_leave, sync,
};
pub(crate) use self::commit::Allowed;
pub(crate) use self::describe::describe;
pub(crate) use self::heartbeat::heartbeat;
pub(crate) use self::leave::handle_member_timeout;
pub(crate) use self::migrate::make_way;
pub use self::partitions::OwnedPartitions;
pub(crate) use self::presence::handle_signs;
pub use self::record::{
    ClassicSubscription, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata,
    MemberState, ResolvedRegex, TargetEpoch,
};
pub(crate) use self::state::Stored;
pub(crate) use self::timers::MemberAlarm;

/// A group of the consumer protocol.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    id: Arc<str>,
    /// Hard state, and what follows from it.
    state: ConsumerState,
    /// Hard state, too: what the log says of a classic group of that name. It is there between the
    /// records of a conversion only, or if a compaction took some of them.
    classic: Option<Arc<ClassicMetadata>>,
    timers: BTreeMap<Arc<str>, Box<MemberTimers>>,
    /// When the next target assignment is made, if it had to wait.
    assignment: Alarm,
    /// Topics changed since the group looked at them.
    topics_may_have_changed: bool,
    /// Until then a member whose connection closed may turn out to be gone.
    member_in_doubt_until: Timestamp,
    /// The rebalance under way.
    story: Option<Box<Story>>,
}

impl ConsumerGroup {
    pub(crate) fn new(id: Arc<str>) -> Self {
        Self {
            id,
            state: ConsumerState::default(),
            classic: None,
            timers: BTreeMap::new(),
            assignment: Alarm::default(),
            topics_may_have_changed: false,
            member_in_doubt_until: Timestamp::MIN,
            story: None,
        }
    }

    /// Returns the state for questions.
    pub(crate) fn state(&self) -> &ConsumerState {
        &self.state
    }

    /// Tells whether the log says nothing of the group.
    pub(crate) fn is_vacant(&self) -> bool {
        self.state.is_vacant() && self.classic.is_none()
    }

    /// Tells whether the group has no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.member_count() == 0
    }

    /// Returns a tombstone for every record that the log has of the group.
    pub(crate) fn tombstones(&self) -> Vec<GroupRecord> {
        let classic = self.classic.as_ref();
        let classic =
            classic.map(|_| GroupRecord::GroupMetadataTombstone { group: self.id.clone() });
        let own = self.state.tombstones().into_iter().map(|record| self.record(record));
        own.chain(classic).collect()
    }

    /// Returns the classic group of that name that the log still has.
    pub(crate) fn classic(&self) -> Option<&Arc<ClassicMetadata>> {
        self.classic.as_ref()
    }

    /// Takes what the log says of a classic group of that name. Called by replay only.
    pub(crate) fn replay_classic(&mut self, classic: Option<Arc<ClassicMetadata>>) {
        self.classic = classic;
    }

    /// Puts one record in its place. Called by replay only.
    pub(crate) fn replay(&mut self, record: &ConsumerRecord) {
        self.state.replay(record);
    }

    fn record(&self, record: ConsumerRecord) -> GroupRecord {
        GroupRecord::Consumer { group: self.id.clone(), record }
    }

    /// Handles a change of topics: the group looks whether they are its own, and says so to its members.
    pub(crate) fn handle_topics(&mut self, turn: &mut Turn<'_>) {
        self.topics_may_have_changed = true;
        if !self.is_empty() {
            self.arm_assignment(turn, turn.now);
        }
    }

    /// Handles the moment for a new target assignment.
    pub(crate) fn handle_assignment_due(&mut self, turn: &mut Turn<'_>) {
        if !self.ring_assignment(turn) || self.is_empty() {
            return;
        }
        let mut draft = Draft::new(&self.state, turn.image, turn.now);
        let resolved = self.topics_may_have_changed && draft.resolve_regexes(true);
        let raised = self.topics_may_have_changed && draft.raise_epoch(resolved);
        if draft.needs_assignment() && self.may_assign(turn) {
            draft.assign(default_assignor(turn.config));
        }
        let decision = draft.into_decision();
        self.topics_may_have_changed = false;
        if raised {
            self.note_cause(turn.now, CauseKind::SubscribedTopicsChanged);
        }
        self.apply(turn, decision);
    }

    /// Carries out what an event came to: its records, and the alarm for what is still to be done.
    fn apply(&mut self, turn: &mut Turn<'_>, decision: Decision) {
        if decision.unassigned {
            // If it could be made now and was not, its assignor failed, and had better rest.
            let due = self.next_assignment(turn);
            let due = if due > turn.now { due } else { turn.now + ASSIGNOR_REST_MS };
            self.arm_assignment(turn, due);
        } else if !self.topics_may_have_changed {
            turn.timers.disarm(&mut self.assignment);
        }
        if decision.assigned {
            self.note_assigned(turn.now);
            self.wake_all(turn);
        }
        if !decision.is_under_way() {
            self.finish_story(turn, &decision);
        }
        let group = &self.id;
        let records = decision.records.into_iter();
        turn.outcome
            .records
            .extend(records.map(|record| GroupRecord::Consumer { group: group.clone(), record }));
    }
}

/// How long an assignor that failed is left alone.
const ASSIGNOR_REST_MS: i64 = 1_000;

/// The epoch of a member that joins.
pub(crate) const JOIN_EPOCH: i32 = 0;
/// The epoch of a member that leaves.
pub(crate) const LEAVE_EPOCH: i32 = -1;
/// The epoch of a static member that leaves and means to come back.
pub(crate) const LEAVE_STATIC_EPOCH: i32 = -2;
