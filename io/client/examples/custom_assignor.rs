//! An assignor of one's own: it gives every partition to the member whose name comes first, and leaves
//! the others to wait, as for a job that must run in one place.
//!
//! `cargo run --example custom_assignor -- GROUP TOPIC`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use kohort::assignor::{
    Assignment, Assignor, ClusterTopics, MemberId, MemberSubscription, RebalanceProtocol,
};
use kohort::consumer::{Consumer, TopicPartition};

/// One member has everything.
#[derive(Debug)]
struct Alone;

impl Assignor for Alone {
    fn name(&self) -> &'static str {
        "alone"
    }

    fn protocols(&self) -> &[RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn assign(
        &self,
        topics: &ClusterTopics,
        members: &BTreeMap<MemberId, MemberSubscription>,
    ) -> BTreeMap<MemberId, Assignment> {
        let mut assigned: BTreeMap<_, _> =
            members.keys().map(|id| (id.clone(), Assignment::default())).collect();
        let Some((first, member)) = members.iter().next() else { return assigned };
        if let Some(assignment) = assigned.get_mut(first) {
            for (topic, layout) in member.topics.iter().filter_map(|topic| topics.get(topic)) {
                let all = 0..layout.partition_count;
                assignment.partitions.extend(all.map(|it| TopicPartition::new(&**topic, it)));
            }
        }
        assigned
    }
}

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
        .assignor(Alone)
        .build()?;
    consumer.subscribe([topic])?;
    let mut owned = None;
    loop {
        let records = consumer.poll(Duration::from_millis(200)).await?;
        let now = consumer.assignment().len();
        if owned != Some(now) {
            println!("owns {now} partitions");
            owned = Some(now);
        }
        for record in &records {
            println!("read {}-{} @{}", record.topic, record.partition, record.offset);
        }
    }
}
