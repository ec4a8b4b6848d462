//! How old a record is, told from its batch's header: what lag in seconds is made of.
//!
//! A header gives the time of the batch's first record, or of its append; the records are not
//! unpacked. A record in the middle of a batch therefore counts as old as the batch's first, which is
//! older by less than its producer took to fill the batch.

use kohort_log::Timestamp;
use kohort_protocol::records::{BatchHeader, TimestampType};

use crate::error::{ReadError, StorageError};
use crate::partition_log::PartitionLog;

/// What is known of a record's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordTime {
    /// The record, or the first one after its offset, is in a batch of this time.
    Known(Timestamp),
    /// The disk would have to be asked.
    OnDisk,
    /// There is no record there, or it has no time.
    Unknown,
}

impl PartitionLog {
    /// Returns the time of the first record at or after `offset`, from memory.
    pub fn time_in_memory(&self, offset: i64) -> Result<RecordTime, ReadError> {
        let chunk = {
            let state = self.state.lock();
            if state.deleted {
                return Err(StorageError::Deleted.into());
            }
            if offset >= self.high_watermark() {
                return Ok(RecordTime::Unknown);
            }
            if state.tail.front().is_none_or(|chunk| chunk.first_offset > offset) {
                return Ok(RecordTime::OnDisk);
            }
            let at = state.tail.partition_point(|chunk| chunk.next_offset <= offset);
            state.tail.get(at).map(|chunk| chunk.bytes.clone())
        };
        let mut rest = &chunk.unwrap_or_default()[..];
        while let Ok(header) = BatchHeader::parse(rest) {
            if header.last_offset() >= offset {
                return Ok(time_of(&header));
            }
            rest = rest.get(header.size_in_bytes()..).unwrap_or_default();
        }
        Ok(RecordTime::Unknown)
    }

    /// Returns the time of the first record at or after `offset`, from memory or through a segment's
    /// index and a few headers.
    pub fn time_of(&self, offset: i64) -> Result<RecordTime, ReadError> {
        let known = self.time_in_memory(offset)?;
        if known != RecordTime::OnDisk {
            return Ok(known);
        }
        let mut place = self.state.lock().place_of(offset);
        while let Some((base, segment, _)) = place {
            if let Some(open) = self.open_segment(base, segment)? {
                let mut position = open.position_for_offset(offset.max(base))?.position;
                while let Some(header) = open.header(position)? {
                    // Compaction leaves batches without records.
                    if header.last_offset() >= offset && header.record_count > 0 {
                        return Ok(time_of(&header));
                    }
                    position += header.size_in_bytes() as u32;
                }
            }
            let state = self.state.lock();
            place =
                state.segments.range(base + 1..).next().map(|(&base, &meta)| (base, meta, None));
        }
        Ok(RecordTime::Unknown)
    }
}

fn time_of(header: &BatchHeader) -> RecordTime {
    let time = match header.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        // Compaction keeps another time in the base timestamp's place (KIP-534).
        TimestampType::CreateTime if header.has_delete_horizon() => header.max_timestamp,
        TimestampType::CreateTime => header.base_timestamp,
    };
    if time < 0 { RecordTime::Unknown } else { RecordTime::Known(time) }
}
