//! What goes by age and by size, and how segments are closed by time.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kohort_protocol::records::BatchOptions;
use kohort_storage::{
    Background, Clock, LogCounters, LogDir, LogDirConfig, PartitionConfig, PartitionLog,
    RetentionReport, SimulatedDisk,
};
use support::{append, batch_of, id, read_all};

/// A log on a simulated disk, with a clock that the test sets.
struct World {
    disk: SimulatedDisk,
    config: PartitionConfig,
    clock: Arc<AtomicI64>,
    dir: Arc<LogDir>,
    log: Arc<PartitionLog>,
}

impl World {
    fn new(config: PartitionConfig) -> World {
        let (disk, clock) = (SimulatedDisk::new(1), Arc::new(AtomicI64::new(0)));
        let (dir, log) = World::open(&disk, &clock, &config);
        World { disk, config, clock, dir, log }
    }

    fn open(
        disk: &SimulatedDisk,
        clock: &Arc<AtomicI64>,
        config: &PartitionConfig,
    ) -> (Arc<LogDir>, Arc<PartitionLog>) {
        let shown = Arc::clone(clock);
        let folder = LogDirConfig {
            background: Background::Manual,
            clock: Clock::new(move || shown.load(Ordering::Relaxed)),
            ..LogDirConfig::new("/data")
        };
        let (dir, _) = LogDir::open_on(Arc::new(disk.clone()), folder).unwrap();
        let log = dir.create_partition(id("t", 0), config.clone()).unwrap();
        (dir, log)
    }

    fn reopen(mut self) -> World {
        drop((self.dir, self.log));
        self.disk.kill_process();
        (self.dir, self.log) = World::open(&self.disk, &self.clock, &self.config);
        self
    }

    /// Appends a record of 200 bytes.
    fn append(&self, timestamp: i64) {
        append(&self.log, batch_of(&[&[0; 200]], &BatchOptions::default(), timestamp)).unwrap();
        self.dir.step_commit();
    }

    fn enforce(&self, now: i64) -> RetentionReport {
        self.clock.store(now, Ordering::Relaxed);
        let report = self.dir.enforce_retention(now).unwrap();
        self.dir.step_commit();
        self.dir.step_flush().unwrap();
        report
    }

    fn offsets(&self) -> Vec<i64> {
        let records = read_all(&self.log, self.log.log_start_offset(), 1000);
        records.into_iter().map(|(offset, _)| offset).collect()
    }
}

/// A segment per record, all times accepted.
fn config() -> PartitionConfig {
    PartitionConfig {
        segment_bytes: 300,
        index_interval_bytes: 1,
        deletes: true,
        retention_ms: -1,
        ..PartitionConfig::default()
    }
}

#[test]
fn segments_go_when_all_their_records_are_too_old_also_the_active_one() {
    let world = World::new(PartitionConfig { retention_ms: 100, ..config() });
    for timestamp in [10, 20, 30] {
        world.append(timestamp);
    }
    assert_eq!(world.enforce(110), RetentionReport::default());
    let report = world.enforce(121);
    assert_eq!((report.partitions, report.by_time, report.by_size), (1, 2, 0));
    assert_eq!(world.offsets(), [2]);
    // What is not in a segment yet is judged with the rest.
    world.append(40);
    assert_eq!(world.enforce(141).by_time, 2);
    assert!(world.offsets().is_empty());
    world.dir.checkpoint().unwrap();
    let world = world.reopen();
    assert_eq!((world.log.log_start_offset(), world.log.log_end_offset()), (4, 4));
    assert_eq!(
        world.log.epoch_of(4),
        0,
        "the epoch of the log's start is known though it is empty"
    );
    world.append(150);
    assert_eq!(world.offsets(), [4]);
}

#[test]
fn what_is_deleted_stays_deleted_after_a_kill_at_once() {
    let world = World::new(PartitionConfig { retention_bytes: 600, ..config() });
    for timestamp in 0..5 {
        world.append(timestamp);
    }
    let bytes = world.log.size_in_bytes() / 5;
    assert_eq!(world.enforce(0).by_size as u64, (5 * bytes - 600) / bytes);
    let kept = world.offsets();
    let world = world.reopen();
    assert_eq!(world.offsets(), kept);
    let counters = world.log.counters();
    assert_eq!(
        counters,
        LogCounters {
            log_start_offset: kept[0],
            high_watermark: 5,
            log_end_offset: 5,
            size_in_bytes: bytes * kept.len() as u64,
            segments: counters.segments,
        }
    );
    world.dir.step_flush().unwrap();
    assert_eq!(world.log.counters().segments, kept.len());
}

#[test]
fn segment_without_timestamps_is_kept_as_long_as_one_written_at_that_time() {
    let world = World::new(PartitionConfig { retention_ms: 100, ..config() });
    world.clock.store(1000, Ordering::Relaxed);
    world.append(-1);
    world.dir.checkpoint().unwrap();
    let world = world.reopen();
    assert_eq!(world.enforce(1100).by_time, 0);
    assert_eq!(world.enforce(1101).by_time, 1);
}

#[test]
fn segment_without_timestamps_counts_as_old_as_what_was_added_last() {
    let two = PartitionConfig { segment_bytes: 600, ..config() };
    let world = World::new(PartitionConfig { retention_ms: 100, ..two });
    for time in [1000, 1090] {
        world.clock.store(time, Ordering::Relaxed);
        world.append(-1);
        world.dir.step_flush().unwrap();
    }
    assert_eq!(world.log.counters().segments, 1);
    assert_eq!(world.enforce(1190).by_time, 0);
    assert_eq!(world.enforce(1191).by_time, 1);
}

#[test]
fn old_segments_go_although_the_disk_has_no_room_for_new_ones() {
    let world = World::new(PartitionConfig { retention_ms: 100, ..config() });
    for time in 1000..1003 {
        world.append(time);
    }
    world.dir.checkpoint().unwrap();
    world.append(1200);
    world.disk.set_capacity(Some(world.disk.used()));
    world.clock.store(1200, Ordering::Relaxed);
    assert_eq!(world.dir.enforce_retention(1200).unwrap().by_time, 3);
    assert_eq!(world.log.log_start_offset(), 3);
}

#[test]
fn log_without_delete_in_its_policy_is_left_alone_until_the_policy_changes() {
    let keeps = PartitionConfig { deletes: false, retention_ms: 0, retention_bytes: 0, ..config() };
    let world = World::new(keeps.clone());
    world.append(1);
    assert_eq!(world.enforce(i64::MAX), RetentionReport::default());
    world.log.set_config(PartitionConfig { deletes: true, ..keeps });
    assert_eq!(world.enforce(i64::MAX).by_size, 1);
}

#[test]
fn segments_are_closed_by_the_time_between_their_first_record_and_the_next() {
    let config = PartitionConfig { segment_bytes: 1 << 20, segment_ms: 50, ..config() };
    let world = World::new(config);
    for timestamp in [100, 150, 90, 151, 160] {
        world.append(timestamp);
    }
    world.clock.store(i64::MAX, Ordering::Relaxed);
    world.dir.step_flush().unwrap();
    assert_eq!(world.log.counters().segments, 2, "records 0 to 2, and 3 to 4");
    world.append(201);
    world.append(202);
    world.dir.step_flush().unwrap();
    assert_eq!(world.log.counters().segments, 3, "a segment read back knows its first time");
}

#[test]
fn record_of_the_greatest_time_is_one_that_is_still_there() {
    let world = World::new(PartitionConfig { segment_bytes: 1 << 20, ..config() });
    let options = BatchOptions::default();
    // A batch of the times 500 to 502, then 400, then 300.
    append(&world.log, batch_of(&[b"a", b"b", b"c"], &options, 500)).unwrap();
    for timestamp in [400, 300] {
        append(&world.log, batch_of(&[b"d"], &options, timestamp)).unwrap();
    }
    world.dir.step_commit();
    for in_segments in [false, true] {
        if in_segments {
            world.dir.step_flush().unwrap();
        }
        let found = world.log.max_timestamp().unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp), (2, 502));
    }
    for (log_start, expected) in
        [(2, Some((2, 502))), (3, Some((3, 400))), (4, Some((4, 300))), (5, None)]
    {
        world.log.advance_log_start(log_start, drop).unwrap();
        let found = world.log.max_timestamp().unwrap();
        assert_eq!(found.map(|found| (found.offset, found.timestamp)), expected);
        let found = world.log.offset_for_timestamp(0).unwrap();
        assert_eq!(found.map(|found| found.offset), expected.map(|_| log_start));
    }
}
