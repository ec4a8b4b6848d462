//! How commits and memberships end: dropped, closed, unsubscribed or assigned anew.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kohort::admin::{Admin, AdminError, CommittedOffset};
use kohort::config::{AdminConfig, Properties};
use kohort::consumer::{
    CloseError, CloseOptions, CommitError, CommitRefusal, Consumer, ConsumerError, FetchStatus,
    GroupMembershipOperation, PollError, Records, TopicPartition,
};
use kohort_protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use kohort_protocol::{ApiKey, ErrorCode};
use support::nodes::Nodes;
use support::{
    PATIENCE, bootstrap, create_topic, member, member_by, own, partitions, produce, read_until,
    unique,
};

fn zero(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

/// Nothing could come, however long one waits.
#[tokio::test]
async fn whoever_polls_with_nothing_subscribed_or_assigned_is_told_at_once() {
    let servers = bootstrap();
    let (topic, group) = (unique("nothing"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    let consumer = member(&servers, &group).build().unwrap();
    let told = async || {
        let polled = tokio::time::timeout(PATIENCE, consumer.poll(Duration::MAX)).await.unwrap();
        let stream = tokio::time::timeout(PATIENCE, consumer.next_stream()).await.unwrap();
        for told in [polled.map(drop), stream.map(drop)] {
            match told {
                Err(error @ PollError::NotSubscribed) => assert!(!error.is_retriable()),
                other => panic!("{other:?}"),
            }
        }
    };
    told().await;
    consumer.subscribe([&topic]).unwrap();
    // It counts from the call on, long before the group has the member.
    assert!(consumer.poll(Duration::ZERO).await.unwrap().is_empty());
    consumer.unsubscribe().await.unwrap();
    told().await;
    let zero = TopicPartition::new(topic.as_str(), 0);
    consumer.assign([zero.clone()]).await.unwrap();
    assert!(consumer.poll(Duration::ZERO).await.unwrap().is_empty());
    consumer.assign([]).await.unwrap();
    told().await;
    assert!(consumer.close(PATIENCE).await.is_ok());
    assert!(matches!(consumer.poll(Duration::ZERO).await, Err(PollError::Closed)));
}

#[tokio::test]
async fn a_dropped_consumer_commits_and_leaves_at_once() {
    let servers = bootstrap();
    let (topic, group) = (unique("dropped"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 10).await;
    let start = || {
        let consumer = member(&servers, &group).set("enable.auto.commit", "true").build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        consumer
    };
    let first = start();
    read_until(&first, |read| read.len() == 10).await;
    drop(first);
    produce(&servers, &topic, 1, 10, 1).await;
    let second = start();
    let read = read_until(&second, |read| !read.is_empty()).await;
    assert_eq!(read, [(0, 10)], "what was processed is committed");
    assert!(second.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn what_was_read_to_its_end_in_any_way_is_committed_by_closing() {
    type Walk = fn(&Records) -> usize;
    let ways: [(Walk, i64); 8] = [
        (|it| it.iter().count(), 10),
        (|it| it.batches().map(|batch| batch.iter().count()).sum(), 10),
        (|it| it.to_owned_records().len(), 10),
        (|it| it.partitions().map(|partition| it.of_partition(partition).count()).sum(), 10),
        // Some of it one way, all of it another.
        (
            |it| {
                it.of_partition(it.partitions().next().unwrap()).count()
                    + it.to_owned_records().len()
            },
            10,
        ),
        // Not to the end.
        (|it| it.iter().take(it.len()).count(), 0),
        (|it| it.of_partition(it.partitions().next().unwrap()).count(), 0),
        (|it| it.batches().skip(1).map(|batch| batch.iter().count()).sum(), 0),
    ];
    let servers = bootstrap();
    let topic = unique("ways");
    create_topic(&servers, &topic, 2).await;
    produce(&servers, &topic, 2, 0, 10).await;
    for (number, (walk, expected)) in ways.into_iter().enumerate() {
        let group = unique("group");
        let consumer = member(&servers, &group).set("enable.auto.commit", "true").build().unwrap();
        let all = partitions(&topic, 2);
        consumer.assign(all.clone()).await.unwrap();
        // All that there is, as one poll.
        let deadline = Instant::now() + PATIENCE;
        while consumer.health().await.unwrap().buffered_bytes == 0
            || all.iter().any(|it| consumer.lag(it) != Some(10))
        {
            assert!(Instant::now() < deadline, "{:?}", consumer.health().await);
        }
        let records = consumer.poll(PATIENCE).await.unwrap();
        assert_eq!(records.len(), 20);
        assert!(walk(&records) > 0);
        assert!(consumer.close(PATIENCE).await.is_ok());
        let reader = member(&servers, &group).build().unwrap();
        let committed = reader.committed(all.clone()).await.unwrap();
        for partition in &all {
            let offset = committed.get(partition).map_or(0, |it| it.offset);
            assert_eq!(offset, expected, "{number}: {committed:?}");
        }
    }
}

#[tokio::test]
async fn a_commit_of_the_application_is_not_undone_by_auto_commit() {
    let servers = bootstrap();
    let (topic, group) = (unique("undone"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 10).await;
    let consumer = member(&servers, &group)
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "300")
        .build()
        .unwrap();
    consumer.subscribe([&topic]).unwrap();
    read_until(&consumer, |read| read.len() == 10).await;
    consumer.commit_sync().await.unwrap();
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let committed = consumer.committed([zero(&topic)]).await.unwrap();
        assert_eq!(committed[&zero(&topic)].offset, 10);
    }
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_static_member_that_is_told_to_leave_frees_its_partitions_at_once() {
    let servers = bootstrap();
    // Kafka before 4.0 has no other protocol.
    let older = std::env::var_os("KOHORT_TEST_OLDER").is_some();
    let protocols: &[&str] = if older { &["classic"] } else { &["classic", "consumer"] };
    for protocol in protocols {
        let (topic, group) = (unique("retired"), unique("group"));
        create_topic(&servers, &topic, 1).await;
        let start = |instance: &str| {
            let builder = Consumer::builder().bootstrap_servers(&servers).group_id(&group);
            let builder =
                builder.set("group.protocol", protocol).set("group.instance.id", instance);
            let consumer = builder.build().unwrap();
            consumer.subscribe([&topic]).unwrap();
            consumer
        };
        let first = start("a");
        own(&first, 1).await;
        let operation = GroupMembershipOperation::LeaveGroup;
        assert!(first.close_with(CloseOptions { operation, timeout: PATIENCE }).await.is_ok());
        // Long before a session could have ended.
        let second = start("b");
        own(&second, 1).await;
        assert!(second.close(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn a_leave_that_a_broken_connection_has_swallowed_is_said_again() {
    let leaves = Arc::new(AtomicUsize::new(0));
    let counted = leaves.clone();
    let nodes = Nodes::start(1, move |call| match call.api {
        ApiKey::Metadata => call.metadata(&[1], 1),
        ApiKey::FindCoordinator => call.coordinators(),
        ApiKey::ConsumerGroupHeartbeat => {
            let leaves = call.request::<ConsumerGroupHeartbeatRequest>().member_epoch == -1;
            let mut answer = ConsumerGroupHeartbeatResponse {
                member_epoch: 5,
                heartbeat_interval_ms: 5_000,
                assignment: Some(Assignment::default()),
                ..Default::default()
            };
            if leaves {
                if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                    return Vec::new();
                }
                answer.error_code = ErrorCode::UNKNOWN_MEMBER_ID;
            }
            call.answer(&answer)
        }
        api => panic!("{api:?}"),
    });
    let consumer = member_by("consumer", &nodes.servers(), "1-g").build().unwrap();
    consumer.subscribe(["t"]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while consumer.health().await.unwrap().member.is_none() {
        assert!(Instant::now() < deadline, "{:?}", consumer.health().await);
        consumer.poll(Duration::from_millis(20)).await.unwrap();
    }
    assert!(consumer.close(PATIENCE).await.is_ok());
    assert_eq!(leaves.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn unsubscribing_leaves_without_another_poll() {
    let servers = bootstrap();
    let (topic, group) = (unique("unsubscribed"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    let first = member(&servers, &group).build().unwrap();
    first.subscribe([&topic]).unwrap();
    own(&first, 1).await;
    first.unsubscribe().await.unwrap();
    let second = member(&servers, &group).build().unwrap();
    second.subscribe([&topic]).unwrap();
    own(&second, 1).await;
    assert!(first.assignment().is_empty());
    assert!(first.close(PATIENCE).await.is_ok() && second.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_partition_assigned_by_hand_after_the_group_had_it_is_read() {
    let servers = bootstrap();
    for unsubscribe in [true, false] {
        let (topic, group) = (unique("by-hand"), unique("group"));
        create_topic(&servers, &topic, 2).await;
        let consumer = member(&servers, &group).build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        own(&consumer, 2).await;
        if unsubscribe {
            consumer.unsubscribe().await.unwrap();
        }
        consumer.assign([zero(&topic)]).await.unwrap();
        produce(&servers, &topic, 1, 0, 3).await;
        let read = read_until(&consumer, |read| read.len() >= 3).await;
        assert_eq!(read, [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(consumer.assignment(), BTreeSet::from([zero(&topic)]));
        consumer.commit_sync().await.unwrap();
        assert!(consumer.close(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn a_guard_that_nobody_drops_holds_up_neither_close_nor_drop() {
    let servers = bootstrap();
    for close in [true, false] {
        let (topic, group) = (unique("guard"), unique("group"));
        create_topic(&servers, &topic, 2).await;
        let first = member(&servers, &group).build().unwrap();
        first.subscribe([&topic]).unwrap();
        own(&first, 2).await;
        // The guard stays in here.
        let events = first.rebalance_events().unwrap();
        let second = member(&servers, &group).build().unwrap();
        second.subscribe([&topic]).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !first
            .health()
            .await
            .unwrap()
            .partitions
            .values()
            .any(|it| matches!(it, FetchStatus::Revoking))
        {
            assert!(Instant::now() < deadline, "nothing is revoked");
            second.poll(Duration::from_millis(20)).await.unwrap();
        }
        if close {
            assert!(first.close(PATIENCE).await.is_ok());
        } else {
            drop(first);
        }
        own(&second, 2).await;
        drop(events);
        assert!(second.close(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn the_callback_of_a_commit_is_called_even_if_the_consumer_closes_first() {
    // Nobody listens there.
    let consumer = member("127.0.0.1:1", "g").build().unwrap();
    let partition = zero("t");
    consumer.assign([partition.clone()]).await.unwrap();
    consumer.seek(&partition, 5).await.unwrap();
    let (sender, outcome) = tokio::sync::oneshot::channel();
    consumer.commit_with(move |outcome| sender.send(outcome).unwrap());
    let closed = consumer.close(Duration::from_millis(100)).await;
    assert!(matches!(closed, Err(CloseError::Commit(_))), "{closed:?}");
    let Ok(Err(CommitError::Partitions { failures })) = outcome.await else {
        panic!("another end")
    };
    assert_eq!(failures[&partition], CommitRefusal::TimedOut { last: None });
}

#[tokio::test]
async fn a_callback_that_panics_ends_nothing_but_itself() {
    let servers = bootstrap();
    let (topic, group) = (unique("callback"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 10).await;
    let consumer = member(&servers, &group).build().unwrap();
    consumer.subscribe([&topic]).unwrap();
    read_until(&consumer, |read| read.len() == 10).await;
    let (sender, called) = tokio::sync::oneshot::channel();
    consumer.commit_with(move |outcome| {
        sender.send(outcome).unwrap();
        panic!("a mistake of the application's");
    });
    called.await.unwrap().unwrap();
    produce(&servers, &topic, 1, 10, 1).await;
    assert_eq!(read_until(&consumer, |read| !read.is_empty()).await, [(0, 10)]);
    consumer.commit_sync().await.unwrap();
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn times_beyond_all_clocks_are_as_good_as_for_ever() {
    let servers = bootstrap();
    let (topic, group) = (unique("for-ever"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 10).await;
    let consumer = member(&servers, &group)
        .set("enable.auto.commit", "true")
        .with(|mut config| {
            let common = config.common.default_api_timeout(Duration::MAX);
            config.common = common.retry_backoff_max(Duration::MAX);
            config.auto_commit_interval(Duration::MAX)
        })
        .build()
        .unwrap();
    consumer.subscribe([&topic]).unwrap();
    let mut read = 0;
    while read < 10 {
        read += consumer.poll(Duration::MAX).await.unwrap().iter().count();
    }
    assert!(consumer.committed([zero(&topic)]).await.unwrap().is_empty());
    assert!(consumer.close(Duration::MAX).await.is_ok());
}

#[tokio::test]
async fn a_negative_offset_is_refused_and_changes_nothing() {
    let (servers, topic, group) = (bootstrap(), unique("negative"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 3).await;
    let (consumer, zero) = (member(&servers, &group).build().unwrap(), zero(&topic));
    consumer.assign([zero.clone()]).await.unwrap();
    consumer.commit_offsets_sync([(zero.clone(), 2.into())]).await.unwrap();
    consumer.seek(&zero, 1).await.unwrap();
    let sought = consumer.seek(&zero, -5).await;
    assert!(matches!(sought, Err(ConsumerError::NegativeOffset { offset: -5, .. })), "{sought:?}");
    assert_eq!(read_until(&consumer, |read| !read.is_empty()).await, [(0, 1), (0, 2)]);
    let refused = consumer.commit_offsets_sync([(zero.clone(), (-7).into())]).await;
    assert!(matches!(refused, Err(CommitError::NegativeOffset { offset: -7, .. })), "{refused:?}");
    let stream = consumer.stream(&zero).unwrap();
    let refused = stream.commit_offset(-1).await;
    assert!(matches!(refused, Err(CommitError::NegativeOffset { offset: -1, .. })), "{refused:?}");
    drop(stream);
    let admin = AdminConfig::from_pairs([("bootstrap.servers", &servers)]).unwrap();
    let offsets = [(zero.clone(), CommittedOffset { offset: -1, ..Default::default() })];
    let altered = Admin::new(admin).unwrap().alter_group_offsets(&group, offsets.into()).await;
    assert!(matches!(altered, Err(AdminError::NegativeOffset { offset: -1, .. })), "{altered:?}");
    assert_eq!(consumer.committed([zero.clone()]).await.unwrap()[&zero].offset, 2);
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn nothing_is_assigned_once_unsubscribing_has_returned() {
    let servers = bootstrap();
    // A listener that never looks has the guard of the revocation; nobody waits for it.
    for listens in [false, true] {
        let (topic, group) = (unique("unsubscribed"), unique("group"));
        create_topic(&servers, &topic, 2).await;
        let consumer = member(&servers, &group).build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        own(&consumer, 2).await;
        let events = listens.then(|| consumer.rebalance_events().unwrap());
        tokio::time::timeout(PATIENCE, consumer.unsubscribe()).await.unwrap().unwrap();
        assert_eq!(consumer.assignment(), BTreeSet::new());
        drop(events);
        consumer.subscribe([&topic]).unwrap();
        own(&consumer, 2).await;
        assert!(consumer.close(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn a_consumer_that_several_share_closes_once_and_tells_all_of_them() {
    let servers = bootstrap();
    let (topic, group) = (unique("shared"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    let consumer = member(&servers, &group).build().unwrap();
    consumer.subscribe([&topic]).unwrap();
    own(&consumer, 1).await;
    let (polled, one, other) = tokio::join!(
        consumer.poll(Duration::MAX),
        consumer.close(PATIENCE),
        consumer.close(PATIENCE)
    );
    assert!(
        one.is_ok() && other.is_ok() && consumer.close(PATIENCE).await.is_ok(),
        "asked again, told the same"
    );
    assert!(matches!(polled, Err(PollError::Closed)), "{polled:?}");
    assert!(matches!(consumer.poll(PATIENCE).await, Err(PollError::Closed)));
    assert!(matches!(consumer.subscribe([&topic]), Err(ConsumerError::Closed)));
    assert!(matches!(consumer.assign([zero(&topic)]).await, Err(ConsumerError::Closed)));
    assert!(matches!(consumer.commit_sync().await, Err(CommitError::Closed)));
}

#[tokio::test]
async fn pausing_a_partition_that_is_not_owned_changes_nothing() {
    let consumer = Consumer::builder().bootstrap_servers("127.0.0.1:1").build().unwrap();
    consumer.assign([zero("t")]).await.unwrap();
    let stranger = TopicPartition::new("t", 7);
    assert!(consumer.pause([zero("t"), stranger.clone()]).await.is_err());
    assert!(consumer.paused().is_empty());
    consumer.pause([zero("t")]).await.unwrap();
    assert!(consumer.resume([zero("t"), stranger]).await.is_err());
    assert_eq!(consumer.paused(), BTreeSet::from([zero("t")]));
}
