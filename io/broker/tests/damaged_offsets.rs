//! A partition of `__consumer_offsets` that rotted on the disk: its groups are refused, all others are
//! served, and the operator is told what is damaged.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::scraping::{address, get, scrape, value};
use common::{Client, PATIENCE, Running, builder};
use kohort_coordinator::partition_for;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::offset_fetch::OffsetFetchRequestGroup;
use kohort_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, ListGroupsRequest,
    OffsetFetchRequest,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PARTITIONS: i32 = 50;
const GROUPS: [&str; 3] = ["g", "other", "third"];

#[tokio::test]
async fn one_damaged_partition_costs_its_own_groups_and_no_other() {
    let broker = running(tempfile::tempdir().unwrap()).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1).await;
    for group in GROUPS {
        client.commit(group, "t", 0, 7).await;
    }
    let Running { broker, folder } = broker;
    broker.shutdown().await.unwrap();
    let index = partition_for("third", PARTITIONS);
    let segment = segment(folder.path(), index);
    flip(&segment);

    let broker = running(folder).await;
    let mut client = broker.client().await;
    assert_eq!(listed(&mut client).await, ["g", "other"]);
    assert_eq!(committed(&mut client, "g").await, Ok(7));
    assert_eq!(committed(&mut client, "other").await, Ok(7));
    assert_eq!(committed(&mut client, "third").await, Err(ErrorCode::NOT_COORDINATOR));
    let heartbeat =
        HeartbeatRequest { group_id: "third".to_owned(), ..HeartbeatRequest::default() };
    assert_eq!(client.call(&heartbeat, 4).await.error_code, ErrorCode::NOT_COORDINATOR);
    let describe = DescribeGroupsRequest {
        groups: ["third", "g"].map(str::to_owned).to_vec(),
        ..DescribeGroupsRequest::default()
    };
    let described = client.call(&describe, 5).await.groups;
    let errors: Vec<_> = described.iter().map(|it| (&*it.group_id, it.error_code)).collect();
    assert!(errors.contains(&("third", ErrorCode::NOT_COORDINATOR)), "{errors:?}");
    assert!(errors.contains(&("g", ErrorCode::NONE)), "{errors:?}");
    // Nobody else has the group, so this is where to ask again: as in Kafka.
    let find = FindCoordinatorRequest {
        coordinator_keys: vec!["third".to_owned()],
        ..FindCoordinatorRequest::default()
    };
    let found = client.call(&find, 4).await.coordinators;
    assert_eq!((found[0].error_code, found[0].node_id), (ErrorCode::NONE, 1));

    let (status, body) = get(address(&broker), "/health").await;
    assert_eq!(status, "HTTP/1.1 200 OK", "the other groups are served");
    assert!(body.contains("\"status\":\"degraded\""), "{body}");
    assert!(body.contains("\"code\":\"damaged-groups\""), "{body}");
    assert!(!body.contains("loading-groups"), "{body}");
    assert!(body.contains(&format!("__consumer_offsets-{index} ")), "{body}");
    assert!(body.contains(segment.to_str().unwrap()), "{body}");
    assert_eq!(get(address(&broker), "/health/live").await.0, "HTTP/1.1 200 OK");
    let page = scrape(&broker).await;
    assert_eq!(value(&page, "kohort_group_partitions_damaged"), Some(1.0));
    assert_eq!(value(&page, "kohort_group_partitions_loading"), Some(0.0));

    let Running { broker, folder } = broker;
    broker.shutdown().await.unwrap();
    flip(&segment);
    let broker = running(folder).await;
    let mut client = broker.client().await;
    assert_eq!(committed(&mut client, "third").await, Ok(7));
    assert_eq!(listed(&mut client).await, GROUPS);
    assert_eq!(get(address(&broker), "/health").await.0, "HTTP/1.1 200 OK");
}

/// Starts a broker in whose `__consumer_offsets` each of the groups has a partition of its own.
async fn running(folder: tempfile::TempDir) -> Running {
    let broker = builder(folder.path())
        .set("metrics.listener", "127.0.0.1:0")
        .set("offsets.topic.num.partitions", &PARTITIONS.to_string());
    Running { broker: broker.start().await.unwrap(), folder }
}

/// Returns the groups by name, once all shards have read their logs or failed to.
async fn listed(client: &mut Client) -> Vec<String> {
    let list = async {
        loop {
            let response = client.call(&ListGroupsRequest::default(), 5).await;
            if response.error_code != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
                assert_eq!(response.error_code, ErrorCode::NONE);
                break response.groups;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let groups = timeout(PATIENCE, list).await.expect("a list needs no damaged partition");
    let mut names: Vec<_> = groups.into_iter().map(|group| group.group_id).collect();
    names.sort();
    names
}

/// Returns what a group has committed to the only partition, once its shard has loaded or failed.
async fn committed(client: &mut Client, group: &str) -> Result<i64, ErrorCode> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let ask = async {
        loop {
            let group = client.call(&request, 9).await.groups.remove(0);
            match group.error_code {
                ErrorCode::NONE => break Ok(group.topics[0].partitions[0].committed_offset),
                ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => sleep(Duration::from_millis(5)).await,
                code => break Err(code),
            }
        }
    };
    timeout(PATIENCE, ask).await.expect("no shard loads for ever")
}

fn segment(folder: &Path, index: i32) -> PathBuf {
    let partitions = std::fs::read_dir(folder.join("partitions")).unwrap();
    let prefix = format!("__consumer_offsets-{index}.");
    let mut folders = partitions.map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix);
    folders.find(is_it).unwrap().join("00000000000000000000.log")
}

/// Turns over a bit in the first batch, past its header; and back again.
fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[70] ^= 1;
    std::fs::write(file, bytes).unwrap();
}
