//! Partitions read apart, against a real broker: ours, or the one at `KOHORT_TEST_BOOTSTRAP`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kohort::consumer::{
    CommitError, CommitRefusal, ConsumerBuilder, ConsumerError, PartitionStream, PollError,
    StreamEnd, StreamError, TopicPartition,
};
use support::{
    PATIENCE, bootstrap, cooperative_member, create_topic, member, partitions, poll_until, produce,
    read_until, unique, values,
};
use tokio::task::JoinSet;

/// Reads `count` records, which a test waits for with patience.
async fn read(stream: &mut PartitionStream, count: usize) -> Vec<u64> {
    let mut read = Vec::new();
    while read.len() < count {
        let next = tokio::time::timeout(PATIENCE, stream.next());
        read.extend(values(&next.await.unwrap().unwrap()).into_iter().map(|(_, value)| value));
    }
    read
}

fn end(outcome: Result<kohort::consumer::Records, StreamError>) -> StreamEnd {
    match outcome {
        Err(StreamError::Ended(end)) => end,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_task_for_each_partition_reads_all_of_it_in_order_and_commits() {
    let servers = bootstrap();
    let (topic, group) = (unique("streams"), unique("group"));
    create_topic(&servers, &topic, 3).await;
    produce(&servers, &topic, 3, 0, 100).await;
    let consumer = Arc::new(member(&servers, &group).build().unwrap());
    consumer.subscribe([&topic]).unwrap();
    let mut tasks = JoinSet::new();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let next = tokio::time::timeout(PATIENCE, consumer.next_stream());
        let mut stream = next.await.unwrap().unwrap();
        seen.insert(stream.partition().clone());
        tasks.spawn(async move {
            assert_eq!(read(&mut stream, 100).await, (0..100).collect::<Vec<_>>());
            stream.commit().await.unwrap();
            stream
        });
    }
    let streams = tasks.join_all().await;
    let all = partitions(&topic, 3);
    assert_eq!(seen, all);
    let committed = consumer.committed(all.clone()).await.unwrap();
    assert!(committed.len() == 3 && committed.values().all(|it| it.offset == 100), "{committed:?}");
    let taken = consumer.stream(streams[0].partition());
    assert!(matches!(taken, Err(ConsumerError::NotAssigned { .. })), "it is somebody's already");
    // What is not read apart any more is polled again, from where the stream was.
    drop(streams);
    produce(&servers, &topic, 3, 100, 1).await;
    let read = read_until(&consumer, |read| read.len() >= 3).await;
    assert_eq!(read.iter().map(|it| it.0).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2]));
    assert!(read.iter().all(|(_, value)| *value == 100), "{read:?}");
    assert!(Arc::into_inner(consumer).unwrap().close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_revoked_stream_finishes_and_commits_before_the_partition_moves_and_never_after() {
    let servers = bootstrap();
    let (topic, group) = (unique("revoked"), unique("group"));
    create_topic(&servers, &topic, 2).await;
    produce(&servers, &topic, 2, 0, 10).await;
    let start = || cooperative_member(&servers, &group, &topic);
    let first = start();
    let mut streams = Vec::new();
    for _ in 0..2 {
        let next = tokio::time::timeout(PATIENCE, first.next_stream());
        let mut stream = next.await.unwrap().unwrap();
        read(&mut stream, 10).await;
        streams.push(stream);
    }
    let second = start();
    // One of the two ends; the second member waits for it however long it polls.
    let [one, other] = &mut streams[..] else { panic!("there are two") };
    let revoked = tokio::time::timeout(PATIENCE, async {
        loop {
            tokio::select! {
                biased;
                outcome = one.next() => break (end(outcome), 0),
                outcome = other.next() => break (end(outcome), 1),
                polled = second.poll(Duration::from_millis(20)) => drop(polled.unwrap()),
            }
        }
    });
    let (why, index) = revoked.await.unwrap();
    assert_eq!(why, StreamEnd::Revoked);
    let revoked = streams.swap_remove(index);
    let partition = revoked.partition().clone();
    assert!(first.assignment().contains(&partition) && second.assignment().is_empty());
    revoked.commit().await.unwrap();
    drop(revoked);
    let moved = BTreeSet::from([partition.clone()]);
    poll_until(&[&second], "it moves", || second.assignment() == moved).await;
    let committed = second.committed(moved.clone()).await.unwrap();
    assert_eq!(committed[&partition].offset, 10);
    // The kept one goes on as if nothing had happened.
    produce(&servers, &topic, 2, 10, 1).await;
    assert_eq!(read(&mut streams[0], 1).await, [10]);
    assert!(second.close(PATIENCE).await.is_ok() && first.close(PATIENCE).await.is_ok());
    assert_eq!(end(streams[0].next().await), StreamEnd::Closed);
}

#[tokio::test]
async fn a_stream_of_an_ownership_that_is_over_ends_and_its_commits_are_refused() {
    let servers = bootstrap();
    let (topic, group) = (unique("stale"), unique("group"));
    create_topic(&servers, &topic, 2).await;
    produce(&servers, &topic, 2, 0, 10).await;
    let consumer = member(&servers, &group).build().unwrap();
    let [zero, one] = [0, 1].map(|it| TopicPartition::new(topic.as_str(), it));
    consumer.assign([zero.clone()]).await.unwrap();
    let mut stream = consumer.stream(&zero).unwrap();
    read(&mut stream, 10).await;
    consumer.assign([one]).await.unwrap();
    assert_eq!(end(stream.next().await), StreamEnd::Unassigned);
    consumer.assign([zero.clone()]).await.unwrap();
    match stream.commit_offset(7).await {
        Err(CommitError::Partitions { failures }) => {
            assert_eq!(failures[&zero], CommitRefusal::NotOwned);
        }
        other => panic!("{other:?}"),
    }
    // The new ownership has a stream of its own, which the old one's end does not touch.
    let mut again = consumer.stream(&zero).unwrap();
    drop(stream);
    assert_eq!(read(&mut again, 10).await.len(), 10);
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn what_a_worker_that_panics_had_not_processed_is_given_to_the_next_one() {
    let servers = bootstrap();
    let (topic, group) = (unique("panics"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 30).await;
    let consumer = Arc::new(member(&servers, &group).build().unwrap());
    let zero = TopicPartition::new(topic.as_str(), 0);
    consumer.assign([zero.clone()]).await.unwrap();
    for (committed, from) in [(None, 0), (Some(12), 0), (None, 12)] {
        let mut stream = consumer.stream(&zero).unwrap();
        let worker = tokio::spawn(async move {
            let given = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
            assert_eq!(values(&given)[0], (0, from), "what was not processed comes first");
            if let Some(offset) = committed {
                stream.commit_offset(offset).await.unwrap();
            }
            panic!("the worker fails");
        });
        let panic = worker.await.expect_err("it panics").into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"the worker fails"));
    }
    assert_eq!(consumer.position(&zero), Some(12));
    consumer.commit_sync().await.unwrap();
    let committed = consumer.committed([zero.clone()]).await.unwrap();
    assert_eq!(committed[&zero].offset, 12, "no commit passes what nobody has processed");
    let read = read_until(&consumer, |read| read.len() >= 18).await;
    assert_eq!(read.iter().map(|it| it.1).collect::<Vec<_>>(), (12..30).collect::<Vec<_>>());
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_released_stream_is_done_with_all_it_was_given_and_a_seek_says_where_it_began() {
    let servers = bootstrap();
    let (topic, group) = (unique("released"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 10).await;
    let consumer = member(&servers, &group).build().unwrap();
    let zero = TopicPartition::new(topic.as_str(), 0);
    consumer.assign([zero.clone()]).await.unwrap();
    let mut stream = consumer.stream(&zero).unwrap();
    read(&mut stream, 10).await;
    stream.release();
    assert_eq!(consumer.position(&zero), Some(10));
    let mut stream = consumer.stream(&zero).unwrap();
    consumer.seek(&zero, 4).await.unwrap();
    assert_eq!(read(&mut stream, 6).await, [4, 5, 6, 7, 8, 9]);
    drop(stream);
    assert_eq!(consumer.position(&zero), Some(4));
    assert_eq!(read_until(&consumer, |read| read.len() >= 6).await[0], (0, 4));
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_stream_nobody_reads_leaves_the_others_their_share() {
    let servers = bootstrap();
    let (topic, group) = (unique("slow"), unique("group"));
    create_topic(&servers, &topic, 2).await;
    let consumer = member(&servers, &group).memory_budget(512 * 1024).build().unwrap();
    let all = partitions(&topic, 2);
    consumer.assign(all.clone()).await.unwrap();
    let [slow, fast] = [0, 1].map(|it| TopicPartition::new(topic.as_str(), it));
    let mut slow = consumer.stream(&slow).unwrap();
    let mut fast = consumer.stream(&fast).unwrap();
    // Several times the whole budget passes by the one that stands still.
    produce(&servers, &topic, 2, 0, 40_000).await;
    assert_eq!(read(&mut fast, 40_000).await, (0..40_000).collect::<Vec<_>>());
    // A read that is given up has taken nothing.
    for _ in 0..3 {
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            read = slow.next() => panic!("{read:?}"),
        }
    }
    assert_eq!(read(&mut slow, 40_000).await, (0..40_000).collect::<Vec<_>>());
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_stream_is_told_what_stops_its_partition_and_goes_on_after_it() {
    let servers = bootstrap();
    let (topic, group) = (unique("no-offset"), unique("group"));
    create_topic(&servers, &topic, 1).await;
    produce(&servers, &topic, 1, 0, 10).await;
    let consumer = member(&servers, &group).set("auto.offset.reset", "none").build().unwrap();
    let zero = TopicPartition::new(topic.as_str(), 0);
    consumer.assign([zero.clone()]).await.unwrap();
    let mut stream = consumer.stream(&zero).unwrap();
    let told = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    assert!(
        matches!(&told, Err(StreamError::Poll(PollError::NoOffset { partition, out_of_range: None }))
            if *partition == zero),
        "{told:?}"
    );
    assert!(consumer.poll(Duration::ZERO).await.unwrap().is_empty(), "polls are not concerned");
    consumer.seek(&zero, 3).await.unwrap();
    assert_eq!(read(&mut stream, 7).await, (3..10).collect::<Vec<_>>());
    // What nobody has heard when the stream is dropped is told to polls.
    consumer.seek(&zero, 1_000).await.unwrap();
    drop(stream);
    let told = consumer.poll(PATIENCE).await;
    assert!(matches!(told, Err(PollError::NoOffset { out_of_range: Some(1_000), .. })), "{told:?}");
    assert!(consumer.close(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn whoever_waits_for_a_stream_is_told_what_polls_are_told() {
    let servers = bootstrap();
    let next = async |builder: ConsumerBuilder, topic: &str| {
        let consumer = builder.build().unwrap();
        consumer.subscribe([topic]).unwrap();
        let next = tokio::time::timeout(PATIENCE, consumer.next_stream()).await;
        let Ok(next) = next else { panic!("{topic}: {:?}", consumer.health().await) };
        let error = next.expect_err("there is none");
        let _ = consumer.close(Duration::from_secs(1)).await;
        error
    };
    let error = next(member(&servers, &unique("group")), "no topic's name").await;
    assert!(
        matches!(&error, PollError::Topic { topic, .. } if **topic == *"no topic's name"),
        "{error}"
    );
    let far = member(&servers, &unique("group")).set("session.timeout.ms", "100000000");
    let error = next(far, &unique("topic")).await;
    assert!(matches!(error, PollError::Group(_)), "{error}");
}
