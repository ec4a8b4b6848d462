//! What the coordinator's answers change: each error has its one consequence here.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;

use super::flight::Answered;
use super::{
    ConsumerMembership, Eviction, GroupAction, JOIN_EPOCH, LostReason, MembershipError, State,
    Target,
};
use crate::consumer::types::{RequestId, Timestamp};

impl ConsumerMembership {
    pub(super) fn heartbeat_answered(
        &mut self,
        now: Timestamp,
        answered: Answered,
        answer: ConsumerGroupHeartbeatResponse,
        actions: &mut Vec<GroupAction>,
    ) {
        let code = answer.error_code;
        if answered.late {
            // A later heartbeat was answered first: what this one brings may be out of date by now, or
            // may be what the later answer leaves out as known.
            self.sent = None;
            return;
        }
        if code == ErrorCode::FENCED_MEMBER_EPOCH && (answered.epoch < self.epoch || answered.early)
        {
            // It overtook the answer with the present epoch: the old one is refused, not the member.
            self.sent = None;
            self.next_at = now;
            return;
        }
        self.flight.take(answered);
        if code != ErrorCode::NONE {
            // Whatever was said, nobody knows whether it counts.
            self.sent = None;
            self.heartbeat_refused(now, code, actions);
            return;
        }
        self.backoff.reset();
        self.eviction = Eviction::No;
        self.refusal = None;
        if let Some(member_id) = answer.member_id.filter(|id| !id.is_empty()) {
            self.member_id = member_id;
        }
        if answer.heartbeat_interval_ms > 0 {
            self.interval_ms = i64::from(answer.heartbeat_interval_ms);
            // What failed meanwhile has everything said again.
            let at_once = self.hurry || self.sent.is_none();
            self.next_at = if at_once { now } else { self.sent_at + self.interval_ms };
        }
        if answer.holds
            && let Some(coordinator) = self.coordinator()
        {
            self.flight.learn_holder(coordinator);
        }
        self.epoch = answer.member_epoch;
        if self.state == State::Joining && self.epoch > JOIN_EPOCH {
            self.state = State::Member;
            // An empty assignment is worth telling, too: once.
            self.announce = true;
        }
        if let Some(assignment) = answer.assignment {
            let mut target = Target::new();
            for topic in assignment.topic_partitions {
                target.entry(topic.topic_id).or_default().extend(topic.partitions);
            }
            target.retain(|_, partitions| !partitions.is_empty());
            if target != self.target {
                self.target = target;
                self.assignments += 1;
                self.announce = true;
            }
        }
        self.reconcile(now, actions);
    }

    fn heartbeat_refused(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        actions: &mut Vec<GroupAction>,
    ) {
        match code {
            ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {
                self.next_at = now;
                self.coordinator.forget(now, &mut self.backoff);
            }
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID => {
                self.fenced(now, code, actions);
            }
            // With the member went the group, or it is a classic one by now: joining founds it or turns it.
            ErrorCode::GROUP_ID_NOT_FOUND if self.epoch > JOIN_EPOCH => {
                self.fenced(now, code, actions);
            }
            ErrorCode::FENCED_INSTANCE_ID => {
                let error = MembershipError::InstanceFenced {
                    group_id: self.config.group_id.clone(),
                    instance_id: self.config.group_instance_id.clone().unwrap_or_default(),
                };
                self.fail(error, actions);
            }
            // Either the member that has the instance went without a word, and its session ends, or two
            // processes have one name.
            ErrorCode::UNRELEASED_INSTANCE_ID => {
                self.next_at = now + self.backoff.next_ms();
                let error = MembershipError::InstanceHeld {
                    group_id: self.config.group_id.clone(),
                    instance_id: self.config.group_instance_id.clone().unwrap_or_default(),
                };
                self.tell(error, actions);
            }
            // The group is another kind of group, or the broker does not know this one.
            ErrorCode::UNSUPPORTED_VERSION
            | ErrorCode::GROUP_ID_NOT_FOUND
            | ErrorCode::INCONSISTENT_GROUP_PROTOCOL
                if self.state == State::Joining && self.config.protocol.falls_back() =>
            {
                self.refused = Some(code);
            }
            ErrorCode::UNSUPPORTED_VERSION => {
                self.next_at = now + self.backoff.next_ms();
                let group_id = self.config.group_id.clone();
                self.tell(
                    if self.subscribed.regex.is_some() {
                        MembershipError::RegexUnsupported { group_id }
                    } else {
                        MembershipError::ProtocolUnsupported { group_id }
                    },
                    actions,
                );
            }
            code => {
                self.next_at = now + self.backoff.next_ms();
                if !code.is_retriable() {
                    self.refuse(code, actions);
                }
            }
        }
    }

    /// The coordinator gave our place to others: everything is lost, and joining starts over with the
    /// same id, unless the member is on its way out.
    pub(super) fn fenced(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        actions: &mut Vec<GroupAction>,
    ) {
        match self.state {
            State::Joining => self.join_refused(now, code, actions),
            State::Member => {
                self.lose(LostReason::Fenced(code), actions);
                self.reset();
                self.join(now, &format!("the coordinator answered {code}"), actions);
            }
            State::Returning => {
                self.lose(LostReason::Fenced(code), actions);
                if code == ErrorCode::FENCED_MEMBER_EPOCH {
                    // It has the member all the same, in another epoch: that would stay for a session.
                    self.send_leave(now, actions);
                } else {
                    self.left(now, actions);
                }
            }
            // There is nothing left to lose, and nobody wants to be let in.
            State::Idle | State::AwaitingPoll | State::Leaving | State::Failed => {}
        }
    }

    /// Takes what the coordinator said to a leave before a join. One that is none, or not ready, has let nobody
    /// go: the next join is refused as well, and the member leaves again before another one.
    pub(super) fn evicted(&mut self, now: Timestamp, code: ErrorCode) {
        if code.is_retriable() {
            self.not_heard(now);
        } else {
            self.eviction = Eviction::Done;
        }
    }

    /// Takes that the coordinator did not hear what it was told: everything is said again, to whoever is the
    /// coordinator by then.
    pub(super) fn not_heard(&mut self, now: Timestamp) {
        self.eviction = Eviction::No;
        self.sent = None;
        self.next_at = now + self.backoff.next_ms();
        self.coordinator.forget(now, &mut self.backoff);
    }

    /// The coordinator did not let the member begin anew: the member leaves first what is there of it. If
    /// that does not help, it tries again after a back-off, and the application is told.
    fn join_refused(&mut self, now: Timestamp, code: ErrorCode, actions: &mut Vec<GroupAction>) {
        if code == ErrorCode::FENCED_MEMBER_EPOCH
            && self.eviction == Eviction::No
            && let Some(coordinator) = self.coordinator()
        {
            let id = RequestId(self.ids.advance());
            self.eviction = Eviction::Leaving(id);
            self.next_at = now;
            let request = self.leave_request();
            actions.push(GroupAction::Send { id, coordinator, request });
        } else {
            self.eviction = Eviction::No;
            self.next_at = now + self.backoff.next_ms();
            self.refuse(code, actions);
        }
    }
}
