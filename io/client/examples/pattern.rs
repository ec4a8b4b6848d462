//! Every topic whose name matches, those that come later included.
//!
//! `cargo run --example pattern -- GROUP REGEX`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use anyhow::Context as _;
use kohort::consumer::Consumer;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().context("GROUP is missing")?;
    let regex = arguments.next().context("REGEX is missing")?;
    let servers = std::env::var("BOOTSTRAP_SERVERS").unwrap_or("localhost:9092".into());
    let consumer = Consumer::builder()
        .bootstrap_servers(&servers)
        .group_id(&group)
        .set("auto.offset.reset", "earliest")
        // How soon a new topic is noticed.
        .set("metadata.max.age.ms", "1s")
        .build()?;
    consumer.subscribe_pattern(&regex)?;
    loop {
        for record in &consumer.poll(Duration::from_secs(1)).await? {
            let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            println!("{}: {value}", record.topic);
        }
    }
}
