//! Offsets: of partitions, and of groups in them.

use std::collections::BTreeMap;

use kohort_client_core::metadata::Broker;
use kohort_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kohort_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use kohort_protocol::{ErrorCode, Message as _, TopicPartition, VersionRange};

use super::error::{check, unanswered};
use super::groups::by_topic;
use super::{Admin, AdminError, Session};
use crate::net::Purpose;

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// The first record that is still there.
    Earliest,
    /// One past the last record that consumers may see.
    Latest,
    /// The record with the highest timestamp (Kafka 3.0 and later).
    MaxTimestamp,
    /// The first record at or after this time in Unix milliseconds.
    AtOrAfter(i64),
}

/// An offset that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` if no record matches the time.
    pub offset: Option<i64>,
    /// The record's timestamp in Unix milliseconds, where a time was asked for.
    pub timestamp: Option<i64>,
    /// The leader epoch of the record, if the broker tells one.
    pub leader_epoch: Option<i32>,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the record before it, if known.
    pub leader_epoch: Option<i32>,
    /// Free text that was committed with it.
    pub metadata: String,
}

impl Admin {
    /// Finds offsets of partitions, each for itself.
    pub async fn list_offsets(
        &self,
        wanted: BTreeMap<TopicPartition, OffsetSpec>,
    ) -> Result<BTreeMap<TopicPartition, Result<ListedOffset, AdminError>>, AdminError> {
        self.run(move |session| {
            let wanted = wanted.clone();
            async move { session.list_offsets(wanted).await }
        })
        .await
    }

    /// Returns everything a group has committed; nothing for a group that is not there.
    pub async fn group_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, AdminError> {
        let group = group.to_owned();
        self.run(move |session| {
            let group = group.clone();
            async move { session.group_offsets(group).await }
        })
        .await
    }

    /// Commits offsets on behalf of a group without members; a new group comes into being by it.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID` if the group has members, for each partition. [`AdminError::NegativeOffset`], before
    /// anything is committed.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), AdminError>>, AdminError> {
        if let Some((partition, it)) = offsets.iter().find(|(_, it)| it.offset < 0) {
            let (partition, offset) = (partition.clone(), it.offset);
            return Err(AdminError::NegativeOffset { partition, offset });
        }
        let group = group.to_owned();
        self.run(move |session| {
            let (group, offsets) = (group.clone(), offsets.clone());
            async move { session.alter_group_offsets(group, offsets).await }
        })
        .await
    }

    /// Forgets what a group has committed for some partitions, each for itself.
    ///
    /// # Errors
    /// `GROUP_SUBSCRIBED_TO_TOPIC` for a topic the group's members are subscribed to.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: Vec<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), AdminError>>, AdminError> {
        let group = group.to_owned();
        self.run(move |session| {
            let (group, partitions) = (group.clone(), partitions.clone());
            async move { session.delete_group_offsets(group, partitions).await }
        })
        .await
    }
}

impl Session {
    async fn list_offsets(
        &self,
        wanted: BTreeMap<TopicPartition, OffsetSpec>,
    ) -> Result<BTreeMap<TopicPartition, Result<ListedOffset, AdminError>>, AdminError> {
        let by_timestamp = wanted.values().any(|spec| *spec == OffsetSpec::MaxTimestamp);
        let wanted = wanted.into_iter().map(|(partition, spec)| (partition, spec.on_the_wire()));
        let (by_leader, refused) = self.by_leader(wanted).await?;
        let mut listed: BTreeMap<TopicPartition, Result<ListedOffset, AdminError>> =
            refused.into_iter().map(|(partition, error)| (partition, Err(error))).collect();
        for (broker, partitions) in by_leader {
            for (partition, _) in &partitions {
                let missing = Err(unanswered(format!("partition {partition}")));
                listed.insert(partition.clone(), missing);
            }
            let topic = |(name, partitions): (std::sync::Arc<str>, Vec<(i32, i64)>)| {
                let partition = |(partition_index, timestamp)| ListOffsetsPartition {
                    partition_index,
                    timestamp,
                    ..Default::default()
                };
                ListOffsetsTopic {
                    name: name.to_string(),
                    partitions: partitions.into_iter().map(partition).collect(),
                }
            };
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: by_topic(partitions).into_iter().map(topic).collect(),
                timeout_ms: self.broker_timeout_ms(),
                ..ListOffsetsRequest::default()
            };
            let connection = self.cluster.connection_to(&broker, Purpose::General).await?;
            // An older broker takes the number for a time and answers something else.
            let least = if by_timestamp { MAX_TIMESTAMP_FROM } else { 0 };
            let ours = VersionRange::new(least, ListOffsetsRequest::VERSIONS.max);
            let version = connection.version_within::<ListOffsetsRequest>(ours)?;
            let timeout = self.config.common.request_timeout;
            for topic in connection.send_at(version, &request, timeout).await?.topics {
                for answer in topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, answer.partition_index);
                    let result =
                        check(answer.error_code, None, || format!("partition {partition}")).map(
                            |()| ListedOffset {
                                offset: known(answer.offset),
                                timestamp: known(answer.timestamp),
                                leader_epoch: known(answer.leader_epoch),
                            },
                        );
                    if let Err(error) = &result
                        && error.is_retriable()
                    {
                        result?;
                        continue;
                    }
                    listed.insert(partition, result);
                }
            }
        }
        Ok(listed)
    }

    async fn group_offsets(
        &self,
        group: String,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, AdminError> {
        let broker = self.coordinator(&group).await?;
        let connection = self.cluster.connection_to(&broker, Purpose::General).await?;
        let version = connection.version_within::<OffsetFetchRequest>(BY_NAME)?;
        let request = OffsetFetchRequest {
            group_id: group.clone(),
            topics: None,
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.clone(),
                topics: None,
                ..Default::default()
            }],
            ..OffsetFetchRequest::default()
        };
        let timeout = self.config.common.request_timeout;
        let answer = connection.send_at(version, &request, timeout).await?;
        let what = || format!("the offsets of group `{group}`");
        check(answer.error_code, None, what)?;
        let mut offsets = BTreeMap::new();
        let mut take = |topic: &str, partition, offset, epoch, metadata: Option<String>| {
            if offset >= 0 {
                let metadata = metadata.unwrap_or_default();
                let committed = CommittedOffset { offset, leader_epoch: known(epoch), metadata };
                offsets.insert(TopicPartition::new(topic, partition), committed);
            }
        };
        for topic in answer.topics {
            for p in topic.partitions {
                check(p.error_code, None, what)?;
                let (offset, epoch) = (p.committed_offset, p.committed_leader_epoch);
                take(&topic.name, p.partition_index, offset, epoch, p.metadata);
            }
        }
        for answer in answer.groups {
            check(answer.error_code, None, what)?;
            for topic in answer.topics {
                for p in topic.partitions {
                    check(p.error_code, None, what)?;
                    let (offset, epoch) = (p.committed_offset, p.committed_leader_epoch);
                    take(&topic.name, p.partition_index, offset, epoch, p.metadata);
                }
            }
        }
        Ok(offsets)
    }

    async fn alter_group_offsets(
        &self,
        group: String,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), AdminError>>, AdminError> {
        let broker = self.coordinator(&group).await?;
        let connection = self.cluster.connection_to(&broker, Purpose::General).await?;
        let version = connection.version_within::<OffsetCommitRequest>(BY_NAME)?;
        let partition =
            |(partition_index, committed): (i32, CommittedOffset)| OffsetCommitRequestPartition {
                partition_index,
                committed_offset: committed.offset,
                committed_leader_epoch: committed.leader_epoch.unwrap_or(-1),
                committed_metadata: Some(committed.metadata),
            };
        let topics =
            by_topic(offsets).into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
                name: name.to_string(),
                partitions: partitions.into_iter().map(partition).collect(),
                ..Default::default()
            });
        let request = OffsetCommitRequest {
            group_id: group.clone(),
            topics: topics.collect(),
            ..OffsetCommitRequest::default()
        };
        let timeout = self.config.common.request_timeout;
        let answer = connection.send_at(version, &request, timeout).await?;
        let answers = answer.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic
                .partitions
                .into_iter()
                .map(move |p| (TopicPartition::new(&*name, p.partition_index), p.error_code))
        });
        results(&group, answers)
    }

    async fn delete_group_offsets(
        &self,
        group: String,
        partitions: Vec<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), AdminError>>, AdminError> {
        let broker = self.coordinator(&group).await?;
        let topics = by_topic(partitions.into_iter().map(|p| (p, ()))).into_iter().map(
            |(name, partitions)| OffsetDeleteRequestTopic {
                name: name.to_string(),
                partitions: partitions
                    .into_iter()
                    .map(|(partition_index, ())| OffsetDeleteRequestPartition { partition_index })
                    .collect(),
            },
        );
        let request = OffsetDeleteRequest { group_id: group.clone(), topics: topics.collect() };
        let answer = self.ask_coordinator(&broker, &request).await?;
        check(answer.error_code, None, || format!("group `{group}`"))?;
        let answers = answer.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic
                .partitions
                .into_iter()
                .map(move |p| (TopicPartition::new(&*name, p.partition_index), p.error_code))
        });
        results(&group, answers)
    }
}

impl Session {
    /// Sorts partitions by the broker that leads each, and says what is wrong with the others.
    pub(super) async fn by_leader<T>(
        &self,
        wanted: impl IntoIterator<Item = (TopicPartition, T)>,
    ) -> Result<ByLeader<T>, AdminError> {
        let wanted: Vec<_> = wanted.into_iter().collect();
        let mut names: Vec<String> = wanted.iter().map(|(p, _)| p.topic.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        let (view, errors) = self.metadata(Some(names)).await?;
        let mut led: BTreeMap<i32, (Broker, Vec<(TopicPartition, T)>)> = BTreeMap::new();
        let mut refused = Vec::new();
        for (partition, value) in wanted {
            let known = view.partition(&partition.topic, partition.partition);
            if let Some(leader) = known.and_then(|known| view.broker(known.leader)) {
                let entry = led.entry(leader.id).or_insert_with(|| (leader.clone(), Vec::new()));
                entry.1.push((partition, value));
                continue;
            }
            let code = errors.get(&*partition.topic).copied().unwrap_or(match known {
                Some(_) => ErrorCode::LEADER_NOT_AVAILABLE,
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            });
            let what = || format!("partition {partition}");
            let error = check(code, None, what).err().unwrap_or_else(|| unanswered(what()));
            refused.push((partition, error));
        }
        Ok((led.into_values().collect(), refused))
    }
}

/// Partitions by leader, and those that cannot be asked about.
pub(super) type ByLeader<T> =
    (Vec<(Broker, Vec<(TopicPartition, T)>)>, Vec<(TopicPartition, AdminError)>);

impl OffsetSpec {
    /// Kafka's number: a time, or a negative one for the special offsets.
    fn on_the_wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::AtOrAfter(time) => time.max(0),
        }
    }
}

/// The first ListOffsets version that knows the record with the highest timestamp (KIP-734).
const MAX_TIMESTAMP_FROM: i16 = 7;
/// The versions of OffsetCommit and OffsetFetch that name topics; later ones take ids only, which
/// cannot name the offsets of a topic that was deleted.
const BY_NAME: VersionRange = VersionRange::new(OffsetFetchRequest::VERSIONS.min, 9);

/// Turns a number that is negative when unknown into an option.
fn known<T: PartialOrd + Default>(number: T) -> Option<T> {
    (number >= T::default()).then_some(number)
}

/// Collects the answers for a group's partitions. One that passes by itself fails the attempt.
fn results(
    group: &str,
    answers: impl Iterator<Item = (TopicPartition, ErrorCode)>,
) -> Result<BTreeMap<TopicPartition, Result<(), AdminError>>, AdminError> {
    let mut results = BTreeMap::new();
    for (partition, code) in answers {
        match check(code, None, || format!("partition {partition} of group `{group}`")) {
            Err(error) if error.is_retriable() => return Err(error),
            result => {
                results.insert(partition, result);
            }
        }
    }
    Ok(results)
}
