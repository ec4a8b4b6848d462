//! The membership of a consumer, whichever protocol its group speaks.

use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::join_group::JoinGroupResponseMember;

use super::{
    ClassicMembership, ConsumerMembership, GroupAction, GroupIdentity, GroupMembershipOperation,
    GroupProtocol, GroupResponse, MembershipConfig, MembershipError, Wanted,
};
use crate::consumer::types::{RequestId, Timestamp};
use crate::metadata::MetadataView;

/// One of the two memberships. The consumer protocol's becomes a classic one where the coordinator
/// cannot run it and the configuration allows that; it does not go back.
#[derive(Debug)]
pub enum Membership {
    /// Of a classic group.
    Classic(Box<ClassicMembership>),
    /// Of a consumer group (KIP-848).
    Consumer(Box<ConsumerMembership>),
}

/// Calls the same method of either membership.
macro_rules! either {
    ($membership:expr, $inner:ident => $call:expr) => {
        match $membership {
            Membership::Classic($inner) => $call,
            Membership::Consumer($inner) => $call,
        }
    };
}

impl Membership {
    /// Starts outside the group with nothing subscribed.
    pub fn new(config: MembershipConfig) -> Self {
        match config.protocol {
            GroupProtocol::Classic => Self::Classic(Box::new(ClassicMembership::new(config))),
            GroupProtocol::Consumer | GroupProtocol::ConsumerElseClassic => {
                Self::Consumer(Box::new(ConsumerMembership::new(config)))
            }
        }
    }

    /// Returns who commits are from, once the member has a generation or an epoch.
    pub fn identity(&self) -> Option<GroupIdentity> {
        either!(self, it => it.identity())
    }

    /// Returns the coordinator's node, when known.
    pub fn coordinator(&self) -> Option<i32> {
        either!(self, it => it.coordinator())
    }

    /// Whether nothing is under way but heartbeats.
    pub fn is_stable(&self) -> bool {
        either!(self, it => it.is_stable())
    }

    /// Whether the coordinator divides the partitions (KIP-848).
    pub fn is_consumer_protocol(&self) -> bool {
        matches!(self, Self::Consumer(_))
    }

    /// Whether commits are accepted in this phase of a rebalance: always under the consumer protocol.
    pub fn accepts_commits(&self) -> bool {
        match self {
            Self::Classic(classic) => classic.accepts_commits(),
            Self::Consumer(_) => true,
        }
    }

    /// Whether a new generation comes while partitions are being given back, as the epochs of the
    /// consumer protocol do.
    pub fn renews_while_revoking(&self) -> bool {
        match self {
            Self::Classic(classic) => classic.renews_while_revoking(),
            Self::Consumer(_) => true,
        }
    }

    /// Whether this member computes the assignments of its generation.
    pub fn is_leader(&self) -> bool {
        match self {
            Self::Classic(classic) => classic.is_leader(),
            Self::Consumer(_) => false,
        }
    }

    /// Whether the member is outside the group with nothing left to do.
    pub fn is_idle(&self) -> bool {
        either!(self, it => it.is_idle())
    }

    /// Returns why the group does not have the member, while it refuses it.
    pub fn refusal(&self) -> Option<&MembershipError> {
        either!(self, it => it.refusal())
    }

    /// Sets what is wanted; nothing leaves the group. A classic group has no use for an expression.
    pub fn handle_subscription(&mut self, now: Timestamp, wanted: Wanted) -> Vec<GroupAction> {
        match self {
            Self::Classic(classic) => {
                classic.by_pattern = wanted.by_pattern;
                classic.handle_subscription(now, wanted.topics)
            }
            Self::Consumer(consumer) => consumer.handle_subscription(now, wanted),
        }
    }

    /// Asks for a new assignment, for example because a subscribed topic gained partitions.
    pub fn handle_rejoin(&mut self, now: Timestamp, reason: &str) -> Vec<GroupAction> {
        match self {
            Self::Classic(classic) => classic.handle_rejoin(now, reason),
            Self::Consumer(consumer) => consumer.handle_rejoin(now),
        }
    }

    /// Takes that the coordinator did not accept this epoch of the member when it was asked for offsets.
    pub fn handle_stale(&mut self, now: Timestamp, epoch: i32) -> Vec<GroupAction> {
        match self {
            Self::Classic(_) => Vec::new(),
            Self::Consumer(consumer) => consumer.handle_stale(now, epoch),
        }
    }

    /// Takes the coordinator's node, or that it could not be found.
    pub fn handle_coordinator(
        &mut self,
        now: Timestamp,
        id: RequestId,
        found: Result<i32, ErrorCode>,
    ) -> Vec<GroupAction> {
        either!(self, it => it.handle_coordinator(now, id, found))
    }

    /// Drops what is known about the coordinator, because another request learnt it is not it.
    pub fn handle_coordinator_lost(&mut self, now: Timestamp, node: i32) -> Vec<GroupAction> {
        either!(self, it => it.handle_coordinator_lost(now, node))
    }

    /// Takes the answer to a request.
    pub fn handle_response(
        &mut self,
        now: Timestamp,
        id: RequestId,
        response: GroupResponse,
    ) -> Vec<GroupAction> {
        let actions = match (&mut *self, response) {
            (Self::Classic(classic), response) => classic.handle_response(now, id, response),
            (Self::Consumer(consumer), GroupResponse::ConsumerHeartbeat(answer)) => {
                consumer.handle_response(now, id, answer)
            }
            // Nothing else is ever asked.
            (Self::Consumer(_), _) => Vec::new(),
        };
        self.downgraded(now, actions)
    }

    /// Takes that a request got no answer: the connection broke or the time was up.
    pub fn handle_failure(&mut self, now: Timestamp, id: RequestId) -> Vec<GroupAction> {
        either!(self, it => it.handle_failure(now, id))
    }

    /// Takes what a commit learnt about the member; `generation` is the one the commit was sent with.
    pub fn handle_commit_error(
        &mut self,
        now: Timestamp,
        generation: i32,
        code: ErrorCode,
    ) -> Vec<GroupAction> {
        either!(self, it => it.handle_commit_error(now, generation, code))
    }

    /// Divides the partitions of the group as its leader, by metadata that covers all its topics.
    pub fn handle_group_topics(
        &mut self,
        now: Timestamp,
        id: RequestId,
        members: Vec<JoinGroupResponseMember>,
        view: &MetadataView,
    ) -> Vec<GroupAction> {
        match self {
            Self::Classic(classic) => classic.handle_group_topics(now, id, members, view),
            Self::Consumer(_) => Vec::new(),
        }
    }

    /// Takes a new picture of the cluster.
    pub fn handle_metadata(
        &mut self,
        now: Timestamp,
        view: &Arc<MetadataView>,
    ) -> Vec<GroupAction> {
        match self {
            // A picture of some topics says nothing about those that match.
            Self::Classic(classic) if view.complete => classic.handle_picture(now),
            Self::Classic(_) => Vec::new(),
            Self::Consumer(consumer) => consumer.handle_metadata(now, view),
        }
    }

    /// Takes that the application has given the partitions of a revocation back.
    pub fn handle_revoked(&mut self, now: Timestamp, ticket: RequestId) -> Vec<GroupAction> {
        either!(self, it => it.handle_revoked(now, ticket))
    }

    /// Leaves because the application has not polled for too long (`max.poll.interval.ms`).
    pub fn handle_poll_interval_exceeded(&mut self, now: Timestamp) -> Vec<GroupAction> {
        either!(self, it => it.handle_poll_interval_exceeded(now))
    }

    /// Takes that the application polls: a member that left for not polling joins again.
    pub fn handle_poll(&mut self, now: Timestamp) -> Vec<GroupAction> {
        either!(self, it => it.handle_poll(now))
    }

    /// Gives the membership up for a reason found out here.
    pub fn give_up(&mut self, now: Timestamp, error: MembershipError) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        match self {
            Self::Classic(classic) => classic.fail(now, error, &mut actions),
            Self::Consumer(consumer) => consumer.fail(error, &mut actions),
        }
        actions
    }

    /// Ends for good: gives everything back, then says so to the coordinator, unless the member remains in
    /// the group.
    pub fn handle_close(
        &mut self,
        now: Timestamp,
        operation: GroupMembershipOperation,
    ) -> Vec<GroupAction> {
        either!(self, it => it.handle_close(now, operation))
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) has to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        either!(self, it => it.poll_timeout())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<GroupAction> {
        either!(self, it => it.handle_timeout(now))
    }

    fn downgraded(&mut self, now: Timestamp, mut actions: Vec<GroupAction>) -> Vec<GroupAction> {
        let Self::Consumer(consumer) = self else { return actions };
        let Some(code) = consumer.refused() else { return actions };
        let (classic, next) = consumer.become_classic(now);
        *self = Self::Classic(Box::new(classic));
        actions.push(GroupAction::Downgraded(code));
        actions.extend(next);
        actions
    }
}
