//! Our own client as one more driver: told what to do by JSON lines on stdin, answering by JSON lines
//! on stdout, as `Driver.java`, `driver.py` and `main.go` are. README.md has the commands and events.
//!
//! One thread runs everything, as in a small application: the members and the producers at work are
//! tasks beside the one that takes commands.

mod load;
mod member;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kohort::admin::{Admin, NewTopic};
use kohort::config::{AdminConfig, Properties};
use kohort::consumer::{Consumer, Record, TopicPartition};
use kohort::producer::{Header, Producer, ProducerRecord};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::sample::{Sample, hex, lay_out};

/// Carries out commands until stdin ends.
pub(crate) fn run(bootstrap: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut driver = Driver {
            bootstrap: bootstrap.to_owned(),
            members: BTreeMap::new(),
            loads: BTreeMap::new(),
        };
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            let command: Command = serde_json::from_str(&line)?;
            match driver.carry_out(&command).await {
                Ok(answer) => say(&json!({ "id": command.id, "ok": answer })),
                Err(error) => say(&json!({ "id": command.id, "error": format!("{error:#}") })),
            }
        }
        // The harness is gone or done with us, and members need no farewell.
        std::process::exit(0)
    })
}

/// Writes one line, whole.
fn say(line: &Value) {
    // A harness that is gone hears nothing, and the end of stdin ends this process too.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// One command: its name, and the fields of all commands.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Command {
    id: u64,
    cmd: String,
    topic: String,
    partitions: i32,
    seed: u64,
    from: u64,
    count: u64,
    codec: String,
    base_ts: u64,
    values: bool,
    group: String,
    member: String,
    session_ms: Option<u64>,
    strategy: Option<String>,
    /// More properties, by Kafka's names.
    settings: BTreeMap<String, String>,
    load: String,
    /// How long after one record a producer at work sends the next; as told in `load` if not given.
    pause_ms: Option<u64>,
}

struct Driver {
    bootstrap: String,
    members: BTreeMap<String, Work<()>>,
    loads: BTreeMap<String, Work<u64>>,
}

/// Something at work in the background until it is told to stop.
struct Work<T> {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<T>,
}

impl<T> Work<T> {
    /// Has it stop and returns what it ends with.
    async fn finish(self) -> Result<T> {
        // One that ended by itself has told why.
        let _ = self.stop.send(());
        self.ended.await.context("the work in the background panicked")
    }
}

impl Driver {
    async fn carry_out(&mut self, command: &Command) -> Result<Value> {
        match &*command.cmd {
            "version" => Ok(json!({ "version": env!("CARGO_PKG_VERSION") })),
            "create" => self.create(command).await,
            "produce" => self.produce(command).await,
            "consume" => self.consume(command).await,
            "committed" => self.committed(command).await,
            "member.start" => {
                let member = member::start(&self.bootstrap, command)?;
                self.members.insert(command.member.clone(), member);
                Ok(json!({}))
            }
            "member.stop" => {
                let member = self.members.remove(&command.member);
                member.context("no such member")?.finish().await?;
                Ok(json!({}))
            }
            "load.start" => {
                let load = load::start(&self.bootstrap, command)?;
                self.loads.insert(command.load.clone(), load);
                Ok(json!({}))
            }
            "load.stop" => {
                let load = self.loads.remove(&command.load).context("no such load")?;
                Ok(json!({ "sent": load.finish().await? }))
            }
            other => bail!("unknown command `{other}`"),
        }
    }

    fn admin(&self) -> Result<Admin> {
        let config = AdminConfig::from_pairs([("bootstrap.servers", &*self.bootstrap)])?;
        Ok(Admin::new(config)?)
    }

    async fn create(&self, command: &Command) -> Result<Value> {
        let topic = NewTopic::new(&command.topic).partitions(command.partitions);
        self.admin()?.create_topic(topic).await?;
        Ok(json!({}))
    }

    async fn produce(&self, command: &Command) -> Result<Value> {
        let producer = Producer::builder()
            .set("bootstrap.servers", &self.bootstrap)
            .set("compression.type", &command.codec)
            .build()?;
        let mut deliveries = Vec::new();
        for i in command.from..command.from + command.count {
            let sample = Sample::new(command.seed, i);
            let headers: Vec<Header<'_>> = sample
                .headers
                .iter()
                .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
                .collect();
            let partition = (i % command.partitions as u64) as i32;
            let mut record = ProducerRecord::to(&command.topic)
                .headers(&headers)
                .partition(partition)
                .timestamp((command.base_ts + i) as i64);
            if let Some(key) = &sample.key {
                record = record.key(key);
            }
            if let Some(value) = &sample.value {
                record = record.value(value);
            }
            deliveries.push(producer.send(record).await?);
        }
        for delivery in deliveries {
            delivery.await?;
        }
        producer.close(STALL).await?;
        Ok(json!({}))
    }

    async fn consume(&self, command: &Command) -> Result<Value> {
        let consumer = Consumer::builder().bootstrap_servers(&self.bootstrap).build()?;
        let all = command.all_partitions();
        let ends = consumer.end_offsets(all.clone()).await?;
        ensure!(ends.len() == all.len(), "only {ends:?} of the ends are known");
        consumer.assign(all.clone()).await?;
        consumer.seek_to_beginning(all.clone()).await?;
        let mut tallies: Vec<Tally> = all.iter().map(|_| Tally::default()).collect();
        let mut seen: Vec<(i32, i64, i64)> = Vec::new();
        let mut deadline = Instant::now() + STALL;
        let at_end = |partition: &TopicPartition| {
            consumer.position(partition).unwrap_or(0) >= ends[partition]
        };
        while !all.iter().all(at_end) {
            ensure!(Instant::now() < deadline, "no record for {STALL:?}, ends {ends:?}");
            let records = consumer.poll(POLL).await?;
            for record in &records {
                deadline = Instant::now() + STALL;
                tallies[record.partition as usize].add(&record);
                if command.values {
                    let value = std::str::from_utf8(record.value.unwrap_or_default())?;
                    seen.push((record.partition, record.offset, value.parse()?));
                }
            }
        }
        consumer.close(STALL).await?;
        let digests: Vec<Value> = tallies.into_iter().map(Tally::finish).collect();
        let mut answer = json!({ "partitions": digests });
        if command.values {
            answer["records"] = json!(seen);
        }
        Ok(answer)
    }

    async fn committed(&self, command: &Command) -> Result<Value> {
        let found = self.admin()?.group_offsets(&command.group).await?;
        let offset = |partition| found.get(&partition).map_or(-1, |committed| committed.offset);
        let offsets: Vec<i64> = command.all_partitions().into_iter().map(offset).collect();
        Ok(json!({ "offsets": offsets }))
    }
}

impl Command {
    fn all_partitions(&self) -> Vec<TopicPartition> {
        (0..self.partitions).map(|index| TopicPartition::new(&*self.topic, index)).collect()
    }
}

/// Counts and digests the records of one partition in the order they were read.
#[derive(Default)]
struct Tally {
    count: u64,
    digest: Sha256,
}

impl Tally {
    fn add(&mut self, record: &Record<'_>) {
        self.count += 1;
        let headers: Vec<_> =
            record.headers.iter().map(|header| (header.key, header.value)).collect();
        let (offset, timestamp) = (record.offset as u64, record.timestamp as u64);
        self.digest.update(lay_out(offset, timestamp, record.key, record.value, &headers));
    }

    fn finish(self) -> Value {
        json!({ "count": self.count, "sha256": hex(&self.digest.finalize()) })
    }
}

/// How long nothing may arrive before a command gives up.
const STALL: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
