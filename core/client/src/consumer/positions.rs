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
//! Who is asked what is in `lookups.rs`. A position that was found under an earlier leader is checked
//! with the new one before reading goes on (`validation.rs`).
//!
//! Each ownership has its [`AssignmentEpoch`], each start of reading its [`PositionEpoch`]; answers
//! carry them, and what belongs to an earlier one is dropped.

use std::collections::BTreeMap;

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
    /// The leader that was asked says that it is not the leader.
    LeaderDenied {
        /// The partition.
        partition: TopicPartition,
        /// The node that was asked.
        node: i32,
    },
    /// The cluster's picture is too old to go on.
    RefreshMetadata,
    /// Reading starts here: discard what is buffered of an earlier position epoch.
    Start {
        /// The partition.
        partition: TopicPartition,
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
    /// The leader that was last asked where to read.
    asked: i32,
    /// The replica the leader sent us to, and until when (KIP-392).
    preferred: Option<(i32, Timestamp)>,
    /// Until when the leader is not told our rack: the replica it named there does not answer.
    with_leader_until: Timestamp,
    /// Whether a stream of its own reads it, at its own pace.
    pub apart: bool,
    state: State,
    retry_at: Timestamp,
    /// The picture that lacks what is to be known before `retry_at`: a newer one ends the wait.
    lacking: Option<u64>,
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
            let slot = Slot::taken(&mut self.epochs);
            taken.push((partition.clone(), slot.epoch));
            self.slots.insert(partition, slot);
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
            let taken = Slot::taken(&mut self.epochs);
            *slot = Slot { topic_id: id, paused: slot.paused, ..taken };
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

    /// Says whether a stream of its own reads a partition; nothing happens in a later ownership.
    pub fn set_apart(&mut self, partition: &TopicPartition, epoch: AssignmentEpoch, apart: bool) {
        if let Some(slot) = self.slots.get_mut(partition).filter(|slot| slot.epoch == epoch) {
            slot.apart = apart;
        }
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
            slot.lacking = None;
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
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.position_epoch = position_epoch;
            slot.state = State::Ready(position);
            slot.checked_epoch = NO_EPOCH;
            slot.retry_at = 0;
        }
        self.seen = None;
        PositionAction::Start { partition: partition.clone(), position_epoch, position }
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
    /// A partition as it is when it is taken: nothing is known of it.
    fn taken(epochs: &mut Counter) -> Self {
        Self {
            epoch: AssignmentEpoch(epochs.advance()),
            position_epoch: PositionEpoch(epochs.advance()),
            paused: false,
            revoking: false,
            topic_id: Uuid::ZERO,
            checked_epoch: NO_EPOCH,
            asked: -1,
            preferred: None,
            with_leader_until: Timestamp::MIN,
            state: State::Unknown,
            apart: false,
            retry_at: 0,
            lacking: None,
        }
    }

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

    /// Whether the leader is to send records itself, and name no replica nearby.
    pub fn stays_with_leader(&self, now: Timestamp) -> bool {
        now < self.with_leader_until
    }

    /// Whether only a seek of the application can start this partition.
    pub fn is_undecided(&self) -> bool {
        self.state == State::Undecided
    }

    /// Whether nothing is to be asked about it yet.
    fn waits(&self, now: Timestamp, view: &MetadataView) -> bool {
        now < self.retry_at && self.lacking.is_none_or(|seen| seen == view.version)
    }

    /// Returns until when the partition backs off.
    pub fn retry_at(&self) -> Timestamp {
        self.retry_at
    }
}

/// No leader epoch: what brokers before KIP-320 know.
const NO_EPOCH: i32 = -1;

mod lookups;
mod validation;
pub use validation::EpochEnd;

#[cfg(test)]
pub(super) mod tests;
