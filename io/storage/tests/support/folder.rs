//! A folder that tests damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_storage::{
    Background, CommitStep, Disk, LogDir, LogDirConfig, OpenError, PartitionConfig, PartitionLog,
    SimulatedDisk,
};

use super::{append, batch, id};

/// The value of a large record.
pub const VALUE: [u8; 300] = [b'v'; 300];

/// A data folder on a simulated disk, worked by hand.
pub struct Folder {
    pub disk: SimulatedDisk,
    pub config: LogDirConfig,
}

impl Folder {
    pub fn new() -> Folder {
        let config = LogDirConfig { background: Background::Manual, ..LogDirConfig::new("/data") };
        Folder { disk: SimulatedDisk::new(1), config }
    }

    /// Returns one whose process was killed after so many commits, of a record each, to partition 0.
    pub fn killed_after(commits: usize) -> Folder {
        let folder = Folder::new();
        let dir = folder.open().unwrap();
        let log = partition(&dir, 0);
        for _ in 0..commits {
            append_alone(&dir, &log);
        }
        folder.kill(dir);
        folder
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    pub fn open(&self) -> Result<Arc<LogDir>, OpenError> {
        LogDir::open_on(self.disk(), self.config.clone()).map(|(dir, _)| dir)
    }

    pub fn kill(&self, dir: Arc<LogDir>) {
        self.disk.kill_process();
        drop(dir);
    }

    /// Starts after a kill, has four records acknowledged, and cuts the power. Returns the end of the log then.
    pub fn work_until_power_cut(&self) -> i64 {
        let dir = self.open().unwrap();
        let log = partition(&dir, 0);
        for _ in 0..4 {
            append_alone(&dir, &log);
        }
        let end = log.high_watermark();
        self.disk.power_cut();
        end
    }

    /// Closes the folder in order, and ends the process.
    pub fn close(&self, dir: Arc<LogDir>) {
        dir.shutdown().unwrap();
        self.kill(dir);
    }

    /// Returns the folder of that partition of the topic of these tests.
    pub fn partition_dir(&self, index: i32) -> PathBuf {
        let partitions = self.config.path.join("partitions");
        let names = self.disk.list(&partitions).unwrap();
        let of_it = |name: &&String| name.starts_with(&format!("t-{index}."));
        partitions.join(names.iter().find(of_it).unwrap())
    }

    pub fn wal_file(&self) -> PathBuf {
        self.config.path.join("wal/00000001.wal")
    }
}

/// Returns a partition of two large records a segment.
pub fn partition(dir: &LogDir, index: i32) -> Arc<PartitionLog> {
    let config = PartitionConfig {
        segment_bytes: 1000,
        index_interval_bytes: 1,
        ..PartitionConfig::default()
    };
    dir.create_partition(id("t", index), config).unwrap()
}

/// Returns the first two partitions, with five records in each.
pub fn two_partitions(dir: &LogDir) -> [Arc<PartitionLog>; 2] {
    let logs = [partition(dir, 0), partition(dir, 1)];
    for _ in 0..5 {
        for log in &logs {
            append_alone(dir, log);
        }
    }
    logs
}

/// Appends one record and commits it on its own.
pub fn append_alone(dir: &LogDir, partition: &PartitionLog) {
    let (_, done) = append(partition, batch(&[&VALUE])).unwrap();
    assert_eq!(dir.step_commit(), CommitStep::Committed);
    done.try_recv().unwrap().unwrap();
}

/// Returns how many files of segments there are below `/data`, and which folders were set aside.
pub fn segment_files(disk: &SimulatedDisk) -> (usize, Vec<String>) {
    let partitions = Path::new("/data/partitions");
    let names = disk.list(partitions).unwrap();
    let (strays, names): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name.ends_with("-stray"));
    let files = |name: &String| disk.list(&partitions.join(name)).unwrap();
    let files = names.iter().flat_map(files);
    (files.filter(|file| file.strip_suffix(".log").is_some()).count(), strays)
}
