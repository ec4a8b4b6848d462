//! `kohort group reset`: moves what a group without members has committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::ArgGroup;
use kohort::TopicPartition;
use kohort::admin::{Adjusted, Admin, AdminError, CommittedOffset, PlannedReset, ResetTo};
use kohort::config::iso_duration;

use super::super::Cluster;
use super::super::topic::topic_partitions;
use crate::datetime::unix_ms;
use crate::groups::story;
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
    /// To where it is now: commits the same again, or the end where nothing is committed
    #[arg(long, group = "to")]
    to_current: bool,
    /// To this offset
    #[arg(long, group = "to", value_name = "OFFSET", allow_negative_numbers = true, value_parser = offset)]
    to_offset: Option<i64>,
    /// By this many records, back if negative
    #[arg(long, group = "to", value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record at or after this time, in Unix milliseconds
    #[arg(long, group = "to", value_name = "UNIX-MS")]
    to_timestamp: Option<i64>,
    /// To the first record at or after this time, in UTC unless it names another zone
    #[arg(long, group = "to", value_name = "YYYY-MM-DDTHH:MM:SS.mmm[+HH:MM]", value_parser = unix_ms)]
    to_datetime: Option<i64>,
    /// To the first record that is no older than this, such as PT1H30M or P7D
    #[arg(long, group = "to", value_name = "ISO-8601", value_parser = duration)]
    by_duration: Option<Duration>,
    /// To the offsets in a file, a line each: TOPIC,PARTITION,OFFSET, or with the group before them
    #[arg(long, groups = ["to", "scope"], value_name = "FILE", conflicts_with_all = ["topic", "all_topics"])]
    from_file: Option<PathBuf>,
    /// Do it; without this the plan is only shown
    #[arg(long, conflicts_with = "dry_run")]
    execute: bool,
    /// Only show the plan, as without --execute
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let admin = args.cluster.admin()?;
    let to = target(&args)?;
    refuse_if_at_work(&admin, &args.group).await?;
    let partitions = scope(&admin, &args, &to).await?;
    let plan = admin.plan_reset(&args.group, partitions, &to).await.map_err(with_a_way)?;
    if plan.is_empty() {
        bail!("group `{}` has committed nothing; name the topics with --topic", args.group);
    }
    show(&plan)?;
    if !args.execute {
        eprintln!("nothing was changed; add --execute to do it");
        return Ok(ExitCode::SUCCESS);
    }
    let offset =
        |planned: PlannedReset| CommittedOffset { offset: planned.offset, ..Default::default() };
    let plan = plan.into_iter().map(|(partition, planned)| (partition, offset(planned))).collect();
    let results = admin.alter_group_offsets(&args.group, plan).await?;
    let results = results.into_iter().map(|(p, result)| (p.to_string(), result)).collect();
    Ok(super::super::each(results, |_| {}))
}

/// Tells how to go on where a group has no place to start from.
fn with_a_way(error: AdminError) -> anyhow::Error {
    match error {
        AdminError::NothingCommitted { .. } => anyhow!(
            "{error}; name others with --topic TOPIC:P, or give it a place with --to-earliest, --to-latest \
             or --to-offset"
        ),
        error => error.into(),
    }
}

/// Shows what is to be done, and says where that is not quite what was asked for.
fn show(plan: &BTreeMap<TopicPartition, PlannedReset>) -> anyhow::Result<()> {
    let mut table = Table::new(&["TOPIC", "PARTITION", "CURRENT-OFFSET", "NEW-OFFSET", "CHANGE"]);
    for (partition, PlannedReset { current, offset, adjusted }) in plan {
        match adjusted {
            Some(Adjusted::OutOfRange { wanted }) => {
                eprintln!("{partition} does not reach to offset {wanted}; it goes to {offset}");
            }
            Some(Adjusted::NoSuchRecord) => {
                eprintln!("{partition} has no record at or after that time; it goes to its end");
            }
            Some(Adjusted::NothingCommitted) => {
                eprintln!("{partition} has nothing committed to stay at; it goes to its end");
            }
            _ => {}
        }
        table.row([
            partition.topic.to_string(),
            partition.partition.to_string(),
            or_dash(*current),
            offset.to_string(),
            or_dash(current.map(|current| format!("{:+}", offset - current))),
        ]);
    }
    table.print()?;
    Ok(())
}

/// Returns where the arguments say that the group goes.
fn target(args: &Args) -> anyhow::Result<ResetTo> {
    Ok(if args.to_earliest {
        ResetTo::Earliest
    } else if args.to_latest {
        ResetTo::Latest
    } else if args.to_current {
        ResetTo::Current
    } else if let Some(offset) = args.to_offset {
        ResetTo::Offset(offset)
    } else if let Some(by) = args.shift_by {
        ResetTo::Shift(by)
    } else if let Some(age) = args.by_duration {
        ResetTo::NoOlderThan(age)
    } else if let Some(time) = args.to_timestamp.or(args.to_datetime) {
        ResetTo::AtOrAfter(time)
    } else if let Some(file) = &args.from_file {
        ResetTo::Offsets(read_offsets(file, &args.group)?)
    } else {
        bail!("say where the group is to go");
    })
}

/// Reads lines of TOPIC,PARTITION,OFFSET; those that begin with another group's id are passed over.
fn read_offsets(file: &Path, group: &str) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut offsets = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(|f| f.trim().trim_matches('"')).collect();
        let (topic, partition, offset) = match fields[..] {
            [topic, partition, offset] => (topic, partition, offset),
            [of, topic, partition, offset] if of == group => (topic, partition, offset),
            [_, _, _, _] => continue,
            _ => bail!("{}:{}: it is not TOPIC,PARTITION,OFFSET", file.display(), index + 1),
        };
        let numbers = (partition.parse().ok()).zip(offset.parse().ok());
        let Some((partition, offset)) = numbers.filter(|(p, offset)| *p >= 0 && *offset >= 0)
        else {
            bail!("{}:{}: partition and offset are numbers from 0 on", file.display(), index + 1);
        };
        offsets.insert(TopicPartition::new(topic, partition), offset);
    }
    if offsets.is_empty() {
        bail!("{} has no offsets for group `{group}`", file.display());
    }
    Ok(offsets)
}

fn duration(text: &str) -> Result<Duration, String> {
    iso_duration(text).ok_or_else(|| "it is written like PT1H30M or P7D".to_owned())
}

fn offset(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(offset) if offset >= 0 => Ok(offset),
        Ok(_) => {
            Err("an offset is 0 or more; --shift-by goes back from where the group is".to_owned())
        }
        Err(_) => Err("it is no number".to_owned()),
    }
}

async fn refuse_if_at_work(admin: &Admin, group: &str) -> anyhow::Result<()> {
    let mut described = admin.describe_groups(vec![group.to_owned()]).await?;
    match described.remove(group) {
        Some(Ok(description)) if !description.members.is_empty() => bail!(
            "group `{group}` is {} with {}; offsets can be reset once they have stopped",
            description.state,
            story::members(description.members.len())
        ),
        // A group that is not there yet may be given offsets to start from.
        _ => Ok(()),
    }
}

/// Returns the partitions that the arguments name; nothing for all that the group has committed.
async fn scope(
    admin: &Admin,
    args: &Args,
    to: &ResetTo,
) -> anyhow::Result<Option<Vec<TopicPartition>>> {
    if let ResetTo::Offsets(offsets) = to {
        return Ok(Some(offsets.keys().cloned().collect()));
    }
    if args.all_topics {
        return Ok(None);
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
    Ok(Some(partitions))
}
