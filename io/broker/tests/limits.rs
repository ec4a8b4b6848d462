//! Limits on connections, and what peers that stall may do to others: nothing.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::scraping::{scrape, value};
use common::{Client, PATIENCE, batch, fetch_request, produce_request, start, start_with, values};
use kohort_protocol::frame::encode_request;
use kohort_protocol::messages::{ApiVersionsRequest, FetchRequest, ProduceRequest};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};

/// Opens a connection that is certainly accepted.
async fn greeted(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    let answer = client.call(&ApiVersionsRequest::default(), 0).await;
    assert!(answer.error_code.is_ok(), "{answer:?}");
    client
}

/// Opens a connection as soon as there is place for it: the end of another one is noticed when it is.
async fn admitted(address: std::net::SocketAddr) -> Client {
    loop {
        let mut client = Client::connect(address).await;
        client.send(&ApiVersionsRequest::default(), 0).await;
        if client.frame().await.is_some() {
            return client;
        }
    }
}

#[tokio::test]
async fn one_address_has_only_so_many_connections_and_gets_one_for_each_that_ends() {
    let running = start_with(|builder| {
        builder
            .set("max.connections.per.ip", "0")
            .set("max.connections.per.ip.overrides", "127.0.0.1:2")
    })
    .await;
    let address = running.broker.local_addr();
    let first = greeted(address).await;
    let _second = greeted(address).await;
    Client::connect(address).await.closed().await;
    drop(first);
    admitted(address).await;
}

/// What is behind a request that waits is not read, and so neither is the end that comes after it.
#[tokio::test]
async fn a_request_that_waits_does_not_keep_the_connection_of_a_peer_that_is_gone() {
    let running = start_with(|builder| builder.set("max.connections.per.ip", "2")).await;
    let address = running.broker.local_addr();
    let mut observer = running.client().await;
    observer.create_topic("t", 1).await;
    let waits = FetchRequest { max_wait_ms: i32::MAX, ..fetch_request("t", &[(0, 0)]) };
    let behind = produce_request("t", 0, -1, batch(&["a"]));
    for is_reset in [false, true] {
        let mut client = admitted(address).await;
        // In one write: with the first answer, all has been read.
        let requests = [
            encode_request(&ApiVersionsRequest::default(), 0, 1, None).unwrap(),
            encode_request(&waits, 12, 2, None).unwrap(),
            encode_request(&behind, 12, 3, None).unwrap(),
        ];
        client.stream.write_all(&requests.concat()).await.unwrap();
        client.receive::<ApiVersionsRequest>(1, 0).await;
        if is_reset {
            #[allow(deprecated, reason = "to reset at once is what it is for")]
            client.stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        timeout(PATIENCE, admitted(address)).await.expect("its place is free");
    }
}

#[tokio::test]
async fn what_was_sent_before_the_end_is_done_after_what_waits_shortly() {
    let running = start().await;
    let mut observer = running.client().await;
    observer.create_topic("t", 1).await;
    let mut client = running.client().await;
    client.send(&FetchRequest { max_wait_ms: 20, ..fetch_request("t", &[(0, 0)]) }, 12).await;
    client.send(&produce_request("t", 0, 0, batch(&["a"])), 12).await;
    drop(client);
    let done = async { while values(&observer.fetch("t", 0, 0).await).is_empty() {} };
    timeout(PATIENCE, done).await.expect("the records are there");
}

#[tokio::test]
async fn connections_beyond_the_rate_wait_and_are_served() {
    let running = start_with(|builder| builder.set("max.connection.creation.rate", "2")).await;
    for _ in 0..3 {
        greeted(running.broker.local_addr()).await;
    }
}

#[tokio::test]
async fn peers_that_read_nothing_or_send_a_byte_at_a_time_hold_up_nobody() {
    let running = start().await;
    let address = running.broker.local_addr();
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let large = "x".repeat(200_000);
    client.produce("t", 0, batch(&[&large])).await;
    let mut others = Vec::new();
    let request = encode_request(&fetch_request("t", &[(0, 0)]), 12, 1, None).unwrap();
    for _ in 0..32 {
        // Asks for far more than the kernel's buffers hold, and never reads.
        let mut stalled = Client::connect(address).await;
        for _ in 0..100 {
            stalled.stream.write_all(&request).await.unwrap();
        }
        // A frame of which the peer sends the length and little more.
        let mut slow = Client::connect(address).await;
        slow.stream.write_all(&(50_u32 << 20).to_be_bytes()).await.unwrap();
        slow.stream.write_all(&[0, 0, 0]).await.unwrap();
        others.extend([stalled, slow]);
    }
    for _ in 0..10 {
        let response = client.call(&fetch_request("t", &[(0, 0)]), 12).await;
        assert_eq!(values(&response.responses[0].partitions[0])[0], (0, large.clone()));
        assert!(client.produce("t", 0, batch(&["a"])).await.error_code.is_ok());
    }
    drop(others);
    running.broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn hundreds_of_idle_connections_do_not_delay_a_request_or_the_stop() {
    let running = start().await;
    let address = running.broker.local_addr();
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(greeted(address).await);
    }
    greeted(address).await;
    running.broker.shutdown().await.unwrap();
    for client in &mut idle {
        client.closed().await;
    }
}

#[tokio::test]
async fn requests_beyond_the_bytes_allowed_in_memory_wait_and_small_ones_go_on() {
    let running = start_with(|builder| {
        builder
            .set("metrics.listener", "127.0.0.1:0")
            .set("socket.request.max.bytes", "150000")
            .set("queued.max.request.bytes", "200000")
    })
    .await;
    let address = running.broker.local_addr();
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    // One has begun and takes its whole length.
    let mut begun = Client::connect(address).await;
    begun.stream.write_all(&150_000_u32.to_be_bytes()).await.unwrap();
    let used = async || value(&scrape(&running).await, "kafka_network_socketserver_memorypoolused");
    while used().await != Some(150_000.0) {}
    // So this one is not read, and then none with records.
    let mut large = Client::connect(address).await;
    let records = batch(&[&"x".repeat(100_000)]);
    let request = produce_request("t", 0, -1, records);
    let id = large.send(&request, 12).await;
    let waited = async || value(&scrape(&running).await, "kohort_requests_waited_for_memory_total");
    // It goes on byte by byte, as one must while others wait.
    while waited().await != Some(1.0) {
        begun.stream.write_all(&[0]).await.unwrap();
    }
    let mut small = Client::connect(address).await;
    let small_request = produce_request("t", 0, -1, batch(&["a"]));
    let small_id = small.send(&small_request, 12).await;
    while waited().await != Some(2.0) {
        begun.stream.write_all(&[0]).await.unwrap();
    }
    // Those without go on.
    greeted(address).await;
    client.describe("t", false).await;
    drop(begun);
    for (client, id) in [(&mut large, id), (&mut small, small_id)] {
        let response = client.receive::<ProduceRequest>(id, 12).await;
        assert!(response.responses[0].partition_responses[0].error_code.is_ok(), "{response:?}");
    }
    assert_eq!(used().await, Some(0.0));
}

#[tokio::test]
async fn request_that_stalls_is_ended_while_others_wait_for_its_memory() {
    let running = start_with(|builder| {
        builder
            .set("metrics.listener", "127.0.0.1:0")
            .set("socket.request.max.bytes", "150000")
            .set("queued.max.request.bytes", "150000")
    })
    .await;
    let address = running.broker.local_addr();
    running.client().await.create_topic("t", 1).await;
    let mut stalled = Client::connect(address).await;
    stalled.stream.write_all(&150_000_u32.to_be_bytes()).await.unwrap();
    let used = async || value(&scrape(&running).await, "kafka_network_socketserver_memorypoolused");
    while used().await != Some(150_000.0) {}
    let mut also = Client::connect(address).await;
    also.stream.write_all(&150_000_u32.to_be_bytes()).await.unwrap();
    let waited = async || value(&scrape(&running).await, "kohort_requests_waited_for_memory_total");
    while waited().await != Some(1.0) {}
    let mut other = Client::connect(address).await;
    let records = batch(&[&"x".repeat(100_000)]);
    let id = other.send(&produce_request("t", 0, -1, records), 12).await;
    let response = other.receive::<ProduceRequest>(id, 12).await;
    assert!(response.responses[0].partition_responses[0].error_code.is_ok(), "{response:?}");
    stalled.closed().await;
    also.closed().await;
    let faulty = value(&scrape(&running).await, "kohort_connections_faulty_total");
    assert_eq!(faulty, Some(2.0));
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_for_ever_is_ended() {
    let running = start_with(|builder| builder.set("connections.max.idle.ms", "200")).await;
    for length in [100_u32, 1 << 20] {
        let mut slow = running.client().await;
        slow.stream.write_all(&length.to_be_bytes()).await.unwrap();
        let trickle = async {
            while slow.stream.write_all(&[0]).await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, trickle).await.unwrap();
    }
}

/// More than may be under way, and more answers than may wait to be sent, in one write.
#[tokio::test]
async fn requests_held_back_while_answers_wait_are_answered_after_them() {
    const REQUESTS: usize = 3000;
    let running = start().await;
    let mut client = running.client().await;
    let request = ApiVersionsRequest::default();
    let mut requests = Vec::new();
    for id in 0..REQUESTS {
        requests.extend_from_slice(&encode_request(&request, 0, id as i32, None).unwrap());
    }
    client.stream.write_all(&requests).await.unwrap();
    for id in 0..REQUESTS {
        let answer = timeout(PATIENCE, client.frame()).await.unwrap().unwrap();
        assert_eq!(answer[..4], (id as i32).to_be_bytes());
    }
    running.broker.shutdown().await.unwrap();
}
