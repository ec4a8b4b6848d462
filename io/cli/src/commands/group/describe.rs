//! `kohort group describe`: what a group has committed, its lag, and who owns what.

use std::collections::BTreeMap;
use std::process::ExitCode;

use kohort::TopicPartition;
use kohort::admin::{Admin, GroupDescription, GroupMember};
use serde_json::{Value, json};

use super::super::Cluster;
use super::find::find;
use super::health::{self, Health};
use super::standing::standing;
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
        let places = standing.places();
        let ages = match health::look(&args.cluster, &admin, &group, &places).await {
            Ok(health) => {
                tell(&group, &health);
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

/// Returns everything that is known of a group; what is not is null.
async fn json(cluster: &Cluster, admin: &Admin, group: &GroupDescription) -> anyhow::Result<Value> {
    let standing = standing(admin, group).await?;
    let health = match health::look(cluster, admin, group, &standing.places()).await {
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
        "last_rebalance": health.as_ref().and_then(|health| {
            Some(story::last_event(health.last_rebalance.as_ref()?, is_stable(group)))
        }),
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
fn tell(group: &GroupDescription, health: &Health) {
    for judged in verdict::judge(&health.facts) {
        if judged.evidence.is_empty() {
            eprintln!("verdict {}", judged.verdict);
        } else {
            eprintln!("verdict {}: {}", judged.verdict, judged.evidence);
        }
    }
    match &health.last_rebalance {
        Some(event) => {
            eprintln!("last rebalance {}", story::tell_last(event, is_stable(group)));
        }
        None => eprintln!("no rebalance in the last hour"),
    }
}

fn is_stable(group: &GroupDescription) -> bool {
    group.state == "Stable"
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
