//! Membership of a classic group: finding the coordinator, joining, syncing, heartbeats, leaving.
//!
//! ```text
//!            subscribe                    given back               answered           answered
//!   Idle ───────────────► Preparing ──► Revoking ──► Ready ──► Joining ──► Assigning ──► Syncing ──► Stable
//!    ▲                        ▲  (partitions the next               (leader only)                     │ │
//!    │                        │   generation may take)                                               │ │
//!    │ left, poll interval    └────────────── rebalance in progress, changed subscription ───────────┘ │
//!    └──────────────────────────────────────────── close, unsubscribe ─────────────────────────────────┘
//! ```
//!
//! The machine says what to send and what the application gains or loses; it never waits. Each
//! request carries a number, and a reply whose number is not the outstanding one is late: ignored.
//! Under the eager protocol every partition is given back before joining. Under the cooperative
//! one (KIP-429) only those that the *answer* takes away are, after which the member joins again
//! so that they can go to their new owner; what it keeps is read all along.
//!
//! The consumer protocol (KIP-848) is a second machine with these same actions (`consumer.rs`);
//! [`Membership`] is whichever of the two runs.

use std::collections::BTreeSet;

use kohort_protocol::ErrorCode;

use super::group_protocol::all_cooperative;
use super::types::{Counter, RequestId, Retry, Timestamp, TopicName, TopicPartition};
pub use consumer::{ConsumerMembership, Wanted};
use coordinator::Coordinator;
pub use either::Membership;
use farewell::Farewell;
pub use types::{
    GroupAction, GroupIdentity, GroupMembershipOperation, GroupProtocol, GroupRequest,
    GroupResponse, LostReason, MembershipConfig, MembershipError, STATIC_MEMBERS_FROM,
};

/// See the [module](self).
#[derive(Debug)]
pub struct ClassicMembership {
    config: MembershipConfig,
    ids: Counter,
    state: State,
    coordinator: Coordinator,
    member_id: String,
    generation: i32,
    /// What the application holds, revocations under way included.
    owned: BTreeSet<TopicPartition>,
    subscription: BTreeSet<TopicName>,
    /// Whether the topics are those that matched a pattern in the latest picture of the cluster.
    by_pattern: bool,
    /// Until when the next join waits for a newer picture.
    picture_by: Option<Timestamp>,
    /// What is given back before leaving, while a rebalance goes on behind that.
    leaving: Option<GivingBack>,
    /// A leave the coordinator has not answered yet.
    farewell: Option<Farewell>,
    /// Why to join again as soon as the state allows.
    rejoin: Option<String>,
    heartbeat: Heartbeat,
    leader: bool,
    /// Whether leaving is told to the coordinator; a static member's place is kept (KIP-345).
    says_goodbye: bool,
    /// The assignor the generation agreed on.
    protocol: String,
    backoff: Retry,
    retry_at: Timestamp,
    last_reason: Option<String>,
    /// Why the group does not have the member, since the coordinator refused it last.
    refusal: Option<MembershipError>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Not a member and not on the way. Next: `Preparing` when something is subscribed.
    Idle,
    /// Left because the application stopped polling. Next: `Preparing` when it polls.
    AwaitingPoll,
    /// Partitions have to come back first. Next: `after`, or lost at the deadline.
    Revoking {
        ticket: RequestId,
        partitions: BTreeSet<TopicPartition>,
        deadline: Timestamp,
        after: After,
    },
    /// Free to join. Next: `Joining` once the coordinator is known and the back-off is over.
    Ready,
    /// The coordinator holds our join. Next: `Assigning` (leader) or `Syncing`.
    Joining(RequestId),
    /// The leader's assignor works. Next: `Syncing`.
    Assigning(RequestId),
    /// The coordinator holds our sync. Next: `Stable`.
    Syncing(RequestId),
    /// In the group. Next: `Revoking` or `Ready` at a rebalance.
    Stable,
    /// The leave is on its way. Next: `Idle`.
    Leaving,
    /// Ended by an error. Next: `Ready` when the application subscribes anew.
    Failed,
}

/// Partitions that have to come back before the member leaves.
#[derive(Debug)]
struct GivingBack {
    ticket: RequestId,
    partitions: BTreeSet<TopicPartition>,
    deadline: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    Join,
    Leave,
}

#[derive(Debug, Default)]
struct Heartbeat {
    next_at: Timestamp,
    outstanding: Option<RequestId>,
}

const NO_GENERATION: i32 = -1;

impl ClassicMembership {
    /// Starts outside the group with nothing subscribed.
    pub fn new(config: MembershipConfig) -> Self {
        let backoff = Retry::new(config.retry_backoff_ms, config.retry_backoff_max_ms, config.seed);
        Self {
            ids: Counter::default(),
            state: State::Idle,
            coordinator: Coordinator::unknown(),
            member_id: String::new(),
            generation: NO_GENERATION,
            owned: BTreeSet::new(),
            subscription: BTreeSet::new(),
            by_pattern: false,
            picture_by: None,
            leaving: None,
            farewell: None,
            rejoin: None,
            heartbeat: Heartbeat::default(),
            leader: false,
            says_goodbye: config.group_instance_id.is_none(),
            protocol: String::new(),
            backoff,
            retry_at: 0,
            last_reason: None,
            refusal: None,
            config,
        }
    }

    /// Returns who commits are from, once the member has a generation.
    pub fn identity(&self) -> Option<GroupIdentity> {
        (self.generation != NO_GENERATION).then(|| GroupIdentity {
            member_id: self.member_id.clone(),
            generation: self.generation,
            group_instance_id: self.config.group_instance_id.clone(),
        })
    }

    /// Returns the coordinator's node, when known.
    pub fn coordinator(&self) -> Option<i32> {
        self.coordinator.known()
    }

    /// Whether the generation is complete and heartbeats are what is left to do.
    pub fn is_stable(&self) -> bool {
        self.state == State::Stable
    }

    /// Whether commits are accepted now: not between the answer to the join and that to the sync,
    /// where the coordinator refuses them. While a join is parked, which takes as long as the slowest
    /// member, it takes those of the generation before.
    pub fn accepts_commits(&self) -> bool {
        !matches!(self.state, State::Assigning(_) | State::Syncing(_))
    }

    /// Whether a new generation comes although partitions are being given back: the member leaves in the
    /// middle of a rebalance, and what is to be committed may need the generation that this brings.
    pub fn renews_while_revoking(&self) -> bool {
        let under_way =
            matches!(self.state, State::Joining(_) | State::Assigning(_) | State::Syncing(_));
        self.leaving.is_some() && under_way
    }

    /// Whether this member computes the assignments of its generation.
    pub fn is_leader(&self) -> bool {
        self.leader
    }

    /// Whether the member is outside the group with nothing left to do.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle | State::AwaitingPoll | State::Failed)
    }

    /// Returns why the group does not have the member, while it refuses it.
    pub fn refusal(&self) -> Option<&MembershipError> {
        self.refusal.as_ref()
    }

    /// Sets the topics wanted; an empty set leaves the group.
    pub fn handle_subscription(
        &mut self,
        now: Timestamp,
        topics: BTreeSet<TopicName>,
    ) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        self.refusal = None;
        if topics.is_empty() {
            self.subscription = topics;
            self.start_leaving(now, &mut actions);
        } else if topics != self.subscription || self.is_idle() {
            self.subscription = topics;
            if self.is_idle() {
                self.prepare(now, "the member subscribes".to_owned(), &mut actions);
            } else {
                self.request_rejoin("the subscription changed".to_owned());
            }
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Asks for a new assignment, for example because a subscribed topic gained partitions.
    pub fn handle_rejoin(&mut self, now: Timestamp, reason: &str) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if !self.is_idle() {
            self.request_rejoin(reason.to_owned());
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Takes that there is a new picture of the cluster, whose topics are subscribed to by now.
    pub fn handle_picture(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.picture_by.take().is_some() {
            self.advance(now, &mut actions);
        }
        actions
    }

    /// Takes the coordinator's node, or that it could not be found.
    pub fn handle_coordinator(
        &mut self,
        now: Timestamp,
        id: RequestId,
        found: Result<i32, ErrorCode>,
    ) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        match self.coordinator.found(now, id, found, &mut self.backoff) {
            Some(code) => {
                // Nobody is there who would hear of a leave.
                self.end_farewell(&mut actions);
                self.refused(now, code, &mut actions);
            }
            // What else is refused is heard when it is tried.
            None if self.is_idle() && self.coordinator().is_some() => self.refusal = None,
            None => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Drops what is known about the coordinator, because another request learnt it is not it.
    pub fn handle_coordinator_lost(&mut self, now: Timestamp, node: i32) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        self.coordinator.lost(now, node, &mut self.backoff);
        self.advance(now, &mut actions);
        actions
    }

    /// Takes the answer to a request.
    pub fn handle_response(
        &mut self,
        now: Timestamp,
        id: RequestId,
        response: GroupResponse,
    ) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        match response {
            GroupResponse::Join(answer) if self.state == State::Joining(id) => {
                self.joined(now, answer, &mut actions);
            }
            GroupResponse::Sync(answer) if self.state == State::Syncing(id) => {
                self.synced(now, answer, &mut actions);
            }
            GroupResponse::Heartbeat(answer) if self.heartbeat.outstanding == Some(id) => {
                self.heartbeat.outstanding = None;
                self.heartbeat_answered(now, answer.error_code, &mut actions);
            }
            GroupResponse::Probe if self.heartbeat.outstanding == Some(id) => {
                self.heartbeat.outstanding = None;
            }
            GroupResponse::Leave(answer) if self.says_farewell(id) => {
                self.farewell_answered(now, &answer, &mut actions);
            }
            _ => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Takes that a request got no answer: the connection broke or the time was up.
    pub fn handle_failure(&mut self, now: Timestamp, id: RequestId) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.heartbeat.outstanding == Some(id) {
            self.heartbeat.outstanding = None;
            self.heartbeat.next_at = now + self.config.retry_backoff_ms;
            self.coordinator.forget(now, &mut self.backoff);
            if matches!(self.state, State::Joining(_) | State::Syncing(_)) {
                // It would hold the answer back for ever: it is dead.
                self.retry_join(now, "the coordinator does not answer");
            }
        } else if self.says_farewell(id) {
            self.farewell_failed(now);
        } else if self.state == State::Joining(id) || self.state == State::Syncing(id) {
            self.coordinator.forget(now, &mut self.backoff);
            self.retry_join(now, "the coordinator could not be reached");
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Takes what a commit learnt about the member; `generation` is the one the commit was sent with.
    pub fn handle_commit_error(
        &mut self,
        now: Timestamp,
        generation: i32,
        code: ErrorCode,
    ) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if generation == self.generation && generation != NO_GENERATION {
            match code {
                ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => {
                    self.fenced(now, code, &mut actions);
                }
                ErrorCode::ILLEGAL_GENERATION if self.state == State::Stable => {
                    self.fenced(now, code, &mut actions);
                }
                ErrorCode::REBALANCE_IN_PROGRESS => {
                    self.follow_rebalance(now, "a commit met a rebalance", &mut actions);
                }
                _ => {}
            }
        }
        self.advance(now, &mut actions);
        actions
    }

    fn request_rejoin(&mut self, reason: String) {
        self.rejoin.get_or_insert(reason);
    }

    /// Joins a rebalance that another member caused. What it saw before us may be a topic that our pattern
    /// matches as well: joining without it would give the others all of its partitions, and us some of what they
    /// read, only to take it back a moment later. So a newer picture comes first, as with Java's consumer.
    fn follow_rebalance(&mut self, now: Timestamp, reason: &str, actions: &mut Vec<GroupAction>) {
        if self.by_pattern && self.state == State::Stable && self.rejoin.is_none() {
            self.picture_by = Some(now + PICTURE_WAIT_MS);
            actions.push(GroupAction::RefreshMetadata);
        }
        self.request_rejoin(reason.to_owned());
    }

    fn join_at(&self) -> Timestamp {
        self.picture_by.map_or(self.retry_at, |by| by.max(self.retry_at))
    }

    /// Starts a rebalance: gives back what the protocol says must not be held while joining.
    fn prepare(&mut self, now: Timestamp, reason: String, actions: &mut Vec<GroupAction>) {
        actions.push(GroupAction::Rebalancing(reason.clone()));
        self.last_reason = Some(reason);
        let back: BTreeSet<_> = if all_cooperative(&self.config.assignors) {
            self.owned
                .iter()
                .filter(|held| !self.subscription.contains(&held.topic))
                .cloned()
                .collect()
        } else {
            self.owned.clone()
        };
        self.revoke(now, back, After::Join, actions);
    }
}

const PROTOCOL_TYPE: &str = "consumer";

/// How long a join waits for a picture of the cluster: many times what an answer takes, and little of what the
/// group waits for its slowest member.
const PICTURE_WAIT_MS: i64 = 500;

mod answers;
mod consumer;
mod coordinator;
mod either;
mod farewell;
mod leaving;
mod requests;
mod sending;
mod types;

#[cfg(test)]
mod farewell_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod tests;
