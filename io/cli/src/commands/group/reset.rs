//! `kohort group reset`: moves what a group without members has committed.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ArgGroup;
use kohort::TopicPartition;
use kohort::admin::{Admin, CommittedOffset, OffsetSpec};

use super::super::Cluster;
use super::super::topic::topic_partitions;
use crate::output::{Table, or_dash};

/// Move what a group has committed; shows the plan, and does it with --execute.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("to").required(true))]
#[command(group = ArgGroup::new("scope").required(true).multiple(true))]
pub(super) struct Args {
    /// Id of the group
    group: String,
    /// A topic, or some of its partitions as TOPIC:0,1,2; may be repeated
    #[arg(long, value_name = "TOPIC[:P,..]", group = "scope")]
    topic: Vec<String>,
    /// Every topic the group has committed offsets for
    #[arg(long, group = "scope", conflicts_with = "topic")]
    all_topics: bool,
    /// To the first record that is still there
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// To the end: only new records will be read
    #[arg(long, group = "to")]
    to_latest: bool,
    /// To where it is now: commits the same again
    #[arg(long, group = "to")]
    to_current: bool,
    /// To this offset
    #[arg(long, group = "to", value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// By this many records, back if negative
    #[arg(long, group = "to", value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record at or after this time, in Unix milliseconds
    #[arg(long, group = "to", value_name = "UNIX-MS")]
    to_timestamp: Option<i64>,
    /// Do it; without this the plan is only shown
    #[arg(long, conflicts_with = "dry_run")]
    execute: bool,
    /// Only show the plan, as without --execute
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// What is known of a partition before the reset.
struct Known {
    current: Option<CommittedOffset>,
    start: i64,
    end: i64,
    at_time: Option<i64>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let admin = args.cluster.admin()?;
    refuse_if_at_work(&admin, &args.group).await?;
    let known = look_up(&admin, &args).await?;
    let mut plan = BTreeMap::new();
    let mut table = Table::new(&["TOPIC", "PARTITION", "CURRENT-OFFSET", "NEW-OFFSET", "CHANGE"]);
    for (partition, known) in &known {
        let new = target(&args, partition, known)?;
        let current = known.current.as_ref().map(|c| c.offset);
        table.row([
            partition.topic.to_string(),
            partition.partition.to_string(),
            or_dash(current),
            new.to_string(),
            or_dash(current.map(|current| format!("{:+}", new - current))),
        ]);
        plan.insert(partition.clone(), CommittedOffset { offset: new, ..Default::default() });
    }
    table.print()?;
    if !args.execute {
        eprintln!("nothing was changed; add --execute to do it");
        return Ok(ExitCode::SUCCESS);
    }
    let results = admin.alter_group_offsets(&args.group, plan).await?;
    let results = results.into_iter().map(|(p, result)| (p.to_string(), result)).collect();
    Ok(super::super::each(results, |_| {}))
}

async fn refuse_if_at_work(admin: &Admin, group: &str) -> anyhow::Result<()> {
    let mut described = admin.describe_groups(vec![group.to_owned()]).await?;
    match described.remove(group) {
        Some(Ok(description)) if !description.members.is_empty() => bail!(
            "group `{group}` is {} with {} members; offsets can be reset once they have stopped",
            description.state,
            description.members.len()
        ),
        // A group that is not there yet may be given offsets to start from.
        _ => Ok(()),
    }
}

async fn look_up(admin: &Admin, args: &Args) -> anyhow::Result<BTreeMap<TopicPartition, Known>> {
    let mut committed = admin.group_offsets(&args.group).await?;
    let partitions = scope(admin, args, &committed).await?;
    if partitions.is_empty() {
        bail!("group `{}` has committed nothing; name the topics with --topic", args.group);
    }
    let listed = |spec| {
        let wanted = partitions.iter().map(|p| (p.clone(), spec)).collect();
        admin.list_offsets(wanted)
    };
    let mut starts = listed(OffsetSpec::Earliest).await?;
    let mut ends = listed(OffsetSpec::Latest).await?;
    let mut times = match args.to_timestamp {
        Some(time) => listed(OffsetSpec::AtOrAfter(time)).await?,
        None => BTreeMap::new(),
    };
    let mut known = BTreeMap::new();
    for partition in partitions {
        let take = |of: &mut BTreeMap<_, Result<kohort::admin::ListedOffset, _>>| {
            of.remove(&partition).transpose().map(|found| found.and_then(|listed| listed.offset))
        };
        let start = take(&mut starts)?.with_context(|| format!("{partition} has no start"))?;
        let end = take(&mut ends)?.with_context(|| format!("{partition} has no end"))?;
        let at_time = take(&mut times)?;
        let current = committed.remove(&partition);
        known.insert(partition, Known { current, start, end, at_time });
    }
    Ok(known)
}

async fn scope(
    admin: &Admin,
    args: &Args,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
) -> anyhow::Result<Vec<TopicPartition>> {
    if args.all_topics {
        return Ok(committed.keys().cloned().collect());
    }
    let mut partitions = Vec::new();
    for text in &args.topic {
        let (topic, numbers) = topic_partitions(text)?;
        let numbers = match numbers {
            Some(numbers) => numbers,
            None => match admin.describe_topics(vec![topic.clone()]).await?.remove(&topic) {
                Some(described) => described?.partitions.iter().map(|p| p.index).collect(),
                None => Vec::new(),
            },
        };
        partitions.extend(numbers.into_iter().map(|p| TopicPartition::new(&*topic, p)));
    }
    partitions.sort();
    partitions.dedup();
    Ok(partitions)
}

/// Where one partition goes; beyond start or end it stops there, and says so.
fn target(args: &Args, partition: &TopicPartition, known: &Known) -> anyhow::Result<i64> {
    let current = || {
        known.current.as_ref().map(|c| c.offset).with_context(|| {
            format!("group `{}` has committed nothing for {partition}", args.group)
        })
    };
    let wanted = if args.to_earliest {
        known.start
    } else if args.to_latest {
        known.end
    } else if args.to_current {
        current()?
    } else if let Some(offset) = args.to_offset {
        offset
    } else if let Some(by) = args.shift_by {
        current()?.saturating_add(by)
    } else {
        known.at_time.unwrap_or_else(|| {
            eprintln!("{partition} has no record at or after that time; it goes to its end");
            known.end
        })
    };
    let new = wanted.clamp(known.start, known.end);
    if new != wanted {
        eprintln!(
            "offset {wanted} of {partition} is outside {} to {}; it goes to {new}",
            known.start, known.end
        );
    }
    Ok(new)
}
