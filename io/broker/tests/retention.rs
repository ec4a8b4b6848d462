//! Old records go, by age, by size and by request, and everybody is told what is left.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use common::{Client, PATIENCE, Running, batch, start_with};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::alter_configs::{
    AlterConfigsResource, AlterableConfig as ReplacedConfig,
};
use kohort_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use kohort_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource as Resource, AlterableConfig,
};
use kohort_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use kohort_protocol::messages::{
    AlterConfigsRequest, DeleteRecordsRequest, DescribeLogDirsRequest,
    IncrementalAlterConfigsRequest, ListOffsetsRequest,
};
use tokio::time::{sleep, timeout};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// A broker that looks for old segments all the time.
async fn eager() -> Running {
    start_with(|builder| {
        builder.set("log.initial.task.delay.ms", "0").set("log.retention.check.interval.ms", "5")
    })
    .await
}

/// Returns the offset at a time, or the earliest (-2).
async fn offset(client: &mut Client, topic: &str, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition {
        timestamp,
        current_leader_epoch: -1,
        ..ListOffsetsPartition::default()
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] }],
        ..ListOffsetsRequest::default()
    };
    client.call(&request, 11).await.topics.remove(0).partitions.remove(0).offset
}

async fn earliest_becomes(client: &mut Client, topic: &str, expected: i64) {
    let reached = async {
        while offset(client, topic, -2).await != expected {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("old records go");
}

/// Sets one property of a topic or of the broker.
async fn alter(client: &mut Client, kind: i8, name: &str, property: &str, value: &str) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![Resource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configs: vec![AlterableConfig {
                name: property.to_owned(),
                value: Some(value.to_owned()),
                ..AlterableConfig::default()
            }],
        }],
        ..IncrementalAlterConfigsRequest::default()
    };
    let response = client.call(&request, 1).await;
    assert!(response.responses[0].error_code.is_ok(), "{response:?}");
}

/// Returns a topic's size as DescribeLogDirs tells it, and what it tells of the volume.
async fn size(client: &mut Client, topic: &str) -> (i64, i64, i64) {
    let request = DescribeLogDirsRequest { topics: None };
    let mut described = client.call(&request, 4).await.results.remove(0);
    let found = described.topics.iter_mut().find(|found| found.name == topic).unwrap();
    (found.partitions.remove(0).partition_size, described.total_bytes, described.usable_bytes)
}

#[tokio::test]
async fn records_older_than_retention_ms_go_and_the_log_goes_on_after_them() {
    let running = eager().await;
    let mut client = running.client().await;
    // The records' times are of the year 2023.
    client.create_topic_with("old", 1, &[("retention.ms", "1000")]).await;
    client.create_topic_with("kept", 1, &[("retention.ms", "-1")]).await;
    client.create_topic_with("compacted", 1, &[("cleanup.policy", "compact")]).await;
    for topic in ["kept", "old"] {
        client.produce(topic, 0, batch(&["a", "b"])).await;
    }
    earliest_becomes(&mut client, "old", 2).await;
    let data = client.fetch("old", 0, 2).await;
    assert_eq!(
        (data.error_code, data.log_start_offset, data.high_watermark),
        (ErrorCode::NONE, 2, 2)
    );
    assert_eq!(client.fetch("old", 0, 1).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(offset(&mut client, "old", 0).await, -1);
    assert_eq!(size(&mut client, "old").await.0, 0);
    assert_eq!(offset(&mut client, "kept", -2).await, 0);
    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(client.produce("old", 0, batch(&["c"])).await.base_offset, 2);
}

#[tokio::test]
async fn retention_follows_the_topic_then_the_broker_as_they_are_altered() {
    let running = eager().await;
    let mut client = running.client().await;
    alter(&mut client, BROKER, "", "log.retention.ms", "-1").await;
    for topic in ["by-broker", "by-topic", "by-size"] {
        client.create_topic(topic, 1).await;
        client.produce(topic, 0, batch(&["a"])).await;
    }
    alter(&mut client, TOPIC, "by-size", "retention.bytes", "0").await;
    earliest_becomes(&mut client, "by-size", 1).await;
    // The others were looked at since, and are kept for ever.
    client.produce("by-size", 0, batch(&["b"])).await;
    earliest_becomes(&mut client, "by-size", 2).await;
    assert_eq!(offset(&mut client, "by-topic", -2).await, 0);
    alter(&mut client, TOPIC, "by-topic", "retention.ms", "1").await;
    earliest_becomes(&mut client, "by-topic", 1).await;
    assert_eq!(offset(&mut client, "by-broker", -2).await, 0);
    alter(&mut client, BROKER, "", "log.retention.ms", "1").await;
    earliest_becomes(&mut client, "by-broker", 1).await;
}

#[tokio::test]
async fn deleted_records_take_no_space_and_need_a_policy_that_lets_them_go() {
    let running = start_with(|builder| builder).await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.create_topic_with("compacted", 1, &[("cleanup.policy", "compact")]).await;
    client.create_topic("neither", 1).await;
    let policy = ReplacedConfig { name: "cleanup.policy".to_owned(), value: Some(String::new()) };
    let request = AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "neither".to_owned(),
            configs: vec![policy],
        }],
        ..AlterConfigsRequest::default()
    };
    assert!(client.call(&request, 2).await.responses[0].error_code.is_ok());
    for topic in ["t", "neither"] {
        client.produce(topic, 0, batch(&["a", "b", "c"])).await;
    }
    let (before, total, usable) = size(&mut client, "t").await;
    assert!(before > 0 && total > 0 && (0..=total).contains(&usable), "{total} {usable}");
    let mut delete = async |topic: &str, offset: i64| {
        let partition = DeleteRecordsPartition { partition_index: 0, offset };
        let topic = DeleteRecordsTopic { name: topic.to_owned(), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000 };
        let found = client.call(&request, 2).await.topics.remove(0).partitions.remove(0);
        (found.error_code, found.low_watermark)
    };
    assert_eq!(delete("t", 1).await, (ErrorCode::NONE, 1));
    assert_eq!(delete("t", 4).await.0, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(delete("t", -1).await, (ErrorCode::NONE, 3));
    assert_eq!(delete("neither", 2).await, (ErrorCode::NONE, 2));
    assert_eq!(delete("compacted", -1).await.0, ErrorCode::POLICY_VIOLATION);
    assert_eq!(size(&mut client, "t").await.0, 0);
    assert_eq!(client.fetch("t", 0, 2).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
}
