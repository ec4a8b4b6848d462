//! What Apache Kafka answers to requests at the edge of what is allowed: found by sending the same
//! to both, and not evident from the protocol.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use bytes::Bytes;
use common::{batch, fetch_request, produce_request, start};
use kohort_protocol::compression::{Compression, Compressor};
use kohort_protocol::messages::delete_topics::DeleteTopicState;
use kohort_protocol::messages::describe_log_dirs::DescribableLogDirTopic;
use kohort_protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequestCursor, TopicRequest,
};
use kohort_protocol::messages::metadata::MetadataRequestTopic;
use kohort_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kohort_protocol::messages::{
    DeleteTopicsRequest, DescribeClusterRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, InitProducerIdRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, ProduceRequest,
};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};
use kohort_protocol::{ErrorCode, Uuid};

fn packed(codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.append(&NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
    builder.build(&BatchOptions::default(), &mut Compressor::new(codec, None).unwrap())
}

/// Produces and returns the error.
async fn produced(
    client: &mut common::Client,
    request: &ProduceRequest,
    version: i16,
) -> ErrorCode {
    let response = client.call(request, version).await;
    response.responses[0].partition_responses[0].error_code
}

#[tokio::test]
async fn zstd_is_for_producers_that_know_it() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let request = produce_request("t", 0, -1, packed(Compression::Zstd));
    let code = ErrorCode::UNSUPPORTED_COMPRESSION_TYPE;
    assert_eq!(produced(&mut client, &request, 6).await, code);
    assert_eq!(produced(&mut client, &request, 7).await, ErrorCode::NONE);
    let request = produce_request("t", 0, -1, packed(Compression::Gzip));
    assert_eq!(produced(&mut client, &request, 3).await, ErrorCode::NONE);
}

#[tokio::test]
async fn a_batch_begins_at_offset_0_and_has_a_format_that_exists() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let changed = |at: usize, byte: u8| {
        let mut bytes = batch(&["a"]).to_vec();
        bytes[at] = byte;
        produce_request("t", 0, -1, Bytes::from(bytes))
    };
    let (offset, magic) = (7, 16);
    assert_eq!(produced(&mut client, &changed(offset, 5), 9).await, ErrorCode::INVALID_RECORD);
    assert_eq!(produced(&mut client, &changed(magic, 1), 9).await, ErrorCode::INVALID_RECORD);
    assert_eq!(produced(&mut client, &changed(magic, 3), 9).await, ErrorCode::CORRUPT_MESSAGE);
}

#[tokio::test]
async fn a_refused_record_comes_with_the_logs_start() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic_with("c", 1, &[("cleanup.policy", "compact")]).await;
    let refused = client.produce("c", 0, batch(&["no key"])).await;
    assert_eq!((refused.error_code, refused.log_start_offset), (ErrorCode::INVALID_RECORD, 0));
    let mut torn = batch(&["a"]).to_vec();
    torn[20] ^= 1;
    let refused = client.produce("c", 0, Bytes::from(torn)).await;
    assert_eq!((refused.error_code, refused.log_start_offset), (ErrorCode::CORRUPT_MESSAGE, -1));
}

#[tokio::test]
async fn the_zero_id_names_no_topic_to_produce_to() {
    let running = start().await;
    let mut client = running.client().await;
    let request = produce_request("t", 0, -1, batch(&["a"]));
    assert_eq!(produced(&mut client, &request, 13).await, ErrorCode::UNKNOWN_TOPIC_ID);
    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(produced(&mut client, &request, 12).await, code);
}

#[tokio::test]
async fn a_producer_id_goes_with_an_epoch() {
    let running = start().await;
    let mut client = running.client().await;
    for (producer_id, producer_epoch, expected) in [
        (-1, -1, ErrorCode::NONE),
        (5, 1, ErrorCode::NONE),
        (5, -1, ErrorCode::INVALID_REQUEST),
        (-1, 1, ErrorCode::INVALID_REQUEST),
    ] {
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id,
            producer_epoch,
            ..InitProducerIdRequest::default()
        };
        assert_eq!(client.call(&request, 5).await.error_code, expected);
    }
}

#[tokio::test]
async fn a_session_may_begin_empty() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["a"])).await;
    let mut request = fetch_request("t", &[(0, 0)]);
    let topics = std::mem::take(&mut request.topics);
    request.session_epoch = 0;
    let opened = client.call(&request, 12).await;
    assert_ne!(opened.session_id, 0);
    request.topics = topics;
    (request.session_id, request.session_epoch) = (opened.session_id, 1);
    let response = client.call(&request, 12).await;
    assert_eq!(common::counts(&response), [(0, 1)]);
}

#[tokio::test]
async fn a_leader_epoch_below_minus_1_is_fenced_but_for_a_fetch() {
    let running = start().await;
    let mut client = running.client().await;
    let topic_id = client.create_topic("t", 1).await;
    let epochs = [(-2, ErrorCode::NONE), (7, ErrorCode::UNKNOWN_LEADER_EPOCH)];
    for (epoch, expected) in epochs {
        let mut request = fetch_request("", &[(0, 0)]);
        request.topics[0].topic_id = topic_id;
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = client.call(&request, 16).await;
        let data = &response.responses[0].partitions[0];
        assert_eq!((data.error_code, data.current_leader.leader_id), (expected, -1));
    }
    let partition = OffsetForLeaderPartition { current_leader_epoch: -2, ..Default::default() };
    let request = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic { topic: "t".to_owned(), partitions: vec![partition] }],
        ..OffsetForLeaderEpochRequest::default()
    };
    let response = client.call(&request, 4).await;
    let code = response.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::FENCED_LEADER_EPOCH);
}

fn named(name: Option<&str>, topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState { name: name.map(str::to_owned), topic_id }
}

#[tokio::test]
async fn a_topic_named_twice_for_deletion_stays_and_is_answered_once() {
    let running = start().await;
    let mut client = running.client().await;
    for (number, by_id_too) in [(0, false), (1, true)] {
        let topic = format!("t{number}");
        let id = client.create_topic(&topic, 1).await;
        let by_name = || named(Some(&topic), Uuid::ZERO);
        let again = if by_id_too { named(None, id) } else { by_name() };
        let request = DeleteTopicsRequest {
            topics: vec![by_name(), again.clone(), again, by_name()],
            ..DeleteTopicsRequest::default()
        };
        let responses = client.call(&request, 6).await.responses;
        assert_eq!(responses.len(), 1);
        assert_eq!(responses[0].error_code, ErrorCode::INVALID_REQUEST);
        assert!(client.describe(&topic, false).await.error_code.is_ok());
    }
}

#[tokio::test]
async fn a_topic_named_twice_is_described_once() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let topic = MetadataRequestTopic { name: Some("t".to_owned()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic; 3]), ..MetadataRequest::default() };
    assert_eq!(client.call(&request, 12).await.topics.len(), 1);
}

#[tokio::test]
async fn a_cursor_must_be_one_that_a_response_can_have_held() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("a", 2).await;
    for (topic_name, partition_index, expected) in [
        ("a", 1, ErrorCode::NONE),
        ("a", -1, ErrorCode::INVALID_REQUEST),
        ("b", 0, ErrorCode::INVALID_REQUEST),
    ] {
        let topic_name = topic_name.to_owned();
        let request = DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: "a".to_owned() }],
            cursor: Some(DescribeTopicPartitionsRequestCursor { topic_name, partition_index }),
            ..DescribeTopicPartitionsRequest::default()
        };
        assert_eq!(client.call(&request, 0).await.topics[0].error_code, expected);
    }
}

#[tokio::test]
async fn log_directories_name_only_topics_with_partitions_asked_for() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    for (partitions, topics) in [(vec![0, 9], 1), (vec![9], 0), (vec![], 0)] {
        let topic = DescribableLogDirTopic { topic: "t".to_owned(), partitions };
        let request = DescribeLogDirsRequest { topics: Some(vec![topic]) };
        assert_eq!(client.call(&request, 4).await.results[0].topics.len(), topics);
    }
}

#[tokio::test]
async fn endpoints_of_controllers_and_of_no_kind_are_refused() {
    let running = start().await;
    let mut client = running.client().await;
    for (endpoint_type, expected) in [
        (1, ErrorCode::NONE),
        (2, ErrorCode::MISMATCHED_ENDPOINT_TYPE),
        (3, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE),
    ] {
        let request = DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
        assert_eq!(client.call(&request, 1).await.error_code, expected);
    }
}
