//! Reads what was written since a point in time, without a group, and ends where the topic ends now.
//!
//! `cargo run --example seek_by_time -- TOPIC UNIX-MS`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use kohort::admin::{Admin, OffsetSpec};
use kohort::config::{AdminConfig, Properties as _};
use kohort::consumer::{Consumer, TopicPartition};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let topic = arguments.next().context("TOPIC is missing")?;
    let since: i64 = arguments.next().context("UNIX-MS is missing")?.parse()?;
    let servers = std::env::var("BOOTSTRAP_SERVERS").unwrap_or("localhost:9092".into());

    let admin = Admin::new(AdminConfig::from_pairs([("bootstrap.servers", &servers)])?)?;
    let described = admin.describe_topics(vec![topic.clone()]).await?.remove(&topic);
    let described = described.context("the topic was asked for")??;
    let partitions: Vec<_> =
        described.partitions.iter().map(|it| TopicPartition::new(&*topic, it.index)).collect();
    let wanted = partitions.iter().map(|it| (it.clone(), OffsetSpec::Latest)).collect();
    let mut ends = BTreeMap::new();
    for (partition, listed) in admin.list_offsets(wanted).await? {
        ends.insert(partition, listed?.offset.unwrap_or(0));
    }

    let consumer = Consumer::builder().bootstrap_servers(&servers).build()?;
    consumer.assign(partitions.iter().cloned()).await?;
    for partition in &partitions {
        consumer.seek_to_time(partition, since).await?;
    }
    let mut seen = 0;
    while ends.iter().any(|(partition, end)| consumer.position(partition) < Some(*end)) {
        for record in &consumer.poll(Duration::from_secs(1)).await? {
            let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            println!("{}: {value}", record.timestamp);
            seen += 1;
        }
    }
    println!("{seen} records since {since}");
    Ok(())
}
