//! How much of `__consumer_offsets` a restart replays: the live state and little more, however many
//! commits there were.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Client, PATIENCE, Running, builder, start};
use kohort_broker::{Broker, ShardLoad};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_fetch::OffsetFetchRequestGroup;
use kohort_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PARTITIONS: i32 = 12;
/// Each commit of twelve partitions takes about a kilobyte of the log.
const COMMITS: i64 = 3000;
const RECORDS: u64 = COMMITS as u64 * PARTITIONS as u64;

/// Commits one offset to all partitions, over and over, until the last one is `last`.
async fn commit_all(client: &mut Client, offsets: std::ops::Range<i64>) {
    let mut sent = std::collections::VecDeque::new();
    for offset in offsets {
        let partition = |partition_index| OffsetCommitRequestPartition {
            partition_index,
            committed_offset: offset,
            ..OffsetCommitRequestPartition::default()
        };
        let request = OffsetCommitRequest {
            group_id: "g".to_owned(),
            generation_id_or_member_epoch: -1,
            topics: vec![OffsetCommitRequestTopic {
                name: "t".to_owned(),
                partitions: (0..PARTITIONS).map(partition).collect(),
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        sent.push_back(client.send(&request, 9).await);
        if sent.len() == 64 {
            receive(client, sent.pop_front().unwrap()).await;
        }
    }
    for id in sent {
        receive(client, id).await;
    }
}

async fn receive(client: &mut Client, id: i32) {
    let response = client.receive::<OffsetCommitRequest>(id, 9).await;
    let ok = response.topics[0].partitions.iter().all(|partition| partition.error_code.is_ok());
    assert!(ok, "{response:?}");
}

/// Returns what the group has committed, by partition.
async fn committed(client: &mut Client) -> Vec<i64> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    loop {
        let response = client.call(&request, 9).await;
        let group = &response.groups[0];
        if group.error_code != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
            let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
            return partitions.map(|partition| partition.committed_offset).collect();
        }
    }
}

/// Returns what loading the group's shard took.
fn load(broker: &Broker) -> ShardLoad {
    let loads = broker.coordinator_loads();
    assert_eq!(loads.len(), 1, "{loads:?}");
    loads[0]
}

/// Finds the snapshot below a data folder.
fn snapshot_file(folder: &Path) -> Option<PathBuf> {
    let partitions = std::fs::read_dir(folder.join("partitions")).ok()?;
    let files = partitions.map(|partition| partition.unwrap().path().join("snapshot"));
    files.into_iter().find(|file| file.exists())
}

async fn with_commits() -> Running {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", PARTITIONS).await;
    commit_all(&mut client, 0..COMMITS).await;
    running
}

#[tokio::test]
async fn an_orderly_restart_replays_what_is_live_and_little_else() {
    let running = with_commits().await.restart().await;
    let mut client = running.client().await;
    assert_eq!(committed(&mut client).await, vec![COMMITS - 1; PARTITIONS as usize]);
    let ShardLoad { snapshot_records, log_records, .. } = load(&running.broker);
    assert_eq!(snapshot_records, PARTITIONS as u64);
    // Less than a quarter of a mebibyte of the log is not worth a snapshot, at 60 bytes a record.
    assert!(log_records <= (1 << 18) / 60, "{log_records} of {RECORDS}");
}

#[tokio::test]
async fn after_a_crash_most_of_the_log_is_not_replayed_either() {
    let running = with_commits().await;
    // A snapshot became due on the way, and is written beside the commits.
    let written = async {
        while snapshot_file(running.folder.path()).is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, written).await.expect("a snapshot is written");
    // What is on the disk now is what a crash would leave.
    let crashed = tempfile::tempdir().unwrap();
    copy(running.folder.path(), crashed.path());
    let broker = builder(crashed.path()).start().await.unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    assert_eq!(committed(&mut client).await, vec![COMMITS - 1; PARTITIONS as usize]);
    let ShardLoad { snapshot_records, log_records, .. } = load(&broker);
    assert_eq!(snapshot_records, PARTITIONS as u64);
    // The first mebibyte is never replayed, at less than 120 bytes a record.
    assert!(log_records <= RECORDS - (1 << 20) / 120, "{log_records} of {RECORDS}");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_damaged_snapshot_costs_time_and_nothing_else() {
    let running = with_commits().await;
    let Running { broker, folder } = running;
    broker.shutdown().await.unwrap();
    let file = snapshot_file(folder.path()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let broker = builder(folder.path()).start().await.unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    assert_eq!(committed(&mut client).await, vec![COMMITS - 1; PARTITIONS as usize]);
    let ShardLoad { snapshot_records, log_records, .. } = load(&broker);
    assert_eq!((snapshot_records, log_records), (0, RECORDS));
    assert!(!file.exists(), "what is of no use does not stay");
    broker.shutdown().await.unwrap();
    assert!(file.exists(), "there is one again, which is sound");
}

#[tokio::test]
async fn a_shard_with_little_to_tell_writes_no_snapshot() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", PARTITIONS).await;
    commit_all(&mut client, 0..10).await;
    let Running { broker, folder } = running.restart().await;
    assert_eq!(snapshot_file(folder.path()), None);
    let mut client = Client::connect(broker.local_addr()).await;
    committed(&mut client).await;
    assert_eq!(load(&broker).log_records, 10 * PARTITIONS as u64);
}

#[tokio::test]
async fn an_idle_shard_does_not_write_its_snapshot_again() {
    let Running { broker, folder } = with_commits().await.restart().await;
    let file = snapshot_file(folder.path()).unwrap();
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    committed(&mut client).await;
    broker.shutdown().await.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), written);
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension == "new") {
            // Half written, or about to get its name.
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
