//! Which segment files there are, and when they go.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use kohort_storage::{
    Background, CommitStep, Disk, Isolation, LogDir, LogDirConfig, OpenError, OpenMode,
    PartitionConfig, PartitionLog, ReadError, SimulatedDisk, StorageError, repair, verify,
};
use support::folder::{Folder, partition};
use support::{append, batch, id, read_all};

fn config() -> LogDirConfig {
    LogDirConfig { background: Background::Manual, ..LogDirConfig::new("/data") }
}

fn open(disk: &SimulatedDisk) -> (Arc<LogDir>, Arc<PartitionLog>) {
    let (dir, _) = LogDir::open_on(Arc::new(disk.clone()), config()).unwrap();
    let small = PartitionConfig {
        segment_bytes: 300,
        index_interval_bytes: 1,
        ..PartitionConfig::default()
    };
    let log = dir.create_partition(id("t", 0), small).unwrap();
    (dir, log)
}

/// Opens a new folder whose only partition has a segment per record, offsets 0 to `count` - 1.
fn filled(disk: &SimulatedDisk, count: u8) -> (Arc<LogDir>, Arc<PartitionLog>) {
    let (dir, log) = open(disk);
    for value in 0..count {
        append(&log, batch(&[&[value; 200]])).unwrap();
    }
    dir.step_commit();
    dir.step_flush().unwrap();
    (dir, log)
}

/// Returns the names of the segments whose records are on disk.
fn files(disk: &SimulatedDisk) -> Vec<String> {
    let partitions = disk.list(Path::new("/data/partitions")).unwrap();
    let Some(folder) = partitions.first() else { return Vec::new() };
    let files = disk.list(&Path::new("/data/partitions").join(folder)).unwrap();
    let name = |name: &String| Some(name.strip_suffix(".log")?.trim_start_matches('0').to_owned());
    files.iter().filter_map(name).collect()
}

fn delete_below(dir: &LogDir, log: &PartitionLog, offset: i64) {
    let (sender, receiver) = channel();
    log.advance_log_start(offset, move |result| sender.send(result).unwrap()).unwrap();
    dir.step_commit();
    receiver.try_recv().unwrap().unwrap();
    dir.step_flush().unwrap();
}

#[test]
fn segments_below_the_log_start_count_no_more_at_once_and_their_files_go_after_a_checkpoint() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = filled(&disk, 6);
    dir.checkpoint().unwrap();
    let size = log.size_in_bytes();
    delete_below(&dir, &log, 4);
    assert_eq!(log.size_in_bytes(), size / 3);
    assert_eq!(files(&disk), ["", "1", "2", "3", "4", "5"], "the checkpoint still names them");
    dir.checkpoint().unwrap();
    assert_eq!(files(&disk), ["4", "5"]);
    assert_eq!(read_all(&log, 4, 1000).len(), 2);
    let below = log.read(3, 1000, true, Isolation::ReadUncommitted);
    assert!(matches!(below, Err(ReadError::OffsetOutOfRange { log_start: 4, .. })));
}

#[test]
fn deleting_all_records_frees_all_files_and_the_log_goes_on_after_them() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = filled(&disk, 3);
    delete_below(&dir, &log, 3);
    assert_eq!((log.size_in_bytes(), log.log_start_offset(), log.log_end_offset()), (0, 3, 3));
    dir.checkpoint().unwrap();
    assert!(files(&disk).is_empty());
    drop((dir, log));
    disk.kill_process();
    let (dir, log) = open(&disk);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (3, 3));
    append(&log, batch(&[b"next"])).unwrap();
    dir.step_commit();
    dir.step_flush().unwrap();
    assert_eq!(read_all(&log, 3, 1000), [(3, b"next".to_vec())]);
    assert_eq!(files(&disk), ["3"]);
}

#[test]
fn reader_that_was_about_to_open_a_segment_that_goes_finds_what_is_left() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = filled(&disk, 4);
    dir.checkpoint().unwrap();
    drop((dir, log));
    disk.kill_process();
    // Nothing is open and nothing in memory; the records' start moves on while somebody reads.
    let (dir, log) = open(&disk);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for start in 1..=4 {
                delete_below(&dir, &log, start);
                dir.checkpoint().unwrap();
            }
        });
        loop {
            let start = log.log_start_offset();
            match log.read(start, 1000, true, Isolation::ReadUncommitted) {
                Ok(_) | Err(ReadError::OffsetOutOfRange { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            if start == 4 {
                break;
            }
        }
    });
}

#[test]
fn files_no_checkpoint_names_are_removed_when_the_partition_is_next_written_to() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = filled(&disk, 2);
    dir.checkpoint().unwrap();
    let folder = disk.list(Path::new("/data/partitions")).unwrap().remove(0);
    let folder = Path::new("/data/partitions").join(folder);
    for name in ["00000000000000000000.1.log", "00000000000000000000.1.index", "mine.txt"] {
        disk.open(&folder.join(name), OpenMode::Write).unwrap();
    }
    drop((dir, log));
    disk.kill_process();
    let (dir, log) = open(&disk);
    append(&log, batch(&[b"more"])).unwrap();
    dir.step_commit();
    dir.step_flush().unwrap();
    let left = disk.list(&folder).unwrap();
    assert!(!left.iter().any(|name| name.contains(".1.")), "{left:?}");
    assert!(left.iter().any(|name| name == "mine.txt"), "others' files stay: {left:?}");
    assert_eq!(read_all(&log, 0, 1000).len(), 3);
}

#[test]
fn folder_of_another_format_version_is_refused_and_not_changed() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = filled(&disk, 2);
    dir.shutdown().unwrap();
    drop((dir, log));
    disk.damage(Path::new("/data/checkpoint"), |bytes| {
        bytes[12] = 1;
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    });
    let any: Arc<dyn Disk> = Arc::new(disk.clone());
    let before = disk.operations();
    let errors = [
        LogDir::open_on(Arc::clone(&any), config()).map(|_| ()).unwrap_err(),
        verify(&any, Path::new("/data")).map(|_| ()).unwrap_err(),
        repair(&any, &config()).map(|_| ()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, OpenError::OtherVersion { found: 1, .. }), "{error}");
    }
    assert_eq!(disk.operations(), before);
}

#[test]
fn repair_without_a_checkpoint_puts_generations_of_a_segment_together() {
    let disk = SimulatedDisk::new(1);
    let (dir, log) = filled(&disk, 3);
    dir.shutdown().unwrap();
    drop((dir, log));
    disk.kill_process();
    let folder = disk.list(Path::new("/data/partitions")).unwrap().remove(0);
    let folder = Path::new("/data/partitions").join(folder);
    let path = |name: &str| folder.join(name);
    let read = |name: &str| {
        let file = disk.open(&path(name), OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        bytes
    };
    // As if segments 0, 1 and 2 had been put together, and 0 and 2 were not yet removed.
    let together = ["0", "1", "2"].map(|base| read(&format!("{base:0>20}.log"))).concat();
    let merged = disk.open(&path("00000000000000000000.1.log"), OpenMode::Write).unwrap();
    merged.write_at(&together, 0).unwrap();
    disk.remove_file(&path("00000000000000000001.log")).unwrap();
    disk.damage(Path::new("/data/checkpoint"), |bytes| bytes[20] ^= 1);
    let any: Arc<dyn Disk> = Arc::new(disk.clone());
    repair(&any, &config()).unwrap();
    let (_dir, log) = open(&disk);
    let offsets: Vec<i64> = read_all(&log, 0, 1000).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
    assert_eq!(files(&disk), ["", "2"]);
}

#[test]
fn deleting_records_makes_room_on_a_disk_without_a_byte_left() {
    for power_cut in [false, true] {
        let disk = SimulatedDisk::new(7);
        let (dir, log) = filled(&disk, 40);
        dir.checkpoint().unwrap();
        disk.set_capacity(Some(disk.used()));
        // The log's file takes these; segments do not.
        for value in 40..50 {
            append(&log, batch(&[&[value; 200]])).unwrap();
        }
        assert_eq!(dir.step_commit(), CommitStep::Committed);
        assert!(dir.step_flush().is_err());
        assert!(dir.checkpoint().is_err());
        log.advance_log_start(35, drop).unwrap();
        assert_eq!(dir.step_commit(), CommitStep::Committed);
        let _ = dir.step_flush();
        let before = disk.used();
        dir.checkpoint().unwrap();
        assert!(disk.used() < before, "files are gone");
        if power_cut {
            disk.power_cut();
        }
        disk.kill_process();
        drop((dir, log));
        let (dir, log) = open(&disk);
        let offsets = |log: &PartitionLog| -> Vec<i64> {
            read_all(log, log.log_start_offset(), 1000).into_iter().map(|(at, _)| at).collect()
        };
        assert_eq!(offsets(&log), (35..50).collect::<Vec<_>>());
        // With a little more than what was freed all is well again.
        disk.set_capacity(None);
        dir.step_flush().unwrap();
        dir.checkpoint().unwrap();
        assert_eq!(offsets(&log), (35..50).collect::<Vec<_>>());
        assert_eq!(files(&disk).len(), 15);
    }
}

/// While a checkpoint makes files durable the log grows, and at its bound clients wait: a thousand new
/// partitions must not be four thousand syncs.
#[test]
fn checkpoint_of_many_partitions_syncs_the_volume_once_and_not_each_file() {
    let operations = |partitions| {
        let folder = Folder::new();
        let dir = folder.open().unwrap();
        for index in 0..partitions {
            append(&partition(&dir, index), batch(&[b"v"])).unwrap();
        }
        assert_eq!(dir.step_commit(), CommitStep::Committed);
        dir.step_flush().unwrap();
        let before = folder.disk.operations();
        dir.checkpoint().unwrap();
        let operations = folder.disk.operations() - before;
        folder.disk.power_cut();
        drop(dir);
        let dir = folder.open().unwrap();
        for index in 0..partitions {
            assert_eq!(read_all(&partition(&dir, index), 0, 1000), [(0, b"v".to_vec())]);
        }
        operations
    };
    let one = operations(1);
    // Of a partition its file, records, index and folder, and of all of them the folder that they are in.
    assert_eq!(operations(63), one + 62 * 4);
    assert_eq!([operations(64), operations(300)], [one - 4; 2]);
}

#[test]
fn failed_sync_of_the_volume_ends_the_folder() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    for index in 0..64 {
        append(&partition(&dir, index), batch(&[b"v"])).unwrap();
    }
    assert_eq!(dir.step_commit(), CommitStep::Committed);
    folder.disk.fail_syncs(true);
    assert!(matches!(dir.checkpoint(), Err(StorageError::Fatal(_))));
}
