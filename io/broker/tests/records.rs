//! Produce, Fetch, ListOffsets and what belongs to them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use bytes::Bytes;
use common::{
    PATIENCE, batch, batch_with, counts, fetch_request, produce_request, start, start_with, values,
};
use kohort_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use kohort_protocol::messages::fetch::ForgottenTopic;
use kohort_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use kohort_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kohort_protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use kohort_protocol::messages::{
    DeleteRecordsRequest, FetchRequest, FetchResponse, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest,
};
use kohort_protocol::records::BatchOptions;
use kohort_protocol::{ErrorCode, Uuid};
use tokio::time::timeout;

async fn offset_at(client: &mut common::Client, timestamp: i64) -> (ErrorCode, i64, i64) {
    offset_of_epoch_at(client, -1, timestamp, 11).await
}

async fn offset_of_epoch_at(
    client: &mut common::Client,
    current_leader_epoch: i32,
    timestamp: i64,
    version: i16,
) -> (ErrorCode, i64, i64) {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "t".to_owned(),
            partitions: vec![ListOffsetsPartition {
                timestamp,
                current_leader_epoch,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    let found = client.call(&request, version).await.topics.remove(0).partitions.remove(0);
    (found.error_code, found.offset, found.timestamp)
}

#[tokio::test]
async fn what_is_produced_is_fetched_at_its_offsets() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    assert_eq!(client.produce("t", 0, batch(&["a", "b"])).await.base_offset, 0);
    assert_eq!(client.produce("t", 0, batch(&["c"])).await.base_offset, 2);
    let data = client.fetch("t", 0, 0).await;
    assert_eq!((data.high_watermark, data.log_start_offset), (3, 0));
    let expected = [(0, "a"), (1, "b"), (2, "c")].map(|(offset, value)| (offset, value.to_owned()));
    assert_eq!(values(&data), expected);
    assert_eq!(values(&client.fetch("t", 0, 2).await), expected[2..]);
}

#[tokio::test]
async fn every_version_of_produce_and_fetch_works() {
    let running = start().await;
    let mut client = running.client().await;
    let id = client.create_topic("t", 1).await;
    for (version, offset) in (3..=13).zip(0..) {
        let mut request = produce_request("t", 0, 1, batch(&["x"]));
        if version >= 13 {
            request.topic_data[0].name = String::new();
            request.topic_data[0].topic_id = id;
        }
        let response = client.call(&request, version).await;
        assert_eq!(response.responses[0].partition_responses[0].base_offset, offset);
    }
    for version in 4..=18 {
        let mut request = fetch_request("t", &[(0, 5)]);
        request.topics[0].topic_id = id;
        let response = client.call(&request, version).await;
        assert_eq!(counts(&response), [(0, 6)], "version {version}");
        assert_eq!(response.responses[0].topic_id, if version >= 13 { id } else { Uuid::ZERO });
    }
}

#[tokio::test]
async fn large_records_are_fetched_in_every_version() {
    let running = start().await;
    let mut client = running.client().await;
    let id = client.create_topic("t", 2).await;
    let large = "x".repeat(500_000);
    for index in [0, 0, 1] {
        client.produce("t", index, batch(&[large.as_str()])).await;
    }
    for version in 4..=18 {
        let mut request = fetch_request("t", &[(0, 0), (1, 0)]);
        request.topics[0].topic_id = id;
        request.topics[0].partitions[0].partition_max_bytes = 2_000_000;
        let response = client.call(&request, version).await;
        assert_eq!(counts(&response), [(0, 2), (1, 1)], "version {version}");
    }
}

#[tokio::test]
async fn pipelined_produces_keep_their_order_and_so_do_their_responses() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let mut sent = Vec::new();
    for number in 0..100 {
        let request = produce_request("t", 0, -1, batch(&[number.to_string().as_str()]));
        sent.push(client.send(&request, 9).await);
    }
    // A request of another kind waits for them and sees them all.
    let last = client.send(&fetch_request("t", &[(0, 0)]), 12).await;
    for (offset, id) in (0..).zip(sent) {
        let response = client.receive::<ProduceRequest>(id, 9).await;
        assert_eq!(response.responses[0].partition_responses[0].base_offset, offset);
    }
    let response = client.receive::<FetchRequest>(last, 12).await;
    let expected: Vec<_> = (0..100).map(|number| (number, number.to_string())).collect();
    assert_eq!(values(&response.responses[0].partitions[0]), expected);
}

#[tokio::test]
async fn acks_0_is_not_answered_and_an_error_closes_the_connection() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.send(&produce_request("t", 0, 0, batch(&["silent"])), 9).await;
    client.call(&MetadataRequest::default(), 12).await;
    let mut request = fetch_request("t", &[(0, 0)]);
    request.max_wait_ms = 10_000;
    let response = client.call(&request, 12).await;
    assert_eq!(counts(&response), [(0, 1)]);
    client.send(&produce_request("none", 0, 0, batch(&["x"])), 9).await;
    client.closed().await;
}

#[tokio::test]
async fn produce_tells_each_partition_its_own_error() {
    let running = start_with(|builder| builder.set("num.partitions", "2")).await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.create_topic_with("careful", 1, &[("min.insync.replicas", "2")]).await;
    let data = |index| PartitionProduceData { index, records: Some(batch(&["x"])) };
    let topic = |name: &str, partition_data| TopicProduceData {
        name: name.to_owned(),
        partition_data,
        ..TopicProduceData::default()
    };
    let request = ProduceRequest {
        acks: -1,
        topic_data: vec![
            topic("t", vec![data(0), data(7), data(-1)]),
            topic("none", vec![data(0)]),
            topic("careful", vec![data(0)]),
        ],
        ..ProduceRequest::default()
    };
    let response = client.call(&request, 9).await;
    let codes: Vec<ErrorCode> = response
        .responses
        .iter()
        .flat_map(|topic| topic.partition_responses.iter().map(|one| one.error_code))
        .collect();
    assert_eq!(
        codes,
        [
            ErrorCode::NONE,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            // The one replica is in sync, and no more than all are asked for.
            ErrorCode::NONE,
        ]
    );
    let mut of_a_transaction = produce_request("t", 0, -1, batch(&["x"]));
    of_a_transaction.transactional_id = Some("x".to_owned());
    for (request, expected) in [
        (produce_request("t", 0, 7, batch(&["x"])), ErrorCode::INVALID_REQUIRED_ACKS),
        (of_a_transaction, ErrorCode::INVALID_PRODUCER_ID_MAPPING),
    ] {
        let refused = client.call(&request, 9).await;
        assert_eq!(refused.responses[0].partition_responses[0].error_code, expected);
    }
    assert_eq!(client.fetch("t", 0, 1).await.high_watermark, 1, "and nothing of them is written");
}

#[tokio::test]
async fn a_repeated_batch_of_an_idempotent_producer_is_answered_with_its_old_offset() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let request =
        InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() };
    let first = client.call(&request, 5).await;
    let second = client.call(&request, 0).await;
    assert_ne!(first.producer_id, second.producer_id);
    let options = |base_sequence| BatchOptions {
        producer_id: first.producer_id,
        producer_epoch: 0,
        base_sequence,
        ..BatchOptions::default()
    };
    assert_eq!(client.produce("t", 0, batch_with(&["a", "b"], &options(0))).await.base_offset, 0);
    assert_eq!(client.produce("t", 0, batch_with(&["c"], &options(2))).await.base_offset, 2);
    assert_eq!(client.produce("t", 0, batch_with(&["a", "b"], &options(0))).await.base_offset, 0);
    let gap = client.produce("t", 0, batch_with(&["x"], &options(9))).await;
    assert_eq!(gap.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);

    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(client.produce("t", 0, batch_with(&["c"], &options(2))).await.base_offset, 2);
    assert_eq!(client.produce("t", 0, batch_with(&["d"], &options(3))).await.base_offset, 3);
    let third = client.call(&request, 5).await;
    assert!(third.producer_id > second.producer_id, "ids are never given twice");
}

#[tokio::test]
async fn a_transactional_id_is_refused_with_an_error_that_is_final() {
    let running = start().await;
    let request = InitProducerIdRequest {
        transactional_id: Some("x".to_owned()),
        ..InitProducerIdRequest::default()
    };
    let response = running.client().await.call(&request, 5).await;
    assert_eq!(response.error_code, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_by_an_append() {
    let running = start().await;
    let mut reader = running.client().await;
    reader.create_topic("t", 2).await;
    let mut request = fetch_request("t", &[(0, 0), (1, 0)]);
    request.max_wait_ms = 60_000;
    let id = reader.send(&request, 12).await;
    running.client().await.produce("t", 1, batch(&["news"])).await;
    let response = reader.receive::<FetchRequest>(id, 12).await;
    assert_eq!(counts(&response), [(0, 0), (1, 1)]);
}

#[tokio::test]
async fn a_waiting_fetch_is_answered_when_the_broker_stops() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["x"])).await;
    let mut request = fetch_request("t", &[(0, 0)]);
    request.max_wait_ms = 60_000;
    request.min_bytes = 1_000_000;
    client.send(&request, 12).await;
    let stopping = tokio::spawn(running.broker.shutdown());
    // Less than a connection is given to drain.
    timeout(std::time::Duration::from_secs(4), stopping).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_fetch_waits_for_its_minimum_of_bytes() {
    let running = start().await;
    let mut reader = running.client().await;
    reader.create_topic("t", 1).await;
    let mut writer = running.client().await;
    let small = batch(&["x"]);
    let mut request = fetch_request("t", &[(0, 0)]);
    request.max_wait_ms = 60_000;
    request.min_bytes = i32::try_from(2 * small.len()).unwrap();
    let id = reader.send(&request, 12).await;
    writer.produce("t", 0, small.clone()).await;
    writer.produce("t", 0, small).await;
    let response = reader.receive::<FetchRequest>(id, 12).await;
    assert_eq!(counts(&response), [(0, 2)]);
}

#[tokio::test]
async fn a_fetch_that_finds_nothing_is_answered_after_its_wait() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let mut request = fetch_request("t", &[(0, 0)]);
    request.max_wait_ms = 20;
    let response = timeout(PATIENCE, client.call(&request, 12)).await.unwrap();
    assert_eq!(counts(&response), [(0, 0)]);
}

#[tokio::test]
async fn byte_limits_hold_yet_a_reader_always_gets_on() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 2).await;
    let large = "x".repeat(1000);
    for index in [0, 0, 1] {
        client.produce("t", index, batch(&[large.as_str()])).await;
    }
    let mut request = fetch_request("t", &[(0, 0), (1, 0)]);
    request.max_bytes = 1;
    assert_eq!(counts(&client.call(&request, 12).await), [(0, 1), (1, 0)]);
    let mut request = fetch_request("t", &[(0, 0), (1, 0)]);
    request.topics[0].partitions[0].partition_max_bytes = 1500;
    assert_eq!(counts(&client.call(&request, 12).await), [(0, 1), (1, 1)]);
    let running = running.restart_with(|builder| builder.set("fetch.max.bytes", "1024")).await;
    let request = fetch_request("t", &[(0, 0), (1, 0)]);
    let response = running.client().await.call(&request, 12).await;
    assert_eq!(counts(&response), [(0, 1), (1, 0)], "the broker's own limit holds, too");
}

#[tokio::test]
async fn fetch_errors_are_told_at_once_and_per_partition() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let mut request = fetch_request("t", &[(0, 99), (5, 0)]);
    request.max_wait_ms = 60_000;
    let response = client.call(&request, 12).await;
    let codes: Vec<_> = response.responses[0].partitions.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [ErrorCode::OFFSET_OUT_OF_RANGE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    // librdkafka drops the connection over null records, and never resets its offset.
    let records = response.responses[0].partitions.iter().map(|one| one.records.clone());
    assert!(records.eq([Some(Bytes::new()), Some(Bytes::new())]));
    for (epoch, code) in [(0, ErrorCode::NONE), (9, ErrorCode::UNKNOWN_LEADER_EPOCH)] {
        let mut request = fetch_request("t", &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = client.call(&request, 12).await;
        assert_eq!(response.responses[0].partitions[0].error_code, code);
    }
    let mut request = fetch_request("t", &[(0, 0)]);
    for (topic_id, code) in
        [(Uuid([9; 16]), ErrorCode::UNKNOWN_TOPIC_ID), (Uuid::ZERO, ErrorCode::UNKNOWN_TOPIC_ID)]
    {
        request.topics[0].topic_id = topic_id;
        let response = client.call(&request, 13).await;
        assert_eq!(response.responses[0].partitions[0].error_code, code, "{topic_id}");
    }
}

#[tokio::test]
async fn partition_that_is_not_there_is_told_with_the_rest_or_at_once_if_there_is_none() {
    let running = start().await;
    let mut reader = running.client().await;
    reader.create_topic("t", 1).await;
    let answer = |response: &FetchResponse| -> Vec<_> {
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|one| (one.partition_index, one.error_code, values(one).len())).collect()
    };
    let missing = (5, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 0);
    let mut request = fetch_request("t", &[(5, 0)]);
    request.max_wait_ms = 60_000;
    assert_eq!(answer(&reader.call(&request, 12).await), [missing]);
    let mut request = fetch_request("t", &[(5, 0), (0, 0)]);
    request.max_wait_ms = 60_000;
    let id = reader.send(&request, 12).await;
    running.client().await.produce("t", 0, batch(&["news"])).await;
    let response = reader.receive::<FetchRequest>(id, 12).await;
    assert_eq!(answer(&response), [missing, (0, ErrorCode::NONE, 1)]);
    // One that goes while the request waits is told at once, though another one stays.
    reader.create_topic("stays", 1).await;
    let mut request = fetch_request("t", &[(5, 0), (0, 1)]);
    request.topics.extend(fetch_request("stays", &[(0, 0)]).topics);
    request.max_wait_ms = 60_000;
    let id = reader.send(&request, 12).await;
    running.client().await.delete_topic("t").await;
    let response = reader.receive::<FetchRequest>(id, 12).await;
    let gone = (0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 0);
    assert_eq!(answer(&response), [missing, gone, (0, ErrorCode::NONE, 0)]);
}

#[tokio::test]
async fn a_session_answers_only_what_has_news() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 3).await;
    client.produce("t", 0, batch(&["a"])).await;
    let mut request = fetch_request("t", &[(0, 0), (1, 0), (2, 0)]);
    request.session_epoch = 0;
    let full = client.call(&request, 12).await;
    assert_ne!(full.session_id, 0);
    assert_eq!(counts(&full), [(0, 1), (1, 0), (2, 0)]);

    let next = |epoch: i32, changed: &[(i32, i64)]| {
        let mut request = fetch_request("t", changed);
        request.session_id = full.session_id;
        request.session_epoch = epoch;
        if changed.is_empty() {
            request.topics.clear();
        }
        request
    };
    // The consumer moves on in partition 0; nothing is new anywhere.
    let response = client.call(&next(1, &[(0, 1)]), 12).await;
    assert_eq!((response.session_id, counts(&response)), (full.session_id, vec![]));
    client.produce("t", 2, batch(&["b", "c"])).await;
    assert_eq!(counts(&client.call(&next(2, &[]), 12).await), [(2, 2)]);
    let mut forgetting = next(3, &[]);
    forgetting.forgotten_topics_data = vec![ForgottenTopic {
        topic: "t".to_owned(),
        partitions: vec![2],
        ..ForgottenTopic::default()
    }];
    assert_eq!(counts(&client.call(&forgetting, 12).await), []);
    let wrong = client.call(&next(3, &[]), 12).await;
    assert_eq!(wrong.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let mut unknown = next(1, &[]);
    unknown.session_id = full.session_id ^ 1;
    assert_eq!(client.call(&unknown, 12).await.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    assert_eq!(offset_at(&mut client, -1).await, (ErrorCode::NONE, 2, -1));
    assert_eq!(offset_at(&mut client, -2).await, (ErrorCode::NONE, 0, -1));
    assert_eq!(offset_at(&mut client, -3).await, (ErrorCode::NONE, 0, 1_700_000_000_000));
    assert_eq!(offset_at(&mut client, -4).await, (ErrorCode::NONE, 0, -1));
    assert_eq!(offset_at(&mut client, -5).await, (ErrorCode::NONE, -1, -1));
    assert_eq!(offset_at(&mut client, 1_600_000_000_000).await.1, 0);
    assert_eq!(offset_at(&mut client, 1_800_000_000_000).await, (ErrorCode::NONE, -1, -1));
    assert_eq!(offset_at(&mut client, -9).await.0, ErrorCode::UNSUPPORTED_VERSION);
    // A number that stands for nothing is told before an epoch that is wrong.
    for (timestamp, expected) in
        [(-5, ErrorCode::UNSUPPORTED_VERSION), (-4, ErrorCode::UNKNOWN_LEADER_EPOCH)]
    {
        let (code, _, _) = offset_of_epoch_at(&mut client, 5, timestamp, 8).await;
        assert_eq!(code, expected, "{timestamp}");
    }
}

#[tokio::test]
async fn offsets_of_a_partition_named_twice_are_refused() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 2).await;
    for timestamp in [-1, 5] {
        let partition = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let partitions = vec![partition(0), partition(1), partition(0)];
        let topic = ListOffsetsTopic { name: "t".to_owned(), partitions };
        let request = ListOffsetsRequest { topics: vec![topic], ..ListOffsetsRequest::default() };
        let response = client.call(&request, 7).await;
        let codes = response.topics[0].partitions.iter().map(|one| one.error_code);
        let refused = ErrorCode::INVALID_REQUEST;
        assert!(codes.eq([refused, ErrorCode::NONE]), "{response:?}");
    }
}

#[tokio::test]
async fn records_that_are_no_longer_in_memory_are_fetched_from_disk() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 2).await;
    client.produce("t", 0, batch(&["cold"])).await;
    let running = running.restart().await;
    let mut client = running.client().await;
    let cold = client.fetch("t", 0, 0).await;
    assert_eq!(values(&cold), [(0, "cold".to_owned())]);
    // The wait for more begins with a look at the disk and ends with one at memory.
    let mut request = fetch_request("t", &[(0, 0), (1, 0)]);
    request.max_wait_ms = 60_000;
    request.min_bytes = cold.records.unwrap().len() as i32 + 1;
    let id = client.send(&request, 12).await;
    running.client().await.produce("t", 1, batch(&["hot"])).await;
    let response = client.receive::<FetchRequest>(id, 12).await;
    assert_eq!(counts(&response), [(0, 1), (1, 1)]);
}

#[tokio::test]
async fn records_sent_from_files_arrive_whole_and_a_slow_reader_holds_up_nobody() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 3).await;
    let sizes = [900_000, 50, 200_000, 40_000, 3_000];
    let value = |index: i32, size: usize| format!("{index}").repeat(size);
    for index in 0..3 {
        for size in sizes {
            client.produce("t", index, batch(&[value(index, size).as_str()])).await;
        }
    }
    let running = running.restart().await;
    let mut slow = running.client().await;
    let mut request = fetch_request("t", &[(0, 0), (1, 0), (2, 1)]);
    for partition in &mut request.topics[0].partitions {
        partition.partition_max_bytes = 4_000_000;
    }
    // More than a socket holds waits for each of these.
    let waiting = [slow.send(&request, 12).await, slow.send(&request, 11).await];
    let mut quick = running.client().await;
    let expected = |index, skipped| -> Vec<(i64, String)> {
        let all = (0..).zip(sizes).map(|(offset, size)| (offset, value(index, size)));
        all.skip(skipped).collect()
    };
    for _ in 0..3 {
        let response = quick.call(&request, 12).await;
        let partitions = &response.responses[0].partitions;
        assert_eq!(values(&partitions[0]), expected(0, 0));
        assert_eq!(values(&partitions[2]), expected(2, 1));
    }
    for (id, version) in waiting.into_iter().zip([12, 11]) {
        let response = slow.receive::<FetchRequest>(id, version).await;
        assert_eq!(values(&response.responses[0].partitions[1]), expected(1, 0));
    }
}

#[tokio::test]
async fn deleted_records_are_below_the_log_start_and_stay_so() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["a"])).await;
    client.produce("t", 0, batch(&["b"])).await;
    let delete = |offset| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".to_owned(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset }],
        }],
        ..DeleteRecordsRequest::default()
    };
    let response = client.call(&delete(1), 2).await;
    assert_eq!(response.topics[0].partitions[0].low_watermark, 1);
    let beyond = client.call(&delete(99), 2).await;
    assert_eq!(beyond.topics[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(offset_at(&mut client, -2).await.1, 1);

    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(offset_at(&mut client, -2).await.1, 1);
    assert_eq!(client.produce("t", 0, batch(&["c"])).await.base_offset, 2);
}

#[tokio::test]
async fn the_end_of_a_leader_epoch_is_told() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic {
            topic: "t".to_owned(),
            partitions: vec![OffsetForLeaderPartition {
                current_leader_epoch: -1,
                leader_epoch: 0,
                ..OffsetForLeaderPartition::default()
            }],
        }],
    };
    let response = client.call(&request, 4).await;
    let end = &response.topics[0].partitions[0];
    assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (ErrorCode::NONE, 0, 2));
}

#[tokio::test]
async fn the_brokers_own_topics_take_no_records_from_clients() {
    let running = start().await;
    let mut client = running.client().await;
    let topic = client.describe("__consumer_offsets", true).await;
    assert_eq!((topic.partitions.len(), topic.is_internal), (3, true), "made as it has to be");
    let response = client.produce("__consumer_offsets", 0, batch(&["x"])).await;
    assert_eq!(response.error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
}

#[tokio::test]
async fn log_append_time_is_the_brokers_and_is_answered() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let response = client.produce("t", 0, batch(&["a"])).await;
    assert!(response.log_append_time_ms > 1_700_000_000_000, "{response:?}");
    assert_eq!(offset_at(&mut client, -3).await, (ErrorCode::NONE, 0, response.log_append_time_ms));
}

#[tokio::test]
async fn a_fetch_of_many_partitions_of_a_deleted_topic_ends() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let mut request = fetch_request("t", &[(0, 0)]);
    request.max_wait_ms = 60_000;
    let id = client.send(&request, 12).await;
    let mut other = running.client().await;
    let delete = kohort_protocol::messages::DeleteTopicsRequest {
        topic_names: vec!["t".to_owned()],
        ..kohort_protocol::messages::DeleteTopicsRequest::default()
    };
    assert!(other.call(&delete, 5).await.responses[0].error_code.is_ok());
    let response = client.receive::<FetchRequest>(id, 12).await;
    let code = response.responses[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn a_reader_is_told_where_its_log_departs_from_the_brokers() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["a"])).await;
    for (fetch_offset, last_fetched_epoch, expected) in [
        (1, 0, (ErrorCode::NONE, -1, -1)),
        // It has read further than the log goes, of an epoch that ends at 1 here.
        (5, 0, (ErrorCode::NONE, 0, 1)),
        // Nothing is known of that epoch.
        (1, 7, (ErrorCode::OFFSET_OUT_OF_RANGE, -1, -1)),
    ] {
        let mut request = fetch_request("t", &[(0, fetch_offset)]);
        request.topics[0].partitions[0].last_fetched_epoch = last_fetched_epoch;
        // Nobody whose log departs waits for records.
        request.max_wait_ms = if expected.1 < 0 { 0 } else { 60_000 };
        let response = client.call(&request, 12).await;
        let data = &response.responses[0].partitions[0];
        let diverging = &data.diverging_epoch;
        assert_eq!((data.error_code, diverging.epoch, diverging.end_offset), expected);
    }
}
