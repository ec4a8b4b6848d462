//! When a group makes its next target assignment, and what follows from a decision.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::{Decision, Draft};
use super::group::ConsumerGroup;
use crate::group::event::CauseKind;
use crate::group::record::GroupRecord;
use crate::group::turn::Turn;
use crate::metadata::MetadataImage;

/// How long an assignor that failed is left alone.
const ASSIGNOR_REST_MS: i64 = 1_000;

impl ConsumerGroup {
    /// Handles a change of topics: the group looks whether they are its own, and says so to its members. `known`
    /// is how topics were before, and the names of those that changed; after a restart nobody knows.
    pub(crate) fn handle_topics(
        &mut self,
        turn: &mut Turn<'_>,
        known: Option<(&MetadataImage, &BTreeSet<Arc<str>>)>,
    ) {
        self.topics_may_have_changed = true;
        if !self.is_empty() {
            if let Some((old, changed)) = known {
                let state = &self.state;
                let is_ours = |name: &str| state.is_subscribed_to(name);
                self.topic_changes.note(old, turn.image, changed, is_ours);
            }
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
        let mut subscribed = if raised { draft.subscribed_topics() } else { BTreeSet::new() };
        let decision = draft.into_decision();
        if raised {
            // What a pattern matched and matches no more has changed for the group as well.
            let matched = self.state.stored().regexes.values().flat_map(|regex| &regex.topics);
            subscribed.extend(matched.cloned());
            let (topics, omitted) = self.topic_changes.those_in(&subscribed);
            let cause = CauseKind::SubscribedTopicsChanged { topics, omitted };
            self.note_cause(turn.now, cause);
        }
        self.note_topics_seen();
        self.apply(turn, decision);
    }

    /// Takes in that the group has looked whether topics that changed are its own.
    pub(super) fn note_topics_seen(&mut self) {
        self.topics_may_have_changed = false;
        self.topic_changes.forget_changed();
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
