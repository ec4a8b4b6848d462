//! A consumer whose partition's leader comes back with a new epoch.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::{Duration, Instant};

use kohort::consumer::{Consumer, TopicPartition};
use kohort::producer::{Producer, ProducerRecord};
use support::{OwnBroker, create_topic, folder, own_address, unique};

/// How long a state may take to come about before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

async fn produce(servers: &str, topic: &str, first: usize) {
    let producer = Producer::builder().set("bootstrap.servers", servers).build().unwrap();
    for number in first..first + 3 {
        let value = number.to_string();
        let record = ProducerRecord::to(topic).value(&value).partition(0);
        producer.send(record).await.unwrap().await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
}

async fn read(consumer: &Consumer, count: usize) -> Vec<(i64, String)> {
    let deadline = Instant::now() + PATIENCE;
    let mut read = Vec::new();
    while read.len() < count {
        assert!(Instant::now() < deadline, "{read:?}: {:?}", consumer.health().await);
        for record in &consumer.poll(Duration::from_millis(100)).await.unwrap() {
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            read.push((record.offset, value));
        }
    }
    read
}

fn records(offsets: std::ops::Range<i64>) -> Vec<(i64, String)> {
    offsets.map(|offset| (offset, offset.to_string())).collect()
}

#[tokio::test]
async fn reading_goes_on_where_it_was_when_the_leader_starts_anew() {
    let (data, address) = (folder(), own_address());
    let broker = OwnBroker::start(data.clone(), address, None);
    let (servers, topic, group) = (broker.servers(), unique("epochs"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 0).await;
    let start = |reset| {
        let consumer = Consumer::builder()
            .bootstrap_servers(&servers)
            .group_id(&group)
            .set("auto.offset.reset", reset)
            .set("enable.auto.commit", "false");
        consumer.build().unwrap()
    };
    let partition = TopicPartition::new(topic.as_str(), 0);
    let consumer = start("earliest");
    consumer.assign([partition.clone()]).await.unwrap();
    assert_eq!(read(&consumer, 3).await, records(0..3));
    consumer.commit_sync().await.unwrap();
    drop(broker);
    let broker = OwnBroker::start(data, address, None);
    produce(&servers, &topic, 3).await;
    assert_eq!(read(&consumer, 3).await, records(3..6), "no record twice, none left out");
    // Who starts now finds an offset committed under the epoch before.
    let later = start("none");
    later.assign([partition]).await.unwrap();
    assert_eq!(read(&later, 3).await, records(3..6));
    assert!(consumer.close(PATIENCE).await.is_ok() && later.close(PATIENCE).await.is_ok());
    drop(broker);
}
