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
use kohort_log::sparse_index::ENTRY_BYTES;
use kohort_log::{PartitionConfig, Timestamp};
use kohort_protocol::records::{BatchHeader, batches};

use crate::active_segment::Active;
use crate::disk::DiskFile;
use crate::failure::FlushError;
use crate::failure::{is_lost, named};
use crate::file_cache::{FileKey, FileKind};
use crate::partition_dir::create_dir;
use crate::partition_log::PartitionLog;
use crate::partition_state::Chunk;
use crate::segment::{Density, SegmentMeta, SegmentName, index_path, records_path};

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
                // Offsets that are missing stay so; what was added may have left out more.
                meta.density = match known.density {
                    Density::Gaps => Density::Gaps,
                    Density::Whole | Density::Unknown => Density::Unknown,
                };
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
    partition.tidy().map_err(|error| FlushError::from(error).at(&dir))?;
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

struct SegmentWriter<'a> {
    partition: &'a PartitionLog,
    dir: &'a Path,
    now: Timestamp,
    config: Arc<PartitionConfig>,
    /// Segments as they are after what was written so far.
    written: Vec<(i64, SegmentMeta)>,
    active: Option<Active>,
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
            Some(active) if !bytes.is_empty() => {
                let written = active.write(bytes);
                written.map_err(|error| error.at(&records_path(self.dir, active.name())))
            }
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
            let (records, index) = {
                let name = active.name();
                (records_path(self.dir, name), index_path(self.dir, name))
            };
            active.write_gathered().map_err(|error| error.at(&records))?;
            active.write_entries().map_err(|error| error.at(&index))?;
            active.meta.written = self.now;
            self.written.push((active.base, active.meta));
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
