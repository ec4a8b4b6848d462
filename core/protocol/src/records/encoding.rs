//! A record on its way into a batch.
//!
//! ```text
//! length | attributes, timestamp, offset, key's length | key | value's length | value | headers
//! ```
//!
//! What lies around the key and the value are small numbers. They are coded beside the batch first: that
//! measures the record, whose length comes before all of it, and each part is then copied as one piece
//! rather than number by number. Headers are few, and written as they come.

use super::record::Header;
use super::varint::{
    VARLONG_BYTES_MAX, nullable_len, put_nullable, put_varint, varint_len, zigzag,
};

/// A record to be appended to a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// The record's timestamp.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [Header<'a>],
}

/// A record that is measured and can be written.
#[derive(Debug)]
pub(super) struct EncodedRecord<'a> {
    record: &'a NewRecord<'a>,
    numbers: Numbers,
    /// The bytes of all of it.
    len: usize,
}

/// The numbers of a record, in order.
#[derive(Debug)]
struct Numbers {
    bytes: [u8; NUMBERS_BYTES_MAX],
    start: usize,
    /// Where the key lies between them.
    key: usize,
    end: usize,
}

impl<'a> EncodedRecord<'a> {
    /// Measures a record that lies so far from its batch's base timestamp and base offset.
    #[inline]
    pub(super) fn new(record: &'a NewRecord<'a>, timestamp_delta: i64, offset_delta: i32) -> Self {
        let mut numbers = Numbers::behind_room_for_length();
        numbers.push(NO_ATTRIBUTES);
        numbers.put(timestamp_delta);
        numbers.put(i64::from(offset_delta));
        numbers.put(nullable_length(record.key));
        numbers.key = numbers.end;
        numbers.put(nullable_length(record.value));
        let body = numbers.len()
            + record.key.map_or(0, <[u8]>::len)
            + record.value.map_or(0, <[u8]>::len)
            + headers_len(record.headers);
        numbers.put_length(body as i64);
        let length = VARLONG_BYTES_MAX - numbers.start;
        Self { record, numbers, len: length + body }
    }

    /// Returns how many bytes it takes, its length included.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Appends it.
    #[inline]
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        let NewRecord { key, value, headers, .. } = *self.record;
        let Numbers { bytes, start, key: key_at, end } = &self.numbers;
        buffer.reserve(self.len);
        if let Some(key) = key {
            buffer.extend_from_slice(&bytes[*start..*key_at]);
            buffer.extend_from_slice(key);
            buffer.extend_from_slice(&bytes[*key_at..*end]);
        } else {
            buffer.extend_from_slice(&bytes[*start..*end]);
        }
        if let Some(value) = value {
            buffer.extend_from_slice(value);
        }
        put_varint(buffer, headers.len() as i64);
        for header in headers {
            put_nullable(buffer, Some(header.key));
            put_nullable(buffer, header.value);
        }
    }
}

impl Numbers {
    #[inline]
    fn behind_room_for_length() -> Self {
        let start = VARLONG_BYTES_MAX;
        Self { bytes: [0; NUMBERS_BYTES_MAX], start, key: start, end: start }
    }

    /// Returns how many bytes they take so far.
    #[inline]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[self.end] = byte;
        self.end += 1;
    }

    #[inline]
    fn put(&mut self, value: i64) {
        let mut raw = zigzag(value);
        while raw >= 0x80 {
            self.push(raw as u8 | 0x80);
            raw >>= 7;
        }
        self.push(raw as u8);
    }

    /// Puts a number in front of the others.
    #[inline]
    fn put_length(&mut self, value: i64) {
        let end = self.end;
        self.start -= varint_len(value);
        self.end = self.start;
        self.put(value);
        self.end = end;
    }
}

#[inline]
fn nullable_length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(NULL_LENGTH, |bytes| bytes.len() as i64)
}

#[inline]
fn headers_len(headers: &[Header<'_>]) -> usize {
    let each = |header: &Header<'_>| nullable_len(Some(header.key)) + nullable_len(header.value);
    varint_len(headers.len() as i64) + headers.iter().map(each).sum::<usize>()
}

/// The attributes of a record have no meaning yet.
const NO_ATTRIBUTES: u8 = 0;
const NULL_LENGTH: i64 = -1;
/// The attributes' byte and five numbers: the length, the timestamp, the offset and two more lengths.
const NUMBERS_BYTES_MAX: usize = 1 + 5 * VARLONG_BYTES_MAX;
