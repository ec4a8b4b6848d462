//! Membership of a consumer group (KIP-848): one request, the heartbeat, says and brings everything.
//!
//! ```text
//!            subscribe               answered                 other partitions are assigned
//!   Idle ──────────────► Joining ──────────────► Member ──► new ones are taken at once; those to give up
//!    ▲                  (epoch 0)                 │  ▲      are revoked, and the next heartbeat names what
//!    │                      ▲                     │  └───── is left: that acknowledges
//!    │                      └── fenced: all lost ─┤
//!    └───────────── Leaving (epoch -1 or -2) ◄────┴── close, unsubscribe: all given back first
//! ```
//!
//! The coordinator divides the partitions, and names one only when its last owner has acknowledged
//! that it gave it up. So what is new can be read at once, and what stays is read all along. A
//! partition counts as given up only when the application is done with it and what it processed is
//! committed; until then heartbeats leave the owned partitions out, which changes nothing.
//!
//! Fields are null while they are as they were in a heartbeat that was answered. After any failure
//! all of them are sent again, because nobody knows what has arrived; the coordinator answers that
//! with the whole assignment.
//!
//! Assignments name topics by id. One whose name is not known yet waits for metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use kohort_protocol::{ErrorCode, Uuid};

use self::flight::Flight;
use super::coordinator::Coordinator;
use super::farewell::Farewell;
use super::{
    ClassicMembership, GroupAction, GroupIdentity, LostReason, MembershipConfig, MembershipError,
};
use crate::consumer::types::{Counter, RequestId, Retry, Timestamp, TopicName, TopicPartition};
use crate::metadata::MetadataView;

/// How it works is told at the top of this file.
#[derive(Debug)]
pub struct ConsumerMembership {
    config: MembershipConfig,
    ids: Counter,
    state: State,
    coordinator: Coordinator,
    /// Made by the member itself and kept for its life, fenced or not.
    member_id: String,
    /// 0 until the coordinator has let the member in.
    epoch: i32,
    wanted: Wanted,
    /// What the coordinator is told of that: while everything is given back, what was wanted before.
    subscribed: Wanted,
    /// What the application holds, and the id each topic had when it was taken; partitions being
    /// given back included.
    owned: BTreeMap<TopicPartition, Uuid>,
    /// The latest assignment.
    target: Target,
    /// How many assignments came that differed from the one before.
    assignments: u64,
    /// The number of the latest one that is carried out.
    reconciled: u64,
    /// Whether the assignment has not been told to the application yet.
    announce: bool,
    revocation: Option<Revocation>,
    /// A leave the coordinator has not answered yet.
    farewell: Option<Farewell>,
    /// What the coordinator knows of us, unless something failed since.
    sent: Option<Sent>,
    /// Heartbeats without an answer.
    flight: Flight,
    /// Whether there was one that will get none: if it was a join, the coordinator may have the member.
    unheard: bool,
    /// Whether the last heartbeat may be held: if not, another one follows as soon as nothing is left
    /// to do, so that a coordinator that holds answers always has one to give when something happens.
    asked_to_hold: bool,
    /// Something is to be learnt that only another heartbeat brings.
    hurry: bool,
    /// When the last heartbeat was sent.
    sent_at: Timestamp,
    next_at: Timestamp,
    interval_ms: i64,
    view: Arc<MetadataView>,
    /// When to ask again for topics that are assigned and not known.
    resolve_at: Timestamp,
    /// Whether leaving is told to the coordinator.
    says_goodbye: bool,
    /// Whether a static member leaves without a thought of coming back.
    leaves_for_good: bool,
    backoff: Retry,
    /// How the coordinator gives up what it may still have under the id of a member that joins.
    eviction: Eviction,
    /// Why the group does not have the member, since the coordinator refused it last.
    refusal: Option<MembershipError>,
    /// Set when the coordinator cannot run this protocol for us.
    refused: Option<ErrorCode>,
}

/// What the member subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Topics by name.
    pub topics: BTreeSet<TopicName>,
    /// Whether these are the topics that matched a pattern in the latest picture of the cluster.
    pub by_pattern: bool,
    /// An expression that the coordinator matches against the names of all topics (RE2).
    pub regex: Option<Arc<str>>,
}

impl Wanted {
    /// Wants these topics.
    pub fn topics(topics: BTreeSet<TopicName>) -> Self {
        Self { topics, ..Self::default() }
    }

    /// Wants the topics that match a pattern.
    pub fn matching(topics: BTreeSet<TopicName>) -> Self {
        Self { topics, by_pattern: true, regex: None }
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.regex.is_none()
    }
}

/// Partitions by the ids of their topics.
type Target = BTreeMap<Uuid, BTreeSet<i32>>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Not a member and not on the way. Next: `Joining` when something is subscribed.
    Idle,
    /// Left because the application stopped polling. Next: `Joining` when it polls.
    AwaitingPoll,
    /// Asking to be let in, with epoch 0. Next: `Member`.
    Joining,
    /// In the group. Next: `Returning` at the end, `Joining` when fenced.
    Member,
    /// Everything is given back before leaving. Next: `Leaving`.
    Returning,
    /// The leave is on its way. Next: `Idle`.
    Leaving,
    /// Ended by an error. Next: `Joining` when the application subscribes anew.
    Failed,
}

/// How a coordinator that fenced the member, and will not let it begin anew either, forgets it. Kafka 4.1
/// refuses to join under an id that it still has in a later epoch, until that one's session ends. It takes a
/// leave of it all the same; and only when that is answered is it sure to have come before the next join.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Eviction {
    /// There was no need.
    No,
    /// A leave is on its way, and the join waits for it.
    Leaving(RequestId),
    /// There was a leave since the last refusal that was told.
    Done,
}

/// Partitions the application was asked for.
#[derive(Debug)]
struct Revocation {
    ticket: RequestId,
    partitions: BTreeSet<TopicPartition>,
    deadline: Timestamp,
}

/// The fields of a heartbeat that are null while they do not change.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    wanted: Wanted,
    owned: Target,
    /// The number of the assignment that the owned partitions follow.
    reconciled: u64,
}

const JOIN_EPOCH: i32 = 0;
const LEAVE_EPOCH: i32 = -1;
/// A static member's leave: its partitions wait for its return until the session ends.
const STATIC_LEAVE_EPOCH: i32 = -2;

impl ConsumerMembership {
    /// Starts outside the group with nothing subscribed.
    pub fn new(config: MembershipConfig) -> Self {
        let backoff = Retry::new(config.retry_backoff_ms, config.retry_backoff_max_ms, config.seed);
        Self {
            ids: Counter::default(),
            state: State::Idle,
            coordinator: Coordinator::unknown(),
            member_id: joining::member_id(config.seed),
            epoch: JOIN_EPOCH,
            wanted: Wanted::default(),
            subscribed: Wanted::default(),
            owned: BTreeMap::new(),
            target: Target::new(),
            assignments: 0,
            reconciled: 0,
            announce: false,
            revocation: None,
            farewell: None,
            sent: None,
            flight: Flight::default(),
            unheard: false,
            asked_to_hold: false,
            hurry: false,
            sent_at: 0,
            next_at: 0,
            interval_ms: config.heartbeat_interval_ms,
            view: Arc::default(),
            resolve_at: 0,
            says_goodbye: true,
            leaves_for_good: false,
            backoff,
            eviction: Eviction::No,
            refusal: None,
            refused: None,
            config,
        }
    }

    /// Returns who commits are from, while the member is in the group.
    pub fn identity(&self) -> Option<GroupIdentity> {
        (self.epoch > JOIN_EPOCH).then(|| GroupIdentity {
            member_id: self.member_id.clone(),
            generation: self.epoch,
            group_instance_id: self.config.group_instance_id.clone(),
        })
    }

    /// Returns the coordinator's node, when known.
    pub fn coordinator(&self) -> Option<i32> {
        self.coordinator.known()
    }

    /// Whether the member owns what it is assigned and nothing is under way.
    pub fn is_stable(&self) -> bool {
        self.state == State::Member
            && self.revocation.is_none()
            && self.sent.as_ref().is_some_and(|sent| *sent == self.current())
    }

    /// Whether the member is outside the group with nothing left to do.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle | State::AwaitingPoll | State::Failed)
    }

    /// Returns why the group does not have the member, while it refuses it.
    pub fn refusal(&self) -> Option<&MembershipError> {
        self.refusal.as_ref()
    }

    /// Sets what is wanted; nothing leaves the group.
    pub fn handle_subscription(&mut self, now: Timestamp, wanted: Wanted) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        self.refusal = None;
        if wanted.is_empty() {
            self.wanted = wanted;
            self.start_leaving(now, &mut actions);
        } else {
            self.subscribed.clone_from(&wanted);
            self.wanted = wanted;
            if self.is_idle() {
                self.join(now, "the member subscribes", &mut actions);
            }
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Asks the coordinator at once whether anything changed: there is no rebalance to enforce.
    pub fn handle_rejoin(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        self.next_at = now;
        self.hurry = true;
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
        match self.coordinator.found(now, id, found, &mut self.backoff) {
            Some(code) => {
                // Nobody is there who would hear of a leave.
                self.end_farewell(now, &mut actions);
                self.refuse(code, &mut actions);
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

    /// Takes the answer to a heartbeat or a leave.
    pub fn handle_response(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: ConsumerGroupHeartbeatResponse,
    ) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.farewell.as_ref().is_some_and(|it| it.is(id)) {
            self.farewell_answered(now, answer.error_code, &mut actions);
        } else if self.eviction == Eviction::Leaving(id) {
            self.evicted(now, answer.error_code);
        } else if let Some(answered) = self.flight.answer(id) {
            self.heartbeat_answered(now, answered, answer, &mut actions);
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Takes that a request got no answer: the connection broke or the time was up.
    pub fn handle_failure(&mut self, now: Timestamp, id: RequestId) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.farewell.as_ref().is_some_and(|it| it.is(id)) {
            self.farewell_failed(now);
        } else if self.eviction == Eviction::Leaving(id) || self.flight.fail(id) {
            self.unheard = true;
            self.not_heard(now);
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Takes what a commit, or a question for committed offsets, learnt about the member; `epoch` is
    /// the one it was sent with.
    pub fn handle_commit_error(
        &mut self,
        now: Timestamp,
        epoch: i32,
        code: ErrorCode,
    ) -> Vec<GroupAction> {
        if code != ErrorCode::UNKNOWN_MEMBER_ID {
            return self.handle_stale(now, epoch);
        }
        let mut actions = Vec::new();
        if epoch == self.epoch && epoch > JOIN_EPOCH {
            self.fenced(now, code, &mut actions);
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Takes that the coordinator has another epoch for the member than this one, which a request over
    /// another connection was sent with. The new one, or that there is none, comes with the answer to a
    /// heartbeat: nothing but a heartbeat changes it, so one without an answer is all there is to wait for.
    pub fn handle_stale(&mut self, now: Timestamp, epoch: i32) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if epoch == self.epoch && epoch > JOIN_EPOCH && self.flight.is_empty() {
            self.next_at = now;
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Takes a new picture of the cluster: topics that are assigned may have names now.
    pub fn handle_metadata(
        &mut self,
        now: Timestamp,
        view: &Arc<MetadataView>,
    ) -> Vec<GroupAction> {
        self.view = view.clone();
        let mut actions = Vec::new();
        self.reconcile(now, &mut actions);
        self.advance(now, &mut actions);
        actions
    }
}

mod answers;
mod flight;
mod joining;
mod leaving;
mod reconcile;
mod sending;

#[cfg(test)]
mod overtaking_tests;
#[cfg(test)]
mod tests;
