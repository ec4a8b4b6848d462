//! What an operator can see of a folder without a broker: whether it is sound (`verify`), what it
//! holds (`dump`), and the records of one topic (`read_topic`). Nothing is changed; the broker must not
//! be running, since what it is writing would look like damage.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::records::{BATCH_HEADER_BYTES, BatchHeader, BatchRef, batches};

use crate::checkpoint::{Checkpoint, decode};
use crate::disk::{DirLock, Disk, LockError, read_file};
use crate::error::{OpenError, io_at};
use crate::lost_end::{self, lost_end};
use crate::names::{CHECKPOINT_FILE, LOCK, PARTITIONS, WAL};
use crate::partition_log::{PartitionId, Restored, dir_name};
use crate::recovery::lock_folder;
use crate::segment::records_path;
use crate::strays::list_strays;
use crate::wal::entry::{BadEntry, Entry, PartitionKey, for_each_entry};
use crate::wal::frame::FRAME_HEADER;
use crate::wal::reader::{ReadFrame, find_files, read_log};

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.path.display(), self.position, self.reason)
    }
}

/// What looking through a folder found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// What is damaged; empty if all is well.
    pub problems: Vec<Problem>,
    /// Partitions looked at.
    pub partitions: usize,
    /// Batches in segments that verified.
    pub batches: u64,
    /// Commits in the write-ahead log that verified.
    pub commits: u64,
    /// Whether an interrupted write is at the end of the log, which is no damage.
    pub torn: bool,
    /// Folders with records of partitions that nobody knew, which were set aside.
    pub set_aside: Vec<PathBuf>,
    /// Whether the lock could not be taken, because nothing can be written there: a broker that has the
    /// folder open would not be noticed, and what it is writing would look like damage.
    pub unlocked: bool,
}

/// Reads everything in a folder and reports what is damaged. Changes nothing.
pub fn verify(disk: &Arc<dyn Disk>, folder: &Path) -> Result<VerifyReport, OpenError> {
    let lock = lock_to_read(&**disk, folder)?;
    let set_aside = list_strays(&**disk, folder).unwrap_or_default();
    let mut report =
        VerifyReport { unlocked: lock.is_none(), set_aside, ..VerifyReport::default() };
    let checkpoint = match load_checkpoint(&**disk, folder)? {
        Ok(checkpoint) => checkpoint,
        Err(problem) => {
            report.problems.push(problem);
            return Ok(report);
        }
    };
    report.partitions = checkpoint.partitions.len();
    for (id, restored) in &checkpoint.partitions {
        let problems_before = report.problems.len();
        let dir = folder.join(PARTITIONS).join(dir_name(id));
        let mut sound_end = None;
        for (&base, meta) in &restored.state.segments {
            let path = records_path(&dir, meta.name(base));
            let content = match read_file(&**disk, &path) {
                Ok(content) => content,
                Err(error) => {
                    let reason = format!("the segment is gone: {error}");
                    report.problems.push(Problem { path, position: 0, reason });
                    continue;
                }
            };
            let segment = walk_segment(&path, &content, base, Some(meta.bytes));
            sound_end = segment.batches.last().map(|(_, last)| last.next_offset()).or(sound_end);
            report.batches += segment.batches.len() as u64;
            report.problems.extend(segment.problems);
        }
        if let Some(lost) = lost_end(restored, sound_end)
            && report.problems.len() == problems_before
        {
            let reason = lost_end::describe(lost);
            report.problems.push(Problem { path: dir, position: 0, reason });
        }
    }
    let wal = folder.join(WAL);
    let head = checkpoint.head;
    let files = find_files(&**disk, &wal, Some(head.salt)).map_err(io_at(&wal))?;
    let end = read_log::<OpenError>(&**disk, &files, head.salt, head.wal, |frame| {
        report.problems.extend(bad_entry(&frame));
        Ok(())
    })?;
    match end {
        None => {
            let reason = format!("the log's file number {} is missing", head.wal.file_number);
            report.problems.push(Problem { path: wal, position: 0, reason });
        }
        Some(end) => {
            report.commits = end.frames;
            report.torn = end.torn && end.later.is_none() && end.shortened.is_none();
            if let Some((path, position, reason)) = end.shortened {
                report.problems.push(Problem { path, position, reason });
            }
            if let Some(later) = end.later.filter(|_| end.synced) {
                report.problems.push(Problem {
                    path: end.path,
                    position: end.next.position,
                    reason: format!(
                        "commit {} is missing or damaged, commit {} is intact",
                        end.next.sequence, later.sequence
                    ),
                });
            }
        }
    }
    Ok(report)
}

/// Looks for an entry that makes no sense although its commit's checksum is right.
fn bad_entry(frame: &ReadFrame<'_>) -> Option<Problem> {
    let end = FRAME_HEADER + frame.header.payload;
    let bad =
        for_each_entry::<BadEntry>(frame.bytes, FRAME_HEADER, end, |_| Ok(())).err()?.position;
    Some(Problem {
        path: frame.path.to_owned(),
        position: frame.position + bad as u64,
        reason: "an entry makes no sense".to_owned(),
    })
}

/// Writes what a folder holds in words: checkpoint, segments with their batches, commits with their
/// entries. Changes nothing.
pub fn dump(disk: &Arc<dyn Disk>, folder: &Path, out: &mut dyn Write) -> Result<(), OpenError> {
    let lock = lock_to_read(&**disk, folder)?;
    let at = io_at(folder);
    if lock.is_none() {
        writeln!(out, "{UNLOCKED}").map_err(&at)?;
    }
    let checkpoint = match load_checkpoint(&**disk, folder)? {
        Ok(checkpoint) => checkpoint,
        Err(problem) => return writeln!(out, "{problem}").map_err(at),
    };
    let head = checkpoint.head;
    writeln!(
        out,
        "checkpoint: leader epoch {}, clean {}, log continues in file {} at {} with commit {}",
        head.leader_epoch, head.clean, head.wal.file_number, head.wal.position, head.wal.sequence
    )
    .map_err(&at)?;
    for (id, restored) in &checkpoint.partitions {
        dump_partition(&**disk, folder, id, restored, out)?;
    }
    let wal = folder.join(WAL);
    let files = find_files(&**disk, &wal, Some(head.salt)).map_err(io_at(&wal))?;
    read_log::<OpenError>(&**disk, &files, head.salt, head.wal, |frame| {
        writeln!(
            out,
            "commit {}: {} at {}, {} bytes",
            frame.header.sequence,
            frame.path.display(),
            frame.position,
            frame.header.payload
        )
        .map_err(&at)?;
        let end = FRAME_HEADER + frame.header.payload;
        let entries = for_each_entry::<BadEntry>(frame.bytes, FRAME_HEADER, end, |entry| {
            let _ = writeln!(out, "  {}", describe(&entry));
            Ok(())
        });
        if entries.is_err() {
            writeln!(out, "  an entry makes no sense").map_err(&at)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn dump_partition(
    disk: &dyn Disk,
    folder: &Path,
    id: &PartitionId,
    restored: &Restored,
    out: &mut dyn Write,
) -> Result<(), OpenError> {
    let at = io_at(folder);
    let state = &restored.state;
    writeln!(
        out,
        "partition {id} of topic {}: offsets {} to {} in segments, {} producers",
        id.topic_id,
        restored.log_start,
        state.flushed,
        state.producers.len()
    )
    .map_err(&at)?;
    let dir = folder.join(PARTITIONS).join(dir_name(id));
    for (&base, meta) in &state.segments {
        let path = records_path(&dir, meta.name(base));
        writeln!(out, "  {}: {} bytes", path.display(), meta.bytes).map_err(&at)?;
        let Ok(content) = read_file(disk, &path) else { continue };
        let segment = walk_segment(&path, &content, base, Some(meta.bytes));
        for (position, header) in &segment.batches {
            writeln!(
                out,
                "    at {position}: offsets {} to {}, epoch {}, {} records, {} bytes, producer {} \
                 epoch {} sequence {}",
                header.base_offset,
                header.last_offset(),
                header.partition_leader_epoch,
                header.record_count,
                header.size_in_bytes(),
                header.producer_id,
                header.producer_epoch,
                header.base_sequence
            )
            .map_err(&at)?;
        }
        for problem in &segment.problems {
            writeln!(out, "    {problem}").map_err(&at)?;
        }
    }
    Ok(())
}

fn describe(entry: &Entry<'_>) -> String {
    match entry {
        Entry::Append { key, first_offset, next_offset, batches, .. } => format!(
            "append to {}/{}: offsets {first_offset} to {}, {} bytes",
            key.0,
            key.1,
            next_offset - 1,
            batches.len()
        ),
        Entry::Create { key, topic } => format!("create {}/{}: {topic}-{}", key.0, key.1, key.1),
        Entry::Delete { key } => format!("delete {}/{}", key.0, key.1),
        Entry::LogStart { key, offset } => format!("{}/{} starts at {offset}", key.0, key.1),
        Entry::LeaderEpoch { epoch } => format!("leader epoch {epoch}"),
    }
}

/// Calls `each` with every batch of a topic that can be read, in the order of each partition's offsets:
/// first what is in segments, then what only the write-ahead log has. Changes nothing.
pub fn read_topic(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    topic: &str,
    mut each: impl FnMut(&PartitionId, BatchRef<'_>) -> io::Result<()>,
) -> Result<(), OpenError> {
    let _lock = lock_to_read(&**disk, folder)?;
    let path = folder.join(CHECKPOINT_FILE);
    let checkpoint = load_checkpoint(&**disk, folder)?.map_err(|problem| OpenError::Io {
        path: path.clone(),
        source: io::Error::new(io::ErrorKind::InvalidData, problem.reason),
    })?;
    // Up to where each partition of the topic has been read.
    let mut found: BTreeMap<PartitionKey, (PartitionId, i64)> = BTreeMap::new();
    for (id, restored) in checkpoint.partitions.iter().filter(|(id, _)| *id.topic == *topic) {
        let dir = folder.join(PARTITIONS).join(dir_name(id));
        for (&base, meta) in &restored.state.segments {
            let path = records_path(&dir, meta.name(base));
            let Ok(content) = read_file(&**disk, &path) else { continue };
            for (position, header) in walk_segment(&path, &content, base, Some(meta.bytes)).batches
            {
                if header.next_offset() > restored.log_start
                    && let Ok(batch) = BatchRef::parse(&content[position..])
                {
                    each(id, batch).map_err(io_at(&path))?;
                }
            }
        }
        found.insert((id.topic_id, id.index), (id.clone(), restored.state.flushed));
    }
    let wal = folder.join(WAL);
    let head = checkpoint.head;
    let files = find_files(&**disk, &wal, Some(head.salt)).map_err(io_at(&wal))?;
    let mut entry = |entry: Entry<'_>| -> Result<(), LogError> {
        match entry {
            Entry::Create { key, topic: name } if name == topic => {
                let id = PartitionId { topic_id: key.0, topic: Arc::from(name), index: key.1 };
                found.entry(key).or_insert((id, 0));
            }
            Entry::Append { key, next_offset, batches: bytes, .. } => {
                if let Some((id, read_to)) = found.get_mut(&key)
                    && next_offset > *read_to
                {
                    let new = batches(bytes).map_while(Result::ok);
                    for batch in new.filter(|batch| batch.header().base_offset >= *read_to) {
                        each(id, batch).map_err(LogError::Io)?;
                    }
                    *read_to = next_offset;
                }
            }
            Entry::Delete { key } => {
                found.remove(&key);
            }
            Entry::Create { .. } | Entry::LogStart { .. } | Entry::LeaderEpoch { .. } => {}
        }
        Ok(())
    };
    read_log::<OpenError>(&**disk, &files, head.salt, head.wal, |frame| {
        let end = FRAME_HEADER + frame.header.payload;
        match for_each_entry(frame.bytes, FRAME_HEADER, end, &mut entry) {
            Err(LogError::Io(error)) => Err(io_at(frame.path)(error)),
            // `verify` reports an entry that makes no sense.
            Ok(()) | Err(LogError::BadEntry) => Ok(()),
        }
    })?;
    Ok(())
}

/// Why walking over a commit's entries ended early.
enum LogError {
    BadEntry,
    Io(io::Error),
}

impl From<BadEntry> for LogError {
    fn from(_: BadEntry) -> LogError {
        LogError::BadEntry
    }
}

/// What is said where a folder can only be read.
const UNLOCKED: &str =
    "the folder cannot be written to, so it is not locked: no broker must be running on it";

/// Takes the lock of a folder that holds a log. One that does not exist is not made.
pub(crate) fn lock_existing(disk: &dyn Disk, folder: &Path) -> Result<Box<dyn DirLock>, OpenError> {
    check_is_log(disk, folder)?;
    lock_folder(disk, folder)
}

/// Does the same for who changes nothing, also where nothing can be changed. Returns nothing if there
/// is no lock to be had.
fn lock_to_read(disk: &dyn Disk, folder: &Path) -> Result<Option<Box<dyn DirLock>>, OpenError> {
    check_is_log(disk, folder)?;
    match lock_folder(disk, folder) {
        Err(OpenError::Io { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) => {}
        locked => return locked.map(Some),
    }
    match disk.lock_shared(&folder.join(LOCK)) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { owner }) => Err(OpenError::Locked { path: folder.to_owned(), owner }),
        Err(LockError::Io(_)) => Ok(None),
    }
}

fn check_is_log(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    let names = disk.list(folder).map_err(io_at(folder))?;
    if !names.iter().any(|name| [CHECKPOINT_FILE, WAL, PARTITIONS].contains(&name.as_str())) {
        let reason = format!("there is no file `{CHECKPOINT_FILE}`");
        return Err(OpenError::NotALog { path: folder.to_owned(), reason });
    }
    Ok(())
}

/// The batches of a segment, and what lies between them.
pub(crate) struct WalkedSegment {
    pub(crate) batches: Vec<(usize, BatchHeader)>,
    pub(crate) problems: Vec<Problem>,
}

/// Walks over a segment. `known` is how long it must be; without that it ends where nothing sound
/// follows.
pub(crate) fn walk_segment(
    path: &Path,
    content: &[u8],
    base: i64,
    known: Option<u32>,
) -> WalkedSegment {
    let mut walked = WalkedSegment { batches: Vec::new(), problems: Vec::new() };
    let mut problem = |position: usize, reason: String| {
        walked.problems.push(Problem { path: path.to_owned(), position: position as u64, reason });
    };
    let end = known.map_or(content.len(), |bytes| bytes as usize);
    if content.len() < end {
        problem(content.len(), format!("the segment must have {end} bytes"));
    }
    let content = &content[..end.min(content.len())];
    let mut at = 0;
    let mut next_offset = base;
    while at < content.len() {
        match sound_batch(&content[at..], next_offset) {
            Ok(header) => {
                walked.batches.push((at, header));
                next_offset = header.next_offset();
                at += header.size_in_bytes();
            }
            Err(reason) => {
                let found =
                    (at + 1..content.len().saturating_sub(BATCH_HEADER_BYTES)).find(|&later| {
                        // The format's number, before anything dearer.
                        content[later + 16] == 2
                            && sound_batch(&content[later..], next_offset).is_ok()
                    });
                if found.is_some() || known.is_some() {
                    problem(at, reason);
                }
                at = found.unwrap_or(content.len());
            }
        }
    }
    walked
}

fn sound_batch(bytes: &[u8], next_offset: i64) -> Result<BatchHeader, String> {
    let batch = BatchRef::parse(bytes).map_err(|error| error.to_string())?;
    let header = *batch.header();
    if header.base_offset < next_offset || header.base_offset - next_offset > i64::from(i32::MAX) {
        return Err(format!("offset {} where {next_offset} follows", header.base_offset));
    }
    batch.verify_crc().map_err(|error| error.to_string())?;
    Ok(header)
}

/// Returns a folder's checkpoint, or what is wrong with it. Fails if it is of another version.
pub(crate) fn load_checkpoint(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<Result<Checkpoint, Problem>, OpenError> {
    let path = folder.join(CHECKPOINT_FILE);
    let reason = match read_file(disk, &path) {
        Err(error) => error.to_string(),
        Ok(content) => match decode(&content) {
            Ok(checkpoint) => return Ok(Ok(checkpoint)),
            Err(bad) => bad.reason(&path)?,
        },
    };
    Ok(Err(Problem { path, position: 0, reason }))
}
