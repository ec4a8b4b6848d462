//! The checkpoint: from where the write-ahead log must be read after a restart, and what each partition
//! was like there.
//!
//! One file, replaced as a whole. Everything the log held before its position is in synced segments
//! and in the state stored here; so a restart reads this file and the log from there on, and opens no
//! segment at all.
//!
//! ```text
//! [u8; 8] "KOHORTCP"   u32 crc32c of all that follows   u32 format version, 3
//! u64 salt   i32 leader epoch   u8 clean shutdown
//! u64 log file number   u64 position   u64 sequence   u32 previous frame's crc
//! u32 partitions, then for each:
//!   [u8; 16] topic id   i32 index   u16 length + topic name
//!   i64 log start   i64 flushed offset   i64 cleaned to   u8 flags: 1 has a folder, 2 is being deleted
//!   u32 segments:  i64 first offset   u32 generation   u32 bytes   u32 index entries
//!                  u32 last indexed   i64 max timestamp   i64 first timestamp
//!                  i64 created   i64 last written
//!   u32 epochs:    i32 epoch   i64 start offset
//!   producers, as `ProducerStates::encode` writes them
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use kohort_log::epoch_cache::{EpochCache, EpochStart};
use kohort_log::producer_state::ProducerStates;
use kohort_protocol::Uuid;

use crate::disk::{Disk, OpenMode};
use crate::error::OpenError;
use crate::failure::{is_no_space, named};
use crate::names::CHECKPOINT_FILE;
use crate::partition_id::PartitionId;
use crate::partition_log::PartitionLog;
use crate::partition_state::{PartitionState, Restored};
use crate::segment::{CHECKED_MAX, Density, SegmentMeta};
use crate::wal::entry::PartitionKey;
use crate::wal::position::WalPosition;

const MAGIC: [u8; 8] = *b"KOHORTCP";
/// Version 1 had no generations and no broker times of segments, version 2 not up to where compaction
/// came. They were never released.
const VERSION: u32 = 3;
/// Bytes before what the checksum covers.
const UNCOVERED: usize = 12;

/// Bytes reserved for the next checkpoint beyond a quarter more than this one.
const RESERVE_MORE: usize = 4096;

/// What a checkpoint says about the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointHead {
    pub(crate) salt: u64,
    pub(crate) leader_epoch: i32,
    pub(crate) clean: bool,
    pub(crate) wal: WalPosition,
}

/// A checkpoint read back.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) head: CheckpointHead,
    pub(crate) partitions: Vec<(PartitionId, Restored)>,
    /// Partitions of which the log may still speak before it says that they are deleted, or ends.
    pub(crate) deleted: BTreeSet<PartitionKey>,
}

const HAS_FOLDER: u8 = 1;
const DELETED: u8 = 2;

/// Puts a checkpoint in the place of the one before. After a power cut either is there.
///
/// It is written over room that was reserved with the one before, and reserves room for the next, so that
/// also on a full disk one can be written: it is what lets files be removed.
pub(crate) fn write(disk: &dyn Disk, folder: &Path, content: &[u8]) -> io::Result<()> {
    let path = folder.join(CHECKPOINT_FILE);
    let staged = path.with_extension("new");
    let stage = || {
        let file = disk.open(&staged, OpenMode::Write)?;
        file.write_at(content, 0)?;
        file.set_len(content.len() as u64)?;
        file.sync()
    };
    stage().map_err(|error| named(&staged, error))?;
    disk.rename(&staged, &path).map_err(|error| named(&path, error))?;
    disk.sync_dir(folder).map_err(|error| named(folder, error))?;
    // A next one that names a few more segments must fit as well.
    let reserve = vec![0; content.len() + content.len() / 4 + RESERVE_MORE];
    let reserved = disk.open(&staged, OpenMode::Write).and_then(|file| file.write_at(&reserve, 0));
    match reserved {
        Err(error) if !is_no_space(&error) => Err(named(&staged, error)),
        _ => Ok(()),
    }
}

/// Encodes a checkpoint of these partitions as they are now.
pub(crate) fn encode(head: &CheckpointHead, partitions: &[Arc<PartitionLog>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + partitions.len() * 128);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&head.salt.to_le_bytes());
    out.extend_from_slice(&head.leader_epoch.to_le_bytes());
    out.push(u8::from(head.clean));
    out.extend_from_slice(&head.wal.file_number.to_le_bytes());
    out.extend_from_slice(&head.wal.position.to_le_bytes());
    out.extend_from_slice(&head.wal.sequence.to_le_bytes());
    out.extend_from_slice(&head.wal.previous_crc.to_le_bytes());
    out.extend_from_slice(&(partitions.len() as u32).to_le_bytes());
    for partition in partitions {
        encode_partition(partition, &mut out);
    }
    let crc = crc32c::crc32c(&out[UNCOVERED..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out
}

fn encode_partition(partition: &PartitionLog, out: &mut Vec<u8>) {
    let id = partition.id();
    out.extend_from_slice(&id.topic_id.0);
    out.extend_from_slice(&id.index.to_le_bytes());
    out.extend_from_slice(&(id.topic.len() as u16).to_le_bytes());
    out.extend_from_slice(id.topic.as_bytes());
    let state = partition.state.lock();
    // Under the lock it does not move.
    let log_start = partition.log_start_offset();
    out.extend_from_slice(&log_start.to_le_bytes());
    out.extend_from_slice(&state.flushed.to_le_bytes());
    out.extend_from_slice(&state.cleaned_to.to_le_bytes());
    let folder = if state.has_dir { HAS_FOLDER } else { 0 };
    out.push(folder | if state.deleted { DELETED } else { 0 });
    out.extend_from_slice(&(state.segments.len() as u32).to_le_bytes());
    for (base, segment) in &state.segments {
        out.extend_from_slice(&base.to_le_bytes());
        out.extend_from_slice(&segment.generation.to_le_bytes());
        out.extend_from_slice(&segment.bytes.to_le_bytes());
        out.extend_from_slice(&segment.index_entries.to_le_bytes());
        out.extend_from_slice(&segment.last_indexed.to_le_bytes());
        out.extend_from_slice(&segment.max_timestamp.to_le_bytes());
        out.extend_from_slice(&segment.first_timestamp.to_le_bytes());
        out.extend_from_slice(&segment.created.to_le_bytes());
        out.extend_from_slice(&segment.written.to_le_bytes());
    }
    // Epochs and producers are those of the log's end, which may be ahead of what is flushed and even
    // of what is durable. What is ahead comes from the log on a restart, or was never durable: a
    // producer that repeats such a batch must not be told that it is there.
    let known = |e: &&EpochStart| e.start_offset < state.flushed || e.start_offset <= log_start;
    let epochs = state.epochs.entries().iter().filter(known);
    let epochs: Vec<&EpochStart> = epochs.collect();
    out.extend_from_slice(&(epochs.len() as u32).to_le_bytes());
    for entry in epochs {
        out.extend_from_slice(&entry.epoch.to_le_bytes());
        out.extend_from_slice(&entry.start_offset.to_le_bytes());
    }
    state.producers.encode(state.flushed, out);
}

/// Why a checkpoint cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadCheckpoint {
    /// What is wrong with it.
    Damaged(&'static str),
    /// It is sound, but of this format version.
    OtherVersion(u32),
}

impl BadCheckpoint {
    /// Returns the error for a folder whose checkpoint at `path` is sound but of another version, or
    /// what is wrong with it.
    pub(crate) fn reason(self, path: &Path) -> Result<String, OpenError> {
        match self {
            BadCheckpoint::Damaged(reason) => Ok(reason.to_owned()),
            BadCheckpoint::OtherVersion(found) => {
                Err(OpenError::OtherVersion { path: path.to_owned(), found, supported: VERSION })
            }
        }
    }
}

/// Reads a checkpoint. Says what is wrong with it if it is not sound.
pub(crate) fn decode(bytes: &[u8]) -> Result<Checkpoint, BadCheckpoint> {
    let damaged = |reason| Err(BadCheckpoint::Damaged(reason));
    if bytes.len() < UNCOVERED + 4 || bytes[..8] != MAGIC {
        return damaged("it does not begin as a checkpoint");
    }
    let crc = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
    if crc != crc32c::crc32c(&bytes[UNCOVERED..]) {
        return damaged("its checksum is wrong");
    }
    let mut input = Input { bytes, at: UNCOVERED };
    match input.u32() {
        Some(VERSION) => {}
        version => return Err(BadCheckpoint::OtherVersion(version.unwrap_or(0))),
    }
    decode_body(&mut input).ok_or(BadCheckpoint::Damaged("its content makes no sense"))
}

fn decode_body(input: &mut Input<'_>) -> Option<Checkpoint> {
    let head = CheckpointHead {
        salt: input.u64()?,
        leader_epoch: input.i32()?,
        clean: input.u8()? != 0,
        wal: WalPosition {
            file_number: input.u64()?,
            position: input.u64()?,
            sequence: input.u64()?,
            previous_crc: input.u32()?,
        },
    };
    let count = input.u32()?;
    let mut partitions = Vec::new();
    let mut deleted = BTreeSet::new();
    // Partitions of a topic stand together and share its name.
    let mut names: BTreeMap<Uuid, Arc<str>> = BTreeMap::new();
    for _ in 0..count {
        let (id, restored) = decode_partition(input, &mut names)?;
        if restored.state.deleted {
            deleted.insert((id.topic_id, id.index));
        } else {
            partitions.push((id, restored));
        }
    }
    (input.at == input.bytes.len()).then_some(Checkpoint { head, partitions, deleted })
}

fn decode_partition(
    input: &mut Input<'_>,
    names: &mut BTreeMap<Uuid, Arc<str>>,
) -> Option<(PartitionId, Restored)> {
    let topic_id = Uuid(input.take::<16>()?);
    let index = input.i32()?;
    let length = usize::from(u16::from_le_bytes(input.take()?));
    let name = str::from_utf8(input.bytes.get(input.at..input.at + length)?).ok()?;
    input.at += length;
    let topic = Arc::clone(names.entry(topic_id).or_insert_with(|| Arc::from(name)));
    let log_start = input.i64()?;
    let flushed = input.i64()?;
    let cleaned_to = input.i64()?;
    let flags = input.u8()?;
    let mut state = PartitionState {
        next_offset: flushed,
        flushed,
        cleaned_to,
        has_dir: flags & HAS_FOLDER != 0,
        deleted: flags & DELETED != 0,
        ..PartitionState::default()
    };
    for _ in 0..input.u32()? {
        let base = input.i64()?;
        let (generation, bytes) = (input.u32()?, input.u32()?);
        let segment = SegmentMeta {
            generation,
            bytes,
            index_entries: input.u32()?,
            last_indexed: input.u32()?,
            max_timestamp: input.i64()?,
            first_timestamp: input.i64()?,
            created: input.i64()?,
            written: input.i64()?,
            unsynced: false,
            maybe_longer: true,
            written_from: bytes,
            checked: [(0, 0); CHECKED_MAX],
            density: Density::Unknown,
        };
        state.segments.insert(base, segment);
    }
    let mut epochs = Vec::new();
    for _ in 0..input.u32()? {
        epochs.push(EpochStart { epoch: input.i32()?, start_offset: input.i64()? });
    }
    state.epochs = EpochCache::from_entries(epochs)?;
    let (producers, length) = ProducerStates::decode(&input.bytes[input.at..])?;
    state.producers = producers;
    input.at += length;
    Some((PartitionId { topic_id, topic, index }, Restored { log_start, state, untidy: true }))
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(N)?)?.try_into().ok()?;
        self.at += N;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }
}
