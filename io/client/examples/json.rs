//! Records as Rust types: written as JSON, read as JSON, and a record that is none is passed over.
//!
//! `cargo run --example json -- GROUP TOPIC`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use anyhow::Context as _;
use kohort::codec::{Json, Text, Typed};
use kohort::consumer::Consumer;
use kohort::producer::Producer;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Delay {
    flight: String,
    minutes: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().context("GROUP is missing")?;
    let delays = Typed::new(arguments.next().context("TOPIC is missing")?, Text, Json);
    let servers = std::env::var("BOOTSTRAP_SERVERS").unwrap_or("localhost:9092".into());

    let producer = Producer::builder().set("bootstrap.servers", &servers).build()?;
    for (flight, minutes) in [("LH123", 42), ("BA7", 5)] {
        let delay = Delay { flight: flight.to_owned(), minutes };
        producer.send(delays.encode(Some(flight), Some(&delay))?.record()).await?.await?;
    }

    let consumer = Consumer::builder()
        .bootstrap_servers(&servers)
        .group_id(&group)
        .set("auto.offset.reset", "earliest")
        .build()?;
    consumer.subscribe([delays.topic()])?;
    loop {
        for record in &consumer.poll(Duration::from_secs(1)).await? {
            match delays.decode::<String, Delay>(&record) {
                Ok((_, Some(delay))) => println!("{} is {} min late", delay.flight, delay.minutes),
                Ok((flight, None)) => println!("{} is forgotten", flight.unwrap_or_default()),
                Err(error) => println!("{:#}", anyhow::Error::from(error)),
            }
        }
    }
}
