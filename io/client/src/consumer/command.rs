//! What the application asks the consumer's own thread for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kohort_client_core::consumer::committer::CommitFailure;
use kohort_client_core::consumer::fetcher::FetchStatus;
use kohort_client_core::consumer::machine::Counters;
use kohort_client_core::consumer::membership::GroupMembershipOperation;
use kohort_client_core::consumer::stalls::{Stall, StallCounters};
use kohort_client_core::consumer::{
    AssignmentEpoch, OffsetAndMetadata, Pattern, Position, Regex, RequestId, TopicName,
    TopicPartition,
};
use kohort_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::error::{CloseError, PollError};
use super::events::RebalanceEvent;

/// What the application asks for.
pub(super) enum Command {
    /// To no topics is to leave the group.
    Subscribe(BTreeSet<TopicName>, Option<oneshot::Sender<()>>),
    SubscribePattern(Pattern),
    SubscribeRegex(Regex),
    Assign(BTreeSet<TopicPartition>, oneshot::Sender<()>),
    Seek(TopicPartition, SeekTo, oneshot::Sender<bool>),
    Pause(Vec<TopicPartition>, bool, oneshot::Sender<Result<(), TopicPartition>>),
    Commit {
        offsets: Vec<(TopicPartition, OffsetAndMetadata, Option<AssignmentEpoch>)>,
        timeout: Option<Duration>,
        done: CommitDone,
    },
    Listen(mpsc::Sender<RebalanceEvent>),
    GiveBack(RequestId),
    /// A stream took a partition, or was dropped.
    Apart(TopicPartition, AssignmentEpoch, bool),
    /// The application polls after it had been away for too long.
    Back,
    Rejoin(String),
    Status(oneshot::Sender<Status>),
    /// A mistake of ours, for tests.
    #[cfg(test)]
    Panic,
    Close {
        operation: GroupMembershipOperation,
        timeout: Duration,
        done: oneshot::Sender<Result<(), CloseError>>,
    },
}

impl Command {
    /// Whether it makes no sense any more once the consumer closes.
    pub(super) fn begins_something(&self) -> bool {
        let finishes = matches!(
            self,
            Self::Commit { .. }
                | Self::GiveBack(_)
                | Self::Apart(..)
                | Self::Status(_)
                | Self::Close { .. }
        );
        !finishes
    }
}

pub(super) enum SeekTo {
    Position(Position),
    Time(i64),
}

/// What to do with a commit's outcome, on this thread and in order.
pub(super) type CommitDone = Box<dyn FnOnce(Vec<(TopicPartition, CommitFailure)>) + Send>;

/// A look inside.
#[derive(Debug, Clone)]
pub(super) struct Status {
    pub(super) partitions: BTreeMap<TopicPartition, FetchStatus>,
    pub(super) topics: BTreeSet<TopicName>,
    pub(super) topic_errors: BTreeMap<TopicName, ErrorCode>,
    pub(super) member: Option<(String, i32)>,
    pub(super) coordinator: Option<i32>,
    pub(super) used_bytes: i64,
    pub(super) group_refusal: Option<PollError>,
    pub(super) stalled: Vec<Stall>,
    pub(super) counters: Counters,
    pub(super) stalls: StallCounters,
}
