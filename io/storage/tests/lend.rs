//! Records that are sent straight from a segment's file.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::records::batches;
use kohort_storage::{Isolation, LogDir, LogDirConfig, PartitionConfig, PartitionLog, Records};
use support::{append_durably, batch, id};

const VALUES: i64 = 400;

/// Fills a partition with batches of many sizes, and opens it again so that none is in memory.
fn filled(folder: &Path) -> (Arc<LogDir>, Arc<PartitionLog>) {
    let (dir, _) = LogDir::open(LogDirConfig::new(folder)).unwrap();
    let log = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    for number in 0..VALUES {
        let size = [10, 300, 5_000, 20_000, 60_000][number as usize % 5];
        append_durably(&log, batch(&[&vec![number as u8; size]]));
    }
    dir.shutdown().unwrap();
    drop((dir, log));
    open(folder)
}

fn open(folder: &Path) -> (Arc<LogDir>, Arc<PartitionLog>) {
    let (dir, _) = LogDir::open(LogDirConfig::new(folder)).unwrap();
    let log = dir.partition(id("t", 0).topic_id, 0).unwrap();
    (dir, log)
}

fn segment(folder: &Path) -> PathBuf {
    let partitions: Vec<_> = fs::read_dir(folder.join("partitions")).unwrap().collect();
    let files = partitions.into_iter().map(|entry| entry.unwrap().path());
    files.map(|dir| dir.join("00000000000000000000.log")).find(|path| path.exists()).unwrap()
}

/// Returns the bytes, and whether they came from a file.
fn content(records: Records) -> (Vec<u8>, bool) {
    match records {
        Records::Memory(parts) => (parts.concat(), false),
        Records::File(records) => {
            let file = File::from(records.fd().unwrap().try_clone_to_owned().unwrap());
            let mut bytes = vec![0; records.len()];
            file.read_exact_at(&mut bytes, records.position()).unwrap();
            (bytes, true)
        }
    }
}

#[test]
fn what_is_lent_is_whole_batches_from_any_offset_within_any_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, log) = filled(folder.path());
    let mut lent = 0;
    for max_bytes in [0, 100, 20_000, 50_000, 200_000, 1 << 20, 1 << 30] {
        for offset in (0..VALUES).step_by(7) {
            let ask = |min_one_message| {
                log.lend(offset, max_bytes, min_one_message, Isolation::ReadUncommitted).unwrap()
            };
            let (strict, _) = content(ask(false).records);
            assert!(strict.len() <= max_bytes);
            let (bytes, from_file) = content(ask(true).records);
            lent += i32::from(from_file);
            let mut next = offset;
            let mut last = 0;
            for batch in batches(&bytes) {
                let batch = batch.unwrap();
                batch.verify_crc().unwrap();
                assert_eq!(batch.header().base_offset, next);
                next = batch.header().next_offset();
                last = batch.header().size_in_bytes();
            }
            assert!(next > offset, "a reader gets on");
            assert!(bytes.len() <= max_bytes || bytes.len() == last, "{max_bytes} at {offset}");
            assert!(
                next == VALUES || max_bytes - bytes.len().min(max_bytes) <= 70_000,
                "what fits is given, but for the batch that does not: {max_bytes} at {offset}"
            );
        }
    }
    assert!(lent > 100, "{lent}");
    dir.shutdown().unwrap();
}

#[test]
fn sequential_reader_of_lent_records_sees_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, log) = filled(folder.path());
    for max_bytes in [70_000, 100_000, 1 << 20] {
        let mut offset = 0;
        while offset < log.high_watermark() {
            let found = log.lend(offset, max_bytes, true, Isolation::ReadUncommitted).unwrap();
            let (bytes, _) = content(found.records);
            for batch in batches(&bytes) {
                let batch = batch.unwrap();
                assert_eq!(batch.header().base_offset, offset);
                offset = batch.header().next_offset();
            }
        }
    }
    dir.shutdown().unwrap();
}

#[test]
fn rot_that_came_while_the_broker_was_away_is_not_lent() {
    // Inside its records, in its first offset, in its leader epoch.
    for within in [1000, 7, 15] {
        let folder = tempfile::tempdir().unwrap();
        let (dir, log) = filled(folder.path());
        let before =
            content(log.lend(0, 1 << 20, true, Isolation::ReadUncommitted).unwrap().records);
        assert!(before.1);
        dir.shutdown().unwrap();
        drop((dir, log));
        let path = segment(folder.path());
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        // The batches of this size are the fifth, tenth, ...: this is the tenth.
        let tenth = batches(&before.0).take(9).map(|batch| batch.unwrap().header().size_in_bytes());
        let position = tenth.sum::<usize>() as u64 + within;
        let mut byte = [0];
        file.read_exact_at(&mut byte, position).unwrap();
        file.write_all_at(&[byte[0] ^ 64], position).unwrap();
        let (dir, log) = open(folder.path());
        let lend = |offset| log.lend(offset, 1 << 20, true, Isolation::ReadUncommitted);
        let (bytes, from_file) = content(lend(0).unwrap().records);
        assert!(from_file);
        assert_eq!(batches(&bytes).count(), 9, "what is sound before the damage can be had");
        assert_eq!(lend(9).unwrap_err().code(), ErrorCode::KAFKA_STORAGE_ERROR);
        let behind = content(lend(10).unwrap().records).0;
        let behind = batches(&behind).map(|batch| batch.unwrap().header().base_offset);
        let expected: Vec<i64> = (10..).take(behind.clone().count()).collect();
        assert!(expected.len() > 9, "and what is sound behind it");
        assert_eq!(behind.collect::<Vec<_>>(), expected);
        dir.shutdown().unwrap();
    }
}
