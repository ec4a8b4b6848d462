//! Exactly once into a database: results and offsets are written in one transaction, and the database is
//! asked where to go on. Kafka's own offsets are not used.
//!
//! A member that was thought dead and comes back (a zombie) is fenced: each owner of a partition writes
//! its generation beside the offset, and a transaction of an older one changes nothing.
//!
//! `cargo run --example exactly_once_sqlite -- GROUP TOPIC FILE`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use kohort::consumer::{Consumer, RebalanceEvent, RebalanceEvents, Record, TopicPartition};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

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
    loop {
        let records = consumer.poll(Duration::from_secs(1)).await?;
        follow(&consumer, &mut events, &mut database, &mut claimed).await?;
        for record in &records {
            let partition = record.topic_partition();
            // What was read before the database was asked where to go on is read again from there.
            let Some(claim) = claimed.get_mut(&partition).filter(|it| it.next <= record.offset)
            else {
                continue;
            };
            if store(&mut database, claim.generation, &record)? {
                claim.next = record.offset + 1;
                println!("stored {partition} @{}", record.offset);
            } else {
                println!("fenced {partition} @{}", record.offset);
                claimed.remove(&partition);
            }
        }
    }
}

/// A partition that is ours to write for.
struct Claim {
    generation: i32,
    next: i64,
}

/// Claims what was assigned and forgets what was taken away.
async fn follow(
    consumer: &Consumer,
    events: &mut RebalanceEvents,
    database: &mut Connection,
    claimed: &mut BTreeMap<TopicPartition, Claim>,
) -> anyhow::Result<()> {
    while let Some(event) = events.try_next() {
        match event {
            RebalanceEvent::Assigned { added, owned, generation } => {
                for partition in owned {
                    let Some(next) = claim(database, &partition, generation)? else { continue };
                    if added.contains(&partition) || !claimed.contains_key(&partition) {
                        // A partition that moved on meanwhile is told by the next event.
                        let _ = consumer.seek(&partition, next).await;
                    }
                    println!("claimed {partition} from {next} in generation {generation}");
                    claimed.insert(partition, Claim { generation, next });
                }
            }
            RebalanceEvent::Revoked { partitions } | RebalanceEvent::Lost { partitions, .. } => {
                claimed.retain(|partition, _| !partitions.contains(partition));
            }
            // Each record is stored before the next is looked at: there is nothing to finish.
            RebalanceEvent::Revoking(guard) => drop(guard),
            _ => {}
        }
    }
    Ok(())
}

fn open(file: &str) -> anyhow::Result<Connection> {
    let database = Connection::open(file)?;
    database.busy_timeout(Duration::from_secs(10))?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.execute_batch(
        "create table if not exists offsets (
             topic text, part integer, next integer not null, generation integer not null,
             primary key (topic, part));
         create table if not exists results (
             topic text, part integer, offset integer, value text,
             primary key (topic, part, offset));",
    )?;
    Ok(database)
}

/// Makes a partition ours and returns where to go on; none if a later owner has it already.
fn claim(
    database: &mut Connection,
    partition: &TopicPartition,
    generation: i32,
) -> anyhow::Result<Option<i64>> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let key = params![&*partition.topic, partition.partition, generation];
    transaction.execute(
        "insert into offsets values (?1, ?2, 0, ?3) on conflict do update
         set generation = ?3 where generation <= ?3",
        key,
    )?;
    let next = transaction
        .query_row(
            "select next from offsets where topic = ?1 and part = ?2 and generation = ?3",
            key,
            |row| row.get(0),
        )
        .optional()?;
    transaction.commit()?;
    Ok(next)
}

/// Writes a result and the offset after it, both or neither. Not if the partition has a later owner.
fn store(database: &mut Connection, generation: i32, record: &Record<'_>) -> anyhow::Result<bool> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let ours = transaction.execute(
        "update offsets set next = ?4 + 1 where topic = ?1 and part = ?2 and generation = ?3",
        params![record.topic, record.partition, generation, record.offset],
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
