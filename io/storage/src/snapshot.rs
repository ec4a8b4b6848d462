//! A partition's *snapshot*: what its log comes to, so that a restart need not read all of it.
//!
//! ```text
//!  log start          covers            seen               high watermark
//!      │ in the snapshot │ read again      │ read again          │
//!      ▼                 ▼                 ▼                     ▼
//!      ─────────────────────────────────────────────────────────
//! ```
//!
//! Whoever derives a state from a partition writes that state here, as record batches of the same
//! kind as the log's. It may be gathered while the state moves on: everything below `covers` is in
//! it, nothing at or above `seen` is, and what lies between may be or not. So it is right once the log
//! is replayed from `covers` on, provided that the last record for a key decides.
//!
//! A snapshot is worth nothing without the log up to `seen`. That is checked when it is written (it
//! must be durable) and when it is read: a restart may have cut the log, and it may have grown again
//! since, which the leader epoch shows. Nor does it count when compaction went past `covers`: what it
//! holds may have ended with a tombstone that is no longer there. A snapshot that does not fit is no loss; the log has it all.
//!
//! The file is `snapshot` in the partition's folder, written as `snapshot.new`, synced and renamed.
//! Its bytes are in `docs/storage-format.md`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{DiskFile, OpenMode, read_exact_at};
use crate::error::StorageError;
use crate::failure::FlushError;
use crate::names::PARTITIONS;
use crate::partition_dir::create_dir;
use crate::partition_log::PartitionLog;

const MAGIC: [u8; 8] = *b"KOHORTSN";
const VERSION: u32 = 1;
/// Bytes before what the head's checksum covers.
const UNCOVERED: usize = 12;
const HEAD: usize = 68;
/// Bytes of a batch up to and with its length field.
const BATCH_PREFIX: usize = 12;
/// How much is read at a time, unless one batch is larger.
const READ_BYTES: usize = 256 << 10;
/// No batch of a snapshot may be larger: what says so is damaged.
const BATCH_BYTES_MAX: usize = 64 << 20;

const FILE: &str = "snapshot";
const STAGED: &str = "snapshot.new";

/// A snapshot being written. Dropping it leaves the one before in force.
#[derive(Debug)]
pub struct SnapshotWriter {
    partition: Arc<PartitionLog>,
    file: Arc<dyn DiskFile>,
    length: u64,
    crc: u32,
}

/// A snapshot being read.
#[derive(Debug)]
pub struct Snapshot {
    file: Arc<dyn DiskFile>,
    covers: i64,
    length: u64,
    crc: u32,
    /// How much of the content has been read, and its checksum.
    at: u64,
    read_crc: u32,
}

/// Why a snapshot is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It does not say what it should.
    #[error("{0}")]
    Unsound(&'static str),
    /// It speaks of records that the log does not have.
    #[error("it covers offsets {covers} to {seen}, but the log is from {log_start} to {log_end}")]
    OutsideTheLog {
        /// From where on the log is to be replayed.
        covers: i64,
        /// Up to where it may know records.
        seen: i64,
        /// The first offset there is.
        log_start: i64,
        /// The offset after the last.
        log_end: i64,
    },
    /// The log was cut and has grown again.
    #[error("it was taken in leader epoch {taken_in}, but the log there is of epoch {epoch}")]
    OtherHistory {
        /// The epoch of the last record it may know.
        taken_in: i32,
        /// The epoch of the record the log has there.
        epoch: i32,
    },
    /// Compaction went past it, and may have taken tombstones away that it does not know of.
    #[error("it covers offsets to {covers}, but the log was compacted up to {cleaned}")]
    Cleaned {
        /// From where on the log is to be replayed.
        covers: i64,
        /// Up to where segments were written anew.
        cleaned: i64,
    },
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl PartitionLog {
    /// Begins a snapshot. Only one at a time may be written.
    pub fn write_snapshot(self: &Arc<Self>) -> Result<SnapshotWriter, StorageError> {
        self.shared.alive()?;
        if self.state.lock().deleted {
            return Err(StorageError::Deleted);
        }
        let dir = self.dir();
        // Writing segments makes the folder again, which does no harm: it does not know of this one.
        let of_folder = create_dir(self, &dir).map_err(|error| {
            let (FlushError::NoSpace(source) | FlushError::Failed(source)) = error;
            self.refused(source)
        })?;
        // A checkpoint may count on it already.
        of_folder.sync().map_err(|error| self.refused(error))?;
        let file = self.open(STAGED, OpenMode::Write).map_err(|error| self.refused(error))?;
        file.set_len(0).map_err(|error| self.refused(error))?;
        Ok(SnapshotWriter { partition: Arc::clone(self), file, length: 0, crc: 0 })
    }

    /// Opens the partition's snapshot, if there is one.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let file = match self.open(FILE, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(length) = file.len()?.checked_sub(HEAD as u64) else {
            return Err(SnapshotError::Unsound("it is too short"));
        };
        let mut head = [0; HEAD];
        read_exact_at(&*file, &mut head, 0)?;
        let head = Head::decode(&head).map_err(SnapshotError::Unsound)?;
        if (head.topic_id, head.index) != (self.id().topic_id.0, self.id().index) {
            return Err(SnapshotError::Unsound("it is another partition's"));
        }
        if length != head.length {
            return Err(SnapshotError::Unsound("its length is not what it says"));
        }
        let (log_start, log_end) = (self.log_start_offset(), self.high_watermark());
        let Head { covers, seen, leader_epoch: taken_in, crc, .. } = head;
        if covers < log_start || seen < covers || seen > log_end {
            return Err(SnapshotError::OutsideTheLog { covers, seen, log_start, log_end });
        }
        let epoch = self.epoch_of(seen - 1);
        if epoch != taken_in {
            return Err(SnapshotError::OtherHistory { taken_in, epoch });
        }
        let cleaned = self.cleaned_to();
        if cleaned > covers {
            return Err(SnapshotError::Cleaned { covers, cleaned });
        }
        Ok(Some(Snapshot { file, covers, length, crc, at: 0, read_crc: 0 }))
    }

    /// Removes the partition's snapshot, if there is one. One that does not fit the log must go before
    /// the log grows on, or it may seem to fit.
    pub fn discard_snapshot(&self) -> io::Result<()> {
        let disk = &self.shared.disk;
        match disk.remove_file(&self.dir().join(FILE)) {
            Ok(()) => disk.sync_dir(&self.dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns up to where segments were written anew, -1 if none was.
    fn cleaned_to(&self) -> i64 {
        let state = self.state.lock();
        let cleaned = state.segments.iter().rev().find(|(_, meta)| meta.generation > 0);
        cleaned.map_or(-1, |(&base, _)| state.segment_end(base))
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.shared.disk.open(&self.dir().join(name), mode)
    }

    /// A snapshot that fails is tried again some time: the log is the truth.
    fn refused(&self, reason: io::Error) -> StorageError {
        let path: PathBuf = self.dir().join(STAGED);
        StorageError::Io { path, reason: Arc::new(reason) }
    }
}

impl SnapshotWriter {
    /// Adds record batches.
    pub fn write(&mut self, batches: &[u8]) -> Result<(), StorageError> {
        let position = HEAD as u64 + self.length;
        let written = self.file.write_at(batches, position);
        written.map_err(|error| self.partition.refused(error))?;
        self.crc = crc32c::crc32c_append(self.crc, batches);
        self.length += batches.len() as u64;
        Ok(())
    }

    /// Puts the snapshot in the place of the one before: it has everything below `covers` and nothing
    /// from `seen` on.
    ///
    /// # Panics
    /// If records below `seen` are not durable.
    pub fn publish(self, covers: i64, seen: i64) -> Result<(), StorageError> {
        let partition = &self.partition;
        assert!(covers <= seen, "what is covered was seen");
        assert!(seen <= partition.high_watermark(), "a snapshot is of durable records only");
        let head = Head {
            topic_id: partition.id().topic_id.0,
            index: partition.id().index,
            covers,
            seen,
            leader_epoch: partition.epoch_of(seen - 1),
            length: self.length,
            crc: self.crc,
        };
        let published = self.file.write_at(&head.encode(), 0).and_then(|()| self.file.sync());
        published.and_then(|()| self.rename()).map_err(|error| partition.refused(error))
    }

    fn rename(&self) -> io::Result<()> {
        let partition = &self.partition;
        let (disk, dir) = (&partition.shared.disk, partition.dir());
        disk.rename(&dir.join(STAGED), &dir.join(FILE))?;
        disk.sync_dir(&dir)?;
        // The folder's own name may not be durable before the first checkpoint.
        disk.sync_dir(&partition.shared.path().join(PARTITIONS))
    }
}

impl Snapshot {
    /// Returns from where on the log is to be replayed after the content.
    pub fn covers(&self) -> i64 {
        self.covers
    }

    /// Returns the next batches; nothing at the end, if all of it was sound. What was returned before
    /// an error is not to be trusted.
    pub fn next_batches(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let rest = self.length - self.at;
        if rest == 0 {
            let sound = self.read_crc == self.crc;
            return if sound { Ok(None) } else { Err(SnapshotError::Unsound(WRONG_CHECKSUM)) };
        }
        let mut buffer = self.read(rest.min(READ_BYTES as u64) as usize)?;
        let mut whole = whole_batches(&buffer)?;
        if whole == 0 {
            let first = batch_size(&buffer)?;
            if first as u64 > rest {
                return Err(SnapshotError::Unsound("a batch is cut off"));
            }
            buffer = self.read(first)?;
            whole = first;
        }
        buffer.truncate(whole);
        self.at += whole as u64;
        self.read_crc = crc32c::crc32c_append(self.read_crc, &buffer);
        Ok(Some(buffer.into()))
    }

    fn read(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        read_exact_at(&*self.file, &mut buffer, HEAD as u64 + self.at)?;
        Ok(buffer)
    }
}

const WRONG_CHECKSUM: &str = "its checksum is wrong";

/// Returns how many bytes of the buffer are whole batches.
fn whole_batches(buffer: &[u8]) -> Result<usize, SnapshotError> {
    let mut whole = 0;
    while buffer.len() - whole >= BATCH_PREFIX {
        let size = batch_size(&buffer[whole..])?;
        if buffer.len() - whole < size {
            break;
        }
        whole += size;
    }
    Ok(whole)
}

fn batch_size(buffer: &[u8]) -> Result<usize, SnapshotError> {
    let length = buffer.get(8..BATCH_PREFIX).and_then(|length| length.try_into().ok());
    let length = length.map(|length| u32::from_be_bytes(length) as usize + BATCH_PREFIX);
    let sound = length.filter(|length| (BATCH_PREFIX + 1..=BATCH_BYTES_MAX).contains(length));
    sound.ok_or(SnapshotError::Unsound("a batch's length makes no sense"))
}

/// What precedes the content.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    topic_id: [u8; 16],
    index: i32,
    covers: i64,
    seen: i64,
    leader_epoch: i32,
    length: u64,
    crc: u32,
}

impl Head {
    fn encode(&self) -> [u8; HEAD] {
        let fields: [&[u8]; 10] = [
            &MAGIC,
            &[0; 4],
            &VERSION.to_le_bytes(),
            &self.topic_id,
            &self.index.to_le_bytes(),
            &self.covers.to_le_bytes(),
            &self.seen.to_le_bytes(),
            &self.leader_epoch.to_le_bytes(),
            &self.length.to_le_bytes(),
            &self.crc.to_le_bytes(),
        ];
        let mut head: [u8; HEAD] = fields.concat().try_into().expect("the fields fill it");
        let crc = crc32c::crc32c(&head[UNCOVERED..]);
        head[8..UNCOVERED].copy_from_slice(&crc.to_le_bytes());
        head
    }

    fn decode(head: &[u8; HEAD]) -> Result<Head, &'static str> {
        if head[..8] != MAGIC {
            return Err("it does not begin as a snapshot");
        }
        if u32::from_le_bytes(part(head, 8)) != crc32c::crc32c(&head[UNCOVERED..]) {
            return Err(WRONG_CHECKSUM);
        }
        if u32::from_le_bytes(part(head, 12)) != VERSION {
            return Err("it was written by another version");
        }
        Ok(Head {
            topic_id: part(head, 16),
            index: i32::from_le_bytes(part(head, 32)),
            covers: i64::from_le_bytes(part(head, 36)),
            seen: i64::from_le_bytes(part(head, 44)),
            leader_epoch: i32::from_le_bytes(part(head, 52)),
            length: u64::from_le_bytes(part(head, 56)),
            crc: u32::from_le_bytes(part(head, 64)),
        })
    }
}

fn part<const N: usize>(head: &[u8; HEAD], at: usize) -> [u8; N] {
    head[at..at + N].try_into().expect("the range has this length")
}
