//! `kohort consume`: records appear on stdout as they arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ArgGroup;
use kohort::TopicPartition;
use kohort::config::{ConsumerConfig, Properties as _};
use kohort::consumer::{CommitError, CommitRefusal, Consumer, OffsetAndMetadata, Record};
use tokio::signal::unix::{SignalKind, signal};

use super::{Cluster, block_on};
use crate::format::{Format, Line};
use crate::output;

/// Write records to stdout as they arrive.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("how").args(["group", "partition"]))]
pub(crate) struct Args {
    /// Topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// Join this consumer group, and commit what was written to stdout
    #[arg(short = 'g', long)]
    group: Option<String>,
    /// Read this partition only; may be repeated. Without a group, all partitions are read
    #[arg(short = 'p', long)]
    partition: Vec<i32>,
    /// Begin with the oldest record; in a group, where it has committed nothing yet
    #[arg(short = 'b', long)]
    from_beginning: bool,
    /// End after this many records
    #[arg(short = 'c', long, value_name = "COUNT")]
    max_messages: Option<u64>,
    /// End where the partitions end now
    #[arg(short = 'e', long)]
    exit_at_end: bool,
    /// Write with kcat's tokens: %t topic, %p partition, %o offset, %k key, %s value, %T timestamp,
    /// %h headers, %K %S lengths, \n \t escapes
    #[arg(short = 'f', long, value_parser = Format::parse, conflicts_with = "json")]
    format: Option<Format>,
    /// Write one JSON object a line
    #[arg(short = 'J', long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// How long one poll waits; signals interrupt it at any time.
const POLL: Duration = Duration::from_secs(1);
/// How long leaving the group may take.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// Consumes until told to stop, or until there is nothing left that was asked for.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let consumer = start(&args).await?;
        // Losing the race to a signal leaves the consumer between two polls or in a dropped one,
        // which has taken nothing; what was written is committed below.
        let ended = tokio::select! {
            ended = consume(&args, &consumer) => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        if let Err(error) = consumer.close(LEAVE_DEADLINE).await {
            eprintln!("kohort: {error}");
        }
        ended.map(|()| ExitCode::SUCCESS)
    })
}

async fn start(args: &Args) -> anyhow::Result<Consumer> {
    let mut config: ConsumerConfig = args.cluster.configure()?;
    let reset = if args.from_beginning { "earliest" } else { "latest" };
    config.set("auto.offset.reset", reset)?;
    config.set("enable.auto.commit", "false")?;
    config.set("allow.auto.create.topics", "false")?;
    if let Some(group) = &args.group {
        config.set("group.id", group)?;
    }
    let admin = args.cluster.admin_beside()?;
    let mut partitions = BTreeSet::new();
    for (name, topic) in admin.describe_topics(args.topics.clone()).await? {
        for partition in &topic?.partitions {
            if args.partition.is_empty() || args.partition.contains(&partition.index) {
                partitions.insert(TopicPartition::new(&*name, partition.index));
            }
        }
    }
    for number in &args.partition {
        if !partitions.iter().any(|p| p.partition == *number) {
            bail!("no topic of `{}` has a partition {number}", args.topics.join(", "));
        }
    }
    let consumer = Consumer::builder().with(|_| config).build()?;
    if args.group.is_some() {
        consumer.subscribe(&args.topics)?;
    } else {
        consumer.assign(partitions).await?;
    }
    Ok(consumer)
}

async fn consume(args: &Args, consumer: &Consumer) -> anyhow::Result<()> {
    let format = match (&args.format, args.json) {
        (Some(format), _) => format.clone(),
        (None, true) => Format::Json,
        (None, false) => Format::Value,
    };
    let mut wanted = args.max_messages.unwrap_or(u64::MAX);
    let mut out = Vec::new();
    while wanted > 0 {
        let records = consumer.poll(POLL).await?;
        let mut written = Vec::new();
        for record in &records {
            if wanted == 0 {
                break;
            }
            wanted -= 1;
            format.write(&mut out, &line(&record))?;
            written.push((record.topic_partition(), record.offset));
        }
        // Records appear as they arrive: one write for each poll, not one when a buffer is full.
        match output::write(&out) {
            Err(error) if output::is_closed_pipe(&error) => return Ok(()),
            wrote => wrote?,
        }
        out.clear();
        if args.group.is_some() && !written.is_empty() {
            // Of a partition's records the last one counts.
            let next: BTreeMap<_, _> = written
                .into_iter()
                .map(|(partition, offset)| (partition, OffsetAndMetadata::new(offset + 1)))
                .collect();
            commit(consumer, next).await?;
        }
        if args.exit_at_end && records.is_empty() && at_end(consumer) {
            break;
        }
    }
    Ok(())
}

/// Commits what was written. What this member was put out of belongs to others by now, who write it again: that is
/// said, and the member, which has joined again, goes on.
async fn commit(
    consumer: &Consumer,
    next: BTreeMap<TopicPartition, OffsetAndMetadata>,
) -> Result<(), CommitError> {
    let failures = match consumer.commit_offsets_sync(next).await {
        Err(CommitError::Partitions { failures })
            if failures.values().all(|why| matches!(why, CommitRefusal::NotOwned)) =>
        {
            failures
        }
        other => return other,
    };
    for partition in failures.keys() {
        eprintln!(
            "kohort: `{partition}` was taken from this member: what was written last of it is not \
             committed, and may be written again"
        );
    }
    Ok(())
}

/// Whether every partition that is owned has been read to its end.
fn at_end(consumer: &Consumer) -> bool {
    let owned = consumer.assignment();
    !owned.is_empty() && owned.iter().all(|partition| consumer.lag(partition) == Some(0))
}

fn line<'a>(record: &Record<'a>) -> Line<'a> {
    Line {
        topic: record.topic,
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key,
        value: record.value,
        headers: record.headers.iter().map(|header| (header.key, header.value)).collect(),
    }
}
