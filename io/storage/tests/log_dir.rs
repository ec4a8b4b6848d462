//! A data folder on real files, from its creation to its recovery.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kohort_protocol::ErrorCode;
use kohort_protocol::records::{TimestampType, batches};
use kohort_storage::{
    AppendOrigin, Isolation, LogDir, LogDirConfig, OpenError, PartitionConfig, ReadError,
    StorageError,
};
use support::folder::Folder;
use support::{NOW, append, append_durably, batch, id, producer_batch, read_all};

#[test]
fn appended_records_are_readable_and_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogDirConfig::new(folder.path());
    let mut expected = Vec::new();
    {
        let (dir, report) = LogDir::open(config.clone()).unwrap();
        assert!(report.created);
        let partition = dir.create_partition(id("flights", 3), PartitionConfig::default()).unwrap();
        for n in 0..20_i64 {
            let value = format!("value {n}");
            let info = append_durably(&partition, batch(&[value.as_bytes(), b"second"]));
            assert_eq!((info.base_offset, info.last_offset), (2 * n, 2 * n + 1));
            expected.push((2 * n, value.into_bytes()));
            expected.push((2 * n + 1, b"second".to_vec()));
        }
        assert_eq!(partition.high_watermark(), 40);
        assert_eq!(read_all(&partition, 0, 100), expected);
        // Dropped without shutdown, as a killed process leaves it.
    }
    let (dir, report) = LogDir::open(config.clone()).unwrap();
    assert!(!report.clean && report.cut.is_none(), "{report:?}");
    let partition = dir.partition(id("flights", 3).topic_id, 3).unwrap();
    assert_eq!(partition.id(), &id("flights", 3));
    assert_eq!(read_all(&partition, 0, 1 << 20), expected);
    assert_eq!(append_durably(&partition, batch(&[b"more"])).base_offset, 40);
    expected.push((40, b"more".to_vec()));
    dir.shutdown().unwrap();
    drop((dir, partition));
    let (dir, report) = LogDir::open(config).unwrap();
    assert!(report.clean, "{report:?}");
    assert_eq!(report.commits_replayed, 0);
    let partition = dir.partition(id("flights", 3).topic_id, 3).unwrap();
    assert_eq!(read_all(&partition, 0, 100), expected, "now from the segment");
    assert_eq!(read_all(&partition, 37, 100), expected[37..]);
}

#[test]
fn second_opening_of_a_folder_is_refused_with_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
    let error = LogDir::open(LogDirConfig::new(folder.path())).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the data folder {} is in use by process {}: end that, or use another folder",
            folder.path().display(),
            std::process::id()
        )
    );
    dir.shutdown().unwrap();
    LogDir::open(LogDirConfig::new(folder.path())).expect("a closed folder can be opened");
}

#[test]
fn folder_with_something_else_in_it_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("meta.properties"), "version=1").unwrap();
    let error = LogDir::open(LogDirConfig::new(folder.path())).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    assert!(error.to_string().contains("meta.properties"), "{error}");
}

#[test]
fn lost_checkpoint_is_damage_also_beside_a_file_of_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
    dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    dir.shutdown().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    std::fs::remove_file(folder.path().join("checkpoint")).unwrap();
    let error = LogDir::open(LogDirConfig::new(folder.path())).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
    assert!(error.to_string().contains("kohort log repair"), "{error}");
}

#[test]
fn folders_among_the_partitions_that_are_not_named_as_one_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
    dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    dir.shutdown().unwrap();
    let partitions = folder.path().join("partitions");
    let stray = partitions.join(format!("t-1.{}", "0a".repeat(16)));
    let foreign = partitions.join("backup-1");
    for path in [&stray, &foreign] {
        std::fs::create_dir(path).unwrap();
    }
    let (dir, report) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
    assert_eq!(report.folders_removed, [stray.file_name().unwrap().to_str().unwrap()]);
    assert!(foreign.is_dir() && !stray.exists());
    dir.shutdown().unwrap();
}

#[test]
fn folder_with_records_that_nobody_knows_is_set_aside_under_a_name_that_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
    dir.shutdown().unwrap();
    let partitions = folder.path().join("partitions");
    let name = format!("t-1.{}", "0a".repeat(16));
    for stray in [format!("{name}-stray"), format!("{name}-stray2")] {
        std::fs::create_dir(partitions.join(&name)).unwrap();
        std::fs::write(partitions.join(&name).join("00000000000000000000.log"), "records").unwrap();
        let (dir, report) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
        assert_eq!((report.folders_removed, report.folders_set_aside), (vec![], vec![stray]));
        dir.shutdown().unwrap();
    }
}

#[test]
fn repeated_batch_gets_its_old_offset_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogDirConfig::new(folder.path());
    for restart in 0..4 {
        let (dir, _) = LogDir::open(config.clone()).unwrap();
        let partition = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
        for sequence in 0..3 {
            let info = append_durably(&partition, producer_batch(7, 0, sequence, &[b"v"]));
            assert_eq!(info.base_offset, i64::from(sequence));
            assert_eq!(info.duplicate, restart > 0);
        }
        let refused = append(&partition, producer_batch(7, 0, 9, &[b"v"])).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        if restart % 2 == 1 {
            dir.shutdown().unwrap();
        }
    }
}

#[test]
fn repeated_batch_is_acknowledged_when_the_first_is_durable_and_not_before() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    let (_, first) = append(&log, producer_batch(7, 0, 0, &[b"v"])).unwrap();
    let (info, repeated) = append(&log, producer_batch(7, 0, 0, &[b"v"])).unwrap();
    assert!(info.duplicate);
    assert!(first.try_recv().is_err() && repeated.try_recv().is_err(), "nothing is durable yet");
    dir.step_commit();
    first.try_recv().unwrap().unwrap();
    repeated.try_recv().unwrap().unwrap();
    let (_, late) = append(&log, producer_batch(7, 0, 0, &[b"v"])).unwrap();
    late.try_recv().unwrap().unwrap();
}

#[test]
fn log_start_moves_no_further_than_to_what_is_durable() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    let append_one = || append(&log, batch(&[b"v"])).unwrap();
    append_one();
    dir.step_commit();
    let (_, waiting) = append_one();
    assert_eq!(log.advance_log_start(2, drop).unwrap(), 1);
    dir.step_commit();
    waiting.try_recv().unwrap().unwrap();
    assert_eq!(read_all(&log, 1, 1000).len(), 1);
    assert_eq!(log.advance_log_start(0, drop).unwrap(), 1, "nor back");
}

#[test]
fn producers_that_were_silent_for_too_long_are_forgotten_with_time() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    append(&log, producer_batch(7, 0, 0, &[b"v"])).unwrap();
    let expiration = folder.config.producer_expiration_ms;
    dir.tick(NOW + expiration - 1);
    assert_eq!(log.producers().len(), 1);
    dir.tick(NOW + expiration + 1);
    assert_eq!(log.producers().len(), 0);
}

#[test]
fn repeated_batch_gets_its_old_append_time() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
    let timestamp_type = TimestampType::LogAppendTime;
    let config = PartitionConfig { timestamp_type, ..PartitionConfig::default() };
    let partition = dir.create_partition(id("t", 0), config).unwrap();
    for (now, duplicate) in [(1000, false), (2000, true)] {
        let batch = producer_batch(7, 0, 0, &[b"v"]);
        let info = partition.append(now, batch, AppendOrigin::Client, drop).unwrap();
        assert_eq!((info.log_append_time, info.duplicate), (1000, duplicate));
    }
}

#[test]
fn deleted_partition_is_gone_for_good_and_a_new_one_of_its_name_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogDirConfig::new(folder.path());
    let old = id("old", 0);
    let new = kohort_storage::PartitionId { topic: Arc::clone(&old.topic), ..id("new", 0) };
    let partitions = folder.path().join("partitions");
    {
        let (dir, _) = LogDir::open(config.clone()).unwrap();
        let partition = dir.create_partition(old.clone(), PartitionConfig::default()).unwrap();
        append_durably(&partition, batch(&[b"v"]));
        dir.checkpoint().unwrap();
        assert_eq!(std::fs::read_dir(&partitions).unwrap().count(), 1);
        let (sender, receiver) = std::sync::mpsc::channel();
        let deleted = dir.delete_partition(old.topic_id, 0, move |r| sender.send(r).unwrap());
        assert!(deleted.unwrap());
        receiver.recv().unwrap().unwrap();
        let refused = append(&partition, batch(&[b"v"])).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let read = partition.read(0, 100, true, Isolation::ReadUncommitted);
        assert!(matches!(read, Err(ReadError::Storage(StorageError::Deleted))));
        dir.create_partition(new.clone(), PartitionConfig::default()).unwrap();
    }
    let (dir, _) = LogDir::open(config).unwrap();
    assert!(dir.partition(old.topic_id, 0).is_none());
    assert_eq!(dir.partition(new.topic_id, 0).unwrap().log_end_offset(), 0);
    assert_eq!(std::fs::read_dir(&partitions).unwrap().count(), 0, "its folder was removed");
}

#[test]
fn topic_names_cannot_leave_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = LogDir::open(LogDirConfig::new(folder.path())).unwrap();
    let long = "x".repeat(250);
    for name in ["", ".", "..", "../up", "a/b", "a\0b", "a b", "ü", long.as_str()] {
        let result = dir.create_partition(id(name, 0), PartitionConfig::default());
        assert!(matches!(result, Err(StorageError::InvalidTopicName { .. })), "{name:?}");
    }
    let longest = "x".repeat(249);
    let partition = dir.create_partition(id(&longest, 0), PartitionConfig::default()).unwrap();
    append_durably(&partition, batch(&[b"v"]));
    dir.shutdown().unwrap();
}

#[test]
fn offsets_outside_the_log_are_refused_and_nothing_above_the_high_watermark_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogDirConfig {
        background: kohort_storage::Background::Manual,
        ..LogDirConfig::new(folder.path())
    };
    let (dir, _) = LogDir::open(config).unwrap();
    let partition = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    let seen = Arc::new(AtomicI64::new(-1));
    let listener = Arc::clone(&seen);
    partition.on_advance(Arc::new(move |offset| listener.store(offset, Ordering::SeqCst)));
    let (_, done) = append(&partition, batch(&[b"a", b"b"])).unwrap();
    let read = |offset| partition.read(offset, 1000, true, Isolation::ReadUncommitted);
    assert_eq!((partition.log_end_offset(), partition.high_watermark()), (2, 0));
    assert!(read(0).unwrap().records.is_empty());
    assert!(done.try_recv().is_err());
    dir.step_commit();
    done.try_recv().unwrap().unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    assert!(!read(1).unwrap().records.is_empty());
    assert!(read(2).unwrap().records.is_empty());
    for outside in [-1, 3] {
        assert_eq!(read(outside).unwrap_err().code(), ErrorCode::OFFSET_OUT_OF_RANGE);
    }
}

#[test]
fn large_batches_come_whole_and_as_many_as_fit() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogDirConfig::new(folder.path());
    let (dir, _) = LogDir::open(config.clone()).unwrap();
    let partition = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    // Two small ones, four large ones of two records each, and a small one.
    let large = vec![7; 50_000];
    append_durably(&partition, batch(&[b"a"]));
    append_durably(&partition, batch(&[b"b"]));
    for _ in 0..4 {
        append_durably(&partition, batch(&[&large, &large]));
    }
    append_durably(&partition, batch(&[b"c"]));
    dir.shutdown().unwrap();
    drop((dir, partition));
    let (dir, _) = LogDir::open(config).unwrap();
    let partition = dir.partition(id("t", 0).topic_id, 0).unwrap();
    let offsets = |from, max_bytes, min_one_message| {
        let read = partition.read(from, max_bytes, min_one_message, Isolation::ReadUncommitted);
        let records = read.unwrap().records;
        let offsets = batches(&records).map(|batch| batch.unwrap().header().base_offset);
        offsets.collect::<Vec<_>>()
    };
    for (from, first) in [(2, 2), (3, 2), (4, 4), (5, 4)] {
        assert_eq!(offsets(from, 250_000, false), [first, first + 2], "from {from}");
        assert_eq!(offsets(from, 100, true), [first], "from {from}");
        assert_eq!(offsets(from, 100, false), [0; 0], "from {from}");
    }
    assert_eq!(offsets(0, 250_000, false), [0, 1, 2, 4]);
    assert_eq!(offsets(1, 1 << 20, false), [1, 2, 4, 6, 8, 10]);
    assert_eq!(offsets(8, 1 << 20, false), [8, 10], "where the reader before left off or not");
    assert_eq!(read_all(&partition, 0, 150_000).len(), 11);
}

#[test]
fn batch_that_fits_no_commit_is_refused_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogDirConfig { batch_bytes_max: 1000, ..LogDirConfig::new(folder.path()) };
    let (dir, _) = LogDir::open(config).unwrap();
    let log = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    let refused = append(&log, batch(&[&[1; 1000]])).map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::MESSAGE_TOO_LARGE, "{refused}");
    assert_eq!(append_durably(&log, batch(&[&[1; 900]])).base_offset, 0);
}
