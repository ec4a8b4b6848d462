//! Compacted topics, from the request that makes them so to what a reader finds after a restart.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common::{Client, PATIENCE, Running, start_with};
use kohort_protocol::compression::{Compression, Compressor, Decompressor};
use kohort_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource as Resource, AlterableConfig,
};
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kohort_protocol::messages::{
    DescribeLogDirsRequest, IncrementalAlterConfigsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord, batches};
use tokio::time::{sleep, timeout};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// A broker whose cleaner hardly rests. A segment has at least a MiB, as in Kafka.
async fn eager() -> Running {
    start_with(|builder| {
        builder
            .set("log.cleaner.backoff.ms", "5")
            .set("offsets.topic.num.partitions", "1")
            .set("offsets.topic.segment.bytes", "1048576")
    })
    .await
}

async fn alter(client: &mut Client, kind: i8, name: &str, configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| AlterableConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
        ..AlterableConfig::default()
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![Resource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configs: configs.iter().map(config).collect(),
        }],
        ..IncrementalAlterConfigsRequest::default()
    };
    let response = client.call(&request, 1).await;
    assert!(response.responses[0].error_code.is_ok(), "{response:?}");
}

/// A batch of keys with values of `bytes` bytes, none for a tombstone.
fn keyed(records: &[(&str, Option<&str>)], bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (key, value) in records {
        let value = value.map(|value| format!("{value}{}", ".".repeat(bytes)));
        let record = NewRecord {
            timestamp: 1_700_000_000_000,
            key: Some(key.as_bytes()),
            value: value.as_deref().map(str::as_bytes),
            ..NewRecord::default()
        };
        builder.append(&record).unwrap();
    }
    builder.build(&BatchOptions::default(), &mut Compressor::none())
}

/// Offset, key and value (without its padding) of all records of a partition.
async fn read(client: &mut Client, topic: &str) -> Vec<(i64, String, Option<String>)> {
    let mut found = Vec::new();
    let mut offset = 0;
    loop {
        let data = client.fetch(topic, 0, offset).await;
        assert!(data.error_code.is_ok(), "{data:?}");
        if offset == data.high_watermark {
            return found;
        }
        let records = data.records.unwrap();
        assert!(!records.is_empty(), "a fetch below the high watermark gets on");
        for batch in batches(&records).map_while(Result::ok) {
            let mut buffer = Vec::new();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('.', "");
            let view = batch.records(&mut Decompressor::new(), &mut buffer, 1 << 24).unwrap();
            for record in view.map(Result::unwrap) {
                found.push((record.offset, text(record.key.unwrap()), record.value.map(text)));
            }
            offset = batch.header().next_offset();
        }
    }
}

async fn size(client: &mut Client, topic: &str) -> i64 {
    let request = DescribeLogDirsRequest { topics: None };
    let described = client.call(&request, 4).await.results.remove(0);
    let found = described.topics.into_iter().find(|found| found.name == topic).unwrap();
    found.partitions[0].partition_size
}

/// Reads until of each key only so many records are left.
async fn read_until(client: &mut Client, topic: &str, records: usize) {
    let reached = async {
        while read(client, topic).await.len() > records {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("old records of the same key go");
}

fn last_of_each(records: &[(i64, String, Option<String>)]) -> BTreeMap<String, String> {
    let mut last = BTreeMap::new();
    for (_, key, value) in records {
        match value {
            Some(value) => last.insert(key.clone(), value.clone()),
            None => last.remove(key),
        };
    }
    last
}

#[tokio::test]
async fn a_cleaner_that_rests_for_an_hour_is_told_when_it_is_to_rest_less() {
    let running = start_with(|builder| builder.set("log.cleaner.backoff.ms", "3600000")).await;
    let mut client = running.client().await;
    let config = [
        ("segment.bytes", "1048576"),
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    client.create_topic_with("t", 1, &config).await;
    for _ in 0..30 {
        client.produce("t", 0, keyed(&[("a", Some("v"))], 100_000)).await;
    }
    alter(&mut client, BROKER, "1", &[("log.cleaner.backoff.ms", "5")]).await;
    // The active segment holds at most 10 of these records.
    read_until(&mut client, "t", 11).await;
}

#[tokio::test]
async fn topic_is_compacted_once_its_settings_say_so_and_reads_the_same_after_a_restart() {
    let running = eager().await;
    let mut client = running.client().await;
    client.create_topic_with("t", 1, &[("segment.bytes", "1048576")]).await;
    for round in 0..30 {
        let value = format!("v{round}");
        let records =
            [("a", Some(value.as_str())), ("b", Some(value.as_str())), ("gone", Some("x"))];
        client.produce("t", 0, keyed(&records, 40_000)).await;
    }
    client.produce("t", 0, keyed(&[("gone", None)], 0)).await;
    assert_eq!(read(&mut client, "t").await.len(), 91);
    let before = size(&mut client, "t").await;
    alter(
        &mut client,
        TOPIC,
        "t",
        &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("delete.retention.ms", "0"),
        ],
    )
    .await;
    // The active segment keeps what it has: it holds at most 26 of these records.
    read_until(&mut client, "t", 29).await;
    let found = read(&mut client, "t").await;
    let expected: BTreeMap<String, String> =
        ["a", "b"].map(|key| (key.to_owned(), "v29".to_owned())).into();
    assert_eq!(last_of_each(&found), expected);
    assert!(found.iter().any(|(offset, ..)| *offset == 90), "the tombstone is in the active one");
    assert!(size(&mut client, "t").await < before / 2);
    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(read(&mut client, "t").await, found);
    assert_eq!(client.produce("t", 0, keyed(&[("c", Some("1"))], 0)).await.base_offset, 91);
}

#[tokio::test]
async fn committed_offsets_shrink_to_the_last_of_each_and_load_the_same() {
    let running = eager().await;
    let mut client = running.client().await;
    client.create_topic("t", 2).await;
    // The broker's settings count for the offsets topic, too, and while it runs.
    alter(&mut client, BROKER, "", &[("log.cleaner.min.cleanable.ratio", "0.1")]).await;
    client.commit("group", "t", 0, 0).await;
    for offset in 0..900 {
        let partition = OffsetCommitRequestPartition {
            partition_index: (offset % 2) as i32,
            committed_offset: offset,
            committed_metadata: Some("m".repeat(4000)),
            ..OffsetCommitRequestPartition::default()
        };
        let request = OffsetCommitRequest {
            group_id: "group".to_owned(),
            topics: vec![OffsetCommitRequestTopic {
                name: "t".to_owned(),
                partitions: vec![partition],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        let response = client.call(&request, 8).await;
        assert!(response.topics[0].partitions[0].error_code.is_ok(), "{response:?}");
    }
    // Three and a half segments were written; the active one stays as it is.
    let topic = "__consumer_offsets";
    let reached = async {
        while size(&mut client, topic).await > 1_100_000 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("old commits go");
    let running = running.restart().await;
    let mut client = running.client().await;
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "group".to_owned(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".to_owned(),
                partition_indexes: vec![0, 1],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let loaded = async {
        loop {
            let group = client.call(&request, 8).await.groups.remove(0);
            if group.error_code.is_ok() {
                return group;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let mut group = timeout(PATIENCE, loaded).await.expect("the group is loaded");
    let partitions = group.topics.remove(0).partitions;
    let offsets: Vec<i64> = partitions.iter().map(|found| found.committed_offset).collect();
    assert_eq!(offsets, [898, 899]);
}

#[tokio::test]
async fn topic_with_its_own_codec_stores_every_producers_records_in_it() {
    let running = eager().await;
    let mut client = running.client().await;
    for (topic, level) in [("fast", "1"), ("thorough", "9")] {
        let configs = [("compression.type", "gzip"), ("compression.gzip.level", level)];
        client.create_topic_with(topic, 1, &configs).await;
        let words: Vec<String> = (0..2000u32).map(|n| format!("{}", n * n % 1009)).collect();
        client.produce(topic, 0, keyed(&[("k", Some(&words.join(" ")))], 0)).await;
        let stored = client.fetch(topic, 0, 0).await.records.unwrap();
        let header = *batches(&stored).next().unwrap().unwrap().header();
        assert_eq!(header.compression(), Ok(Compression::Gzip));
    }
    assert!(size(&mut client, "thorough").await < size(&mut client, "fast").await);
    alter(&mut client, TOPIC, "fast", &[("compression.type", "producer")]).await;
    client.produce("fast", 0, keyed(&[("k", Some("plain"))], 0)).await;
    let stored = client.fetch("fast", 0, 1).await.records.unwrap();
    let last = batches(&stored).map(Result::unwrap).last().unwrap();
    assert_eq!(last.header().compression(), Ok(Compression::None));
}
