//! What is lost behind an application's back, a topic or its partitions: it hears of it, and the rest goes on.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kohort::admin::Admin;
use kohort::config::{AdminConfig, Properties};
use kohort::consumer::{
    CommitError, CommitRefusal, Consumer, OffsetAndMetadata, RebalanceEvent, TopicPartition,
};
use support::{PATIENCE, bootstrap, create_topic, member, member_by, produce, read_until, unique};

const PROTOCOLS: [&str; 2] = ["classic", "consumer"];

fn zero(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

async fn delete(servers: &str, topic: &str) {
    let pairs = [("bootstrap.servers", servers)];
    let admin = Admin::new(AdminConfig::from_pairs(pairs).unwrap()).unwrap();
    let outcome = admin.delete_topics(vec![topic.to_owned()]).await.unwrap();
    assert!(outcome.into_iter().all(|(_, outcome)| outcome.is_ok()));
}

/// Returns a consumer that has read the five records of each of two topics, and the topics.
async fn of_two_topics(
    servers: &str,
    protocol: &str,
    auto_commit: bool,
) -> (Consumer, String, String) {
    let (kept, gone) = (unique("kept"), unique("gone"));
    for topic in [&kept, &gone] {
        create_topic(servers, topic, 1).await;
        produce(servers, topic, 1, 0, 5).await;
    }
    let consumer = member_by(protocol, servers, &unique("group"))
        .set("enable.auto.commit", &auto_commit.to_string())
        .set("allow.auto.create.topics", "false")
        .set("metadata.max.age.ms", "300")
        .build()
        .unwrap();
    consumer.subscribe([&kept, &gone]).unwrap();
    read_until(&consumer, |read| read.len() == 10).await;
    (consumer, kept, gone)
}

/// Commits; only the partition of the topic that is gone may fail, unless it was given back by now.
async fn commit_but(consumer: &Consumer, gone: &str) {
    match consumer.commit_sync().await {
        Ok(()) => {}
        Err(CommitError::Partitions { failures }) => {
            assert_eq!(failures.keys().collect::<Vec<_>>(), [&zero(gone)]);
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_deleted_topic_stops_neither_the_other_topics_nor_their_commits() {
    let servers = bootstrap();
    for protocol in PROTOCOLS {
        let (consumer, kept, gone) = of_two_topics(&servers, protocol, false).await;
        delete(&servers, &gone).await;
        let begun = Instant::now();
        commit_but(&consumer, &gone).await;
        produce(&servers, &kept, 1, 5, 5).await;
        read_until(&consumer, |read| read.len() == 5).await;
        commit_but(&consumer, &gone).await;
        while consumer.assignment().contains(&zero(&gone)) {
            assert!(begun.elapsed() < PATIENCE, "{protocol}: a partition of nothing is kept");
            consumer.poll(Duration::from_millis(10)).await.unwrap();
        }
        let committed = consumer.committed([zero(&kept)]).await.unwrap();
        assert_eq!(committed[&zero(&kept)].offset, 10);
        assert!(begun.elapsed() < PATIENCE, "{protocol}: {:?}", begun.elapsed());
        assert!(consumer.close(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn whoever_closes_after_its_topic_was_deleted_leaves_in_time() {
    let servers = bootstrap();
    for protocol in PROTOCOLS {
        let (consumer, _, gone) = of_two_topics(&servers, protocol, true).await;
        delete(&servers, &gone).await;
        assert!(consumer.close(PATIENCE).await.is_ok(), "{protocol}");
    }
}

#[tokio::test]
async fn a_commit_of_what_was_given_fails_once_it_is_lost() {
    let servers = bootstrap();
    for protocol in PROTOCOLS {
        let topic = unique("lost");
        create_topic(&servers, &topic, 1).await;
        produce(&servers, &topic, 1, 0, 5).await;
        let consumer = member_by(protocol, &servers, &unique("group"))
            .set("max.poll.interval.ms", "300")
            .build()
            .unwrap();
        let mut events = consumer.rebalance_events().unwrap();
        consumer.subscribe([&topic]).unwrap();
        read_until(&consumer, |read| read.len() == 5).await;
        while !matches!(events.next().await.unwrap(), RebalanceEvent::Lost { .. }) {}
        let CommitError::Partitions { failures } = consumer.commit_sync().await.unwrap_err() else {
            panic!("{protocol}: another error")
        };
        let expected = BTreeMap::from([(zero(&topic), CommitRefusal::NotOwned)]);
        assert_eq!(failures, expected, "{protocol}");
        let read = read_until(&consumer, |read| read.len() == 5).await;
        assert_eq!(read[0], (0, 0), "they come again");
        consumer.commit_sync().await.unwrap();
        assert!(consumer.close(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn a_consumer_that_wants_nothing_may_commit_for_its_group() {
    let servers = bootstrap();
    let topic = unique("outside");
    create_topic(&servers, &topic, 1).await;
    let consumer = member(&servers, &unique("group")).build().unwrap();
    let offset = OffsetAndMetadata::from(3);
    consumer.commit_offsets_sync([(zero(&topic), offset)]).await.unwrap();
    assert_eq!(consumer.committed([zero(&topic)]).await.unwrap()[&zero(&topic)].offset, 3);
    assert!(consumer.close(PATIENCE).await.is_ok());
}
