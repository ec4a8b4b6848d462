//! Compaction as a folder carries it out: what it exchanges, what it leaves alone, who it works beside.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kohort_protocol::compression::Compression;
use kohort_protocol::records::{BatchOptions, batches};
use kohort_storage::{
    Background, CleanerConfig, Disk, Isolation, LogDir, LogDirConfig, PartitionConfig,
    PartitionLog, SimulatedDisk, StorageError, verify,
};
use support::{NOW, append, append_durably, id, keyed_batch, read_compacted};

fn config() -> LogDirConfig {
    LogDirConfig { background: Background::Manual, hot_bytes_max: 0, ..LogDirConfig::new("/data") }
}

fn compacted() -> PartitionConfig {
    PartitionConfig {
        compacted: true,
        segment_bytes: 1000,
        // Each batch but a segment's first has its entry.
        index_interval_bytes: 1,
        min_cleanable_dirty_ratio: 0.0,
        ..PartitionConfig::default()
    }
}

fn open(disk: &SimulatedDisk) -> (Arc<LogDir>, Arc<PartitionLog>) {
    let (dir, _) = LogDir::open_on(Arc::new(disk.clone()), config()).unwrap();
    let log = dir.create_partition(id("t", 0), compacted()).unwrap();
    (dir, log)
}

/// Appends a record and writes it to its segment.
fn put(dir: &LogDir, log: &PartitionLog, key: &str, value: &[u8]) {
    let records = [(key, Some(value))];
    append(log, keyed_batch(&records, &BatchOptions::default(), NOW, Compression::None)).unwrap();
    dir.step_commit();
    dir.step_flush().unwrap();
}

/// Appends so many records of five keys; three of them fill a segment.
fn fill(dir: &LogDir, log: &PartitionLog, count: u8) {
    for value in 0..count {
        put(dir, log, &format!("key-{}", value % 5), &[value; 250]);
    }
}

fn offsets(log: &PartitionLog) -> Vec<i64> {
    let start = log.log_start_offset();
    read_compacted(log, start, 1 << 20).into_iter().map(|record| record.offset).collect()
}

fn folder(disk: &SimulatedDisk) -> PathBuf {
    let partitions = Path::new("/data/partitions");
    partitions.join(disk.list(partitions).unwrap().first().unwrap())
}

/// Returns the names of the segments whose records are on disk.
fn files(disk: &SimulatedDisk) -> Vec<String> {
    let files = disk.list(&folder(disk)).unwrap();
    let name = |name: &String| Some(name.strip_suffix(".log")?.trim_start_matches('0').to_owned());
    files.iter().filter_map(name).collect()
}

#[test]
fn sealed_segments_are_exchanged_and_the_old_ones_go_after_a_checkpoint() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = open(&disk);
    fill(&dir, &log, 16);
    let end = log.log_end_offset();
    assert_eq!(files(&disk), ["", "3", "6", "9", "12", "15"]);
    assert!(dir.step_clean().unwrap());
    assert_eq!(offsets(&log), [10, 11, 12, 13, 14, 15], "the active segment stays as it is");
    assert_eq!((log.log_end_offset(), log.high_watermark()), (end, end));
    dir.checkpoint().unwrap();
    // Nothing is left of the first three segments, and all of the one before the last.
    assert_eq!(files(&disk), ["9.1", "12", "15"]);
    assert!(!dir.step_clean().unwrap(), "nothing is dirty any more");
    let stats = dir.cleaner_stats();
    assert_eq!((stats.rounds, stats.records_read, stats.records_kept), (1, 15, 5));
    assert!(stats.bytes_kept < stats.bytes_read && stats.max_dirty_ratio.abs() < f64::EPSILON);
    drop((dir, log));
    let disk_ref: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.kill_process();
    let report = verify(&disk_ref, Path::new("/data")).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

#[test]
fn readers_see_what_is_left_even_while_all_of_it_is_in_memory() {
    let disk = SimulatedDisk::new(1);
    let config = LogDirConfig { background: Background::Manual, ..LogDirConfig::new("/data") };
    let (dir, _) = LogDir::open_on(Arc::new(disk.clone()), config).unwrap();
    let log = dir.create_partition(id("t", 0), compacted()).unwrap();
    fill(&dir, &log, 16);
    // What is left of the first three segments, nothing, needs no room.
    disk.set_capacity(Some(disk.used()));
    dir.step_clean().unwrap_err();
    assert_eq!(
        offsets(&log),
        [9, 10, 11, 12, 13, 14, 15],
        "a round that was given up counts as well"
    );
    disk.set_capacity(None);
    assert!(dir.step_clean().unwrap());
    assert_eq!(offsets(&log), [10, 11, 12, 13, 14, 15]);
}

/// A broker that has to read the log anew knows by it which sequence the producer goes on with.
#[test]
fn last_batch_of_a_producer_stays_though_its_records_go() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = open(&disk);
    for (producer_id, base_sequence) in [(7, 0), (7, 1), (-1, -1)] {
        let producer_epoch = if producer_id < 0 { -1 } else { 0 };
        let options =
            BatchOptions { producer_id, producer_epoch, base_sequence, ..BatchOptions::default() };
        let records = [("key-0", Some(&[0; 250][..]))];
        append(&log, keyed_batch(&records, &options, NOW, Compression::None)).unwrap();
        dir.step_commit();
        dir.step_flush().unwrap();
    }
    fill(&dir, &log, 6);
    assert!(dir.step_clean().unwrap());
    let found = log.read(0, 1 << 20, true, Isolation::ReadUncommitted).unwrap();
    let first = *batches(&found.records).next().unwrap().unwrap().header();
    assert_eq!((first.base_offset, first.producer_id, first.base_sequence), (1, 7, 1));
    assert_eq!(first.record_count, 0);
}

#[test]
fn restart_goes_on_where_compaction_had_come_to() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = open(&disk);
    fill(&dir, &log, 10);
    assert!(dir.step_clean().unwrap());
    let before = offsets(&log);
    dir.shutdown().unwrap();
    drop((dir, log));
    let (dir, log) = open(&disk);
    assert_eq!(offsets(&log), before);
    assert!(!dir.step_clean().unwrap(), "what is clean is not cleaned again");
    fill(&dir, &log, 6);
    assert!(dir.step_clean().unwrap());
    assert_eq!(offsets(&log).len(), 6);
}

#[test]
fn read_anywhere_in_a_gap_finds_the_next_record() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = open(&disk);
    fill(&dir, &log, 16);
    // Readers that left off in segments that are about to go.
    for offset in 0..16 {
        log.read(offset, 1, true, Isolation::ReadUncommitted).unwrap();
    }
    assert!(dir.step_clean().unwrap());
    dir.checkpoint().unwrap();
    for offset in 0..16 {
        let found = read_compacted(&log, offset, 1);
        assert_eq!(found[0].offset, offset.max(10), "at {offset}");
    }
}

#[test]
fn full_disk_makes_a_round_vain_and_loses_nothing() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = open(&disk);
    fill(&dir, &log, 16);
    dir.checkpoint().unwrap();
    let (before, named) = (state_of(&log), files(&disk));
    disk.set_capacity(Some(disk.used() + 100));
    assert!(matches!(dir.step_clean(), Err(StorageError::Io { .. })));
    assert_eq!((state_of(&log), files(&disk)), (before, named), "what was begun is removed");
    assert!(dir.fatal().is_none());
    disk.set_capacity(None);
    assert!(dir.step_clean().unwrap());
    assert_eq!(offsets(&log).len(), 6);
}

#[test]
fn damaged_partition_is_left_alone_and_the_others_are_compacted() {
    // In a batch's records, and in a first offset, which a round would make one that nobody can doubt.
    for byte in [150, 7] {
        let disk = SimulatedDisk::new(1);
        let (dir, log) = open(&disk);
        fill(&dir, &log, 16);
        dir.checkpoint().unwrap();
        let segment = folder(&disk).join("00000000000000000006.log");
        let other = dir.create_partition(id("other", 0), compacted()).unwrap();
        fill(&dir, &other, 16);
        disk.damage(&segment, |bytes| bytes[byte] ^= 1);
        while dir.step_clean().unwrap() {}
        assert_eq!(offsets(&other).len(), 6);
        let stats = dir.cleaner_stats();
        assert_eq!((stats.rounds, stats.uncleanable_partitions), (1, 1));
        assert_eq!(stats.uncleanable_bytes, log.size_in_bytes());
        let sound = log.read(12, 1000, true, Isolation::ReadUncommitted).unwrap();
        assert!(!sound.records.is_empty(), "what is not damaged can still be read");
    }
}

#[test]
fn failed_sync_of_a_new_segment_ends_the_folder() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = open(&disk);
    fill(&dir, &log, 16);
    disk.fail_syncs(true);
    assert!(matches!(dir.step_clean(), Err(StorageError::Fatal(_))));
    assert!(
        append(&log, keyed_batch(&[("k", None)], &BatchOptions::default(), NOW, Compression::None))
            .is_err()
    );
}

#[test]
fn topic_becomes_compacted_by_its_settings_and_ceases_to_be() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = open(&disk);
    log.set_config(PartitionConfig { compacted: false, ..compacted() });
    fill(&dir, &log, 16);
    assert!(!dir.step_clean().unwrap());
    log.set_config(compacted());
    assert!(dir.step_clean().unwrap());
    log.set_config(PartitionConfig { min_cleanable_dirty_ratio: 0.9, ..compacted() });
    fill(&dir, &log, 6);
    assert!(!dir.step_clean().unwrap(), "too little of it is dirty");
    log.set_config(PartitionConfig { min_compaction_lag_ms: i64::MAX, ..compacted() });
    assert!(!dir.step_clean().unwrap(), "it is too young");
    log.set_config(compacted());
    assert!(dir.step_clean().unwrap());
}

/// Waits for a state, or fails.
fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The last value of each key that can be read from the log's start.
fn state_of(log: &PartitionLog) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = BTreeMap::new();
    for record in read_compacted(log, log.log_start_offset(), 50_000) {
        state.insert(record.key, record.value.unwrap());
    }
    state
}

#[test]
fn cleaner_thread_works_beside_writers_readers_deletions_and_settings() {
    let folder = tempfile::tempdir().unwrap();
    let cleaner = CleanerConfig { backoff: Duration::ZERO, ..CleanerConfig::default() };
    let config = LogDirConfig {
        hot_bytes_max: 0,
        flush_bytes: 4096,
        cleaner,
        ..LogDirConfig::new(folder.path())
    };
    let (dir, _) = LogDir::open(config.clone()).unwrap();
    let log = dir.create_partition(id("t", 0), compacted()).unwrap();
    let done = AtomicBool::new(false);
    let mut expected = BTreeMap::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    read_compacted_beside_deletions(&log);
                }
            });
        }
        scope.spawn(|| {
            // Topics that come and go while they are cleaned.
            for round in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let gone = dir.create_partition(id("gone", round), compacted()).unwrap();
                for value in 0..30u8 {
                    let records = [("key", Some(&[value; 250][..]))];
                    let options = BatchOptions::default();
                    append_durably(&gone, keyed_batch(&records, &options, NOW, Compression::Lz4));
                }
                dir.delete_partition(gone.id().topic_id, round, |_| {}).unwrap();
            }
        });
        for value in 0..1500u32 {
            let key = format!("key-{}", value % 7);
            let bytes = [&value.to_be_bytes()[..], &[7; 200]].concat();
            let records = [(key.as_str(), Some(&bytes[..]))];
            let options = BatchOptions::default();
            let info =
                append_durably(&log, keyed_batch(&records, &options, NOW, Compression::None));
            expected.insert(key.into_bytes(), bytes);
            if value % 200 == 199 {
                log.advance_log_start(info.last_offset - 30, |_| {}).unwrap();
                dir.checkpoint().unwrap();
            }
            if value % 300 == 0 {
                dir.set_cleaner_config(cleaner);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(state_of(&log), expected);
    until("everything sealed is clean", || {
        let found = read_compacted(&log, log.log_start_offset(), 50_000);
        dir.cleaner_stats().rounds > 5 && found.len() < 20
    });
    assert_eq!(state_of(&log), expected);
    assert!(dir.fatal().is_none() && dir.cleaner_stats().uncleanable_partitions == 0);
    dir.shutdown().unwrap();
    drop((dir, log));
    let (dir, _) = LogDir::open(config).unwrap();
    let log = dir.partition(id("t", 0).topic_id, 0).unwrap();
    assert_eq!(state_of(&log), expected);
}

/// Reads the whole log; where its start moves on meanwhile, from there.
fn read_compacted_beside_deletions(log: &PartitionLog) {
    let mut offset = log.log_start_offset();
    while offset < log.high_watermark() {
        match log.read(offset, 5000, true, Isolation::ReadUncommitted) {
            Ok(found) => {
                let mut last = None;
                for batch in batches(&found.records) {
                    let batch = batch.unwrap();
                    batch.verify_crc().unwrap();
                    assert!(batch.header().last_offset() >= offset);
                    last = Some(batch.header().next_offset());
                }
                offset = last.expect("a read below the high watermark finds something");
            }
            Err(kohort_storage::ReadError::OffsetOutOfRange { log_start, .. }) => {
                offset = log_start;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn round_keeps_to_the_bytes_per_second_it_is_allowed_and_ends_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let backoff = Duration::ZERO;
    let slow = CleanerConfig { backoff, io_bytes_per_second: 1.0, ..CleanerConfig::default() };
    let config = LogDirConfig { cleaner: slow, ..LogDirConfig::new(folder.path()) };
    let (dir, _) = LogDir::open(config).unwrap();
    let log = dir.create_partition(id("t", 0), compacted()).unwrap();
    for value in 0..20u8 {
        let records = [("key", Some(&[value; 250][..]))];
        append_durably(
            &log,
            keyed_batch(&records, &BatchOptions::default(), NOW, Compression::None),
        );
    }
    dir.checkpoint().unwrap();
    until("a round is under way", || dir.cleaner_stats().since_last_run > Duration::ZERO);
    // At a byte a second this round would take hours.
    dir.shutdown().unwrap();
    assert_eq!(dir.cleaner_stats().rounds, 0);
}
