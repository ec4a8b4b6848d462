//! Reading from a moment on: by the reset policy, and by seeking.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::{Duration, Instant, UNIX_EPOCH};

use kohort::consumer::{Consumer, TopicPartition};
use kohort::producer::{Producer, ProducerRecord};
use support::{bootstrap, create_topic, unique};

/// How long a state may take to come about before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: i64 = 3_600_000;

fn now() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// Writes one record for each age in milliseconds; its value is its number.
async fn produce(servers: &str, topic: &str, now: i64, ages: &[i64]) {
    let producer = Producer::builder().set("bootstrap.servers", servers).build().unwrap();
    for (number, age) in ages.iter().enumerate() {
        let value = number.to_string();
        let record = ProducerRecord::to(topic).value(&value).partition(0).timestamp(now - age);
        producer.send(record).await.unwrap().await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
}

/// Polls until the record before `end` is read; returns the offsets.
async fn read_to(consumer: &Consumer, end: i64) -> Vec<i64> {
    let deadline = Instant::now() + PATIENCE;
    let mut read: Vec<i64> = Vec::new();
    while read.last() != Some(&(end - 1)) {
        assert!(Instant::now() < deadline, "{read:?}: {:?}", consumer.health().await);
        let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
        read.extend(records.iter().map(|record| record.offset));
    }
    read
}

fn reader(servers: &str, reset: &str) -> Consumer {
    let builder = Consumer::builder().bootstrap_servers(servers).set("auto.offset.reset", reset);
    builder.build().unwrap()
}

#[tokio::test]
async fn a_reset_by_duration_starts_at_the_first_record_of_that_age() {
    let (servers, topic, now) = (bootstrap(), unique("ages"), now());
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, now, &[30 * HOUR, 20 * HOUR, 10 * HOUR, HOUR]).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    for (reset, expected) in [
        ("by_duration:P1DT1H", vec![1, 2, 3]),
        ("by_duration:PT15H", vec![2, 3]),
        ("by_duration:P30D", vec![0, 1, 2, 3]),
    ] {
        let consumer = reader(&servers, reset);
        consumer.assign([partition.clone()]).await.unwrap();
        assert_eq!(read_to(&consumer, 4).await, expected, "{reset}");
        assert!(consumer.close(PATIENCE).await.is_ok());
    }
    // Nothing is that young: only what comes is read.
    let consumer = reader(&servers, "by_duration:PT1M");
    consumer.assign([partition.clone()]).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while consumer.position(&partition).is_none() {
        assert!(Instant::now() < deadline, "{:?}", consumer.health().await);
        assert!(consumer.poll(Duration::from_millis(20)).await.unwrap().is_empty());
    }
    assert_eq!(consumer.position(&partition), Some(4));
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn seeking_goes_to_a_time_to_either_end_and_to_an_offset() {
    let (servers, topic, now) = (bootstrap(), unique("seeks"), now());
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, now, &[4 * HOUR, 3 * HOUR, 2 * HOUR, HOUR]).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let consumer = reader(&servers, "earliest");
    consumer.assign([partition.clone()]).await.unwrap();
    assert_eq!(read_to(&consumer, 4).await, [0, 1, 2, 3]);
    consumer.seek_to_time(&partition, now - 2 * HOUR).await.unwrap();
    assert_eq!(read_to(&consumer, 4).await, [2, 3], "not older than that");
    consumer.seek_to_time(&partition, now - 2 * HOUR - 1).await.unwrap();
    assert_eq!(read_to(&consumer, 4).await, [2, 3]);
    consumer.seek(&partition, 1).await.unwrap();
    assert_eq!(read_to(&consumer, 4).await, [1, 2, 3]);
    consumer.seek_to_beginning([partition.clone()]).await.unwrap();
    assert_eq!(read_to(&consumer, 4).await, [0, 1, 2, 3]);
    // Past the last record, and at the end: both wait for what comes next.
    for end in [true, false] {
        if end {
            consumer.seek_to_end([partition.clone()]).await.unwrap();
        } else {
            consumer.seek_to_time(&partition, now).await.unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        while consumer.position(&partition) != Some(4) {
            assert!(Instant::now() < deadline, "{:?}", consumer.health().await);
            assert!(consumer.poll(Duration::from_millis(20)).await.unwrap().is_empty());
        }
    }
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn an_offset_found_by_time_comes_with_the_time_of_its_record() {
    let (servers, topic, now) = (bootstrap(), unique("found"), now());
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, now, &[3 * HOUR, 2 * HOUR, HOUR]).await;
    let (consumer, zero) = (reader(&servers, "earliest"), TopicPartition::new(topic.as_str(), 0));
    let asked = [(zero.clone(), now - 2 * HOUR - 5)];
    let found = consumer.offsets_for_times(asked).await.unwrap()[&zero];
    assert_eq!((found.offset, found.timestamp), (1, now - 2 * HOUR));
    let nothing = consumer.offsets_for_times([(zero, now)]).await.unwrap();
    assert!(nothing.is_empty(), "{nothing:?}");
}
