//! What `Consumer::health` says of refusals, so that nobody has to guess why nothing comes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use kohort::consumer::{Consumer, ConsumerBuilder, PollError, StreamError, TopicPartition};
use kohort_protocol::ErrorCode;
use support::{OwnBroker, PATIENCE, create_topic, folder, member_with_session, own, unique};

#[tokio::test]
async fn a_group_that_refuses_a_consumer_is_named_until_it_is_in_one() {
    let broker = OwnBroker::start(folder(), 0, None);
    let (servers, topic) = (broker.servers(), unique("refused"));
    create_topic(&servers, &topic, 1).await;
    // The broker takes no session below a second.
    let consumer = member_with_session(&servers, "g", Duration::from_millis(500)).build().unwrap();
    consumer.subscribe([&topic]).unwrap();
    let error = consumer.poll(PATIENCE).await.unwrap_err();
    assert!(matches!(error, PollError::Group(_)), "{error}");
    let health = consumer.health().await.unwrap();
    assert_eq!(health.group.unwrap().to_string(), error.to_string());
    assert!(health.member.is_none_or(|(_, generation)| generation < 0));
    consumer.subscribe([&topic]).unwrap();
    let again = consumer.poll(PATIENCE).await.unwrap_err();
    assert!(matches!(again, PollError::Group(_)), "asked anew, refused anew: {again}");
    let welcome = member_with_session(&servers, "g", PATIENCE).build().unwrap();
    welcome.subscribe([&topic]).unwrap();
    own(&welcome, 1).await;
    assert!(welcome.health().await.unwrap().group.is_none());
}

/// A listener that answers as one does that wants TLS: with an alert.
fn wants_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 10]);
        }
    });
    port
}

#[tokio::test]
async fn a_cluster_that_refuses_a_consumer_and_a_topic_that_is_not_there_are_named() {
    let stranger = Consumer::builder()
        .bootstrap_servers(&format!("127.0.0.1:{}", wants_tls()))
        .build()
        .unwrap();
    stranger.assign([TopicPartition::new("t", 0)]).await.unwrap();
    let error = stranger.poll(PATIENCE).await.unwrap_err();
    let refused = stranger.health().await.unwrap().cluster;
    assert_eq!(refused.unwrap().to_string(), error.to_string());
    // So it is for streams, and whoever waits for one.
    let mut stream = stranger.stream(&TopicPartition::new("t", 0)).unwrap();
    let told = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    assert!(matches!(told, Err(StreamError::Poll(PollError::Cluster(_)))), "{told:?}");
    let told = tokio::time::timeout(PATIENCE, stranger.next_stream()).await.unwrap();
    assert!(matches!(told, Err(PollError::Cluster(_))), "{told:?}");

    let broker = OwnBroker::start(folder(), 0, None);
    let known = Consumer::builder()
        .bootstrap_servers(&broker.servers())
        .set("allow.auto.create.topics", "false")
        .build()
        .unwrap();
    let missing = TopicPartition::new(unique("missing").as_str(), 0);
    known.assign([missing.clone()]).await.unwrap();
    let named = support::until(|| async {
        let health = known.health().await.unwrap();
        assert!(health.cluster.is_none() && health.group.is_none());
        health.topics.get(&missing.topic).copied()
    })
    .await;
    assert_eq!(named, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

/// An address at which nobody listens.
fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn reader(servers: &str) -> ConsumerBuilder {
    Consumer::builder().bootstrap_servers(servers).set("allow.auto.create.topics", "false")
}

/// Waits until the consumer says what keeps it from its cluster.
async fn trouble(consumer: &Consumer) -> String {
    consumer.assign([TopicPartition::new("t", 0)]).await.unwrap();
    // Whoever polls is told nothing: the cluster may come.
    assert!(consumer.poll(Duration::from_millis(50)).await.unwrap().is_empty());
    let named = support::until(|| async { consumer.health().await.unwrap().cluster }).await;
    assert!(!named.is_refusal(), "{named}");
    named.to_string()
}

#[tokio::test]
async fn a_cluster_that_is_out_of_reach_is_named_with_the_cause_until_it_is_back() {
    let port = nobody();
    let consumer = reader(&format!("127.0.0.1:{port}")).build().unwrap();
    let named = trouble(&consumer).await;
    assert!(named.contains(&format!("cannot connect to 127.0.0.1:{port}")), "{named}");
    let _broker = OwnBroker::start(folder(), port, None);
    support::until(|| async { consumer.health().await.unwrap().cluster.is_none().then_some(()) })
        .await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_and_a_broker_at_a_wrong_address_are_named() {
    let broker = OwnBroker::start(folder(), 0, None);
    let authority = support::certificates::Authority::new("ca");
    let encrypted = reader(&broker.servers())
        .set("security.protocol", "SSL")
        .set("ssl.truststore.certificates", &authority.pem)
        .build()
        .unwrap();
    let named = trouble(&encrypted).await;
    assert!(named.contains("a listener without TLS does that"), "{named}");

    // It answers, and names an address at which nobody is.
    let wrong = nobody();
    let elsewhere = OwnBroker::start(folder(), 0, Some(wrong));
    let lost = reader(&elsewhere.servers()).build().unwrap();
    let named = trouble(&lost).await;
    assert!(named.contains(&format!("cannot connect to 127.0.0.1:{wrong}")), "{named}");
}
