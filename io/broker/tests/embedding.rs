//! A broker as a library: several in one process, refused when it must be, stopped cleanly.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Client, batch, builder, start, values};
use kohort_broker::{Broker, StartError};
use kohort_protocol::messages::MetadataRequest;
use std::net::SocketAddr;

#[tokio::test]
async fn several_brokers_live_in_one_process_apart_from_each_other() {
    let (first, second) = tokio::join!(start(), start());
    assert_ne!(first.broker.local_addr(), second.broker.local_addr());
    assert_ne!(first.broker.cluster_id(), second.broker.cluster_id());
    first.client().await.create_topic("t", 1).await;
    assert!(!second.client().await.describe("t", false).await.error_code.is_ok());
    first.broker.shutdown().await.unwrap();
    second.client().await.create_topic("t", 1).await;
}

#[tokio::test]
async fn a_second_broker_on_the_same_folder_is_refused_by_name() {
    let first = start().await;
    let refused = builder(first.folder.path()).start().await.unwrap_err();
    assert!(matches!(refused, StartError::Open(_)), "{refused:?}");
    let folder = first.folder.path().display().to_string();
    assert!(refused.to_string().contains(&folder), "{refused}");
    // The folder is free again after a clean stop.
    let first = first.restart().await;
    first.broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_broker_that_cannot_be_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, reason) in [
        ("num.partition", "3", "unknown property `num.partition`; the nearest is `num.partitions`"),
        (
            "num.partitions",
            "no",
            "`num.partitions` cannot be `no`: it is not a whole number of 32 bits (range 1 to 2147483647)",
        ),
        (
            "advertised.listeners",
            "SSL://h:1",
            "`advertised.listeners` cannot be `SSL://h:1`: listeners has none of that name",
        ),
    ] {
        let refused = builder(folder.path()).set(name, value).start().await.unwrap_err();
        assert_eq!(refused.to_string(), reason);
    }
    let refused = Broker::builder().data_dir(folder.path()).listen("nonsense").start().await;
    assert!(matches!(refused, Err(StartError::Config(_))), "{refused:?}");
}

#[tokio::test]
async fn every_plaintext_listener_serves_and_tells_its_own_address() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Broker::builder().data_dir(folder.path()).properties(
        b"listeners=PLAINTEXT://127.0.0.1:0,INSIDE://127.0.0.1:0,CONTROLLER://:0\n\
        advertised.listeners = INSIDE://inside:1234\n\
        listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT\n\
        controller.listener.names=CONTROLLER",
    );
    let broker = builder.start().await.unwrap();
    let addresses = broker.local_addrs();
    assert_eq!(addresses.len(), 2);
    let mut told = Vec::new();
    for address in &addresses {
        let mut client = Client::connect(*address).await;
        let response = client.call(&MetadataRequest::default(), 12).await;
        told.push((response.brokers[0].host.clone(), response.brokers[0].port));
    }
    let own = ("127.0.0.1".to_owned(), i32::from(addresses[0].port()));
    assert_eq!(told, [own, ("inside".to_owned(), 1234)]);
    broker.shutdown().await.unwrap();
}

/// As Java's wildcard, which Kafka's shipped `listeners=PLAINTEXT://:9092` means.
#[tokio::test]
async fn listener_without_a_host_serves_ipv6_and_ipv4_and_knows_clients_by_their_own_address() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::builder()
        .data_dir(folder.path())
        .set("listeners", "PLAINTEXT://:0")
        .set("max.connections.per.ip.overrides", "127.0.0.1:1")
        .start()
        .await
        .unwrap();
    let port = broker.local_addr().port();
    let mut hosts = vec!["127.0.0.1"];
    // Where the system has none, nobody comes by it.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(broker.local_addr().to_string(), format!("[::]:{port}"));
        hosts.push("::1");
    }
    let mut clients = Vec::new();
    for host in hosts {
        let mut client = Client::connect(SocketAddr::new(host.parse().unwrap(), port)).await;
        let told = client.call(&MetadataRequest::default(), 12).await.brokers.remove(0);
        assert_eq!((told.host.as_str(), told.port), (host, i32::from(port)));
        clients.push(client);
    }
    Client::connect(([127, 0, 0, 1], port).into()).await.closed().await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let first = start().await;
    let address = first.broker.local_addr();
    let folder = tempfile::tempdir().unwrap();
    let refused = builder(folder.path()).listen(address.to_string()).start().await.unwrap_err();
    assert!(refused.to_string().contains(&address.to_string()), "{refused}");
}

#[tokio::test]
async fn clients_are_told_the_advertised_address_or_the_one_they_came_by() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = builder(folder.path()).listen("0.0.0.0:0").start().await.unwrap();
    let port = everywhere.local_addr().port();
    let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
    let told = client.call(&MetadataRequest::default(), 12).await.brokers.remove(0);
    assert_eq!((told.host.as_str(), told.port), ("127.0.0.1", i32::from(port)));
    everywhere.shutdown().await.unwrap();

    let advertised = builder(folder.path())
        .set("advertised.listeners", "PLAINTEXT://kafka.example:9999")
        .set("node.id", "7")
        .start()
        .await
        .unwrap();
    let mut client = Client::connect(advertised.local_addr()).await;
    let told = client.call(&MetadataRequest::default(), 12).await.brokers.remove(0);
    assert_eq!((told.node_id, told.host.as_str(), told.port), (7, "kafka.example", 9999));
}

#[tokio::test]
async fn another_node_id_than_the_data_folders_is_refused_with_both() {
    let folder = tempfile::tempdir().unwrap();
    let first = builder(folder.path()).start().await.unwrap();
    let mut client = Client::connect(first.local_addr()).await;
    client.create_topic("t", 1).await;
    drop(client);
    first.shutdown().await.unwrap();
    let refused = builder(folder.path()).set("node.id", "7").start().await.err().unwrap();
    assert!(matches!(refused, StartError::OtherNode { of: 1, given: 7, .. }), "{refused}");
    let message = refused.to_string();
    assert!(message.contains("broker 1") && message.contains("node.id is 7"), "{message}");
    builder(folder.path()).start().await.unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_broker_that_is_merely_dropped() {
    let first = start().await;
    let mut client = first.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["kept"])).await;
    let common::Running { broker, folder } = first;
    drop(broker);
    client.closed().await;
    // The folder's lock goes with the last of the broker's tasks.
    let again = loop {
        match builder(folder.path()).start().await {
            Ok(broker) => break broker,
            Err(StartError::Open(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let mut client = Client::connect(again.local_addr()).await;
    assert_eq!(values(&client.fetch("t", 0, 0).await), [(0, "kept".to_owned())]);
}
