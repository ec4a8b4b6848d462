//! Offsets of groups: what is committed, and its change by an administrator.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kohort_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse,
};
use kohort_protocol::{ErrorCode, Message as _, TopicPartition, VersionRange};

use super::changes::{Changes, Rules};
use super::error::{check, unanswered};
use super::groups::by_topic;
use super::offsets::known;
use super::{Admin, AdminError, Session};
use crate::net::Purpose;

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
    /// Returns everything that groups have committed, each for itself; nothing for a group that is not there.
    /// Each coordinator is asked once (KIP-709), and before Kafka 3.0 once for each group.
    ///
    /// # Errors
    /// `GROUP_AUTHORIZATION_FAILED` for a group that this client may not describe.
    pub async fn list_consumer_group_offsets(
        &self,
        groups: Vec<String>,
    ) -> Result<BTreeMap<String, Result<CommittedOffsets, AdminError>>, AdminError> {
        self.change(groups, OFFSETS, |session, changes| async move {
            session.list_consumer_group_offsets(&changes).await
        })
        .await
    }

    /// Returns everything one group has committed; nothing for a group that is not there.
    ///
    /// # Errors
    /// As [`list_consumer_group_offsets`](Self::list_consumer_group_offsets) for the group.
    pub async fn group_offsets(&self, group: &str) -> Result<CommittedOffsets, AdminError> {
        let mut found = self.list_consumer_group_offsets(vec![group.to_owned()]).await?;
        found.remove(group).unwrap_or_else(|| Err(unanswered(offsets_of(group))))
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
    async fn list_consumer_group_offsets(&self, changes: &Listed) -> Result<(), AdminError> {
        for (broker, groups) in self.coordinators(changes).await? {
            let connection = self.cluster.connection_to(&broker, Purpose::General).await?;
            let version = connection.version_within::<OffsetFetchRequest>(BY_NAME)?;
            let timeout = self.config.common.request_timeout;
            if version >= MANY_GROUPS_FROM {
                let group = |group_id: String| OffsetFetchRequestGroup {
                    group_id,
                    topics: None,
                    ..Default::default()
                };
                let request = OffsetFetchRequest {
                    groups: groups.into_iter().map(group).collect(),
                    ..OffsetFetchRequest::default()
                };
                let answer = connection.send_at(version, &request, timeout).await?;
                for (group, result) in of_groups(answer) {
                    changes.note(group, result);
                }
                continue;
            }
            for group in groups {
                let request = OffsetFetchRequest {
                    group_id: group.clone(),
                    topics: None,
                    ..OffsetFetchRequest::default()
                };
                let answer = connection.send_at(version, &request, timeout).await?;
                let result = of_one_group(&group, answer);
                changes.note(group, result);
            }
        }
        Ok(())
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

/// What a group has committed, by partition.
pub type CommittedOffsets = BTreeMap<TopicPartition, CommittedOffset>;

type Listed = Changes<String, CommittedOffsets>;

/// What passes by itself may be asked for again.
const OFFSETS: Rules<String> =
    Rules { what: |group| offsets_of(group), passes: AdminError::is_retriable, denial: None };

fn offsets_of(group: &str) -> String {
    format!("the offsets of group `{group}`")
}

/// The versions of OffsetCommit and OffsetFetch that name topics; later ones take ids only, which
/// cannot name the offsets of a topic that was deleted.
const BY_NAME: VersionRange = VersionRange::new(OffsetFetchRequest::VERSIONS.min, 9);

/// The first OffsetFetch version that takes many groups (KIP-709).
const MANY_GROUPS_FROM: i16 = 8;

/// Reads what is told of each partition: the two forms of the answer have the same fields in types of their own.
macro_rules! told {
    ($topics:expr) => {
        $topics.into_iter().flat_map(|topic| {
            let name: Arc<str> = topic.name.into();
            topic.partitions.into_iter().map(move |it| {
                let at = TopicPartition::new(name.clone(), it.partition_index);
                let epoch = known(it.committed_leader_epoch);
                (at, it.error_code, committed(it.committed_offset, epoch, it.metadata))
            })
        })
    };
}

/// Reads an answer for many groups.
fn of_groups(
    answer: OffsetFetchResponse,
) -> impl Iterator<Item = (String, Result<CommittedOffsets, AdminError>)> {
    answer.groups.into_iter().map(|group| {
        let result = collected(&group.group_id, group.error_code, told!(group.topics));
        (group.group_id, result)
    })
}

/// Reads an answer for one group, as brokers before Kafka 3.0 give it.
fn of_one_group(group: &str, answer: OffsetFetchResponse) -> Result<CommittedOffsets, AdminError> {
    collected(group, answer.error_code, told!(answer.topics))
}

/// What is committed, if anything is.
fn committed(
    offset: i64,
    leader_epoch: Option<i32>,
    metadata: Option<String>,
) -> Option<CommittedOffset> {
    let metadata = metadata.unwrap_or_default();
    (offset >= 0).then_some(CommittedOffset { offset, leader_epoch, metadata })
}

/// Puts a group's offsets together; one that cannot be told is an error for the group.
fn collected(
    group: &str,
    code: ErrorCode,
    partitions: impl Iterator<Item = (TopicPartition, ErrorCode, Option<CommittedOffset>)>,
) -> Result<CommittedOffsets, AdminError> {
    check(code, None, || offsets_of(group))?;
    let mut offsets = CommittedOffsets::new();
    for (partition, code, committed) in partitions {
        check(code, None, || offsets_of(group))?;
        offsets.extend(committed.map(|committed| (partition, committed)));
    }
    Ok(offsets)
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
