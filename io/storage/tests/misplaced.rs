//! First offsets and leader epochs lie outside a batch's checksum. What is wrong with them is found all
//! the same, told of the batch that is wrong, and mended; and looking tells what mending takes out.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::records::{BatchOptions, batches};
use kohort_storage::{
    Disk, Isolation, LogDir, PartitionConfig, PartitionLog, Problem, repair, verify,
};
use support::folder::{Folder, append_alone, partition, two_partitions};
use support::{NOW, append, batch, batch_of, id, read_all};

/// Where in a batch its first offset ends, and its leader epoch.
const OFFSET: usize = 7;
const EPOCH: usize = 15;

/// A folder with the records `v0` to `v3` in one segment of partition 0, each in a batch of its own, and
/// what to read them by.
fn with_four_batches() -> (Folder, PathBuf, usize) {
    four_batches_in(Folder::new())
}

fn four_batches_in(folder: Folder) -> (Folder, PathBuf, usize) {
    let dir = folder.open().unwrap();
    let log = whole(&dir);
    for number in 0..4 {
        let (_, done) = append(&log, batch(&[format!("v{number}").as_bytes()])).unwrap();
        dir.step_commit();
        done.try_recv().unwrap().unwrap();
    }
    folder.close(dir);
    let segment = folder.partition_dir(0).join("00000000000000000000.log");
    (folder, segment, batch(&[b"v0"]).len())
}

/// Partition 0 with all in one segment.
fn whole(dir: &LogDir) -> Arc<PartitionLog> {
    dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap()
}

fn values(log: &PartitionLog) -> Vec<(i64, String)> {
    let text = |(offset, value)| (offset, String::from_utf8(value).unwrap());
    read_all(log, 0, 10_000).into_iter().map(text).collect()
}

fn problems(folder: &Folder) -> Vec<Problem> {
    verify(&folder.disk(), &folder.config.path).unwrap().problems
}

#[test]
fn batch_with_a_wrong_first_offset_or_epoch_is_named_and_mended_without_loss() {
    type Case = (usize, usize, u8, &'static str);
    let cases: [Case; 7] = [
        (1, OFFSET, 2, "offset 3 where 1 follows"),
        (3, OFFSET, 4, "offset 7 where 3 follows"),
        (3, OFFSET, 2, "offset 1 where 3 follows"),
        (0, OFFSET, 1, "offset 1 where 0 follows"),
        (2, 0, 128, "offset -9223372036854775806 where 2 follows"),
        (1, EPOCH, 4, "leader epoch 4 where 0 was in force"),
        (3, EPOCH - 3, 128, "leader epoch -2147483648 where 0 was in force"),
    ];
    for (number, byte, bit, reason) in cases {
        let (folder, segment, size) = with_four_batches();
        folder.disk.damage(&segment, |bytes| bytes[number * size + byte] ^= bit);
        let position = (number * size) as u64;
        let expected = Problem { path: segment, position, reason: reason.to_owned() };
        assert_eq!(problems(&folder), [expected], "{reason}");
        repair(&folder.disk(), &folder.config).unwrap();
        assert_eq!(problems(&folder), [], "{reason}");
        let dir = folder.open().unwrap();
        let log = whole(&dir);
        let all = [0, 1, 2, 3].map(|offset| (offset, format!("v{offset}")));
        assert_eq!(values(&log), all, "{reason}");
        assert_eq!(log.epoch_of(3), 0);
        append_alone(&dir, &log);
        assert_eq!(log.high_watermark(), 5);
    }
}

#[test]
fn wrong_first_offset_without_a_checkpoint_costs_no_other_batch() {
    let (folder, segment, size) = with_four_batches();
    folder.disk.damage(&segment, |bytes| bytes[size + OFFSET] ^= 2);
    folder.disk.damage(Path::new("/data/checkpoint"), |bytes| bytes[60] ^= 1);
    assert_eq!(problems(&folder).len(), 2);
    repair(&folder.disk(), &folder.config).unwrap();
    let dir = folder.open().unwrap();
    let all = [0, 1, 2, 3].map(|offset| (offset, format!("v{offset}")));
    assert_eq!(values(&whole(&dir)), all);
}

#[test]
fn wrong_length_that_ends_where_another_batch_does_costs_no_sound_batch() {
    // The length of the record takes a byte more than that of an empty one.
    let value = vec![b'v'; 127 - batch(&[b""]).len()];
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = whole(&dir);
    for _ in 0..6 {
        let _ = append(&log, batch(&[&value])).unwrap();
        dir.step_commit();
    }
    folder.close(dir);
    let segment = folder.partition_dir(0).join("00000000000000000000.log");
    folder.disk.damage(&segment, |bytes| {
        assert_eq!(bytes.len(), 6 * 128);
        // The length 116, and what is before it, make 128: now they make 384.
        bytes[128 + 10] ^= 1;
    });
    assert_eq!(problems(&folder).len(), 1);
    repair(&folder.disk(), &folder.config).unwrap();
    let log = whole(&folder.open().unwrap());
    let offsets: Vec<i64> = read_all(&log, 0, 10_000).iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [0, 2, 3, 4, 5]);
}

/// Damage, and what it is done to: the folder, a segment of two batches in partition 0, the folder of
/// partition 1.
type Damage = fn(&Folder, &Path, &Path);

#[test]
fn looking_tells_exactly_what_mending_takes_out() {
    const CHECKPOINT: &str = "/data/checkpoint";
    let cases: [(&str, usize, Damage); 14] = [
        ("nothing", 0, |_, _, _| {}),
        ("checkpoint", 1, |folder, _, _| {
            folder.disk.damage(Path::new(CHECKPOINT), |bytes| bytes[60] ^= 1);
        }),
        ("no checkpoint", 1, |folder, _, _| {
            folder.disk.remove_file(Path::new(CHECKPOINT)).unwrap();
        }),
        ("segment", 1, |folder, segment, _| folder.disk.damage(segment, |b| b[100] ^= 1)),
        ("checkpoint and segment", 2, |folder, segment, _| {
            folder.disk.damage(Path::new(CHECKPOINT), |bytes| bytes[60] ^= 1);
            folder.disk.damage(segment, |bytes| bytes[100] ^= 1);
        }),
        ("segment cut short", 2, |folder, segment, _| {
            folder.disk.damage(segment, |bytes| bytes.truncate(bytes.len() - 100));
        }),
        ("segment gone", 1, |folder, segment, _| folder.disk.remove_file(segment).unwrap()),
        ("partition's folder gone", 3, |folder, _, dir| folder.disk.remove_dir_all(dir).unwrap()),
        ("partition's file", 1, |folder, _, dir| {
            folder.disk.damage(&dir.join("partition"), |bytes| bytes[20] ^= 1);
        }),
        ("partition's file gone", 1, |folder, _, dir| {
            folder.disk.remove_file(&dir.join("partition")).unwrap();
        }),
        ("first offset", 1, |folder, segment, _| folder.disk.damage(segment, |b| b[OFFSET] ^= 4)),
        ("commit of the log", 1, |folder, _, _| {
            folder.disk.damage(&folder.wal_file(), |bytes| bytes[LATER_COMMIT + 200] ^= 1);
        }),
        ("log's file cut short", 1, |folder, _, _| {
            folder.disk.damage(&folder.wal_file(), |bytes| bytes.truncate(LATER_COMMIT + 100));
        }),
        ("log's file gone", 1, |folder, _, _| {
            folder.disk.remove_file(&folder.wal_file()).unwrap();
        }),
    ];
    for (name, count, damage) in cases {
        let folder = Folder::new();
        let dir = folder.open().unwrap();
        let logs = two_partitions(&dir);
        dir.checkpoint().unwrap();
        for _ in 0..4 {
            append_alone(&dir, &logs[0]);
        }
        folder.kill(dir);
        let segment = folder.partition_dir(0).join("00000000000000000002.log");
        damage(&folder, &segment, &folder.partition_dir(1));
        let before = folder.disk.operations();
        let found = problems(&folder);
        assert_eq!(folder.disk.operations(), before, "{name}: looking changes nothing");
        assert_eq!(found.len(), count, "{name}: {found:?}");
        let report = repair(&folder.disk(), &folder.config).unwrap();
        assert_eq!(report.problems, found, "{name}");
        assert_eq!(problems(&folder), [], "{name}");
        folder.open().unwrap();
    }
}

/// Where the twelfth commit of the log begins: each takes a block, after one of the file's own.
const LATER_COMMIT: usize = 12 * 4096;

#[test]
fn repair_of_a_sound_folder_changes_nothing() {
    for closed in [false, true] {
        let folder = Folder::new();
        let dir = folder.open().unwrap();
        for _ in 0..5 {
            append_alone(&dir, &partition(&dir, 0));
        }
        if closed {
            dir.shutdown().unwrap();
        }
        folder.kill(dir);
        let before = folder.disk.operations();
        for _ in 0..3 {
            let report = repair(&folder.disk(), &folder.config).unwrap();
            assert!(report.is_nothing() && report.kept_in.is_none(), "{report:?}");
        }
        assert_eq!(folder.disk.operations(), before);
        assert_eq!(partition(&folder.open().unwrap(), 0).leader_epoch(), 0);
    }
}

/// Reads the batch at `offset` alone.
fn value_at(log: &PartitionLog, offset: i64, size: usize) -> Result<(i64, String), ErrorCode> {
    let info =
        log.read(offset, size, true, Isolation::ReadUncommitted).map_err(|error| error.code())?;
    let batch = batches(&info.records).next().unwrap().unwrap();
    let value = batch.payload()[batch.payload().len() - 3..][..2].to_vec();
    Ok((batch.header().base_offset, String::from_utf8(value).unwrap()))
}

#[test]
fn misplaced_batch_fails_its_own_reads_and_no_others() {
    let failed = Err(ErrorCode::KAFKA_STORAGE_ERROR);
    for (number, byte, bit) in [
        (1, OFFSET, 2),
        (1, OFFSET, 64),
        (3, OFFSET, 4),
        (3, OFFSET, 2),
        (0, OFFSET, 1),
        (2, 0, 128),
        (1, EPOCH, 4),
        (2, EPOCH - 3, 128),
    ] {
        let (folder, segment, size) = with_four_batches();
        folder.disk.damage(&segment, |bytes| bytes[number * size + byte] ^= bit);
        let dir = folder.open().unwrap();
        let log = whole(&dir);
        // Twice, since what is found out is remembered.
        for offset in (0..4).chain((0..4).rev()) {
            let found = value_at(&log, offset, size);
            let expected = if offset == number as i64 {
                failed.clone()
            } else {
                Ok((offset, format!("v{offset}")))
            };
            assert_eq!(found, expected, "{offset} of {number} {byte} {bit}");
        }
        let sound = log.read(0, 10_000, true, Isolation::ReadUncommitted);
        let sound = sound.map_or(0, |info| info.records.len() / size);
        assert_eq!(sound, number, "what comes before the damage is served");
        for _ in 0..4 {
            append_alone(&dir, &log);
        }
        dir.step_flush().unwrap();
        dir.checkpoint().unwrap();
        folder.close(dir);
        let dir = folder.open().unwrap();
        let log = whole(&dir);
        assert_eq!(value_at(&log, number as i64, size), failed, "{number}: after more came");
        assert_eq!(read_all(&log, 4, 10_000).len(), 4);
    }
}

/// A folder whose batches are of leader epoch 1: it was mended before they came.
#[test]
fn batch_whose_epoch_falls_back_fails_its_own_reads_and_no_others() {
    for number in 0..4 {
        let folder = Folder::new();
        folder.close(folder.open().unwrap());
        folder.disk.damage(Path::new("/data/checkpoint"), |bytes| bytes[60] ^= 1);
        repair(&folder.disk(), &folder.config).unwrap();
        let (folder, segment, size) = four_batches_in(folder);
        folder.disk.damage(&segment, |bytes| {
            assert_eq!(std::mem::take(&mut bytes[number * size + EPOCH]), 1);
        });
        // The first of a segment is told only by those before it.
        let is_told = number > 0;
        assert_eq!(problems(&folder).len(), usize::from(is_told), "{number}");
        let log = whole(&folder.open().unwrap());
        for offset in 0..4 {
            let found = value_at(&log, offset, size);
            let damaged = is_told && offset == number as i64;
            let sound = Ok((offset, format!("v{offset}")));
            let expected = if damaged { Err(ErrorCode::KAFKA_STORAGE_ERROR) } else { sound };
            assert_eq!(found, expected, "{offset} of {number}");
        }
    }
}

#[test]
fn search_by_time_finds_no_record_of_a_batch_that_is_misplaced_or_rotten() {
    // Where within the batch: its first offset, its value.
    for from_end in [false, true] {
        let folder = Folder::new();
        let dir = folder.open().unwrap();
        let log = whole(&dir);
        for number in 0..4 {
            let batch = batch_of(&[b"v"], &BatchOptions::default(), NOW + number * 1000);
            let (_, done) = append(&log, batch).unwrap();
            dir.step_commit();
            done.try_recv().unwrap().unwrap();
        }
        folder.close(dir);
        let segment = folder.partition_dir(0).join("00000000000000000000.log");
        folder.disk.damage(&segment, |bytes| {
            let size = bytes.len() / 4;
            let at = if from_end { 2 * size - 2 } else { size + OFFSET };
            bytes[at] ^= 2;
        });
        let log = whole(&folder.open().unwrap());
        let offset = |number: i64| log.offset_for_timestamp(NOW + number * 1000);
        assert_eq!(offset(1).unwrap_err().code(), ErrorCode::KAFKA_STORAGE_ERROR);
        for number in [0, 2, 3] {
            assert_eq!(offset(number).unwrap().unwrap().offset, number);
        }
    }
}

/// 1. Records are in a segment. 2. Others come, and all are deleted before they are written there.
/// 3. More come, and go to the same segment.
#[test]
fn offsets_that_were_deleted_before_they_were_written_are_no_damage() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let log = whole(&dir);
    for _ in 0..3 {
        append_alone(&dir, &log);
    }
    dir.step_flush().unwrap();
    for _ in 0..3 {
        append_alone(&dir, &log);
    }
    log.advance_log_start(5, drop).unwrap();
    dir.step_commit();
    for _ in 0..3 {
        append_alone(&dir, &log);
    }
    // It writes segments before those below the log's start leave the list.
    dir.checkpoint().unwrap();
    folder.close(dir);
    let names = folder.disk.list(&folder.partition_dir(0)).unwrap();
    assert!(names.contains(&"00000000000000000000.log".to_owned()), "3 and 4 are missing in it");
    assert_eq!(problems(&folder), []);
    let dir = folder.open().unwrap();
    let log = whole(&dir);
    assert_eq!(read_all(&log, 5, 10_000).len(), 4);
    assert_eq!(log.counters().segments, 1);
}

#[test]
fn gaps_that_repair_left_are_read_over_and_are_no_damage() {
    let (folder, segment, size) = with_four_batches();
    folder.disk.damage(&segment, |bytes| bytes[size + 65] ^= 1);
    assert_eq!(repair(&folder.disk(), &folder.config).unwrap().problems.len(), 1);
    for _ in 0..2 {
        assert_eq!(problems(&folder), []);
        let dir = folder.open().unwrap();
        let log = whole(&dir);
        for (offset, found) in [(0, 0), (1, 2), (2, 2), (3, 3)] {
            assert_eq!(value_at(&log, offset, size), Ok((found, format!("v{found}"))));
        }
        append_alone(&dir, &log);
        folder.close(dir);
    }
}
