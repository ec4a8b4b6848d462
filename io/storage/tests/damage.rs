//! Damage that is not an interrupted write: found, reported by place, and mended on request.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kohort_protocol::ErrorCode;
use kohort_storage::{
    AppendError, CommitStep, Disk, FlushMode, Isolation, LogDir, OpenError, PartitionConfig,
    SimulatedDisk, StorageError, dump, repair, verify,
};
use support::folder::{Folder, VALUE, append_alone, partition};
use support::{append, batch, id, read_all};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[test]
fn torn_last_commit_is_cut_off_and_a_new_leader_epoch_begins() {
    let folder = Folder::killed_after(3);
    // One commit a block: the third begins at the third block after the file's own.
    folder.disk.damage(&folder.wal_file(), |bytes| bytes[3 * 4096 + 200] ^= 1);
    let report = verify(&folder.disk(), &folder.config.path).unwrap();
    assert!(report.torn && report.problems.is_empty(), "{report:?}");
    let (dir, report) = LogDir::open_on(folder.disk(), folder.config.clone()).unwrap();
    assert_eq!(report.cut, Some((folder.wal_file(), 3 * 4096)));
    assert_eq!(report.leader_epoch, 1);
    let log = partition(&dir, 0);
    assert_eq!(log.high_watermark(), 2);
    append_alone(&dir, &log);
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 2)), "a client learns where epoch 0 ended");
    assert_eq!(log.end_offset_for_epoch(1), Some((1, 3)));
    folder.kill(dir);
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    assert_eq!((log.epoch_of(1), log.epoch_of(2), log.leader_epoch()), (0, 1, 1));
}

#[test]
fn damaged_commit_before_intact_ones_stops_the_start_and_repair_loses_only_that_commit() {
    let folder = Folder::killed_after(5);
    folder.disk.damage(&folder.wal_file(), |bytes| bytes[3 * 4096 + 200] ^= 1);
    let error = folder.open().unwrap_err();
    let text = error.to_string();
    let OpenError::Corrupt(corruption) = error else { panic!("{text}") };
    assert_eq!((corruption.path, corruption.position), (folder.wal_file(), 3 * 4096));
    assert!(text.contains("kohort log repair --data /data"), "{text}");
    let report = verify(&folder.disk(), &folder.config.path).unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    let report = repair(&folder.disk(), &folder.config).unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    let kept = report.kept_in.unwrap();
    assert_eq!(folder.disk.list(&kept).unwrap(), ["wal_00000001.wal"]);
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    let offsets: Vec<i64> = read_all(&log, 0, 1000).iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [0, 1, 3, 4], "the damaged commit's offset stays unused");
    append_alone(&dir, &log);
    assert_eq!(log.high_watermark(), 6);
}

#[test]
fn damaged_segment_fails_its_partition_alone_and_repair_takes_out_only_the_batch() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let (log, other) = (partition(&dir, 0), partition(&dir, 1));
    for _ in 0..8 {
        append_alone(&dir, &log);
        append_alone(&dir, &other);
    }
    dir.shutdown().unwrap();
    folder.kill(dir);
    let partitions = folder.config.path.join("partitions");
    let name = folder.disk.list(&partitions).unwrap().remove(0);
    assert!(name.starts_with("t-0."), "{name}");
    let segment = partitions.join(&name).join("00000000000000000002.log");
    folder.disk.damage(&segment, |bytes| bytes[100] ^= 1);
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    let error = log.read(2, 1000, true, Isolation::ReadUncommitted).unwrap_err();
    assert_eq!(error.code(), ErrorCode::KAFKA_STORAGE_ERROR, "{error}");
    assert!(error.to_string().contains("00000000000000000002.log"), "{error}");
    assert_eq!(read_all(&log, 4, 1000).len(), 4, "the rest of the partition is served");
    let other = partition(&dir, 1);
    assert_eq!(read_all(&other, 0, 1000).len(), 8);
    append_alone(&dir, &other);
    dir.shutdown().unwrap();
    folder.kill(dir);
    let problems = verify(&folder.disk(), &folder.config.path).unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(repair(&folder.disk(), &folder.config).unwrap().problems, problems);
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    let found = read_all(&log, 0, 1000);
    assert_eq!(found.len(), 7);
    assert!(!found.iter().any(|(offset, _)| *offset == 2));
    assert_eq!(read_all(&log, 2, 1000), found[2..], "a reader gets past the gap");
}

#[test]
fn lost_index_is_no_damage() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let config = PartitionConfig::default();
    let log = dir.create_partition(id("t", 0), config).unwrap();
    for _ in 0..60 {
        append_alone(&dir, &log);
    }
    dir.shutdown().unwrap();
    folder.kill(dir);
    let partitions = folder.config.path.join("partitions");
    let name = folder.disk.list(&partitions).unwrap().remove(0);
    let index = partitions.join(&name).join("00000000000000000000.index");
    for change in [|bytes: &mut Vec<u8>| bytes.fill(0x11), |bytes: &mut Vec<u8>| bytes.clear()] {
        folder.disk.damage(&index, change);
        let dir = folder.open().unwrap();
        let log = dir.partition(id("t", 0).topic_id, 0).unwrap();
        for offset in 0..60 {
            let found = read_all(&log, offset, 1000);
            assert_eq!(found.len() as i64, 60 - offset);
        }
        folder.kill(dir);
    }
}

#[test]
fn long_search_without_an_index_takes_no_stack() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    for _ in 0..20_000 {
        append(&log, batch(&[b""])).unwrap();
    }
    while dir.step_commit() == CommitStep::Committed {}
    dir.shutdown().unwrap();
    folder.kill(dir);
    let partitions = folder.config.path.join("partitions");
    let name = folder.disk.list(&partitions).unwrap().remove(0);
    let index = partitions.join(&name).join("00000000000000000000.index");
    folder.disk.damage(&index, Vec::clear);
    let dir = folder.open().unwrap();
    let log = dir.partition(id("t", 0).topic_id, 0).unwrap();
    let found = log.read(19_999, 1, true, Isolation::ReadUncommitted).unwrap();
    assert_eq!(found.records.len(), batch(&[b""]).len());
}

#[test]
fn damaged_checkpoint_stops_the_start_and_repair_finds_everything_again() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    for _ in 0..8 {
        append_alone(&dir, &log);
    }
    dir.checkpoint().unwrap();
    for _ in 0..3 {
        append_alone(&dir, &log);
    }
    let before = read_all(&log, 0, 10_000);
    folder.kill(dir);
    folder.disk.damage(Path::new("/data/checkpoint"), |bytes| bytes[60] ^= 1);
    assert!(matches!(folder.open(), Err(OpenError::Corrupt(_))));
    repair(&folder.disk(), &folder.config).unwrap();
    let dir = folder.open().unwrap();
    assert_eq!(read_all(&partition(&dir, 0), 0, 10_000), before);
    folder.kill(dir);
    let mut text = Vec::new();
    dump(&folder.disk(), &folder.config.path, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("offsets 10 to 10"), "{text}");
}

#[test]
fn missing_log_file_stops_the_start() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    append_alone(&dir, &partition(&dir, 0));
    folder.kill(dir);
    folder.disk.remove_file(&folder.wal_file()).unwrap();
    let error = folder.open().unwrap_err();
    assert!(error.to_string().contains("number 1 is missing"), "{error}");
}

#[test]
fn failed_sync_stops_the_folder_and_tells_the_broker_once() {
    let mut folder = Folder::new();
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    folder.config.on_fatal = Some(Arc::new(move |error| {
        assert!(
            error.to_string().contains("wal/00000001.wal: a sector cannot be written"),
            "{error}"
        );
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    append_alone(&dir, &log);
    folder.disk.fail_syncs(true);
    let (_, done) = append(&log, batch(&[b"v"])).unwrap();
    assert_eq!(dir.step_commit(), CommitStep::Ended);
    assert!(matches!(done.try_recv().unwrap(), Err(StorageError::Fatal(_))));
    folder.disk.fail_syncs(false);
    let refused = append(&log, batch(&[b"v"])).unwrap_err();
    assert!(matches!(refused, AppendError::Storage(StorageError::Fatal(_))), "never tried again");
    assert_eq!(log.high_watermark(), 1);
    assert_eq!(read_all(&log, 0, 1000).len(), 1, "what is durable stays readable");
    assert!(dir.shutdown().is_err());
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[test]
fn failed_checkpoint_names_the_file() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    folder.disk.fail_syncs(true);
    let failed = dir.checkpoint().unwrap_err().to_string();
    assert!(failed.contains("/data/checkpoint.new: a sector cannot be written"), "{failed}");
}

/// A log that nothing can be written to, of the kind that panics over it.
struct Unwritable;

impl Subscriber for Unwritable {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        panic!("nothing can be logged, as this test wants");
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn failed_sync_is_told_to_the_broker_whatever_becomes_of_the_line_in_the_log() {
    let mut folder = Folder::new();
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    folder.config.on_fatal = Some(Arc::new(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    let _done = append(&log, batch(&[b"v"])).unwrap();
    folder.disk.fail_syncs(true);
    let commit = AssertUnwindSafe(|| dir.step_commit());
    tracing::subscriber::with_default(Unwritable, || catch_unwind(commit)).unwrap_err();
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[test]
fn full_disk_refuses_appends_stays_readable_and_recovers() {
    let mut folder = Folder::new();
    folder.config.wal_first_file_bytes = 16 << 10;
    folder.config.wal_file_bytes = 16 << 10;
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    append_alone(&dir, &log);
    folder.disk.set_capacity(Some(folder.disk.used() + 2000));
    let mut waiting = Vec::new();
    let mut refused = 0;
    for _ in 0..30 {
        match append(&log, batch(&[&VALUE])) {
            Ok((_, done)) => waiting.push(done),
            Err(error) => {
                assert!(matches!(error, AppendError::DiskFull), "{error}");
                assert_eq!(error.code(), ErrorCode::KAFKA_STORAGE_ERROR);
                refused += 1;
            }
        }
        let _ = dir.step_commit();
        let _ = dir.step_flush();
    }
    assert!(refused > 0 && dir.is_disk_full());
    let readable = log.high_watermark();
    assert_eq!(read_all(&log, 0, 1000).len() as i64, readable);
    let durable = waiting.iter().filter(|done| matches!(done.try_recv(), Ok(Ok(())))).count();
    assert_eq!(readable, 1 + durable as i64);
    folder.disk.set_capacity(None);
    dir.step_flush().unwrap();
    dir.step_commit();
    dir.checkpoint().unwrap();
    dir.step_flush().unwrap();
    assert!(!dir.is_disk_full());
    append_alone(&dir, &log);
    let all = log.high_watermark();
    assert_eq!(all, 2 + waiting.len() as i64, "those that waited were committed");
    folder.kill(dir);
    let dir = folder.open().unwrap();
    assert_eq!(read_all(&partition(&dir, 0), 0, 1000).len() as i64, all);
}

#[test]
fn shutdown_on_a_full_disk_is_in_order_and_loses_nothing() {
    for flush in [FlushMode::Fsync, FlushMode::PageCache] {
        let mut folder = Folder::new();
        folder.config.flush = flush;
        folder.config.wal_first_file_bytes = 16 << 10;
        folder.config.wal_file_bytes = 16 << 10;
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        append_alone(&dir, &log);
        folder.disk.set_capacity(Some(folder.disk.used() + 2000));
        while append(&log, batch(&[&VALUE])).is_ok() {
            let _ = dir.step_commit();
            let _ = dir.step_flush();
        }
        let acknowledged = log.high_watermark();
        assert!(acknowledged > 1 && dir.is_disk_full());
        dir.shutdown().unwrap();
        folder.disk.power_cut();
        drop((log, dir));
        folder.disk.set_capacity(None);
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        assert_eq!(read_all(&log, 0, 1000).len() as i64, acknowledged);
        append_alone(&dir, &log);
    }
}

/// 1. A commit of a partition is on its way. 2. The partition is deleted. 3. A checkpoint. 4. The commit
///    is durable, and the power goes before the deletion is.
#[test]
fn power_cut_between_a_commit_and_the_deletion_of_its_partition_leaves_a_sound_folder() {
    let large = vec![b'v'; 1_000_000];
    let mut sound = 0;
    for operations in 0.. {
        let folder = Folder::new();
        let dir = folder.open().unwrap();
        let (log, other) = (partition(&dir, 0), partition(&dir, 1));
        log.set_config(PartitionConfig::default());
        append_alone(&dir, &log);
        append_alone(&dir, &other);
        // More than one commit takes, so that the deletion is in another.
        for _ in 0..10 {
            let _ = append(&log, batch(&[&large])).unwrap();
        }
        dir.delete_partition(log.id().topic_id, 0, drop).unwrap();
        dir.checkpoint().unwrap();
        folder.disk.stop_after(operations);
        let done = dir.step_commit() == CommitStep::Committed;
        folder.disk.power_cut();
        drop(dir);
        let dir = folder.open().unwrap();
        assert!(dir.partition(log.id().topic_id, 0).is_none());
        assert_eq!(read_all(&dir.partition(other.id().topic_id, 1).unwrap(), 0, 1000).len(), 1);
        sound += 1;
        if done {
            break;
        }
    }
    assert!(sound > 3, "the power went at {sound} places");
}

/// 1. A file of the log is made. 2. The process is killed before it synced the folder. 3. The next one
///    writes commits into it. 4. The power goes.
#[test]
fn file_of_the_log_that_a_killed_process_made_is_there_for_good_before_it_is_used() {
    for (operations, seed) in (0..20).flat_map(|n| (1..5).map(move |seed| (n, seed))) {
        let mut folder = Folder::new();
        folder.disk = SimulatedDisk::new(seed);
        folder.config.wal_first_file_bytes = 16 << 10;
        folder.config.wal_file_bytes = 16 << 10;
        let dir = folder.open().unwrap();
        append_alone(&dir, &partition(&dir, 0));
        folder.disk.stop_after(operations);
        let _ = dir.step_flush();
        folder.kill(dir);
        let end = folder.work_until_power_cut();
        let dir = folder.open().unwrap();
        assert_eq!(partition(&dir, 0).high_watermark(), end, "after {operations} operations");
    }
}

#[test]
fn want_of_file_handles_passes() {
    let mut folder = Folder::new();
    folder.config.wal_first_file_bytes = 16 << 10;
    folder.config.wal_file_bytes = 16 << 10;
    folder.config.open_files_max = 2;
    let dir = folder.open().unwrap();
    let logs = [partition(&dir, 0), partition(&dir, 1)];
    for log in &logs {
        append_alone(&dir, log);
    }
    dir.step_flush().unwrap();
    folder.disk.refuse_opening(true);
    let mut waiting = Vec::new();
    let mut failed = 0;
    for turn in 0..40 {
        waiting.extend(append(&logs[turn % 2], batch(&[&VALUE])).map(|(_, done)| done));
        let _ = dir.step_commit();
        failed += usize::from(dir.step_flush().is_err() && dir.checkpoint().is_err());
    }
    assert!(failed > 0 && dir.fatal().is_none());
    folder.disk.refuse_opening(false);
    dir.step_flush().unwrap();
    while dir.step_commit() == CommitStep::Committed {}
    dir.checkpoint().unwrap();
    assert!(waiting.iter().all(|done| matches!(done.try_recv(), Ok(Ok(())))));
    folder.kill(dir);
    let dir = folder.open().unwrap();
    let found = logs.map(|log| {
        let log = dir.partition(log.id().topic_id, log.id().index).unwrap();
        read_all(&log, 0, 1000).len()
    });
    assert_eq!(found.iter().sum::<usize>(), 2 + waiting.len());
}

#[test]
fn reader_gets_past_a_batch_that_was_taken_out_at_the_end_of_its_segment() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    for _ in 0..6 {
        append_alone(&dir, &log);
    }
    dir.shutdown().unwrap();
    folder.kill(dir);
    let partitions = folder.config.path.join("partitions");
    let name = folder.disk.list(&partitions).unwrap().remove(0);
    // Two batches a segment; the second of the first segment rots.
    let segment = partitions.join(&name).join("00000000000000000000.log");
    folder.disk.damage(&segment, |bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    repair(&folder.disk(), &folder.config).unwrap();
    let dir = folder.open().unwrap();
    let offsets = |from| -> Vec<i64> {
        read_all(&partition(&dir, 0), from, 1000).into_iter().map(|(offset, _)| offset).collect()
    };
    assert_eq!(offsets(0), [0, 2, 3, 4, 5]);
    assert_eq!(offsets(1), [2, 3, 4, 5]);
}
