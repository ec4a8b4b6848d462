//! Compaction with power cuts at any moment, against a model that forgets nothing.
//!
//! Appends, commits, flushes, rounds, checkpoints, DeleteRecords and restarts come in any order, and the
//! power goes at any operation of the disk. Whatever happened, whoever reads the log from its start
//! learns what the whole log would have told, at the offsets it had, the log ends where it ended, and a
//! repeated batch is recognised. `KOHORT_SEED` runs one seed, `KOHORT_SEEDS` that many.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kohort_protocol::compression::Compression;
use kohort_storage::{
    AppendInfo, Background, Clock, LogDir, LogDirConfig, PartitionConfig, PartitionLog,
    SimulatedDisk,
};
use support::accidents::{Accidents, survive};
use support::keyed::{Records, batch, draw_records, found, latest};
use support::seeds::{Random, run_seeds};
use support::{Done, Found, NOW, append, id, read_compacted, settled};

const SEEDS: u64 = 300;

#[test]
fn compacted_log_tells_the_same_whenever_the_power_goes() {
    let (mut rounds, mut cuts, mut dropped) = (0, 0, 0);
    for run in run_seeds(SEEDS, run) {
        rounds += run.rounds;
        cuts += run.cuts;
        dropped += run.dropped;
    }
    eprintln!("{rounds} rounds dropped {dropped} records over {cuts} power cuts");
    assert!(rounds > 0 && dropped > 0);
}

fn run(seed: u64) -> Run {
    let mut run = Run::new(seed);
    survive(&mut run);
    run
}

struct Waiting {
    info: AppendInfo,
    done: Done,
}

struct Run {
    random: Random,
    disk: SimulatedDisk,
    clock: Arc<AtomicI64>,
    config: LogDirConfig,
    partition_config: PartitionConfig,
    /// Everything appended that may be there.
    written: BTreeMap<i64, Found>,
    /// Everything below was acknowledged or seen.
    durable: i64,
    waiting: Vec<Waiting>,
    next_sequence: i32,
    /// Batches by first offset: sequence and records.
    batches: BTreeMap<i64, (i32, Records)>,
    rounds: u64,
    cuts: u64,
    dropped: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let clock = Arc::new(AtomicI64::new(NOW));
        let shown = Arc::clone(&clock);
        let mut run = Run {
            random: Random(seed),
            disk: SimulatedDisk::new(seed),
            config: LogDirConfig {
                background: Background::Manual,
                wal_first_file_bytes: 16384,
                wal_file_bytes: 65536,
                hot_bytes_max: 0,
                sync_volume_from: 1 + (seed % 2) as usize,
                clock: Clock::new(move || shown.load(Ordering::Relaxed)),
                ..LogDirConfig::new("/data")
            },
            clock,
            partition_config: PartitionConfig {
                compacted: true,
                min_cleanable_dirty_ratio: 0.0,
                ..PartitionConfig::default()
            },
            written: BTreeMap::new(),
            durable: 0,
            waiting: Vec::new(),
            next_sequence: 0,
            batches: BTreeMap::new(),
            rounds: 0,
            cuts: 0,
            dropped: 0,
        };
        // Sometimes so little memory that a round comes but a few keys far.
        run.config.cleaner.dedupe_buffer_bytes = [0, 1 << 20][run.draw(2) as usize];
        run.config.open_files_max = 2 + run.draw(6) as usize;
        run.partition_config.segment_bytes = 600 + run.draw(3000) as u32;
        run.partition_config.index_interval_bytes = run.random.draw_index_interval();
        run.partition_config.delete_retention_ms = run.draw(2000) as i64;
        run
    }

    fn append(&mut self, partition: &PartitionLog) {
        if self.waiting.len() == 4 {
            return;
        }
        let records = draw_records(&mut self.random, 120);
        let timestamp = self.clock.load(Ordering::Relaxed);
        let codec = Compression::ALL[self.draw(5) as usize];
        let batch = batch(&records, self.next_sequence, timestamp, codec);
        let (info, done) = match append(partition, batch) {
            Ok(appended) => appended,
            Err(error) => {
                assert!(self.disk.has_stopped(), "appends fail only when the disk does: {error}");
                return;
            }
        };
        let written = found(&records, info.base_offset, timestamp);
        self.written.extend(written.map(|record| (record.offset, record)));
        self.next_sequence += records.len() as i32;
        self.batches.insert(info.base_offset, (self.next_sequence - records.len() as i32, records));
        self.waiting.push(Waiting { info, done });
    }

    /// Holds the log against the model.
    fn check(&mut self, partition: &PartitionLog, restarted: bool) {
        if self.disk.has_stopped() {
            return;
        }
        let max_bytes = 1 + self.draw(6000) as usize;
        let (start, end) = (partition.log_start_offset(), partition.high_watermark());
        assert!(end >= self.durable, "the log ends at {end}: lost {}", self.durable);
        let found = read_compacted(partition, start, max_bytes);
        for record in &found {
            assert_eq!(self.written.get(&record.offset), Some(record));
        }
        let written = self.written.range(start..end).map(|(_, record)| record);
        assert_eq!(latest(found.iter()), latest(written), "from {start} to {end}");
        self.dropped += (end - start) as u64 - found.len() as u64;
        self.durable = self.durable.max(end);
        self.check_lookups(partition, &found, start, end);
        if restarted {
            self.waiting.clear();
            self.written.split_off(&end);
            self.batches.split_off(&end);
            self.next_sequence = self
                .batches
                .last_key_value()
                .map_or(0, |(_, (sequence, records))| sequence + records.len() as i32);
            self.check_duplicate(partition);
        }
    }

    /// A read at any offset, or for any time, finds the next record there is.
    fn check_lookups(&mut self, partition: &PartitionLog, found: &[Found], start: i64, end: i64) {
        if end > start {
            let offset = start + self.draw((end - start).unsigned_abs()) as i64;
            let next = found.iter().find(|record| record.offset >= offset);
            let read = read_compacted(partition, offset, 1);
            assert_eq!(read.first(), next, "at {offset}");
        }
        let timestamp = NOW + self.draw(8000) as i64;
        let expected = found.iter().find(|record| record.timestamp >= timestamp);
        let by_time = partition.offset_for_timestamp(timestamp).unwrap();
        let place = |record: &Found| (record.offset, record.timestamp);
        assert_eq!(by_time.map(|at| (at.offset, at.timestamp)), expected.map(place));
        let greatest = found.iter().map(|record| record.timestamp).max();
        let expected = found.iter().find(|record| Some(record.timestamp) == greatest);
        // The greatest of all may lie below the start of the log, in a segment that begins there.
        if start == 0 {
            let newest = partition.max_timestamp().unwrap();
            assert_eq!(newest.map(|at| (at.offset, at.timestamp)), expected.map(place));
        }
    }

    fn check_duplicate(&mut self, partition: &PartitionLog) {
        let Some((offset, (sequence, records))) = self.batches.last_key_value() else { return };
        let again = batch(records, *sequence, NOW, Compression::None);
        let Ok((info, done)) = append(partition, again) else {
            assert!(self.disk.has_stopped(), "a repeated batch is taken");
            return;
        };
        assert!(info.duplicate && info.base_offset == *offset, "a repeated batch is recognised");
        done.try_recv().expect("what it repeats is durable").unwrap();
    }
}

impl Accidents for Run {
    type Logs = Arc<PartitionLog>;
    const STEPS: u64 = 120;
    const STEPS_OPEN: u64 = 60;
    const OPERATIONS: u64 = 120;

    fn draw(&mut self, below: u64) -> u64 {
        self.random.draw(below)
    }

    fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    fn open(&mut self) -> (Arc<LogDir>, Self::Logs) {
        loop {
            if self.draw(5) == 0 {
                let operations = self.draw(12);
                self.disk.stop_after(operations);
            }
            match LogDir::open_on(Arc::new(self.disk.clone()), self.config.clone()) {
                Ok((dir, _)) => {
                    let log = dir.create_partition(id("t", 0), self.partition_config.clone());
                    return (dir, log.unwrap());
                }
                Err(error) => {
                    assert!(self.disk.has_stopped(), "opening failed by itself: {error}");
                    self.power_cut();
                }
            }
        }
    }

    fn check_restarted(&mut self, _: &LogDir, partition: &Self::Logs) {
        self.check(partition, true);
    }

    fn step(&mut self, dir: &LogDir, partition: &mut Self::Logs) {
        self.clock.fetch_add(self.random.0 as i64 & 127, Ordering::Relaxed);
        match self.draw(16) {
            0..6 => self.append(partition),
            6..9 => {
                dir.step_commit();
                self.collect_acks();
            }
            9..11 => drop(dir.step_flush()),
            11..13 => {
                if dir.step_clean().is_ok_and(|cleaned| cleaned) {
                    self.rounds += 1;
                }
            }
            13 => drop(dir.checkpoint()),
            14 => self.check(partition, false),
            _ => {
                if self.draw(6) == 0 {
                    let below = self.draw(partition.high_watermark().unsigned_abs() + 1);
                    let _ = partition.advance_log_start(below as i64, |_| {});
                }
            }
        }
    }

    fn collect_acks(&mut self) {
        let Run { waiting, durable, .. } = self;
        waiting.retain(|Waiting { info, done }| settled(done, durable, info.last_offset + 1));
    }

    fn power_cut(&mut self) {
        self.disk.power_cut();
        self.cuts += 1;
    }
}
