//! Limits on connections, and what peers that stall may do to others: nothing.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Client, batch, fetch_request, start, start_with, values};
use kohort_protocol::frame::encode_request;
use kohort_protocol::messages::ApiVersionsRequest;
use tokio::io::AsyncWriteExt as _;

/// Opens a connection that is certainly accepted.
async fn greeted(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    client.call(&ApiVersionsRequest::default(), 0).await;
    client
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
    // The end of a connection is noticed when it is; until then others are refused.
    loop {
        let mut third = Client::connect(address).await;
        third.send(&ApiVersionsRequest::default(), 0).await;
        if third.frame().await.is_some() {
            break;
        }
    }
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
