//! Questions that need no membership: committed offsets, offsets by time, both ends of a partition.
//! Each is tried again until `default.api.timeout.ms` is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::consumer::offsets::{
    list_offsets_request, offsets_request, read_listed, read_offsets,
};
pub(super) use kohort_client_core::consumer::positions::{EARLIEST, LATEST};
use kohort_client_core::consumer::{IsolationLevel, OffsetAndMetadata, TopicPartition};
use kohort_client_core::metadata::denies_leadership;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kohort_protocol::messages::offset_fetch::OffsetFetchResponse;
use tokio::time::Instant;

use super::{Consumer, ConsumerError};
use crate::cluster::{Cluster, ClusterError, CoordinatorKind};
use crate::net::{Purpose, after};

/// An offset found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAndTimestamp {
    /// The offset of the first record not older than the time asked for.
    pub offset: i64,
    /// That record's timestamp, in Unix milliseconds.
    pub timestamp: i64,
    /// The leader epoch of that record, when known.
    pub leader_epoch: Option<i32>,
}

impl Consumer {
    /// Returns the group's committed offsets; partitions without one are left out.
    ///
    /// # Errors
    /// [`ConsumerError::NoGroup`]; [`ConsumerError::Partition`] and [`ConsumerError::Cluster`] for what is refused and
    /// stays so, [`ConsumerError::TimedOut`] for the rest.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ConsumerError> {
        let group = self.settings.group_id.clone().ok_or(ConsumerError::NoGroup)?;
        let partitions: Vec<_> = partitions.into_iter().collect();
        let (stable, cluster) = (self.settings.read_committed, self.cluster.clone());
        self.retry(move || {
            let (group, partitions, cluster) = (group.clone(), partitions.clone(), cluster.clone());
            async move { committed(&cluster, &group, &partitions, stable).await }
        })
        .await
    }

    /// Returns, for each partition and time (Unix milliseconds), the first offset not older; a
    /// partition without one is left out.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets).
    pub async fn offsets_for_times(
        &self,
        times: impl IntoIterator<Item = (TopicPartition, i64)>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>, ConsumerError> {
        self.list_offsets(
            times.into_iter().map(|(partition, time)| (partition, time.max(0))).collect(),
        )
        .await
    }

    /// Returns the first offset of each partition.
    ///
    /// # Errors
    /// [`ConsumerError::Partition`] with `UNKNOWN_TOPIC_OR_PARTITION` if a topic does not have that
    /// partition, once the cluster has been asked again.
    pub async fn beginning_offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, i64>, ConsumerError> {
        self.ends(partitions, EARLIEST).await
    }

    /// Returns the offset after the last visible record of each partition; fails as
    /// [`beginning_offsets`](Self::beginning_offsets) does.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets).
    pub async fn end_offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, i64>, ConsumerError> {
        self.ends(partitions, LATEST).await
    }

    async fn ends(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        end: i64,
    ) -> Result<BTreeMap<TopicPartition, i64>, ConsumerError> {
        let found = self.list_offsets(partitions.into_iter().map(|it| (it, end)).collect()).await?;
        Ok(found.into_iter().map(|(partition, found)| (partition, found.offset)).collect())
    }

    async fn list_offsets(
        &self,
        times: Vec<(TopicPartition, i64)>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>, ConsumerError> {
        let isolation = if self.settings.read_committed {
            IsolationLevel::ReadCommitted
        } else {
            IsolationLevel::ReadUncommitted
        };
        let cluster = self.cluster.clone();
        let pause = self.settings.retry_backoff;
        self.retry(move || {
            let (cluster, times) = (cluster.clone(), times.clone());
            async move {
                let missing = first_missing(&cluster, &times, pause).await?;
                let Some(partition) = missing else {
                    return list_offsets(&cluster, &times, isolation).await.map(Ok);
                };
                // No failure of this attempt, which would be made again until the time is up.
                let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                Ok(Err(ConsumerError::Partition { partition, code }))
            }
        })
        .await?
    }

    /// Tries until it works, fails for good, or the time is up.
    pub(super) async fn retry<T, F>(
        &self,
        attempt: impl Fn() -> F + Send + 'static,
    ) -> Result<T, ConsumerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ConsumerError>> + Send + 'static,
    {
        let (timeout, backoff) = (self.settings.api_timeout, self.settings.retry_backoff);
        let tries = async move {
            let deadline = after(Instant::now(), timeout);
            let mut last = "no attempt was made".to_owned();
            while Instant::now() < deadline {
                match tokio::time::timeout_at(deadline, attempt()).await {
                    Ok(Err(error)) if error.is_retriable() => last = error.to_string(),
                    Ok(outcome) => return outcome,
                    Err(_) => break,
                }
                let pause = after(Instant::now(), backoff.max(Duration::from_millis(1)));
                tokio::time::sleep_until(pause.min(deadline)).await;
            }
            Err(ConsumerError::TimedOut { timeout, last })
        };
        self.driver.run(tries).await.unwrap_or(Err(ConsumerError::Closed))
    }
}

async fn committed(
    cluster: &Cluster,
    group: &Arc<str>,
    partitions: &[TopicPartition],
    require_stable: bool,
) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ConsumerError> {
    // The newest form of the question names topics by id.
    let view = known_topics(cluster, partitions).await?;
    let broker = cluster.find_coordinator(CoordinatorKind::Group, group).await?;
    let connection = cluster.connection_to(&broker, Purpose::General).await?;
    let request = offsets_request(group.to_string(), None, partitions, require_stable, &view);
    let answer = connection.send(&request).await.map_err(ClusterError::from)?;
    let metadata = metadata_of(&answer, &view);
    let offsets = read_offsets(answer, &view).map_err(|code| {
        let what = format!("committed offsets of `{group}`");
        ClusterError::Refused { what, code, message: None }
    })?;
    let mut committed = BTreeMap::new();
    for (partition, answer) in offsets {
        match answer {
            Ok(Some(position)) => {
                let metadata = metadata.get(&partition).cloned().unwrap_or_default();
                let (offset, leader_epoch) = (position.offset, position.leader_epoch);
                committed.insert(partition, OffsetAndMetadata { offset, leader_epoch, metadata });
            }
            Ok(None) => {}
            Err(code) => return Err(ConsumerError::Partition { partition, code }),
        }
    }
    Ok(committed)
}

fn metadata_of(
    answer: &OffsetFetchResponse,
    view: &kohort_client_core::metadata::MetadataView,
) -> BTreeMap<TopicPartition, String> {
    let mut found = BTreeMap::new();
    for topic in &answer.topics {
        for it in &topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), it.partition_index);
            found.insert(partition, it.metadata.clone().unwrap_or_default());
        }
    }
    for topic in answer.groups.iter().flat_map(|group| &group.topics) {
        let name = view
            .topic_by_id(topic.topic_id)
            .map_or_else(|| topic.name.as_str().into(), |it| it.name.clone());
        for it in &topic.partitions {
            let partition = TopicPartition::new(name.clone(), it.partition_index);
            found.insert(partition, it.metadata.clone().unwrap_or_default());
        }
    }
    found
}

/// Returns a partition that its topic does not have. A new one may be missing from a picture that is older, or a
/// broker's that has not heard of it, so that is asked again first.
async fn first_missing(
    cluster: &Cluster,
    times: &[(TopicPartition, i64)],
    pause: Duration,
) -> Result<Option<TopicPartition>, ConsumerError> {
    let partitions: Vec<_> = times.iter().map(|(partition, _)| partition.clone()).collect();
    let mut view = known_topics(cluster, &partitions).await?;
    let _held = cluster.hold_topics(partitions.iter().map(|it| it.topic.clone()).collect());
    let mut asked = 0;
    loop {
        let missing = partitions.iter().find(|it| view.lacks(&it.topic, it.partition));
        if missing.is_none() || asked == ASKED_AGAIN {
            return Ok(missing.cloned());
        }
        tokio::time::sleep(pause).await;
        asked += 1;
        view = cluster.refresh().await?;
    }
}

/// How often the cluster is asked again about a partition that its topic seems not to have.
const ASKED_AGAIN: u32 = 2;

async fn list_offsets(
    cluster: &Cluster,
    times: &[(TopicPartition, i64)],
    isolation: IsolationLevel,
) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>, ConsumerError> {
    let partitions: Vec<_> = times.iter().map(|(partition, _)| partition.clone()).collect();
    let view = known_topics(cluster, &partitions).await?;
    let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, i64, i32)>> = BTreeMap::new();
    for (partition, time) in times {
        let known = view.partition(&partition.topic, partition.partition);
        let leader = known.filter(|known| view.broker(known.leader).is_some());
        let Some(leader) = leader else {
            cluster.refresh_soon();
            let code = ErrorCode::LEADER_NOT_AVAILABLE;
            return Err(ConsumerError::Partition { partition: partition.clone(), code });
        };
        by_leader.entry(leader.leader).or_default().push((
            partition.clone(),
            *time,
            leader.leader_epoch,
        ));
    }
    let mut found = BTreeMap::new();
    for (node, wanted) in by_leader {
        let connection = cluster.connection(node, Purpose::General).await?;
        let request = list_offsets_request(&wanted, isolation);
        let answer = connection.send(&request).await.map_err(ClusterError::from)?;
        let timestamps = timestamps_of(&answer);
        for (partition, answer) in read_listed(answer) {
            match answer {
                Ok(Some(it)) => {
                    let (offset, leader_epoch) = (it.offset, it.leader_epoch);
                    let timestamp = timestamps.get(&partition).copied().unwrap_or(-1);
                    let it = OffsetAndTimestamp { offset, timestamp, leader_epoch };
                    found.insert(partition, it);
                }
                Ok(None) => {}
                Err(code) => {
                    if denies_leadership(code) {
                        let (topic, index) = (&partition.topic, partition.partition);
                        cluster.deny_leader(topic, index, node);
                    }
                    cluster.refresh_soon();
                    return Err(ConsumerError::Partition { partition, code });
                }
            }
        }
    }
    Ok(found)
}

fn timestamps_of(answer: &ListOffsetsResponse) -> BTreeMap<TopicPartition, i64> {
    let of_topic = |topic: &ListOffsetsTopicResponse| {
        let name: Arc<str> = topic.name.as_str().into();
        let of = |it: &ListOffsetsPartitionResponse| {
            (TopicPartition { topic: name.clone(), partition: it.partition_index }, it.timestamp)
        };
        topic.partitions.iter().map(of).collect::<Vec<_>>()
    };
    answer.topics.iter().flat_map(of_topic).collect()
}

async fn known_topics(
    cluster: &Cluster,
    partitions: &[TopicPartition],
) -> Result<Arc<kohort_client_core::metadata::MetadataView>, ConsumerError> {
    let view = cluster.view();
    let known = |view: &kohort_client_core::metadata::MetadataView| {
        partitions.iter().all(|partition| view.topic(&partition.topic).is_some())
    };
    if known(&view) {
        return Ok(view);
    }
    let _held = cluster.hold_topics(partitions.iter().map(|it| it.topic.clone()).collect());
    let view = cluster.refresh().await?;
    match partitions.iter().find(|partition| view.topic(&partition.topic).is_none()) {
        Some(partition) => {
            let code = cluster
                .topic_error(&partition.topic)
                .unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            Err(ConsumerError::Partition { partition: partition.clone(), code })
        }
        None => Ok(view),
    }
}
