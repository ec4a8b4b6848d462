//! What the member says to the coordinator, and to the group through it.

use bytes::Bytes;
use kohort_protocol::messages::heartbeat::HeartbeatRequest;
use kohort_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponseMember,
};
use kohort_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;

use super::{ClassicMembership, GroupAction, GroupRequest, MembershipError, PROTOCOL_TYPE, State};
use crate::consumer::group_protocol::{OwnedPartitions, assign, encode_subscription};
use crate::consumer::types::{RequestId, Timestamp};
use crate::metadata::MetadataView;

impl ClassicMembership {
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
            Err(why) => self.fail(now, self.assignor_failed(why), &mut actions),
        }
        self.advance(now, &mut actions);
        actions
    }

    pub(super) fn join_request(&self) -> Result<JoinGroupRequest, MembershipError> {
        // Only the cooperative protocol holds partitions here; eager has given all of them back.
        let owned = OwnedPartitions { partitions: &self.owned, generation: self.generation };
        let rack = self.config.rack.as_deref();
        let protocols = self.config.assignors.iter().map(|assignor| {
            let metadata = encode_subscription(&**assignor, &self.subscription, &owned, rack)?;
            Ok(JoinGroupRequestProtocol { name: assignor.name().to_owned(), metadata })
        });
        let protocols = protocols.collect::<Result<_, String>>();
        Ok(JoinGroupRequest {
            group_id: self.config.group_id.clone(),
            session_timeout_ms: self.config.session_timeout_ms,
            rebalance_timeout_ms: self.config.rebalance_timeout_ms,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: protocols.map_err(|why| self.assignor_failed(why))?,
            reason: self.last_reason.clone(),
        })
    }

    pub(super) fn assignor_failed(&self, why: String) -> MembershipError {
        MembershipError::Assignor { group_id: self.config.group_id.clone(), why }
    }

    pub(super) fn heartbeat_request(&self) -> GroupRequest {
        GroupRequest::Heartbeat(HeartbeatRequest {
            group_id: self.config.group_id.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            // To hear of a rebalance when it begins. While something else is under way the answer is
            // wanted at once, and joins and syncs must not wait behind it.
            hold_ms: if self.is_stable() { self.config.heartbeat_interval_ms as i32 } else { 0 },
        })
    }

    pub(super) fn leave_request(&self, reason: &str) -> GroupRequest {
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
