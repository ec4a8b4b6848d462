//! Whether a new leader's log still has what was read of the old one's (KIP-320), and which replica to
//! read from (KIP-392).
//!
//! A leader that was elected without the newest records cuts them off: a position behind the cut would
//! skip what is written there next, or read it as if nothing had happened. So a position keeps the epoch
//! of the record before it, and when the partition has a newer leader epoch than that, the leader is
//! asked where the old epoch ended. At the position or after it: all is well. Before it: the log was cut,
//! and the records from there on are others. While no leader epoch is known that can be relied on, there
//! is nothing to compare, and nobody is asked.

use kohort_protocol::ErrorCode;

use super::lookups::answered;
use super::{NO_EPOCH, PositionAction, Positions, State};
use crate::consumer::types::{
    OffsetReset, Position, PositionEpoch, RequestId, Timestamp, TopicPartition,
};
use crate::metadata::MetadataView;

/// Where an epoch ended, by a leader: the epoch it answers for and the offset; `None` when it does not
/// know that epoch nor any before.
pub type EpochEnd = Result<Option<Position>, ErrorCode>;

impl Positions {
    /// Asks about the positions whose leader changed.
    pub(super) fn check_epochs(
        &mut self,
        now: Timestamp,
        view: &MetadataView,
        actions: &mut Vec<PositionAction>,
    ) {
        if self.seen != Some(view.version) {
            self.see_leaders(view);
        }
        let question = |state| match state {
            State::Unchecked(position) => Some(position.leader_epoch.unwrap_or(NO_EPOCH)),
            _ => None,
        };
        for (node, partitions) in self.by_leader(now, view, question, actions) {
            let id = RequestId(self.ids.advance());
            for (partition, ..) in &partitions {
                if let Some(slot) = self.slots.get_mut(partition)
                    && let State::Unchecked(position) = slot.state
                {
                    slot.state = State::Checking(id, position);
                    slot.asked = node;
                }
            }
            actions.push(PositionAction::AskEpochEnds { id, node, partitions });
        }
    }

    /// Holds every position against the leader there is by now.
    fn see_leaders(&mut self, view: &MetadataView) {
        self.seen = Some(view.version);
        for (partition, slot) in &mut self.slots {
            let Some(known) = view.partition(&partition.topic, partition.partition) else {
                continue;
            };
            // An epoch can be a lower one, or none, where brokers do not tell reliable ones or a topic has
            // no id. What comes from that leader counts then: answers are held against the epoch noted here.
            if known.leader < 0 || known.leader_epoch == slot.checked_epoch {
                continue;
            }
            // A leader does not cut what was written in its own epoch.
            let older = |position: Position| {
                position.leader_epoch.is_some_and(|epoch| epoch < known.leader_epoch)
            };
            match slot.state {
                State::Ready(position) => {
                    slot.checked_epoch = known.leader_epoch;
                    slot.preferred = None;
                    if older(position) {
                        slot.state = State::Unchecked(position);
                    }
                }
                // An answer under way is of a leader that has been replaced.
                State::Checking(_, position) | State::Unchecked(position) => {
                    slot.checked_epoch = known.leader_epoch;
                    slot.state = if older(position) {
                        State::Unchecked(position)
                    } else {
                        State::Ready(position)
                    };
                }
                _ => {}
            }
        }
    }

    /// Takes where epochs ended, or that the whole question failed. `consumed` tells where the
    /// application is: what it has not read yet of a log that was cut behind it is fetched again.
    pub fn handle_epoch_ends(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Result<Vec<(TopicPartition, EpochEnd)>, ErrorCode>,
        consumed: &dyn Fn(&TopicPartition) -> Option<Position>,
    ) -> Vec<PositionAction> {
        let mut actions = Vec::new();
        let asked =
            self.waiting_for(|state| matches!(state, State::Checking(open, _) if open == id));
        if answer.as_ref().err() == Some(&ErrorCode::UNSUPPORTED_VERSION) {
            // A broker that cannot answer such questions is as good as one that says yes.
            for partition in asked {
                self.checked(&partition);
            }
            return actions;
        }
        let mut failed = false;
        for (partition, answer) in answered(asked, answer) {
            let Some(State::Checking(_, position)) = self.slots.get(&partition).map(|it| it.state)
            else {
                continue;
            };
            match answer {
                Ok(Some(end)) if end.offset >= position.offset => self.checked(&partition),
                Ok(end) => {
                    let consumed = consumed(&partition).unwrap_or(position);
                    actions.extend(self.truncated(now, &partition, consumed, end));
                }
                Err(code) => {
                    failed = true;
                    let state = State::Unchecked(position);
                    actions.extend(self.ask_again(now, partition, state, code));
                }
            }
        }
        if failed {
            actions.push(PositionAction::RefreshMetadata);
        }
        actions
    }

    /// The log was cut before what was fetched, at `end` if the leader knows.
    fn truncated(
        &mut self,
        now: Timestamp,
        partition: &TopicPartition,
        consumed: Position,
        end: Option<Position>,
    ) -> Vec<PositionAction> {
        if end.is_some_and(|end| consumed.offset <= end.offset) {
            // Only what waits unread is gone. What lies before the cut is read again.
            return vec![self.start_checked(partition, consumed)];
        }
        let goes_on = self.config.reset != OffsetReset::None;
        let mut actions = vec![PositionAction::Truncated {
            partition: partition.clone(),
            position: consumed,
            diverges_at: end.map(|end| end.offset),
            goes_on,
        }];
        if !goes_on {
            self.set_state(partition, State::Undecided);
            return actions;
        }
        match end {
            // Nobody's wish is to skip what the new leader wrote: reading goes on at the cut.
            Some(end) => actions.push(self.start_checked(partition, end)),
            None => actions.extend(self.reset(now, partition, Some(consumed.offset))),
        }
        actions
    }

    fn checked(&mut self, partition: &TopicPartition) {
        if let Some(slot) = self.slots.get_mut(partition)
            && let State::Checking(_, position) = slot.state
        {
            slot.state = State::Ready(position);
        }
    }

    /// Reads a partition from a replica that its leader named, for a while.
    pub fn prefer(&mut self, partition: &TopicPartition, node: i32, until: Timestamp) {
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.preferred = Some((node, until));
        }
    }

    /// Reads a partition from its leader again; returns whether it was read from another replica.
    pub fn prefer_leader(&mut self, partition: &TopicPartition, epoch: PositionEpoch) -> bool {
        let slot = self.slots.get_mut(partition).filter(|slot| slot.position_epoch == epoch);
        slot.is_some_and(|slot| slot.preferred.take().is_some())
    }

    /// Reads from the leaders, for a while, what was read from a replica that does not answer. They would
    /// name it again until they take it for dead, and for ever if only we cannot reach it.
    pub fn avoid(&mut self, node: i32, until: Timestamp) {
        for slot in self.slots.values_mut() {
            if slot.preferred.take_if(|(preferred, _)| *preferred == node).is_some() {
                slot.with_leader_until = until;
            }
        }
    }
}
