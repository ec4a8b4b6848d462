//! Writing batches of a broker's own records: unpacked, all of one time, without headers.
//!
//! A commit's records differ in a few bytes each. So the record before can be copied as one piece and
//! changed where it lies, which spares measuring it and putting its parts together again.

use std::ops::Range;

use bytes::Bytes;

use super::batch_header::{Attributes, BatchHeader};
use super::encoding::{EncodedRecord, NewRecord};
use super::patch::set_crc;
use super::varint::{nullable_len, varint_len, zigzag};
use super::{
    BATCH_HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC, NO_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE,
};
use crate::error::{EncodeError, EncodeErrorKind};

/// Collects records of the broker's own into a batch. It is empty again after
/// [`build`](Self::build) and may be reused.
#[derive(Debug, Default)]
pub struct OwnBatch {
    buffer: Vec<u8>,
    /// What to reserve when the buffer was given away with the last batch.
    capacity: usize,
    record_count: i32,
    last: Layout,
}

/// Where the last record lies in the buffer.
#[derive(Debug, Default)]
struct Layout {
    start: usize,
    /// Its number.
    number: Range<usize>,
    key: Range<usize>,
    value: Range<usize>,
}

impl OwnBatch {
    /// Creates an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record; without a value it is a tombstone. An error leaves the batch as it was.
    pub fn append(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), EncodeError> {
        let record = NewRecord { key: Some(key), value, ..NewRecord::default() };
        let encoded = EncodedRecord::new(&record, 0, self.record_count);
        if self.buffer.is_empty() {
            self.buffer.reserve(self.capacity.max(BATCH_HEADER_BYTES + encoded.len()));
            self.buffer.resize(BATCH_HEADER_BYTES, 0);
        }
        self.check_room(encoded.len())?;
        let start = self.buffer.len();
        encoded.write(&mut self.buffer);
        // From the end on: no headers, then what is before each.
        let value_end = self.buffer.len() - NO_HEADERS_BYTES;
        let key_end = value_end - nullable_len(value);
        let number_end = key_end - nullable_len(Some(key));
        let value = value_end - value.map_or(0, <[u8]>::len)..value_end;
        let key = key_end - key.len()..key_end;
        let number = number_end - varint_len(i64::from(self.record_count))..number_end;
        self.last = Layout { start, number, key, value };
        self.record_count += 1;
        Ok(())
    }

    /// Appends the last record once more and returns its key and its value, to be changed.
    ///
    /// # Panics
    /// If there is no last record, or if it is a tombstone.
    pub fn repeat(&mut self) -> Result<(&mut [u8], &mut [u8]), EncodeError> {
        let Layout { start, number, key, value } = &mut self.last;
        assert!(value.start < value.end, "only a record with a value is repeated");
        let end = self.buffer.len();
        let length = end - *start;
        if number.len() == varint_len(i64::from(self.record_count)) {
            self.check_room(length)?;
            let Layout { start, number, key, value } = &mut self.last;
            self.buffer.extend_from_within(*start..);
            *start += length;
            for range in [&mut *number, key, value] {
                *range = range.start + length..range.end + length;
            }
            let mut raw = zigzag(i64::from(self.record_count));
            let (last, others) =
                self.buffer[number.clone()].split_last_mut().expect("a number has bytes");
            for byte in others {
                *byte = raw as u8 | 0x80;
                raw >>= 7;
            }
            *last = raw as u8;
            self.record_count += 1;
        } else {
            let (key, value) = (key.clone(), value.clone());
            let (key, value) = (self.buffer[key].to_vec(), self.buffer[value].to_vec());
            self.append(&key, Some(&value))?;
        }
        let Layout { key, value, .. } = &self.last;
        let (before, after) = self.buffer.split_at_mut(value.start);
        Ok((&mut before[key.clone()], &mut after[..value.len()]))
    }

    /// Builds the batch, whose records are of that time, and empties this.
    ///
    /// # Panics
    /// If no record was appended.
    pub fn build(&mut self, timestamp: i64) -> Bytes {
        assert!(self.record_count > 0, "a batch without records says nothing");
        let mut bytes = std::mem::take(&mut self.buffer);
        self.capacity = self.capacity.max(bytes.len());
        let header = BatchHeader {
            base_offset: 0,
            batch_length: (bytes.len() - LOG_OVERHEAD_BYTES) as i32,
            partition_leader_epoch: NO_LEADER_EPOCH,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta: self.record_count - 1,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            record_count: self.record_count,
        };
        header.write(bytes.first_chunk_mut().expect("the first record made room for it"));
        set_crc(&mut bytes);
        self.clear();
        Bytes::from(bytes)
    }

    /// Drops the records appended so far.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.record_count = 0;
    }

    fn check_room(&self, length: usize) -> Result<(), EncodeError> {
        let whole = self.buffer.len() + length;
        i32::try_from(whole).map(drop).map_err(|_| EncodeErrorKind::TooLong(whole).into())
    }
}

/// What the number of headers takes when it is 0.
const NO_HEADERS_BYTES: usize = 1;

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, BatchOptions};
    use super::*;
    use crate::compression::Compressor;

    /// The same records by the builder of all batches.
    fn built(records: &[(Vec<u8>, Option<Vec<u8>>)], timestamp: i64) -> Bytes {
        let mut builder = BatchBuilder::new();
        for (key, value) in records {
            let (key, value) = (Some(&key[..]), value.as_deref());
            builder.append(&NewRecord { timestamp, key, value, ..NewRecord::default() }).unwrap();
        }
        builder.build(&BatchOptions::default(), &mut Compressor::none())
    }

    #[test]
    fn an_own_batch_has_the_bytes_of_any_other() {
        let mut batch = OwnBatch::new();
        for timestamp in [7, 1_700_000_000_000] {
            let mut records = Vec::new();
            for length in [0, 1, 50, 63, 64, 200, 9000] {
                let value = (length != 1).then(|| vec![length as u8; length]);
                records.push((vec![7; 100 + length], value));
            }
            for (key, value) in &records {
                batch.append(key, value.as_deref()).unwrap();
            }
            assert_eq!(batch.build(timestamp), built(&records, timestamp));
        }
    }

    #[test]
    fn a_repeated_record_is_one_more_with_other_bytes() {
        for value_length in [1, 40, 70, 130] {
            let mut batch = OwnBatch::new();
            let mut records = vec![(vec![0; 4], Some(vec![0; value_length]))];
            batch.append(&records[0].0, records[0].1.as_deref()).unwrap();
            // Beyond the numbers of one byte and of two.
            for number in 1_u32..8_400 {
                let (key, value) = batch.repeat().unwrap();
                key.copy_from_slice(&number.to_be_bytes());
                value[value_length - 1] = number as u8;
                let (key, mut value) = (number.to_be_bytes().to_vec(), vec![0; value_length]);
                value[value_length - 1] = number as u8;
                records.push((key, Some(value)));
            }
            assert_eq!(batch.build(3), built(&records, 3), "values of {value_length} bytes");
        }
    }

    #[test]
    fn what_was_dropped_is_in_no_batch() {
        let mut batch = OwnBatch::new();
        batch.append(b"dropped", None).unwrap();
        batch.clear();
        batch.append(b"key", None).unwrap();
        assert_eq!(batch.build(1), built(&[(b"key".to_vec(), None)], 1));
    }
}
