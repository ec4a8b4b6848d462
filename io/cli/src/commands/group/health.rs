//! Gathers what a verdict on a group needs: its last commits, the lag it had at each, what it has not
//! read, and its rebalances.

use std::collections::BTreeMap;

use kohort::TopicPartition;
use kohort::admin::{Admin, GroupDescription, OffsetSpec};
use kohort_broker::group_events::GroupEvent;

use super::super::Cluster;
use super::sources;
use super::standing::Place;
use super::tail::{Since, Until};
use super::waiting;
use crate::datetime::now_ms;
use crate::groups::history::History;
use crate::groups::unrest::unsettles;
use crate::groups::verdict::{GroupFacts, PartitionFacts, WINDOW, WINDOW_MS, Waiting};

/// As many of the last records of the log of groups are read, however old they are: of a group that stopped
/// long ago, the last commit is to be found. About two megabytes.
const COMMITS_RECORDS: i64 = 20_000;
/// How far back rebalances are.
const REBALANCES_SINCE_MS: i64 = 60 * 60_000;
/// Of more partitions with lag, it is not looked at what waits in them.
const WAITING_MAX: usize = 200;

/// What there is to be said besides offsets.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) facts: GroupFacts,
    pub(super) last_rebalance: Option<GroupEvent>,
    /// How old the oldest record is that waits, where that is known; 0 where none does.
    pub(super) ages_ms: BTreeMap<TopicPartition, i64>,
}

/// Looks at a group, which stands there.
pub(super) async fn look(
    cluster: &Cluster,
    admin: &Admin,
    group: &GroupDescription,
    places: &BTreeMap<TopicPartition, Place>,
) -> anyhow::Result<Health> {
    let now_ms = now_ms();
    let mut history = History::of(&group.group_id);
    let since = Since { ms: now_ms - WINDOW_MS, records: COMMITS_RECORDS };
    let known = sources::read_history(cluster, admin, &mut history, since, Until::Now, |_| Ok(()));
    let commits_since_ms = known.await?.then(|| history.reaches_back_to(since.ms));
    // What a group once had members for stays of that type: those may have made its last commits.
    let commits = history.commits.values().flatten().map(|commit| commit.at_ms);
    let committed_alone_ms = commits.max().filter(|_| group.protocol_type.is_empty());
    history.commits.retain(|partition, _| places.get(partition).is_some_and(Place::has_lag));
    remember_lags(admin, &mut history).await?;

    let (mut rebalances_ms, mut last_rebalance) = (Vec::new(), None);
    let since_ms = now_ms - REBALANCES_SINCE_MS;
    sources::each(cluster, admin, &group.group_id, since_ms, Until::Now, |event| {
        if let GroupEvent::Rebalance(rebalance) = event {
            if unsettles(rebalance) {
                rebalances_ms.push(rebalance.ended_ms);
            }
            last_rebalance = Some(event.clone());
        }
        Ok(())
    })
    .await?;

    let behind: BTreeMap<TopicPartition, Place> = places
        .iter()
        .filter(|(_, place)| place.has_lag())
        .map(|(it, at)| (it.clone(), *at))
        .collect();
    let starts = behind.keys().map(|partition| (partition.clone(), OffsetSpec::Earliest)).collect();
    let starts = admin.list_offsets(starts).await?;
    let start = |partition: &TopicPartition| starts.get(partition)?.as_ref().ok()?.offset;
    let looked_at = behind.into_iter().take(WAITING_MAX).collect();
    let waiting = waiting::look(cluster, now_ms, looked_at).await?;
    let partitions = places.iter().map(|(partition, place)| PartitionFacts {
        name: format!("{}:{}", partition.topic, partition.partition),
        commits: history.commits.remove(partition).unwrap_or_default(),
        lag: Some(place.lag_from(start(partition))),
        waiting: waiting.get(partition).copied().unwrap_or_default(),
    });
    let partitions = partitions.collect();
    let facts = GroupFacts {
        now_ms,
        members: group.members.len(),
        committed_alone_ms,
        commits_since_ms,
        rebalances_ms,
        partitions,
    };
    let age_ms = |(partition, waiting): (&TopicPartition, &Waiting)| match waiting {
        Waiting::Records(age_ms) => Some((partition.clone(), *age_ms)),
        Waiting::Nothing => Some((partition.clone(), 0)),
        Waiting::Held | Waiting::Unknown => None,
    };
    let ages_ms = waiting.iter().filter_map(age_ms).collect();
    Ok(Health { facts, last_rebalance, ages_ms })
}

/// Finds out where each partition ended when each of its commits was made, by the records' times.
async fn remember_lags(admin: &Admin, history: &mut History) -> anyhow::Result<()> {
    let ends = history.commits.keys().map(|it| (it.clone(), OffsetSpec::Latest)).collect();
    let ends = admin.list_offsets(ends).await?;
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
