//! The consumer against a real broker: ours, or the one at `KOHORT_TEST_BOOTSTRAP`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kohort::consumer::{
    CloseOptions, CommitError, CommitRefusal, Consumer, GroupMembershipOperation, PollError,
    RebalanceEvent, TopicPartition,
};
use kohort::producer::{Producer, ProducerRecord};
use support::{
    PATIENCE, SHORT_SESSION, bootstrap, cooperative_member, create_topic, member,
    member_with_session, own, partitions, poll_until, produce, read_until, shared_out, unique,
    values,
};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_member_reads_commits_and_its_successor_goes_on_there() {
    let servers = bootstrap();
    let (topic, group) = (unique("resume"), unique("group"));
    create_topic(&servers, &topic, 3).await;
    produce(&servers, &topic, 3, 0, 100).await;
    let consumer = member(&servers, &group).build().unwrap();
    consumer.subscribe([&topic]).unwrap();
    let read = read_until(&consumer, |read| read.len() >= 300).await;
    for partition in 0..3 {
        let of: Vec<u64> = read.iter().filter(|it| it.0 == partition).map(|it| it.1).collect();
        assert_eq!(of, (0..100).collect::<Vec<_>>(), "in order and whole");
    }
    let all = partitions(&topic, 3);
    for partition in &all {
        assert_eq!(consumer.lag(partition), Some(0));
        assert_eq!(consumer.position(partition), Some(100));
    }
    consumer.commit_sync().await.unwrap();
    let committed = consumer.committed(all.clone()).await.unwrap();
    assert!(committed.len() == 3 && committed.values().all(|it| it.offset == 100), "{committed:?}");
    assert!(consumer.close(PATIENCE).await.is_ok());

    produce(&servers, &topic, 3, 100, 10).await;
    let successor = member(&servers, &group).build().unwrap();
    successor.subscribe([&topic]).unwrap();
    let read = read_until(&successor, |read| read.len() >= 30).await;
    assert!(read.iter().all(|(_, value)| *value >= 100), "nothing is read twice");
    assert!(successor.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn three_members_share_out_join_leave_and_take_over_from_a_dead_one() {
    let mut groups = JoinSet::new();
    for strategy in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        groups.spawn(three_members(strategy));
    }
    groups.join_all().await;
}

async fn three_members(strategy: &'static str) {
    let servers = bootstrap();
    let (topic, group) = (unique("share"), unique("group"));
    create_topic(&servers, &topic, 6).await;
    let all = partitions(&topic, 6);
    let start = |session| {
        let builder = member_with_session(&servers, &group, session);
        let consumer = builder.set("partition.assignment.strategy", strategy).build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        consumer
    };
    let (first, second, third) = (start(PATIENCE * 2), start(SHORT_SESSION), start(PATIENCE * 2));
    let three = [&first, &second, &third];
    let even = || three.iter().all(|it| it.assignment().len() == 2) && shared_out(&three, &all);
    poll_until(&three, &format!("{strategy} is even"), even).await;
    // A clean leave is noticed long before the session's end.
    assert!(third.close(PATIENCE).await.is_ok());
    let two = [&first, &second];
    poll_until(&two, "two share out", || shared_out(&two, &all)).await;
    // One that says nothing is missed after its session.
    let operation = GroupMembershipOperation::RemainInGroup;
    second.close_with(CloseOptions { operation, timeout: PATIENCE }).await.unwrap();
    poll_until(&[&first], "one has all", || first.assignment() == all).await;
    assert!(first.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn retained_partitions_keep_flowing_through_a_cooperative_rebalance() {
    let servers = bootstrap();
    let (topic, group) = (unique("flow"), unique("group"));
    create_topic(&servers, &topic, 4).await;
    let start = || cooperative_member(&servers, &group, &topic);
    let first = start();
    let all = partitions(&topic, 4);
    poll_until(&[&first], "one owns all", || first.assignment() == all).await;
    let mut events = first.rebalance_events().unwrap();
    let second = start();
    // The first member holds the guard of what it gives back: the rebalance cannot finish.
    let deadline = Instant::now() + PATIENCE;
    let guard = loop {
        assert!(Instant::now() < deadline, "nothing is revoked");
        first.poll(Duration::from_millis(10)).await.unwrap();
        second.poll(Duration::from_millis(10)).await.unwrap();
        match events.try_next() {
            Some(RebalanceEvent::Revoking(guard)) => break guard,
            Some(RebalanceEvent::Lost { partitions, reason }) => {
                panic!("{partitions:?}: {reason:?}")
            }
            _ => {}
        }
    };
    let revoked = guard.partitions().clone();
    let kept: BTreeSet<_> = all.difference(&revoked).cloned().collect();
    assert_eq!((revoked.len(), kept.len()), (2, 2));
    produce(&servers, &topic, 4, 0, 10).await;
    let read = read_until(&first, |read| read.len() >= 20).await;
    assert!(read.iter().all(|(it, _)| kept.contains(&TopicPartition::new(topic.as_str(), *it))));
    // What was kept is committed while the rebalance waits.
    first.commit_sync().await.unwrap();
    drop(guard);
    poll_until(&[&first, &second], "two share out", || shared_out(&[&first, &second], &all)).await;
    assert_eq!(first.assignment(), kept);
    assert!(first.close(PATIENCE).await.is_ok() && second.close(PATIENCE).await.is_ok());
}

#[test]
fn a_blocked_runtime_keeps_its_membership() {
    let servers = bootstrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (topic, group) = (unique("blocked"), unique("group"));
        create_topic(&servers, &topic, 2).await;
        let consumer = member_with_session(&servers, &group, SHORT_SESSION).build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        own(&consumer, 2).await;
        let before = consumer.health().await.unwrap().member;
        // Longer than the session: only heartbeats from another thread save it.
        std::thread::sleep(SHORT_SESSION * 3 / 2);
        produce(&servers, &topic, 2, 0, 1).await;
        read_until(&consumer, |read| read.len() >= 2).await;
        assert_eq!(consumer.health().await.unwrap().member, before);
        assert!(before.is_some());
        assert!(consumer.close(PATIENCE).await.is_ok());
    });
}

#[tokio::test]
async fn a_member_that_stops_polling_leaves_says_so_and_returns() {
    let servers = bootstrap();
    let (topic, group) = (unique("idle"), unique("group"));
    create_topic(&servers, &topic, 2).await;
    let consumer = member(&servers, &group).set("max.poll.interval.ms", "1000").build().unwrap();
    let mut events = consumer.rebalance_events().unwrap();
    consumer.subscribe([&topic]).unwrap();
    own(&consumer, 2).await;
    let next = async {
        loop {
            if let Some(RebalanceEvent::PollIntervalExceeded { idle }) = events.next().await {
                break idle;
            }
        }
    };
    let idle = tokio::time::timeout(PATIENCE, next).await.unwrap();
    assert!(idle >= Duration::from_secs(1));
    assert!(matches!(events.next().await, Some(RebalanceEvent::Lost { .. })));
    assert!(consumer.assignment().is_empty());
    own(&consumer, 2).await;
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn seek_pause_and_both_ends() {
    let servers = bootstrap();
    let topic = unique("seek");
    create_topic(&servers, &topic, 2).await;
    produce(&servers, &topic, 2, 0, 50).await;
    let consumer = Consumer::builder().bootstrap_servers(&servers).build().unwrap();
    let all = partitions(&topic, 2);
    let [zero, one] = [0, 1].map(|partition| TopicPartition::new(topic.as_str(), partition));
    consumer.assign(all.clone()).await.unwrap();
    consumer.seek(&zero, 40).await.unwrap();
    consumer.seek_to_beginning([one.clone()]).await.unwrap();
    consumer.pause([one.clone()]).await.unwrap();
    let read = read_until(&consumer, |read| read.len() >= 10).await;
    assert_eq!(read, (40..50).map(|value| (0, value)).collect::<Vec<_>>());
    assert!(
        consumer.poll(Duration::from_millis(300)).await.unwrap().is_empty(),
        "the other is paused"
    );
    assert_eq!(consumer.paused(), BTreeSet::from([one.clone()]));
    consumer.resume([one.clone()]).await.unwrap();
    let read = read_until(&consumer, |read| read.len() >= 50).await;
    assert_eq!(read, (0..50).map(|value| (1, value)).collect::<Vec<_>>());
    // Buffered records of the place left behind do not come after a seek.
    consumer.seek(&one, 49).await.unwrap();
    assert_eq!(read_until(&consumer, |read| !read.is_empty()).await, [(1, 49)]);
    let ends = consumer.end_offsets(all.clone()).await.unwrap();
    assert!(ends.values().all(|end| *end == 50), "{ends:?}");
    assert!(consumer.beginning_offsets(all).await.unwrap().values().all(|start| *start == 0));
    let found = consumer.offsets_for_times([(zero.clone(), 0)]).await.unwrap();
    assert_eq!(found[&zero].offset, 0);
    let stranger = TopicPartition::new(topic.as_str(), 7);
    assert!(consumer.seek(&stranger, 0).await.is_err());
    assert!(matches!(consumer.commit_sync().await, Err(CommitError::NoGroup)));
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn auto_commit_takes_only_what_was_given_before_the_last_poll() {
    let servers = bootstrap();
    let (topic, group) = (unique("auto"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 20).await;
    let start = || {
        let consumer = member(&servers, &group)
            .set("enable.auto.commit", "true")
            .set("max.poll.records", "10")
            .build()
            .unwrap();
        consumer.subscribe([&topic]).unwrap();
        consumer
    };
    let consumer = start();
    assert_eq!(read_until(&consumer, |read| read.len() >= 10).await.len(), 10);
    let second = consumer.poll(PATIENCE).await.unwrap();
    assert_eq!(second.len(), 10);
    drop(second);
    // The second ten were not walked to their end, so they do not count.
    assert!(consumer.close(PATIENCE).await.is_ok());
    let successor = start();
    let read = read_until(&successor, |read| !read.is_empty()).await;
    assert_eq!(read, (10..20).map(|value| (0, value)).collect::<Vec<_>>());
    // These were walked to their end.
    assert!(successor.close(PATIENCE).await.is_ok());
    let last = start();
    let zero = TopicPartition::new(topic.as_str(), 0);
    poll_until(&[&last], "it is at the end", || last.position(&zero) == Some(20)).await;
    assert!(last.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn commits_complete_in_order_and_foreign_partitions_are_refused() {
    let servers = bootstrap();
    let (topic, group) = (unique("order"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    let consumer = member(&servers, &group).build().unwrap();
    consumer.subscribe([&topic]).unwrap();
    own(&consumer, 1).await;
    let zero = TopicPartition::new(topic.as_str(), 0);
    let (sender, mut done) = tokio::sync::mpsc::unbounded_channel();
    produce(&servers, &topic, 1, 0, 30).await;
    for number in 0..30_u64 {
        let sender = sender.clone();
        consumer.poll(Duration::from_millis(5)).await.unwrap();
        consumer.commit_with(move |outcome| sender.send((number, outcome.is_ok())).unwrap());
    }
    for number in 0..30 {
        assert_eq!(done.recv().await, Some((number, true)));
    }
    let foreign = TopicPartition::new(topic.as_str(), 5);
    let refused =
        consumer.commit_offsets_sync([(zero.clone(), 7.into()), (foreign.clone(), 1.into())]).await;
    match refused {
        Err(CommitError::Partitions { failures }) => {
            assert_eq!(failures, BTreeMap::from([(foreign, CommitRefusal::NotOwned)]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(consumer.committed([zero.clone()]).await.unwrap()[&zero].offset, 7);
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn without_a_policy_a_missing_offset_is_reported_and_a_seek_mends_it() {
    let servers = bootstrap();
    let (topic, group) = (unique("none"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 3).await;
    let consumer = member(&servers, &group).set("auto.offset.reset", "none").build().unwrap();
    consumer.subscribe([&topic]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline);
        if let Err(error) = consumer.poll(Duration::from_millis(50)).await {
            break error;
        }
    };
    let zero = TopicPartition::new(topic.as_str(), 0);
    assert!(
        matches!(&error, PollError::NoOffset { partition, .. } if *partition == zero),
        "{error}"
    );
    consumer.seek(&zero, 1).await.unwrap();
    assert_eq!(read_until(&consumer, |read| read.len() >= 2).await, [(0, 1), (0, 2)]);
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_dropped_consumer_leaves_without_blocking_and_a_dropped_poll_loses_nothing() {
    let servers = bootstrap();
    let (topic, group) = (unique("drop"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 200).await;
    let start = || {
        let consumer = member(&servers, &group).set("max.poll.records", "7").build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        consumer
    };
    let first = start();
    let mut read = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while read.len() < 200 {
        assert!(Instant::now() < deadline, "{} records read", read.len());
        // Cancelled at any time: whatever a poll does not return is still there for the next one.
        let poll = first.poll(Duration::from_secs(5));
        if let Ok(records) = tokio::time::timeout(Duration::from_micros(300), poll).await {
            read.extend(values(&records.unwrap()).into_iter().map(|it| it.1));
        }
    }
    assert_eq!(read, (0..200).collect::<Vec<_>>());
    let dropped = Instant::now();
    drop(first);
    assert!(dropped.elapsed() < Duration::from_secs(5), "dropping does not block");
    let second = start();
    // Only the first one's goodbye lets it read within the test's patience.
    read_until(&second, |read| read.len() >= 200).await;
    assert!(second.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn memory_stays_within_the_budget_and_comes_back_when_records_are_dropped() {
    let servers = bootstrap();
    let topic = unique("budget");
    create_topic(&servers, &topic, 2).await;
    let producer = Producer::builder().set("bootstrap.servers", &servers).build().unwrap();
    let value = vec![7; 10_000];
    for partition in (0..600).map(|number| number % 2) {
        let record = ProducerRecord::to(&topic).value(&value).partition(partition);
        drop(producer.send(record).await.unwrap());
    }
    producer.close(PATIENCE).await.unwrap();
    let budget = 1 << 20;
    let consumer = Consumer::builder()
        .bootstrap_servers(&servers)
        .set("auto.offset.reset", "earliest")
        .set("max.poll.records", "20")
        .memory_budget(budget)
        .build()
        .unwrap();
    consumer.assign(partitions(&topic, 2)).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let (mut count, mut held) = (0, Vec::new());
    while count < 600 {
        assert!(Instant::now() < deadline, "{count} records read: {:?}", consumer.health().await);
        let records = consumer.poll(Duration::from_millis(200)).await.unwrap();
        let used = consumer.health().await.unwrap().buffered_bytes;
        assert!(used <= budget as i64, "{used} bytes are in memory");
        count += records.len();
        if records.is_empty() {
            // Everything allowed may be in our hands: then nothing more comes until some is dropped.
            held.clear();
        }
        held.push(records);
    }
    held.clear();
    poll_until(&[&consumer], "it is at the end", || {
        partitions(&topic, 2).iter().all(|partition| consumer.lag(partition) == Some(0))
    })
    .await;
    assert_eq!(consumer.health().await.unwrap().buffered_bytes, 0);
    assert!(consumer.close(PATIENCE).await.is_ok());
}
