//! Where each owned partition is read: from the committed offset, from a reset, or from a seek.
//!
//! ```text
//!   assigned ──► Committed? ──► Looking up ──► Ready ◄── seek
//!                  │ none committed    ▲         │ out of range
//!                  ▼                   │         ▼
//!                Reset by the policy ──┴──── Reset by the policy ──► Undecided (policy `none`)
//! ```
//!
//! Only an answer that says "nothing is committed" or "out of range" reaches the reset policy. An
//! error, retriable or not, never does: it is tried again, and reported if it is not retriable. A
//! reset that a failed lookup could cause would skip or repeat records without anyone's wish.
//!
//! A position that was found under an earlier leader is checked with the new one before reading goes on
//! (`validation.rs`).
//!
//! Each ownership has its [`AssignmentEpoch`], each start of reading its [`PositionEpoch`]; answers
//! carry them, and what belongs to an earlier one is dropped.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::{ErrorCode, Uuid};

use super::types::{
    AssignmentEpoch, Counter, OffsetReset, Position, PositionEpoch, RequestId, Retry, Timestamp,
    TopicPartition,
};
use crate::metadata::MetadataView;

/// How positions are found.
#[derive(Debug, Clone)]
pub struct PositionsConfig {
    /// Whether a group keeps offsets for this consumer.
    pub has_group: bool,
    /// Where to start without a valid offset.
    pub reset: OffsetReset,
    /// The first wait after a failure, in milliseconds.
    pub retry_backoff_ms: i64,
    /// The longest wait after a failure, in milliseconds.
    pub retry_backoff_max_ms: i64,
    /// Decides the jitter of the back-off.
    pub seed: u64,
}

/// What the shell or the machine around has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum PositionAction {
    /// Ask the coordinator for committed offsets; answer with [`Positions::handle_committed`].
    FetchCommitted {
        /// The number the answer carries.
        id: RequestId,
        /// What to ask for.
        partitions: Vec<TopicPartition>,
    },
    /// Ask a leader for offsets by time; answer with [`Positions::handle_listed`].
    ListOffsets {
        /// The number the answer carries.
        id: RequestId,
        /// The leader.
        node: i32,
        /// The partitions with the time (or [`EARLIEST`], [`LATEST`]) and the leader epoch known.
        partitions: Vec<(TopicPartition, i64, i32)>,
    },
    /// Ask a leader where epochs ended; answer with [`Positions::handle_epoch_ends`].
    AskEpochEnds {
        /// The number the answer carries.
        id: RequestId,
        /// The leader.
        node: i32,
        /// The partitions with the epoch in question and the leader epoch known.
        partitions: Vec<(TopicPartition, i32, i32)>,
    },
    /// The log was cut before the position: records that were read are not in it any more.
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// Where reading was.
        position: Position,
        /// The first offset known to differ, if one is.
        diverges_at: Option<i64>,
        /// Whether reading goes on by itself, or the application has to seek.
        goes_on: bool,
    },
    /// The cluster's picture is too old to go on.
    RefreshMetadata,
    /// Reading starts here: discard what is buffered of an earlier position epoch.
    Start {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        epoch: AssignmentEpoch,
        /// The new reading sequence.
        position_epoch: PositionEpoch,
        /// The first offset wanted.
        position: Position,
    },
    /// Neither a committed offset nor a policy says where to start: the application has to seek.
    Undecided {
        /// The partition.
        partition: TopicPartition,
        /// The offset that is out of range, if there was one.
        out_of_range: Option<i64>,
    },
    /// A lookup failed for good, as far as one can tell; it is tried again all the same.
    Failed {
        /// The partition.
        partition: TopicPartition,
        /// What the broker said.
        code: ErrorCode,
    },
}

/// The timestamp that asks ListOffsets for the log's start.
pub const EARLIEST: i64 = -2;
/// The timestamp that asks ListOffsets for the log's end.
pub const LATEST: i64 = -1;
/// What a partition gets that an answer leaves out, as it does when its topic's id is not known at
/// the moment: it is asked for again, and nothing is worth telling.
const LEFT_OUT: ErrorCode = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;

/// One answer about a committed offset: `None` when nothing is committed.
pub type CommittedAnswer = Result<Option<Position>, ErrorCode>;
/// One answer about an offset by time: `None` when no record is that young.
pub type ListedAnswer = Result<Option<Position>, ErrorCode>;

/// An owned partition as the client reads it.
#[derive(Debug, Clone)]
pub struct Slot {
    /// The ownership.
    pub epoch: AssignmentEpoch,
    /// The reading sequence.
    pub position_epoch: PositionEpoch,
    /// Whether the application paused it.
    pub paused: bool,
    /// Whether it is being given back.
    pub revoking: bool,
    /// The topic's id as first seen in this ownership, or zero.
    topic_id: Uuid,
    /// The leader epoch the position was last held against.
    checked_epoch: i32,
    /// The replica the leader sent us to, and until when (KIP-392).
    preferred: Option<(i32, Timestamp)>,
    state: State,
    retry_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// The committed offset has to be asked for.
    Unknown,
    /// It is being asked for.
    AskingCommitted(RequestId),
    /// An offset by this time has to be looked up.
    Reset(i64),
    /// It is being looked up.
    Listing(RequestId, i64),
    /// Fetching goes on here.
    Ready(Position),
    /// The leader has to be asked whether its log still has what leads up to here.
    Unchecked(Position),
    /// It is being asked.
    Checking(RequestId, Position),
    /// Only a seek helps.
    Undecided,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Positions {
    config: PositionsConfig,
    slots: BTreeMap<TopicPartition, Slot>,
    ids: Counter,
    epochs: Counter,
    retry: Retry,
    /// When committed offsets may be asked for again.
    committed_retry_at: Timestamp,
    /// The picture whose leaders the positions were last held against, unless one started since.
    seen: Option<u64>,
}

impl Positions {
    /// Starts without partitions.
    pub fn new(config: PositionsConfig) -> Self {
        let retry = Retry::new(config.retry_backoff_ms, config.retry_backoff_max_ms, config.seed);
        Self {
            config,
            slots: BTreeMap::new(),
            ids: Counter::default(),
            epochs: Counter::default(),
            retry,
            committed_retry_at: 0,
            seen: None,
        }
    }

    /// Takes ownership of partitions, and returns the epoch each one's ownership has.
    pub fn assign(
        &mut self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Vec<(TopicPartition, AssignmentEpoch)> {
        let mut taken = Vec::new();
        for partition in partitions {
            let epoch = AssignmentEpoch(self.epochs.advance());
            let position_epoch = PositionEpoch(self.epochs.advance());
            let slot = Slot {
                epoch,
                position_epoch,
                paused: false,
                revoking: false,
                topic_id: Uuid::ZERO,
                checked_epoch: NO_EPOCH,
                preferred: None,
                state: State::Unknown,
                retry_at: 0,
            };
            self.slots.insert(partition.clone(), slot);
            taken.push((partition, epoch));
        }
        taken
    }

    /// Looks at the topics' ids. A new id under an old name is another topic (KIP-516), whose offsets
    /// have nothing to do with those known: its partitions are taken anew, as if just assigned.
    pub fn see_topics(&mut self, view: &MetadataView) -> Vec<(TopicPartition, AssignmentEpoch)> {
        // Leaders may be others as well.
        self.seen = None;
        let mut anew = Vec::new();
        for (partition, slot) in &mut self.slots {
            let Some(id) = view.topic(&partition.topic).map(|topic| topic.id) else { continue };
            if id == Uuid::ZERO || slot.topic_id == id || slot.revoking {
                continue;
            }
            let known = std::mem::replace(&mut slot.topic_id, id);
            if known == Uuid::ZERO {
                continue;
            }
            slot.epoch = AssignmentEpoch(self.epochs.advance());
            slot.position_epoch = PositionEpoch(self.epochs.advance());
            slot.state = State::Unknown;
            slot.checked_epoch = NO_EPOCH;
            slot.preferred = None;
            slot.retry_at = 0;
            anew.push((partition.clone(), slot.epoch));
        }
        anew
    }

    /// Gives partitions up.
    pub fn release<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        for partition in partitions {
            self.slots.remove(partition);
        }
    }

    /// Marks partitions as being given back: they are not fetched any more.
    pub fn mark_revoking<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        for partition in partitions {
            if let Some(slot) = self.slots.get_mut(partition) {
                slot.revoking = true;
            }
        }
    }

    /// Returns the owned partitions.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &Slot)> {
        self.slots.iter()
    }

    /// Returns an owned partition.
    pub fn get(&self, partition: &TopicPartition) -> Option<&Slot> {
        self.slots.get(partition)
    }

    /// Returns the ownership of a partition, unless it is not owned.
    pub fn epoch(&self, partition: &TopicPartition) -> Option<AssignmentEpoch> {
        self.slots.get(partition).map(|slot| slot.epoch)
    }

    /// Pauses or resumes fetching; returns whether the partition is owned.
    pub fn set_paused(&mut self, partition: &TopicPartition, paused: bool) -> bool {
        self.slots.get_mut(partition).map(|slot| slot.paused = paused).is_some()
    }

    /// Reads on at `position`; returns what to do, or nothing if the partition is not owned.
    pub fn seek(
        &mut self,
        partition: &TopicPartition,
        position: Position,
    ) -> Option<PositionAction> {
        self.slots.contains_key(partition).then(|| self.start(partition, position))
    }

    /// Reads on at an offset to be looked up by time, or at [`EARLIEST`] or [`LATEST`].
    pub fn seek_to_time(&mut self, partition: &TopicPartition, time: i64) -> bool {
        let epoch = PositionEpoch(self.epochs.advance());
        let Some(slot) = self.slots.get_mut(partition) else { return false };
        slot.position_epoch = epoch;
        slot.state = State::Reset(time);
        slot.retry_at = 0;
        true
    }

    /// Moves a partition's fetch position to `position` after data up to it arrived.
    pub fn advance_to(
        &mut self,
        partition: &TopicPartition,
        epoch: PositionEpoch,
        position: Position,
    ) {
        if let Some(slot) = self.slots.get_mut(partition)
            && slot.position_epoch == epoch
            && let State::Ready(_) = slot.state
        {
            slot.state = State::Ready(position);
        }
    }

    /// Makes a partition wait before it is fetched again.
    pub fn back_off(&mut self, now: Timestamp, partition: &TopicPartition) {
        let wait = self.config.retry_backoff_ms;
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.retry_at = now + wait;
        }
    }

    /// Takes that the offset fetched from is out of range: the reset policy decides.
    pub fn handle_out_of_range(
        &mut self,
        now: Timestamp,
        partition: &TopicPartition,
        epoch: PositionEpoch,
    ) -> Vec<PositionAction> {
        let Some(slot) = self.slots.get(partition) else { return Vec::new() };
        let State::Ready(position) = slot.state else { return Vec::new() };
        if slot.position_epoch != epoch {
            return Vec::new();
        }
        self.reset(now, partition, Some(position.offset)).into_iter().collect()
    }

    /// Takes the committed offsets asked for, or that the whole request failed.
    pub fn handle_committed(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Result<Vec<(TopicPartition, CommittedAnswer)>, ErrorCode>,
    ) -> Vec<PositionAction> {
        let mut actions = Vec::new();
        let asked: Vec<_> = self.waiting_for(|state| state == State::AskingCommitted(id));
        if asked.is_empty() {
            return actions;
        }
        let mut answers: BTreeMap<_, _> = match answer {
            Ok(answers) => answers.into_iter().collect(),
            Err(code) => asked.iter().map(|partition| (partition.clone(), Err(code))).collect(),
        };
        let mut failed = false;
        for partition in asked {
            // A partition the answer leaves out is asked for again: silence is not "none committed".
            match answers.remove(&partition).unwrap_or(Err(LEFT_OUT)) {
                Ok(Some(position)) => actions.push(self.start(&partition, position)),
                Ok(None) => actions.extend(self.reset(now, &partition, None)),
                Err(code) => {
                    failed = true;
                    self.set_state(&partition, State::Unknown);
                    if !code.is_retriable() {
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
        let asked: Vec<_> =
            self.waiting_for(|state| matches!(state, State::Listing(open, _) if open == id));
        let mut answers: BTreeMap<_, _> = match answer {
            Ok(answers) => answers.into_iter().collect(),
            Err(code) => asked.iter().map(|partition| (partition.clone(), Err(code))).collect(),
        };
        let mut failed = false;
        for partition in asked {
            let Some(State::Listing(_, time)) = self.slots.get(&partition).map(|slot| slot.state)
            else {
                continue;
            };
            match answers.remove(&partition).unwrap_or(Err(LEFT_OUT)) {
                // The leader itself has just said so: nothing is left to check with it.
                Ok(Some(position)) => actions.push(self.start_checked(&partition, position)),
                // Both ends exist always: an answer without one is asked for again, after a while.
                Ok(None) if time < 0 => {
                    failed = true;
                    self.set_state(&partition, State::Reset(time));
                    self.back_off(now, &partition);
                }
                // No record is that young: the end is the first place where one will be.
                Ok(None) => self.set_state(&partition, State::Reset(LATEST)),
                Err(code) => {
                    failed = true;
                    self.set_state(&partition, State::Reset(time));
                    self.back_off(now, &partition);
                    if !code.is_retriable() {
                        actions.push(PositionAction::Failed { partition, code });
                    }
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
            // The newest form of the question names topics by id, so they have to be known.
            let (partitions, unknown): (Vec<_>, Vec<_>) = self
                .waiting_for(|state| state == State::Unknown)
                .into_iter()
                .filter(|partition| self.slots[partition].retry_at <= now)
                .partition(|partition| view.topic(&partition.topic).is_some());
            for partition in &unknown {
                self.back_off(now, partition);
            }
            if !unknown.is_empty() {
                actions.push(PositionAction::RefreshMetadata);
            }
            if !partitions.is_empty() {
                let id = RequestId(self.ids.advance());
                for partition in &partitions {
                    self.set_state(partition, State::AskingCommitted(id));
                }
                actions.push(PositionAction::FetchCommitted { id, partitions });
            }
        }
        actions.extend(self.check_epochs(now, view));
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, i64, i32)>> = BTreeMap::new();
        let mut leaderless = BTreeSet::new();
        for (partition, slot) in &self.slots {
            let State::Reset(time) = slot.state else { continue };
            if slot.revoking || now < slot.retry_at {
                continue;
            }
            match view.partition(&partition.topic, partition.partition) {
                Some(known) if view.broker(known.leader).is_some() => {
                    by_leader.entry(known.leader).or_default().push((
                        partition.clone(),
                        time,
                        known.leader_epoch,
                    ));
                }
                _ => {
                    leaderless.insert(partition.clone());
                }
            }
        }
        for partition in &leaderless {
            self.back_off(now, partition);
        }
        if !leaderless.is_empty() {
            actions.push(PositionAction::RefreshMetadata);
        }
        for (node, partitions) in by_leader {
            let id = RequestId(self.ids.advance());
            for (partition, time, leader_epoch) in &partitions {
                self.set_state(partition, State::Listing(id, *time));
                if let Some(slot) = self.slots.get_mut(partition) {
                    slot.checked_epoch = *leader_epoch;
                }
            }
            actions.push(PositionAction::ListOffsets { id, node, partitions });
        }
        actions
    }

    /// Returns when [`advance`](Self::advance) has something to do again without an event.
    pub fn poll_timeout(&self, now: Timestamp, coordinator: bool) -> Option<Timestamp> {
        self.slots
            .values()
            .filter_map(|slot| match slot.state {
                State::Unknown if coordinator && !slot.revoking => {
                    Some(self.committed_retry_at.max(slot.retry_at))
                }
                State::Reset(_) | State::Unchecked(_) if !slot.revoking => Some(slot.retry_at),
                State::Ready(_) if slot.retry_at > now => Some(slot.retry_at),
                _ => None,
            })
            .min()
    }

    fn waiting_for(&self, state: impl Fn(State) -> bool) -> Vec<TopicPartition> {
        self.slots
            .iter()
            .filter(|(_, slot)| !slot.revoking && state(slot.state))
            .map(|(it, _)| it.clone())
            .collect()
    }

    fn set_state(&mut self, partition: &TopicPartition, state: State) {
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.state = state;
        }
    }

    fn start(&mut self, partition: &TopicPartition, position: Position) -> PositionAction {
        let position_epoch = PositionEpoch(self.epochs.advance());
        let mut epoch = AssignmentEpoch::default();
        if let Some(slot) = self.slots.get_mut(partition) {
            epoch = slot.epoch;
            slot.position_epoch = position_epoch;
            slot.state = State::Ready(position);
            slot.checked_epoch = NO_EPOCH;
            slot.retry_at = 0;
        }
        self.seen = None;
        PositionAction::Start { partition: partition.clone(), epoch, position_epoch, position }
    }

    /// Starts at a position that the leader asked last has named.
    fn start_checked(&mut self, partition: &TopicPartition, position: Position) -> PositionAction {
        let checked = self.slots.get(partition).map_or(NO_EPOCH, |slot| slot.checked_epoch);
        let start = self.start(partition, position);
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.checked_epoch = checked;
        }
        start
    }

    fn reset(
        &mut self,
        now: Timestamp,
        partition: &TopicPartition,
        out_of_range: Option<i64>,
    ) -> Option<PositionAction> {
        let time = match self.config.reset {
            OffsetReset::Earliest => EARLIEST,
            OffsetReset::Latest => LATEST,
            OffsetReset::ByDuration(ms) => now.saturating_sub(ms).max(0),
            OffsetReset::None => {
                self.set_state(partition, State::Undecided);
                return Some(PositionAction::Undecided {
                    partition: partition.clone(),
                    out_of_range,
                });
            }
        };
        self.set_state(partition, State::Reset(time));
        None
    }
}

impl Slot {
    /// Returns where fetching goes on, once that is known.
    pub fn fetch_position(&self) -> Option<Position> {
        match self.state {
            State::Ready(position) => Some(position),
            _ => None,
        }
    }

    /// Whether the position is held against a new leader's log.
    pub fn is_validating(&self) -> bool {
        matches!(self.state, State::Unchecked(_) | State::Checking(..))
    }

    /// Returns the newest leader epoch the position was held against.
    pub fn checked_epoch(&self) -> i32 {
        self.checked_epoch
    }

    /// Returns the replica to read from instead of the leader.
    pub fn preferred(&self, now: Timestamp) -> Option<i32> {
        self.preferred.filter(|(_, until)| now < *until).map(|(node, _)| node)
    }

    /// Whether only a seek of the application can start this partition.
    pub fn is_undecided(&self) -> bool {
        self.state == State::Undecided
    }

    /// Returns until when the partition backs off.
    pub fn retry_at(&self) -> Timestamp {
        self.retry_at
    }
}

/// No leader epoch: what brokers before KIP-320 know.
const NO_EPOCH: i32 = -1;

mod validation;
pub use validation::EpochEnd;

#[cfg(test)]
pub(super) mod tests;
