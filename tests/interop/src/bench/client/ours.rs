//! Our client, its records borrowed and owned.

use std::time::Duration;

use anyhow::{Context, Result};
use kohort::consumer::{Consumer, TopicPartition};

use super::progress::Progress;
use super::server::TOPIC;

/// Reads until the process is killed.
pub(super) fn run(
    bootstrap: &str,
    partitions: i32,
    owned: bool,
    settings: &[String],
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut builder =
            Consumer::builder().bootstrap_servers(bootstrap).set("auto.offset.reset", "earliest");
        for setting in settings {
            let (name, value) = setting.split_once('=').context("a setting is name=value")?;
            builder = builder.set(name, value);
        }
        let consumer = builder.build()?;
        consumer.assign((0..partitions).map(|it| TopicPartition::new(TOPIC, it))).await?;
        let mut progress = Progress::new();
        loop {
            let mut bytes = 0;
            let mut count = 0;
            if owned {
                for record in consumer.poll(WAIT).await?.to_owned_records() {
                    count += 1;
                    bytes += record.value.as_deref().map_or(0, <[u8]>::len) as u64;
                }
            } else {
                for record in &consumer.batches(WAIT).await? {
                    count += 1;
                    bytes += record.value.map_or(0, <[u8]>::len) as u64;
                }
            }
            progress.add(count, bytes)?;
        }
    })
}

const WAIT: Duration = Duration::from_secs(1);
