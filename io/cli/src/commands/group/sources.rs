//! What the cluster's own topics tell of a group.
//!
//! Kohort's broker tells rebalances in a topic. Of another Kafka's groups `__consumer_offsets` tells the
//! generations, and by them who came and went and what moved.

use kohort::TopicPartition;
use kohort::admin::Admin;
use kohort_broker::group_events::GroupEvent;

use super::super::Cluster;
use super::tail::{self, Since, Until};
use crate::groups::history::History;

/// Where Kohort's broker tells of rebalances.
const EVENTS: &str = "__kohort_group_events";
/// Where any broker keeps its groups.
const OFFSETS: &str = "__consumer_offsets";

/// Calls `each` with the events of a group since a time. Returns whether the cluster tells them itself.
pub(super) async fn each(
    cluster: &Cluster,
    admin: &Admin,
    group: &str,
    since_ms: i64,
    until: Until,
    mut each: impl FnMut(&GroupEvent) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let topic = TopicPartition::new(EVENTS, 0);
    let since = Since::time(since_ms);
    let told = tail::read(cluster, admin, topic, since, until, |record| {
        if record.key != Some(group.as_bytes()) {
            return Ok(());
        }
        // Another version's event may have another form.
        match record.value.and_then(|value| serde_json::from_slice(value).ok()) {
            Some(event) => each(&event),
            None => Ok(()),
        }
    })
    .await?;
    if told {
        return Ok(true);
    }
    let mut history = History::of(group);
    read_history(cluster, admin, &mut history, since, until, each).await?;
    Ok(false)
}

/// Reads what the cluster's own topic of groups tells of one. Returns whether there is such a topic.
pub(super) async fn read_history(
    cluster: &Cluster,
    admin: &Admin,
    history: &mut History,
    since: Since,
    until: Until,
    mut each: impl FnMut(&GroupEvent) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let topics = admin.describe_topics(vec![OFFSETS.to_owned()]).await?;
    let Some(Ok(topic)) = topics.into_values().next() else { return Ok(false) };
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX).max(1);
    let partition =
        TopicPartition::new(OFFSETS, kohort_broker::partition_for(history.group(), partitions));
    let topics = admin.list_topics().await?;
    history.name_topics(topics.into_iter().map(|topic| (topic.topic_id, topic.name)));
    tail::read(cluster, admin, partition, since, until, |record| {
        match history.take_in(record.timestamp, record.key, record.value) {
            Some(event) => each(&event),
            None => Ok(()),
        }
    })
    .await
}
