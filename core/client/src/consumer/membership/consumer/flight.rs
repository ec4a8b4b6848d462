//! Heartbeats without an answer, and whether another one may follow them.
//!
//! Each heartbeat may bring a new epoch, and the coordinator fences whoever speaks with an old one. So
//! there is one at a time:
//!
//! ```text
//!   heartbeat, epoch 4 ──► the member is in epoch 5 now ──► (the answer is on its way)
//!   heartbeat, epoch 4 ──► FENCED_MEMBER_EPOCH, though nothing is wrong
//! ```
//!
//! One whose answer is held is another matter: it would keep a change from being told for seconds, and
//! whatever follows it lets it go (decision 0026). Only a coordinator that said that it holds answers is
//! known to; Kafka passes over the question. Even there a new epoch may just be on its way, so the one that
//! follows names what is owned, with which the coordinator takes the epoch before.

use std::collections::BTreeMap;

use crate::consumer::types::RequestId;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// The epoch each was sent with. More than one only when a change could not wait for an answer.
    epochs: BTreeMap<RequestId, i32>,
    /// The one of them whose answer is held until there is something to tell.
    held: Option<RequestId>,
    /// The coordinator that said that it holds answers.
    holder: Option<i32>,
    /// The latest one whose answer was taken.
    taken: RequestId,
}

/// A heartbeat that was answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Answered {
    pub(super) id: RequestId,
    /// The epoch it was sent with.
    pub(super) epoch: i32,
    /// Whether a later one's answer was taken first.
    pub(super) late: bool,
    /// Whether an earlier one has no answer yet.
    pub(super) early: bool,
}

impl Flight {
    /// Takes that one was sent, and whether its answer may be held for long.
    pub(super) fn send(&mut self, id: RequestId, epoch: i32, may_be_held: bool) {
        self.epochs.insert(id, epoch);
        self.held = may_be_held.then_some(id);
    }

    /// Takes that one was answered, if it is one of those that count.
    pub(super) fn answer(&mut self, id: RequestId) -> Option<Answered> {
        let epoch = self.epochs.remove(&id)?;
        let late = id < self.taken;
        let early = self.epochs.first_key_value().is_some_and(|(first, _)| *first < id);
        Some(Answered { id, epoch, late, early })
    }

    /// Takes that an answer counts: those to earlier ones do not any more.
    pub(super) fn take(&mut self, answered: Answered) {
        self.taken = answered.id;
    }

    /// Takes that one gets no answer. Returns whether it is one of those that count. Who answers from now
    /// on may be another, at the same address, too.
    pub(super) fn fail(&mut self, id: RequestId) -> bool {
        let counts = self.epochs.remove(&id).is_some();
        if counts {
            self.holder = None;
        }
        counts
    }

    /// Forgets those on their way: their answers count no more.
    pub(super) fn forget_all(&mut self) {
        self.epochs.clear();
        self.held = None;
    }

    /// Takes that a coordinator holds answers.
    pub(super) fn learn_holder(&mut self, coordinator: i32) {
        self.holder = Some(coordinator);
    }

    /// Whether this coordinator is known to hold answers.
    pub(super) fn is_holder(&self, coordinator: i32) -> bool {
        self.holder == Some(coordinator)
    }

    /// Whether none is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Whether none is on its way but one that is held.
    pub(super) fn lets_follow(&self) -> bool {
        self.epochs.keys().all(|id| Some(*id) == self.held)
    }
}
