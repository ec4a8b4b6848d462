//! A static member: restarted within its session under the same name, it takes its partitions up again
//! and the group does not rebalance (KIP-345).
//!
//! `cargo run --example static_member -- GROUP TOPIC NAME`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use anyhow::Context as _;
use kohort::consumer::{CloseOptions, Consumer, GroupMembershipOperation, RebalanceEvent};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().context("GROUP is missing")?;
    let topic = arguments.next().context("TOPIC is missing")?;
    let name = arguments.next().context("NAME is missing")?;
    let servers = std::env::var("BOOTSTRAP_SERVERS").unwrap_or("localhost:9092".into());
    let consumer = Consumer::builder()
        .bootstrap_servers(&servers)
        .group_id(&group)
        .set("group.instance.id", &name)
        .set("auto.offset.reset", "earliest")
        // Longer than a restart takes.
        .set("session.timeout.ms", "60s")
        .build()?;
    let mut events = consumer.rebalance_events()?;
    consumer.subscribe([topic])?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            event = events.next() => match event {
                Some(RebalanceEvent::Assigned { owned, generation, .. }) => {
                    let owned: Vec<_> = owned.iter().map(ToString::to_string).collect();
                    println!("{name} owns {} in generation {generation}", owned.join(" "));
                }
                // Dropping a revocation's guard gives the partitions back.
                Some(_) => {}
                None => break,
            },
            records = consumer.poll(Duration::from_secs(1)) => {
                for record in &records? {
                    println!("{name} read {}-{} @{}", record.topic, record.partition, record.offset);
                }
            }
        }
    }
    // It commits, and stays a member until its session ends, as static members do unless they are told to
    // leave: `GroupMembershipOperation::LeaveGroup` is for one that is taken out of service for good.
    let operation = GroupMembershipOperation::RemainInGroup;
    consumer.close_with(CloseOptions { operation, ..CloseOptions::default() }).await?;
    Ok(())
}
