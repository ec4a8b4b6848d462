//! One member of the demo's group: keeps the average of a field per key, commits, and reports what
//! it does on stdout.
//!
//! It takes two words on stdin: `leave` ends it in good order; `stay` lets it work on without
//! reporting after its parent is gone. The end of stdin without a word means that the parent died.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kohort::consumer::{Consumer, RebalanceEvent, Records, TopicPartition};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};

use super::event::{MemberEvent, What, Worked};
use crate::commands::block_on;

/// A member of the demo's group.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    bootstrap_server: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    name: String,
    #[arg(long)]
    key: String,
    #[arg(long)]
    value: Option<String>,
    #[arg(long)]
    session_timeout_ms: u32,
}

/// How long one poll waits for records.
const POLL: Duration = Duration::from_millis(200);
/// How often positions are committed: what was processed since is read again after a crash.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// How long leaving the group may take.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// Works until it is told to leave.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let mut member = Member { reporting: true, value: args.value.clone() };
        if let Err(error) = member.work(&args).await {
            member.report(What::Failed { why: format!("{error:#}") });
            return Err(error);
        }
        Ok(ExitCode::SUCCESS)
    })
}

struct Member {
    reporting: bool,
    value: Option<String>,
}

impl Member {
    async fn work(&mut self, args: &Args) -> anyhow::Result<()> {
        let consumer = Consumer::builder()
            .bootstrap_servers(&args.bootstrap_server)
            .group_id(&args.group)
            .set("client.id", &args.name)
            .set("session.timeout.ms", &args.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", &(args.session_timeout_ms / 10).to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .build()?;
        let mut events = consumer.rebalance_events()?;
        consumer.subscribe([&args.topic])?;
        let mut words = BufReader::new(tokio::io::stdin()).lines();
        let mut listening = true;
        let mut commit_due = Instant::now() + COMMIT_INTERVAL;
        loop {
            // All three are cancel-safe: a dropped poll has taken nothing, a dropped wait for an
            // event or for a line leaves both where they were.
            tokio::select! {
                biased;
                Some(event) = events.next() => self.rebalance(&consumer, event).await,
                word = next_word(&mut words), if listening => match word.as_deref() {
                    Some("stay") => (self.reporting, listening) = (false, false),
                    _ => break,
                },
                records = consumer.poll(POLL) => {
                    let records = records?;
                    self.process(&records, &args.key);
                }
            }
            if Instant::now() >= commit_due {
                commit_due = Instant::now() + COMMIT_INTERVAL;
                self.commit(&consumer).await;
            }
        }
        self.commit(&consumer).await;
        // It committed above, and the others hear of its end in any case.
        let _ = consumer.close(LEAVE_DEADLINE).await;
        Ok(())
    }

    async fn rebalance(&self, consumer: &Consumer, event: RebalanceEvent) {
        match event {
            RebalanceEvent::Assigned { added, .. } => {
                self.report(What::Assigned { partitions: numbers(added.iter()) });
            }
            RebalanceEvent::Revoking(guard) => {
                // Whatever was polled is processed by now: the loop does one thing at a time.
                // Dropping the guard is what acknowledges, so the commit goes first.
                self.commit(consumer).await;
                self.report(What::Revoked { partitions: numbers(guard.partitions().iter()) });
                drop(guard);
            }
            RebalanceEvent::Lost { partitions, .. } => {
                self.report(What::Lost { partitions: numbers(partitions.iter()) });
            }
            _ => {}
        }
    }

    fn process(&self, records: &Records, key: &str) {
        let mut worked: BTreeMap<i32, Vec<Worked>> = BTreeMap::new();
        for record in records {
            let json: Value =
                serde_json::from_slice(record.value.unwrap_or_default()).unwrap_or(Value::Null);
            let value = self.value.as_ref().and_then(|field| json.get(field)?.as_f64());
            let key = record.key.map_or_else(
                || json.get(key).map(ToString::to_string).unwrap_or_default(),
                |key| String::from_utf8_lossy(key).into_owned(),
            );
            worked.entry(record.partition).or_default().push(Worked(record.offset, key, value));
        }
        for (partition, records) in worked {
            self.report(What::Processed { partition, records });
        }
    }

    async fn commit(&self, consumer: &Consumer) {
        let positions: Vec<(i32, i64)> = consumer
            .assignment()
            .iter()
            .filter_map(|partition| Some((partition.partition, consumer.position(partition)?)))
            .collect();
        if let Err(error) = consumer.commit_sync().await {
            // Nothing is lost: whoever owns the partitions next reads these records again.
            eprintln!("commit: {error}");
            return;
        }
        for (partition, offset) in positions {
            self.report(What::Committed { partition, offset });
        }
    }

    fn report(&self, what: What) {
        if !self.reporting {
            return;
        }
        let mut line = serde_json::to_vec(&MemberEvent::now(what)).unwrap_or_default();
        line.push(b'\n');
        // If the parent is gone nobody reads; the end of stdin will say what to do.
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}

/// The next word of the parent; none at the end of stdin, or if it cannot be read.
async fn next_word(words: &mut Lines<BufReader<Stdin>>) -> Option<String> {
    words.next_line().await.ok().flatten()
}

fn numbers<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> Vec<i32> {
    partitions.map(|partition| partition.partition).collect()
}
