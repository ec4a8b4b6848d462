//! Offsets of partitions: where they begin and end, and what was when.

use std::collections::BTreeMap;

use kohort_client_core::metadata::Broker;
use kohort_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
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

impl Admin {
    /// Finds offsets of partitions, each for itself.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` for a partition that is not there.
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
/// Turns a number that is negative when unknown into an option.
pub(super) fn known<T: PartialOrd + Default>(number: T) -> Option<T> {
    (number >= T::default()).then_some(number)
}
