//! Subscriptions and assignments as assignors use them, and as bytes.
//!
//! The bytes travel inside JoinGroup and SyncGroup; the coordinator does not look into them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscription, ConsumerProtocolSubscriptionTopicPartition,
};
use kohort_protocol::{DecodeError, EncodeError, TopicPartition};

/// What a member wants and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberSubscription {
    /// The topics, each once.
    pub topics: Vec<Arc<str>>,
    /// What the member's assignor added.
    pub user_data: Option<Bytes>,
    /// What the member owns and did not give up to join; empty in eager groups.
    pub owned_partitions: Vec<TopicPartition>,
    /// The generation in which it came to own them.
    pub generation_id: Option<i32>,
    /// Where the member is.
    pub rack_id: Option<Arc<str>>,
    /// The static member's instance id, which JoinGroup tells the leader beside these bytes.
    pub group_instance_id: Option<String>,
}

/// What a member gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
    /// What the leader's assignor adds.
    pub user_data: Option<Bytes>,
}

impl MemberSubscription {
    /// The version of the bytes Kafka 4 writes.
    pub const VERSION: i16 = 3;

    /// Reads a member's bytes; the instance id is not in them.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let wire = ConsumerProtocolSubscription::from_bytes(bytes)?;
        let owned_partitions = wire
            .owned_partitions
            .into_iter()
            .flat_map(|owned| name_partitions(owned.topic, owned.partitions))
            .collect();
        Ok(Self {
            topics: wire.topics.into_iter().map(Arc::from).collect(),
            user_data: wire.user_data,
            owned_partitions,
            generation_id: Some(wire.generation_id).filter(|generation| *generation >= 0),
            rack_id: wire.rack_id.filter(|rack| !rack.is_empty()).map(Arc::from),
            group_instance_id: None,
        })
    }

    /// Writes the bytes in a version from 0 to [`Self::VERSION`]; older ones leave fields out.
    pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut wire = ConsumerProtocolSubscription {
            topics: self.topics.iter().map(ToString::to_string).collect(),
            user_data: self.user_data.clone(),
            ..ConsumerProtocolSubscription::default()
        };
        if version >= 1 {
            wire.owned_partitions = by_topic(&self.owned_partitions)
                .into_iter()
                .map(|(topic, partitions)| ConsumerProtocolSubscriptionTopicPartition {
                    topic: topic.to_owned(),
                    partitions,
                })
                .collect();
        }
        if version >= 2 {
            wire.generation_id = self.generation_id.unwrap_or(-1);
        }
        if version >= 3 {
            wire.rack_id = self.rack_id.as_deref().map(str::to_owned);
        }
        wire.to_bytes(version)
    }
}

impl Assignment {
    /// The version of the bytes Kafka 4 writes.
    pub const VERSION: i16 = 3;

    /// Reads what the leader sent; no bytes at all are an empty assignment.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let wire = ConsumerProtocolAssignment::from_bytes(bytes)?;
        let partitions = wire
            .assigned_partitions
            .into_iter()
            .flat_map(|assigned| name_partitions(assigned.topic, assigned.partitions))
            .collect();
        Ok(Self { partitions, user_data: wire.user_data })
    }

    /// Writes the bytes in a version from 0 to [`Self::VERSION`].
    pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        ConsumerProtocolAssignment {
            assigned_partitions: by_topic(&self.partitions)
                .into_iter()
                .map(|(topic, partitions)| ConsumerProtocolAssignmentTopicPartition {
                    topic: topic.to_owned(),
                    partitions,
                })
                .collect(),
            user_data: self.user_data.clone(),
        }
        .to_bytes(version)
    }
}

impl From<Vec<TopicPartition>> for Assignment {
    fn from(partitions: Vec<TopicPartition>) -> Self {
        Self { partitions, user_data: None }
    }
}

/// Groups partitions by topic, keeping their order within it.
pub(crate) fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for name in partitions {
        topics.entry(&name.topic).or_default().push(name.partition);
    }
    topics
}

fn name_partitions(topic: String, partitions: Vec<i32>) -> impl Iterator<Item = TopicPartition> {
    let topic: Arc<str> = Arc::from(topic);
    partitions.into_iter().map(move |partition| TopicPartition::new(Arc::clone(&topic), partition))
}
