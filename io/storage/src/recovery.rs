//! Opening a folder: lock, checkpoint, log, and the judgement of what is found.
//!
//! The checkpoint says how every partition was and where the log goes on from there; the log is read
//! from that place to its end and applied. A torn end is cut off, and if it is, a new leader epoch
//! begins, so that a client that has seen more than there is now finds out. Damage to anything that was
//! durable stops the start with a report and changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::aligned::AlignedBuf;
use crate::checkpoint::{Checkpoint, CheckpointHead, decode, encode, write};
use crate::config::{FlushMode, LogDirConfig};
use crate::disk::{DirLock, Disk, LockError, OpenMode, read_file};
use crate::error::{OpenError, corrupt, io_at};
use crate::names::{CHECKPOINT_FILE, LOCK, PARTITIONS, WAL};
use crate::partition_log::Shared;
use crate::partitions::Partitions;
use crate::random::random;
use crate::replay::Replay;
use crate::strays::sort_folders;
use crate::wal::entry::{Entry, encode_control};
use crate::wal::file::FilePool;
use crate::wal::frame::FRAME_HEADER;
use crate::wal::position::WalPosition;
use crate::wal::reader::{FoundFile, WalEnd, find_files, read_log};
use crate::wal::writer::{WalError, WalWriter};

/// What opening a folder found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the folder was new.
    pub created: bool,
    /// Whether it had been closed in an orderly way.
    pub clean: bool,
    /// Commits read back from the write-ahead log.
    pub commits_replayed: u64,
    /// Records bytes among them that were not yet in segments.
    pub bytes_replayed: u64,
    /// The unfinished commit that was cut off: file and position.
    pub cut: Option<(PathBuf, u64)>,
    /// Partitions found.
    pub partitions: usize,
    /// Folders of deleted partitions that were removed.
    pub folders_removed: Vec<String>,
    /// Folders with records of partitions that nobody knows, under the names they have now.
    pub folders_set_aside: Vec<String>,
    /// The leader epoch from now on.
    pub leader_epoch: i32,
}

/// An opened folder, before anything runs.
pub(crate) struct Recovered {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partitions: Partitions,
    pub(crate) wal: WalWriter,
    pub(crate) lock: Box<dyn DirLock>,
    pub(crate) report: RecoveryReport,
}

/// Opens a folder.
pub(crate) fn recover(disk: Arc<dyn Disk>, config: LogDirConfig) -> Result<Recovered, OpenError> {
    let lock = lock_folder(&*disk, &config.path)?;
    let checkpoint_path = config.path.join(CHECKPOINT_FILE);
    let names = disk.list(&config.path).map_err(io_at(&config.path))?;
    if !names.iter().any(|name| name == CHECKPOINT_FILE) {
        check_is_new(&*disk, &config, &names)?;
        return create(disk, config, lock);
    }
    let content = read_file(&*disk, &checkpoint_path).map_err(io_at(&checkpoint_path))?;
    let checkpoint = decode(&content).map_err(|bad| match bad.reason(&checkpoint_path) {
        Ok(reason) => corrupt(&config.path, &checkpoint_path, 0, reason),
        Err(other_version) => other_version,
    })?;
    reopen(disk, config, lock, checkpoint)
}

/// Takes the folder's lock.
pub(crate) fn lock_folder(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DirLock>, OpenError> {
    disk.create_dir_all(path).map_err(io_at(path))?;
    disk.lock(&path.join(LOCK)).map_err(|error| match error {
        LockError::Held { owner } => OpenError::Locked { path: path.to_owned(), owner },
        LockError::Io(reason) => OpenError::Io { path: path.join(LOCK), reason },
    })
}

/// Without a checkpoint a folder must be empty, or be one whose creation was interrupted.
fn check_is_new(disk: &dyn Disk, config: &LogDirConfig, names: &[String]) -> Result<(), OpenError> {
    let path = &config.path;
    let ours = [LOCK, WAL, PARTITIONS, "checkpoint.new", "lost+found"];
    let foreign = || names.iter().find(|name| !ours.contains(&name.as_str()));
    let missing = |found: String| {
        corrupt(
            path,
            &path.join(CHECKPOINT_FILE),
            0,
            format!("it is missing, but there is {found}"),
        )
    };
    if names.iter().any(|name| name == PARTITIONS) {
        let dir = path.join(PARTITIONS);
        if let Some(name) = disk.list(&dir).map_err(io_at(&dir))?.first() {
            return Err(missing(format!("{}", dir.join(name).display())));
        }
    }
    if names.iter().any(|name| name == WAL) {
        let dir = path.join(WAL);
        for file in find_files(disk, &dir, None).map_err(io_at(&dir))? {
            if file.header.is_some_and(|header| header.number > 1) {
                return Err(missing(format!("{}", file.path.display())));
            }
            let Some(header) = file.header else { continue };
            let start = first_position();
            let mut frames = 0;
            read_log::<io::Error>(disk, std::slice::from_ref(&file), header.salt, start, |_| {
                frames += 1;
                Ok(())
            })
            .map_err(io_at(&dir))?;
            if frames > 0 {
                return Err(missing(format!("{} with {frames} commits", file.path.display())));
            }
        }
    }
    if let Some(foreign) = foreign() {
        let reason = format!("there is `{foreign}`, and no file `{CHECKPOINT_FILE}`");
        return Err(OpenError::NotALog { path: path.clone(), reason });
    }
    Ok(())
}

/// Where the first frame of a new log goes.
fn first_position() -> WalPosition {
    WalPosition {
        file_number: 1,
        position: crate::aligned::BLOCK as u64,
        sequence: 1,
        previous_crc: 0,
    }
}

fn create(
    disk: Arc<dyn Disk>,
    config: LogDirConfig,
    lock: Box<dyn DirLock>,
) -> Result<Recovered, OpenError> {
    let path = config.path.clone();
    let at = io_at(&path);
    for dir in [WAL, PARTITIONS] {
        disk.create_dir_all(&path.join(dir)).map_err(io_at(&path))?;
    }
    // Left over from a creation that was interrupted.
    for file in find_files(&*disk, &path.join(WAL), None).map_err(io_at(&path))? {
        disk.remove_file(&file.path).map_err(io_at(&path))?;
    }
    let salt = random();
    let pool = new_pool(&disk, &config);
    let before = WalPosition { file_number: 0, position: 0, sequence: 1, previous_crc: 0 };
    let synced = config.flush == FlushMode::Fsync;
    let wal =
        WalWriter::create(Arc::clone(&pool), salt, synced, before).map_err(open_failed(&path))?;
    let head = CheckpointHead { salt, leader_epoch: 0, clean: false, wal: wal.position() };
    write(&*disk, &path, &encode(&head, &[])).map_err(at)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).map_err(io_at(parent))?;
    }
    let shared = Arc::new(Shared::new(config, disk, pool, salt, 0, wal.position()));
    *shared.checkpointed.lock() = Some(wal.position());
    let report = RecoveryReport { created: true, clean: true, ..RecoveryReport::default() };
    Ok(Recovered { shared, partitions: Partitions::default(), wal, lock, report })
}

fn reopen(
    disk: Arc<dyn Disk>,
    config: LogDirConfig,
    lock: Box<dyn DirLock>,
    checkpoint: Checkpoint,
) -> Result<Recovered, OpenError> {
    let path = config.path.clone();
    let wal_dir = path.join(WAL);
    let head = checkpoint.head;
    let files = find_files(&*disk, &wal_dir, Some(head.salt)).map_err(io_at(&wal_dir))?;
    let synced = config.flush == FlushMode::Fsync;
    // A process that was killed between renaming a checkpoint and syncing the folder leaves one that
    // can be read but is not durable. What it does not name is removed or used again from here on, so it
    // must be, in either flush mode.
    disk.sync_dir(&path).map_err(io_at(&path))?;
    let pool = new_pool(&disk, &config);
    let shared = Arc::new(Shared::new(
        config,
        Arc::clone(&disk),
        Arc::clone(&pool),
        head.salt,
        head.leader_epoch,
        head.wal,
    ));
    *shared.checkpointed.lock() = Some(head.wal);
    let mut replay = Replay::new(Arc::clone(&shared), checkpoint.partitions, false);
    replay.gone.clone_from(&checkpoint.deleted);
    replay.deleted = checkpoint.deleted;
    let end = read_log(&*disk, &files, head.salt, head.wal, |frame| replay.frame(&frame))?;
    let end = end.ok_or_else(|| {
        let number = head.wal.file_number;
        corrupt(&path, &wal_dir, 0, format!("the log's file number {number} is missing or damaged"))
    })?;
    judge_end(&path, &end)?;
    let cut = end.torn || end.later.is_some();
    replay.finish()?;
    let live = |file: &FoundFile| {
        let number = file.header.map(|header| header.number);
        number.filter(|n| (head.wal.file_number..=end.next.file_number).contains(n))
    };
    let (stale, files): (Vec<_>, Vec<_>) = files.iter().partition(|file| {
        let number = file.header.map_or(0, |header| header.number);
        number > end.next.file_number || (end.later.is_some() && live(file).is_none())
    });
    remove_stale(&*disk, &stale, &end).map_err(io_at(&wal_dir))?;
    let adopted = files.iter().map(|f| (live(f), f.path.clone(), f.length)).collect();
    pool.adopt(adopted).map_err(io_at(&wal_dir))?;
    // A process that was killed between a write and its sync leaves a commit that can be read but is not
    // durable. Whoever is shown it must be able to rely on it. In mode `page-cache` it is the headers
    // that a checkpoint will rely on. The same goes for the name of a file that was being made.
    pool.sync_live().map_err(io_at(&wal_dir))?;
    disk.sync_dir(&wal_dir).map_err(io_at(&wal_dir))?;
    let current = pool.live_file(end.next.file_number).expect("the file was just read");
    let mut wal = if end.synced == synced && end.later.is_none() {
        WalWriter::resume(Arc::clone(&pool), head.salt, synced, current, end.next)
    } else {
        WalWriter::create(Arc::clone(&pool), head.salt, synced, end.next)
            .map_err(open_failed(&path))?
    };
    if cut {
        let epoch = shared.leader_epoch.fetch_add(1, Ordering::Relaxed) + 1;
        write_leader_epoch(&mut wal, epoch).map_err(open_failed(&path))?;
        // Whatever the flush mode: an epoch is not given twice.
        pool.sync_live().map_err(io_at(&wal_dir))?;
        tracing::warn!(
            path = %end.path.display(),
            position = end.next.position,
            epoch,
            "cut off an unfinished commit"
        );
    }
    *shared.committed.lock() = wal.position();
    let sorted = sort_folders(&*disk, &path, &replay.partitions, &replay.gone)?;
    let report = RecoveryReport {
        created: false,
        clean: head.clean && end.frames == 0 && !cut,
        commits_replayed: end.frames,
        bytes_replayed: replay.bytes,
        cut: cut.then(|| (end.path.clone(), end.next.position)),
        partitions: replay.partitions.len(),
        folders_removed: sorted.removed,
        folders_set_aside: sorted.set_aside,
        leader_epoch: shared.leader_epoch.load(Ordering::Relaxed),
    };
    let partitions = Partitions::new(replay.partitions);
    Ok(Recovered { shared, partitions, wal, lock, report })
}

/// Decides whether the log may end where it was found to.
fn judge_end(folder: &Path, end: &WalEnd) -> Result<(), OpenError> {
    if let Some((path, length, reason)) = &end.shortened {
        return Err(corrupt(folder, path, *length, reason.clone()));
    }
    match &end.later {
        Some(later) if end.synced => {
            let reason = format!(
                "commit {} is missing or damaged, but commit {} at byte {} of {} is intact",
                end.next.sequence,
                later.sequence,
                later.position,
                later.path.display()
            );
            Err(corrupt(folder, &end.path, end.next.position, reason))
        }
        _ => Ok(()),
    }
}

/// Removes what a power cut left beyond the log's end in flush mode `page-cache`: files with numbers that
/// will be given again, and commits behind one that is lost. Otherwise a later start would take them for
/// a part of the log that then is. What is done here becomes durable with all that is in use.
fn remove_stale(disk: &dyn Disk, files: &[&FoundFile], end: &WalEnd) -> io::Result<()> {
    for file in files {
        disk.remove_file(&file.path)?;
    }
    if end.later.is_some() {
        let file = disk.open(&end.path, OpenMode::Existing)?;
        let zeros = vec![0; 1 << 20];
        let (mut position, length) = (end.next.position, file.len()?);
        while position < length {
            let part = zeros.len().min((length - position) as usize);
            file.write_at(&zeros[..part], position)?;
            position += part as u64;
        }
    }
    Ok(())
}

/// Notes a new leader epoch in the log.
pub(crate) fn write_leader_epoch(wal: &mut WalWriter, epoch: i32) -> Result<(), WalError> {
    let entry = encode_control(&Entry::LeaderEpoch { epoch });
    let mut frame = AlignedBuf::with_capacity(FRAME_HEADER + entry.len());
    frame.extend(&[0; FRAME_HEADER]);
    frame.extend(&entry);
    wal.write(&mut frame, 1)
}

pub(crate) fn new_pool(disk: &Arc<dyn Disk>, config: &LogDirConfig) -> Arc<FilePool> {
    let mode = match config.flush {
        FlushMode::Fsync => OpenMode::Direct,
        FlushMode::PageCache => OpenMode::Write,
    };
    Arc::new(FilePool::new(
        Arc::clone(disk),
        config.path.join(WAL),
        mode,
        config.wal_first_file_bytes,
        config.wal_file_bytes,
    ))
}

pub(crate) fn open_failed(path: &Path) -> impl Fn(WalError) -> OpenError {
    let path = path.join(WAL);
    move |error| {
        let (WalError::NoSpace(reason) | WalError::Failed(reason)) = error;
        OpenError::Io { path: path.clone(), reason }
    }
}
