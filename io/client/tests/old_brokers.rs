//! What a client does with a broker that lacks what the client would like to ask.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kohort::cluster::ClusterError;
use kohort::consumer::{Consumer, ConsumerBuilder, MembershipError, PollError, TopicPartition};
use kohort::producer::{Producer, ProducerRecord, SendError};
use kohort_protocol::messages::metadata::MetadataResponseBroker;
use kohort_protocol::messages::offset_fetch::{
    OffsetFetchResponse, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kohort_protocol::messages::produce::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kohort_protocol::{ApiKey, ErrorCode, frame};
use support::{Answers, OldBroker};

/// How long a state may take to come about before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn consumer(broker: &OldBroker) -> ConsumerBuilder {
    Consumer::builder().bootstrap_servers(&broker.servers()).group_id("g")
}

#[tokio::test]
async fn a_static_member_is_told_that_the_broker_knows_none_and_does_not_join() {
    // As Kafka 2.2 is: it would leave the name out and take the member for a dynamic one.
    let apis = [
        (ApiKey::JoinGroup, 4),
        (ApiKey::SyncGroup, 2),
        (ApiKey::Heartbeat, 2),
        (ApiKey::LeaveGroup, 2),
        (ApiKey::OffsetCommit, 6),
        (ApiKey::OffsetFetch, 5),
    ];
    let broker = OldBroker::start(7, &apis, Arc::new(|_, _, _, _| None));
    let consumer = consumer(&broker).set("group.instance.id", "i").build().unwrap();
    consumer.subscribe(["t"]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let told = loop {
        assert!(Instant::now() < deadline, "{:?}", broker.seen());
        if let Err(told) = consumer.poll(Duration::from_millis(100)).await {
            break told;
        }
    };
    let PollError::Group(why @ MembershipError::InstanceIdUnsupported { .. }) = &told else {
        panic!("{told:?}");
    };
    assert!(why.is_final() && told.to_string().contains("group.instance.id"), "{told}");
    assert!(consumer.close(PATIENCE).await.is_ok());
    let asked = |api: &ApiKey| broker.has_seen(*api);
    assert!(![ApiKey::JoinGroup, ApiKey::LeaveGroup].iter().any(asked), "{:?}", broker.seen());
}

#[tokio::test]
async fn a_position_is_not_validated_by_a_broker_that_wants_more_than_the_right_to_read() {
    // Others of its cluster may tell epochs. In version 2 the question where one ended needs the right to
    // act for the cluster.
    let apis = [
        (ApiKey::OffsetForLeaderEpoch, 2),
        (ApiKey::ListOffsets, 5),
        (ApiKey::Fetch, 10),
        (ApiKey::OffsetFetch, 5),
    ];
    let broker = OldBroker::start(
        9,
        &apis,
        Arc::new(|api, version, id, _| {
            let partition = OffsetFetchResponsePartition {
                committed_offset: 42,
                committed_leader_epoch: 5,
                ..Default::default()
            };
            let topic =
                OffsetFetchResponseTopic { name: "t".to_owned(), partitions: vec![partition] };
            let answer = OffsetFetchResponse { topics: vec![topic], ..Default::default() };
            (api == ApiKey::OffsetFetch)
                .then(|| frame::encode_response(&answer, version, id).unwrap())
        }),
    );
    let consumer = consumer(&broker).build().unwrap();
    consumer.assign([TopicPartition::new("t", 0)]).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !broker.has_seen(ApiKey::Fetch) {
        assert!(Instant::now() < deadline, "{:?}: {:?}", broker.seen(), consumer.health().await);
        let _ = consumer.poll(Duration::from_millis(50)).await;
    }
    assert!(!broker.has_seen(ApiKey::OffsetForLeaderEpoch), "{:?}", broker.seen());
    drop(consumer);
}

/// Answers every Produce with this code.
fn produced(error_code: ErrorCode) -> Answers {
    Arc::new(move |_, version, id, _| {
        let error_message = (!error_code.is_ok()).then(|| "one is not two".to_owned());
        let partition =
            PartitionProduceResponse { error_code, error_message, ..Default::default() };
        let topic = TopicProduceResponse {
            name: "t".to_owned(),
            partition_responses: vec![partition],
            ..Default::default()
        };
        let answer = ProduceResponse { responses: vec![topic], ..Default::default() };
        Some(frame::encode_response(&answer, version, id).unwrap())
    })
}

#[tokio::test]
async fn a_send_that_times_out_tells_what_the_leader_kept_answering() {
    let broker =
        OldBroker::start(9, &[(ApiKey::Produce, 8)], produced(ErrorCode::NOT_ENOUGH_REPLICAS));
    let producer = Producer::builder()
        .set("bootstrap.servers", &broker.servers())
        .set("enable.idempotence", "false")
        .set("request.timeout.ms", "1000")
        .set("delivery.timeout.ms", "2000")
        .build()
        .unwrap();
    let first = producer.send(ProducerRecord::to("t").value("x")).await.unwrap();
    // Behind it, and never sent.
    let second = producer.send(ProducerRecord::to("t").value("y")).await.unwrap();
    for delivery in [first, second] {
        let error = delivery.await.unwrap_err();
        let SendError::Timeout { cause: Some(cause), .. } = &error else { panic!("{error}") };
        let ClusterError::Refused { code: ErrorCode::NOT_ENOUGH_REPLICAS, .. } = **cause else {
            panic!("{cause}");
        };
        assert_eq!(
            error.to_string(),
            "`t-0` was not written within 2s (`delivery.timeout.ms`): \
         the last answer of its leader: NOT_ENOUGH_REPLICAS (one is not two)"
        );
    }
}

#[tokio::test]
async fn a_topic_recreated_without_an_id_is_written_to_on_its_new_leader() {
    let apis = [(ApiKey::Produce, 8)];
    let old = OldBroker::start(9, &apis, produced(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    let new = OldBroker::start(9, &apis, produced(ErrorCode::NONE));
    let producer = Producer::builder()
        .set("bootstrap.servers", &old.servers())
        .set("enable.idempotence", "false")
        .build()
        .unwrap();
    // The topic is known before it is created anew: with its first leader, of epoch 6.
    assert_eq!(producer.partitions("t").await.unwrap(), 1);
    let mut cluster = old.cluster.lock().clone();
    let other = MetadataResponseBroker { node_id: 2, ..new.cluster.lock().brokers[0].clone() };
    cluster.brokers.push(other);
    let partition = &mut cluster.topics[0].partitions[0];
    (partition.leader_id, partition.leader_epoch) = (2, 0);
    *new.cluster.lock() = cluster.clone();
    *old.cluster.lock() = cluster;
    let sent = producer.send(ProducerRecord::to("t").value("x").partition(0)).await.unwrap();
    let written = tokio::time::timeout(PATIENCE, sent).await.unwrap_or_else(|_| {
        panic!("{:?} {:?}", old.seen(), new.seen());
    });
    assert_eq!(written.unwrap().partition, 0);
    assert!(old.has_seen(ApiKey::Produce) && new.has_seen(ApiKey::Produce));
}
