//! A consumer whose topics come, go and change: against our broker, or the one at
//! `KOHORT_TEST_BOOTSTRAP`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kohort::admin::Admin;
use kohort::config::{AdminConfig, Properties};
use kohort::consumer::{
    Consumer, ConsumerBuilder, ConsumerError, FetchStatus, PollError, RebalanceEvent,
    TopicPartition,
};
use kohort::producer::{Producer, ProducerRecord};
use kohort_protocol::ErrorCode;
use support::{bootstrap, create_topic, unique};

/// How long a state may take to come about before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn member(servers: &str) -> ConsumerBuilder {
    Consumer::builder()
        .bootstrap_servers(servers)
        .group_id(&unique("group"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("heartbeat.interval.ms", "200")
        .set("metadata.max.age.ms", "300")
}

async fn produce(servers: &str, topic: &str, values: &[&str]) {
    let producer = Producer::builder().set("bootstrap.servers", servers).build().unwrap();
    for value in values {
        let record = ProducerRecord::to(topic).value(value).partition(0);
        producer.send(record).await.unwrap().await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
}

/// Polls until `done` holds of the values read, and returns them.
async fn read_until(
    consumer: &Consumer,
    mut done: impl FnMut(&[(String, String)]) -> bool,
) -> Vec<(String, String)> {
    let deadline = Instant::now() + PATIENCE;
    let mut read = Vec::new();
    while !done(&read) {
        assert!(Instant::now() < deadline, "{read:?}: {:?}", consumer.health().await);
        for record in &consumer.poll(Duration::from_millis(100)).await.unwrap() {
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            read.push((record.topic.to_owned(), value));
        }
    }
    read
}

fn names(topics: &[&String]) -> BTreeSet<Arc<str>> {
    topics.iter().map(|topic| Arc::from(topic.as_str())).collect()
}

#[tokio::test]
async fn a_partition_that_its_topic_does_not_have_is_named_by_polls_lookups_and_health() {
    let servers = bootstrap();
    let topic = unique("too-far");
    create_topic(&servers, &topic, 1).await;
    let consumer = member(&servers).build().unwrap();
    let far = TopicPartition::new(topic.as_str(), 1);
    let asked = tokio::time::timeout(PATIENCE, consumer.end_offsets([far.clone()])).await.unwrap();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert!(
        matches!(&asked, Err(ConsumerError::Partition { partition, code })
            if *partition == far && *code == unknown),
        "{asked:?}"
    );
    consumer.assign([far.clone()]).await.unwrap();
    for _ in 0..2 {
        let told = consumer.poll(PATIENCE).await;
        assert!(
            matches!(&told, Err(PollError::Partition { partition, code })
                if *partition == far && *code == unknown),
            "{told:?}"
        );
    }
    assert_eq!(consumer.health().await.unwrap().partitions[&far], FetchStatus::NoPartition);
}

#[tokio::test]
async fn a_pattern_reads_new_topics_as_they_appear_and_no_others() {
    let servers = bootstrap();
    let prefix = unique("pattern");
    let (eu, us, other) =
        (format!("{prefix}-eu"), format!("{prefix}-us"), format!("{prefix}-eu-audit"));
    create_topic(&servers, &eu, 1).await;
    create_topic(&servers, &other, 1).await;
    produce(&servers, &eu, &["1"]).await;
    produce(&servers, &other, &["hidden"]).await;
    let consumer = member(&servers).build().unwrap();
    assert!(matches!(consumer.subscribe_pattern("(unclosed"), Err(ConsumerError::Pattern { .. })));
    consumer.subscribe_pattern(&format!("{prefix}-(eu|us)")).unwrap();
    assert_eq!(
        read_until(&consumer, |read| !read.is_empty()).await,
        [(eu.clone(), "1".to_owned())]
    );
    assert_eq!(consumer.subscription().await.unwrap(), names(&[&eu]));
    consumer.commit_sync().await.unwrap();
    create_topic(&servers, &us, 1).await;
    produce(&servers, &us, &["2"]).await;
    assert_eq!(
        read_until(&consumer, |read| !read.is_empty()).await,
        [(us.clone(), "2".to_owned())]
    );
    assert_eq!(consumer.subscription().await.unwrap(), names(&[&eu, &us]));
    assert_eq!(consumer.assignment().len(), 2);
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_name_no_topic_can_have_is_reported_and_the_other_topics_are_read() {
    let servers = bootstrap();
    let topic = unique("valid");
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, &["1"]).await;
    let consumer = member(&servers).build().unwrap();
    consumer.subscribe([topic.as_str(), "not a topic"]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let (mut reported, mut read) = (0, 0);
    while reported == 0 || read == 0 {
        assert!(Instant::now() < deadline, "{:?}", consumer.health().await);
        match consumer.poll(Duration::from_millis(100)).await {
            Ok(records) => read += records.len(),
            Err(PollError::Topic { topic, code }) => {
                assert_eq!((&*topic, code), ("not a topic", ErrorCode::INVALID_TOPIC_EXCEPTION));
                reported += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((reported, read), (1, 1));
    let health = consumer.health().await.unwrap();
    let codes: Vec<_> = health.topics.values().copied().collect();
    assert_eq!(codes, [ErrorCode::INVALID_TOPIC_EXCEPTION]);
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_topic_deleted_and_created_again_is_read_from_its_new_start() {
    let servers = bootstrap();
    let topic = unique("recreated");
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, &["old 0", "old 1", "old 2"]).await;
    let consumer = member(&servers).build().unwrap();
    let mut events = consumer.rebalance_events().unwrap();
    consumer.subscribe([&topic]).unwrap();
    read_until(&consumer, |read| read.len() == 3).await;
    consumer.commit_sync().await.unwrap();
    let pairs = [("bootstrap.servers", servers.as_str())];
    let admin = Admin::new(AdminConfig::from_pairs(pairs).unwrap()).unwrap();
    let outcome = admin.delete_topics(vec![topic.clone()]).await.unwrap();
    assert!(outcome.into_iter().all(|(_, outcome)| outcome.is_ok()));
    // More than the old one had: an offset of the old would be in range.
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, &["new 0", "new 1", "new 2", "new 3", "new 4"]).await;
    let read = read_until(&consumer, |read| read.len() >= 5).await;
    let expected: Vec<_> = (0..5).map(|number| (topic.clone(), format!("new {number}"))).collect();
    assert_eq!(read, expected);
    let told = std::iter::from_fn(|| events.try_next()).any(|event| match event {
        RebalanceEvent::Recreated { partitions } => {
            partitions.contains(&TopicPartition::new(topic.as_str(), 0))
        }
        _ => false,
    });
    assert!(told, "the application hears of it");
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn partitions_and_topics_are_told_whether_subscribed_to_or_not() {
    let (servers, topic) = (bootstrap(), unique("told"));
    create_topic(&servers, &topic, 3).await;
    let consumer = member(&servers).build().unwrap();
    let partitions = consumer.partitions_for(&topic).await.unwrap();
    assert_eq!(partitions.iter().map(|it| it.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(partitions.iter().all(|it| it.leader >= 0), "{partitions:?}");
    assert_eq!(consumer.partitions_for(&unique("nowhere")).await.unwrap(), []);
    let refused = consumer.partitions_for("no topic's name").await;
    assert!(matches!(refused, Err(ConsumerError::Topic { .. })), "{refused:?}");
    let topics = consumer.list_topics().await.unwrap();
    assert_eq!(topics[topic.as_str()].len(), 3);
    assert!(consumer.subscription().await.unwrap().is_empty());
    assert!(consumer.close(PATIENCE).await.is_ok());
}
