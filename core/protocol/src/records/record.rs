//! Reading records out of a batch without copying them.

use std::borrow::Cow;

use super::batch_header::{BatchError, BatchHeader, TimestampType};
use super::varint::Cursor;
use crate::compression::DecompressError;

/// A record, borrowed from the batch it lies in or from the buffer that was unpacked into.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// The record's offset in its partition.
    pub offset: i64,
    /// The record's timestamp; the batch's greatest one where the broker gave the timestamps.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, walked over when asked for.
    pub headers: Headers<'a>,
}

/// A header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key: UTF-8 by convention, which a reader should not have to rely on.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// Returns the key as text, with anything that is not UTF-8 replaced.
    pub fn key_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }
}

/// A record's headers, in their order; a key may occur more than once.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    cursor: Cursor<'a>,
    count: u32,
}

impl<'a> Headers<'a> {
    /// Returns how many headers there are.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Returns whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks over the headers.
    pub fn iter(&self) -> HeaderIter<'a> {
        self.into_iter()
    }

    /// Reads the headers once, to know that they fill the record exactly.
    #[cold]
    fn parse(count: i32, mut cursor: Cursor<'a>) -> Option<Self> {
        let headers = Self { cursor, count: u32::try_from(count).ok()? };
        for _ in 0..headers.count {
            take_header(&mut cursor)?;
        }
        cursor.rest().is_empty().then_some(headers)
    }

    const fn none() -> Self {
        Self { cursor: Cursor::new(&[]), count: 0 }
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        HeaderIter { headers: self }
    }
}

impl<'a> IntoIterator for &Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        HeaderIter { headers: *self }
    }
}

/// The iterator of [`Headers`].
#[derive(Debug, Clone)]
pub struct HeaderIter<'a> {
    headers: Headers<'a>,
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.headers.count = self.headers.count.checked_sub(1)?;
        take_header(&mut self.headers.cursor)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.headers.len(), Some(self.headers.len()))
    }
}

impl ExactSizeIterator for HeaderIter<'_> {}

fn take_header<'a>(cursor: &mut Cursor<'a>) -> Option<Header<'a>> {
    // A header's key cannot be null.
    let key = cursor.take_nullable()??;
    let value = cursor.take_nullable()?;
    Some(Header { key, value })
}

/// Walks over the records of a batch.
///
/// It checks as it goes: every length lies inside its record and every record inside the batch,
/// offsets grow and stay within the batch, the count is right and nothing follows the last record.
/// After an error the walk is over.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    cursor: Cursor<'a>,
    remaining: i32,
    record_count: i32,
    last_delta: i32,
    base_offset: i64,
    last_offset_delta: i32,
    base_timestamp: i64,
    log_append_time: Option<i64>,
}

impl<'a> RecordIter<'a> {
    /// Walks over `records`, which are those of the batch `header` describes, unpacked. A walk may
    /// begin at a later record if the header's record count says how many are left from there.
    pub fn new(header: &BatchHeader, records: &'a [u8]) -> Self {
        Self {
            cursor: Cursor::new(records),
            remaining: header.record_count,
            record_count: header.record_count,
            last_delta: -1,
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            base_timestamp: header.base_timestamp,
            log_append_time: match header.timestamp_type() {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(header.max_timestamp),
            },
        }
    }

    /// Returns how many records are left, if the batch keeps its word.
    pub const fn remaining(&self) -> usize {
        self.remaining as usize
    }

    #[cold]
    fn malformed(&mut self) -> RecordError {
        let index = self.record_count - self.remaining;
        self.remaining = 0;
        self.cursor = Cursor::new(&[]);
        RecordError::Malformed { base_offset: self.base_offset, index }
    }

    fn trailing_bytes(&mut self) -> Option<RecordError> {
        let trailing = self.cursor.rest().len();
        self.cursor = Cursor::new(&[]);
        (trailing > 0)
            .then_some(RecordError::TrailingBytes { base_offset: self.base_offset, trailing })
    }

    /// Returns how many bytes are left.
    pub const fn bytes_left(&self) -> usize {
        self.cursor.rest().len()
    }

    #[allow(clippy::inline_always, reason = "as for `next`")]
    #[inline(always)]
    fn take(&mut self) -> Option<RecordView<'a>> {
        let len = self.cursor.take_varint()?;
        let mut body = Cursor::new(self.cursor.take(usize::try_from(len).ok()?)?);
        // The attributes of a record have no meaning yet.
        body.take_u8()?;
        let timestamp_delta = body.take_varlong()?;
        let offset_delta = body.take_varint()?;
        let key = body.take_nullable()?;
        let value = body.take_nullable()?;
        let header_count = body.take_varint()?;
        let headers = if header_count == 0 && body.rest().is_empty() {
            Headers::none()
        } else {
            Headers::parse(header_count, body)?
        };
        if offset_delta <= self.last_delta || offset_delta > self.last_offset_delta {
            return None;
        }
        self.last_delta = offset_delta;
        Some(RecordView {
            // Cannot overflow: the header's last offset did not.
            offset: self.base_offset + i64::from(offset_delta),
            timestamp: match self.log_append_time {
                Some(timestamp) => timestamp,
                None => self.base_timestamp.wrapping_add(timestamp_delta),
            },
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    // A call that returns a record by memory costs as much as taking it apart.
    #[allow(clippy::inline_always, reason = "a tenth of reading records of 100 bytes")]
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return self.trailing_bytes().map(Err);
        }
        let taken = self.take();
        if let Some(record) = taken {
            self.remaining -= 1;
            return Some(Ok(record));
        }
        Some(Err(self.malformed()))
    }
}

impl std::iter::FusedIterator for RecordIter<'_> {}

/// What is wrong with the records of a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The header does not allow to read the records.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records could not be unpacked.
    #[error("the records could not be unpacked")]
    Decompress(#[from] DecompressError),
    /// A record's lengths, offset or headers contradict each other or the batch.
    #[error("record {index} of the batch at offset {base_offset} is malformed")]
    Malformed {
        /// The batch's base offset.
        base_offset: i64,
        /// Which record of the batch, from 0.
        index: i32,
    },
    /// Bytes follow the last record.
    #[error("{trailing} bytes follow the last record of the batch at offset {base_offset}")]
    TrailingBytes {
        /// The batch's base offset.
        base_offset: i64,
        /// How many bytes.
        trailing: usize,
    },
    /// A producer's batch does not number its records 0, 1, 2 and so on to the last offset delta.
    #[error("the batch at offset {base_offset} does not number its records without gaps")]
    OffsetGap {
        /// The batch's base offset.
        base_offset: i64,
    },
    /// A record has no key where one is needed.
    #[error("record {index} of the batch at offset {base_offset} has no key")]
    MissingKey {
        /// The batch's base offset.
        base_offset: i64,
        /// Which record of the batch, from 0.
        index: i32,
    },
}
