//! What the coordinator's answers change: each error has its one consequence here.

use std::collections::BTreeSet;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::join_group::JoinGroupResponse;
use kohort_protocol::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};

use super::{
    After, ClassicMembership, GroupAction, GroupRequest, Heartbeat, LostReason, MembershipError,
    NO_GENERATION, PROTOCOL_TYPE, STATIC_MEMBERS_FROM, State,
};
use crate::consumer::group_protocol::{decode_assignment, tell};
use crate::consumer::types::{RequestId, Timestamp};

impl ClassicMembership {
    pub(super) fn joined(
        &mut self,
        now: Timestamp,
        answer: JoinGroupResponse,
        actions: &mut Vec<GroupAction>,
    ) {
        match answer.error_code {
            ErrorCode::NONE => {
                self.member_id = answer.member_id;
                self.generation = answer.generation_id;
                self.leader = answer.leader == self.member_id;
                self.heartbeat = Heartbeat {
                    next_at: now + self.config.heartbeat_interval_ms,
                    outstanding: None,
                };
                self.protocol = answer.protocol_name.unwrap_or_default();
                if self.leader && !answer.skip_assignment {
                    let id = RequestId(self.ids.advance());
                    self.state = State::Assigning(id);
                    actions.push(GroupAction::Assign {
                        id,
                        protocol: self.protocol.clone(),
                        members: answer.members,
                    });
                } else {
                    if self.leader {
                        actions.push(GroupAction::Watch { members: answer.members });
                    }
                    self.send_sync(now, Vec::new(), actions);
                }
            }
            ErrorCode::MEMBER_ID_REQUIRED => {
                // KIP-394: the id comes first, and joining goes on at once with it.
                self.member_id = answer.member_id;
                self.state = State::Ready;
                self.retry_at = now;
            }
            code => self.join_failed(now, code, "the join was refused", actions),
        }
    }

    pub(super) fn send_sync(
        &mut self,
        now: Timestamp,
        assignments: Vec<SyncGroupRequestAssignment>,
        actions: &mut Vec<GroupAction>,
    ) {
        let Some(coordinator) = self.coordinator() else {
            self.retry_join(now, "the coordinator moved during the rebalance");
            return;
        };
        let id = RequestId(self.ids.advance());
        self.state = State::Syncing(id);
        let request = GroupRequest::Sync(SyncGroupRequest {
            group_id: self.config.group_id.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(self.protocol.clone()),
            assignments,
        });
        actions.push(GroupAction::Send { id, coordinator, request });
    }

    pub(super) fn synced(
        &mut self,
        now: Timestamp,
        answer: SyncGroupResponse,
        actions: &mut Vec<GroupAction>,
    ) {
        if answer.error_code != ErrorCode::NONE {
            self.join_failed(now, answer.error_code, "the sync was refused", actions);
            return;
        }
        let assigned = match decode_assignment(&answer.assignment) {
            Ok(assigned) => assigned,
            Err(error) => {
                let (group_id, why) = (self.config.group_id.clone(), error.to_string());
                return self.fail(now, MembershipError::BadAssignment { group_id, why }, actions);
            }
        };
        self.state = State::Stable;
        if self.leaving.is_some() {
            // The new generation is there to commit under; what it brings is not taken any more.
            return;
        }
        // Topics dropped from the subscription while the join was parked are not taken any more;
        // the changed subscription makes the member join again anyway.
        if let Some(assignor) =
            self.config.assignors.iter_mut().find(|it| it.name() == self.protocol)
            && let Err(why) = tell(&mut **assignor, &assigned, self.generation)
        {
            return self.fail(now, self.assignor_failed(why), actions);
        }
        self.backoff.reset();
        self.refusal = None;
        let assigned: BTreeSet<_> = assigned
            .partitions
            .into_iter()
            .filter(|given| self.subscription.contains(&given.topic))
            .collect();
        let added: BTreeSet<_> = assigned.difference(&self.owned).cloned().collect();
        let gone: BTreeSet<_> = self.owned.difference(&assigned).cloned().collect();
        self.owned.extend(added.iter().cloned());
        actions.push(GroupAction::Assigned { added, owned: assigned, generation: self.generation });
        if gone.is_empty() {
            // At once: a coordinator that holds it tells of the next rebalance when that begins, which
            // under the cooperative protocol is often the moment after.
            self.heartbeat.next_at = now;
        } else {
            self.last_reason = Some("revoked partitions are given back".to_owned());
            self.revoke(now, gone, After::Join, actions);
        }
    }

    pub(super) fn heartbeat_answered(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        actions: &mut Vec<GroupAction>,
    ) {
        match code {
            ErrorCode::NONE => {
                self.backoff.reset();
                self.refusal = None;
            }
            ErrorCode::REBALANCE_IN_PROGRESS => {
                if self.state == State::Stable {
                    self.follow_rebalance(now, "the group is rebalancing", actions);
                }
            }
            ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {
                self.heartbeat.next_at = now;
                self.coordinator.forget(now, &mut self.backoff);
            }
            ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID => {
                self.fenced(now, code, actions);
            }
            code => {
                self.heartbeat.next_at = now + self.backoff.next_ms();
                if !code.is_retriable() {
                    self.refused(now, code, actions);
                }
            }
        }
    }

    /// Sorts what can go wrong with a join or a sync.
    pub(super) fn join_failed(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        reason: &str,
        actions: &mut Vec<GroupAction>,
    ) {
        match code {
            ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {
                self.coordinator.forget(now, &mut self.backoff);
                self.retry_join(now, reason);
            }
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::FENCED_INSTANCE_ID => {
                self.fenced(now, code, actions);
            }
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.state = State::Ready;
                self.retry_at = now;
            }
            ErrorCode::UNSUPPORTED_VERSION if self.config.group_instance_id.is_some() => {
                let error = MembershipError::InstanceIdUnsupported {
                    group_id: self.config.group_id.clone(),
                    instance_id: self.config.group_instance_id.clone().unwrap_or_default(),
                    needed: STATIC_MEMBERS_FROM,
                };
                self.fail(now, error, actions);
            }
            code if code.is_retriable() => self.retry_join(now, reason),
            code => {
                let group_id = self.config.group_id.clone();
                self.fail(now, MembershipError::Refused { group_id, code }, actions);
            }
        }
    }

    pub(super) fn retry_join(&mut self, now: Timestamp, reason: &str) {
        self.state = State::Ready;
        self.retry_at = now + self.backoff.next_ms();
        self.last_reason = Some(reason.to_owned());
    }

    /// The coordinator gave our place to others: everything is lost, and joining starts over.
    pub(super) fn fenced(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        actions: &mut Vec<GroupAction>,
    ) {
        if code == ErrorCode::FENCED_INSTANCE_ID {
            let error = MembershipError::InstanceFenced {
                group_id: self.config.group_id.clone(),
                instance_id: self.config.group_instance_id.clone().unwrap_or_default(),
            };
            self.fail(now, error, actions);
            return;
        }
        let leaving = self.is_leaving();
        self.lose(LostReason::Fenced(code), actions);
        // With an old generation the member id is still good; with an unknown one it is not.
        self.reset_generation(code == ErrorCode::UNKNOWN_MEMBER_ID);
        if leaving {
            self.left(actions);
            return;
        }
        let reason = format!("the coordinator answered {code}");
        actions.push(GroupAction::Rebalancing(reason.clone()));
        self.state = State::Ready;
        self.retry_at = now;
        self.last_reason = Some(reason);
    }

    pub(super) fn lose(&mut self, reason: LostReason, actions: &mut Vec<GroupAction>) {
        self.leaving = None;
        let partitions = std::mem::take(&mut self.owned);
        if !partitions.is_empty() {
            actions.push(GroupAction::Lost { partitions, reason });
        }
    }

    fn is_leaving(&self) -> bool {
        self.leaving.is_some()
            || matches!(self.state, State::Revoking { after: After::Leave, .. } | State::Leaving)
    }

    /// Takes that a search or a heartbeat was refused: the member stays as it is, as Kafka's does. Somebody
    /// may give it the right before its session ends.
    pub(super) fn refused(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        actions: &mut Vec<GroupAction>,
    ) {
        let error = MembershipError::Refused { group_id: self.config.group_id.clone(), code };
        if error.is_final() {
            return self.fail(now, error, actions);
        }
        self.refusal = Some(error.clone());
        actions.push(GroupAction::Failed(error));
    }

    /// Ends the membership, for good or until it is tried again: the others need not wait for the end of the
    /// session, and if it is the leader's assignor that fails, somebody else's may not.
    pub(super) fn fail(
        &mut self,
        now: Timestamp,
        error: MembershipError,
        actions: &mut Vec<GroupAction>,
    ) {
        let leaving = self.is_leaving();
        self.lose(LostReason::Failed, actions);
        self.give_up_place("the consumer failed");
        self.reset_generation(true);
        self.refusal = Some(error.clone());
        actions.push(GroupAction::Failed(error.clone()));
        if error.is_final() {
            self.state = State::Failed;
        } else if leaving {
            self.left(actions);
        } else {
            self.retry_join(now, "the attempt before failed");
        }
    }

    pub(super) fn reset_generation(&mut self, member_id_too: bool) {
        self.generation = NO_GENERATION;
        self.leader = false;
        self.heartbeat.outstanding = None;
        self.rejoin = None;
        if member_id_too {
            self.member_id.clear();
        }
    }
}
