//! Ends as a service should: SIGTERM or Ctrl-C lets the records at hand be handled, commits them, and
//! says goodbye to the group, so that others go on at once. It does not take longer than a deadline.
//!
//! `cargo run --example graceful_shutdown -- GROUP TOPIC`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use anyhow::Context as _;
use kohort::consumer::{CloseOptions, Consumer};
use tokio::signal::unix::{SignalKind, signal};

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
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        // A poll that loses the race has taken nothing.
        let records = tokio::select! {
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            records = consumer.poll(Duration::from_secs(1)) => records,
        };
        let records = match records {
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
        if !records.is_empty() {
            // It happens whether or not it is awaited.
            drop(consumer.commit_async());
        }
    }
    let options = CloseOptions { timeout: Duration::from_secs(10), ..CloseOptions::default() };
    consumer.close_with(options).await?;
    println!("closed");
    Ok(())
}
