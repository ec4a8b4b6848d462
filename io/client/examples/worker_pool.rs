//! A pool of workers over the partitions of one consumer: each partition is a stream of its own, read by
//! its own task, in order. A slow partition holds up no other, and each commits for itself.
//!
//! A worker that fails drops its stream, which takes the partition back to what was committed or processed
//! last: the next worker is given the rest again.
//!
//! `cargo run --example worker_pool -- GROUP TOPIC`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::Context as _;
use kohort::consumer::{Consumer, PartitionStream, StreamError};

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
        // One stream for each partition that is assigned, now and after every rebalance.
        let stream = consumer.next_stream().await?;
        tokio::spawn(async move {
            let partition = stream.partition().clone();
            if let Err(end) = work(stream).await {
                eprintln!("{partition}: {end}");
            }
        });
    }
}

/// Works on one partition until the group wants it back.
async fn work(mut stream: PartitionStream) -> Result<(), StreamError> {
    println!("worker of {}", stream.partition());
    loop {
        let records = stream.next().await?;
        for record in &records {
            let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            println!("{} @{}: {value}", stream.partition(), record.offset);
        }
        if let Err(error) = stream.commit().await {
            eprintln!("{}: not committed: {error}", stream.partition());
        }
    }
}
