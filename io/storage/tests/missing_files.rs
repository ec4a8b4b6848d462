//! Files that somebody removed or cut short: their partition fails alone, and mending brings it back.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_storage::{
    AppendError, Disk, Isolation, LogDir, OpenError, PartitionLog, StorageError, dump, repair,
    verify,
};
use support::folder::{Folder, VALUE, append_alone, partition, two_partitions};
use support::{append, batch, read_all};

/// A folder with five records in each of two partitions.
fn with_two_partitions() -> Folder {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    two_partitions(&dir);
    folder.close(dir);
    folder
}

/// Appends are refused, and the answer names `path`.
fn check_refused(log: &PartitionLog, path: &Path) {
    let error = append(log, batch(&[&VALUE])).unwrap_err();
    assert!(matches!(error, AppendError::Storage(StorageError::Damaged { .. })), "{error}");
    assert_eq!(error.code(), ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

/// Everything goes on that does not need the partition.
fn check_goes_on(dir: &LogDir, log: &PartitionLog) {
    append_alone(dir, log);
    dir.step_flush().unwrap();
    dir.checkpoint().unwrap();
    assert_eq!(read_all(log, 0, 10_000).len() as i64, log.high_watermark());
    assert!(dir.fatal().is_none());
}

fn repaired(folder: &Folder) -> Arc<LogDir> {
    assert!(!verify(&folder.disk(), &folder.config.path).unwrap().problems.is_empty());
    repair(&folder.disk(), &folder.config).unwrap();
    let report = verify(&folder.disk(), &folder.config.path).unwrap();
    assert_eq!(report.problems, [], "it is sound after repair");
    folder.open().unwrap()
}

#[test]
fn partition_whose_folder_is_gone_fails_alone_until_it_is_repaired() {
    let folder = with_two_partitions();
    let gone = folder.partition_dir(0);
    folder.disk.remove_dir_all(&gone).unwrap();
    for _ in 0..2 {
        let dir = folder.open().unwrap();
        let (log, other) = (partition(&dir, 0), partition(&dir, 1));
        check_refused(&log, &gone);
        let error = log.read(0, 1000, true, Isolation::ReadUncommitted).unwrap_err();
        assert_eq!(error.code(), ErrorCode::KAFKA_STORAGE_ERROR, "{error}");
        check_goes_on(&dir, &other);
        folder.close(dir);
    }
    let dir = repaired(&folder);
    let log = partition(&dir, 0);
    assert_eq!(read_all(&log, 0, 1000), [], "readers get to the end");
    append_alone(&dir, &log);
    assert_eq!(log.high_watermark(), 6, "no offset is given twice");
    folder.close(dir);
    let dir = folder.open().unwrap();
    assert_eq!(read_all(&partition(&dir, 0), 0, 1000), [(5, VALUE.to_vec())]);
}

#[test]
fn folder_removed_while_it_is_written_to_stops_nothing_else() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let (log, other) = (partition(&dir, 0), partition(&dir, 1));
    append_alone(&dir, &log);
    dir.step_flush().unwrap();
    let gone = folder.partition_dir(0);
    folder.disk.remove_dir_all(&gone).unwrap();
    for _ in 0..3 {
        append_alone(&dir, &log);
    }
    check_goes_on(&dir, &other);
    check_refused(&log, &gone);
    folder.close(dir);
    let dir = folder.open().unwrap();
    check_goes_on(&dir, &partition(&dir, 1));
    folder.close(dir);
    let dir = repaired(&folder);
    append_alone(&dir, &partition(&dir, 0));
}

#[test]
fn folder_that_nothing_is_needed_of_is_made_again() {
    let folder = with_two_partitions();
    let dir = folder.open().unwrap();
    partition(&dir, 0).advance_log_start(5, drop).unwrap();
    dir.step_flush().unwrap();
    folder.close(dir);
    folder.disk.remove_dir_all(&folder.partition_dir(0)).unwrap();
    assert_eq!(verify(&folder.disk(), &folder.config.path).unwrap().problems, []);
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    append_alone(&dir, &log);
    folder.close(dir);
    let dir = folder.open().unwrap();
    assert_eq!(read_all(&partition(&dir, 0), 5, 1000).len(), 1);
}

/// 1. The end of the newest segment is lost. 2. A record is acknowledged. 3. It is written to a segment.
#[test]
fn what_is_acknowledged_before_a_lost_segment_is_noticed_is_kept_and_nothing_is_built_on_a_hole() {
    type Damage = fn(&Folder, &Path);
    let damages: [Damage; 3] = [
        |folder, path| folder.disk.remove_file(path).unwrap(),
        |folder, path| folder.disk.damage(path, Vec::clear),
        |folder, path| folder.disk.damage(path, |bytes| bytes.truncate(bytes.len() - 100)),
    ];
    for damage in damages {
        let folder = with_two_partitions();
        let newest = folder.partition_dir(0).join("00000000000000000004.log");
        damage(&folder, &newest);
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        append_alone(&dir, &log);
        dir.step_flush().unwrap();
        check_refused(&log, &newest);
        check_goes_on(&dir, &partition(&dir, 1));
        assert_eq!(read_all(&log, 5, 1000), [(5, VALUE.to_vec())]);
        folder.close(dir);
        let dir = repaired(&folder);
        let log = partition(&dir, 0);
        let offsets: Vec<i64> = read_all(&log, 0, 1000).iter().map(|record| record.0).collect();
        assert_eq!(offsets, [0, 1, 2, 3, 5]);
        append_alone(&dir, &log);
        assert_eq!(log.high_watermark(), 7);
    }
}

#[test]
fn repair_that_is_interrupted_anywhere_can_be_repeated() {
    for operations in 0.. {
        let folder = with_two_partitions();
        folder.disk.remove_dir_all(&folder.partition_dir(0)).unwrap();
        folder.disk.sync_dir(&folder.config.path.join("partitions")).unwrap();
        let segment = folder.partition_dir(1).join("00000000000000000002.log");
        folder.disk.damage(&segment, |bytes| bytes[100] ^= 1);
        folder.disk.stop_after(operations);
        let done = repair(&folder.disk(), &folder.config).is_ok();
        folder.disk.power_cut();
        if !done {
            repair(&folder.disk(), &folder.config).unwrap();
        }
        assert_eq!(verify(&folder.disk(), &folder.config.path).unwrap().problems, []);
        let dir = folder.open().unwrap();
        let offsets = |index| {
            let found = read_all(&partition(&dir, index), 0, 1000);
            found.iter().map(|record| record.0).collect::<Vec<i64>>()
        };
        assert_eq!((offsets(0), offsets(1)), (vec![], vec![0, 1, 3, 4]), "after {operations}");
        if done {
            assert!(operations > 10);
            break;
        }
    }
}

#[test]
fn shortened_file_of_the_log_is_damage_and_no_interrupted_write() {
    let folder = Folder::killed_after(3);
    // Into the commit before the last, so that no later one is there to tell.
    folder.disk.damage(&folder.wal_file(), |bytes| bytes.truncate(2 * 4096 + 100));
    let error = folder.open().unwrap_err();
    let OpenError::Corrupt(corruption) = error else { panic!("{error}") };
    assert_eq!((corruption.path, corruption.position), (folder.wal_file(), 2 * 4096 + 100));
    let report = verify(&folder.disk(), &folder.config.path).unwrap();
    assert!(!report.torn && report.problems.len() == 1, "{report:?}");
    let dir = repaired(&folder);
    assert_eq!(read_all(&partition(&dir, 0), 0, 1000).len(), 1);
    folder.kill(dir);
    dump(&folder.disk(), &folder.config.path, &mut Vec::new()).unwrap();
}
