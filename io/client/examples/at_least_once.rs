//! At least once: an offset is committed when its records are handled. A crash in between has the last
//! ones handled again; none is lost.
//!
//! `cargo run --example at_least_once -- GROUP TOPIC`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use anyhow::Context as _;
use kohort::consumer::Consumer;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().context("GROUP is missing")?;
    let topic = arguments.next().context("TOPIC is missing")?;
    let servers = std::env::var("BOOTSTRAP_SERVERS").unwrap_or("localhost:9092".into());
    let consumer = Consumer::builder()
        .bootstrap_servers(&servers)
        .group_id(&group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .build()?;
    consumer.subscribe([topic])?;
    loop {
        let records = match consumer.poll(Duration::from_secs(1)).await {
            Ok(records) => records,
            // It passes by itself: nothing to end a service for.
            Err(error) if error.is_retriable() => {
                eprintln!("not read: {error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for record in &records {
            let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            println!("{}: {value}", record.offset);
        }
        if !records.is_empty()
            && let Err(error) = consumer.commit_sync().await
        {
            // The partition is somebody else's by now, who reads these records again.
            eprintln!("not committed: {error}");
        }
    }
}
