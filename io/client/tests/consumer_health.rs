//! What `Consumer::health` says of refusals, so that nobody has to guess why nothing comes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kohort::consumer::{Consumer, ConsumerBuilder, PollError, StreamError, TopicPartition};
use kohort_protocol::ErrorCode;
use support::{
    OwnBroker, PATIENCE, create_topic, folder, member_with_session, own, own_address, unique,
};

#[tokio::test]
async fn a_group_that_refuses_a_consumer_is_named_until_it_is_in_one() {
    let broker = OwnBroker::start(folder(), own_address(), None);
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
    for _ in 0..3 {
        let again = consumer.poll(PATIENCE).await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string(), "it asked again");
        assert!(!again.is_retriable(), "but somebody has to change the session");
    }
    let welcome = member_with_session(&servers, "g", PATIENCE).build().unwrap();
    welcome.subscribe([&topic]).unwrap();
    own(&welcome, 1).await;
    assert!(welcome.health().await.unwrap().group.is_none());
}

/// A group as large as it may be has room for another member once one has left; until then that hears of
/// each refusal, and of nothing more: a refusal that lasts must not turn a loop of polls into a busy one.
#[tokio::test]
async fn a_member_that_finds_its_group_full_comes_in_when_there_is_room() {
    let one = &[("group.max.size", "1"), ("group.consumer.max.size", "1")];
    let broker = OwnBroker::start_with(folder(), own_address(), None, one);
    let (servers, topic) = (broker.servers(), unique("full"));
    create_topic(&servers, &topic, 1).await;
    for protocol in ["classic", "consumer"] {
        let start = || {
            let member = Consumer::builder().bootstrap_servers(&servers).group_id(protocol);
            let member = member.set("group.protocol", protocol).build().unwrap();
            member.subscribe([&topic]).unwrap();
            member
        };
        let first = start();
        own(&first, 1).await;
        let second = start();
        for _ in 0..3 {
            let error = second.poll(PATIENCE).await.unwrap_err();
            assert!(error.to_string().contains("GROUP_MAX_SIZE_REACHED"), "{error}");
            assert_eq!(
                second.health().await.unwrap().group.map(|it| it.to_string()),
                Some(error.to_string())
            );
        }
        assert!(first.close(PATIENCE).await.is_ok());
        support::until(|| async {
            let _ = second.poll(Duration::from_millis(20)).await;
            (second.assignment().len() == 1).then_some(())
        })
        .await;
        assert!(second.health().await.unwrap().group.is_none());
        assert!(second.close(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn what_ended_a_membership_is_told_again_by_whoever_has_waited() {
    let broker = OwnBroker::start(folder(), own_address(), None);
    let (servers, topic) = (broker.servers(), unique("fenced"));
    create_topic(&servers, &topic, 1).await;
    let start = || {
        let member = Consumer::builder().bootstrap_servers(&servers).group_id("g");
        let member = member.set("group.instance.id", "i").set("heartbeat.interval.ms", "100");
        let member = member.build().unwrap();
        member.subscribe([&topic]).unwrap();
        member
    };
    let first = start();
    own(&first, 1).await;
    let second = start();
    own(&second, 1).await;
    let why = first.poll(PATIENCE).await.unwrap_err();
    assert!(why.to_string().contains("was replaced by another process"), "{why}");
    assert!(!why.is_retriable());
    for timeout in [0, 20, 20] {
        let again = first.poll(Duration::from_millis(timeout)).await.unwrap_err();
        assert_eq!(again.to_string(), why.to_string());
    }
    let stream = tokio::time::timeout(PATIENCE, first.next_stream()).await.unwrap();
    assert_eq!(stream.unwrap_err().to_string(), why.to_string());
    // Nobody asked for the instance again.
    assert!(second.poll(Duration::from_millis(20)).await.is_ok());
    assert_eq!(second.assignment().len(), 1);
    first.assign([]).await.unwrap();
    let none = first.poll(Duration::from_millis(20)).await;
    assert!(matches!(none, Err(PollError::NotSubscribed)), "{none:?}");
}

#[tokio::test]
async fn polls_are_told_of_a_cluster_that_refuses_them_once_for_each_attempt() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let servers = format!("127.0.0.1:{}", wants_tls(attempts.clone()));
    let consumer = Consumer::builder().bootstrap_servers(&servers).build().unwrap();
    consumer.assign([TopicPartition::new("t", 0)]).await.unwrap();
    let mut told = 0;
    for timeout in [0, 50, 0, 50, 0, 50] {
        told += usize::from(consumer.poll(Duration::from_millis(timeout)).await.is_err());
        assert!(told <= attempts.load(Ordering::SeqCst), "{told}");
    }
    for _ in 0..3 {
        let error = consumer.poll(PATIENCE).await.unwrap_err();
        assert!(matches!(error, PollError::Cluster(_)), "it is told as long as it lasts: {error}");
        told += 1;
        assert!(told <= attempts.load(Ordering::SeqCst), "{told}");
    }
}

/// A listener that answers as one does that wants TLS: with an alert. It counts who comes.
fn wants_tls(came: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            came.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 10]);
        }
    });
    port
}

#[tokio::test]
async fn a_cluster_that_refuses_a_consumer_and_a_topic_that_is_not_there_are_named() {
    let stranger = Consumer::builder()
        .bootstrap_servers(&format!("127.0.0.1:{}", wants_tls(Arc::default())))
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

    let broker = OwnBroker::start(folder(), own_address(), None);
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

#[tokio::test]
async fn polls_are_told_of_a_listener_that_closes_what_it_does_not_understand() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().read(&mut [0; 1024]);
        }
    });
    let consumer = reader(&format!("127.0.0.1:{port}")).build().unwrap();
    consumer.assign([TopicPartition::new("t", 0)]).await.unwrap();
    let told = consumer.poll(PATIENCE).await.unwrap_err();
    assert!(told.to_string().contains("a listener with TLS does that"), "{told}");
}

fn reader(servers: &str) -> ConsumerBuilder {
    Consumer::builder().bootstrap_servers(servers).set("allow.auto.create.topics", "false")
}

/// Waits until the consumer says what keeps it from its cluster.
async fn trouble(consumer: &Consumer) -> String {
    consumer.assign([TopicPartition::new("t", 0)]).await.unwrap();
    let named = support::until(|| async { consumer.health().await.unwrap().cluster }).await;
    assert!(!named.is_refusal(), "{named}");
    named.to_string()
}

#[tokio::test]
async fn a_cluster_that_is_out_of_reach_is_named_with_the_cause_until_it_is_back() {
    let address = own_address();
    let consumer = reader(&address.to_string()).build().unwrap();
    let named = trouble(&consumer).await;
    assert!(named.contains(&format!("cannot connect to {address}")), "{named}");
    // Whoever polls is told nothing: the cluster may come.
    assert!(consumer.poll(Duration::from_millis(50)).await.unwrap().is_empty());
    let _broker = OwnBroker::start(folder(), address, None);
    support::until(|| async { consumer.health().await.unwrap().cluster.is_none().then_some(()) })
        .await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_and_a_broker_at_a_wrong_address_are_named() {
    let broker = OwnBroker::start(folder(), own_address(), None);
    let authority = support::certificates::Authority::new("ca");
    let encrypted = reader(&broker.servers())
        .set("security.protocol", "SSL")
        .set("ssl.truststore.certificates", &authority.pem)
        .build()
        .unwrap();
    let named = trouble(&encrypted).await;
    assert!(named.contains("a listener without TLS does that"), "{named}");
    // It may be restarting; after some attempts polls are told as well, and it goes on trying.
    for _ in 0..2 {
        let told = encrypted.poll(PATIENCE).await.unwrap_err();
        assert!(told.is_retriable() && told.to_string() == named, "{told}");
    }

    // It answers, and names an address at which nobody is.
    let elsewhere = OwnBroker::start(folder(), own_address(), Some(1));
    let lost = reader(&elsewhere.servers()).build().unwrap();
    let named = trouble(&lost).await;
    assert!(lost.poll(Duration::from_millis(50)).await.unwrap().is_empty());
    assert!(named.contains("cannot connect to 127.0.0.1:1:"), "{named}");
}
