//! Power cuts at any moment, on a disk that loses and tears what was not synced.
//!
//! Meanwhile records are appended, read and deleted, by request and by retention, and partitions are
//! deleted and made anew.
//!
//! A model keeps what was appended and acknowledged. After every restart it is held against the log:
//! nothing acknowledged is lost, nothing is there that was not appended, or was deleted, what a reader once saw is still
//! there, and an idempotent producer's repeated batch is recognised. `KOHORT_SEED` runs one seed,
//! `KOHORT_SEEDS` that many.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};

use kohort_storage::{
    AppendInfo, Background, CommitStep, FlushMode, LogDir, LogDirConfig, PartitionConfig,
    PartitionId, PartitionLog, RecoveryReport, SimulatedDisk, StorageError,
};
use support::accidents::{Accidents, survive};
use support::folder::segment_files;
use support::seeds::{Random, run_seeds};
use support::{Done, append, id, producer_batch, read_all, settled};

const SEEDS: u64 = 2000;
const PARTITIONS: i32 = 3;
/// Five batches of a producer are remembered. The newest durable one is asked for after each restart,
/// so it must be among them: with one in reserve, as a client that had not yet seen its answer.
const IN_FLIGHT_MAX: usize = 4;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_else_appears_whenever_the_power_goes() {
    run_in_mode(SEEDS, FlushMode::Fsync);
}

/// A power cut may take what was acknowledged, but what a killed process acknowledged is there, and
/// what is there is what was appended.
#[test]
fn in_page_cache_mode_a_power_cut_leaves_a_sound_folder_and_a_kill_loses_nothing() {
    run_in_mode(SEEDS / 2, FlushMode::PageCache);
}

fn run_in_mode(seeds: u64, flush: FlushMode) {
    let run = |seed| {
        let mut run = Run::new(seed);
        run.config.flush = flush;
        run.run()
    };
    let mut totals = Totals::default();
    for run in run_seeds(seeds, run) {
        totals.add(&run);
    }
    eprintln!("{flush:?}: {totals:?}");
}

#[derive(Debug, Default)]
struct Totals {
    cuts: u64,
    partitions_deleted: u64,
    deletions_undone: u64,
    expired_segments: u64,
    torn: u64,
    acknowledged: u64,
    lost_unacknowledged: u64,
    duplicates: u64,
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.cuts += other.cuts;
        self.partitions_deleted += other.partitions_deleted;
        self.deletions_undone += other.deletions_undone;
        self.expired_segments += other.expired_segments;
        self.torn += other.torn;
        self.acknowledged += other.acknowledged;
        self.lost_unacknowledged += other.lost_unacknowledged;
        self.duplicates += other.duplicates;
    }
}

/// What the model knows of a partition.
#[derive(Default)]
struct Model {
    /// How many partitions of this index were deleted before.
    version: u32,
    /// Values by offset, as far as they were appended since the last restart or survived it.
    values: BTreeMap<i64, Vec<u8>>,
    /// Everything below was acknowledged or seen by a reader.
    durable: i64,
    log_start: i64,
    /// Records below were deleted, and that was acknowledged.
    deleted_below: i64,
    /// Nobody asked for a start beyond this.
    start_max: i64,
    deleting: Vec<(i64, Done)>,
    producer: i64,
    next_sequence: i32,
    /// Batches not yet acknowledged.
    waiting: Vec<(AppendInfo, Done)>,
    /// The last batch known to be durable: sequence, values and offset.
    last: Option<(i32, Vec<Vec<u8>>, i64)>,
    /// All appended batches by first offset, to find the last durable one.
    batches: BTreeMap<i64, (i32, Vec<Vec<u8>>)>,
}

struct Gone {
    which: usize,
    model: Model,
    done: Done,
    acknowledged: bool,
}

struct Run {
    random: Random,
    disk: SimulatedDisk,
    config: LogDirConfig,
    partition_config: PartitionConfig,
    models: Vec<Model>,
    /// Partitions whose deletion was asked for and, if it was, the outcome.
    gone: Vec<Gone>,
    leader_epoch: i32,
    totals: Totals,
}

/// Names the partition a model is of: each has a topic of its own.
fn name(which: usize, model: &Model) -> PartitionId {
    id(&format!("t{}", model.version), i32::try_from(which).unwrap())
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut run = Run {
            random: Random(seed),
            disk: SimulatedDisk::new(seed),
            config: LogDirConfig::new("/data"),
            partition_config: PartitionConfig::default(),
            models: (0..PARTITIONS).map(|_| Model::default()).collect(),
            gone: Vec::new(),
            leader_epoch: 0,
            totals: Totals::default(),
        };
        run.config = LogDirConfig {
            background: Background::Manual,
            wal_first_file_bytes: 8192 + run.draw(4) * 4096,
            wal_file_bytes: 16384 + run.draw(6) * 4096,
            hot_bytes_max: run.draw(6000) as usize,
            open_files_max: 2 + run.draw(6) as usize,
            sync_volume_from: 1 + (seed % 3) as usize,
            ..run.config.clone()
        };
        run.partition_config.segment_bytes = 5000 + run.draw(8000) as u32;
        run.partition_config.index_interval_bytes = run.random.draw_index_interval();
        run.partition_config.deletes = true;
        run.partition_config.retention_ms = -1;
        run.partition_config.retention_bytes = 2000 + run.draw(20_000).cast_signed();
        run
    }

    fn run(mut self) -> Totals {
        let dir = survive(&mut self);
        self.check_files(&dir);
        self.totals
    }

    /// No partition that was deleted is there again; one whose deletion was not acknowledged may be, but
    /// then all of it.
    fn check_gone(&mut self, dir: &LogDir) {
        for mut gone in std::mem::take(&mut self.gone) {
            let id = name(gone.which, &gone.model);
            match dir.partition(id.topic_id, id.index) {
                None => self.totals.partitions_deleted += 1,
                Some(partition) => {
                    assert!(!gone.acknowledged, "a deleted partition came back");
                    self.totals.deletions_undone += 1;
                    self.check_one(&partition, &mut gone.model, gone.which);
                    self.delete(dir, gone.model, gone.which);
                }
            }
        }
    }

    /// When all is durable, there are the files of segments and no others.
    fn check_files(&self, dir: &LogDir) {
        let all_well = || -> Result<(), StorageError> {
            dir.step_flush()?;
            dir.enforce_retention(0)?;
            while dir.step_commit() == CommitStep::Committed {}
            dir.step_flush()?;
            dir.checkpoint()
        };
        if all_well().is_err() {
            assert!(self.disk.has_stopped());
            return;
        }
        let (found, strays) = segment_files(&self.disk);
        let synced = self.config.flush == FlushMode::Fsync;
        assert!(strays.is_empty() || !synced, "a crash leaves what nobody knows: {strays:?}");
        let known: usize = dir.partitions().iter().map(|log| log.counters().segments).sum();
        assert_eq!(found, known, "files of segments");
    }

    fn delete(&mut self, dir: &LogDir, model: Model, which: usize) {
        let id = name(which, &model);
        let (sender, done) = channel();
        let deleted = dir.delete_partition(id.topic_id, id.index, move |result| {
            let _ = sender.send(result);
        });
        if deleted.is_ok() {
            self.gone.push(Gone { which, model, done, acknowledged: false });
        }
    }

    fn note_report(&mut self, report: &RecoveryReport) {
        self.totals.torn += u64::from(report.cut.is_some());
        assert!(report.leader_epoch >= self.leader_epoch, "leader epochs only go up");
        assert!(report.cut.is_none() || report.leader_epoch > self.leader_epoch);
        self.leader_epoch = report.leader_epoch;
    }

    fn append(&mut self, partition: &PartitionLog, which: usize) {
        let count = 1 + self.draw(3);
        let values: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let length = self.draw(1500) as usize;
                let byte = self.draw(256) as u8;
                vec![byte; length]
            })
            .collect();
        let model = &mut self.models[which];
        if model.waiting.len() == IN_FLIGHT_MAX {
            return;
        }
        let sequence = model.next_sequence;
        let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let batch = producer_batch(model.producer, 0, sequence, &refs);
        let (info, done) = match append(partition, batch) {
            Ok(appended) => appended,
            Err(error) => {
                assert!(self.disk.has_stopped(), "appends fail only when the disk does: {error}");
                return;
            }
        };
        assert!(!info.duplicate);
        for (offset, value) in (info.base_offset..).zip(&values) {
            let before = model.values.insert(offset, value.clone());
            assert!(before.is_none(), "offset {offset} was given twice");
        }
        model.batches.insert(info.base_offset, (sequence, values));
        model.next_sequence += i32::try_from(count).unwrap();
        model.waiting.push((info, done));
    }

    fn read_or_trim(&mut self, partition: &PartitionLog, which: usize) {
        if self.disk.has_stopped() {
            return;
        }
        let max_bytes = 1 + self.draw(5000) as usize;
        let model = &mut self.models[which];
        let seen = partition.high_watermark();
        model.durable = model.durable.max(seen);
        let found = read_all(partition, partition.log_start_offset(), max_bytes);
        for (offset, value) in found {
            assert_eq!(model.values.get(&offset), Some(&value), "offset {offset}");
        }
        if self.draw(4) == 0 {
            let below = i64::try_from(self.draw(seen.unsigned_abs() + 1)).unwrap();
            let (sender, done) = channel();
            let moved = partition.advance_log_start(below, move |result| {
                let _ = sender.send(result);
            });
            if let Ok(start) = moved {
                self.models[which].start_max = self.models[which].start_max.max(start);
                self.models[which].deleting.push((start, done));
            }
        }
    }

    /// Holds the log against the model after a restart.
    fn check(&mut self, partitions: &[Arc<PartitionLog>]) {
        for (which, partition) in partitions.iter().enumerate() {
            let mut model = std::mem::take(&mut self.models[which]);
            self.check_one(partition, &mut model, which);
            self.models[which] = model;
        }
    }

    fn check_one(&mut self, partition: &PartitionLog, model: &mut Model, which: usize) {
        if self.disk.has_stopped() {
            return;
        }
        let max_bytes = 1 + self.draw(20_000) as usize;
        model.waiting.clear();
        model.deleting.clear();
        let end = partition.high_watermark();
        assert_eq!(end, partition.log_end_offset());
        assert!(end >= model.durable, "partition {which} ends at {end}: lost {}", model.durable);
        let start = partition.log_start_offset();
        assert!(start >= model.deleted_below, "records of partition {which} came back");
        assert!(start <= model.start_max, "records of partition {which} are gone");
        let found = read_all(partition, start, max_bytes);
        let expected: Vec<(i64, Vec<u8>)> =
            model.values.range(start..end).map(|(o, v)| (*o, v.clone())).collect();
        assert!(found == expected, "partition {which} from {start} to {end}");
        model.durable = end;
        model.log_start = start;
        let lost = model.values.split_off(&end);
        self.totals.lost_unacknowledged += lost.len() as u64;
        model.batches.split_off(&end);
        if let Some((offset, (sequence, values))) = model.batches.last_key_value() {
            model.last = Some((*sequence, values.clone(), *offset));
            model.next_sequence = sequence + i32::try_from(values.len()).unwrap();
        } else {
            model.next_sequence = 0;
        }
        self.check_duplicate(partition, model);
    }

    fn check_duplicate(&mut self, partition: &PartitionLog, model: &Model) {
        let Some((sequence, values, offset)) = model.last.clone() else { return };
        let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let batch = producer_batch(model.producer, 0, sequence, &refs);
        let Ok((info, done)) = append(partition, batch) else {
            assert!(self.disk.has_stopped(), "a repeated batch is taken");
            return;
        };
        assert!(info.duplicate && info.base_offset == offset, "a repeated batch is recognised");
        done.try_recv().expect("what it repeats is durable").unwrap();
        self.totals.duplicates += 1;
    }
}

impl Accidents for Run {
    type Logs = Vec<Arc<PartitionLog>>;
    const STEPS: u64 = 45;
    const STEPS_OPEN: u64 = 30;
    const OPERATIONS: u64 = 60;

    fn draw(&mut self, below: u64) -> u64 {
        self.random.draw(below)
    }

    fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    fn open(&mut self) -> (Arc<LogDir>, Self::Logs) {
        loop {
            if self.draw(4) == 0 {
                let operations = self.draw(12);
                self.disk.stop_after(operations);
            }
            match LogDir::open_on(Arc::new(self.disk.clone()), self.config.clone()) {
                Ok((dir, report)) => {
                    self.note_report(&report);
                    let models = self.models.iter().enumerate();
                    let created: Result<Vec<_>, _> = models
                        .map(|(which, model)| {
                            let config = self.partition_config.clone();
                            dir.create_partition(name(which, model), config)
                        })
                        .collect();
                    return (dir, created.unwrap());
                }
                Err(error) => {
                    assert!(self.disk.has_stopped(), "opening failed by itself: {error}");
                    self.power_cut();
                }
            }
        }
    }

    fn check_restarted(&mut self, dir: &LogDir, partitions: &Self::Logs) {
        self.check(partitions);
        self.check_gone(dir);
    }

    fn step(&mut self, dir: &LogDir, partitions: &mut Self::Logs) {
        let which = self.draw(u64::from(PARTITIONS.unsigned_abs())) as usize;
        match self.draw(21) {
            0..8 => self.append(&partitions[which], which),
            8..14 => {
                let step = dir.step_commit();
                assert!(step != CommitStep::NoRoom);
                self.collect_acks();
            }
            14 | 15 => {
                let _ = dir.step_flush();
            }
            16 | 17 => {
                let starts: Vec<i64> =
                    partitions.iter().map(|log| log.log_start_offset()).collect();
                if dir.checkpoint().is_ok() {
                    for (model, start) in self.models.iter_mut().zip(starts) {
                        model.deleted_below = model.deleted_below.max(start);
                    }
                }
            }
            18 => {
                if let Ok(report) = dir.enforce_retention(0) {
                    self.totals.expired_segments += report.by_size as u64;
                }
                for (model, log) in self.models.iter_mut().zip(&*partitions) {
                    model.start_max = model.start_max.max(log.log_start_offset());
                    model.durable = model.durable.max(log.log_start_offset());
                }
            }
            19 if self.draw(3) == 0 => {
                let version = self.models[which].version + 1;
                let new = Model { version, ..Model::default() };
                let old = std::mem::replace(&mut self.models[which], new);
                self.delete(dir, old, which);
                let id = name(which, &self.models[which]);
                if let Ok(made) = dir.create_partition(id, self.partition_config.clone()) {
                    partitions[which] = made;
                }
            }
            _ => self.read_or_trim(&partitions[which], which),
        }
    }

    fn collect_acks(&mut self) {
        for gone in &mut self.gone {
            gone.acknowledged |= matches!(gone.done.try_recv(), Ok(Ok(())));
        }
        for model in &mut self.models {
            let mut still = Vec::new();
            for (info, done) in std::mem::take(&mut model.waiting) {
                match done.try_recv() {
                    Ok(Ok(())) => {
                        self.totals.acknowledged += 1;
                        model.durable = model.durable.max(info.last_offset + 1);
                    }
                    Ok(Err(_)) | Err(TryRecvError::Disconnected) => {}
                    Err(TryRecvError::Empty) => still.push((info, done)),
                }
            }
            model.waiting = still;
            let Model { deleting, deleted_below, .. } = model;
            deleting.retain(|(below, done)| settled(done, deleted_below, *below));
        }
    }

    fn power_cut(&mut self) {
        self.disk.power_cut();
        self.totals.cuts += 1;
        if self.config.flush == FlushMode::PageCache {
            // Nothing was promised for this case, but that what is left makes sense.
            for gone in &mut self.gone {
                gone.acknowledged = false;
            }
            let gone = self.gone.iter_mut().map(|gone| &mut gone.model);
            for model in self.models.iter_mut().chain(gone) {
                (model.durable, model.deleted_below) = (0, 0);
                // How far the log still knows the producer is not known.
                model.producer += i64::from(PARTITIONS);
                model.batches.clear();
                model.last = None;
            }
        }
    }
}
