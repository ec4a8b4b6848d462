//! Finding records by time (ListOffsets).
//!
//! Only segments that reach the time are looked at, and in them only what lies behind the last index
//! entry before which everything is older. Inside the batch the records are unpacked.

use std::cell::RefCell;

use bytes::Bytes;
use kohort_log::Timestamp;
use kohort_protocol::compression::Decompressor;
use kohort_protocol::records::{BatchHeader, BatchRef, TimestampType};

use crate::error::{ReadError, StorageError};
use crate::open_segment::OpenSegment;
use crate::partition_log::PartitionLog;
use crate::segment::SegmentMeta;
use crate::segment_scan::Located;

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The leader epoch it was appended under.
    pub leader_epoch: i32,
}

/// Records unpack to at most this when they are searched; what was accepted is far below.
const UNPACKED_MAX: usize = 1 << 30;

/// Segments by first offset, and committed records that are not in them.
type Searchable = (Vec<(i64, SegmentMeta)>, Vec<Bytes>);

thread_local! {
    static SCRATCH: RefCell<(Decompressor, Vec<u8>)> = RefCell::default();
}

impl PartitionLog {
    /// Returns the first record whose timestamp is `timestamp` or later, if there is one below the
    /// high watermark.
    pub fn offset_for_timestamp(
        &self,
        timestamp: Timestamp,
    ) -> Result<Option<FoundOffset>, ReadError> {
        self.find(|max| max >= timestamp, timestamp, |at| at >= timestamp)
    }

    /// Returns the first record that has the greatest timestamp of all, if there is any record.
    pub fn max_timestamp(&self) -> Result<Option<FoundOffset>, ReadError> {
        let mut looked_for = None;
        loop {
            let greatest = self.greatest_timestamp()?;
            let Some(greatest) = greatest.filter(|_| greatest != looked_for) else {
                return Ok(None);
            };
            let found = self.find(|max| max >= greatest, greatest, |at| at == greatest)?;
            if found.is_some() {
                return Ok(found);
            }
            // Compaction may have taken the record away in between; then another has the greatest.
            looked_for = Some(greatest);
        }
    }

    fn greatest_timestamp(&self) -> Result<Option<Timestamp>, ReadError> {
        let (segments, tail) = self.searchable()?;
        let log_start = self.log_start_offset();
        // The log may begin in the middle of its first segment, and of a batch.
        let whole = segments.iter().filter(|(base, _)| *base >= log_start);
        let in_segments = whole.map(|(_, segment)| segment.max_timestamp).max();
        let headers =
            tail.iter().flat_map(|bytes| headers(bytes).map(move |(at, h)| (bytes, at, h)));
        let kept = headers.filter(|(_, _, header)| header.last_offset() >= log_start);
        let in_tail = kept.filter_map(|(bytes, at, header)| {
            greatest_from(&header, log_start, || Ok::<_, ReadError>(bytes.slice(at..))).ok()?
        });
        let mut greatest = in_segments.into_iter().chain(in_tail.max()).max();
        for &(base, segment) in segments.iter().filter(|(base, _)| *base < log_start) {
            if greatest.is_some_and(|greatest| greatest >= segment.max_timestamp) {
                continue;
            }
            let Some(open) = self.open_segment(base, segment)? else {
                // It was retired and removed meanwhile.
                return self.greatest_timestamp();
            };
            let mut position = open.position_for_offset(log_start)?.position;
            while let Some(header) = open.header(position)? {
                if header.last_offset() >= log_start {
                    let batch = || {
                        open.read_batch(position)
                            .map(|batch| Bytes::copy_from_slice(batch.as_slice()))
                    };
                    greatest = greatest.max(greatest_from(&header, log_start, batch)?);
                }
                position += header.size_in_bytes() as u32;
            }
        }
        Ok(greatest)
    }

    /// Finds the first record at or after the log's start for which `wanted` holds, in the first batch
    /// whose greatest timestamp is `possible`. All records before `not_before` in time are passed over.
    fn find(
        &self,
        possible: impl Fn(Timestamp) -> bool,
        not_before: Timestamp,
        wanted: impl Fn(Timestamp) -> bool,
    ) -> Result<Option<FoundOffset>, ReadError> {
        let (segments, tail) = self.searchable()?;
        let log_start = self.log_start_offset();
        for (base, segment) in segments {
            if segment.max_timestamp < not_before {
                continue;
            }
            let Some(mut open) = self.open_segment(base, segment)? else {
                // It was retired and removed meanwhile.
                return self.find(possible, not_before, wanted);
            };
            let Located { mut position, offset: mut follows } =
                open.position_for_time(not_before)?;
            while let Some(header) = open.header(position)? {
                if header.last_offset() >= log_start && possible(header.max_timestamp) {
                    let batch = open.read_batch(position)?;
                    self.check_place(&mut open, position, &header, follows)?;
                    if let Some(found) = first_record(batch.as_slice(), log_start, &wanted) {
                        return Ok(Some(found));
                    }
                }
                position += header.size_in_bytes() as u32;
                follows = header.next_offset();
            }
        }
        for bytes in tail {
            for (at, header) in headers(&bytes) {
                if header.last_offset() >= log_start
                    && possible(header.max_timestamp)
                    && let Some(found) = first_record(&bytes[at..], log_start, &wanted)
                {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// What is found has the offset that its batch tells, which is covered by no checksum.
    fn check_place(
        &self,
        open: &mut OpenSegment,
        position: u32,
        header: &BatchHeader,
        follows: i64,
    ) -> Result<(), ReadError> {
        if open.is_odd(header, follows)
            && let Some(right) = self.locate(open, |at, _| at == position)
            && right.offset != header.base_offset
        {
            return Err(open.misplaced(position, header.base_offset, right.offset));
        }
        open.check_limits(position, header)
    }

    /// Returns the segments, and the committed records that are not in them.
    fn searchable(&self) -> Result<Searchable, ReadError> {
        let state = self.state.lock();
        if state.deleted {
            return Err(StorageError::Deleted.into());
        }
        let segments = state.segments.iter().map(|(&base, &meta)| (base, meta)).collect();
        let first = state.tail.partition_point(|chunk| chunk.next_offset <= state.flushed);
        let tail = state.tail.iter().skip(first).map(|chunk| chunk.bytes.clone()).collect();
        Ok((segments, tail))
    }
}

/// Walks over the headers of batches in memory, with their positions.
fn headers(bytes: &[u8]) -> impl Iterator<Item = (usize, BatchHeader)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = BatchHeader::parse(bytes.get(at..)?).ok()?;
        let position = at;
        at += header.size_in_bytes();
        Some((position, header))
    })
}

/// Returns the greatest timestamp of a batch's records at or after `log_start`. Reads the batch only if
/// some of its records are before.
fn greatest_from<E>(
    header: &BatchHeader,
    log_start: i64,
    batch: impl FnOnce() -> Result<Bytes, E>,
) -> Result<Option<Timestamp>, E> {
    if header.record_count == 0 {
        return Ok(None);
    }
    let append_time = header.timestamp_type() == TimestampType::LogAppendTime;
    if header.base_offset >= log_start || (append_time && has_no_gaps(header)) {
        return Ok(Some(header.max_timestamp));
    }
    let batch = batch()?;
    let Ok(batch) = BatchRef::parse(&batch) else { return Ok(None) };
    Ok(SCRATCH.with_borrow_mut(|(decompressor, buffer)| {
        let records = batch.records(decompressor, buffer, UNPACKED_MAX).ok()?;
        let kept = records.map_while(Result::ok).filter(|record| record.offset >= log_start);
        kept.map(|record| record.timestamp).max()
    }))
}

/// Tells whether all records of a batch are there: compaction may have taken some away.
fn has_no_gaps(header: &BatchHeader) -> bool {
    header.record_count.checked_sub(1) == Some(header.last_offset_delta)
}

/// Returns the first record of a batch at or after `log_start` for which `wanted` holds.
fn first_record(
    batch: &[u8],
    log_start: i64,
    wanted: impl Fn(Timestamp) -> bool,
) -> Option<FoundOffset> {
    let batch = BatchRef::parse(batch).ok()?;
    let header = batch.header();
    let leader_epoch = header.partition_leader_epoch;
    if has_no_gaps(header) && header.timestamp_type() == TimestampType::LogAppendTime {
        let offset = header.base_offset.max(log_start);
        let timestamp = header.max_timestamp;
        return wanted(timestamp).then_some(FoundOffset { offset, timestamp, leader_epoch });
    }
    SCRATCH.with_borrow_mut(|(decompressor, buffer)| {
        let records = batch.records(decompressor, buffer, UNPACKED_MAX).ok()?;
        records
            .map_while(Result::ok)
            .find(|record| record.offset >= log_start && wanted(record.timestamp))
            .map(|r| FoundOffset { offset: r.offset, timestamp: r.timestamp, leader_epoch })
    })
}
