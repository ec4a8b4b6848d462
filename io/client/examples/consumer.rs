//! A consumer in twenty lines: reads what a topic has and what comes, and commits what it has read.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]
use std::time::Duration;

use kohort::consumer::Consumer;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let consumer = Consumer::builder()
        .bootstrap_servers(&std::env::var("BOOTSTRAP_SERVERS").unwrap_or("localhost:9092".into()))
        .group_id("delays")
        .set("auto.offset.reset", "earliest")
        .build()?;
    consumer.subscribe(std::env::args().skip(1))?;
    loop {
        for record in &consumer.poll(Duration::from_secs(1)).await? {
            let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            println!("{}-{} @{}: {value}", record.topic, record.partition, record.offset);
        }
    }
}
