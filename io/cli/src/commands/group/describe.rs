//! `kohort group describe`: what a group has committed, its lag, and who owns what.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::bail;
use kohort::TopicPartition;
use kohort::admin::{
    Admin, AdminError, CommittedOffset, GroupDescription, GroupMember, ListedOffset, OffsetSpec,
};
use serde_json::{Value, json};

use super::super::Cluster;
use super::health::{self, Health};
use crate::groups::verdict::Judgement;
use crate::groups::{story, verdict};
use crate::output::{Table, or_dash, print};

/// Show what a group has committed, its lag, and who owns what.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the group
    group: String,
    /// Show the members and what each owns instead
    #[arg(long)]
    members: bool,
    /// Write all of it as one JSON object
    #[arg(long, conflicts_with = "members")]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let admin = args.cluster.admin()?;
    let group = find(&admin, &args.group).await?;
    if args.json {
        print(&format!("{}\n", json(&args.cluster, &admin, &group).await?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let assignor = if group.assignor.is_empty() { "-" } else { &group.assignor };
    eprintln!(
        "group `{}` is {}: {}, assignor {assignor}, coordinator {} ({})",
        group.group_id,
        group.state,
        story::members(group.members.len()),
        group.coordinator.id,
        group.coordinator.address()
    );
    if args.members {
        members(&group).print()?;
    } else {
        let standing = standing(&admin, &group).await?;
        let lags = standing.lags();
        let ages = match look(&args.cluster, &admin, &group, &lags).await {
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

/// Finds a group. Of one that is of another kind than can be described, it says so.
pub(super) async fn find(admin: &Admin, group: &str) -> anyhow::Result<GroupDescription> {
    let mut groups = admin.describe_groups(vec![group.to_owned()]).await?;
    let described = groups
        .remove(group)
        .ok_or_else(|| anyhow::anyhow!("the broker's answer does not mention group `{group}`"))?;
    if described.is_err()
        && let Some(listed) = admin.list_groups().await?.iter().find(|it| it.group_id == group)
        && !matches!(&*listed.group_type, "" | "classic" | "consumer")
    {
        bail!("group `{group}` is a {} group, which is not supported", listed.group_type);
    }
    Ok(described?)
}

async fn look(
    cluster: &Cluster,
    admin: &Admin,
    group: &GroupDescription,
    lags: &BTreeMap<TopicPartition, (i64, i64)>,
) -> anyhow::Result<Health> {
    health::look(cluster, admin, &group.group_id, group.members.len(), lags).await
}

/// Returns everything that is known of a group; what is not is null.
async fn json(cluster: &Cluster, admin: &Admin, group: &GroupDescription) -> anyhow::Result<Value> {
    let standing = standing(admin, group).await?;
    let health = match look(cluster, admin, group, &standing.lags()).await {
        Ok(health) => Some(health),
        Err(error) => {
            eprintln!("verdict unknown: {error:#}");
            None
        }
    };
    let nothing = BTreeMap::new();
    let ages = health.as_ref().map_or(&nothing, |health| &health.ages_ms);
    let place = |of: &TopicPartition| json!({ "topic": &*of.topic, "partition": of.partition });
    let member = |member: &GroupMember| {
        json!({
            "member": member.member_id,
            "instance": member.group_instance_id,
            "client": member.client_id,
            "host": member.host,
            "partitions": member.partitions.iter().map(place).collect::<Vec<_>>(),
        })
    };
    let judged = |judged: Judgement| json!({ "verdict": judged.verdict.to_string(), "evidence": judged.evidence });
    let judgements =
        |health: &Health| verdict::judge(&health.facts).into_iter().map(judged).collect();
    Ok(json!({
        "group": group.group_id,
        "state": group.state,
        "assignor": Some(&group.assignor).filter(|assignor| !assignor.is_empty()),
        "coordinator": { "id": group.coordinator.id, "address": group.coordinator.address() },
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
        "partitions": standing.json(ages),
        "verdicts": health.as_ref().map_or(Value::Null, judgements),
        "last_rebalance": health.as_ref().and_then(|health| health.last_rebalance.as_ref()),
    }))
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
    for judged in verdict::judge(&health.facts) {
        if judged.evidence.is_empty() {
            eprintln!("verdict {}", judged.verdict);
        } else {
            eprintln!("verdict {}: {}", judged.verdict, judged.evidence);
        }
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

    /// Returns a JSON object for each partition.
    fn json(&self, ages_ms: &BTreeMap<TopicPartition, i64>) -> Vec<Value> {
        let one = |partition: &TopicPartition| {
            let committed = self.committed.get(partition).map(|committed| committed.offset);
            let end = self.end(partition);
            let lag = committed.zip(end).map(|(committed, end)| (end - committed).max(0));
            let age = if lag == Some(0) { Some(0) } else { ages_ms.get(partition).copied() };
            json!({
                "topic": &*partition.topic,
                "partition": partition.partition,
                "committed_offset": committed,
                "end_offset": end,
                "lag": lag,
                "lag_ms": age,
                "member": self.owners.get(partition).map(|member| &member.member_id),
            })
        };
        self.partitions.iter().map(one).collect()
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
