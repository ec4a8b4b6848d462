//! Where a group stands in each of its partitions, and who reads them.

use std::collections::{BTreeMap, BTreeSet};

use kohort::TopicPartition;
use kohort::admin::{
    Admin, AdminError, CommittedOffset, GroupDescription, GroupMember, ListedOffset, OffsetSpec,
};
use serde_json::{Value, json};

use crate::output::{Table, or_dash};

/// Where a group stands in its partitions, and who reads them.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    committed: BTreeMap<TopicPartition, CommittedOffset>,
    owners: BTreeMap<&'a TopicPartition, &'a GroupMember>,
    ends: BTreeMap<TopicPartition, Result<ListedOffset, AdminError>>,
    partitions: BTreeSet<TopicPartition>,
}

/// What is committed of a partition, and where it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) committed: i64,
    pub(super) end: i64,
}

impl Place {
    /// Tells whether anything is counted as lag.
    pub(super) fn has_lag(&self) -> bool {
        self.end > self.committed
    }

    /// Returns how many offsets are ahead in a partition that begins there, if that is known: what was
    /// deleted, nobody waits for.
    pub(super) fn lag_from(&self, start: Option<i64>) -> i64 {
        (self.end - self.committed.max(start.unwrap_or(0))).max(0)
    }
}

/// Asks where a group stands.
pub(super) async fn standing<'a>(
    admin: &Admin,
    group: &'a GroupDescription,
) -> anyhow::Result<Standing<'a>> {
    let committed = admin.group_offsets(&group.group_id).await?;
    let mut owners: BTreeMap<&TopicPartition, &GroupMember> = BTreeMap::new();
    for member in &group.members {
        owners.extend(member.partitions.iter().map(|partition| (partition, member)));
    }
    let partitions: BTreeSet<TopicPartition> =
        committed.keys().chain(owners.keys().copied()).cloned().collect();
    let wanted = partitions.iter().map(|p| (p.clone(), OffsetSpec::Latest)).collect();
    let ends = admin.list_offsets(wanted).await?;
    Ok(Standing { committed, owners, ends, partitions })
}

impl Standing<'_> {
    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        let end = self.ends.get(partition).and_then(|end| end.as_ref().ok());
        end.and_then(|end| end.offset)
    }

    /// Returns what is committed and where the partition ends, where both are known.
    pub(super) fn places(&self) -> BTreeMap<TopicPartition, Place> {
        let place = |(partition, committed): (&TopicPartition, &CommittedOffset)| {
            let end = self.end(partition)?;
            Some((partition.clone(), Place { committed: committed.offset, end }))
        };
        self.committed.iter().filter_map(place).collect()
    }

    /// Returns what is told of a partition.
    fn line(
        &self,
        partition: &TopicPartition,
        ages_ms: &BTreeMap<TopicPartition, i64>,
    ) -> Line<'_> {
        let committed = self.committed.get(partition).map(|committed| committed.offset);
        let end = self.end(partition);
        let lag = committed.zip(end).map(|(committed, end)| (end - committed).max(0));
        let lag_ms = if lag == Some(0) { Some(0) } else { ages_ms.get(partition).copied() };
        Line { committed, end, lag, lag_ms, owner: self.owners.get(partition).copied() }
    }

    /// Returns a JSON object for each partition.
    pub(super) fn json(&self, ages_ms: &BTreeMap<TopicPartition, i64>) -> Vec<Value> {
        let one = |partition: &TopicPartition| {
            let line = self.line(partition, ages_ms);
            json!({
                "topic": &*partition.topic,
                "partition": partition.partition,
                "committed_offset": line.committed,
                "end_offset": line.end,
                "lag": line.lag,
                "lag_ms": line.lag_ms,
                "member": line.owner.map(|member| &member.member_id),
            })
        };
        self.partitions.iter().map(one).collect()
    }

    pub(super) fn table(&self, ages_ms: &BTreeMap<TopicPartition, i64>) -> Table {
        let mut table = Table::new(&[
            "TOPIC",
            "PARTITION",
            "CURRENT-OFFSET",
            "LOG-END-OFFSET",
            "LAG",
            "LAG-SECONDS",
            "MEMBER-ID",
            "CLIENT-ID",
            "HOST",
        ]);
        for partition in &self.partitions {
            let line = self.line(partition, ages_ms);
            table.row([
                partition.topic.to_string(),
                partition.partition.to_string(),
                or_dash(line.committed),
                or_dash(line.end),
                or_dash(line.lag),
                or_dash(line.lag_ms.map(|ms| ms / 1000)),
                or_dash(line.owner.map(|m| &m.member_id)),
                or_dash(line.owner.map(|m| &m.client_id)),
                or_dash(line.owner.map(|m| &m.host)),
            ]);
        }
        table
    }
}

/// What is told of one partition, as far as it is known.
struct Line<'a> {
    committed: Option<i64>,
    end: Option<i64>,
    lag: Option<i64>,
    lag_ms: Option<i64>,
    owner: Option<&'a GroupMember>,
}
