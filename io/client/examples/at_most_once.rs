//! At most once: the offset is committed before the records are looked at. A crash loses what was
//! committed and not yet handled; nothing is ever handled twice.
//!
//! `cargo run --example at_most_once -- GROUP TOPIC`
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
        let records = consumer.poll(Duration::from_secs(1)).await?;
        if records.is_empty() {
            continue;
        }
        // Only what is surely committed is handled: whoever comes after us will not read it again.
        if let Err(error) = consumer.commit_sync().await {
            eprintln!("passed over: {error}");
            continue;
        }
        for record in &records {
            let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            println!("{}: {value}", record.offset);
        }
    }
}
