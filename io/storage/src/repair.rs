//! Mends a damaged folder. Looking at one is in [`inspect`](crate::inspect).
//!
//! Mending keeps everything that is whole. A batch that does not verify is taken out of its segment,
//! and a commit that does not verify out of the log; the offsets they had stay unused, as after
//! compaction. What is taken out is first copied to a folder `damaged-N`, so nothing is lost that an
//! expert might still read. The broker must not be running.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kohort_log::PartitionConfig;

use crate::background::Background;
use crate::config::LogDirConfig;
use crate::disk::{Disk, OpenMode, read_exact_at};
use crate::error::{OpenError, io_at};
use crate::failure::FlushError;
use crate::mend::{Mend, Surveyed};
use crate::names::{PARTITIONS, WAL};
use crate::offline::lock_existing;
use crate::partition_id::PartitionId;
use crate::partition_log::{PartitionLog, Shared};
use crate::partitions::Partitions;
use crate::recovery::{new_pool, open_failed, write_leader_epoch};
use crate::replay::Replay;
use crate::wal::frame::{FRAME_HEADER, FrameHeader};
use crate::wal::position::WalPosition;
use crate::wal::reader::{FoundFile, ReadFrame};
use crate::wal::writer::WalWriter;
use crate::walk::Problem;

/// What mending a folder did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What was damaged, and is now taken out.
    pub problems: Vec<Problem>,
    /// Where the damaged files were copied to.
    pub kept_in: Option<PathBuf>,
    /// Partitions whose folders were set aside before, and are in service again.
    pub taken_back: Vec<PartitionId>,
    /// Commits of the write-ahead log that were applied.
    pub commits: u64,
    /// The leader epoch from now on.
    pub leader_epoch: i32,
}

impl RepairReport {
    /// Tells whether there was nothing to mend, so that nothing was changed.
    pub fn is_nothing(&self) -> bool {
        self.problems.is_empty() && self.taken_back.is_empty()
    }
}

/// Takes what is damaged out of a folder, so that it can be opened. A folder that is sound, and in which
/// nothing that was set aside waits to be taken back, is not changed.
pub fn repair(disk: &Arc<dyn Disk>, config: &LogDirConfig) -> Result<RepairReport, OpenError> {
    let folder = &config.path;
    let _lock = lock_existing(&**disk, folder)?;
    let mut look = Mend::look(&**disk, folder);
    let found = look.survey()?;
    if look.problems.is_empty() && !look.may_take_back() {
        let leader_epoch = found.head.map_or(0, |head| head.leader_epoch);
        return Ok(RepairReport { leader_epoch, ..RepairReport::default() });
    }
    drop(found);
    let wal_dir = folder.join(WAL);
    disk.create_dir_all(&wal_dir).map_err(io_at(&wal_dir))?;
    disk.create_dir_all(&folder.join(PARTITIONS)).map_err(io_at(folder))?;
    let mut mend = Mend::new(&**disk, folder, config.clock.now());
    let Surveyed { head, salt, partitions: restored, files, log } = mend.survey()?;
    let first = head.map_or(0, |head| head.wal.sequence);
    let last = log.frames.last_key_value();
    let position = WalPosition {
        file_number: files.iter().filter_map(|f| f.header.map(|h| h.number)).max().unwrap_or(0),
        position: 0,
        sequence: last.map_or(first, |(last, _)| last + 1).max(1),
        // If mending ends here, what begins then is a part of the log as it was.
        previous_crc: match (last, &head) {
            (Some((_, frame)), _) => frame.crc,
            (None, Some(head)) => head.wal.previous_crc,
            (None, None) => 0,
        },
    };
    let pool = new_pool(disk, config);
    let adopted = files.iter().map(|f| (f.header.map(|h| h.number), f.path.clone(), f.length));
    pool.adopt(adopted.collect()).map_err(io_at(&wal_dir))?;
    let epoch = head.map_or(0, |head| head.leader_epoch);
    let shared = Arc::new(Shared::new(
        config.clone(),
        Arc::clone(disk),
        Arc::clone(&pool),
        salt,
        epoch,
        position,
    ));
    let mut replay = Replay::new(Arc::clone(&shared), restored, true);
    for frame in log.frames.values() {
        apply_frame(&**disk, &mut replay, &files[frame.file], frame.position)?;
    }
    replay.finish()?;
    let mut taken_back = Vec::new();
    for (id, restored) in mend.strays(&replay.partitions)? {
        taken_back.push(id.clone());
        let key = (id.topic_id, id.index);
        let config = PartitionConfig::default();
        let partition = PartitionLog::new(id, Arc::clone(&shared), config, restored);
        replay.partitions.insert(key, partition);
    }
    let latest = replay.partitions.values().filter_map(|p| p.state.lock().epochs.latest()).max();
    let epoch = shared.leader_epoch.load(Ordering::Relaxed).max(latest.unwrap_or(0)) + 1;
    shared.leader_epoch.store(epoch, Ordering::Relaxed);
    let partitions = Arc::new(Partitions::new(replay.partitions));
    let background = Background::new(Arc::clone(&shared), partitions);
    let failed = |error| {
        let (FlushError::NoSpace(reason) | FlushError::Failed(reason)) = error;
        OpenError::Io { path: folder.clone(), reason }
    };
    // All that may fail comes before the log is added to.
    background.flush().map_err(failed)?;
    let mut wal = WalWriter::create(pool, salt, true, position).map_err(open_failed(folder))?;
    write_leader_epoch(&mut wal, epoch).map_err(open_failed(folder))?;
    *shared.committed.lock() = wal.position();
    background.checkpoint(true).map_err(failed)?;
    background.partitions.write().clear();
    let Mend { problems, kept_in, .. } = mend;
    let commits = log.frames.len() as u64;
    Ok(RepairReport { problems, kept_in, taken_back, commits, leader_epoch: epoch })
}

fn apply_frame(
    disk: &dyn Disk,
    replay: &mut Replay,
    file: &FoundFile,
    position: u64,
) -> Result<(), OpenError> {
    let open = disk.open(&file.path, OpenMode::Read).map_err(io_at(&file.path))?;
    let mut start = [0; FRAME_HEADER];
    read_exact_at(&*open, &mut start, position).map_err(io_at(&file.path))?;
    let header = FrameHeader::parse(&start).expect("it was verified before");
    let mut bytes = vec![0; FRAME_HEADER + header.payload];
    read_exact_at(&*open, &mut bytes, position).map_err(io_at(&file.path))?;
    let file_number = file.header.map_or(0, |header| header.number);
    let (path, bytes) = (&*file.path, &*bytes);
    replay.frame(&ReadFrame { header, file_number, path, position, bytes })
}
