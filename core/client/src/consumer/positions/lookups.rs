//! Who is asked for positions that are not known, and what becomes of the answers.

use std::collections::BTreeMap;

use kohort_protocol::ErrorCode;

use super::{CommittedAnswer, LATEST, ListedAnswer, PositionAction, Positions, State};
use crate::consumer::types::{RequestId, Timestamp, TopicPartition, is_about_membership};
use crate::metadata::{MetadataView, denies_leadership};

/// What a partition gets that an answer leaves out, as it does when its topic's id is not known at
/// the moment: it is asked for again, and nothing is worth telling.
const LEFT_OUT: ErrorCode = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;

/// The answers about partitions, or why there are none.
type Answer<A> = Result<Vec<(TopicPartition, Result<A, ErrorCode>)>, ErrorCode>;

/// What each leader is asked: the partition, the question and the leader epoch known.
pub(super) type ByLeader<Q> = BTreeMap<i32, Vec<(TopicPartition, Q, i32)>>;

/// Gives each partition that was asked about its part of the answer.
pub(super) fn answered<A>(
    asked: Vec<TopicPartition>,
    answer: Answer<A>,
) -> Vec<(TopicPartition, Result<A, ErrorCode>)> {
    let (mut answers, left_out) = match answer {
        Ok(answers) => (answers.into_iter().collect(), LEFT_OUT),
        Err(code) => (BTreeMap::new(), code),
    };
    asked
        .into_iter()
        .map(|partition| {
            let own = answers.remove(&partition).unwrap_or(Err(left_out));
            (partition, own)
        })
        .collect()
}

impl Positions {
    /// Whether a partition waits until the group's coordinator can be asked.
    pub fn awaits_committed(&self) -> bool {
        self.config.has_group && !self.waiting_for(|state| state == State::Unknown).is_empty()
    }

    /// Takes the committed offsets asked for, or that the whole request failed.
    pub fn handle_committed(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Result<Vec<(TopicPartition, CommittedAnswer)>, ErrorCode>,
    ) -> Vec<PositionAction> {
        let mut actions = Vec::new();
        let asked = self.waiting_for(|state| state == State::AskingCommitted(id));
        if asked.is_empty() {
            return actions;
        }
        let mut failed = false;
        // A partition the answer leaves out is asked for again: silence is not "none committed".
        for (partition, answer) in answered(asked, answer) {
            match answer {
                Ok(Some(position)) => actions.push(self.start(&partition, position)),
                Ok(None) => actions.extend(self.reset(now, &partition, None)),
                Err(code) => {
                    failed = true;
                    self.set_state(&partition, State::Unknown);
                    if !code.is_retriable() && !is_about_membership(code) {
                        actions.push(PositionAction::Failed { partition, code });
                    }
                }
            }
        }
        if failed {
            self.committed_retry_at = now + self.retry.next_ms();
        } else {
            self.retry.reset();
        }
        actions
    }

    /// Takes the offsets looked up, or that the whole request failed.
    pub fn handle_listed(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Result<Vec<(TopicPartition, ListedAnswer)>, ErrorCode>,
    ) -> Vec<PositionAction> {
        let mut actions = Vec::new();
        let asked =
            self.waiting_for(|state| matches!(state, State::Listing(open, _) if open == id));
        let mut failed = false;
        for (partition, answer) in answered(asked, answer) {
            let Some(State::Listing(_, time)) = self.slots.get(&partition).map(|slot| slot.state)
            else {
                continue;
            };
            match answer {
                // The leader itself has just said so: nothing is left to check with it.
                Ok(Some(position)) => actions.push(self.start_checked(&partition, position)),
                // No record is that young: the end is the first place where one will be.
                Ok(None) if time >= 0 => self.set_state(&partition, State::Reset(LATEST)),
                // Both ends exist always: an answer without one is as good as none.
                Ok(None) | Err(_) => {
                    failed = true;
                    let code = answer.err().unwrap_or(LEFT_OUT);
                    actions.extend(self.ask_again(now, partition, State::Reset(time), code));
                }
            }
        }
        if failed {
            actions.push(PositionAction::RefreshMetadata);
        }
        actions
    }

    /// Asks for whatever is missing. `coordinator` says whether committed offsets can be asked for.
    pub fn advance(
        &mut self,
        now: Timestamp,
        view: &MetadataView,
        coordinator: bool,
    ) -> Vec<PositionAction> {
        let mut actions = Vec::new();
        if !self.config.has_group {
            // Without a group nothing is committed: the policy decides at once.
            for partition in self.waiting_for(|state| state == State::Unknown) {
                actions.extend(self.reset(now, &partition, None));
            }
        } else if coordinator && now >= self.committed_retry_at {
            self.ask_committed(now, view, &mut actions);
        }
        self.check_epochs(now, view, &mut actions);
        let question = |state| match state {
            State::Reset(time) => Some(time),
            _ => None,
        };
        for (node, partitions) in self.by_leader(now, view, question, &mut actions) {
            let id = RequestId(self.ids.advance());
            for (partition, time, leader_epoch) in &partitions {
                if let Some(slot) = self.slots.get_mut(partition) {
                    slot.state = State::Listing(id, *time);
                    slot.checked_epoch = *leader_epoch;
                    slot.asked = node;
                }
            }
            actions.push(PositionAction::ListOffsets { id, node, partitions });
        }
        actions
    }

    fn ask_committed(
        &mut self,
        now: Timestamp,
        view: &MetadataView,
        actions: &mut Vec<PositionAction>,
    ) {
        // The newest form of the question names topics by id, so they have to be known.
        let (partitions, unknown): (Vec<_>, Vec<_>) = self
            .waiting_for(|state| state == State::Unknown)
            .into_iter()
            .filter(|partition| !self.slots[partition].waits(now, view))
            .partition(|partition| view.topic(&partition.topic).is_some());
        self.await_metadata(now, view, &unknown, actions);
        if !partitions.is_empty() {
            let id = RequestId(self.ids.advance());
            for partition in &partitions {
                self.set_state(partition, State::AskingCommitted(id));
            }
            actions.push(PositionAction::FetchCommitted { id, partitions });
        }
    }

    /// Shares out the partitions that there is a question about among their leaders. Those without
    /// a leader wait for a newer picture of the cluster.
    pub(super) fn by_leader<Q>(
        &mut self,
        now: Timestamp,
        view: &MetadataView,
        question: impl Fn(State) -> Option<Q>,
        actions: &mut Vec<PositionAction>,
    ) -> ByLeader<Q> {
        let mut by_leader = ByLeader::new();
        let mut leaderless = Vec::new();
        for (partition, slot) in &self.slots {
            let Some(question) = question(slot.state) else { continue };
            if slot.revoking || slot.waits(now, view) {
                continue;
            }
            match view.partition(&partition.topic, partition.partition) {
                Some(known) if view.broker(known.leader).is_some() => {
                    let asked = (partition.clone(), question, known.leader_epoch);
                    by_leader.entry(known.leader).or_insert_with(Vec::new).push(asked);
                }
                _ => {
                    leaderless.push(partition.clone());
                }
            }
        }
        self.await_metadata(now, view, &leaderless, actions);
        by_leader
    }

    /// Has partitions wait for a newer picture of the cluster, if there are any.
    fn await_metadata(
        &mut self,
        now: Timestamp,
        view: &MetadataView,
        partitions: &[TopicPartition],
        actions: &mut Vec<PositionAction>,
    ) {
        for partition in partitions {
            self.back_off(now, partition);
            if let Some(slot) = self.slots.get_mut(partition) {
                slot.lacking = Some(view.version);
            }
        }
        if !partitions.is_empty() {
            actions.push(PositionAction::RefreshMetadata);
        }
    }

    /// Goes back to `state`, to ask again after a while; tells of an error that waiting will not mend, and
    /// of a leader that is none.
    pub(super) fn ask_again(
        &mut self,
        now: Timestamp,
        partition: TopicPartition,
        state: State,
        code: ErrorCode,
    ) -> Vec<PositionAction> {
        self.set_state(&partition, state);
        self.back_off(now, &partition);
        let mut actions = Vec::new();
        let asked = self.slots.get(&partition).map(|slot| slot.asked);
        if let (Some(node), true) = (asked, denies_leadership(code)) {
            actions.push(PositionAction::LeaderDenied { partition: partition.clone(), node });
        }
        if !code.is_retriable() {
            actions.push(PositionAction::Failed { partition, code });
        }
        actions
    }
}
