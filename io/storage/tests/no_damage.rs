//! What a crash leaves that may look like damage and is none: an operator who looks is told of nothing.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use kohort_storage::{Disk, verify};
use support::folder::{Folder, append_alone, partition, two_partitions};

#[test]
fn files_of_a_partition_that_the_log_deletes_may_be_gone() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let [deleted, _kept] = two_partitions(&dir);
    dir.checkpoint().unwrap();
    dir.delete_partition(deleted.id().topic_id, deleted.id().index, drop).unwrap();
    dir.step_commit();
    dir.step_flush().unwrap();
    drop(deleted);
    folder.kill(dir);
    assert_eq!(folder.disk.list(&folder.config.path.join("partitions")).unwrap().len(), 1);
    assert_eq!(verify(&folder.disk(), &folder.config.path).unwrap().problems, []);
    assert_eq!(folder.open().unwrap().partitions().len(), 1);
}

/// 1. Every record of a partition is deleted, and a checkpoint says that it has a folder and no segment.
/// 2. It is to get a segment again, and the disk is full. 3. The process is killed.
#[test]
fn file_that_tells_whose_a_folder_is_stays_when_there_is_no_room_for_a_segment() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    append_alone(&dir, &log);
    dir.step_flush().unwrap();
    log.advance_log_start(1, drop).unwrap();
    dir.step_commit();
    dir.step_flush().unwrap();
    dir.checkpoint().unwrap();
    assert_eq!(log.counters().segments, 0);
    append_alone(&dir, &log);
    folder.disk.set_capacity(Some(0));
    dir.step_flush().unwrap_err();
    drop(log);
    folder.kill(dir);
    assert_eq!(verify(&folder.disk(), &folder.config.path).unwrap().problems, []);
}
