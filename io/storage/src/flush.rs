//! Writes committed records to segments: lazily, in offset order, through the page cache.
//!
//! The write-ahead log already holds the records, so nothing here needs to be durable until a
//! checkpoint says so; a write that fails for want of space is simply tried again later at the same
//! place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use kohort_log::roll::{ActiveSegment, IncomingBatch, must_roll};
use kohort_log::sparse_index::{ENTRY_BYTES, IndexBuilder};
use kohort_log::{PartitionConfig, Timestamp};
use kohort_protocol::records::{BatchHeader, batches};

use crate::broken::{is_lost, named};
use crate::disk::{DiskFile, OpenMode};
use crate::file_cache::{FileKey, FileKind};
use crate::partition_log::{Chunk, PartitionId, PartitionLog};
use crate::segment::{SegmentMeta, SegmentName, index_path, records_path};
use crate::wal::writer::{is_no_space, is_out_of_handles};

/// Batches are gathered up to this size, without copying them, before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// Why records could not be written to segments.
#[derive(Debug)]
pub(crate) enum FlushError {
    /// There is no space now, or no handle to open a file with.
    NoSpace(io::Error),
    /// The disk failed.
    Failed(io::Error),
}

impl From<io::Error> for FlushError {
    fn from(error: io::Error) -> Self {
        if is_no_space(&error) { FlushError::NoSpace(error) } else { FlushError::Failed(error) }
    }
}

impl FlushError {
    /// Judges a failed sync: whatever it says, what it did not write may be gone from memory, too.
    /// Only if nothing could be opened to be synced, it can be tried again.
    pub(crate) fn of_sync(error: io::Error) -> FlushError {
        if is_out_of_handles(&error) {
            FlushError::NoSpace(error)
        } else {
            FlushError::Failed(error)
        }
    }
}

/// So much is written before it is taken note of. On a disk that fills up meanwhile, what was written
/// until then counts, and the log need not keep it.
const SLICE_BYTES: usize = 8 << 20;

/// Writes what `partition` has committed to its segments. Only one thread at a time may do this.
pub(crate) fn flush_partition(partition: &PartitionLog) -> Result<(), FlushError> {
    // First, so that a commit from here on puts the partition on the list again.
    partition.dirty.store(false, Ordering::Release);
    while flush_slice(partition)? {}
    Ok(())
}

/// Writes a part of it; returns whether there may be more.
fn flush_slice(partition: &PartitionLog) -> Result<bool, FlushError> {
    let (chunks, has_dir, active, below) = {
        let state = partition.state.lock();
        if state.deleted {
            return Ok(false);
        }
        let flushed = state.flushed;
        let first = state.tail.partition_point(|chunk| chunk.next_offset <= flushed);
        let mut chunks: Vec<Chunk> = state.tail.iter().skip(first).cloned().collect();
        let active = state.segments.last_key_value().map(|(&base, &meta)| (base, meta));
        // What was deleted before it was written need not be.
        let log_start = partition.log_start_offset();
        let below = chunks.partition_point(|chunk| chunk.next_offset <= log_start);
        let below: Vec<Chunk> = chunks.drain(..below).collect();
        let mut bytes = 0;
        let slice = chunks.iter().take_while(|chunk| {
            bytes += chunk.bytes.len();
            bytes <= SLICE_BYTES
        });
        let slice = slice.count().max(1);
        chunks.truncate(slice);
        (chunks, state.has_dir, active, below)
    };
    let Some(last) = chunks.last().or(below.last()) else { return Ok(false) };
    let next_offset = last.next_offset;
    let bytes: usize = below.iter().chain(&chunks).map(|chunk| chunk.bytes.len()).sum();
    let written = if chunks.is_empty() {
        Vec::new()
    } else {
        write_chunks(partition, &chunks, has_dir, active)?
    };
    let mut state = partition.state.lock();
    if !state.deleted {
        let before = state.segments.len();
        for (base, mut meta) in written {
            // Readers went on checking meanwhile.
            if let Some(known) = state.segments.get(&base) {
                meta.checked = known.checked;
            }
            state.segments.insert(base, meta);
        }
        state.flushed = next_offset;
        partition.shared.take_unflushed(bytes);
        if state.segments.len() > before && partition.config().compacted {
            // There is a segment more that is not active.
            partition.shared.cleaning.want();
        }
    }
    Ok(true)
}

/// Writes chunks at the end of the last segment and returns the segments as they are then.
fn write_chunks(
    partition: &PartitionLog,
    chunks: &[Chunk],
    has_dir: bool,
    active: Option<(i64, SegmentMeta)>,
) -> Result<Vec<(i64, SegmentMeta)>, FlushError> {
    let dir = partition.dir();
    partition.tidy()?;
    if !has_dir || active.is_none() {
        make_dir(partition, &dir)?;
    }
    let mut writer = SegmentWriter {
        partition,
        dir: &dir,
        now: partition.shared.config.clock.now(),
        config: partition.config(),
        written: Vec::new(),
        active: None,
    };
    if let Some((base, meta)) = active {
        match writer.resume(base, meta) {
            Ok(()) => {}
            // What is acknowledged goes to a segment of its own, beside what is lost.
            Err(ResumeError::Lost { path, reason }) => {
                partition.fail_alone(&path, reason);
                make_dir(partition, &dir)?;
            }
            Err(ResumeError::Flush(error)) => return Err(error),
        }
    }
    for chunk in chunks {
        writer.write_chunk(chunk)?;
    }
    writer.finish()?;
    Ok(writer.written)
}

/// Makes a partition's folder, or what is missing of it.
fn make_dir(partition: &PartitionLog, dir: &Path) -> Result<(), FlushError> {
    create_dir(partition, dir)?;
    let mut state = partition.state.lock();
    state.has_dir = true;
    state.new_dir = true;
    Ok(())
}

/// What of a partition is to be made durable: segments that were written to, and how long they were.
#[derive(Debug)]
pub(crate) struct Unsynced {
    partition: Arc<PartitionLog>,
    /// Whether no sync has covered the file yet that tells whose the folder is.
    new_dir: bool,
    segments: Vec<(SegmentName, u32)>,
}

/// Lists what of a partition is not durable.
pub(crate) fn unsynced(partition: &Arc<PartitionLog>) -> Option<Unsynced> {
    let state = partition.state.lock();
    if state.deleted {
        return None;
    }
    let written = state.segments.iter().filter(|(_, meta)| meta.unsynced);
    let segments: Vec<_> = written.map(|(&base, meta)| (meta.name(base), meta.bytes)).collect();
    let new_dir = state.new_dir;
    let any = new_dir || !segments.is_empty();
    any.then(|| Unsynced { partition: Arc::clone(partition), new_dir, segments })
}

impl Unsynced {
    /// Makes it durable. Segments may be written to meanwhile; what is added then may be durable or
    /// not.
    pub(crate) fn sync(&self) -> Result<(), FlushError> {
        match self.sync_files() {
            Ok(()) => self.note_synced(),
            // Its files may have been removed under our hands.
            Err(_) if self.partition.state.lock().deleted => {}
            // Somebody removed it: nothing that could be synced is there.
            Err((path, error)) if error.kind() == io::ErrorKind::NotFound => {
                self.partition.fail_alone(&path, error.to_string());
            }
            Err((path, error)) => return Err(FlushError::of_sync(named(&path, error))),
        }
        Ok(())
    }

    /// Notes that it is durable.
    pub(crate) fn note_synced(&self) {
        let mut state = self.partition.state.lock();
        state.new_dir = false;
        for (name, bytes) in &self.segments {
            if let Some(meta) = state.segments.get_mut(&name.base_offset)
                && meta.generation == name.generation
                && meta.bytes == *bytes
            {
                meta.unsynced = false;
            }
        }
    }

    /// Fails with the file or folder that could not be synced.
    fn sync_files(&self) -> Result<(), (PathBuf, io::Error)> {
        let partition = &*self.partition;
        let shared = &partition.shared;
        let dir = partition.dir();
        if self.new_dir {
            let path = dir.join(PARTITION_FILE);
            let opened = shared.disk.open(&path, OpenMode::Existing);
            opened.and_then(|file| file.sync()).map_err(|error| (path, error))?;
        }
        for &(segment, _) in &self.segments {
            for (kind, path) in [
                (FileKind::Records, records_path(&dir, segment)),
                (FileKind::Index, index_path(&dir, segment)),
            ] {
                let key = FileKey { partition: partition.uid, segment, kind };
                let opened = shared.files.get(&*shared.disk, key, &path, false);
                opened.and_then(|file| file.sync()).map_err(|error| (path, error))?;
            }
        }
        shared.disk.sync_dir(&dir).map_err(|error| (dir, error))
    }
}

/// Creates a partition's folder with the file that tells whose it is. Nothing of it is durable: as long
/// as no checkpoint says that there is a folder, it is made anew.
pub(crate) fn create_dir(
    partition: &PartitionLog,
    dir: &Path,
) -> Result<Arc<dyn DiskFile>, FlushError> {
    let disk = &partition.shared.disk;
    let write = || {
        disk.create_dir_all(dir)?;
        let file = disk.open(&dir.join(PARTITION_FILE), OpenMode::Write)?;
        file.set_len(0)?;
        file.write_at(partition_file(partition.id()).as_bytes(), 0)?;
        Ok(file)
    };
    write().map_err(|error| named(dir, error).into())
}

/// Returns what the file in a partition's folder says.
pub(crate) fn partition_file(id: &PartitionId) -> String {
    let PartitionId { topic, index, topic_id } = id;
    format!("kohort-partition 1\ntopic {topic}\nindex {index}\ntopic-id {topic_id}\n")
}

/// The file in a partition's folder that tells which partition it is.
pub(crate) const PARTITION_FILE: &str = "partition";

struct SegmentWriter<'a> {
    partition: &'a PartitionLog,
    dir: &'a Path,
    now: Timestamp,
    config: Arc<PartitionConfig>,
    /// Segments as they are after what was written so far.
    written: Vec<(i64, SegmentMeta)>,
    active: Option<Active>,
}

/// A segment that is written to.
pub(crate) struct Active {
    base: i64,
    pub(crate) meta: SegmentMeta,
    records: Arc<dyn DiskFile>,
    index: Arc<dyn DiskFile>,
    builder: IndexBuilder,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    entries: Vec<u8>,
}

impl SegmentWriter<'_> {
    fn write_chunk(&mut self, chunk: &Chunk) -> Result<(), FlushError> {
        // Batches from here on are not yet written: they are written together where they can be.
        let mut from = 0;
        let mut at = 0;
        for batch in batches(&chunk.bytes) {
            let batch = batch.map_err(|error| FlushError::Failed(io::Error::other(error)))?;
            let header = *batch.header();
            if self.must_roll(&header, at - from) {
                self.write_bytes(chunk.bytes.slice(from..at))?;
                from = at;
                self.roll(header.base_offset)?;
            }
            let active = self.active.as_mut().expect("rolling made a segment");
            active.note(&header, (at - from) as u32);
            at += header.size_in_bytes();
        }
        self.write_bytes(chunk.bytes.slice(from..at))
    }

    fn must_roll(&self, header: &BatchHeader, not_written: usize) -> bool {
        let Some(active) = &self.active else { return true };
        let first_timestamp = Some(active.meta.first_timestamp).filter(|&first| first >= 0);
        let segment = ActiveSegment {
            base_offset: active.base,
            bytes: active.size() + not_written as u32,
            first_timestamp,
            created: active.meta.created,
            seed: active.base as u64 ^ self.partition.id().seed(),
        };
        let incoming = IncomingBatch {
            last_offset: header.last_offset(),
            bytes: header.size_in_bytes(),
            max_timestamp: header.max_timestamp,
        };
        must_roll(&self.config, &segment, &incoming, self.now)
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<(), FlushError> {
        match &mut self.active {
            Some(active) if !bytes.is_empty() => active.write(bytes),
            _ => Ok(()),
        }
    }

    fn roll(&mut self, base: i64) -> Result<(), FlushError> {
        self.finish()?;
        let new = SegmentMeta::empty(self.now);
        match self.resume(base, new) {
            // The folder was removed while the broker ran.
            Err(ResumeError::Lost { path, reason }) => {
                self.partition.fail_alone(&path, reason);
                make_dir(self.partition, self.dir)?;
                self.resume(base, new).map_err(ResumeError::into_flush)
            }
            resumed => resumed.map_err(ResumeError::into_flush),
        }
    }

    /// Opens a segment to write at its end. One that has records must be there and have them: what is
    /// written behind a hole could not be read.
    fn resume(&mut self, base: i64, mut meta: SegmentMeta) -> Result<(), ResumeError> {
        let name = meta.name(base);
        let path = records_path(self.dir, name);
        let records = open(self.partition, FileKind::Records, name, &path, meta.bytes == 0)
            .map_err(|error| ResumeError::of(&path, error))?;
        if meta.maybe_longer {
            let length = records.len().map_err(FlushError::from)?;
            if length < u64::from(meta.bytes) {
                let reason = format!("it has {length} bytes and must have {}", meta.bytes);
                return Err(ResumeError::Lost { path, reason });
            }
        }
        let path = index_path(self.dir, name);
        let index = open(self.partition, FileKind::Index, name, &path, true)
            .map_err(|error| ResumeError::of(&path, error))?;
        if meta.maybe_longer {
            // What lies beyond is from before a crash and will be written again.
            records.set_len(u64::from(meta.bytes)).map_err(FlushError::from)?;
            let entries = u64::from(meta.index_entries) * ENTRY_BYTES as u64;
            index.set_len(entries).map_err(FlushError::from)?;
            meta.maybe_longer = false;
        }
        let interval = self.config.index_interval_bytes;
        self.active = Some(Active::new(base, meta, records, index, interval));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), FlushError> {
        if let Some(mut active) = self.active.take() {
            active.write_gathered()?;
            active.write_entries()?;
            active.meta.written = self.now;
            self.written.push((active.base, active.meta));
        }
        Ok(())
    }
}

impl Active {
    /// Goes on at the end of a segment.
    pub(crate) fn new(
        base: i64,
        meta: SegmentMeta,
        records: Arc<dyn DiskFile>,
        index: Arc<dyn DiskFile>,
        index_interval_bytes: u32,
    ) -> Active {
        let builder =
            IndexBuilder::new(index_interval_bytes, meta.last_indexed, meta.max_timestamp);
        let (gathered, entries) = (Vec::new(), Vec::new());
        Active { base, meta, records, index, builder, gathered, gathered_bytes: 0, entries }
    }

    /// Writes what is gathered and makes everything durable. Only for files nobody relies on yet: that the
    /// disk is full may come out only now, and loses nothing.
    pub(crate) fn sync(&mut self) -> Result<(), FlushError> {
        self.write_gathered()?;
        self.write_entries()?;
        self.records.sync()?;
        self.index.sync()?;
        self.meta.unsynced = false;
        Ok(())
    }

    /// Size including what is gathered but not written.
    fn size(&self) -> u32 {
        self.meta.bytes + self.gathered_bytes as u32
    }

    /// Takes note of a batch that lies `ahead` bytes after the end.
    pub(crate) fn note(&mut self, header: &BatchHeader, ahead: u32) {
        let position = self.size() + ahead;
        let relative = (header.base_offset - self.base) as u32;
        if let Some(entry) = self.builder.add(relative, position, header.max_timestamp) {
            self.entries.extend_from_slice(&entry.encode());
            self.meta.last_indexed = position;
        }
        if position == 0 {
            self.meta.first_timestamp = header.max_timestamp;
        }
        self.meta.max_timestamp = self.builder.max_timestamp();
    }

    /// Adds whole batches, which are written together with others.
    pub(crate) fn write(&mut self, bytes: Bytes) -> Result<(), FlushError> {
        if self.gathered_bytes + bytes.len() > WRITE_BYTES {
            self.write_gathered()?;
        }
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        Ok(())
    }

    fn write_gathered(&mut self) -> Result<(), FlushError> {
        if !self.gathered.is_empty() {
            let pieces: Vec<&[u8]> = self.gathered.iter().map(AsRef::as_ref).collect();
            self.records.write_pieces_at(&pieces, u64::from(self.meta.bytes))?;
            self.meta.bytes += self.gathered_bytes as u32;
            self.meta.unsynced = true;
            self.gathered_bytes = 0;
            self.gathered.clear();
        }
        Ok(())
    }

    fn write_entries(&mut self) -> Result<(), FlushError> {
        if !self.entries.is_empty() {
            let position = u64::from(self.meta.index_entries) * ENTRY_BYTES as u64;
            self.index.write_at(&self.entries, position)?;
            self.meta.index_entries += (self.entries.len() / ENTRY_BYTES) as u32;
            self.entries.clear();
        }
        Ok(())
    }
}

/// Why a segment cannot be written to.
enum ResumeError {
    /// It is gone, or not what it was.
    Lost { path: PathBuf, reason: String },
    /// There is no room, or the disk failed.
    Flush(FlushError),
}

impl ResumeError {
    fn of(path: &Path, error: io::Error) -> ResumeError {
        if is_lost(&error) {
            ResumeError::Lost { path: path.to_owned(), reason: error.to_string() }
        } else {
            ResumeError::Flush(named(path, error).into())
        }
    }

    fn into_flush(self) -> FlushError {
        match self {
            ResumeError::Lost { path, reason } => {
                FlushError::Failed(io::Error::other(format!("{}: {reason}", path.display())))
            }
            ResumeError::Flush(error) => error,
        }
    }
}

impl From<FlushError> for ResumeError {
    fn from(error: FlushError) -> Self {
        ResumeError::Flush(error)
    }
}

fn open(
    partition: &PartitionLog,
    kind: FileKind,
    segment: SegmentName,
    path: &Path,
    create: bool,
) -> io::Result<Arc<dyn DiskFile>> {
    let key = FileKey { partition: partition.uid, segment, kind };
    partition.shared.files.get(&*partition.shared.disk, key, path, create)
}
