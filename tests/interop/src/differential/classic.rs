//! Classic members in a group of the new protocol, and what becomes of the group when the last member
//! of either protocol goes.
//!
//! Where there are several, a member of the new protocol always stays: in a group that is all classic they
//! would wait for each other, and each is asked after the other here. They are static ones, so that the
//! range assignor serves them first and in the order of their names: the broker makes their ids, which are
//! others on each side, and shown as `x`, `y` and `z`.

use anyhow::{Context, Result};
use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscription, ConsumerProtocolSubscriptionTopicPartition,
};
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::leave_group::MemberIdentity;
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use serde_json::{Value, json};

use super::side::Side;

/// The classic member as both sides know it.
#[derive(Debug, Clone, Default)]
pub(super) struct Classic {
    /// By which letter it is shown. Its name as a static member ends with it.
    pub(super) letter: char,
    /// Whether it believes to be in the group.
    pub(super) joined: bool,
    /// The generation it was told last.
    pub(super) generation: i32,
    /// Whether it leads, and so assigns.
    leads: bool,
    topics: Vec<String>,
    /// How long it may be silent.
    pub(super) session_ms: i32,
}

impl Classic {
    pub(super) fn new(letter: char) -> Self {
        Self { letter, session_ms: 45_000, ..Self::default() }
    }

    fn instance(&self) -> String {
        format!("static-{}", self.letter)
    }

    pub(super) fn wants(&mut self, topics: Vec<String>) {
        self.topics = topics;
    }

    fn subscription(&self) -> Result<Bytes> {
        let subscription =
            ConsumerProtocolSubscription { topics: self.topics.clone(), ..Default::default() };
        Ok(subscription.to_bytes(3)?)
    }

    /// Joins.
    pub(super) fn join(&self, side: &mut Side, group: &str) -> Result<(Value, Self)> {
        let protocol =
            JoinGroupRequestProtocol { name: "range".to_owned(), metadata: self.subscription()? };
        let request = JoinGroupRequest {
            group_id: side.group(group),
            session_timeout_ms: self.session_ms,
            rebalance_timeout_ms: 60_000,
            member_id: side.classic_id(self.letter),
            group_instance_id: Some(self.instance()),
            protocol_type: "consumer".to_owned(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        let answer = side.link.call(&request, 9)?;
        if answer.error_code.is_ok() {
            side.classic_ids.insert(self.letter, answer.member_id.clone());
        }
        let own = side.classic_id(self.letter);
        let named = |id: &str| side.named(id);
        let members = answer.members.iter().map(|member| {
            json!([named(&member.member_id), member.group_instance_id, member.metadata.to_vec()])
        });
        let comparable = json!({
            "error": answer.error_code.to_string(),
            "generation": answer.generation_id,
            "type": answer.protocol_type,
            "protocol": answer.protocol_name,
            "leader": named(&answer.leader),
            "skip": answer.skip_assignment,
            "member": named(&answer.member_id),
            "members": members.collect::<Vec<_>>(),
        });
        let ok = answer.error_code.is_ok();
        let next = Self {
            joined: ok,
            generation: answer.generation_id,
            leads: ok && answer.leader == own && !answer.members.is_empty(),
            topics: self.topics.clone(),
            letter: self.letter,
            session_ms: self.session_ms,
        };
        if answer.error_code == ErrorCode::UNKNOWN_MEMBER_ID {
            side.classic_ids.remove(&self.letter);
        }
        Ok((comparable, next))
    }

    /// Asks for the assignment; as the leader of a classic group it assigns to itself.
    pub(super) fn sync(
        &self,
        side: &mut Side,
        group: &str,
        late: i32,
    ) -> Result<(Value, ErrorCode)> {
        let mut assignments = Vec::new();
        if self.leads {
            let topic = |topic: &String| ConsumerProtocolAssignmentTopicPartition {
                topic: topic.clone(),
                partitions: vec![0, 1],
            };
            let assignment = ConsumerProtocolAssignment {
                assigned_partitions: self.topics.iter().map(topic).collect(),
                ..ConsumerProtocolAssignment::default()
            };
            assignments.push(SyncGroupRequestAssignment {
                member_id: side.classic_id(self.letter),
                assignment: assignment.to_bytes(3)?,
            });
        }
        let request = SyncGroupRequest {
            group_id: side.group(group),
            generation_id: self.generation + late,
            member_id: side.classic_id(self.letter),
            group_instance_id: Some(self.instance()),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments,
        };
        let answer = side.link.call(&request, 5)?;
        let given = if answer.assignment.is_empty() {
            json!(null)
        } else {
            let assignment = ConsumerProtocolAssignment::from_bytes(&answer.assignment)?;
            let mut all: Vec<(String, i32)> = Vec::new();
            for of in assignment.assigned_partitions {
                all.extend(of.partitions.into_iter().map(|one| (of.topic.clone(), one)));
            }
            all.sort();
            json!([answer.assignment[..2].to_vec(), all])
        };
        let comparable = json!({
            "error": answer.error_code.to_string(),
            "type": answer.protocol_type,
            "protocol": answer.protocol_name,
            "assignment": given,
        });
        Ok((comparable, answer.error_code))
    }

    /// Says that it lives.
    pub(super) fn beat(
        &self,
        side: &mut Side,
        group: &str,
        late: i32,
    ) -> Result<(Value, ErrorCode)> {
        let request = HeartbeatRequest {
            group_id: side.group(group),
            generation_id: self.generation + late,
            member_id: side.classic_id(self.letter),
            group_instance_id: Some(self.instance()),
            ..HeartbeatRequest::default()
        };
        let error = side.link.call(&request, 4)?.error_code;
        Ok((json!(error.to_string()), error))
    }

    /// Commits an offset of the first partition of what it wants.
    pub(super) fn commit(&self, side: &mut Side, group: &str, offset: i64) -> Result<Value> {
        let Some(topic) = self.topics.first() else { return Ok(json!(null)) };
        let request = OffsetCommitRequest {
            group_id: side.group(group),
            generation_id_or_member_epoch: self.generation,
            member_id: side.classic_id(self.letter),
            topics: vec![side.commit_topic((topic.clone(), 0), offset, 8)],
            ..OffsetCommitRequest::default()
        };
        let answer = side.link.call(&request, 8)?;
        let errors = answer.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(json!(errors.map(|partition| partition.error_code.to_string()).collect::<Vec<_>>()))
    }

    /// Leaves.
    pub(super) fn leave(&self, side: &mut Side, group: &str) -> Result<Value> {
        let member = MemberIdentity {
            member_id: side.classic_id(self.letter),
            group_instance_id: Some(self.instance()),
            reason: None,
        };
        let request = LeaveGroupRequest {
            group_id: side.group(group),
            members: vec![member],
            ..LeaveGroupRequest::default()
        };
        let answer = side.link.call(&request, 5)?;
        side.classic_ids.remove(&self.letter);
        let left = answer.members.first().context("a member left")?;
        Ok(json!([answer.error_code.to_string(), left.error_code.to_string()]))
    }

    /// Joins as a member that is no static one, under an id of one's own, and claims partitions.
    pub(super) fn join_as(
        side: &mut Side,
        group: &str,
        member: &str,
        claims: &[(&str, i32)],
    ) -> Result<ErrorCode> {
        let claim = |(topic, partition): &(&str, i32)| ConsumerProtocolSubscriptionTopicPartition {
            topic: (*topic).to_owned(),
            partitions: vec![*partition],
        };
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["apples".to_owned()],
            owned_partitions: claims.iter().map(claim).collect(),
            ..ConsumerProtocolSubscription::default()
        };
        let protocol = JoinGroupRequestProtocol {
            name: "cooperative-sticky".to_owned(),
            metadata: subscription.to_bytes(3)?,
        };
        let request = JoinGroupRequest {
            group_id: side.group(group),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 60_000,
            member_id: member.to_owned(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        Ok(side.link.call(&request, 9)?.error_code)
    }

    /// Leaves under an id of one's own.
    pub(super) fn leave_as(side: &mut Side, group: &str, member: &str) -> Result<ErrorCode> {
        let member = MemberIdentity { member_id: member.to_owned(), ..MemberIdentity::default() };
        let request = LeaveGroupRequest {
            group_id: side.group(group),
            members: vec![member],
            ..LeaveGroupRequest::default()
        };
        let answer = side.link.call(&request, 5)?;
        Ok(answer.members.first().context("a member left")?.error_code)
    }
}
