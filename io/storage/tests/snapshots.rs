//! Snapshots of a partition: written, read back, refused when they do not fit the log, and held
//! against power cuts at any moment.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::compression::Compression;
use kohort_protocol::records::{BatchOptions, batches};
use kohort_storage::{
    Background, Disk, LogDir, LogDirConfig, OpenMode, PartitionConfig, PartitionLog, SimulatedDisk,
    SnapshotError, StorageError,
};
use support::seeds::Random;
use support::{NOW, append, batch, id, keyed_batch};

const SEEDS: u64 = 1500;
const STEPS: u64 = 60;

fn open(disk: &SimulatedDisk) -> Option<(Arc<LogDir>, Arc<PartitionLog>)> {
    let config = LogDirConfig {
        background: Background::Manual,
        wal_first_file_bytes: 16384,
        wal_file_bytes: 32768,
        ..LogDirConfig::new("/data")
    };
    let (dir, _report) = LogDir::open_on(Arc::new(disk.clone()), config).ok()?;
    let partition = dir.create_partition(id("t", 0), PartitionConfig::default()).ok()?;
    Some((dir, partition))
}

/// Appends `count` batches of one record and makes them durable.
fn fill(dir: &LogDir, partition: &PartitionLog, count: u8) {
    for value in 0..count {
        append(partition, batch(&[&[value]])).unwrap().1.try_recv().unwrap_err();
        dir.step_commit();
    }
}

/// Writes a snapshot whose content says what it is.
fn take(
    partition: &Arc<PartitionLog>,
    covers: i64,
    seen: i64,
    batches: usize,
) -> Result<(), StorageError> {
    let mut writer = partition.write_snapshot()?;
    for number in 0..batches {
        writer.write(&content(covers, seen, number))?;
    }
    writer.publish(covers, seen)
}

/// Batches of very different sizes, among them one larger than what is read at a time.
fn content(covers: i64, seen: i64, number: usize) -> Vec<u8> {
    let name = format!("{covers} {seen} {number}");
    let padding = vec![7; [0, 100, 40_000, 300_000][number % 4]];
    batch(&[name.as_bytes(), &padding]).to_vec()
}

/// Reads the partition's snapshot: what it covers, and its bytes.
fn read(partition: &PartitionLog) -> Result<Option<(i64, Vec<u8>)>, SnapshotError> {
    let Some(mut snapshot) = partition.snapshot()? else { return Ok(None) };
    let mut content = Vec::new();
    while let Some(bytes) = snapshot.next_batches()? {
        if batches(&bytes).any(|batch| batch.is_err()) {
            return Err(SnapshotError::Io(std::io::Error::other("no whole batches")));
        }
        content.extend_from_slice(&bytes);
    }
    Ok(Some((snapshot.covers(), content)))
}

fn whole(covers: i64, seen: i64, batches: usize) -> Vec<u8> {
    (0..batches).flat_map(|number| content(covers, seen, number)).collect()
}

fn file() -> PathBuf {
    let mut path = PathBuf::from("/data/partitions");
    path.push("t-0.74000000000000000000000000000000");
    path.push("snapshot");
    path
}

#[test]
fn what_is_written_is_read_back_and_replaced_as_a_whole() {
    let disk = SimulatedDisk::new(1);
    let (dir, partition) = open(&disk).unwrap();
    fill(&dir, &partition, 9);
    assert!(read(&partition).unwrap().is_none());
    take(&partition, 3, 5, 8).unwrap();
    assert!(read(&partition).unwrap() == Some((3, whole(3, 5, 8))));
    let mut unfinished = partition.write_snapshot().unwrap();
    unfinished.write(b"half of it").unwrap();
    drop(unfinished);
    assert!(read(&partition).unwrap() == Some((3, whole(3, 5, 8))));
    take(&partition, 9, 9, 0).unwrap();
    assert!(read(&partition).unwrap() == Some((9, Vec::new())));
    partition.discard_snapshot().unwrap();
    assert!(read(&partition).unwrap().is_none());
    partition.discard_snapshot().unwrap();
}

#[test]
#[should_panic(expected = "durable records only")]
fn a_snapshot_of_records_that_may_be_lost_is_not_published() {
    let disk = SimulatedDisk::new(1);
    let (dir, partition) = open(&disk).unwrap();
    fill(&dir, &partition, 3);
    append(&partition, batch(&[b"not committed"])).unwrap();
    let _ = take(&partition, 3, 4, 1);
}

#[test]
fn a_flipped_bit_anywhere_is_found_before_the_end_is_reached() {
    let disk = SimulatedDisk::new(1);
    let (dir, partition) = open(&disk).unwrap();
    fill(&dir, &partition, 3);
    take(&partition, 1, 3, 2).unwrap();
    let file = disk.open(&file(), OpenMode::Existing).unwrap();
    for at in 0..file.len().unwrap() {
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 1 << (at % 8)], at).unwrap();
        assert!(read(&partition).is_err(), "byte {at}");
        file.write_at(&byte, at).unwrap();
    }
    for length in [0, 67, 68, file.len().unwrap() - 1] {
        file.set_len(length).unwrap();
        assert!(matches!(read(&partition), Err(SnapshotError::Unsound(_))), "length {length}");
    }
}

#[test]
fn a_snapshot_that_does_not_fit_the_log_is_told_apart() {
    let disk = SimulatedDisk::new(1);
    let (dir, partition) = open(&disk).unwrap();
    fill(&dir, &partition, 9);
    take(&partition, 3, 5, 1).unwrap();
    partition.advance_log_start(4, |_| {}).unwrap();
    assert!(matches!(read(&partition), Err(SnapshotError::OutsideTheLog { covers: 3, .. })));

    // Another partition's, as after a folder was copied.
    let source = disk.open(&file(), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(source.len().unwrap()).unwrap()];
    source.read_at(&mut bytes, 0).unwrap();
    let other = dir.create_partition(id("t", 1), PartitionConfig::default()).unwrap();
    fill(&dir, &other, 9);
    take(&other, 3, 5, 1).unwrap();
    let path = file().parent().unwrap().with_file_name("t-1.74000000000000000000000000000000");
    disk.open(&path.join("snapshot"), OpenMode::Existing).unwrap().write_at(&bytes, 0).unwrap();
    assert!(matches!(read(&other), Err(SnapshotError::Unsound("it is another partition's"))));
}

/// 1. A snapshot is taken. 2. A power cut takes the last of the records that it knows. 3. Others get their
///    offsets.
#[test]
fn a_snapshot_of_records_that_a_power_cut_took_does_not_count_although_others_have_their_offsets() {
    let disk = SimulatedDisk::new(1);
    let (dir, partition) = open(&disk).unwrap();
    fill(&dir, &partition, 3);
    take(&partition, 1, 3, 1).unwrap();
    disk.kill_process();
    drop((dir, partition));
    // As an interrupted write leaves the third commit.
    disk.damage(Path::new("/data/wal/00000001.wal"), |bytes| bytes[3 * 4096 + 100] ^= 1);
    let (dir, partition) = open(&disk).unwrap();
    let outside = read(&partition);
    assert!(matches!(outside, Err(SnapshotError::OutsideTheLog { seen: 3, log_end: 2, .. })));
    fill(&dir, &partition, 3);
    let other = read(&partition);
    assert!(matches!(other, Err(SnapshotError::OtherHistory { taken_in: 0, epoch: 1 })));
    take(&partition, 3, 5, 1).unwrap();
    assert!(read(&partition).unwrap() == Some((3, whole(3, 5, 1))));
}

#[test]
fn a_snapshot_does_not_count_when_compaction_went_past_it() {
    let disk = SimulatedDisk::new(1);
    let (dir, partition) = open(&disk).unwrap();
    partition.set_config(PartitionConfig {
        compacted: true,
        segment_bytes: 1000,
        min_cleanable_dirty_ratio: 0.0,
        ..PartitionConfig::default()
    });
    let put = || {
        let records = [("key", Some(&[0; 300][..]))];
        let batch = keyed_batch(&records, &BatchOptions::default(), NOW, Compression::None);
        append(&partition, batch).unwrap();
        dir.step_commit();
        dir.step_flush().unwrap();
    };
    (0..6).for_each(|_| put());
    take(&partition, 1, 6, 1).unwrap();
    assert!(read(&partition).unwrap().is_some());
    assert!(dir.step_clean().unwrap());
    let cleaned = read(&partition);
    assert!(matches!(cleaned, Err(SnapshotError::Cleaned { covers: 1, .. })), "{cleaned:?}");
    take(&partition, 6, 6, 1).unwrap();
    assert!(read(&partition).unwrap().is_some());
}

#[test]
fn a_snapshot_that_was_discarded_does_not_come_back_with_a_power_cut() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let (dir, partition) = open(&disk).unwrap();
        fill(&dir, &partition, 3);
        take(&partition, 1, 3, 1).unwrap();
        partition.discard_snapshot().unwrap();
        disk.power_cut();
        drop((dir, partition));
        assert!(read(&open(&disk).unwrap().1).unwrap().is_none(), "seed {seed}");
    }
}

#[test]
fn a_deleted_partition_has_no_snapshot_written() {
    let disk = SimulatedDisk::new(1);
    let (dir, partition) = open(&disk).unwrap();
    fill(&dir, &partition, 3);
    dir.delete_partition(partition.id().topic_id, 0, drop).unwrap();
    assert!(matches!(partition.write_snapshot(), Err(StorageError::Deleted)));
}

/// After every restart there is no snapshot, or one that was written in full and whose records are all
/// there; and never an older one than the last that was published.
#[test]
fn power_cuts_leave_the_snapshot_before_or_after_and_nothing_between() {
    let (mut found, mut none) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut draw = move |below: u64| random.draw(below);
        let disk = SimulatedDisk::new(seed);
        // What was ever published or tried: covers, seen, batches. The order is that of the tries.
        let mut tried: Vec<(i64, i64, usize)> = Vec::new();
        let mut published = None;
        let mut steps = 0;
        while steps < STEPS {
            let Some((dir, partition)) = open(&disk) else {
                assert!(disk.has_stopped(), "seed {seed}");
                disk.power_cut();
                continue;
            };
            match read(&partition) {
                Ok(Some((covers, content))) => {
                    let is_it = |&&(from, seen, batches): &&(i64, i64, usize)| {
                        from == covers && content == whole(from, seen, batches)
                    };
                    let which = tried.iter().rev().position(|it| is_it(&it));
                    let which = tried.len() - 1 - which.expect("it was written");
                    assert!(published.is_none_or(|least| which >= least), "seed {seed}");
                    assert!(tried[which].1 <= partition.high_watermark());
                    found += 1;
                }
                Ok(None) => {
                    assert!(published.is_none(), "seed {seed}");
                    none += 1;
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
            if draw(2) == 0 {
                disk.stop_after(draw(40));
            }
            while steps < STEPS && !disk.has_stopped() {
                steps += 1;
                match draw(8) {
                    0..4 => {
                        let _ = append(&partition, batch(&[&vec![1; draw(900) as usize]]));
                        dir.step_commit();
                    }
                    4 => {
                        let _ = dir.step_flush();
                    }
                    5 => {
                        let _ = dir.checkpoint();
                    }
                    _ => {
                        let seen = partition.high_watermark();
                        if seen == 0 {
                            // The partition itself may not be durable.
                            continue;
                        }
                        let covers = seen - draw(seen.unsigned_abs().min(3) + 1) as i64;
                        let this = (covers, seen, draw(3) as usize);
                        tried.push(this);
                        if take(&partition, this.0, this.1, this.2).is_ok() {
                            published = Some(tried.len() - 1);
                        }
                    }
                }
                if draw(12) == 0 {
                    break;
                }
            }
            if disk.has_stopped() || draw(3) > 0 {
                disk.power_cut();
            }
            drop((dir, partition));
            disk.kill_process();
        }
    }
    assert!(found > SEEDS && none > SEEDS / 10, "{found} snapshots, {none} times none");
}
