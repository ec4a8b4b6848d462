//! A disk that fills up: what goes on, what is refused, and how it becomes well again.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;

use kohort_storage::{
    AppendError, AppendOrigin, Background, CommitStep, Disk, LogDir, LogDirConfig, PartitionConfig,
    PartitionLog, Shortage, SimulatedDisk, StorageError,
};
use support::{Done, append, batch, id, read_all};

const VALUE: [u8; 1000] = [b'v'; 1000];

fn config() -> LogDirConfig {
    LogDirConfig {
        background: Background::Manual,
        wal_first_file_bytes: 64 << 10,
        wal_file_bytes: 64 << 10,
        unflushed_bytes_max: 256 << 10,
        ..LogDirConfig::new("/data")
    }
}

fn open(disk: &SimulatedDisk) -> Arc<LogDir> {
    LogDir::open_on(Arc::new(disk.clone()), config()).unwrap().0
}

fn partition(dir: &LogDir, topic: &str) -> Arc<PartitionLog> {
    let config = PartitionConfig { segment_bytes: 16 << 10, ..PartitionConfig::default() };
    dir.create_partition(id(topic, 0), config).unwrap()
}

fn is_done(done: &Done) -> bool {
    matches!(done.try_recv(), Ok(Ok(())))
}

/// Appends as the broker's own parts do.
fn append_own(log: &PartitionLog) -> Result<Done, AppendError> {
    let (sender, done) = std::sync::mpsc::channel();
    let batch = batch(&[&VALUE[..100]]);
    let report = move |result| drop(sender.send(result));
    log.append(1, batch, AppendOrigin::Coordinator, report).map(|_| done)
}

/// Fills the disk and then the log, until nothing more of clients is committed. Returns what waits.
fn fill(disk: &SimulatedDisk, dir: &LogDir, log: &PartitionLog, room: u64) -> Vec<Done> {
    disk.set_capacity(Some(disk.used() + room));
    let mut waiting = Vec::new();
    for _ in 0..1000 {
        if let Ok((_, done)) = append(log, batch(&[&VALUE])) {
            waiting.push(done);
        }
        let step = dir.step_commit();
        let _ = dir.step_flush();
        waiting.retain(|done| !is_done(done));
        if step == CommitStep::NoRoom {
            break;
        }
    }
    assert_eq!(dir.shortage(), Some(Shortage::Space));
    assert!(!waiting.is_empty(), "the log is full as well");
    waiting
}

fn values(log: &PartitionLog) -> usize {
    read_all(log, log.log_start_offset(), 10_000).len()
}

/// Segments have what the log's files before the last few hold: those go, and with their room all does.
#[test]
fn files_of_the_log_that_segments_hold_are_freed_on_a_full_disk() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk);
    let log = partition(&dir, "t");
    let waiting = fill(&disk, &dir, &log, 400 << 10);
    let (used, wal) = (disk.used(), dir.stats().wal_bytes);
    assert!(wal > 128 << 10, "{wal} bytes in use");
    dir.checkpoint().unwrap();
    assert!(dir.stats().wal_bytes < wal && disk.used() <= used);
    dir.step_flush().unwrap();
    while dir.step_commit() == CommitStep::Committed {}
    assert!(waiting.iter().all(is_done), "those that waited were committed");
    let end = log.high_watermark();
    disk.power_cut();
    drop((dir, log));
    disk.set_capacity(None);
    let dir = open(&disk);
    let log = partition(&dir, "t");
    assert_eq!((log.high_watermark(), values(&log)), (end, end as usize));
}

#[test]
fn whoever_waits_for_room_when_the_folder_is_closed_is_told_so() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk);
    let log = partition(&dir, "t");
    let waiting = fill(&disk, &dir, &log, 200 << 10);
    drop(dir);
    let told = |done: &Done| matches!(done.try_recv(), Ok(Err(StorageError::Closed)));
    assert!(waiting.iter().all(told));
}

/// 1. Clients' records take what the disk has. 2. Their next commit finds no room. 3. The broker's own
///    come after it in the queue.
#[test]
fn coordinators_go_on_when_clients_have_no_room_and_metadata_when_coordinators_have_none() {
    let disk = SimulatedDisk::new(2);
    let dir = open(&disk);
    let (log, offsets) = (partition(&dir, "t"), partition(&dir, "offsets"));
    let metadata = dir.metadata_log().unwrap();
    let waiting = fill(&disk, &dir, &log, 200 << 10);
    disk.set_capacity(Some(disk.used()));
    let client = append(&log, batch(&[&VALUE])).map(|_| ()).unwrap_err();
    assert!(matches!(client, AppendError::DiskFull), "{client}");
    let mut commits = 0;
    while let Ok(done) = append_own(&offsets) {
        let _ = dir.step_commit();
        commits += usize::from(is_done(&done));
        assert!(commits < 100, "the reserve has an end");
    }
    assert!(commits >= 2, "{commits} commits of coordinators");
    let done = append_own(&metadata).unwrap();
    let _ = dir.step_commit();
    assert!(is_done(&done), "metadata has room");
    assert!(!waiting.iter().any(is_done));
    let seen = (log.high_watermark(), offsets.high_watermark());
    disk.power_cut();
    drop((dir, log, offsets, metadata));
    let dir = open(&disk);
    let (log, offsets) = (partition(&dir, "t"), partition(&dir, "offsets"));
    assert_eq!((log.high_watermark(), offsets.high_watermark()), seen);
    assert_eq!(dir.metadata_log().unwrap().high_watermark(), 1);
}

#[test]
fn deleting_a_partition_makes_room_on_a_full_disk_also_for_what_waits() {
    let disk = SimulatedDisk::new(3);
    let dir = open(&disk);
    let (log, other) = (partition(&dir, "t"), partition(&dir, "other"));
    for _ in 0..200 {
        let _ = append(&other, batch(&[&VALUE])).unwrap();
        dir.step_commit();
        dir.step_flush().unwrap();
    }
    dir.checkpoint().unwrap();
    let waiting = fill(&disk, &dir, &log, 200 << 10);
    disk.set_capacity(Some(disk.used()));
    let (_, queued) = {
        let (sender, done) = std::sync::mpsc::channel();
        let report = move |result| drop(sender.send(result));
        (dir.delete_partition(other.id().topic_id, 0, report).unwrap(), done)
    };
    let _ = dir.step_commit();
    assert!(is_done(&queued), "the deletion is durable");
    let _ = dir.step_flush();
    let _ = dir.checkpoint();
    let _ = dir.step_flush();
    while dir.step_commit() == CommitStep::Committed {}
    assert!(waiting.iter().all(is_done), "those that waited were committed");
    assert_eq!(dir.shortage(), None);
    assert_eq!(values(&log), log.high_watermark() as usize);
}

/// What waits is the deleted partition's own: it is refused, and not written before its deletion.
#[test]
fn appends_that_wait_for_room_are_refused_when_their_partition_is_deleted() {
    let disk = SimulatedDisk::new(4);
    let dir = open(&disk);
    let log = partition(&dir, "t");
    let waiting = fill(&disk, &dir, &log, 200 << 10);
    disk.set_capacity(Some(disk.used()));
    let (sender, done) = std::sync::mpsc::channel();
    let report = move |result| drop(sender.send(result));
    assert!(dir.delete_partition(log.id().topic_id, 0, report).unwrap());
    assert_eq!(dir.step_commit(), CommitStep::Committed);
    assert!(is_done(&done));
    for done in waiting {
        assert!(matches!(done.try_recv(), Ok(Err(StorageError::Deleted))));
    }
    let _ = dir.step_flush();
    dir.checkpoint().unwrap();
    assert_eq!(dir.stats().queued_bytes, 0);
    drop(dir);
    disk.kill_process();
    assert!(open(&disk).partition(log.id().topic_id, 0).is_none());
}

/// What is to be flushed on a start is more than the disk has room for: it was in memory before.
#[test]
fn start_on_a_full_disk_serves_reads_and_deletions() {
    for shutdown in [false, true] {
        let disk = SimulatedDisk::new(5);
        let dir = open(&disk);
        let (log, other) = (partition(&dir, "t"), partition(&dir, "other"));
        for _ in 0..30 {
            let _ = append(&other, batch(&[&VALUE])).unwrap();
        }
        dir.step_commit();
        dir.step_flush().unwrap();
        dir.checkpoint().unwrap();
        // The log takes these, segments do not.
        for _ in 0..100 {
            append(&log, batch(&[&VALUE])).unwrap();
            assert_eq!(dir.step_commit(), CommitStep::Committed);
        }
        disk.set_capacity(Some(disk.used()));
        assert!(dir.step_flush().is_err());
        if shutdown {
            dir.shutdown().unwrap();
        }
        disk.kill_process();
        drop((dir, log, other));
        let dir = open(&disk);
        assert_eq!(dir.shortage(), Some(Shortage::Space));
        let (log, other) = (partition(&dir, "t"), partition(&dir, "other"));
        assert_eq!((values(&log), values(&other)), (100, 30));
        let refused = append(&log, batch(&[&VALUE])).map(|_| ()).unwrap_err();
        assert!(matches!(refused, AppendError::DiskFull), "{refused}");
        dir.delete_partition(other.id().topic_id, 0, drop).unwrap();
        let _ = dir.step_commit();
        let before = disk.used();
        let _ = dir.step_flush();
        let _ = dir.checkpoint();
        assert!(disk.used() < before, "its files are gone");
        disk.set_capacity(None);
        dir.step_flush().unwrap();
        assert_eq!(dir.shortage(), None);
        assert_eq!(values(&log), 100);
    }
}

#[test]
fn shutdown_on_a_full_disk_leaves_only_the_log_that_is_in_no_segment() {
    let disk = SimulatedDisk::new(6);
    let dir = open(&disk);
    let log = partition(&dir, "t");
    fill(&disk, &dir, &log, 400 << 10);
    let (before, end) = (dir.stats().wal_bytes, log.high_watermark());
    dir.shutdown().unwrap();
    disk.kill_process();
    drop((dir, log));
    let dir = open(&disk);
    assert!(dir.stats().wal_bytes < before, "{} of {before} bytes", dir.stats().wal_bytes);
    assert_eq!(partition(&dir, "t").high_watermark(), end);
}

#[test]
fn clients_wait_when_the_log_is_as_large_as_it_may_be_and_go_on_after_a_checkpoint() {
    let disk = SimulatedDisk::new(7);
    let config = LogDirConfig { wal_bytes_max: 256 << 10, ..config() };
    let (dir, _) = LogDir::open_on(Arc::new(disk.clone()), config).unwrap();
    let log = partition(&dir, "t");
    let mut refused = None;
    for _ in 0..1000 {
        if let Err(error) = append(&log, batch(&[&VALUE])) {
            refused = Some(error);
            break;
        }
        dir.step_commit();
        dir.step_flush().unwrap();
        assert!(dir.stats().wal_bytes <= (256 << 10) + (64 << 10));
    }
    assert!(matches!(refused, Some(AppendError::QueueFull)), "{refused:?}");
    append_own(&dir.metadata_log().unwrap()).unwrap();
    let (sender, room) = std::sync::mpsc::channel();
    dir.when_room(move || sender.send(()).unwrap());
    assert!(room.try_recv().is_err());
    dir.checkpoint().unwrap();
    room.try_recv().unwrap();
    let _ = append(&log, batch(&[&VALUE])).unwrap();
}

#[test]
fn want_of_file_handles_is_not_taken_for_a_full_disk() {
    let disk = SimulatedDisk::new(8);
    let dir = open(&disk);
    let log = partition(&dir, "t");
    disk.refuse_opening(true);
    let mut refused = None;
    for _ in 0..200 {
        if let Err(error) = append(&log, batch(&[&VALUE])) {
            refused = Some(error);
            break;
        }
        let _ = dir.step_commit();
    }
    let refused = refused.expect("the log has no other file");
    assert!(matches!(refused, AppendError::OutOfHandles), "{refused}");
    assert!(refused.to_string().contains("ulimit -n"));
    assert_eq!((dir.shortage(), dir.is_disk_full()), (Some(Shortage::Handles), false));
    disk.refuse_opening(false);
    dir.step_flush().unwrap();
    assert_eq!(dir.shortage(), None);
}

/// All of a long log is in segments once it is read, and nothing comes that would ask for a checkpoint.
#[test]
fn log_that_is_longer_than_it_may_be_at_the_start_holds_nobody_up() {
    let disk = SimulatedDisk::new(10);
    let dir = open(&disk);
    let log = partition(&dir, "t");
    while dir.stats().wal_bytes < 512 << 10 {
        append(&log, batch(&[&VALUE])).unwrap();
        dir.step_commit();
        dir.step_flush().unwrap();
    }
    disk.kill_process();
    drop((dir, log));
    let config = LogDirConfig {
        background: Background::Threads,
        wal_bytes_max: 256 << 10,
        unflushed_bytes_max: 4000,
        ..config()
    };
    let (dir, _) = LogDir::open_on(Arc::new(disk), config).unwrap();
    let (sender, room) = std::sync::mpsc::channel();
    dir.when_room(move || sender.send(()).unwrap());
    room.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    let (_, done) = append(&partition(&dir, "t"), batch(&[&VALUE])).unwrap();
    done.recv().unwrap().unwrap();
    dir.shutdown().unwrap();
}

#[test]
fn files_of_the_log_do_not_pile_up_while_the_disk_is_full() {
    let disk = SimulatedDisk::new(9);
    let dir = open(&disk);
    let log = partition(&dir, "t");
    fill(&disk, &dir, &log, 300 << 10);
    let wal = std::path::Path::new("/data/wal");
    let files = disk.list(wal).unwrap().len();
    for _ in 0..50 {
        let _ = dir.step_commit();
        let _ = dir.step_flush();
    }
    assert!(disk.list(wal).unwrap().len() <= files);
}
