//! When a group makes its next target assignment, and what follows from a decision.

use super::draft::{Decision, Draft};
use super::group::ConsumerGroup;
use crate::group::event::CauseKind;
use crate::group::record::GroupRecord;
use crate::group::turn::Turn;

/// How long an assignor that failed is left alone.
const ASSIGNOR_REST_MS: i64 = 1_000;

impl ConsumerGroup {
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
            draft.assign(turn.config.default_assignor());
        }
        let decision = draft.into_decision();
        self.topics_may_have_changed = false;
        if raised {
            self.note_cause(turn.now, CauseKind::SubscribedTopicsChanged);
        }
        self.apply(turn, decision);
    }

    /// Carries out what an event came to: its records, and the alarm for what is still to be done.
    pub(super) fn apply(&mut self, turn: &mut Turn<'_>, decision: Decision) {
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
        if decision.is_under_way() {
            self.go_on_with_story(turn);
        } else {
            self.finish_story(turn, &decision);
        }
        let group = &self.id;
        let records = decision.records.into_iter();
        turn.outcome
            .records
            .extend(records.map(|record| GroupRecord::Consumer { group: group.clone(), record }));
    }
}
