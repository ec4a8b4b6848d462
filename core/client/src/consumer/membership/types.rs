//! What a member of a group says and is told, whichever protocol its group speaks.

use std::collections::BTreeSet;
use std::fmt;

use kohort_assignor::Assignor;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use kohort_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use kohort_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};
use kohort_protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use kohort_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use crate::consumer::types::{RequestId, Timestamp, TopicPartition};

/// Which protocol a member speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// JoinGroup and SyncGroup: a member divides the partitions.
    #[default]
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848): the coordinator divides them.
    Consumer,
    /// The consumer protocol, or the classic one where the coordinator cannot run that.
    ConsumerElseClassic,
}

impl GroupProtocol {
    /// Whether a coordinator that cannot run the consumer protocol is asked for the classic one.
    pub fn falls_back(self) -> bool {
        self == Self::ConsumerElseClassic
    }
}

/// What a member of a group is configured with; times in milliseconds.
#[derive(Debug, Default)]
pub struct MembershipConfig {
    /// Which protocol it speaks.
    pub protocol: GroupProtocol,
    /// The coordinator's assignor this member would like, under the consumer protocol.
    pub remote_assignor: Option<String>,
    /// The group's name.
    pub group_id: String,
    /// The name under which a static member returns (KIP-345).
    pub group_instance_id: Option<String>,
    /// How long the coordinator waits for a heartbeat before it gives the member up.
    pub session_timeout_ms: i32,
    /// How long a member may take to give partitions back and join: Java's `max.poll.interval.ms`.
    pub rebalance_timeout_ms: i32,
    /// The time between two heartbeats.
    pub heartbeat_interval_ms: i64,
    /// The first wait after a failed attempt.
    pub retry_backoff_ms: i64,
    /// The longest wait between attempts.
    pub retry_backoff_max_ms: i64,
    /// The assignors this member supports, most wanted first.
    pub assignors: Vec<Box<dyn Assignor>>,
    /// The rack the member runs in (KIP-881).
    pub rack: Option<String>,
    /// Decides the jitter of the back-off.
    pub seed: u64,
}

impl MembershipConfig {
    /// Returns how many milliseconds the application has to give partitions back. The coordinator counts
    /// its time from before the member heard of the rebalance, which takes a heartbeat: whoever took all
    /// of that time would be put out of the group.
    pub(super) fn revocation_ms(&self) -> i64 {
        let all = i64::from(self.rebalance_timeout_ms);
        all - self.heartbeat_interval_ms.max(SLACK_MS).min(all / 4)
    }
}

/// What the way to the coordinator may take.
const SLACK_MS: i64 = 1_000;

/// A request to the group's coordinator.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRequest {
    /// Joins the group; parked by the coordinator until all members have joined. A static member needs a
    /// coordinator with version [`STATIC_MEMBERS_FROM`]: one without it counts as one that answers
    /// `UNSUPPORTED_VERSION`, as newer ones do that are told to speak to their peers as an older one.
    Join(JoinGroupRequest),
    /// Asks for this generation's assignment; the leader brings it along.
    Sync(SyncGroupRequest),
    /// Says the member lives.
    Heartbeat(HeartbeatRequest),
    /// Asks the coordinator for nothing but an answer, while it holds a join or a sync back.
    Probe,
    /// Joins, reports, lives or leaves under the consumer protocol.
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
    /// Leaves the group.
    Leave(LeaveGroupRequest),
}

/// An answer to a [`GroupRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum GroupResponse {
    /// Answers a join.
    Join(JoinGroupResponse),
    /// Answers a sync.
    Sync(SyncGroupResponse),
    /// Answers a heartbeat.
    Heartbeat(HeartbeatResponse),
    /// Answers a probe.
    Probe,
    /// Answers a heartbeat of the consumer protocol. A coordinator that does not have it, or not as
    /// the request needs it, counts as one that answers `UNSUPPORTED_VERSION`.
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
    /// Answers a leave.
    Leave(LeaveGroupResponse),
}

/// Why partitions were lost without a chance to finish with them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// The coordinator no longer knows this member: its session expired, or it was removed.
    Fenced(ErrorCode),
    /// The application did not poll for longer than `max.poll.interval.ms`.
    PollInterval,
    /// The application did not give the partitions back in time.
    RevocationTimedOut,
    /// The member gave its place up, because the group refused it or its assignor failed.
    Failed,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced(code) => write!(f, "the coordinator no longer knows this member: {code}"),
            Self::PollInterval => f.write_str("the application did not poll in time"),
            Self::RevocationTimedOut => f.write_str("they were not given back in time"),
            Self::Failed => f.write_str("the member gave its place up"),
        }
    }
}

/// What becomes of a member's place in its group when its consumer closes (KIP-1092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupMembershipOperation {
    /// A dynamic member leaves, a static one remains.
    #[default]
    Default,
    /// The member leaves, a static one as well: its partitions go to others at once.
    LeaveGroup,
    /// The member remains. A classic one says nothing: the coordinator keeps its partitions for it until its
    /// session ends. So it is with a dynamic member of a consumer group; a static one says that it has stopped,
    /// so that its next process may take the place before.
    RemainInGroup,
}

impl GroupMembershipOperation {
    /// Whether a member leaves for good.
    pub fn leaves(self, is_static: bool) -> bool {
        match self {
            Self::Default => !is_static,
            Self::LeaveGroup => true,
            Self::RemainInGroup => false,
        }
    }
}

/// Why a group does not have its member. Most of it somebody can mend without the application: an ACL is
/// granted, a group shrinks, a broker is upgraded. So the member tries again, after a back-off, and tells each
/// refusal; the rest [ends](Self::is_final) the membership until the application subscribes anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Another process uses the same `group.instance.id`.
    #[error(
        "instance `{instance_id}` of group `{group_id}` was replaced by another process with the same group.instance.id"
    )]
    InstanceFenced {
        /// The group.
        group_id: String,
        /// The instance both processes claim.
        instance_id: String,
    },
    /// Another member has the same `group.instance.id`. A process that stopped without a word counts as one
    /// until its session ends.
    #[error(
        "instance `{instance_id}` of group `{group_id}` belongs to another member until that leaves or its session ends: if it lives, give this one a group.instance.id of its own"
    )]
    InstanceHeld {
        /// The group.
        group_id: String,
        /// The instance's name.
        instance_id: String,
    },
    /// The coordinator does not know static members. One that joined it by another name could not be told from
    /// a dynamic one, and would stay in the group for a session after it has gone.
    #[error(
        "instance `{instance_id}` cannot join group `{group_id}`: group.instance.id needs brokers of Kafka 2.3 or later (JoinGroup version {needed})"
    )]
    InstanceIdUnsupported {
        /// The group.
        group_id: String,
        /// The instance's name.
        instance_id: String,
        /// The version of JoinGroup that brought static members.
        needed: i16,
    },
    /// The coordinator refused the member.
    #[error("group `{group_id}` refused this member: {code}")]
    Refused {
        /// The group.
        group_id: String,
        /// What the coordinator said.
        code: ErrorCode,
    },
    /// The coordinator does not run the consumer protocol, or has it switched off.
    #[error(
        "group `{group_id}` has no consumer protocol (KIP-848): that needs brokers of Kafka 4.0 or later which have it in group.coordinator.rebalance.protocols; use group.protocol=classic or auto"
    )]
    ProtocolUnsupported {
        /// The group.
        group_id: String,
    },
    /// The coordinator does not match expressions against the names of topics.
    #[error(
        "group `{group_id}` matches no expression: subscribe_regex needs brokers of Kafka 4.0 or later (ConsumerGroupHeartbeat version 1); use subscribe_pattern, which this client matches itself, and where the broker has no consumer protocol either group.protocol=classic or auto"
    )]
    RegexUnsupported {
        /// The group.
        group_id: String,
    },
    /// The coordinator answered with something that cannot be understood.
    #[error("group `{group_id}` sent an assignment that cannot be read: {why}")]
    BadAssignment {
        /// The group.
        group_id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The assignor this member leads with failed.
    #[error("assigning the partitions of group `{group_id}` failed: {why}")]
    Assignor {
        /// The group.
        group_id: String,
        /// What the assignor said.
        why: String,
    },
}

impl MembershipError {
    /// Whether the membership ended with it. Another process has a fenced instance's name, and joining again
    /// would throw that one out; the others are about what the application asked for, which it can take back.
    pub fn is_final(&self) -> bool {
        match self {
            Self::InstanceFenced { .. } | Self::InstanceIdUnsupported { .. } => true,
            Self::Refused { code, .. } => FINAL.contains(code),
            Self::InstanceHeld { .. }
            | Self::ProtocolUnsupported { .. }
            | Self::RegexUnsupported { .. }
            | Self::BadAssignment { .. }
            | Self::Assignor { .. } => false,
        }
    }

    /// Returns whether the group may have the member later without anybody changing configuration, rights or
    /// code: when others have left it, say.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_retriable() || PASSING.contains(code),
            Self::InstanceHeld { .. } => true,
            Self::InstanceFenced { .. }
            | Self::InstanceIdUnsupported { .. }
            | Self::ProtocolUnsupported { .. }
            | Self::RegexUnsupported { .. }
            | Self::BadAssignment { .. }
            | Self::Assignor { .. } => false,
        }
    }
}

/// Refusals that pass by themselves, although Kafka does not call them retriable: the group is full, or the
/// instance's last process has not gone yet.
const PASSING: [ErrorCode; 2] =
    [ErrorCode::GROUP_MAX_SIZE_REACHED, ErrorCode::UNRELEASED_INSTANCE_ID];

/// Refusals that nobody but the application can change.
const FINAL: [ErrorCode; 3] = [
    ErrorCode::INVALID_GROUP_ID,
    ErrorCode::INVALID_REQUEST,
    ErrorCode::INVALID_REGULAR_EXPRESSION,
];

/// The version of JoinGroup that brought static members (KIP-345), to Kafka 2.3. The same release brought them
/// to SyncGroup, Heartbeat, LeaveGroup and OffsetCommit, which are asked of the broker that was joined.
pub const STATIC_MEMBERS_FROM: i16 = 5;

/// What the shell, or the machine around this one, has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupAction {
    /// Look the coordinator up and answer with [`handle_coordinator`](super::ClassicMembership::handle_coordinator).
    FindCoordinator(RequestId),
    /// Send a request to the coordinator; answer with `handle_response` or `handle_failure`.
    Send {
        /// The number the answer has to carry.
        id: RequestId,
        /// The coordinator's node.
        coordinator: i32,
        /// What to send.
        request: GroupRequest,
    },
    /// This member leads: get metadata that covers the members' topics, then call
    /// [`handle_group_topics`](super::ClassicMembership::handle_group_topics), or `handle_assignment` with one made elsewhere.
    Assign {
        /// The number the answer has to carry.
        id: RequestId,
        /// The assignor the group agreed on.
        protocol: String,
        /// All members with their subscriptions.
        members: Vec<JoinGroupResponseMember>,
    },
    /// This member leads, and keeps the assignment that somebody else made (a static leader that comes
    /// back, KIP-814): only watch the partition counts of the members' topics.
    Watch {
        /// All members with their subscriptions.
        members: Vec<JoinGroupResponseMember>,
    },
    /// Take these partitions back from the application, commit what it processed, and then call
    /// [`handle_revoked`](super::ClassicMembership::handle_revoked). Their data must not be delivered any more.
    Revoke {
        /// Names the revocation when it is completed.
        ticket: RequestId,
        /// What has to be given back.
        partitions: BTreeSet<TopicPartition>,
        /// When the group goes on without this member.
        deadline: Timestamp,
    },
    /// These partitions were given up, after [`GroupAction::Revoke`] completed.
    Released(BTreeSet<TopicPartition>),
    /// A generation is complete, or under the consumer protocol a new assignment is known; `added` may
    /// be empty, and so may `owned`.
    Assigned {
        /// What is new to this member.
        added: BTreeSet<TopicPartition>,
        /// All it owns now.
        owned: BTreeSet<TopicPartition>,
        /// The generation, or the member's epoch.
        generation: i32,
    },
    /// These partitions belong to others by now: stop at once, commit nothing.
    Lost {
        /// What was owned.
        partitions: BTreeSet<TopicPartition>,
        /// Why.
        reason: LostReason,
    },
    /// Get a new picture of the cluster: topics are assigned whose names are not known, or there may be new ones
    /// that match the subscription's pattern.
    RefreshMetadata,
    /// The coordinator cannot run the consumer protocol for this group: it is a classic one from now on.
    Downgraded(ErrorCode),
    /// A rebalance started, for this reason.
    Rebalancing(String),
    /// The group refuses the member, which tries again unless that [ended](MembershipError::is_final) it.
    Failed(MembershipError),
    /// The member has left (or never had to) and the machine is at rest.
    Left,
}

impl GroupAction {
    /// Tells the end of a revocation, which the application was done with in time or was not.
    pub(super) fn given_up(partitions: BTreeSet<TopicPartition>, in_time: bool) -> Self {
        if in_time {
            Self::Released(partitions)
        } else {
            Self::Lost { partitions, reason: LostReason::RevocationTimedOut }
        }
    }
}

/// Who a commit says it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupIdentity {
    /// The member's id.
    pub member_id: String,
    /// The generation it belongs to, or the member's epoch.
    pub generation: i32,
    /// Its static name.
    pub group_instance_id: Option<String>,
}
