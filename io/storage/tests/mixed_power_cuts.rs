//! Everything that changes a partition, all at once, under power cuts and on a disk that fills up.
//!
//! Partitions are compacted, or lose old records, or both, or neither, and change that while they are used.
//! Records are appended and deleted, rounds of compaction, retention and checkpoints come in any order,
//! topics are deleted and made anew; the disk has room or has none, and the power goes at any operation.
//!
//! A model forgets nothing. Whatever happened, what was acknowledged is there: every record, or, where
//! compaction was at work, the last one of each key, at the offset it had. The start of a log does not go
//! back once that was promised, nor beyond what was asked for, and looking at the folder finds no damage.
//! `KOHORT_SEED` runs one seed, `KOHORT_SEEDS` that many.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;

use kohort_protocol::compression::Compression;
use kohort_storage::{
    AppendError, AppendInfo, Background, Clock, CommitStep, Disk, LogDir, LogDirConfig, OpenError,
    PartitionConfig, PartitionId, PartitionLog, SimulatedDisk, StorageError, verify,
};
use support::accidents::{Accidents, survive};
use support::folder::segment_files;
use support::keyed::{Records, batch, draw_records, found, latest};
use support::seeds::{Random, run_seeds};
use support::{Done, Found, NOW, append, id, read_compacted, settled};

const SEEDS: u64 = 200;
const PARTITIONS: usize = 3;
/// Fewer than the five batches of a producer that are remembered.
const IN_FLIGHT_MAX: usize = 4;

#[test]
fn no_mixture_of_deletion_compaction_full_disks_and_power_cuts_loses_what_was_acknowledged() {
    let mut totals = Counts::new();
    for (what, count) in run_seeds(SEEDS, |seed| Run::new(seed).run()).into_iter().flatten() {
        *totals.entry(what).or_default() += count;
    }
    eprintln!("{totals:?}");
    assert!(totals.len() == 7 || std::env::var("KOHORT_SEED").is_ok(), "all of it happens");
}

/// How often what happened, if it did.
type Counts = BTreeMap<&'static str, u64>;

/// What is known of a partition.
#[derive(Default)]
struct Model {
    /// How many of this index were deleted before.
    version: u32,
    /// Everything appended that may be there.
    written: BTreeMap<i64, Found>,
    /// Everything below was acknowledged or seen.
    durable: i64,
    /// The log's start is promised to be no lower, and nobody asked for a higher one.
    start: i64,
    start_max: i64,
    /// Whether compaction may have been at work.
    compacted: bool,
    /// Batches by first offset: sequence and records.
    batches: BTreeMap<i64, (i32, Records)>,
    next_sequence: i32,
    waiting: Vec<(AppendInfo, Done)>,
    deleting: Vec<(i64, Done)>,
}

/// A partition whose deletion was asked for.
struct Gone {
    which: usize,
    model: Model,
    done: Done,
    acknowledged: bool,
}

struct Run {
    random: Random,
    disk: SimulatedDisk,
    clock: Arc<AtomicI64>,
    config: LogDirConfig,
    models: Vec<Model>,
    gone: Vec<Gone>,
    leader_epoch: i32,
    /// Whether the folder was ever opened: before that it holds nothing yet.
    opened: bool,
    limited: bool,
    totals: Counts,
}

fn name(which: usize, model: &Model) -> PartitionId {
    id(&format!("t{}", model.version), which as i32)
}

impl Run {
    fn new(seed: u64) -> Run {
        let clock = Arc::new(AtomicI64::new(NOW));
        let shown = Arc::clone(&clock);
        let mut random = Random(seed);
        let mut config = LogDirConfig {
            background: Background::Manual,
            wal_first_file_bytes: 8192 + random.draw(4) * 4096,
            wal_file_bytes: 16384 + random.draw(6) * 4096,
            hot_bytes_max: random.draw(6000) as usize,
            open_files_max: 2 + random.draw(6) as usize,
            sync_volume_from: 1 + random.draw(3) as usize,
            clock: Clock::new(move || shown.load(Ordering::Relaxed)),
            ..LogDirConfig::new("/data")
        };
        config.cleaner.dedupe_buffer_bytes = [0, 1 << 20][random.draw(2) as usize];
        Run {
            random,
            disk: SimulatedDisk::new(seed),
            clock,
            config,
            models: (0..PARTITIONS).map(|_| Model::default()).collect(),
            gone: Vec::new(),
            leader_epoch: 0,
            opened: false,
            limited: false,
            totals: Counts::new(),
        }
    }

    fn count(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.totals.entry(what).or_default() += times;
        }
    }

    fn run(mut self) -> Counts {
        let dir = survive(&mut self);
        self.check_files(&dir);
        self.totals
    }

    /// Gives the disk that much more room than it has, or no bound.
    fn limit(&mut self, room: Option<u64>) {
        self.limited = room.is_some();
        self.disk.set_capacity(room.map(|room| self.disk.used() + room));
    }

    fn create(&mut self, dir: &LogDir, which: usize) -> Result<Arc<PartitionLog>, StorageError> {
        let config = self.partition_config(which);
        dir.create_partition(name(which, &self.models[which]), config)
    }

    fn partition_config(&mut self, which: usize) -> PartitionConfig {
        let (compacted, deletes) = (self.draw(2) == 0, self.draw(2) == 0);
        self.models[which].compacted |= compacted;
        PartitionConfig {
            compacted,
            deletes,
            min_cleanable_dirty_ratio: 0.0,
            delete_retention_ms: self.draw(2000) as i64,
            segment_bytes: 2000 + self.draw(4000) as u32,
            index_interval_bytes: self.random.draw_index_interval(),
            segment_ms: 500 + self.draw(5000) as i64,
            retention_ms: [-1, self.draw(5000) as i64][self.draw(2) as usize],
            retention_bytes: [-1, 1000 + self.draw(8000) as i64][self.draw(2) as usize],
            ..PartitionConfig::default()
        }
    }

    fn append(&mut self, log: &PartitionLog, which: usize) {
        if self.models[which].waiting.len() == IN_FLIGHT_MAX {
            return;
        }
        let records = draw_records(&mut self.random, 300);
        let codec = Compression::ALL[self.draw(5) as usize];
        let timestamp = self.clock.load(Ordering::Relaxed);
        let sequence = self.models[which].next_sequence;
        let (info, done) = match append(log, batch(&records, sequence, timestamp, codec)) {
            Ok(appended) => appended,
            Err(AppendError::DiskFull | AppendError::QueueFull) => {
                self.count("appends refused for want of space", 1);
                return;
            }
            Err(error) => {
                assert!(self.disk.has_stopped(), "appends fail only when the disk does: {error}");
                return;
            }
        };
        let model = &mut self.models[which];
        for record in found(&records, info.base_offset, timestamp) {
            let before = model.written.insert(record.offset, record);
            assert!(before.is_none(), "an offset was given twice");
        }
        model.next_sequence += records.len() as i32;
        model.batches.insert(info.base_offset, (sequence, records));
        model.waiting.push((info, done));
    }

    fn delete_records(&mut self, log: &PartitionLog, which: usize) {
        let below = self.draw(log.high_watermark().unsigned_abs() + 1) as i64;
        let (sender, done) = channel();
        let moved = log.advance_log_start(below, move |result| drop(sender.send(result)));
        if let Ok(start) = moved {
            let model = &mut self.models[which];
            model.start_max = model.start_max.max(start);
            model.deleting.push((start, done));
        }
    }

    fn delete(&mut self, dir: &LogDir, model: Model, which: usize) {
        let id = name(which, &model);
        let (sender, done) = channel();
        let report = move |result| drop(sender.send(result));
        if dir.delete_partition(id.topic_id, id.index, report).is_ok() {
            self.gone.push(Gone { which, model, done, acknowledged: false });
        }
    }

    fn check_one_restarted(&mut self, log: &PartitionLog, which: usize) {
        let end = log.high_watermark();
        assert_eq!(end, log.log_end_offset());
        let model = &mut self.models[which];
        model.waiting.clear();
        model.deleting.clear();
        if self.disk.has_stopped() {
            return;
        }
        model.written.split_off(&end);
        model.batches.split_off(&end);
        let last = model.batches.last_key_value();
        model.next_sequence = last.map_or(0, |(_, (first, records))| first + records.len() as i32);
        self.check(log, which);
        let Some((offset, (sequence, records))) = self.models[which].batches.last_key_value()
        else {
            return;
        };
        match append(log, batch(records, *sequence, NOW, Compression::None)) {
            Ok((info, done)) => {
                assert!(info.duplicate && info.base_offset == *offset, "a repetition is known");
                done.try_recv().expect("what it repeats is durable").unwrap();
            }
            Err(AppendError::DiskFull | AppendError::QueueFull) if self.limited => {}
            Err(error) => assert!(self.disk.has_stopped(), "a repetition is taken: {error}"),
        }
    }

    /// Holds a log against its model.
    fn check(&mut self, log: &PartitionLog, which: usize) {
        if self.disk.has_stopped() {
            return;
        }
        let max_bytes = 1 + self.draw(6000) as usize;
        let (start, end) = (log.log_start_offset(), log.high_watermark());
        let model = &mut self.models[which];
        assert!(end >= model.durable, "{which} ends at {end}: lost {}", model.durable);
        assert!(start >= model.start, "{which} begins at {start}: {} was promised", model.start);
        assert!(start <= model.start_max, "{which} begins at {start} beyond {}", model.start_max);
        model.durable = end;
        let found = read_compacted(log, start, max_bytes);
        for record in &found {
            assert_eq!(model.written.get(&record.offset), Some(record), "of {which}");
        }
        let written = || model.written.range(start..end).map(|(_, record)| record);
        if model.compacted {
            assert_eq!(latest(found.iter()), latest(written()), "{which} from {start} to {end}");
        } else {
            assert!(found.iter().eq(written()), "{which} from {start} to {end}");
        }
        if end > start {
            let offset = start + self.draw((end - start).unsigned_abs()) as i64;
            let next = found.iter().find(|record| record.offset >= offset);
            assert_eq!(read_compacted(log, offset, 1).first(), next, "{which} at {offset}");
        }
        let timestamp = NOW + self.draw(12_000) as i64;
        let expected = found.iter().find(|record| record.timestamp >= timestamp);
        let by_time = log.offset_for_timestamp(timestamp).unwrap();
        assert_eq!(by_time.map(|at| at.offset), expected.map(|at| at.offset), "{which}");
    }

    /// When all is durable, there are the files of segments and no others.
    fn check_files(&mut self, dir: &LogDir) {
        self.limit(None);
        let all_well = || -> Result<(), StorageError> {
            for _ in 0..2 {
                dir.step_flush()?;
                while dir.step_commit() == CommitStep::Committed {}
            }
            dir.enforce_retention(self.clock.load(Ordering::Relaxed))?;
            dir.step_flush()?;
            dir.checkpoint()?;
            dir.step_flush()
        };
        if let Err(error) = all_well() {
            assert!(self.disk.has_stopped(), "{error}");
            return;
        }
        let (found, strays) = segment_files(&self.disk);
        assert!(strays.is_empty(), "{strays:?}");
        let known: usize = dir.partitions().iter().map(|log| log.counters().segments).sum();
        assert_eq!(found, known, "files of segments");
    }
}

impl Accidents for Run {
    type Logs = Vec<Arc<PartitionLog>>;
    const STEPS: u64 = 150;
    const STEPS_OPEN: u64 = 50;
    const OPERATIONS: u64 = 100;

    fn draw(&mut self, below: u64) -> u64 {
        self.random.draw(below)
    }

    fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    fn open(&mut self) -> (Arc<LogDir>, Self::Logs) {
        loop {
            let found = verify(&(Arc::new(self.disk.clone()) as Arc<dyn Disk>), Path::new("/data"));
            let found = found.map_or(Vec::new(), |found| found.problems);
            assert!(found.is_empty() || !self.opened, "no accident leaves damage: {found:?}");
            if self.draw(4) == 0 {
                let operations = self.draw(12);
                self.disk.stop_after(operations);
            }
            self.count("starts on a limited disk", u64::from(self.limited));
            match LogDir::open_on(Arc::new(self.disk.clone()), self.config.clone()) {
                Ok((dir, report)) => {
                    assert!(report.leader_epoch >= self.leader_epoch, "epochs only go up");
                    self.leader_epoch = report.leader_epoch;
                    self.opened = true;
                    let logs = (0..PARTITIONS).map(|which| self.create(&dir, which).unwrap());
                    return (Arc::clone(&dir), logs.collect());
                }
                Err(OpenError::Io { reason, .. })
                    if self.limited && reason.kind() == io::ErrorKind::StorageFull =>
                {
                    self.limit(None);
                    self.disk.kill_process();
                }
                Err(error) => {
                    assert!(self.disk.has_stopped(), "opening failed by itself: {error}");
                    self.power_cut();
                }
            }
        }
    }

    fn check_restarted(&mut self, dir: &LogDir, logs: &Self::Logs) {
        for (which, log) in logs.iter().enumerate() {
            self.check_one_restarted(log, which);
        }
        for gone in std::mem::take(&mut self.gone) {
            let Gone { which, model, acknowledged, .. } = gone;
            let id = name(which, &model);
            let Some(log) = dir.partition(id.topic_id, id.index) else {
                self.count("topics deleted", 1);
                continue;
            };
            assert!(!acknowledged, "a deleted partition came back");
            // If so, then all of it.
            let newer = std::mem::replace(&mut self.models[which], model);
            self.check_one_restarted(&log, which);
            let model = std::mem::replace(&mut self.models[which], newer);
            self.delete(dir, model, which);
        }
    }

    fn step(&mut self, dir: &LogDir, logs: &mut Self::Logs) {
        let passes = self.draw(128) as i64;
        self.clock.fetch_add(passes, Ordering::Relaxed);
        let starts: Vec<i64> = logs.iter().map(|log| log.log_start_offset()).collect();
        let which = self.draw(PARTITIONS as u64) as usize;
        let mut made_anew = None;
        match self.draw(27) {
            0..9 => self.append(&logs[which], which),
            9..14 => {
                let step = dir.step_commit();
                self.count("commits without room", u64::from(step == CommitStep::NoRoom));
                self.collect_acks();
            }
            14..16 => drop(dir.step_flush()),
            16..19 => {
                let cleaned = dir.step_clean().is_ok_and(|cleaned| cleaned);
                self.count("rounds of compaction", u64::from(cleaned));
            }
            19 => {
                if let Ok(report) = dir.enforce_retention(self.clock.load(Ordering::Relaxed)) {
                    self.count("old segments", (report.by_size + report.by_time) as u64);
                }
                for (model, log) in self.models.iter_mut().zip(&*logs) {
                    model.start_max = model.start_max.max(log.log_start_offset());
                }
            }
            20..22 => {
                if dir.checkpoint().is_ok() {
                    for (model, start) in self.models.iter_mut().zip(&starts) {
                        model.start = model.start.max(*start);
                    }
                }
            }
            22 if self.draw(3) == 0 => {
                let version = self.models[which].version + 1;
                let new = Model { version, ..Model::default() };
                let old = std::mem::replace(&mut self.models[which], new);
                self.delete(dir, old, which);
                if let Ok(log) = self.create(dir, which) {
                    logs[which] = log;
                }
                made_anew = Some(which);
            }
            23 => {
                let room = (self.draw(2) == 0).then(|| self.draw(60_000));
                self.limit(room);
            }
            24 => {
                let config = self.partition_config(which);
                logs[which].set_config(config);
            }
            25 => self.delete_records(&logs[which], which),
            _ => self.check(&logs[which], which),
        }
        for (which, (log, before)) in logs.iter().zip(starts).enumerate() {
            assert!(Some(which) == made_anew || log.log_start_offset() >= before, "starts go on");
        }
        assert!(
            self.disk.has_stopped() || dir.fatal().is_none(),
            "nothing but a failed disk ends a folder: {:?}",
            dir.fatal()
        );
    }

    fn collect_acks(&mut self) {
        for gone in &mut self.gone {
            gone.acknowledged |= matches!(gone.done.try_recv(), Ok(Ok(())));
        }
        for Model { waiting, durable, deleting, start, .. } in &mut self.models {
            waiting.retain(|(info, done)| settled(done, durable, info.last_offset + 1));
            deleting.retain(|(below, done)| settled(done, start, *below));
        }
    }

    fn power_cut(&mut self) {
        self.disk.power_cut();
        self.count("power cuts", 1);
    }
}
