//! What the shell hands the machine, and what it gets to do.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::FetchRequest;
use kohort_protocol::messages::join_group::JoinGroupResponseMember;
use kohort_protocol::messages::list_offsets::ListOffsetsRequest;
use kohort_protocol::messages::offset_commit::OffsetCommitRequest;
use kohort_protocol::messages::offset_fetch::OffsetFetchRequest;
use kohort_protocol::messages::offset_for_leader_epoch::OffsetForLeaderEpochRequest;

use crate::consumer::committer::{CommitFailure, CommitTicket};
use crate::consumer::fetcher::{Delivery, FetchConfig, FetchPlan};
use crate::consumer::membership::{GroupRequest, LostReason, MembershipConfig, MembershipError};
use crate::consumer::stalls::Stall;
use crate::consumer::types::{
    AssignmentEpoch, OffsetReset, Position, PositionEpoch, RequestId, Timestamp, TopicName,
    TopicPartition,
};
use crate::metadata::{Broker, Topics};

/// How the whole consumer behaves.
#[derive(Debug)]
pub struct MachineConfig {
    /// The group; without one there is no subscribing and no committing.
    pub group: Option<MembershipConfig>,
    /// Where to start without a valid offset.
    pub reset: OffsetReset,
    /// How to fetch.
    pub fetch: FetchConfig,
    /// How often to commit what was processed, in milliseconds; `None` leaves it to the application.
    pub auto_commit_interval_ms: Option<i64>,
    /// How long the application may go without polling, in milliseconds.
    pub max_poll_interval_ms: i64,
    /// How long a commit without a deadline of its own may take, in milliseconds.
    pub api_timeout_ms: i64,
    /// The first wait after a failure, in milliseconds.
    pub retry_backoff_ms: i64,
    /// The longest wait after a failure, in milliseconds.
    pub retry_backoff_max_ms: i64,
    /// Decides jitter.
    pub seed: u64,
}

/// What the application's side knows: the machine looks, and never changes it.
pub trait Application {
    /// Returns how many bytes of a partition wait to be taken.
    fn buffered(&self, partition: &TopicPartition) -> usize;
    /// Returns how many bytes of the budget are in use.
    fn used_bytes(&self) -> i64;
    /// Returns how many more must stay free for what is unpacked.
    fn kept_bytes(&self) -> i64;
    /// Returns whether somebody waits for records, of a stream's partition or of all that no stream has,
    /// who has at most those of one earlier time.
    fn starves(&self, partition: Option<&TopicPartition>) -> bool;
    /// Returns where the application is in a partition: the next record it takes.
    fn consumed(&self, partition: &TopicPartition) -> Option<Position>;
    /// Returns what the application has processed.
    fn processed(&self) -> Vec<(TopicPartition, AssignmentEpoch, Position)>;
    /// Returns whether the application has made commits that the machine has not been told of yet.
    fn is_committing(&self) -> bool;
    /// Returns since when the application has not polled, or `None` while it is polling.
    fn idle_since(&self) -> Option<Timestamp>;
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Look up the group's coordinator.
    FindCoordinator(RequestId),
    /// Send a membership request to the coordinator.
    Group {
        /// The number the answer carries.
        id: RequestId,
        /// The coordinator.
        coordinator: i32,
        /// What to send.
        request: GroupRequest,
    },
    /// Compute the group's assignment: get metadata that covers the members' topics, then call
    /// [`handle_group_topics`](super::ConsumerMachine::handle_group_topics).
    Assign {
        /// The number the answer carries.
        id: RequestId,
        /// The assignor.
        protocol: String,
        /// All members.
        members: Vec<JoinGroupResponseMember>,
    },
    /// Send a commit to the coordinator.
    Commit {
        /// The number the answer carries.
        id: RequestId,
        /// The coordinator.
        coordinator: i32,
        /// What to send.
        request: OffsetCommitRequest,
    },
    /// Ask the coordinator for committed offsets.
    FetchCommitted {
        /// The number the answer carries.
        id: RequestId,
        /// The coordinator.
        coordinator: i32,
        /// What to send.
        request: OffsetFetchRequest,
    },
    /// Ask a leader for offsets by time.
    ListOffsets {
        /// The number the answer carries.
        id: RequestId,
        /// The leader.
        node: i32,
        /// What to send.
        request: ListOffsetsRequest,
    },
    /// Ask a leader where epochs ended.
    AskEpochEnds {
        /// The number the answer carries.
        id: RequestId,
        /// The leader.
        node: i32,
        /// What to send.
        request: OffsetForLeaderEpochRequest,
    },
    /// Fetch records.
    Fetch(FetchPlan),
    /// End fetch sessions, and say when that is done or given up by
    /// [`handle_sessions_closed`](super::ConsumerMachine::handle_sessions_closed).
    CloseSessions(Vec<(i32, FetchRequest)>),
    /// Get a new picture of the cluster.
    RefreshMetadata,
    /// The topics the picture has to cover.
    WantTopics(Topics),
    /// A leader was named by another answer (KIP-951).
    LeaderLearnt {
        /// The partition.
        partition: TopicPartition,
        /// The new leader.
        node: i32,
        /// Its epoch.
        epoch: i32,
    },
    /// A node that was asked as the leader says that it is not.
    LeaderDenied {
        /// The partition.
        partition: TopicPartition,
        /// The node.
        node: i32,
    },
    /// Brokers were named by another answer (KIP-951).
    BrokersLearnt(Vec<Broker>),
    /// Partitions are owned from now on; one that was before is another log now, its topic having been
    /// created anew, and stays paused if it was.
    Own(Vec<(TopicPartition, AssignmentEpoch)>),
    /// Reading a partition starts or starts anew.
    Start {
        /// The partition.
        partition: TopicPartition,
        /// The reading sequence.
        position_epoch: PositionEpoch,
        /// Where.
        position: Position,
    },
    /// Records to hand over.
    Deliver(Delivery),
    /// Nothing of these partitions may be delivered any more.
    StopDelivery(BTreeSet<TopicPartition>),
    /// These partitions are not owned any more.
    Disown {
        /// Which.
        partitions: BTreeSet<TopicPartition>,
        /// Whether they were lost, so that what was given of them can no longer be committed.
        lost: bool,
    },
    /// Tell the application.
    Event(GroupEvent),
    /// Tell the application that a partition cannot go on, or that the group cannot.
    Fault(Fault),
    /// A commit is done.
    CommitDone {
        /// Which.
        ticket: CommitTicket,
        /// What failed.
        failures: Vec<(TopicPartition, CommitFailure)>,
    },
    /// The consumer has left its group, if it had one, and has nothing under way.
    Closed,
}

/// What a consumer has counted since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// How many rebalances began.
    pub rebalances: u64,
    /// How many partitions were lost without a chance to finish with them.
    pub partitions_lost: u64,
    /// How many commits are done, automatic ones included.
    pub commits: u64,
    /// How many of them failed, in whole or in part.
    pub commits_failed: u64,
    /// How often the group's coordinator did not answer, or was another one by then.
    pub coordinators_lost: u64,
    /// What each broker sent.
    pub fetched: BTreeMap<i32, Fetched>,
}

/// What one broker sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fetched {
    /// How many fetches it answered.
    pub answers: u64,
    /// How many did not get an answer.
    pub failures: u64,
    /// How many bytes of records came.
    pub bytes: u64,
}

/// What happens to the application's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// A rebalance started.
    Rebalancing {
        /// Why.
        reason: String,
    },
    /// A generation is complete, or under the consumer protocol a new assignment is known.
    Assigned {
        /// What is new.
        added: BTreeSet<TopicPartition>,
        /// All that is owned.
        owned: BTreeSet<TopicPartition>,
        /// The generation, or the member's epoch.
        generation: i32,
    },
    /// Partitions have to be given back: finish with them, then say so.
    Revoking {
        /// Names the revocation.
        ticket: RequestId,
        /// The partitions.
        partitions: BTreeSet<TopicPartition>,
        /// When the group goes on regardless.
        deadline: Timestamp,
    },
    /// They were given back.
    Revoked {
        /// The partitions.
        partitions: BTreeSet<TopicPartition>,
    },
    /// They are gone already.
    Lost {
        /// The partitions.
        partitions: BTreeSet<TopicPartition>,
        /// Why.
        reason: LostReason,
    },
    /// A new leader's log lacks records that were read: what is at their offsets now are others. Reading
    /// goes on where the logs part, or where the reset policy says if nobody knows.
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// The next offset the application would have taken.
        offset: i64,
        /// The first offset known to differ.
        diverges_at: Option<i64>,
    },
    /// Topics were deleted and created again while these partitions of them were owned: reading starts
    /// as it does for partitions just assigned.
    Recreated {
        /// The partitions.
        partitions: BTreeSet<TopicPartition>,
    },
    /// The coordinator cannot run the consumer protocol for this group: the member speaks the classic one
    /// from now on.
    Downgraded {
        /// What the coordinator said.
        code: ErrorCode,
    },
    /// A partition is neither being fetched nor buffered nor paused, for long by now.
    Stalled(Stall),
    /// The application has not polled in time, so the member left; it returns with the next poll.
    PollIntervalExceeded {
        /// How long it has not polled, in milliseconds.
        idle_ms: i64,
    },
}

/// What the application has to know because it cannot go on by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A partition has no valid offset, and the reset policy is `none`.
    NoOffset {
        /// The partition.
        partition: TopicPartition,
        /// The offset that is out of range, if there was one.
        out_of_range: Option<i64>,
    },
    /// A new leader's log lacks records that were read, and the reset policy is `none`.
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// The next offset the application would have taken.
        offset: i64,
        /// The first offset known to differ.
        diverges_at: Option<i64>,
    },
    /// A broker refuses a partition; it is tried again all the same.
    Partition {
        /// The partition.
        partition: TopicPartition,
        /// What the broker said.
        code: ErrorCode,
    },
    /// The cluster refuses to say anything about a topic that is wanted, and asking again is not
    /// expected to help.
    Topic {
        /// The topic.
        topic: TopicName,
        /// What the broker said.
        code: ErrorCode,
    },
    /// The group refuses the member. It tries again unless that [ended](MembershipError::is_final) the
    /// membership; each refusal is told.
    Group(MembershipError),
}
