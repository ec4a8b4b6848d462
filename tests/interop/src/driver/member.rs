//! A member of a group: reads, reports, commits what it reported, until told to leave.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use kohort::TopicPartition;
use kohort::consumer::{Consumer, RebalanceEvent, RebalanceEvents, Records};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Command, STALL, Work, say};

/// Starts a member at the client's defaults, but without automatic commits.
pub(super) fn start(bootstrap: &str, command: &Command) -> Result<Work<()>> {
    let mut builder = Consumer::builder()
        .bootstrap_servers(bootstrap)
        .group_id(&command.group)
        .set("client.id", &command.member)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    if let Some(milliseconds) = command.session_ms {
        builder = builder.set("session.timeout.ms", &milliseconds.to_string());
    }
    if let Some(strategy) = &command.strategy {
        builder = builder.set("partition.assignment.strategy", strategy);
    }
    for (name, value) in &command.settings {
        builder = builder.set(name, value);
    }
    let consumer = builder.build()?;
    let events = consumer.rebalance_events()?;
    consumer.subscribe([&command.topic])?;
    let automatic = command.settings.get("enable.auto.commit").is_some_and(|it| it == "true");
    let member = Member { name: command.member.clone(), consumer, automatic };
    let (stop, stopped) = oneshot::channel();
    Ok(Work { stop, ended: tokio::spawn(member.work(events, stopped)) })
}

struct Member {
    name: String,
    consumer: Consumer,
    /// Whether the client commits by itself.
    automatic: bool,
}

impl Member {
    async fn work(self, mut events: RebalanceEvents, mut stop: oneshot::Receiver<()>) {
        loop {
            // All three are cancel-safe: a dropped poll has taken nothing.
            tokio::select! {
                biased;
                _ = &mut stop => break,
                Some(event) = events.next() => self.rebalance(event),
                polled = self.consumer.poll(POLL) => match polled {
                    Ok(records) => self.settle(&records).await,
                    Err(error) => self.say("warned", "error", json!(error.to_string())),
                },
            }
        }
        let owned = self.consumer.assignment();
        let indexes = numbers(owned.iter());
        let name = self.name.clone();
        let left = self.consumer.close(STALL).await;
        say(&json!({ "event": "revoked", "member": name, "partitions": indexes }));
        if let Err(error) = left {
            let error = error.to_string();
            say(&json!({ "event": "failed", "member": name, "error": error }));
        }
    }

    /// What was polled is committed by now, since one thing is done at a time: a revocation needs
    /// nothing but to be acknowledged, which dropping its guard does.
    fn rebalance(&self, event: RebalanceEvent) {
        match event {
            RebalanceEvent::Assigned { added, .. } => {
                self.say("assigned", "partitions", json!(numbers(added.iter())));
            }
            RebalanceEvent::Revoking(guard) => {
                self.say("revoked", "partitions", json!(numbers(guard.partitions().iter())));
            }
            RebalanceEvent::Lost { partitions, .. } => {
                self.say("lost", "partitions", json!(numbers(partitions.iter())));
            }
            _ => {}
        }
    }

    /// Tells of the records at hand and commits behind them.
    async fn settle(&self, records: &Records) {
        if records.is_empty() {
            return;
        }
        let places: Vec<(i32, i64)> =
            records.iter().map(|record| (record.partition, record.offset)).collect();
        self.say("records", "records", json!(places));
        if self.automatic {
            return;
        }
        let positions: BTreeMap<i32, i64> =
            places.into_iter().map(|(partition, offset)| (partition, offset + 1)).collect();
        match self.consumer.commit_sync().await {
            Ok(()) => {
                let offsets: Vec<(i32, i64)> = positions.into_iter().collect();
                self.say("committed", "offsets", json!(offsets));
            }
            Err(error) => self.say("commit_failed", "error", json!(error.to_string())),
        }
    }

    fn say(&self, event: &str, field: &str, what: Value) {
        say(&json!({ "event": event, "member": self.name, field: what }));
    }
}

fn numbers<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> Vec<i32> {
    partitions.map(|partition| partition.partition).collect()
}

const POLL: Duration = Duration::from_millis(100);
