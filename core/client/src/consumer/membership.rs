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
//! The consumer protocol (KIP-848) is a second machine with these same actions.

use std::collections::BTreeSet;

use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::heartbeat::HeartbeatRequest;
use kohort_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponseMember,
};
use kohort_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;

use super::group_protocol::{OwnedPartitions, all_cooperative, assign, encode_subscription};
use super::types::{Counter, RequestId, Retry, Timestamp, TopicName, TopicPartition};
use crate::metadata::MetadataView;
pub use types::{
    GroupAction, GroupIdentity, GroupRequest, GroupResponse, LostReason, MembershipConfig,
    MembershipError,
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
    Leaving(RequestId),
    /// Ended by an error. Next: `Ready` when the application subscribes anew.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    Join,
    Leave,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Coordinator {
    Unknown { retry_at: Timestamp },
    Finding(RequestId),
    Known(i32),
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
            coordinator: Coordinator::Unknown { retry_at: 0 },
            member_id: String::new(),
            generation: NO_GENERATION,
            owned: BTreeSet::new(),
            subscription: BTreeSet::new(),
            rejoin: None,
            heartbeat: Heartbeat::default(),
            leader: false,
            says_goodbye: config.group_instance_id.is_none(),
            protocol: String::new(),
            backoff,
            retry_at: 0,
            last_reason: None,
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
        match self.coordinator {
            Coordinator::Known(node) => Some(node),
            _ => None,
        }
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

    /// Whether this member computes the assignments of its generation.
    pub fn is_leader(&self) -> bool {
        self.leader
    }

    /// Whether the member is outside the group with nothing left to do.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle | State::AwaitingPoll | State::Failed)
    }

    /// Sets the topics wanted; an empty set leaves the group.
    pub fn handle_subscription(
        &mut self,
        now: Timestamp,
        topics: BTreeSet<TopicName>,
    ) -> Vec<GroupAction> {
        let mut actions = Vec::new();
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

    /// Takes the coordinator's node, or that it could not be found.
    pub fn handle_coordinator(
        &mut self,
        now: Timestamp,
        id: RequestId,
        found: Result<i32, ErrorCode>,
    ) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.coordinator != Coordinator::Finding(id) {
            return actions;
        }
        match found {
            Ok(node) => self.coordinator = Coordinator::Known(node),
            Err(code)
                if code == ErrorCode::GROUP_AUTHORIZATION_FAILED
                    || code == ErrorCode::INVALID_GROUP_ID =>
            {
                self.coordinator =
                    Coordinator::Unknown { retry_at: now + self.config.retry_backoff_max_ms };
                self.fail(
                    MembershipError::Refused { group_id: self.config.group_id.clone(), code },
                    &mut actions,
                );
            }
            Err(_) => {
                self.coordinator = Coordinator::Unknown { retry_at: now + self.backoff.next_ms() }
            }
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Drops what is known about the coordinator, because another request learnt it is not it.
    pub fn handle_coordinator_lost(&mut self, now: Timestamp, node: i32) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.coordinator == Coordinator::Known(node) {
            self.forget_coordinator(now);
        }
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
            GroupResponse::Leave if self.state == State::Leaving(id) => self.left(&mut actions),
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
            self.forget_coordinator(now);
        } else if self.state == State::Leaving(id) {
            self.left(&mut actions);
        } else if self.state == State::Joining(id) || self.state == State::Syncing(id) {
            self.forget_coordinator(now);
            self.retry_join(now, "the coordinator could not be reached");
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Divides the partitions of the group as its leader, by metadata that covers all its topics.
    pub fn handle_group_topics(
        &mut self,
        now: Timestamp,
        id: RequestId,
        members: Vec<JoinGroupResponseMember>,
        view: &MetadataView,
    ) -> Vec<GroupAction> {
        if self.state != State::Assigning(id) {
            return Vec::new();
        }
        let computed = match self.config.assignors.iter().find(|it| it.name() == self.protocol) {
            Some(assignor) => assign(&**assignor, members, view),
            None => Err(format!("the group chose `{}`, which was not offered", self.protocol)),
        };
        self.handle_assignment(now, id, computed)
    }

    /// Takes the leader's assignment: each member's id with its encoded partitions.
    pub fn handle_assignment(
        &mut self,
        now: Timestamp,
        id: RequestId,
        computed: Result<Vec<(String, Bytes)>, String>,
    ) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.state != State::Assigning(id) {
            return actions;
        }
        match computed {
            Ok(assignments) => {
                let assignments = assignments
                    .into_iter()
                    .map(|(member_id, assignment)| SyncGroupRequestAssignment {
                        member_id,
                        assignment,
                    })
                    .collect();
                self.send_sync(now, assignments, &mut actions);
            }
            Err(why) => self.fail(
                MembershipError::Assignor { group_id: self.config.group_id.clone(), why },
                &mut actions,
            ),
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Takes that the application has given the partitions of a revocation back.
    pub fn handle_revoked(&mut self, now: Timestamp, ticket: RequestId) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if let State::Revoking { ticket: open, .. } = &self.state
            && *open == ticket
        {
            self.finish_revocation(now, true, &mut actions);
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
                    self.request_rejoin("a commit met a rebalance".to_owned());
                }
                _ => {}
            }
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Leaves because the application has not polled for too long (`max.poll.interval.ms`).
    pub fn handle_poll_interval_exceeded(&mut self) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.is_idle() || matches!(self.state, State::Leaving(_)) {
            return actions;
        }
        self.lose(LostReason::PollInterval, &mut actions);
        // A static member stays known until its session ends (KIP-345), so it has nothing to say.
        if let (Some(coordinator), None) = (self.coordinator(), &self.config.group_instance_id)
            && !self.member_id.is_empty()
        {
            let id = RequestId(self.ids.advance());
            let request = self.leave_request("the application stopped polling");
            actions.push(GroupAction::Send { id, coordinator, request });
        }
        self.reset_generation(true);
        self.state = State::AwaitingPoll;
        actions
    }

    /// Takes that the application polls: a member that left for not polling joins again.
    pub fn handle_poll(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.state == State::AwaitingPoll && !self.subscription.is_empty() {
            self.prepare(now, "the application polls again".to_owned(), &mut actions);
            self.advance(now, &mut actions);
        }
        actions
    }

    /// Leaves the group for good: gives everything back, then says so to the coordinator. Without
    /// `leave` it says nothing, and the coordinator keeps the place until the session ends.
    pub fn handle_close(&mut self, now: Timestamp, leave: bool) -> Vec<GroupAction> {
        self.says_goodbye = leave && self.config.group_instance_id.is_none();
        let mut actions = Vec::new();
        self.subscription.clear();
        self.start_leaving(now, &mut actions);
        self.advance(now, &mut actions);
        actions
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) has to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        let mut at = |time: Timestamp| next = Some(next.map_or(time, |earlier| earlier.min(time)));
        if self.needs_coordinator()
            && let Coordinator::Unknown { retry_at } = self.coordinator
        {
            at(retry_at);
        }
        match &self.state {
            State::Ready if self.coordinator().is_some() => at(self.retry_at),
            State::Revoking { deadline, .. } => at(*deadline),
            _ => {}
        }
        if self.sends_heartbeats()
            && self.heartbeat.outstanding.is_none()
            && self.coordinator().is_some()
        {
            at(self.heartbeat.next_at);
        }
        next
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if let State::Revoking { deadline, .. } = &self.state
            && now >= *deadline
        {
            self.finish_revocation(now, false, &mut actions);
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Sends whatever the state calls for: the one place that decides when requests go out.
    fn advance(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        if self.state == State::Stable
            && let Some(reason) = self.rejoin.take()
        {
            self.prepare(now, reason, actions);
        }
        if self.needs_coordinator()
            && let Coordinator::Unknown { retry_at } = self.coordinator
            && now >= retry_at
        {
            let id = RequestId(self.ids.advance());
            self.coordinator = Coordinator::Finding(id);
            actions.push(GroupAction::FindCoordinator(id));
        }
        let Coordinator::Known(coordinator) = self.coordinator else { return };
        if self.state == State::Ready && now >= self.retry_at {
            self.rejoin = None;
            let id = RequestId(self.ids.advance());
            self.state = State::Joining(id);
            self.heartbeat.outstanding = None;
            let request = GroupRequest::Join(self.join_request());
            actions.push(GroupAction::Send { id, coordinator, request });
        }
        if self.sends_heartbeats()
            && self.heartbeat.outstanding.is_none()
            && now >= self.heartbeat.next_at
        {
            let id = RequestId(self.ids.advance());
            self.heartbeat.outstanding = Some(id);
            self.heartbeat.next_at = now + self.config.heartbeat_interval_ms;
            let request = GroupRequest::Heartbeat(HeartbeatRequest {
                group_id: self.config.group_id.clone(),
                generation_id: self.generation,
                member_id: self.member_id.clone(),
                group_instance_id: self.config.group_instance_id.clone(),
            });
            actions.push(GroupAction::Send { id, coordinator, request });
        }
    }

    fn needs_coordinator(&self) -> bool {
        // An idle member needs it too: a consumer with assigned partitions commits through it.
        !matches!(self.state, State::Failed)
    }

    /// The coordinator keeps a session for us from the answer to the join on.
    fn sends_heartbeats(&self) -> bool {
        self.generation != NO_GENERATION
            && matches!(
                self.state,
                State::Stable
                    | State::Revoking { .. }
                    | State::Assigning(_)
                    | State::Syncing(_)
                    | State::Ready
            )
    }

    fn request_rejoin(&mut self, reason: String) {
        self.rejoin.get_or_insert(reason);
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

    fn revoke(
        &mut self,
        now: Timestamp,
        partitions: BTreeSet<TopicPartition>,
        after: After,
        actions: &mut Vec<GroupAction>,
    ) {
        if partitions.is_empty() {
            match after {
                After::Join => self.state = State::Ready,
                After::Leave => self.send_leave(actions),
            }
            return;
        }
        let ticket = RequestId(self.ids.advance());
        let deadline = now + i64::from(self.config.rebalance_timeout_ms);
        actions.push(GroupAction::Revoke { ticket, partitions: partitions.clone(), deadline });
        self.state = State::Revoking { ticket, partitions, deadline, after };
    }

    fn finish_revocation(&mut self, now: Timestamp, in_time: bool, actions: &mut Vec<GroupAction>) {
        let State::Revoking { partitions, after, .. } =
            std::mem::replace(&mut self.state, State::Ready)
        else {
            return;
        };
        for partition in &partitions {
            self.owned.remove(partition);
        }
        if in_time {
            actions.push(GroupAction::Released(partitions));
        } else {
            actions.push(GroupAction::Lost { partitions, reason: LostReason::RevocationTimedOut });
        }
        // What the application subscribed to meanwhile decides where to go.
        let after = if self.subscription.is_empty() { After::Leave } else { after };
        self.revoke(now, BTreeSet::new(), after, actions);
    }

    fn start_leaving(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        self.rejoin = None;
        match &mut self.state {
            State::Idle => actions.push(GroupAction::Left),
            State::AwaitingPoll | State::Failed => {
                self.state = State::Idle;
                actions.push(GroupAction::Left);
            }
            State::Leaving(_) => {}
            State::Revoking { partitions, after, .. } if *partitions == self.owned => {
                *after = After::Leave;
            }
            State::Revoking { .. }
            | State::Ready
            | State::Joining(_)
            | State::Assigning(_)
            | State::Syncing(_)
            | State::Stable => {
                let all = self.owned.clone();
                self.revoke(now, all, After::Leave, actions);
            }
        }
    }

    fn send_leave(&mut self, actions: &mut Vec<GroupAction>) {
        self.heartbeat.outstanding = None;
        if let (Some(coordinator), true) =
            (self.coordinator(), self.says_goodbye && !self.member_id.is_empty())
        {
            let id = RequestId(self.ids.advance());
            self.state = State::Leaving(id);
            let request = self.leave_request("the consumer is closing or has unsubscribed");
            actions.push(GroupAction::Send { id, coordinator, request });
        } else {
            self.left(actions);
        }
    }

    fn left(&mut self, actions: &mut Vec<GroupAction>) {
        self.reset_generation(true);
        self.state = State::Idle;
        actions.push(GroupAction::Left);
        // The application may have subscribed again while the leave was on its way.
        if !self.subscription.is_empty() {
            self.state = State::Ready;
        }
    }

    fn join_request(&self) -> JoinGroupRequest {
        // Only the cooperative protocol holds partitions here; eager has given all of them back.
        let owned = OwnedPartitions { partitions: &self.owned, generation: self.generation };
        let protocols = self
            .config
            .assignors
            .iter()
            .map(|assignor| JoinGroupRequestProtocol {
                name: assignor.name().to_owned(),
                metadata: encode_subscription(
                    &**assignor,
                    &self.subscription,
                    &owned,
                    self.config.rack.as_deref(),
                ),
            })
            .collect();
        JoinGroupRequest {
            group_id: self.config.group_id.clone(),
            session_timeout_ms: self.config.session_timeout_ms,
            rebalance_timeout_ms: self.config.rebalance_timeout_ms,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols,
            reason: self.last_reason.clone(),
        }
    }

    fn leave_request(&self, reason: &str) -> GroupRequest {
        // Both forms are filled in: which one travels depends on the negotiated version.
        GroupRequest::Leave(LeaveGroupRequest {
            group_id: self.config.group_id.clone(),
            member_id: self.member_id.clone(),
            members: vec![MemberIdentity {
                member_id: self.member_id.clone(),
                group_instance_id: self.config.group_instance_id.clone(),
                reason: Some(reason.to_owned()),
            }],
        })
    }
}

const PROTOCOL_TYPE: &str = "consumer";

mod answers;
mod types;

#[cfg(test)]
mod tests;
