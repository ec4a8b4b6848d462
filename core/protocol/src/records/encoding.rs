//! A record on its way into a batch.
//!
//! ```text
//! length | attributes, timestamp, offset, key's length | key | value's length | value | headers
//! ```
//!
//! The length comes before all of it, so a record is measured first. What lies around the key and the value are
//! small numbers, nearly always of one byte or two: to code such a number a second time, where it belongs, is
//! less than to keep it somewhere else until then.

use super::record::Header;
use super::varint::{nullable_len, put_nullable, put_varint, varint_len};

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
    timestamp_delta: i64,
    offset_delta: i32,
    /// The bytes behind its length.
    body: usize,
    /// The bytes of all of it.
    len: usize,
}

impl<'a> EncodedRecord<'a> {
    /// Measures a record that lies so far from its batch's base timestamp and base offset.
    #[inline]
    pub(super) fn new(record: &'a NewRecord<'a>, timestamp_delta: i64, offset_delta: i32) -> Self {
        let body = ATTRIBUTES_BYTES
            + varint_len(timestamp_delta)
            + varint_len(i64::from(offset_delta))
            + nullable_len(record.key)
            + nullable_len(record.value)
            + headers_len(record.headers);
        let len = varint_len(body as i64) + body;
        Self { record, timestamp_delta, offset_delta, body, len }
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
        buffer.reserve(self.len);
        put_varint(buffer, self.body as i64);
        buffer.push(NO_ATTRIBUTES);
        put_varint(buffer, self.timestamp_delta);
        put_varint(buffer, i64::from(self.offset_delta));
        put_nullable(buffer, key);
        put_nullable(buffer, value);
        put_varint(buffer, headers.len() as i64);
        for header in headers {
            put_nullable(buffer, Some(header.key));
            put_nullable(buffer, header.value);
        }
    }
}

#[inline]
fn headers_len(headers: &[Header<'_>]) -> usize {
    let each = |header: &Header<'_>| nullable_len(Some(header.key)) + nullable_len(header.value);
    varint_len(headers.len() as i64) + headers.iter().map(each).sum::<usize>()
}

/// The attributes of a record have no meaning yet.
const NO_ATTRIBUTES: u8 = 0;
const ATTRIBUTES_BYTES: usize = 1;
