//! Opens fetched batches on the application's side: checks, decompresses, and splits them by the
//! number of records a poll may give.
//!
//! A batch is opened once and read where it lies: without compression the records stay in the
//! answer's own bytes. It is checked as a whole before anything of it is handed out: a record that
//! contradicts its batch is an error that is told, never a record less. Control batches, aborted data and
//! holes give nothing, but reading goes on after them, so a consumer that has read everything has no lag.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use kohort_protocol::compression::{Compression, Decompressor};
use kohort_protocol::messages::fetch::AbortedTransaction;
use kohort_protocol::records::{
    BatchHeader, BatchRef, ControlRecord, MarkerKind, RecordIter, RecordView,
};

use super::fetcher::Delivery;
use super::types::{IsolationLevel, Position, TopicPartition};

/// What a reader has to know.
#[derive(Debug, Clone, Copy)]
pub struct ReaderConfig {
    /// Whether to verify checksums (`check.crcs`).
    pub check_crcs: bool,
    /// Which records are visible.
    pub isolation: IsolationLevel,
}

/// The most bytes one batch may unpack to. A batch that claims more is an attack or a mistake: brokers
/// limit batches to about a megabyte, and no codec gains more than this on data worth keeping.
pub const UNPACKED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Data of one partition on its way to the application. `H` holds its share of the byte budget.
#[derive(Debug)]
pub struct Chunk<H> {
    /// The batches and where they belong.
    pub delivery: Delivery,
    /// How far earlier polls came with them.
    pub progress: Progress<H>,
    /// Gives the bytes back when dropped.
    pub hold: H,
}

/// How far earlier polls came with a chunk.
#[derive(Debug)]
pub struct Progress<H> {
    /// A batch of which some records were given, others not.
    opened: Option<OpenBatch<H>>,
    /// Producers whose transaction was aborted and whose marker has not come by yet.
    aborting: BTreeSet<i64>,
}

impl<H> Default for Progress<H> {
    fn default() -> Self {
        Self { opened: None, aborting: BTreeSet::new() }
    }
}

/// Where unpacked records lie, and who accounts for them.
pub trait Memory<H> {
    /// Whether another batch may be unpacked now.
    fn admits(&self) -> bool;
    /// Returns memory to unpack into, best what was used before: it grows as need be.
    fn spare(&self) -> Vec<u8>;
    /// Takes memory whose first `filled` bytes are unpacked records, for as long as they are needed.
    fn keep(&self, memory: Vec<u8>, filled: usize) -> (Bytes, H);
}

/// How much to open.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// At most so many records: the last batch is split.
    pub records: usize,
    /// No further batch once so many bytes of records are open.
    pub bytes: usize,
}

impl Limit {
    /// At most so many records, whatever their size.
    pub fn records(records: usize) -> Self {
        Self { records, bytes: usize::MAX }
    }
}

/// A batch ready to be walked: borrowed records, no allocation for any of them.
#[derive(Debug, Clone)]
pub struct OpenBatch<H> {
    header: BatchHeader,
    records: Bytes,
    /// Records below this offset were read before.
    first_offset: i64,
    /// Keeps the memory accounted for.
    hold: H,
}

impl<H> OpenBatch<H> {
    /// Walks over the records.
    pub fn iter(&self) -> impl Iterator<Item = RecordView<'_>> + use<'_, H> {
        self.records().map_while(Result::ok).filter(|record| record.offset >= self.first_offset)
    }

    /// Returns the batch's header; its record count says how many records this part has.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Returns how many records there are, at most.
    pub fn len(&self) -> usize {
        self.header.record_count.max(0) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Walks over the stored records without leaving any out. They were checked, so none is an error.
    pub fn records(&self) -> RecordIter<'_> {
        RecordIter::new(&self.header, &self.records)
    }

    /// The first offset wanted.
    pub fn first_offset(&self) -> i64 {
        self.first_offset
    }

    /// Returns the batch with a copy of its records, so that it holds no memory but that.
    pub fn detached(&self, copy: impl FnOnce(&H, &[u8]) -> Bytes) -> OpenBatch<()> {
        let records = copy(&self.hold, &self.records);
        OpenBatch { header: self.header, records, first_offset: self.first_offset, hold: () }
    }

    /// Returns the batch's memory of a part of one of its records.
    ///
    /// # Panics
    /// If the part is not one of this batch's.
    pub fn slice_ref(&self, part: &[u8]) -> Bytes {
        self.records.slice_ref(part)
    }

    /// Returns how many bytes the records take, unpacked.
    pub fn size_in_bytes(&self) -> usize {
        self.records.len()
    }
}

impl<H: Clone> OpenBatch<H> {
    /// Parts the batch before its record number `count`, and says that record's offset. `None` when
    /// the records contradict the batch.
    fn split(&self, count: usize) -> Option<(Self, Self, i64)> {
        let mut at = 0;
        for _ in 0..count {
            let (length, bytes) = read_varint(self.records.get(at..)?)?;
            at += bytes + usize::try_from(length).ok()?;
        }
        let mut rest = self.clone();
        rest.records = (at <= self.records.len()).then(|| self.records.slice(at..))?;
        rest.header.record_count -= count as i32;
        let next = rest.records().next()?.ok()?.offset;
        let mut front = self.clone();
        front.records = self.records.slice(..at);
        front.header.record_count = count as i32;
        Some((front, rest, next))
    }
}

/// What one chunk gave.
#[derive(Debug)]
pub struct Opened<H> {
    /// Batches with records, in order.
    pub batches: Vec<OpenBatch<H>>,
    /// How many records they have.
    pub records: usize,
    /// How many bytes those take.
    pub bytes: usize,
    /// Where reading goes on.
    pub position: Position,
    /// What is left for the next poll.
    pub rest: Option<Chunk<H>>,
    /// What stopped the reading: it stays at `position`.
    pub error: Option<CorruptBatch>,
    /// Whether it stopped because there is no memory to unpack into.
    pub no_room: bool,
}

/// Data that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} of `{partition}` cannot be read: {why}")]
pub struct CorruptBatch {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the batch, or where reading stopped in it.
    pub offset: i64,
    /// What is wrong.
    pub why: String,
}

/// See the [module](self). Keeps the codecs' memory from batch to batch.
#[derive(Debug)]
pub struct Reader {
    config: ReaderConfig,
    decompressor: Decompressor,
}

impl Reader {
    /// Starts a reader.
    pub fn new(config: ReaderConfig) -> Self {
        Self { config, decompressor: Decompressor::new() }
    }

    /// Opens batches of a chunk up to a limit.
    pub fn open<H: Clone>(
        &mut self,
        mut chunk: Chunk<H>,
        limit: Limit,
        memory: &dyn Memory<H>,
    ) -> Opened<H> {
        let mut opened = Opened {
            batches: Vec::new(),
            records: 0,
            bytes: 0,
            position: chunk.delivery.position,
            rest: None,
            error: None,
            no_room: false,
        };
        loop {
            let batch = match chunk.progress.opened.take() {
                Some(batch) => batch,
                None if chunk.delivery.records.is_empty() => {
                    // Holes after the last batch are passed, too.
                    opened.position = chunk.delivery.next;
                    return opened;
                }
                None if opened.records >= limit.records || opened.bytes >= limit.bytes => break,
                None => match self.next_batch(&mut chunk, memory) {
                    Ok(Next::Batch(batch)) => batch,
                    Ok(Next::Nothing) => {
                        opened.position = chunk.delivery.position;
                        continue;
                    }
                    Ok(Next::NoRoom) => {
                        opened.no_room = true;
                        break;
                    }
                    Err(error) => {
                        opened.error = Some(error);
                        break;
                    }
                },
            };
            let room = limit.records.saturating_sub(opened.records);
            let epoch = chunk.delivery.position.leader_epoch;
            if batch.len() <= room {
                opened.records += batch.len();
                opened.bytes += batch.size_in_bytes();
                opened.position =
                    Position { offset: batch.header.next_offset(), leader_epoch: epoch };
                chunk.delivery.position = opened.position;
                opened.batches.push(batch);
                continue;
            }
            match batch.split(room) {
                Some((front, rest, next)) => {
                    opened.records += front.len();
                    opened.bytes += front.size_in_bytes();
                    opened.batches.push(front);
                    opened.position =
                        Position { offset: next.max(rest.first_offset), leader_epoch: epoch };
                    chunk.progress.opened = Some(rest);
                }
                None => {
                    opened.error = Some(CorruptBatch {
                        partition: chunk.delivery.partition.clone(),
                        offset: batch.header.base_offset,
                        why: "a record contradicts its batch".to_owned(),
                    });
                }
            }
            break;
        }
        opened.rest = Some(chunk);
        opened
    }

    /// Opens the next batch of a chunk and moves the chunk past it.
    fn next_batch<H: Clone>(
        &mut self,
        chunk: &mut Chunk<H>,
        memory: &dyn Memory<H>,
    ) -> Result<Next<H>, CorruptBatch> {
        let wanted = chunk.delivery.position.offset;
        let batch = BatchRef::parse(&chunk.delivery.records)
            .map_err(|error| corrupt(chunk, wanted, &error))?;
        let header = *batch.header();
        let base = header.base_offset;
        let compression = header.compression().map_err(|error| corrupt(chunk, base, &error))?;
        if compression != Compression::None && !memory.admits() {
            return Ok(Next::NoRoom);
        }
        if self.config.check_crcs {
            batch.verify_crc().map_err(|error| corrupt(chunk, base, &error))?;
        }
        let (aborted, aborting) = (&mut chunk.delivery.aborted, &mut chunk.progress.aborting);
        let visible = header.next_offset() > wanted
            && is_visible(self.config.isolation, aborted, aborting, &batch);
        let opened = if visible && header.record_count > 0 {
            let (records, hold) = if compression == Compression::None {
                let records = chunk.delivery.records.slice(HEADER..header.size_in_bytes());
                (records, chunk.hold.clone())
            } else {
                let mut space = memory.spare();
                let unpacked = self
                    .decompressor
                    .decompress(compression, batch.payload(), &mut space, UNPACKED_BYTES_MAX)
                    .map_err(|error| corrupt(chunk, base, &error))?;
                let filled = unpacked.len();
                memory.keep(space, filled)
            };
            for record in RecordIter::new(&header, &records) {
                record.map_err(|error| corrupt(chunk, base, &error))?;
            }
            Next::Batch(OpenBatch { header, records, first_offset: wanted, hold })
        } else {
            Next::Nothing
        };
        chunk.delivery.records.advance(header.size_in_bytes());
        let leader_epoch =
            (header.partition_leader_epoch >= 0).then_some(header.partition_leader_epoch);
        let offset = match opened {
            Next::Batch(_) => wanted,
            _ => header.next_offset().max(wanted),
        };
        chunk.delivery.position = Position { offset, leader_epoch };
        Ok(opened)
    }
}

/// What came next.
enum Next<H> {
    Batch(OpenBatch<H>),
    /// A batch with nothing for the application.
    Nothing,
    /// A batch that cannot be unpacked yet.
    NoRoom,
}

#[cold]
fn corrupt<H>(chunk: &Chunk<H>, offset: i64, why: &dyn std::fmt::Display) -> CorruptBatch {
    CorruptBatch { partition: chunk.delivery.partition.clone(), offset, why: why.to_string() }
}

/// Hides control batches, and the data of aborted transactions from readers of committed data.
fn is_visible(
    isolation: IsolationLevel,
    aborted: &mut Vec<AbortedTransaction>,
    aborting: &mut BTreeSet<i64>,
    batch: &BatchRef<'_>,
) -> bool {
    let header = batch.header();
    if isolation == IsolationLevel::ReadCommitted {
        aborted.retain(|aborted| {
            let begun = aborted.first_offset <= header.last_offset();
            if begun {
                aborting.insert(aborted.producer_id);
            }
            !begun
        });
        if header.is_control() {
            if is_abort(batch) {
                aborting.remove(&header.producer_id);
            }
            return false;
        }
        return !(header.is_transactional() && aborting.contains(&header.producer_id));
    }
    !header.is_control()
}

fn is_abort(batch: &BatchRef<'_>) -> bool {
    let Some(Ok(record)) = RecordIter::new(batch.header(), batch.payload()).next() else {
        return false;
    };
    matches!(
        ControlRecord::parse(record.key, record.value),
        Some(ControlRecord::EndTransaction(marker)) if marker.kind == MarkerKind::Abort
    )
}

/// Reads a zigzag varint and its length.
fn read_varint(bytes: &[u8]) -> Option<(i32, usize)> {
    let mut value: u32 = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i32 ^ -((value & 1) as i32), at + 1));
        }
    }
    None
}

const HEADER: usize = kohort_protocol::records::BATCH_HEADER_BYTES;

#[cfg(test)]
mod tests;
