//! The ways out of the group.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;

use super::{
    ConsumerMembership, Farewell, GroupAction, JOIN_EPOCH, LEAVE_EPOCH, LostReason,
    STATIC_LEAVE_EPOCH, State, Wanted,
};
use crate::consumer::membership::{GroupMembershipOperation, GroupRequest};
use crate::consumer::types::Timestamp;

impl ConsumerMembership {
    /// Leaves because the application has not polled for too long (`max.poll.interval.ms`).
    pub fn handle_poll_interval_exceeded(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.is_idle() || self.state == State::Leaving {
            return actions;
        }
        self.lose(LostReason::PollInterval, &mut actions);
        if self.is_known() {
            self.farewell = Some(Farewell::new(self.leave_request()));
        }
        self.reset();
        self.state = State::AwaitingPoll;
        self.advance(now, &mut actions);
        actions
    }

    /// Takes that the application polls: a member that left for not polling joins again.
    pub fn handle_poll(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.state == State::AwaitingPoll && !self.wanted.is_empty() {
            self.join(now, "the application polls again", &mut actions);
            self.advance(now, &mut actions);
        }
        actions
    }

    /// Ends for good: gives everything back, then says so to the coordinator. A dynamic member that
    /// remains says nothing, and the coordinator keeps its place until the session ends. A static member says
    /// in any case that it has stopped: its place is kept all the same unless it leaves, and only then its
    /// next process may take it before the session ends.
    pub fn handle_close(
        &mut self,
        now: Timestamp,
        operation: GroupMembershipOperation,
    ) -> Vec<GroupAction> {
        let is_static = self.config.group_instance_id.is_some();
        self.says_goodbye = is_static || operation.leaves(is_static);
        self.leaves_for_good = operation == GroupMembershipOperation::LeaveGroup;
        let mut actions = Vec::new();
        self.wanted = Wanted::default();
        self.start_leaving(now, &mut actions);
        self.advance(now, &mut actions);
        actions
    }

    pub(super) fn start_leaving(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        match self.state {
            State::Idle | State::AwaitingPoll | State::Failed => {
                self.state = State::Leaving;
                if self.farewell.is_none() {
                    self.left(now, actions);
                }
            }
            State::Leaving | State::Returning => {}
            State::Joining | State::Member => {
                self.state = State::Returning;
                if self.revocation.is_none() {
                    self.return_all(now, actions);
                }
            }
        }
    }

    /// Gives back whatever is owned, then leaves.
    pub(super) fn return_all(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        if self.owned.is_empty() {
            self.send_leave(now, actions);
        } else {
            let all = self.owned.keys().cloned().collect();
            self.revoke(now, all, actions);
        }
    }

    pub(super) fn send_leave(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        if self.says_goodbye && self.is_known() {
            self.state = State::Leaving;
            // From here on nothing counts but the answer to this.
            self.flight.forget_all();
            self.farewell = Some(Farewell::new(self.leave_request()));
        } else {
            self.left(now, actions);
        }
    }

    /// Takes what the coordinator said to a leave. Whoever it does not know has left; whoever is told that it
    /// is the wrong one, or not ready, has not.
    pub(super) fn farewell_answered(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        actions: &mut Vec<GroupAction>,
    ) {
        if code.is_retriable() {
            self.farewell_failed(now);
        } else {
            self.end_farewell(now, actions);
        }
    }

    pub(super) fn farewell_failed(&mut self, now: Timestamp) {
        if let Some(farewell) = &mut self.farewell {
            farewell.fail(now);
        }
        self.coordinator.forget(now, &mut self.backoff);
    }

    /// Takes that a leave was heard, or that nobody could be told in time.
    pub(super) fn end_farewell(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        if self.state == State::Leaving {
            self.left(now, actions);
        } else {
            self.farewell = None;
        }
    }

    pub(super) fn left(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        self.reset();
        self.farewell = None;
        self.state = State::Idle;
        actions.push(GroupAction::Left);
        // The application may have subscribed again while the leave was on its way.
        if !self.wanted.is_empty() {
            self.join(now, "the member subscribes", actions);
        }
    }

    /// Whether the coordinator may know this member: a join that got no answer may have arrived.
    fn is_known(&self) -> bool {
        self.epoch > JOIN_EPOCH || !self.flight.is_empty() || self.unheard
    }

    pub(super) fn leave_request(&self) -> GroupRequest {
        let is_static = self.config.group_instance_id.is_some();
        GroupRequest::ConsumerHeartbeat(ConsumerGroupHeartbeatRequest {
            group_id: self.config.group_id.clone(),
            member_id: self.member_id.clone(),
            member_epoch: if is_static && !self.leaves_for_good {
                STATIC_LEAVE_EPOCH
            } else {
                LEAVE_EPOCH
            },
            instance_id: self.config.group_instance_id.clone(),
            ..ConsumerGroupHeartbeatRequest::default()
        })
    }
}
