//! `kohort group describe`: what a group has committed, its lag, and who owns what.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use kohort::TopicPartition;
use kohort::admin::{
    Admin, AdminError, CommittedOffset, GroupDescription, GroupMember, ListedOffset, OffsetSpec,
};

use super::super::Cluster;
use super::health::{self, Health};
use crate::groups::{story, verdict};
use crate::output::{Table, or_dash};

/// Show what a group has committed, its lag, and who owns what.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the group
    group: String,
    /// Show the members and what each owns instead
    #[arg(long)]
    members: bool,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let admin = args.cluster.admin()?;
    let mut groups = admin.describe_groups(vec![args.group.clone()]).await?;
    let group = groups.remove(&args.group).ok_or_else(|| {
        anyhow::anyhow!("the broker's answer does not mention group `{}`", args.group)
    })??;
    let assignor = if group.assignor.is_empty() { "-" } else { &group.assignor };
    eprintln!(
        "group `{}` is {}: {} members, assignor {assignor}, coordinator {} ({})",
        group.group_id,
        group.state,
        group.members.len(),
        group.coordinator.id,
        group.coordinator.address()
    );
    if args.members {
        members(&group).print()?;
    } else {
        let standing = standing(&admin, &group).await?;
        let lags = standing.lags();
        let members = group.members.len();
        let looked = health::look(&args.cluster, &admin, &group.group_id, members, &lags).await;
        let ages = match looked {
            Ok(health) => {
                tell(&health);
                health.ages_ms
            }
            Err(error) => {
                eprintln!("verdict unknown: {error:#}");
                BTreeMap::new()
            }
        };
        standing.table(&ages).print()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn members(group: &GroupDescription) -> Table {
    let mut table =
        Table::new(&["MEMBER-ID", "INSTANCE-ID", "CLIENT-ID", "HOST", "#PARTITIONS", "PARTITIONS"]);
    for member in &group.members {
        table.row([
            member.member_id.clone(),
            or_dash(member.group_instance_id.as_ref()),
            member.client_id.clone(),
            member.host.clone(),
            member.partitions.len().to_string(),
            or_dash(Some(ranges(&member.partitions)).filter(|text| !text.is_empty())),
        ]);
    }
    table
}

/// Says how the group is doing, and what happened to it last.
fn tell(health: &Health) {
    let judged = verdict::judge(&health.facts);
    if judged.evidence.is_empty() {
        eprintln!("verdict {}", judged.verdict);
    } else {
        eprintln!("verdict {}: {}", judged.verdict, judged.evidence);
    }
    match &health.last_rebalance {
        Some(event) => eprintln!("last rebalance {}", story::tell(event)),
        None => eprintln!("no rebalance in the last hour"),
    }
}

/// Where a group stands in its partitions, and who reads them.
struct Standing<'a> {
    committed: BTreeMap<TopicPartition, CommittedOffset>,
    owners: BTreeMap<&'a TopicPartition, &'a GroupMember>,
    ends: BTreeMap<TopicPartition, Result<ListedOffset, AdminError>>,
    partitions: BTreeSet<TopicPartition>,
}

async fn standing<'a>(admin: &Admin, group: &'a GroupDescription) -> anyhow::Result<Standing<'a>> {
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

    /// Returns what is committed and how many records are ahead of it, where anything is committed.
    fn lags(&self) -> BTreeMap<TopicPartition, (i64, i64)> {
        let lag = |(partition, committed): (&TopicPartition, &CommittedOffset)| {
            let lag = (self.end(partition)? - committed.offset).max(0);
            Some((partition.clone(), (committed.offset, lag)))
        };
        self.committed.iter().filter_map(lag).collect()
    }

    fn table(&self, ages_ms: &BTreeMap<TopicPartition, i64>) -> Table {
        let Self { committed, owners, partitions, .. } = self;
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
        for partition in partitions {
            let current = committed.get(partition).map(|c: &CommittedOffset| c.offset);
            let end = self.end(partition);
            let lag = current.zip(end).map(|(current, end)| (end - current).max(0));
            let owner = owners.get(partition);
            table.row([
                partition.topic.to_string(),
                partition.partition.to_string(),
                or_dash(current),
                or_dash(end),
                or_dash(lag),
                or_dash(if lag == Some(0) {
                    Some(0)
                } else {
                    ages_ms.get(partition).map(|ms| ms / 1000)
                }),
                or_dash(owner.map(|m| &m.member_id)),
                or_dash(owner.map(|m| &m.client_id)),
                or_dash(owner.map(|m| &m.host)),
            ]);
        }
        table
    }
}

/// Writes sorted partitions in short: `orders:0-2,5 users:1`.
fn ranges(partitions: &[TopicPartition]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < partitions.len() {
        let first = &partitions[at];
        let mut last = first.partition;
        while partitions
            .get(at + 1)
            .is_some_and(|p| p.topic == first.topic && p.partition == last + 1)
        {
            at += 1;
            last += 1;
        }
        let same_topic = at_topic(partitions, first);
        let lead = match (out.is_empty(), same_topic) {
            (_, false) => ",".to_owned(),
            (true, true) => format!("{}:", first.topic),
            (false, true) => format!(" {}:", first.topic),
        };
        out.push_str(&lead);
        out.push_str(&if last == first.partition {
            last.to_string()
        } else {
            format!("{}-{last}", first.partition)
        });
        at += 1;
    }
    out
}

/// Whether `partition` is the first of its topic.
fn at_topic(partitions: &[TopicPartition], partition: &TopicPartition) -> bool {
    partitions.iter().find(|p| p.topic == partition.topic) == Some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_written_as_a_range() {
        let partitions: Vec<TopicPartition> =
            [("a", 0), ("a", 1), ("a", 2), ("a", 5), ("b", 1), ("c", 3), ("c", 4)]
                .map(|(topic, partition)| TopicPartition::new(topic, partition))
                .to_vec();
        assert_eq!(ranges(&partitions), "a:0-2,5 b:1 c:3-4");
        assert_eq!(ranges(&[]), "");
    }
}
