//! Partitions that nobody knows are set aside, never deleted; what is on record as deleted goes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use kohort_storage::{CommitStep, Disk, LogDir, SimulatedDisk, repair, verify};
use support::folder::{Folder, append_alone, partition};
use support::{append, batch, id, read_all};

#[test]
fn partition_set_aside_is_left_alone_until_repair_takes_it_back() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    for _ in 0..5 {
        append_alone(&dir, &log);
    }
    dir.step_flush().unwrap();
    append_alone(&dir, &log);
    let before = read_all(&log, 0, 10_000);
    let stray = dir.set_aside(log.id().topic_id, 0).unwrap().unwrap();
    assert!(stray.to_str().unwrap().ends_with("-stray"), "{stray:?}");
    assert_eq!(dir.step_commit(), CommitStep::Committed);
    assert!(dir.partition(log.id().topic_id, 0).is_none());
    // Who still holds it cannot write to it: the log would speak of a partition that is not there.
    assert!(append(&log, batch(&[b"late"])).is_err());
    folder.kill(dir);
    for _ in 0..2 {
        let (dir, report) = LogDir::open_on(folder.disk(), folder.config.clone()).unwrap();
        assert!(report.folders_removed.is_empty() && report.folders_set_aside.is_empty());
        folder.close(dir);
    }
    let report = verify(&folder.disk(), &folder.config.path).unwrap();
    assert_eq!((report.problems, report.set_aside), (vec![], vec![stray]));
    let report = repair(&folder.disk(), &folder.config).unwrap();
    assert_eq!((report.problems, report.taken_back), (vec![], vec![id("t", 0)]));
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    assert_eq!(read_all(&log, 0, 10_000), before);
    append_alone(&dir, &log);
    assert_eq!(log.high_watermark(), 7);
}

/// Setting aside makes records durable, renames and notes the deletion, in this order.
#[test]
fn partition_is_here_or_there_wherever_setting_it_aside_is_interrupted() {
    for operations in 0.. {
        let folder = Folder::new();
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        append_alone(&dir, &log);
        dir.checkpoint().unwrap();
        append_alone(&dir, &log);
        folder.disk.stop_after(operations);
        let done = dir.set_aside(log.id().topic_id, 0).is_ok()
            && dir.step_commit() == CommitStep::Committed;
        folder.disk.power_cut();
        drop((log, dir));
        let dir = folder.open().unwrap();
        if let Some(log) = dir.partition(id("t", 0).topic_id, 0) {
            assert!(!done);
            if read_all_or_nothing(&log) == Some(2) {
                continue;
            }
        }
        folder.close(dir);
        let strays = verify(&folder.disk(), &folder.config.path).unwrap().set_aside;
        assert_eq!(strays.len(), 1, "after {operations}");
        folder.disk.list(&strays[0]).unwrap();
        if done {
            assert!(operations > 5);
            break;
        }
    }
}

#[test]
fn records_that_were_set_aside_are_all_there_after_a_power_cut() {
    for seed in 0..20 {
        let mut folder = Folder::new();
        folder.disk = SimulatedDisk::new(seed);
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        append_alone(&dir, &log);
        append_alone(&dir, &log);
        dir.set_aside(log.id().topic_id, 0).unwrap().unwrap();
        assert_eq!(dir.step_commit(), CommitStep::Committed);
        folder.disk.power_cut();
        drop((log, dir));
        repair(&folder.disk(), &folder.config).unwrap();
        let dir = folder.open().unwrap();
        let log = dir.partition(id("t", 0).topic_id, 0).expect("it was taken back");
        assert_eq!(read_all_or_nothing(&log), Some(2), "seed {seed}");
    }
}

/// Returns how many records there are, if they can be read.
fn read_all_or_nothing(log: &kohort_storage::PartitionLog) -> Option<usize> {
    let read = log.read(0, 10_000, true, kohort_storage::Isolation::ReadUncommitted);
    read.ok().map(|_| read_all(log, 0, 10_000).len())
}

/// 1. A deletion is durable. 2. A checkpoint no longer needs the log that tells of it. 3. The process is
///    killed before the folder is removed.
#[test]
fn deletion_that_was_cut_short_is_finished_by_the_next_start() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    append_alone(&dir, &log);
    dir.step_flush().unwrap();
    let name = folder.partition_dir(0).file_name().unwrap().to_str().unwrap().to_owned();
    dir.delete_partition(log.id().topic_id, 0, drop).unwrap();
    assert_eq!(dir.step_commit(), CommitStep::Committed);
    dir.checkpoint().unwrap();
    folder.kill(dir);
    let (_, report) = LogDir::open_on(folder.disk(), folder.config.clone()).unwrap();
    assert_eq!((report.folders_removed, report.folders_set_aside), (vec![name], vec![]));
}
