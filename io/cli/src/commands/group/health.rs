//! Gathers what a verdict on a group needs: its last commits, the lag it had at each, how old what it
//! has not read is, and its rebalances.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kohort::TopicPartition;
use kohort::admin::{Admin, OffsetSpec};
use kohort::config::{ConsumerConfig, Properties as _};
use kohort::consumer::Consumer;
use kohort_broker::group_events::GroupEvent;
use tokio::time::{Instant, timeout_at};

use super::super::Cluster;
use super::sources;
use super::tail::Until;
use crate::datetime::now_ms;
use crate::groups::history::History;
use crate::groups::unrest::unsettles;
use crate::groups::verdict::{GroupFacts, PartitionFacts, WINDOW};

/// How far back commits are looked at. They are a few seconds apart.
const COMMITS_SINCE_MS: i64 = 10 * 60_000;
/// How far back rebalances are.
const REBALANCES_SINCE_MS: i64 = 60 * 60_000;
/// How long records that wait are looked for, to see how old they are.
const AGES_WITHIN: Duration = Duration::from_secs(5);
/// Of more partitions with lag, the age is not looked at.
const AGES_MAX: usize = 200;

/// What there is to be said besides offsets.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) facts: GroupFacts,
    pub(super) last_rebalance: Option<GroupEvent>,
    /// How old the oldest record is that waits, for each partition that has one.
    pub(super) ages_ms: BTreeMap<TopicPartition, i64>,
}

/// Looks at a group with that many members, whose partitions have that much lag.
pub(super) async fn look(
    cluster: &Cluster,
    admin: &Admin,
    group: &str,
    members: usize,
    lags: &BTreeMap<TopicPartition, (i64, i64)>,
) -> anyhow::Result<Health> {
    let now_ms = now_ms();
    let mut history = History::of(group);
    let since_ms = now_ms - COMMITS_SINCE_MS;
    sources::read_history(cluster, admin, &mut history, group, since_ms, Until::Now, |_| Ok(()))
        .await?;
    remember_lags(admin, &mut history).await?;

    let (mut rebalances_ms, mut last_rebalance) = (Vec::new(), None);
    let since_ms = now_ms - REBALANCES_SINCE_MS;
    sources::each(cluster, admin, group, since_ms, Until::Now, |event| {
        if let GroupEvent::Rebalance(rebalance) = event {
            if unsettles(rebalance) {
                rebalances_ms.push(rebalance.ended_ms);
            }
            last_rebalance = Some(event.clone());
        }
        Ok(())
    })
    .await?;

    let waiting = lags.iter().filter(|(_, (_, lag))| *lag > 0).take(AGES_MAX);
    let waiting = waiting.map(|(partition, (offset, _))| (partition.clone(), *offset)).collect();
    let ages_ms = ages(cluster, now_ms, waiting).await?;
    let partitions = lags.iter().map(|(partition, (_, lag))| PartitionFacts {
        name: format!("{}:{}", partition.topic, partition.partition),
        commits: history.commits.remove(partition).unwrap_or_default(),
        lag: Some(*lag),
        lag_ms: ages_ms.get(partition).copied(),
    });
    let partitions = partitions.collect();
    let facts = GroupFacts { now_ms, members, rebalances_ms, partitions };
    Ok(Health { facts, last_rebalance, ages_ms })
}

/// Finds out where each partition ended when each of its commits was made, by the records' times.
async fn remember_lags(admin: &Admin, history: &mut History) -> anyhow::Result<()> {
    for number in 0..WINDOW {
        let at = |commits: &Vec<_>| commits.len().checked_sub(number + 1);
        let wanted: BTreeMap<TopicPartition, OffsetSpec> = history
            .commits
            .iter()
            .filter_map(|(partition, commits)| {
                Some((partition.clone(), OffsetSpec::AtOrAfter(commits[at(commits)?].at_ms)))
            })
            .collect();
        if wanted.is_empty() {
            break;
        }
        let partitions: Vec<TopicPartition> = wanted.keys().cloned().collect();
        let ends =
            partitions.into_iter().map(|partition| (partition, OffsetSpec::Latest)).collect();
        let ends = admin.list_offsets(ends).await?;
        for (partition, found) in admin.list_offsets(wanted).await? {
            let Some(commits) = history.commits.get_mut(&partition) else { continue };
            let Some(commit) = at(commits).and_then(|at| commits.get_mut(at)) else { continue };
            // No record since: the partition ends where it ended then.
            let end =
                ends.get(&partition).and_then(|end| end.as_ref().ok()).and_then(|end| end.offset);
            let end = found.ok().and_then(|found| found.offset).or(end);
            commit.lag = end.map(|end| (end - commit.offset).max(0));
        }
    }
    Ok(())
}

/// Reads the first record that waits in each partition, and tells its age.
async fn ages(
    cluster: &Cluster,
    now_ms: i64,
    waiting: BTreeMap<TopicPartition, i64>,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let mut ages = BTreeMap::new();
    if waiting.is_empty() {
        return Ok(ages);
    }
    let mut config: ConsumerConfig = cluster.configure()?;
    config.set("auto.offset.reset", "earliest")?;
    config.set("enable.auto.commit", "false")?;
    config.set("allow.auto.create.topics", "false")?;
    // One batch of each is enough.
    config.set("max.partition.fetch.bytes", "1")?;
    let consumer = Consumer::builder().with(|_| config).build()?;
    consumer.assign(waiting.keys().cloned()).await?;
    for (partition, offset) in &waiting {
        consumer.seek(partition, *offset).await?;
    }
    let deadline = Instant::now() + AGES_WITHIN;
    let mut missing: BTreeSet<TopicPartition> = waiting.into_keys().collect();
    while !missing.is_empty() {
        // Cancelled at the deadline, when the consumer is closed anyway.
        let Ok(polled) = timeout_at(deadline, consumer.poll(AGES_WITHIN)).await else { break };
        for record in &polled? {
            let partition = record.topic_partition();
            if missing.remove(&partition) {
                ages.insert(partition.clone(), (now_ms - record.timestamp).max(0));
                let _ = consumer.pause([partition]).await;
            }
        }
    }
    consumer.close(AGES_WITHIN).await;
    Ok(ages)
}
