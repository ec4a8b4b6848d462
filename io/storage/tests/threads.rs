//! A folder used by many threads at once, on real files, with its own threads at work.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kohort_storage::{
    AppendOrigin, CleanerConfig, Clock, DirLock, Disk, DiskFile, FileDisk, LockError, LogDir,
    LogDirConfig, OpenMode, PartitionConfig, PartitionLog, Volume,
};
use support::{NOW, append, append_durably, batch, id, producer_batch, read_all};

#[test]
fn appends_reads_checkpoints_and_deletions_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogDirConfig {
        wal_first_file_bytes: 64 << 10,
        wal_file_bytes: 256 << 10,
        flush_bytes: 64 << 10,
        hot_bytes_max: 128 << 10,
        open_files_max: 8,
        ..LogDirConfig::new(folder.path())
    };
    let (dir, _) = LogDir::open(config.clone()).unwrap();
    let stop = AtomicBool::new(false);
    let create = |name: &str, index| {
        let config = PartitionConfig { segment_bytes: 100_000, ..PartitionConfig::default() };
        dir.create_partition(id(name, index), config).unwrap()
    };
    let logs: Vec<Arc<PartitionLog>> = (0..6).map(|index| create("kept", index)).collect();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..6_usize)
            .map(|n| {
                scope.spawn({
                    let log = &logs[n];
                    move || write_some(log, n)
                })
            })
            .collect();
        for log in &logs {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let found = read_all(log, 0, 50_000);
                    assert!(found.iter().map(|(offset, _)| *offset).eq(0..found.len() as i64));
                }
            });
        }
        scope.spawn(|| {
            let mut round = 0_u8;
            while !stop.load(Ordering::SeqCst) {
                round += 1;
                let name = format!("passing{round}");
                let log = create(&name, 0);
                for _ in 0..3 {
                    let _ = append(&log, batch(&[&[1; 5000]])).unwrap();
                }
                if round.is_multiple_of(3) {
                    dir.checkpoint().unwrap();
                }
                let (sender, deleted) = channel();
                let topic_id = id(&name, 0).topic_id;
                dir.delete_partition(topic_id, 0, move |r| sender.send(r).unwrap()).unwrap();
                deleted.recv().unwrap().unwrap();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(dir.open_files() <= 8, "{} files are open", dir.open_files());
    let before: Vec<_> = logs.iter().map(|log| read_all(log, 0, 1 << 20)).collect();
    drop((logs, dir));
    let (dir, _) = LogDir::open(config).unwrap();
    assert_eq!(dir.partitions().len(), 6, "the passing ones are gone");
    for (index, before) in (0..6).zip(before) {
        let log = dir.partition(id("kept", 0).topic_id, index).unwrap();
        assert!(read_all(&log, 0, 1 << 20) == before, "partition {index}");
    }
}

fn write_some(log: &PartitionLog, n: usize) {
    let producer = i64::try_from(n).unwrap();
    for sequence in 0..300 {
        let value = vec![n as u8; 200 + n * 700];
        let info = append_durably(log, producer_batch(producer, 0, sequence, &[&value]));
        assert_eq!(info.base_offset, i64::from(sequence));
        assert!(log.high_watermark() > info.last_offset);
    }
}

#[test]
fn ten_thousand_partitions_cost_few_files_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogDirConfig { open_files_max: 64, ..LogDirConfig::new(folder.path()) };
    let count = 10_000;
    {
        let (dir, _) = LogDir::open(config.clone()).unwrap();
        let mut waiting = Vec::new();
        for index in 0..count {
            let log = dir.create_partition(id("many", index), PartitionConfig::default()).unwrap();
            if index % 10 == 0 {
                waiting.push(append(&log, batch(&[b"v"])).unwrap().1);
            }
        }
        for done in waiting {
            done.recv().unwrap().unwrap();
        }
        dir.shutdown().unwrap();
        assert!(dir.open_files() <= 64);
    }
    let (dir, report) = LogDir::open(config).unwrap();
    assert!(report.clean, "{report:?}");
    assert_eq!(dir.partitions().len(), count as usize);
    let log = dir.partition(id("many", 0).topic_id, 990).unwrap();
    assert_eq!(read_all(&log, 0, 1000), [(0, b"v".to_vec())]);
}

#[test]
fn panic_of_the_commit_thread_ends_the_folder_and_nobody_waits_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let mut config = LogDirConfig::new(folder.path());
    config.on_fatal = Some(Arc::new(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let (dir, _) = LogDir::open(config).unwrap();
    let log = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
    let (go, wait) = channel::<()>();
    let panics = move |_: Result<(), _>| {
        let _ = wait.recv();
        panic!("a callback panics, as this test wants");
    };
    log.append(NOW, batch(&[b"v"]), AppendOrigin::Client, panics).unwrap();
    while log.high_watermark() == 0 {
        std::thread::yield_now();
    }
    let (_, waiting) = append(&log, batch(&[b"v"])).unwrap();
    go.send(()).unwrap();
    assert!(waiting.recv().unwrap().is_err());
    assert!(append(&log, batch(&[b"v"])).is_err());
    assert!(dir.shutdown().is_err());
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

/// A disk that does something before each operation on a path.
struct Hooked<F>(F);

impl<F> std::fmt::Debug for Hooked<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

/// Tells whether that thread of the folder does what is being done.
fn is_on(thread: &str) -> bool {
    std::thread::current().name() == Some(thread)
}

impl<F: Fn(&Path) + Send + Sync + 'static> Disk for Hooked<F> {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        (self.0)(dir);
        FileDisk.create_dir_all(dir)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        (self.0)(path);
        FileDisk.open(path, mode)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        (self.0)(dir);
        FileDisk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)(from);
        FileDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        (self.0)(path);
        FileDisk.remove_file(path)
    }
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        (self.0)(dir);
        FileDisk.remove_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.0)(dir);
        FileDisk.sync_dir(dir)
    }
    fn volume(&self, dir: &Path) -> io::Result<Volume> {
        FileDisk.volume(dir)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, LockError> {
        FileDisk.lock(path)
    }
    fn lock_shared(&self, path: &Path) -> Result<Box<dyn DirLock>, LockError> {
        FileDisk.lock_shared(path)
    }
}

/// Something happens on each of them: a record is appended and written to a segment, the log has grown,
/// a partition is deleted.
#[test]
fn panic_of_any_thread_ends_the_folder_and_is_told_by_its_name() {
    for thread in ["kohort-segments", "kohort-checkpoint", "kohort-removal", "kohort-cleaner"] {
        let folder = tempfile::tempdir().unwrap();
        // Not before there is something to do it over: the folder would take no partitions any more.
        let begun = Arc::new(AtomicBool::new(false));
        let has_begun = begun.clone();
        let panics = move || is_on(thread) && has_begun.load(Ordering::SeqCst);
        let by_the_clock = panics.clone();
        let (sender, told) = channel();
        let config = LogDirConfig {
            wal_first_file_bytes: 16 << 10,
            wal_file_bytes: 16 << 10,
            flush_bytes: 1,
            on_fatal: Some(Arc::new(move |fatal| drop(sender.send(fatal.to_string())))),
            clock: Clock::new(move || {
                assert!(thread != "kohort-cleaner" || !by_the_clock(), "it panics");
                NOW
            }),
            ..LogDirConfig::new(folder.path())
        };
        let disk =
            Hooked(move |_: &Path| assert!(!panics(), "{thread} panics, as this test wants"));
        let (dir, _) = LogDir::open_on(Arc::new(disk), config).unwrap();
        let log = dir.create_partition(id("t", 0), PartitionConfig::default()).unwrap();
        let passing = dir.create_partition(id("passing", 0), PartitionConfig::default()).unwrap();
        begun.store(true, Ordering::SeqCst);
        let cleaner = CleanerConfig { backoff: Duration::ZERO, ..CleanerConfig::default() };
        dir.set_cleaner_config(cleaner);
        let _ = append(&passing, batch(&[b"v"]));
        let _ = dir.delete_partition(passing.id().topic_id, 0, drop);
        for _ in 0..50 {
            if let Ok((_, done)) = append(&log, batch(&[&[1; 2000]])) {
                let _ = done.recv();
            }
        }
        let fatal = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(fatal.starts_with(&format!("the thread {thread} panicked")), "{fatal}");
        assert!(append(&log, batch(&[b"v"])).is_err());
        assert!(dir.shutdown().is_err());
    }
}

#[test]
fn segments_are_written_while_the_folders_of_deleted_partitions_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (begun, has_begun) = channel();
    let (let_go, go) = channel::<()>();
    let config = LogDirConfig { flush_bytes: 1, ..LogDirConfig::new(folder.path()) };
    let go = Mutex::new(go);
    let disk = Hooked(move |_: &Path| {
        if is_on("kohort-removal") {
            let _ = begun.send(());
            let _ = go.lock().unwrap().recv();
        }
    });
    let (dir, _) = LogDir::open_on(Arc::new(disk), config).unwrap();
    let partition = |name| dir.create_partition(id(name, 0), PartitionConfig::default()).unwrap();
    let has_folder = |name: &str| {
        let names = FileDisk.list(&folder.path().join("partitions")).unwrap();
        names.iter().any(|found| found.starts_with(name))
    };
    let wait_for = |name| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !has_folder(name) {
            assert!(Instant::now() < deadline, "{name} is not written to a segment");
            std::thread::yield_now();
        }
    };
    append_durably(&partition("passing"), batch(&[b"v"]));
    wait_for("passing");
    dir.delete_partition(id("passing", 0).topic_id, 0, drop).unwrap();
    has_begun.recv().unwrap();
    append_durably(&partition("kept"), batch(&[b"v"]));
    wait_for("kept");
    assert!(has_folder("passing"));
    drop(let_go);
    dir.shutdown().unwrap();
}

/// While segments are written, of however many partitions, the log uses up the file that was ready. Whoever
/// commits next must not have to make the one after it.
#[test]
fn next_file_of_the_log_is_made_between_partitions_that_are_written_to_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (begun, has_begun) = channel();
    let (let_go, go) = channel::<()>();
    let (note, noted) = channel();
    let go = Mutex::new(go);
    let disk = Hooked(move |path: &Path| {
        let is_folder = path.parent().is_some_and(|within| within.ends_with("partitions"));
        if is_on("kohort-segments") && is_folder {
            let _ = note.send("partition");
            let _ = begun.send(());
            let _ = go.lock().unwrap().recv();
        } else if is_on("kohort-segments") && path.extension().is_some_and(|of| of == "wal") {
            let _ = note.send("log");
        }
    });
    let config = LogDirConfig {
        wal_first_file_bytes: 64 << 10,
        wal_file_bytes: 64 << 10,
        ..LogDirConfig::new(folder.path())
    };
    let (dir, _) = LogDir::open_on(Arc::new(disk), config).unwrap();
    let logs = ["a", "b", "c"]
        .map(|topic| dir.create_partition(id(topic, 0), PartitionConfig::default()).unwrap());
    for log in &logs {
        append_durably(log, batch(&[b"v"]));
    }
    has_begun.recv().unwrap();
    noted.try_iter().for_each(drop);
    let used = dir.stats().wal_bytes;
    while dir.stats().wal_bytes == used {
        append_durably(&logs[0], batch(&[&[1; 4000]]));
    }
    drop(let_go);
    let mut seen: Vec<&str> = Vec::new();
    while seen.iter().filter(|what| **what == "partition").count() < 2 {
        seen.push(noted.recv_timeout(Duration::from_secs(60)).unwrap());
    }
    assert_eq!(seen.first(), Some(&"log"), "{seen:?}");
    dir.shutdown().unwrap();
}
