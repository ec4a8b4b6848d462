//! Reading: from memory close behind the end, from segments further back.
//!
//! Readers get whole batches and nothing above the high watermark. What comes from a segment is checked
//! against the batches' checksums, so that rot on the disk becomes an error for this partition and never
//! wrong records.

use bytes::Bytes;
use kohort_protocol::records::{BATCH_HEADER_BYTES, BatchError, BatchHeader};
use parking_lot::MutexGuard;

use crate::error::{ReadError, StorageError};
use crate::file_records::Records;
use crate::open_segment::OpenSegment;
use crate::partition_log::PartitionLog;
use crate::partition_state::{Chunk, PartitionState};
use crate::segment::{Density, SegmentMeta, SegmentName};
use crate::segment_scan::Located;
use crate::whole_batches::{first_batch_bytes, whole_batches};

/// Which records a reader wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everything up to the high watermark.
    #[default]
    ReadUncommitted,
    /// Only what transactions have decided. As long as there are none, the same.
    ReadCommitted,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadInfo<R = Bytes> {
    /// Whole batches, the first of which contains the offset asked for. Empty at the end of the log.
    pub records: R,
    /// The offset after the last durable record.
    pub high_watermark: i64,
    /// The offset after the last record of a decided transaction.
    pub last_stable_offset: i64,
    /// The first offset there is.
    pub log_start_offset: i64,
    /// Transactions among the records that were aborted: producer id and first offset.
    pub aborted: Vec<(i64, i64)>,
}

/// How far before the wanted batch an index points, at most about this.
const INDEX_SLACK: usize = 8 << 10;
/// Places remembered for sequential readers of segments, per partition.
const READ_HINTS_MAX: usize = 8;

/// Parts that are smaller on average are joined: many small ones cost more than their copy.
const SEPARATE_PART_MIN: usize = 4 << 10;

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
struct Ask {
    offset: i64,
    max_bytes: usize,
    min_one_message: bool,
    /// Whether a place in a file will do.
    may_lend: bool,
}

impl PartitionLog {
    /// Reads whole batches from `offset` on, up to `max_bytes`. With `min_one_message` the first batch
    /// is returned even if it is larger than that, so that a reader always gets on.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one_message: bool,
        isolation: Isolation,
    ) -> Result<ReadInfo, ReadError> {
        let ask = Ask { offset, max_bytes, min_one_message, may_lend: false };
        let found = self.find_records(ask, isolation)?;
        let Records::Memory(parts) = found.records else {
            unreachable!("only who asks for a file is given one");
        };
        Ok(ReadInfo {
            records: join(parts),
            high_watermark: found.high_watermark,
            last_stable_offset: found.last_stable_offset,
            log_start_offset: found.log_start_offset,
            aborted: found.aborted,
        })
    }

    /// Does the same for who is going to send the records: they may be in several parts, or a place in
    /// a file that is yet to be read.
    pub fn lend(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one_message: bool,
        isolation: Isolation,
    ) -> Result<ReadInfo<Records>, ReadError> {
        let ask = Ask { offset, max_bytes, min_one_message, may_lend: true };
        self.find_records(ask, isolation)
    }

    fn find_records(&self, ask: Ask, isolation: Isolation) -> Result<ReadInfo<Records>, ReadError> {
        let Ask { offset, .. } = ask;
        // There are no transactions yet, so both see the same.
        let (Isolation::ReadUncommitted | Isolation::ReadCommitted) = isolation;
        let state = self.state.lock();
        if state.deleted {
            return Err(StorageError::Deleted.into());
        }
        let high_watermark = self.high_watermark();
        let log_start = self.log_start_offset();
        if offset < log_start || offset > state.next_offset {
            let log_end = state.next_offset;
            return Err(ReadError::OffsetOutOfRange { offset, log_start, log_end });
        }
        let records = if offset >= high_watermark {
            Records::default()
        } else if state.tail.front().is_some_and(|chunk| chunk.first_offset <= offset) {
            read_tail(&state, ask)
        } else {
            self.read_cold(state, ask)?
        };
        Ok(ReadInfo {
            records,
            high_watermark,
            last_stable_offset: high_watermark,
            log_start_offset: log_start,
            aborted: Vec::new(),
        })
    }

    /// Tells whether a read at `offset` would find what it wants in memory and not touch the disk.
    pub fn is_in_memory(&self, offset: i64) -> bool {
        let state = self.state.lock();
        offset >= self.high_watermark()
            || state.tail.front().is_some_and(|chunk| chunk.first_offset <= offset)
    }

    /// Reads from the segments, and from memory if what they had at `offset` was taken out.
    fn read_cold<'a>(
        &'a self,
        mut state: MutexGuard<'a, PartitionState>,
        ask: Ask,
    ) -> Result<Records, ReadError> {
        let mut place = state.place_of(ask.offset);
        while let Some((base, segment, hint)) = place {
            drop(state);
            let found = self.read_segment(base, segment, hint, ask)?;
            if let Some(records) = found {
                return Ok(records);
            }
            state = self.state.lock();
            place = if state.has_segment(segment.name(base)) {
                // Compaction or repair left nothing from here to the segment's end.
                state.segments.range(base + 1..).next().map(|(&base, &meta)| (base, meta, None))
            } else {
                // It was retired meanwhile, and perhaps others hold the records now.
                state.place_of(ask.offset)
            };
        }
        Ok(read_tail(&state, ask))
    }

    /// Returns nothing if the segment ends before `offset`, or is gone.
    fn read_segment(
        &self,
        base: i64,
        segment: SegmentMeta,
        hint: Option<u32>,
        ask: Ask,
    ) -> Result<Option<Records>, ReadError> {
        let Ask { offset, max_bytes, min_one_message, may_lend } = ask;
        let Some(mut open) = self.open_segment(base, segment)? else { return Ok(None) };
        if may_lend
            && let Some(file) =
                self.lend_segment(&open, hint, offset, max_bytes, min_one_message)?
        {
            return Ok(Some(Records::File(file)));
        }
        let end = open.segment.bytes;
        let (mut start, mut follows, mut slack) = if let Some(position) = hint {
            (position, offset, 0)
        } else {
            let found = open.position_for_offset(offset)?;
            (found.position, found.offset, INDEX_SLACK)
        };
        let mut ahead = open.large_batches(start, offset, max_bytes, min_one_message);
        if ahead == Some(0) {
            return Ok(Some(Records::default()));
        }
        // Without a sound index the batch may be anywhere in the segment: this may go round often.
        let (mut buffer, mut at, header) = loop {
            let wanted = ahead
                .take()
                .unwrap_or_else(|| max_bytes.max(BATCH_HEADER_BYTES).saturating_add(slack));
            let buffer = open.read(start, wanted.min((end - start) as usize))?;
            let found = match skip_to(buffer.as_slice(), offset, &mut follows) {
                Ok(Skipped::To(at, header)) if !open.is_odd(&header, follows) => {
                    break (buffer, at, header);
                }
                Ok(Skipped::To(at, header)) => Some((at, header)),
                Ok(Skipped::Past(passed)) => {
                    start = start.saturating_add(passed as u32);
                    slack = INDEX_SLACK;
                    if start < end {
                        continue;
                    }
                    None
                }
                Err((at, error)) => return Err(open.damaged(start + at as u32, error.to_string())),
            };
            match (self.place_in_whole(&mut open, hint, offset)?, found) {
                (Some(right), _) => (start, follows, slack) = (right.position, right.offset, 0),
                (None, Some((at, header))) => break (buffer, at, header),
                (None, None) => return Ok(None),
            }
        };
        let position = start + at as u32;
        let first = header.size_in_bytes();
        if first > max_bytes && !min_one_message {
            return Ok(Some(Records::default()));
        }
        if u64::from(position) + first as u64 > u64::from(end) {
            return Err(open.damaged(position, "a batch reaches beyond its segment".to_owned()));
        }
        if first > buffer.len() - at {
            buffer = open.read(position, first)?;
            at = 0;
        }
        let mut next_offset = header.base_offset;
        let mut sound = 0;
        let walked: Result<usize, ReadError> =
            whole_batches(&buffer.as_slice()[at..], max_bytes.max(first), |from, batch| {
                let header = open.verify(position + from as u32, batch, next_offset)?;
                next_offset = header.next_offset();
                sound = from + header.size_in_bytes();
                Ok(())
            });
        let length = match walked {
            // What is sound before the damage can be had; who asks for more gets the error.
            Err(_) if sound > 0 => sound,
            walked => walked?,
        };
        let records = Bytes::from_owner(buffer).slice(at..at + length);
        if length > 0 {
            let end_position = position + length as u32;
            self.state.lock().remember(segment.name(base), next_offset, end_position);
        }
        Ok(Some(Records::Memory(vec![records])))
    }

    /// Where a search among headers came to no batch that follows from the one before: returns where
    /// the batch is that holds `offset`, if no offset is missing in the segment. Fails if that batch is
    /// the one that is wrong.
    fn place_in_whole(
        &self,
        open: &mut OpenSegment,
        hint: Option<u32>,
        offset: i64,
    ) -> Result<Option<Located>, ReadError> {
        let offset = offset.max(open.base);
        if offset >= open.end {
            return Ok(None);
        }
        let known = hint.filter(|_| open.segment.density == Density::Whole);
        let right = match known {
            // A reader that tries again does not have all of the segment read again.
            Some(position) => Some(Located { position, offset }),
            None => self.locate(open, |_, offsets| offsets.contains(&offset)),
        };
        let Some(right) = right else { return Ok(None) };
        let found = open.header(right.position)?.map_or(-1, |header| header.base_offset);
        if found == right.offset {
            return Ok(Some(right));
        }
        if right.offset == offset {
            self.state.lock().remember(open.name(), offset, right.position);
        }
        Err(open.misplaced(right.position, found, right.offset))
    }
}

impl PartitionState {
    /// Returns the segment that holds `offset`, and where in it a reader left off just there.
    pub(crate) fn place_of(&self, offset: i64) -> Option<(i64, SegmentMeta, Option<u32>)> {
        let at_or_before = self.segments.range(..=offset).next_back();
        let (&base, &segment) = at_or_before.or_else(|| self.segments.first_key_value())?;
        let hint = self
            .read_hints
            .iter()
            .find(|(of, at, _)| *of == segment.name(base) && *at == offset)
            .map(|(_, _, position)| *position)
            .filter(|position| *position < segment.bytes);
        Some((base, segment, hint))
    }

    pub(crate) fn remember(&mut self, segment: SegmentName, offset: i64, position: u32) {
        if self.read_hints.len() == READ_HINTS_MAX {
            self.read_hints.pop_front();
        }
        self.read_hints.push_back((segment, offset, position));
    }
}

fn read_tail(state: &PartitionState, ask: Ask) -> Records {
    let Ask { offset, max_bytes, min_one_message, .. } = ask;
    let from = state.tail.partition_point(|chunk| chunk.next_offset <= offset);
    let mut parts: Vec<Bytes> = Vec::new();
    let mut room = max_bytes;
    for (number, chunk) in state.tail.iter().skip(from).enumerate() {
        let start = if number == 0 { chunk.position_of(offset) } else { 0 };
        let rest = &chunk.bytes[start..];
        let mut length = if rest.len() <= room {
            rest.len()
        } else {
            whole_batches::<()>(rest, room, |_, _| Ok(())).unwrap_or(0)
        };
        if length == 0 && number == 0 && min_one_message {
            length = first_batch_bytes(rest);
        }
        if length == 0 {
            break;
        }
        parts.push(chunk.bytes.slice(start..start + length));
        room = room.saturating_sub(length);
        if length < rest.len() {
            break;
        }
    }
    let bytes = max_bytes - room;
    if bytes < parts.len() * SEPARATE_PART_MIN {
        parts = vec![join(parts)];
    }
    Records::Memory(parts)
}

impl Chunk {
    /// Returns where the batch that holds `offset` begins.
    pub(crate) fn position_of(&self, offset: i64) -> usize {
        let mut at = 0;
        while offset > self.first_offset
            && let Ok(header) = BatchHeader::parse(&self.bytes[at..])
            && header.last_offset() < offset
        {
            at += header.size_in_bytes();
        }
        at
    }
}

/// Where a search among batches came to.
enum Skipped {
    /// The batch that holds the offset begins here.
    To(usize, BatchHeader),
    /// It is none of those whose headers are in the buffer; the next begins here.
    Past(usize),
}

/// Looks for the batch that holds `offset`. `bytes` begin with a batch; `follows` goes along, the offset
/// after the batch before. Fails with the place where there should be a batch and is none.
fn skip_to(bytes: &[u8], offset: i64, follows: &mut i64) -> Result<Skipped, (usize, BatchError)> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if at > 0 && rest.len() < BATCH_HEADER_BYTES {
            return Ok(Skipped::Past(at));
        }
        let header = BatchHeader::parse(rest).map_err(|error| (at, error))?;
        if header.last_offset() >= offset {
            return Ok(Skipped::To(at, header));
        }
        *follows = header.next_offset();
        at += header.size_in_bytes();
    }
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() <= 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut joined = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        joined.extend_from_slice(&part);
    }
    Bytes::from(joined)
}
