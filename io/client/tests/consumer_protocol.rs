//! Groups run by the consumer protocol (KIP-848), on a broker that has it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kohort::consumer::{Consumer, ConsumerBuilder, LostReason, RebalanceEvent, TopicPartition};

use support::{
    PATIENCE, bootstrap, create_topic, own, partitions, poll_until, produce, read_until,
    shared_out, unique, values,
};

/// A member that commits by itself only when told to.
fn member(group: &str) -> ConsumerBuilder {
    Consumer::builder()
        .bootstrap_servers(&bootstrap())
        .group_id(group)
        .set("group.protocol", "consumer")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
}

async fn topic(name: &str, count: i32) -> String {
    let topic = unique(name);
    create_topic(&bootstrap(), &topic, count).await;
    topic
}

async fn close(consumer: Consumer) {
    assert!(consumer.close(PATIENCE).await.is_ok(), "closed in time");
}

#[tokio::test]
async fn members_share_partitions_and_go_on_where_the_group_has_committed() {
    let topic = topic("shared", 4).await;
    produce(&bootstrap(), &topic, 4, 0, 10).await;
    let first = member(&topic).build().unwrap();
    first.subscribe([&topic]).unwrap();
    let read = read_until(&first, |read| read.len() == 40).await;
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), 40);
    first.commit_sync().await.unwrap();

    let second = member(&topic).build().unwrap();
    second.subscribe([&topic]).unwrap();
    let all = partitions(&topic, 4);
    poll_until(&[&first, &second], "two share", || shared_out(&[&first, &second], &all)).await;
    produce(&bootstrap(), &topic, 4, 10, 10).await;
    let mut read = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while read.len() < 40 {
        assert!(Instant::now() < deadline, "{read:?}");
        for consumer in [&first, &second] {
            for value in values(&consumer.poll(Duration::from_millis(50)).await.unwrap()) {
                assert!(value.1 >= 10, "{value:?} was committed");
                assert!(read.insert(value), "{value:?} was read before");
            }
        }
    }
    first.commit_sync().await.unwrap();
    second.commit_sync().await.unwrap();

    close(first).await;
    own(&second, 4).await;
    close(second).await;

    let third = member(&topic).build().unwrap();
    third.subscribe([&topic]).unwrap();
    own(&third, 4).await;
    assert!(third.poll(Duration::from_millis(300)).await.unwrap().is_empty(), "all is committed");
    close(third).await;
}

#[tokio::test]
async fn what_a_member_keeps_is_read_while_another_joins_and_takes_the_rest() {
    let topic = topic("flowing", 2).await;
    let first = member(&topic).build().unwrap();
    let mut events = first.rebalance_events().unwrap();
    first.subscribe([&topic]).unwrap();
    own(&first, 2).await;
    produce(&bootstrap(), &topic, 2, 0, 5).await;
    read_until(&first, |read| read.len() == 10).await;

    let second = member(&topic).build().unwrap();
    second.subscribe([&topic]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let guard = loop {
        assert!(Instant::now() < deadline, "nothing is revoked");
        first.poll(Duration::from_millis(20)).await.unwrap();
        second.poll(Duration::from_millis(20)).await.unwrap();
        if let Some(RebalanceEvent::Revoking(guard)) = events.try_next() {
            break guard;
        }
    };
    assert_eq!(guard.partitions().len(), 1);
    let kept: BTreeSet<TopicPartition> =
        partitions(&topic, 2).difference(guard.partitions()).cloned().collect();
    let kept = kept.into_iter().next().unwrap();
    // The guard is held: the other one waits, and what is kept flows.
    produce(&bootstrap(), &topic, 2, 5, 5).await;
    let read = read_until(&first, |read| read.len() == 5).await;
    assert!(read.iter().all(|(partition, _)| *partition == kept.partition), "{read:?}");
    assert!(second.assignment().is_empty());
    first.commit_sync().await.unwrap();
    drop(guard);
    let read = {
        let mut polling = std::pin::pin!(read_until(&second, |read| read.len() == 5));
        loop {
            tokio::select! {
                read = &mut polling => break read,
                polled = first.poll(Duration::from_millis(20)) => { polled.unwrap(); }
            }
        }
    };
    assert!(read.iter().all(|(_, value)| *value >= 5), "read twice: {read:?}");
    close(first).await;
    close(second).await;
}

#[tokio::test]
async fn the_coordinator_matches_an_expression_and_finds_topics_created_later() {
    let prefix = unique("matched");
    let (one, two) = (format!("{prefix}-1"), format!("{prefix}-2"));
    create_topic(&bootstrap(), &one, 1).await;
    create_topic(&bootstrap(), &unique("unmatched"), 1).await;
    let consumer = member(&prefix).set("metadata.max.age.ms", "1000").build().unwrap();
    consumer.subscribe_regex(&format!("{prefix}-[0-9]")).unwrap();
    own(&consumer, 1).await;
    create_topic(&bootstrap(), &two, 1).await;
    own(&consumer, 2).await;
    produce(&bootstrap(), &two, 1, 0, 1).await;
    read_until(&consumer, |read| read.len() == 1).await;
    close(consumer).await;
}

#[tokio::test]
async fn a_static_member_takes_its_partitions_back_and_nobody_else_has_them_meanwhile() {
    let topic = topic("static", 2).await;
    let start = |name: &str| {
        let consumer = member(&topic).set("group.instance.id", name).build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        consumer
    };
    let (a, b) = (start("a"), start("b"));
    let all = partitions(&topic, 2);
    poll_until(&[&a, &b], "two share", || shared_out(&[&a, &b], &all)).await;
    let of_a = a.assignment();
    close(a).await;
    let a = start("a");
    poll_until(&[&a, &b], "it is back", || a.assignment() == of_a).await;
    assert_eq!(b.assignment().len(), 1, "the other kept what it had");
    close(a).await;
    close(b).await;
}

#[tokio::test]
async fn commits_under_changing_epochs_all_succeed() {
    let topic = topic("epochs", 4).await;
    produce(&bootstrap(), &topic, 4, 0, 50).await;
    let first = member(&topic).set("max.poll.records", "5").build().unwrap();
    first.subscribe([&topic]).unwrap();
    own(&first, 4).await;
    // Each join moves the epoch while commits are on their way.
    for _ in 0..3 {
        let other = member(&topic).build().unwrap();
        other.subscribe([&topic]).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while other.assignment().is_empty() {
            assert!(Instant::now() < deadline);
            other.poll(Duration::from_millis(1)).await.unwrap();
            first.poll(Duration::from_millis(1)).await.unwrap();
            let mut commits = Vec::new();
            for _ in 0..5 {
                commits.push(first.commit_async());
            }
            for commit in commits {
                if let Err(error) = commit.await {
                    // What went to the other meanwhile is no failure of the commit.
                    assert!(error.to_string().contains("not owned"), "{error}");
                }
            }
        }
        close(other).await;
    }
    close(first).await;
}

#[tokio::test]
async fn a_member_that_stopped_polling_returns_to_its_group() {
    let topic = topic("away", 1).await;
    let consumer = member(&topic).set("max.poll.interval.ms", "1000").build().unwrap();
    let mut events = consumer.rebalance_events().unwrap();
    consumer.subscribe([&topic]).unwrap();
    own(&consumer, 1).await;
    let away = async {
        loop {
            if let Some(RebalanceEvent::Lost { reason, .. }) = events.next().await {
                return reason;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, away).await.unwrap(), LostReason::PollInterval);
    assert!(consumer.assignment().is_empty());
    own(&consumer, 1).await;
    close(consumer).await;
}
