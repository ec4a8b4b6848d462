//! Requests that no good client makes: the answer is Kafka's, and costs no more than the question.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Client, batch, fetch_request, produce_request, start};
use kohort_protocol::messages::create_topics::CreatableTopic;
use kohort_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use kohort_protocol::messages::delete_topics::DeleteTopicState;
use kohort_protocol::messages::describe_configs::DescribeConfigsResource;
use kohort_protocol::messages::describe_log_dirs::DescribableLogDirTopic;
use kohort_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
};
use kohort_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use kohort_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kohort_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
    ListOffsetsRequest, OffsetForLeaderEpochRequest,
};
use kohort_protocol::{ErrorCode, Uuid};

const BROKER: i8 = 4;

/// Has topics of so many partitions checked, and returns what is said of each.
async fn validate(client: &mut Client, partitions: &[i32]) -> Vec<ErrorCode> {
    let topics = partitions.iter().enumerate().map(|(number, &num_partitions)| CreatableTopic {
        name: format!("t{number}"),
        num_partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    });
    let request = CreateTopicsRequest {
        topics: topics.collect(),
        validate_only: true,
        ..CreateTopicsRequest::default()
    };
    let response = client.call(&request, 7).await;
    response.topics.into_iter().map(|topic| topic.error_code).collect()
}

#[tokio::test]
async fn a_request_that_wants_too_many_partitions_creates_none() {
    let running = start().await;
    let mut client = running.client().await;
    let (fine, refused) = (ErrorCode::NONE, ErrorCode::POLICY_VIOLATION);
    assert_eq!(validate(&mut client, &[6000, 6000]).await, [refused, refused]);
    // With the topic's own record this is one too many for a batch.
    assert_eq!(validate(&mut client, &[10_000]).await, [refused]);
    assert_eq!(validate(&mut client, &[9999]).await, [fine]);
    assert_eq!(validate(&mut client, &[4999, 4999]).await, [fine, fine]);
    let many = vec![1; 20_000];
    assert_eq!(validate(&mut client, &many).await, vec![refused; 20_000]);
}

#[tokio::test]
async fn a_resource_named_again_is_described_once() {
    let running = start().await;
    let mut client = running.client().await;
    let resource = DescribeConfigsResource {
        resource_type: BROKER,
        resource_name: "1".to_owned(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource; 2000],
        include_synonyms: true,
        include_documentation: true,
    };
    let response = client.call(&request, 3).await;
    assert_eq!(response.results.len(), 1);
    assert!(response.results[0].configs.len() > 200);
}

#[tokio::test]
async fn a_topic_named_again_is_one_topic() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 2).await;
    client.produce("t", 0, batch(&["a", "b", "c"])).await;
    let named = |partitions: &[i32]| DescribableLogDirTopic {
        topic: "t".to_owned(),
        partitions: partitions.to_vec(),
    };
    let request = DescribeLogDirsRequest { topics: Some(vec![named(&[1, 1]), named(&[0])]) };
    let described = client.call(&request, 4).await.results.remove(0).topics;
    let partitions: Vec<i32> =
        described[0].partitions.iter().map(|partition| partition.partition_index).collect();
    assert_eq!((described.len(), partitions), (1, vec![0, 1]));

    let wanted = |timestamp| ListOffsetsTopic {
        name: "t".to_owned(),
        partitions: vec![ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() }],
    };
    let request = ListOffsetsRequest {
        topics: vec![wanted(-1), wanted(-2)],
        ..ListOffsetsRequest::default()
    };
    let answer = client.call(&request, 7).await;
    assert_eq!((answer.topics.len(), answer.topics[0].partitions.len()), (1, 1));
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::INVALID_REQUEST);

    let answer = delete_records(&mut client, "t", &[(0, 1), (0, 2)]).await;
    assert_eq!(answer, [(0, 2, ErrorCode::NONE)]);

    let mut request = produce_request("t", 0, -1, batch(&["d"]));
    let again = request.topic_data[0].partition_data[0].clone();
    request.topic_data[0].partition_data.push(again);
    let answer = client.call(&request, 9).await;
    let answers = &answer.responses[0].partition_responses;
    assert_eq!((answers.len(), answers[0].error_code), (1, ErrorCode::INVALID_REQUEST));
    let end = client.fetch("t", 0, 2).await.high_watermark;
    assert_eq!(end, 3, "nothing of what was named twice is written");

    let nameless = DeleteTopicState { name: None, topic_id: Uuid::ZERO };
    let request = DeleteTopicsRequest {
        topics: vec![nameless.clone(), nameless],
        ..DeleteTopicsRequest::default()
    };
    let answer = client.call(&request, 6).await;
    let codes: Vec<ErrorCode> = answer.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [ErrorCode::INVALID_REQUEST; 2]);
}

#[tokio::test]
async fn who_takes_itself_for_a_replica_gets_no_records() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["a"])).await;
    let mut request = fetch_request("t", &[(0, 0)]);
    for (replica_id, expected) in [
        (1, ErrorCode::NOT_LEADER_OR_FOLLOWER),
        (5, ErrorCode::NOT_LEADER_OR_FOLLOWER),
        (-1, ErrorCode::NONE),
        (-2, ErrorCode::NONE),
    ] {
        request.replica_id = replica_id;
        let answer = client.call(&request, 12).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, expected, "{replica_id}");
    }
    request.topics[0].topic_id = client.describe("t", false).await.topic_id;
    for (replica_id, expected) in [(0, ErrorCode::NOT_LEADER_OR_FOLLOWER), (-1, ErrorCode::NONE)] {
        request.replica_state.replica_id = replica_id;
        let answer = client.call(&request, 15).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, expected, "{replica_id}");
    }
}

#[tokio::test]
async fn an_epoch_before_all_others_ends_where_the_log_begins() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    delete_records(&mut client, "t", &[(0, 1)]).await;
    for (leader_epoch, expected) in [(-2, (-2, 1)), (-1, (-1, -1)), (0, (0, 2))] {
        let partition =
            OffsetForLeaderPartition { leader_epoch, ..OffsetForLeaderPartition::default() };
        let topic = OffsetForLeaderTopic { topic: "t".to_owned(), partitions: vec![partition] };
        let request = OffsetForLeaderEpochRequest {
            topics: vec![topic],
            ..OffsetForLeaderEpochRequest::default()
        };
        let answer = client.call(&request, 4).await.topics.remove(0).partitions.remove(0);
        assert_eq!((answer.leader_epoch, answer.end_offset), expected, "{leader_epoch}");
    }
}

#[tokio::test]
async fn who_asks_for_nothing_is_answered_with_nothing() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let mut request = produce_request("t", 0, -1, batch(&["a"]));
    request.topic_data[0].partition_data.clear();
    assert!(client.call(&request, 9).await.responses.is_empty());
    for (partitions, expected) in
        [(Some(Vec::new()), ErrorCode::NONE), (None, ErrorCode::INVALID_REQUEST)]
    {
        let request = ElectLeadersRequest {
            election_type: 5,
            topic_partitions: partitions,
            ..ElectLeadersRequest::default()
        };
        assert_eq!(client.call(&request, 2).await.error_code, expected);
    }
}

/// Deletes records below offsets of partitions, and returns what each was answered.
async fn delete_records(
    client: &mut Client,
    topic: &str,
    partitions: &[(i32, i64)],
) -> Vec<(i32, i64, ErrorCode)> {
    let partitions = partitions
        .iter()
        .map(|&(partition_index, offset)| DeleteRecordsPartition { partition_index, offset });
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.to_owned(),
            partitions: partitions.collect(),
        }],
        ..DeleteRecordsRequest::default()
    };
    let mut topics = client.call(&request, 2).await.topics;
    assert_eq!(topics.len(), 1);
    let partitions = topics.remove(0).partitions.into_iter();
    partitions.map(|one| (one.partition_index, one.low_watermark, one.error_code)).collect()
}

#[tokio::test]
async fn records_of_the_brokers_own_topics_cannot_be_deleted() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.commit("g", "t", 0, 1).await;
    let answer = delete_records(&mut client, "__consumer_offsets", &[(0, -1), (99, -1)]).await;
    let expected = [
        (0, -1, ErrorCode::INVALID_TOPIC_EXCEPTION),
        (99, -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ];
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn names_that_kafka_reserves_are_internal() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("__share_group_state", 1).await;
    assert!(client.describe("__share_group_state", false).await.is_internal);
}

/// Sets a property of the broker, and returns what is answered.
async fn set(client: &mut Client, name: &str, value: &str) -> ErrorCode {
    set_of(client, BROKER, name, value).await.error_code
}

async fn set_of(
    client: &mut Client,
    resource_type: i8,
    name: &str,
    value: &str,
) -> AlterConfigsResourceResponse {
    let config = AlterableConfig {
        name: name.to_owned(),
        config_operation: 0,
        value: Some(value.to_owned()),
    };
    let resource = AlterConfigsResource {
        resource_type,
        resource_name: "1".to_owned(),
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        ..IncrementalAlterConfigsRequest::default()
    };
    client.call(&request, 1).await.responses.remove(0)
}

#[tokio::test]
async fn what_can_only_be_described_is_said_to_exist_when_it_is_altered() {
    let running = start().await;
    let mut client = running.client().await;
    for (resource_type, expected) in [
        (8, "levels of loggers cannot be altered while the broker runs"),
        (16, "subscriptions to client metrics are not served"),
        (3, "there is no resource type 3"),
    ] {
        let refusal = set_of(&mut client, resource_type, "a", "b").await;
        assert_eq!(refusal.error_code, ErrorCode::INVALID_REQUEST);
        assert_eq!(refusal.error_message.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_running_broker_takes_the_values_that_kafka_takes() {
    let running = start().await;
    let mut client = running.client().await;
    // These kafka-reassign-partitions sets when it is told how fast to move replicas.
    for name in [
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    ] {
        assert_eq!(set(&mut client, name, "1000").await, ErrorCode::NONE, "{name}");
    }
    for (name, value) in [
        ("num.io.threads", "900"),
        ("log.cleaner.dedupe.buffer.size", "100"),
        ("cordoned.log.dirs", "elsewhere"),
    ] {
        assert_eq!(set(&mut client, name, value).await, ErrorCode::INVALID_REQUEST, "{name}");
    }
    assert_eq!(set(&mut client, "num.io.threads", "9").await, ErrorCode::NONE);
}
