//! Metadata that was damaged: no intact topic is lost by it, neither by repair nor by a start.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Client, Running, batch, builder, start, values};
use kohort_broker::data_folder;
use kohort_protocol::messages::OffsetFetchRequest;
use kohort_protocol::messages::offset_fetch::OffsetFetchRequestTopic;
use kohort_storage::{FileDisk, LogDirConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A folder of a broker that stopped in order: `orders` with records and an offset committed, `other`.
async fn folder_with_topics() -> TempDir {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("orders", 2).await;
    client.create_topic("other", 1).await;
    for value in ["a", "b", "c"] {
        assert!(client.produce("orders", 1, batch(&[value])).await.error_code.is_ok());
    }
    client.commit("g", "orders", 1, 2).await;
    let Running { broker, folder } = running;
    broker.shutdown().await.unwrap();
    folder
}

fn partition_dir(folder: &Path, name: &str) -> PathBuf {
    let of_it = |path: &PathBuf| {
        path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}."))
    };
    let entries = fs::read_dir(folder.join("partitions")).unwrap();
    entries.map(|entry| entry.unwrap().path()).find(of_it).unwrap()
}

fn metadata_file(folder: &Path) -> PathBuf {
    partition_dir(folder, "__cluster_metadata-0").join("00000000000000000000.log")
}

/// Where the batches of a segment begin.
fn batches(file: &Path) -> Vec<usize> {
    let bytes = fs::read(file).unwrap();
    let mut begins = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        begins.push(at);
        let length = i32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        at += 12 + usize::try_from(length).unwrap();
    }
    begins
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// What the group has committed, when its coordinator has loaded it.
async fn committed(client: &mut Client) -> i64 {
    let topic = OffsetFetchRequestTopic { name: "orders".into(), partition_indexes: vec![1] };
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![topic]),
        ..OffsetFetchRequest::default()
    };
    loop {
        let answer = client.call(&request, 6).await;
        if answer.error_code.is_ok() {
            return answer.topics[0].partitions[0].committed_offset;
        }
    }
}

/// Everything that clients had is there, also after another start.
async fn check_all_is_there(folder: TempDir) {
    assert_eq!(data_folder::verify(folder.path()).unwrap().problems, []);
    let broker = builder(folder.path()).start().await.unwrap();
    let mut running = Running { broker, folder };
    for _ in 0..2 {
        let mut client = running.client().await;
        assert_eq!(client.describe("other", false).await.partitions.len(), 1);
        assert_eq!(client.describe("orders", false).await.partitions.len(), 2);
        let found = values(&client.fetch("orders", 1, 0).await);
        let found: Vec<(i64, &str)> = found.iter().map(|(at, value)| (*at, &**value)).collect();
        assert_eq!(found, [(0, "a"), (1, "b"), (2, "c")]);
        assert_eq!(committed(&mut client).await, 2);
        running = running.restart().await;
    }
}

#[tokio::test]
async fn every_topic_outlives_the_loss_of_any_batch_of_the_metadata_log() {
    let first = folder_with_topics().await;
    let count = batches(&metadata_file(first.path())).len();
    assert!(count >= 4, "the cluster's id and three topics");
    drop(first);
    for number in 0..count {
        let folder = folder_with_topics().await;
        let file = metadata_file(folder.path());
        flip(&file, batches(&file)[number] + 61 + 5);
        let repaired = data_folder::repair(folder.path()).unwrap();
        assert_eq!(repaired.log.problems.len(), 1, "{repaired:?}");
        assert_eq!(repaired.metadata.new_cluster_id, number == 0);
        check_all_is_there(folder).await;
    }
}

#[tokio::test]
async fn every_topic_outlives_the_loss_of_the_whole_metadata_log() {
    let folder = folder_with_topics().await;
    fs::remove_dir_all(partition_dir(folder.path(), "__cluster_metadata-0")).unwrap();
    assert!(!data_folder::verify(folder.path()).unwrap().problems.is_empty());
    assert!(builder(folder.path()).start().await.is_err(), "it does not begin as a new cluster");
    let repaired = data_folder::repair(folder.path()).unwrap();
    assert_eq!(repaired.metadata.topics.len(), 3, "{repaired:?}");
    check_all_is_there(folder).await;
}

/// 1. The metadata loses a topic. 2. A broker starts that does not know of it.
#[tokio::test]
async fn records_of_a_topic_that_the_metadata_does_not_know_are_set_aside_and_never_deleted() {
    let folder = folder_with_topics().await;
    let file = metadata_file(folder.path());
    // The batch after the one with the cluster's id creates the topic.
    flip(&file, batches(&file)[1] + 61 + 5);
    let stray = partition_dir(folder.path(), "orders-1");
    kohort_storage::repair(&(Arc::new(FileDisk) as _), &LogDirConfig::new(folder.path())).unwrap();
    let broker = builder(folder.path()).start().await.unwrap();
    let running = Running { broker, folder };
    // The group's offset waits as the records do: its coordinator has looked for deleted topics when it answers.
    assert_eq!(committed(&mut running.client().await).await, 2);
    let Running { broker, folder } = running;
    broker.shutdown().await.unwrap();
    let stray = PathBuf::from(format!("{}-stray", stray.display()));
    assert_eq!(data_folder::verify(folder.path()).unwrap().set_aside, [stray]);
    let repaired = data_folder::repair(folder.path()).unwrap();
    assert_eq!(repaired.log.taken_back.len(), 1, "{repaired:?}");
    check_all_is_there(folder).await;
}
