//! Giving back and leaving: what the application has to finish with first, and how the group hears.

use std::collections::BTreeSet;

use kohort_protocol::messages::leave_group::LeaveGroupResponse;

use super::{
    After, ClassicMembership, Farewell, GivingBack, GroupAction, GroupMembershipOperation,
    LostReason, State,
};
use crate::consumer::types::{RequestId, Timestamp, TopicPartition};

impl ClassicMembership {
    /// Takes that the application has given the partitions of a revocation back.
    pub fn handle_revoked(&mut self, now: Timestamp, ticket: RequestId) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if let State::Revoking { ticket: open, .. } = &self.state
            && *open == ticket
        {
            self.finish_revocation(now, true, &mut actions);
        }
        if self.leaving.as_ref().is_some_and(|leaving| leaving.ticket == ticket) {
            self.finish_leaving(true, &mut actions);
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Leaves because the application has not polled for too long (`max.poll.interval.ms`).
    pub fn handle_poll_interval_exceeded(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.is_idle() || self.state == State::Leaving {
            return actions;
        }
        self.lose(LostReason::PollInterval, &mut actions);
        self.give_up_place("the application stopped polling");
        self.reset_generation(true);
        self.state = State::AwaitingPoll;
        self.advance(now, &mut actions);
        actions
    }

    /// Tells the coordinator that the place is free, without waiting for its answer. A static member stays
    /// known until its session ends (KIP-345), so it has nothing to say.
    pub(super) fn give_up_place(&mut self, reason: &str) {
        if self.config.group_instance_id.is_none() && !self.member_id.is_empty() {
            self.farewell = Some(Farewell::new(self.leave_request(reason)));
        }
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

    /// Ends for good: gives everything back, then says so to the coordinator if the member leaves. Else
    /// it says nothing, and the coordinator keeps the place until the session ends.
    pub fn handle_close(
        &mut self,
        now: Timestamp,
        operation: GroupMembershipOperation,
    ) -> Vec<GroupAction> {
        self.says_goodbye = operation.leaves(self.config.group_instance_id.is_some());
        let mut actions = Vec::new();
        self.subscription.clear();
        self.start_leaving(now, &mut actions);
        self.advance(now, &mut actions);
        actions
    }

    pub(super) fn revoke(
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
        let GivingBack { ticket, partitions, deadline } = self.ask_back(now, partitions, actions);
        self.state = State::Revoking { ticket, partitions, deadline, after };
    }

    fn ask_back(
        &mut self,
        now: Timestamp,
        partitions: BTreeSet<TopicPartition>,
        actions: &mut Vec<GroupAction>,
    ) -> GivingBack {
        let ticket = RequestId(self.ids.advance());
        let deadline = now + self.config.revocation_ms();
        actions.push(GroupAction::Revoke { ticket, partitions: partitions.clone(), deadline });
        GivingBack { ticket, partitions, deadline }
    }

    pub(super) fn finish_revocation(
        &mut self,
        now: Timestamp,
        in_time: bool,
        actions: &mut Vec<GroupAction>,
    ) {
        let State::Revoking { partitions, after, .. } =
            std::mem::replace(&mut self.state, State::Ready)
        else {
            return;
        };
        for partition in &partitions {
            self.owned.remove(partition);
        }
        actions.push(GroupAction::given_up(partitions, in_time));
        // What the application subscribed to meanwhile decides where to go.
        let after = if self.subscription.is_empty() { After::Leave } else { after };
        self.revoke(now, BTreeSet::new(), after, actions);
    }

    pub(super) fn start_leaving(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        self.rejoin = None;
        if self.leaving.is_some() {
            return;
        }
        match &mut self.state {
            State::Idle | State::AwaitingPoll | State::Failed => {
                self.state = State::Leaving;
                if self.farewell.is_none() {
                    self.left(actions);
                }
            }
            State::Leaving => {}
            State::Revoking { partitions, after, .. } if *partitions == self.owned => {
                *after = After::Leave;
            }
            // The rebalance goes on meanwhile. The coordinator may have passed to the generation it brings,
            // and then takes commits under that one only.
            State::Joining(_) | State::Assigning(_) | State::Syncing(_)
                if !self.owned.is_empty() =>
            {
                let all = self.owned.clone();
                self.leaving = Some(self.ask_back(now, all, actions));
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

    pub(super) fn finish_leaving(&mut self, in_time: bool, actions: &mut Vec<GroupAction>) {
        let Some(GivingBack { partitions, .. }) = self.leaving.take() else { return };
        self.owned.clear();
        actions.push(GroupAction::given_up(partitions, in_time));
        self.send_leave(actions);
    }

    pub(super) fn send_leave(&mut self, actions: &mut Vec<GroupAction>) {
        self.heartbeat.outstanding = None;
        if self.says_goodbye && !self.member_id.is_empty() {
            self.state = State::Leaving;
            let request = self.leave_request("the consumer is closing or has unsubscribed");
            self.farewell = Some(Farewell::new(request));
        } else {
            self.left(actions);
        }
    }

    /// Whether this is the number of a leave that waits for its answer.
    pub(super) fn says_farewell(&self, id: RequestId) -> bool {
        self.farewell.as_ref().is_some_and(|farewell| farewell.is(id))
    }

    /// Takes what the coordinator said to a leave, of all of it or of this member. Whoever it does not know
    /// has left; whoever is told that it is the wrong one, or not ready, has not.
    pub(super) fn farewell_answered(
        &mut self,
        now: Timestamp,
        answer: &LeaveGroupResponse,
        actions: &mut Vec<GroupAction>,
    ) {
        let mut members = answer.members.iter();
        if answer.error_code.is_retriable() || members.any(|it| it.error_code.is_retriable()) {
            self.farewell_failed(now);
        } else {
            self.end_farewell(actions);
        }
    }

    /// Takes that a leave was not heard: it is said again to whoever is the coordinator by then.
    pub(super) fn farewell_failed(&mut self, now: Timestamp) {
        if let Some(farewell) = &mut self.farewell {
            farewell.fail(now);
        }
        self.coordinator.forget(now, &mut self.backoff);
    }

    /// Takes that a leave was heard, or that nobody could be told in time.
    pub(super) fn end_farewell(&mut self, actions: &mut Vec<GroupAction>) {
        if self.state == State::Leaving {
            self.left(actions);
        } else {
            self.farewell = None;
        }
    }

    pub(super) fn left(&mut self, actions: &mut Vec<GroupAction>) {
        self.reset_generation(true);
        self.farewell = None;
        self.state = State::Idle;
        actions.push(GroupAction::Left);
        // The application may have subscribed again while the leave was on its way.
        if !self.subscription.is_empty() {
            self.state = State::Ready;
        }
    }
}
