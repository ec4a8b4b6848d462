//! What an operator can see of a folder without a broker: whether it is sound (`verify`), what it
//! holds (`dump`), and the records of one topic (`read_topic`). Nothing is changed; the broker must not
//! be running, since what it is writing would look like damage.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::records::{BatchRef, batches};

use crate::disk::{Disk, read_file};
use crate::error::{OpenError, io_at};
use crate::mend::{Mend, Surveyed};
use crate::names::{CHECKPOINT_FILE, PARTITIONS, WAL};
use crate::offline::{UNLOCKED, load_checkpoint, lock_to_read};
use crate::partition_id::{PartitionId, dir_name};
use crate::partition_state::Restored;
use crate::segment::records_path;
use crate::strays::list_strays;
use crate::wal::entry::{BadEntry, Entry, PartitionKey, for_each_entry};
use crate::wal::frame::FRAME_HEADER;
use crate::wal::reader::{find_files, read_log};
use crate::walk::{Problem, walk_segment};

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

/// Reads everything in a folder and reports what is damaged: what [`repair`](crate::repair()) takes out.
/// Changes nothing.
pub fn verify(disk: &Arc<dyn Disk>, folder: &Path) -> Result<VerifyReport, OpenError> {
    let lock = lock_to_read(&**disk, folder)?;
    let set_aside = list_strays(&**disk, folder).unwrap_or_default();
    let mut look = Mend::look(&**disk, folder);
    let Surveyed { partitions, log, .. } = look.survey()?;
    Ok(VerifyReport {
        problems: look.problems,
        partitions: partitions.len(),
        batches: look.batches,
        commits: log.frames.len() as u64,
        torn: log.torn,
        set_aside,
        unlocked: lock.is_none(),
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
        dump_partition(&**disk, folder, (id, restored), head.leader_epoch, out)?;
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
    (id, restored): (&PartitionId, &Restored),
    leader_epoch: i32,
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
        let limits = restored.limits(base, leader_epoch);
        let segment = walk_segment(&path, &content, Some(meta.bytes), &limits);
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
        reason: io::Error::new(io::ErrorKind::InvalidData, problem.reason),
    })?;
    // Up to where each partition of the topic has been read.
    let mut found: BTreeMap<PartitionKey, (PartitionId, i64)> = BTreeMap::new();
    for (id, restored) in checkpoint.partitions.iter().filter(|(id, _)| *id.topic == *topic) {
        let dir = folder.join(PARTITIONS).join(dir_name(id));
        for (&base, meta) in &restored.state.segments {
            let path = records_path(&dir, meta.name(base));
            let Ok(content) = read_file(&**disk, &path) else { continue };
            let limits = restored.limits(base, checkpoint.head.leader_epoch);
            let walked = walk_segment(&path, &content, Some(meta.bytes), &limits);
            for (position, header) in walked.batches {
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
