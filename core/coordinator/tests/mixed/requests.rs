//! What a client of either protocol asks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kohort_protocol::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscription, ConsumerProtocolSubscriptionTopicPartition,
};
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    ConsumerGroupHeartbeatRequest, JoinGroupRequest, SyncGroupRequest,
};

use super::client::{Client, TOPICS, topic_id};
use crate::GROUP;
use crate::holdings::Place;

impl Client {
    /// The heartbeat of a client of the new protocol.
    pub(crate) fn heartbeat(&self, index: usize) -> ConsumerGroupHeartbeatRequest {
        let all = self.epoch == 0 || self.unsure;
        ConsumerGroupHeartbeatRequest {
            group_id: GROUP.to_owned(),
            member_id: self.new_id(index),
            member_epoch: self.epoch,
            rebalance_timeout_ms: if all { 20_000 } else { -1 },
            subscribed_topic_names: all.then(|| self.topics()),
            topic_partitions: (all || self.holdings.changed).then(|| self.holdings.reported()),
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    pub(crate) fn join(&self, cooperative: bool) -> JoinGroupRequest {
        let owned = by_name(&self.holdings.owned).into_iter().map(|(topic, partitions)| {
            ConsumerProtocolSubscriptionTopicPartition { topic, partitions }
        });
        let subscription = ConsumerProtocolSubscription {
            topics: self.topics(),
            owned_partitions: owned.collect(),
            generation_id: self.epoch,
            ..ConsumerProtocolSubscription::default()
        };
        let name = if cooperative { "cooperative-sticky" } else { "range" };
        JoinGroupRequest {
            group_id: GROUP.to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            member_id: self.member_id.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: name.to_owned(),
                metadata: subscription.to_bytes(3).unwrap(),
            }],
            ..JoinGroupRequest::default()
        }
    }

    /// The leader divides the partitions in turn. What somebody else still has is given to nobody, if it
    /// is not given up with the join.
    pub(crate) fn sync(&self) -> SyncGroupRequest {
        let mut shares: BTreeMap<&str, BTreeSet<Place>> = BTreeMap::new();
        let read = |(id, metadata): &(String, Bytes)| {
            (id.clone(), ConsumerProtocolSubscription::from_bytes(metadata).unwrap())
        };
        let members: Vec<_> = self.members.iter().map(read).collect();
        for (topic, partitions) in TOPICS {
            let name = |it: &&(String, ConsumerProtocolSubscription)| {
                it.1.topics.iter().any(|wanted| wanted == topic)
            };
            let wanting: Vec<_> = members.iter().filter(name).collect();
            for partition in 0..if wanting.is_empty() { 0 } else { partitions } {
                let (owner, _) = wanting[(partition as usize + topic.len()) % wanting.len()];
                let has = |(_, it): &&(String, ConsumerProtocolSubscription)| {
                    it.owned_partitions
                        .iter()
                        .any(|of| of.topic == topic && of.partitions.contains(&partition))
                };
                let free = members.iter().filter(has).all(|(id, _)| id == owner);
                if free {
                    shares.entry(owner).or_default().insert((topic_id(topic), partition));
                }
            }
        }
        let assign = |(id, _): &(String, Bytes)| {
            let share = shares.get(&**id).cloned().unwrap_or_default();
            let topics = by_name(&share).into_iter().map(|(topic, partitions)| {
                ConsumerProtocolAssignmentTopicPartition { topic, partitions }
            });
            let assignment = ConsumerProtocolAssignment {
                assigned_partitions: topics.collect(),
                ..ConsumerProtocolAssignment::default()
            };
            SyncGroupRequestAssignment {
                member_id: id.clone(),
                assignment: assignment.to_bytes(3).unwrap(),
            }
        };
        SyncGroupRequest {
            group_id: GROUP.to_owned(),
            generation_id: self.epoch,
            member_id: self.member_id.clone(),
            assignments: self.members.iter().map(assign).collect(),
            ..SyncGroupRequest::default()
        }
    }
}

fn by_name(places: &BTreeSet<Place>) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (id, index) in places {
        let (name, _) = TOPICS.iter().find(|(name, _)| topic_id(name) == *id).unwrap();
        topics.entry((*name).to_owned()).or_default().push(*index);
    }
    topics
}
