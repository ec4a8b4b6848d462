//! What a peer does wrong ends its own connection and nothing else.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Client, PATIENCE, Running, batch, start, start_with};
use kohort_protocol::frame::encode_request;
use kohort_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
use kohort_protocol::{ErrorCode, Message, Reader};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// Sends `bytes` on a connection of its own, expects that to be closed, and another to work on.
async fn closes_only_its_own_connection(bytes: &[u8]) {
    let running = start().await;
    let mut other = running.client().await;
    other.call(&MetadataRequest::default(), 12).await;
    let mut bad = running.client().await;
    bad.stream.write_all(bytes).await.unwrap();
    bad.closed().await;
    other.call(&MetadataRequest::default(), 12).await;
    running.broker.shutdown().await.unwrap();
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[tokio::test]
async fn garbage_closes_the_connection() {
    closes_only_its_own_connection(b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n").await;
}

#[tokio::test]
async fn a_negative_length_closes_the_connection() {
    closes_only_its_own_connection(&[0xff, 0xff, 0xff, 0xff]).await;
}

#[tokio::test]
async fn a_length_of_two_gigabytes_closes_the_connection() {
    closes_only_its_own_connection(&[0x7f, 0xff, 0xff, 0xff]).await;
}

#[tokio::test]
async fn an_unknown_api_closes_the_connection() {
    closes_only_its_own_connection(&framed(&[0x03, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff])).await;
}

#[tokio::test]
async fn an_unknown_version_closes_the_connection() {
    closes_only_its_own_connection(&framed(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff])).await;
}

#[tokio::test]
async fn a_produce_older_than_version_3_closes_the_connection() {
    closes_only_its_own_connection(&framed(&[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff])).await;
}

#[tokio::test]
async fn a_body_that_lies_about_its_lengths_closes_the_connection() {
    // Metadata version 1 whose array claims two billion topics.
    let body = [0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff];
    closes_only_its_own_connection(&framed(&body)).await;
}

#[tokio::test]
async fn an_empty_frame_closes_the_connection() {
    closes_only_its_own_connection(&framed(&[])).await;
}

#[tokio::test]
async fn half_a_request_ends_with_its_connection() {
    let running = start().await;
    let mut half = running.client().await;
    let frame = encode_request(&MetadataRequest::default(), 12, 1, None).unwrap();
    half.stream.write_all(&frame[..frame.len() / 2]).await.unwrap();
    half.stream.shutdown().await.unwrap();
    half.closed().await;
    running.client().await.call(&MetadataRequest::default(), 12).await;
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0_with_the_table() {
    let running = start().await;
    let mut client = running.client().await;
    client.stream.write_all(&framed(&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff])).await.unwrap();
    let frame = timeout(PATIENCE, client.frame()).await.unwrap().unwrap();
    let mut reader = Reader::new(&frame);
    assert_eq!(reader.read_i32(), Ok(7));
    let response = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
    assert!(response.api_keys.iter().any(|api| api.api_key == 18 && api.max_version == 4));
    // The connection lives on: the client steps down.
    let request = ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
    };
    assert!(client.call(&request, 4).await.error_code.is_ok());
}

#[tokio::test]
async fn a_client_name_that_breaks_kip_511_is_an_invalid_request() {
    let running = start().await;
    let request = ApiVersionsRequest {
        client_software_name: "no spaces".to_owned(),
        client_software_version: "1".to_owned(),
    };
    let response = running.client().await.call(&request, 3).await;
    assert_eq!(response.error_code, ErrorCode::INVALID_REQUEST);
}

#[tokio::test]
async fn a_request_above_the_limit_closes_the_connection_before_it_is_read() {
    let running = start_with(|builder| builder.set("socket.request.max.bytes", "1000")).await;
    let mut client = running.client().await;
    client.stream.write_all(&1001_u32.to_be_bytes()).await.unwrap();
    client.closed().await;
}

#[tokio::test]
async fn connections_above_the_limit_are_closed() {
    let running = start_with(|builder| builder.set("max.connections", "1")).await;
    let mut first = running.client().await;
    first.call(&MetadataRequest::default(), 12).await;
    running.client().await.closed().await;
    first.call(&MetadataRequest::default(), 12).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let running = start_with(|builder| builder.set("connections.max.idle.ms", "50")).await;
    running.client().await.closed().await;
}

#[tokio::test]
async fn records_that_are_no_batch_are_refused_and_the_partition_lives_on() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let mut flipped = batch(&["x"]).to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    for bytes in [&b"nonsense"[..], &[], &flipped] {
        let response = client.produce("t", 0, bytes.to_vec().into()).await;
        assert!(!response.error_code.is_ok(), "{response:?}");
        assert_eq!(response.base_offset, -1);
    }
    assert_eq!(client.produce("t", 0, batch(&["good"])).await.base_offset, 0);
}

#[tokio::test]
async fn a_batch_above_max_message_bytes_is_refused() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic_with("t", 1, &[("max.message.bytes", "100")]).await;
    let response = client.produce("t", 0, batch(&["x".repeat(100).as_str()])).await;
    assert_eq!(response.error_code, ErrorCode::MESSAGE_TOO_LARGE);
}

#[tokio::test]
async fn bad_topic_names_are_refused() {
    let running = start().await;
    let mut client = running.client().await;
    for name in ["", ".", "..", "a/b", "a b", &"x".repeat(250)] {
        let topic = client.describe(name, true).await;
        assert_eq!(topic.error_code, ErrorCode::INVALID_TOPIC_EXCEPTION, "{name:?}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_responses_harms_nobody_else() {
    let running: Running = start().await;
    let mut deaf = running.client().await;
    let frame = encode_request(&MetadataRequest::default(), 12, 1, None).unwrap();
    // More than the sockets' buffers hold; the broker stops reading at its own limit.
    let flood = async {
        for _ in 0..200_000 {
            if deaf.stream.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    let mut other = Client::connect(running.broker.local_addr()).await;
    let ask = async {
        for _ in 0..100 {
            other.call(&MetadataRequest::default(), 12).await;
        }
    };
    tokio::select! {
        () = flood => ask_again(&running).await,
        () = ask => {}
    }
}

async fn ask_again(running: &Running) {
    running.client().await.call(&MetadataRequest::default(), 12).await;
}
