//! The byte budget where records unpack to many times what they were on the way.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kohort::consumer::{Consumer, Records, TopicPartition};
use kohort::producer::{Producer, ProducerRecord};
use support::{PATIENCE, bootstrap, create_topic, partitions, unique};

const BUDGET: i64 = 1 << 20;
/// What each batch unpacks to, and less than a thousandth of that on the way.
const VALUE_BYTES: usize = 300_000;
/// A batch in memory used again, which grows by doubling.
const BATCH_MOST: i64 = 2 * VALUE_BYTES as i64;

/// Writes so many records of zeros, each a batch.
async fn produce(servers: &str, topic: &str, count: usize, size: usize, codec: &str) {
    let producer = Producer::builder()
        .set("bootstrap.servers", servers)
        .set("compression.type", codec)
        .set("batch.size", "1")
        .set("max.request.size", "16777216")
        .build()
        .unwrap();
    let value = vec![0; size];
    for _ in 0..count {
        let record = ProducerRecord::to(topic).value(&value).partition(0);
        producer.send(record).await.unwrap().await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
}

async fn reader(servers: &str, topic: &str) -> Consumer {
    let consumer = Consumer::builder()
        .bootstrap_servers(servers)
        .set("auto.offset.reset", "earliest")
        .memory_budget(BUDGET as u64)
        .build()
        .unwrap();
    consumer.assign(partitions(topic, 1)).await.unwrap();
    consumer
}

async fn used(consumer: &Consumer) -> i64 {
    consumer.health().await.unwrap().buffered_bytes
}

#[tokio::test]
async fn unpacked_records_count_and_reading_goes_on_as_they_are_dropped() {
    for codec in ["zstd", "lz4"] {
        let servers = bootstrap();
        let topic = unique("unpacked");
        create_topic(&servers, &topic, 1).await;
        produce(&servers, &topic, 40, VALUE_BYTES, codec).await;
        let consumer = reader(&servers, &topic).await;
        let deadline = Instant::now() + PATIENCE;
        let (mut count, mut most) = (0, 0);
        let mut held: VecDeque<Records> = VecDeque::new();
        while count < 40 {
            assert!(Instant::now() < deadline, "{count} read: {:?}", consumer.health().await);
            let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
            let used = used(&consumer).await;
            assert!(used <= BUDGET + BATCH_MOST, "{codec}: {used} bytes are in memory");
            most = most.max(used);
            if records.is_empty() {
                // The budget may be spent by what is in our hands.
                held.pop_front();
                continue;
            }
            count += records.len();
            held.push_back(records);
        }
        assert!(most >= BUDGET / 2, "{most} bytes at most: this shows nothing");
        held.clear();
        let zero = TopicPartition::new(topic.as_str(), 0);
        assert_eq!(consumer.position(&zero), Some(40));
        assert_eq!(used(&consumer).await, 0, "all of it is given back");
        assert!(consumer.close(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn a_batch_that_unpacks_to_more_than_the_budget_passes_even_while_the_one_before_is_held() {
    let servers = bootstrap();
    let topic = unique("larger");
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 3, 4 * BUDGET as usize, "zstd").await;
    let consumer = reader(&servers, &topic).await;
    // Assigning drops the records before only when the next ones are there.
    let mut records = Records::default();
    for offset in 0..3 {
        let before = std::mem::replace(&mut records, consumer.poll(PATIENCE).await.unwrap());
        assert_eq!(before.len(), usize::from(offset > 0));
        let read: Vec<i64> = records.iter().map(|record| record.offset).collect();
        assert_eq!(read, [offset]);
    }
    let mut stream = consumer.stream(&TopicPartition::new(topic.as_str(), 0)).unwrap();
    consumer.seek(stream.partition(), 0).await.unwrap();
    for offset in 0..3 {
        let next = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
        assert_eq!(next.iter().next().unwrap().offset, offset);
        records = next;
    }
    drop(records);
    assert_eq!(used(&consumer).await, 0);
}

#[tokio::test]
async fn limits_of_no_bytes_read_one_batch_after_the_other() {
    let servers = bootstrap();
    let topic = unique("no-bytes");
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 3, 100, "none").await;
    for limits in [["0", "1048576"], ["52428800", "0"], ["0", "0"]] {
        let consumer = Consumer::builder()
            .bootstrap_servers(&servers)
            .set("auto.offset.reset", "earliest")
            .set("fetch.max.bytes", limits[0])
            .set("max.partition.fetch.bytes", limits[1])
            .build()
            .unwrap();
        consumer.assign(partitions(&topic, 1)).await.unwrap();
        let mut count = 0;
        while count < 3 {
            let records = consumer.poll(PATIENCE).await.unwrap();
            assert!(!records.is_empty(), "{limits:?}: {:?}", consumer.health().await);
            count += records.len();
        }
        let zero = TopicPartition::new(topic.as_str(), 0);
        consumer.seek(&zero, 0).await.unwrap();
        let mut stream = consumer.stream(&zero).unwrap();
        let read = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
        assert_eq!(read.iter().next().unwrap().offset, 0, "{limits:?}, a stream");
    }
}
