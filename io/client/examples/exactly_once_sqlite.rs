//! Exactly once into a database: results and offsets are written in one transaction, and the database is
//! asked where to go on. Kafka's own offsets are not used.
//!
//! A member that was thought dead and comes back (a zombie) is fenced: whoever is assigned a partition claims
//! it, for which the database raises the partition's epoch, and a transaction under an older one changes nothing.
//! The group's generation would not do: it starts at 1 again when a group was deleted or has expired.
//!
//! `cargo run --example exactly_once_sqlite -- GROUP TOPIC FILE`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kohort::consumer::{Consumer, RebalanceEvent, RebalanceEvents, Record, TopicPartition};
use rusqlite::{Connection, TransactionBehavior, params};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().context("GROUP is missing")?;
    let topic = arguments.next().context("TOPIC is missing")?;
    let mut database = open(&arguments.next().context("FILE is missing")?)?;
    let servers = std::env::var("BOOTSTRAP_SERVERS").unwrap_or("localhost:9092".into());
    let session = std::env::var("SESSION_TIMEOUT").unwrap_or("45s".into());
    let consumer = Consumer::builder()
        .bootstrap_servers(&servers)
        .group_id(&group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", &session)
        .set("heartbeat.interval.ms", "300")
        .build()?;
    let mut events = consumer.rebalance_events()?;
    consumer.subscribe([topic])?;
    let mut claimed = BTreeMap::new();
    let mut fenced = BTreeMap::new();
    loop {
        let records = consumer.poll(Duration::from_secs(1)).await?;
        follow(&consumer, &mut events, &mut database, &mut claimed, &mut fenced).await?;
        for record in &records {
            let partition = record.topic_partition();
            // What was read before the database was asked where to go on is read again from there.
            let Some(claim) = claimed.get_mut(&partition).filter(|it| it.next <= record.offset)
            else {
                continue;
            };
            if store(&mut database, claim.epoch, &record)? {
                claim.next = record.offset + 1;
                println!("stored {partition} @{}", record.offset);
            } else {
                println!("fenced {partition} @{}", record.offset);
                claimed.remove(&partition);
                fenced.insert(partition, Instant::now());
            }
        }
    }
}

/// A partition that is ours to write for.
struct Claim {
    epoch: i64,
    next: i64,
}

/// How long the group may take to say that what was fenced is not ours: longer than a session.
const FENCED_MAX: Duration = Duration::from_secs(60);

/// Claims what was assigned and forgets what was taken away. Fails if somebody else writes for a partition that
/// the group leaves with us: two groups with one database, or a zombie that claimed late. A new start claims anew.
async fn follow(
    consumer: &Consumer,
    events: &mut RebalanceEvents,
    database: &mut Connection,
    claimed: &mut BTreeMap<TopicPartition, Claim>,
    fenced: &mut BTreeMap<TopicPartition, Instant>,
) -> anyhow::Result<()> {
    while let Some(event) = events.try_next() {
        match event {
            RebalanceEvent::Assigned { added, .. } => {
                let ours = consumer.assignment();
                // What moved on meanwhile is another's to claim; the next event tells.
                for partition in added.into_iter().filter(|it| ours.contains(it)) {
                    let claim = claim(database, &partition)?;
                    let _ = consumer.seek(&partition, claim.next).await;
                    println!("claimed {partition} from {} in epoch {}", claim.next, claim.epoch);
                    fenced.remove(&partition);
                    claimed.insert(partition, claim);
                }
            }
            RebalanceEvent::Revoked { partitions } | RebalanceEvent::Lost { partitions, .. } => {
                claimed.retain(|partition, _| !partitions.contains(partition));
                fenced.retain(|partition, _| !partitions.contains(partition));
            }
            // Each record is stored before the next is looked at: there is nothing to finish.
            RebalanceEvent::Revoking(guard) => drop(guard),
            _ => {}
        }
    }
    match fenced.iter().find(|(_, since)| since.elapsed() > FENCED_MAX) {
        Some((partition, _)) => bail!("{partition} is ours, and somebody else writes for it"),
        None => Ok(()),
    }
}

fn open(file: &str) -> anyhow::Result<Connection> {
    let database = Connection::open(file)?;
    database.busy_timeout(Duration::from_secs(10))?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.execute_batch(
        "create table if not exists offsets (
             topic text, part integer, next integer not null, epoch integer not null,
             primary key (topic, part));
         create table if not exists results (
             topic text, part integer, offset integer, value text,
             primary key (topic, part, offset));",
    )?;
    Ok(database)
}

/// Makes a partition ours, and no longer its last owner's, and returns where to go on.
fn claim(database: &mut Connection, partition: &TopicPartition) -> anyhow::Result<Claim> {
    let claim = database.query_row(
        "insert into offsets values (?1, ?2, 0, 1)
         on conflict do update set epoch = epoch + 1 returning epoch, next",
        params![&*partition.topic, partition.partition],
        |row| Ok(Claim { epoch: row.get(0)?, next: row.get(1)? }),
    )?;
    Ok(claim)
}

/// Writes a result and the offset after it, both or neither. Not if the partition has a later owner.
fn store(database: &mut Connection, epoch: i64, record: &Record<'_>) -> anyhow::Result<bool> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let ours = transaction.execute(
        "update offsets set next = ?4 + 1 where topic = ?1 and part = ?2 and epoch = ?3",
        params![record.topic, record.partition, epoch, record.offset],
    )?;
    if ours == 0 {
        return Ok(false);
    }
    let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
    transaction.execute(
        "insert into results values (?1, ?2, ?3, ?4)",
        params![record.topic, record.partition, record.offset, value],
    )?;
    transaction.commit()?;
    Ok(true)
}
