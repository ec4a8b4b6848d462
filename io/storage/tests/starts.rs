//! What a start makes of a log that ends early, of one that was written in another flush mode, and of a
//! folder without its checkpoint.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;

use kohort_storage::{Disk, FlushMode, LogDir, OpenError, OpenMode, SimulatedDisk};
use support::folder::{Folder, append_alone, partition};
use support::read_all;

/// A folder whose log goes on in a new file every three commits.
fn small_files(flush: FlushMode) -> Folder {
    let mut folder = Folder::new();
    folder.config.flush = flush;
    folder.config.wal_first_file_bytes = 16 << 10;
    folder.config.wal_file_bytes = 16 << 10;
    folder
}

fn offsets(folder: &Folder) -> Vec<i64> {
    let dir = folder.open().unwrap();
    let read = read_all(&partition(&dir, 0), 0, 1000);
    folder.kill(dir);
    read.iter().map(|(offset, _)| *offset).collect()
}

fn corrupt(folder: &Folder) -> String {
    match folder.open().unwrap_err() {
        OpenError::Corrupt(corruption) => corruption.to_string(),
        other => panic!("{other}"),
    }
}

/// Returns a folder in page cache mode of which a power cut took the second commit, and not those behind it.
fn with_a_lost_commit(seed: u64) -> Folder {
    let mut folder = small_files(FlushMode::PageCache);
    folder.disk = SimulatedDisk::new(seed);
    folder.config.wal_first_file_bytes = 32 << 10;
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    // Three files of the log.
    for _ in 0..20 {
        append_alone(&dir, &log);
    }
    drop(log);
    folder.kill(dir);
    folder.disk.damage(&folder.wal_file(), |bytes| bytes[2 * 4096..3 * 4096].fill(0));
    folder
}

#[test]
fn in_page_cache_mode_the_log_ends_where_a_commit_is_lost_and_nothing_after_it_comes_back() {
    let folder = with_a_lost_commit(1);
    let open = || LogDir::open_on(folder.disk(), folder.config.clone()).unwrap();
    let (dir, report) = open();
    assert_eq!(report.cut, Some((folder.wal_file(), 2 * 4096)));
    assert_eq!((report.leader_epoch, report.clean), (1, false), "who has seen more finds out");
    let log = partition(&dir, 0);
    assert_eq!(log.high_watermark(), 1);
    for _ in 0..2 {
        append_alone(&dir, &log);
    }
    drop(log);
    folder.kill(dir);
    let (dir, report) = open();
    assert_eq!((report.cut, report.leader_epoch), (None, 1), "what was cut off is gone");
    let log = partition(&dir, 0);
    assert_eq!((log.high_watermark(), log.epoch_of(0), log.epoch_of(1)), (3, 0, 1));
    drop(log);
    folder.close(dir);
    assert_eq!(open().1.leader_epoch, 1, "also when the log no longer tells of it");
}

#[test]
fn what_is_cut_off_in_page_cache_mode_does_not_come_back_with_a_power_cut() {
    for seed in 0..50 {
        let folder = with_a_lost_commit(seed);
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        for _ in 0..2 {
            append_alone(&dir, &log);
        }
        drop(log);
        folder.disk.power_cut();
        drop(dir);
        let dir = folder.open().unwrap();
        assert!(dir.leader_epoch() >= 1, "no epoch is given twice: seed {seed}");
        let log = partition(&dir, 0);
        assert!((1..=3).contains(&log.high_watermark()), "seed {seed}");
        assert!((1..log.high_watermark()).all(|offset| log.epoch_of(offset) == 1), "seed {seed}");
    }
}

#[test]
fn commits_that_were_synced_are_told_from_others_after_the_flush_mode_changed() {
    for (before, after) in
        [(FlushMode::PageCache, FlushMode::Fsync), (FlushMode::Fsync, FlushMode::PageCache)]
    {
        let mut folder = Folder::new();
        folder.config.flush = before;
        let dir = folder.open().unwrap();
        append_alone(&dir, &partition(&dir, 0));
        folder.kill(dir);
        folder.config.flush = after;
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        for _ in 0..3 {
            append_alone(&dir, &log);
        }
        drop(log);
        folder.kill(dir);
        let path = folder.config.path.join("wal/00000002.wal");
        folder.disk.damage(&path, |bytes| bytes[2 * 4096 + 200] ^= 1);
        if after == FlushMode::Fsync {
            assert!(corrupt(&folder).contains("is intact"));
        } else {
            assert_eq!(offsets(&folder), [0, 1], "a power cut may have taken the second");
        }
    }
}

#[test]
fn a_folder_counts_as_closed_in_order_only_if_nothing_was_written_since() {
    let folder = Folder::new();
    let open = || LogDir::open_on(folder.disk(), folder.config.clone()).unwrap();
    let dir = open().0;
    append_alone(&dir, &partition(&dir, 0));
    dir.checkpoint().unwrap();
    folder.kill(dir);
    let (dir, report) = open();
    assert_eq!((report.clean, report.commits_replayed), (false, 0), "killed after a checkpoint");
    folder.close(dir);
    let (dir, report) = open();
    assert!(report.clean);
    append_alone(&dir, &partition(&dir, 0));
    folder.kill(dir);
    let (_dir, report) = open();
    assert_eq!((report.clean, report.commits_replayed), (false, 1));
}

#[test]
fn a_lost_checkpoint_is_damage_whatever_else_is_left() {
    let remove = |folder: &Folder, dir: &str, keep: fn(&str) -> bool| {
        let dir = folder.config.path.join(dir);
        for name in folder.disk.list(&dir).unwrap().iter().filter(|name| !keep(name)) {
            let path = dir.join(name);
            folder.disk.remove_dir_all(&path).unwrap();
        }
    };
    let closed = || {
        let folder = small_files(FlushMode::Fsync);
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        for _ in 0..10 {
            append_alone(&dir, &log);
        }
        drop(log);
        folder.close(dir);
        folder.disk.remove_file(Path::new("/data/checkpoint")).unwrap();
        folder
    };
    let folder = closed();
    remove(&folder, "wal", |_| false);
    assert!(corrupt(&folder).contains("there is /data/partitions/t-0."), "{}", corrupt(&folder));
    // Only a file of the log that was just begun: it has no commits, but is not the first.
    let folder = closed();
    remove(&folder, "partitions", |_| false);
    let wal = folder.config.path.join("wal");
    for name in folder.disk.list(&wal).unwrap() {
        let path = wal.join(name);
        let file = folder.disk.open(&path, OpenMode::Read).unwrap();
        let mut number = [0; 8];
        file.read_at(&mut number, 16).unwrap();
        if u64::from_le_bytes(number) > 1 {
            folder.disk.damage(&path, |bytes| bytes[4096..].fill(0));
        } else {
            folder.disk.remove_file(&path).unwrap();
        }
    }
    assert!(corrupt(&folder).contains("there is /data/wal/"), "{}", corrupt(&folder));
}

/// 1. A checkpoint gets its name. 2. The process is killed before it synced the folder. 3. The next one uses
///    the log's files again that this checkpoint does not need. 4. The power goes.
#[test]
fn a_checkpoint_that_can_be_read_is_durable_before_anything_relies_on_it() {
    let mut finished = 0;
    for (operations, seed) in (0..).flat_map(|n| (1..5).map(move |seed| (n, seed))) {
        let mut folder = small_files(FlushMode::Fsync);
        folder.disk = SimulatedDisk::new(seed);
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        for _ in 0..4 {
            append_alone(&dir, &log);
        }
        drop(log);
        folder.disk.stop_after(operations);
        finished += u64::from(dir.checkpoint().is_ok());
        folder.kill(dir);
        let end = folder.work_until_power_cut();
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        assert_eq!(log.high_watermark(), end, "after {operations} operations, seed {seed}");
        assert_eq!(read_all(&log, 0, 1000).len() as i64, end);
        if finished == 4 {
            break;
        }
    }
}

/// A consumer that asks where an epoch ended must not be sent below the log's start.
#[test]
fn epochs_before_the_log_start_are_forgotten_live_and_by_a_start() {
    let folder = Folder::killed_after(3);
    folder.disk.damage(&folder.wal_file(), |bytes| bytes[3 * 4096 + 200] ^= 1);
    let dir = folder.open().unwrap();
    let log = partition(&dir, 0);
    append_alone(&dir, &log);
    append_alone(&dir, &log);
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 2)));
    log.advance_log_start(3, drop).unwrap();
    dir.step_commit();
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 3)));
    drop(log);
    folder.kill(dir);
    let log = partition(&folder.open().unwrap(), 0);
    assert_eq!((log.log_start_offset(), log.end_offset_for_epoch(0)), (3, Some((0, 3))));
}
