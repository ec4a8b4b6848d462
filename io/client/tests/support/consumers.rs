//! What the tests of the consumer share: members of a group, records to read, and waits for a state.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kohort::consumer::{Consumer, ConsumerBuilder, Records, TopicPartition};
use kohort::producer::{Producer, ProducerRecord};

/// How long a state may take to come about before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A session for members that are to be missed, long enough for heartbeats on a busy machine.
pub const SHORT_SESSION: Duration = Duration::from_secs(2);

/// A member whose session outlasts a test's patience, so that only a goodbye explains a take-over.
pub fn member(servers: &str, group: &str) -> ConsumerBuilder {
    member_with_session(servers, group, PATIENCE * 2)
}

pub fn member_with_session(servers: &str, group: &str, session: Duration) -> ConsumerBuilder {
    Consumer::builder()
        .bootstrap_servers(servers)
        .group_id(group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", &session.as_millis().to_string())
        .set("heartbeat.interval.ms", "200")
}

/// A member of a group of this protocol; with the consumer protocol it is the broker that says how long a
/// session is.
pub fn member_by(protocol: &str, servers: &str, group: &str) -> ConsumerBuilder {
    let member = match protocol {
        "consumer" => Consumer::builder()
            .bootstrap_servers(servers)
            .group_id(group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false"),
        _ => member(servers, group),
    };
    member.set("group.protocol", protocol)
}

/// A member that reads a topic and gives back only what moves.
pub fn cooperative_member(servers: &str, group: &str, topic: &str) -> Consumer {
    let builder = member(servers, group).set("partition.assignment.strategy", "cooperative-sticky");
    let consumer = builder.build().unwrap();
    consumer.subscribe([topic]).unwrap();
    consumer
}

pub fn partitions(topic: &str, count: i32) -> BTreeSet<TopicPartition> {
    (0..count).map(|partition| TopicPartition::new(topic, partition)).collect()
}

/// Writes `count` records to each partition; the values count up from `first`.
pub async fn produce(servers: &str, topic: &str, partition_count: i32, first: u64, count: u64) {
    let producer = Producer::builder().set("bootstrap.servers", servers).build().unwrap();
    let mut deliveries = Vec::new();
    for value in first..first + count {
        for partition in 0..partition_count {
            let text = value.to_string();
            let record = ProducerRecord::to(topic).value(&text).partition(partition);
            deliveries.push(producer.send(record).await.unwrap());
        }
    }
    producer.flush().await;
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
}

pub fn values(records: &Records) -> Vec<(i32, u64)> {
    let value =
        |bytes: Option<&[u8]>| std::str::from_utf8(bytes.unwrap()).unwrap().parse().unwrap();
    records.iter().map(|record| (record.partition, value(record.value))).collect()
}

/// Polls until `done` holds of everything read.
pub async fn read_until(
    consumer: &Consumer,
    mut done: impl FnMut(&[(i32, u64)]) -> bool,
) -> Vec<(i32, u64)> {
    let deadline = Instant::now() + PATIENCE;
    let mut read = Vec::new();
    while !done(&read) {
        assert!(
            Instant::now() < deadline,
            "{} records read: {:?}",
            read.len(),
            consumer.health().await
        );
        read.extend(values(&consumer.poll(Duration::from_millis(100)).await.unwrap()));
    }
    read
}

/// Polls all consumers until `done` holds.
pub async fn poll_until(consumers: &[&Consumer], what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        for consumer in consumers {
            consumer.poll(Duration::from_millis(20)).await.unwrap();
        }
    }
}

/// Whether the consumers own all partitions, each once, and each at least one.
pub fn shared_out(consumers: &[&Consumer], all: &BTreeSet<TopicPartition>) -> bool {
    let owned: Vec<_> = consumers.iter().map(|consumer| consumer.assignment()).collect();
    let union: BTreeSet<_> = owned.iter().flatten().cloned().collect();
    let count: usize = owned.iter().map(BTreeSet::len).sum();
    union == *all && count == all.len() && owned.iter().all(|owned| !owned.is_empty())
}

/// Polls until the consumer owns `count` partitions.
pub async fn own(consumer: &Consumer, count: usize) {
    let what = format!("it owns {count}");
    poll_until(&[consumer], &what, || consumer.assignment().len() == count).await;
}
