//! What the log keeps of a consumer group, in Kafka's own formats.
//!
//! | kind | key | value |
//! |---|---|---|
//! | 3 | group | the group's epoch and the hash of its topics |
//! | 4 | group | the topics as Kafka 4.0 kept them: read, never written, and removed with the next epoch |
//! | 5 | group, member | who a member is and what it wants |
//! | 6 | group | the epoch of the target assignment and when it was made |
//! | 7 | group, member | the member's part of the target assignment |
//! | 8 | group, member | the member's epoch, what it has, and what it has to give up |
//! | 16 | group, pattern | the topics that a pattern stands for |
//!
//! Each record puts one value in one place, or with a tombstone takes it out, and says nothing of any
//! other place. So what a log comes to depends on the last record for each key and not on the order of
//! keys, and a log that was compacted half-way comes to the same as the whole one.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kohort_assignor::server::{PartitionId, PartitionSet};
use kohort_protocol::messages::group_records::GroupRecordKey;
use kohort_protocol::messages::group_records::consumer_group as wire;
use kohort_protocol::{DecodeError, EncodeError};

use super::partitions::OwnedPartitions;
use crate::group::own::own;
use crate::shard::Timestamp;

/// One place in what the log keeps of a consumer group, and what is in it now; `None` is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// Kind 3.
    Epoch(Option<GroupEpoch>),
    /// Kind 4: whether there is a record of that kind.
    OldTopics(bool),
    /// Kind 5.
    Member(Arc<str>, Option<Arc<MemberMetadata>>),
    /// Kind 6.
    TargetEpoch(Option<TargetEpoch>),
    /// Kind 7.
    Target(Arc<str>, Option<Arc<PartitionSet>>),
    /// Kind 8.
    Current(Arc<str>, Option<Arc<CurrentAssignment>>),
    /// Kind 16.
    Regex(Arc<str>, Option<Arc<ResolvedRegex>>),
}

/// The group's epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    /// Counts the changes that ask for a new assignment.
    pub epoch: i32,
    /// What the subscribed topics hash to.
    pub metadata_hash: i64,
}

/// The epoch of the target assignment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetEpoch {
    /// The group epoch it was made for.
    pub epoch: i32,
    /// When it was made, or 0.
    pub made_at: Timestamp,
}

/// Who a member is and what it wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberMetadata {
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The rack it stands in.
    pub rack_id: Option<Arc<str>>,
    /// The client id it was last seen with.
    pub client_id: Arc<str>,
    /// The address it was last seen at.
    pub client_host: Arc<str>,
    /// The topics it wants by name.
    pub topics: BTreeSet<Arc<str>>,
    /// A pattern of topics it wants besides; never empty.
    pub regex: Option<Arc<str>>,
    /// How long it may take to give partitions up.
    pub rebalance_timeout_ms: i32,
    /// The assignor it would like.
    pub assignor: Option<Arc<str>>,
    /// What it said in a JoinGroup, if it speaks the classic protocol.
    pub classic: Option<ClassicSubscription>,
}

/// What a member of the classic protocol says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassicSubscription {
    /// How long it may stay silent.
    pub session_timeout_ms: i32,
    /// The protocols it can speak, most wanted first, with its metadata in each.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// Where a member stands and what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// The member's epoch.
    pub epoch: i32,
    /// The epoch before: what a member says that missed our last answer.
    pub previous_epoch: i32,
    /// How far it is on the way to its target.
    pub state: MemberState,
    /// What is its own.
    pub assigned: OwnedPartitions,
    /// What it still has to give up.
    pub revoking: OwnedPartitions,
}

/// How far a member is on the way to its target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemberState {
    /// It has what the target assignment of its epoch gives it.
    ///
    /// *Next*: any of the three, when there is a newer target.
    #[default]
    Stable,
    /// It was told to give partitions up and has not said that it did. It stays in its epoch.
    ///
    /// *Next*: any of the three, once it reports what it owns without them.
    UnrevokedPartitions,
    /// It is in the target's epoch and waits for partitions that others have not given up.
    ///
    /// *Next*: any of the three, at each of its heartbeats.
    UnreleasedPartitions,
    /// A state that only a newer Kafka knows. The member has to begin anew.
    Unknown,
}

/// The topics that a pattern stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    /// The topics by name.
    pub topics: BTreeSet<Arc<str>>,
    /// Kafka's number of the metadata they were found in; we write 0, and look again by ourselves.
    pub version: i64,
    /// When they were looked for.
    pub at: Timestamp,
}

impl MemberState {
    fn from_wire(state: i8) -> Self {
        match state {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }

    fn to_wire(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }
}

impl MemberMetadata {
    /// Tells whether the member speaks the classic protocol.
    pub fn is_classic(&self) -> bool {
        self.classic.is_some()
    }
}

impl ClassicSubscription {
    /// Returns the names of the protocols, each once.
    pub(super) fn protocol_names(&self) -> BTreeSet<&Arc<str>> {
        self.protocols.iter().map(|(name, _)| name).collect()
    }
}

impl ConsumerRecord {
    /// Tells whether the record takes something out of its place.
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Self::Epoch(value) => value.is_none(),
            Self::OldTopics(there) => !there,
            Self::Member(_, value) => value.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Regex(_, value) => value.is_none(),
        }
    }

    /// Reads a record of one of the kinds above: returns its group, too. `None` for other kinds.
    pub(crate) fn decode(
        key: GroupRecordKey,
        value: Option<&Bytes>,
    ) -> Result<Option<(Arc<str>, Self)>, DecodeError> {
        Ok(Some(match key {
            GroupRecordKey::ConsumerGroupMetadata(key) => {
                let value = value.map(wire::ConsumerGroupMetadataValue::from_bytes).transpose()?;
                let value = value.map(|value| GroupEpoch {
                    epoch: value.epoch,
                    metadata_hash: value.metadata_hash,
                });
                (key.group_id.into(), Self::Epoch(value))
            }
            GroupRecordKey::ConsumerGroupPartitionMetadata(key) => {
                (key.group_id.into(), Self::OldTopics(value.is_some()))
            }
            GroupRecordKey::ConsumerGroupMemberMetadata(key) => {
                let value =
                    value.map(wire::ConsumerGroupMemberMetadataValue::from_bytes).transpose()?;
                let value = value.map(|value| Arc::new(MemberMetadata::from(value)));
                (key.group_id.into(), Self::Member(key.member_id.into(), value))
            }
            GroupRecordKey::ConsumerGroupTargetAssignmentMetadata(key) => {
                let value = value
                    .map(wire::ConsumerGroupTargetAssignmentMetadataValue::from_bytes)
                    .transpose()?;
                let value = value.map(|value| TargetEpoch {
                    epoch: value.assignment_epoch,
                    made_at: value.assignment_timestamp,
                });
                (key.group_id.into(), Self::TargetEpoch(value))
            }
            GroupRecordKey::ConsumerGroupTargetAssignmentMember(key) => {
                let value = value
                    .map(wire::ConsumerGroupTargetAssignmentMemberValue::from_bytes)
                    .transpose()?;
                let value = value.map(|value| Arc::new(target_from_wire(value)));
                (key.group_id.into(), Self::Target(key.member_id.into(), value))
            }
            GroupRecordKey::ConsumerGroupCurrentMemberAssignment(key) => {
                let value = value
                    .map(wire::ConsumerGroupCurrentMemberAssignmentValue::from_bytes)
                    .transpose()?;
                let value = value.map(|value| Arc::new(CurrentAssignment::from(value)));
                (key.group_id.into(), Self::Current(key.member_id.into(), value))
            }
            GroupRecordKey::ConsumerGroupRegularExpression(key) => {
                let value =
                    value.map(wire::ConsumerGroupRegularExpressionValue::from_bytes).transpose()?;
                let value = value.map(|value| {
                    Arc::new(ResolvedRegex {
                        topics: value.topics.into_iter().map(Arc::from).collect(),
                        version: value.version,
                        at: value.timestamp,
                    })
                });
                (key.group_id.into(), Self::Regex(key.regular_expression.into(), value))
            }
            _ => return Ok(None),
        }))
    }

    /// Writes the record: its key, and its value unless it is a tombstone.
    pub(crate) fn encode(&self, group: &str) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        let group_id = group.to_owned();
        Ok(match self {
            Self::Epoch(value) => (
                wire::ConsumerGroupMetadataKey { group_id }.to_bytes()?,
                value
                    .map(|value| {
                        wire::ConsumerGroupMetadataValue {
                            epoch: value.epoch,
                            metadata_hash: value.metadata_hash,
                        }
                        .to_bytes(VERSION)
                    })
                    .transpose()?,
            ),
            Self::OldTopics(there) => (
                wire::ConsumerGroupPartitionMetadataKey { group_id }.to_bytes()?,
                // What was in it matters to nobody; a snapshot says that there was one.
                there
                    .then(|| wire::ConsumerGroupPartitionMetadataValue::default().to_bytes(VERSION))
                    .transpose()?,
            ),
            Self::Member(member, value) => (
                wire::ConsumerGroupMemberMetadataKey { group_id, member_id: member.to_string() }
                    .to_bytes()?,
                value
                    .as_deref()
                    .map(|value| {
                        wire::ConsumerGroupMemberMetadataValue::from(value).to_bytes(VERSION)
                    })
                    .transpose()?,
            ),
            Self::TargetEpoch(value) => (
                wire::ConsumerGroupTargetAssignmentMetadataKey { group_id }.to_bytes()?,
                value
                    .map(|value| {
                        wire::ConsumerGroupTargetAssignmentMetadataValue {
                            assignment_epoch: value.epoch,
                            assignment_timestamp: value.made_at,
                        }
                        .to_bytes(VERSION)
                    })
                    .transpose()?,
            ),
            Self::Target(member, value) => (
                wire::ConsumerGroupTargetAssignmentMemberKey {
                    group_id,
                    member_id: member.to_string(),
                }
                .to_bytes()?,
                value
                    .as_deref()
                    .map(|value| target_to_wire(value).to_bytes(VERSION))
                    .transpose()?,
            ),
            Self::Current(member, value) => (
                wire::ConsumerGroupCurrentMemberAssignmentKey {
                    group_id,
                    member_id: member.to_string(),
                }
                .to_bytes()?,
                value
                    .as_deref()
                    .map(|value| {
                        wire::ConsumerGroupCurrentMemberAssignmentValue::from(value)
                            .to_bytes(VERSION)
                    })
                    .transpose()?,
            ),
            Self::Regex(regex, value) => (
                wire::ConsumerGroupRegularExpressionKey {
                    group_id,
                    regular_expression: regex.to_string(),
                }
                .to_bytes()?,
                value
                    .as_deref()
                    .map(|value| {
                        wire::ConsumerGroupRegularExpressionValue {
                            topics: value.topics.iter().map(ToString::to_string).collect(),
                            version: value.version,
                            timestamp: value.at,
                        }
                        .to_bytes(VERSION)
                    })
                    .transpose()?,
            ),
        })
    }
}

impl From<wire::ConsumerGroupMemberMetadataValue> for MemberMetadata {
    fn from(value: wire::ConsumerGroupMemberMetadataValue) -> Self {
        let name = |name: Option<String>| name.map(Arc::from);
        Self {
            instance_id: name(value.instance_id),
            rack_id: name(value.rack_id),
            client_id: value.client_id.into(),
            client_host: value.client_host.into(),
            topics: value.subscribed_topic_names.into_iter().map(Arc::from).collect(),
            regex: name(value.subscribed_topic_regex.filter(|regex| !regex.is_empty())),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            assignor: name(value.server_assignor),
            classic: value.classic_member_metadata.map(|classic| ClassicSubscription {
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic
                    .supported_protocols
                    .into_iter()
                    .map(|protocol| (protocol.name.into(), own(&protocol.metadata)))
                    .collect(),
            }),
        }
    }
}

impl From<&MemberMetadata> for wire::ConsumerGroupMemberMetadataValue {
    fn from(value: &MemberMetadata) -> Self {
        let name = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
        Self {
            instance_id: name(&value.instance_id),
            rack_id: name(&value.rack_id),
            client_id: value.client_id.to_string(),
            client_host: value.client_host.to_string(),
            subscribed_topic_names: value.topics.iter().map(ToString::to_string).collect(),
            // Empty and not null, as Kafka writes it.
            subscribed_topic_regex: Some(name(&value.regex).unwrap_or_default()),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            server_assignor: name(&value.assignor),
            classic_member_metadata: value.classic.as_ref().map(|classic| {
                wire::ClassicMemberMetadata {
                    session_timeout_ms: classic.session_timeout_ms,
                    supported_protocols: classic
                        .protocols
                        .iter()
                        .map(|(name, metadata)| wire::ClassicProtocol {
                            name: name.to_string(),
                            metadata: metadata.clone(),
                        })
                        .collect(),
                }
            }),
        }
    }
}

impl From<wire::ConsumerGroupCurrentMemberAssignmentValue> for CurrentAssignment {
    fn from(value: wire::ConsumerGroupCurrentMemberAssignmentValue) -> Self {
        // Kafka before 4.3 kept no epochs of partitions. A member that is away has a negative one.
        let unknown = value.member_epoch.max(0);
        let owned = |topics: Vec<wire::TopicPartitions>| -> OwnedPartitions {
            let of_topic = |topic: wire::TopicPartitions| {
                let epochs = topic.assignment_epochs.unwrap_or_default();
                let known = epochs.len() == topic.partitions.len();
                let partition = move |(at, index): (usize, i32)| {
                    let epoch = if known { epochs[at] } else { unknown };
                    (PartitionId { topic: topic.topic_id, index }, epoch)
                };
                topic.partitions.into_iter().enumerate().map(partition)
            };
            topics.into_iter().flat_map(of_topic).collect()
        };
        Self {
            epoch: value.member_epoch,
            previous_epoch: value.previous_member_epoch,
            state: MemberState::from_wire(value.state),
            assigned: owned(value.assigned_partitions),
            revoking: owned(value.partitions_pending_revocation),
        }
    }
}

impl From<&CurrentAssignment> for wire::ConsumerGroupCurrentMemberAssignmentValue {
    fn from(value: &CurrentAssignment) -> Self {
        let topics = |owned: &OwnedPartitions| {
            let topic = |(topic_id, partitions, epochs)| wire::TopicPartitions {
                topic_id,
                partitions,
                assignment_epochs: Some(epochs),
            };
            owned.by_topic().map(topic).collect()
        };
        Self {
            member_epoch: value.epoch,
            previous_member_epoch: value.previous_epoch,
            state: value.state.to_wire(),
            assigned_partitions: topics(&value.assigned),
            partitions_pending_revocation: topics(&value.revoking),
        }
    }
}

fn target_from_wire(value: wire::ConsumerGroupTargetAssignmentMemberValue) -> PartitionSet {
    let of_topic = |topic: wire::TopicPartition| {
        let partition = move |index| PartitionId { topic: topic.topic_id, index };
        topic.partitions.into_iter().map(partition)
    };
    value.topic_partitions.into_iter().flat_map(of_topic).collect()
}

fn target_to_wire(value: &PartitionSet) -> wire::ConsumerGroupTargetAssignmentMemberValue {
    let topic = |(topic_id, partitions)| wire::TopicPartition { topic_id, partitions };
    wire::ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: value.by_topic().map(topic).collect(),
    }
}

/// The only version that values of these kinds have.
const VERSION: i16 = 0;
