//! The alphabet of the protocol: how Kafka writes integers, strings, byte strings and arrays.
//!
//! [`Reader`] walks over one received frame and [`Writer`] collects one to send. Both know whether
//! the message at hand is *flexible* (KIP-482): flexible messages write lengths as unsigned
//! varints, one higher than the length so that zero can mean null, and end every structure with a
//! list of tagged fields. The others write lengths as big-endian integers with -1 for null.
//!
//! A length is the peer's word and is never trusted: a string or an array is refused as soon as it
//! claims more than what is left of the frame, before any memory is reserved for it.

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};

/// The bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// A cursor over one received frame.
///
/// Byte strings come out as slices that share the frame's memory.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    /// What is left to be read, and where in the frame it ends.
    rest: &'a [u8],
    end: usize,
    flexible: bool,
    /// How many more bytes of memory the elements of arrays may take.
    budget: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `frame`, in the non-flexible style.
    pub fn new(frame: &'a Bytes) -> Self {
        let budget = ELEMENT_BYTES_FREE + frame.len().saturating_mul(ELEMENT_BYTES_PER_BYTE);
        Self { frame, rest: frame, end: frame.len(), flexible: false, budget }
    }

    /// Returns how many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Returns how many bytes have been read.
    pub fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Says whether lengths are read as varints and structures end with tagged fields.
    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Chooses between the flexible and the older style for what follows.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Fails unless every byte has been read.
    pub fn expect_end(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeErrorKind::TrailingBytes(left).into()),
        }
    }

    /// Passes over `length` bytes.
    pub fn skip(&mut self, length: usize) -> Result<(), DecodeError> {
        self.slice(length).map(|_| ())
    }

    /// Reads a boolean: any byte but zero is true.
    #[inline]
    pub fn read_bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.read_i8()? != 0)
    }

    /// Reads one signed byte.
    #[inline]
    pub fn read_i8(&mut self) -> Result<i8, DecodeError> {
        self.array().map(i8::from_be_bytes)
    }

    /// Reads a big-endian `i16`.
    #[inline]
    pub fn read_i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    /// Reads a big-endian `u16`.
    #[inline]
    pub fn read_u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads a big-endian `i32`.
    #[inline]
    pub fn read_i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads a big-endian `u32`.
    #[inline]
    pub fn read_u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a big-endian `i64`.
    #[inline]
    pub fn read_i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Reads a big-endian IEEE 754 `f64`.
    #[inline]
    pub fn read_f64(&mut self) -> Result<f64, DecodeError> {
        self.array().map(f64::from_be_bytes)
    }

    /// Reads an unsigned varint of at most five bytes: seven bits each, lowest first.
    ///
    /// Nearly all of them are one byte long, so that case comes first and the rest is kept out of line.
    #[inline]
    pub fn read_uvarint(&mut self) -> Result<u32, DecodeError> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u32::from(byte))
            }
            _ => self.read_long_uvarint(),
        }
    }

    #[cold]
    fn read_long_uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array::<1>()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeErrorKind::VarintTooLong.into())
    }

    /// Reads a zigzag varint of at most five bytes.
    pub fn read_varint(&mut self) -> Result<i32, DecodeError> {
        let value = self.read_uvarint()?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    /// Reads a nullable string.
    ///
    /// Most texts that may be added to something are empty, so those take no call.
    #[inline]
    pub fn read_string(&mut self) -> Result<Option<String>, DecodeError> {
        match self.string_bytes()? {
            None => Ok(None),
            Some([]) => Ok(Some(String::new())),
            Some(bytes) => text(bytes).map(Some),
        }
    }

    /// Reads a nullable string that only names somebody: what is not UTF-8 becomes U+FFFD, as in Kafka.
    pub fn read_label(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.string_bytes()?.map(String::from_utf8_lossy))
    }

    #[inline]
    fn string_bytes(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            let length = self.read_i16()?;
            self.length(i64::from(length))?
        };
        length.map(|length| self.slice(length)).transpose()
    }

    /// Reads a nullable byte string as a slice of the frame.
    pub fn read_bytes(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            let length = self.read_i32()?;
            self.length(i64::from(length))?
        };
        length.map(|length| self.take(length)).transpose()
    }

    /// Reads the length of a nullable array.
    ///
    /// Every element takes at least one byte, so a length above the bytes left is refused.
    pub fn read_array_length(&mut self) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            self.compact_length()
        } else {
            let length = self.read_i32()?;
            self.length(i64::from(length))
        }
    }

    /// Refuses an array whose elements would take far more memory than the frame accounts for.
    pub(crate) fn charge<T>(&mut self, length: usize) -> Result<(), DecodeError> {
        let left = self.budget.checked_sub(length.saturating_mul(size_of::<T>()));
        self.budget = left.ok_or(DecodeErrorKind::TooManyElements(length))?;
        Ok(())
    }

    /// Takes the next `length` bytes without copying them.
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let start = self.position();
        self.skip(length)?;
        Ok(self.frame.slice(start..start + length))
    }

    /// Reads the tagged fields that end a flexible structure.
    ///
    /// `known` is called with each tag and a reader confined to that field; it answers `false` for
    /// a tag it does not know, which is then passed over.
    #[inline]
    pub(crate) fn read_tagged_fields(
        &mut self,
        known: &mut dyn FnMut(u32, &mut Reader<'_>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        match self.read_uvarint()? {
            0 => Ok(()),
            count => self.read_so_many_tagged_fields(count, known),
        }
    }

    fn read_so_many_tagged_fields(
        &mut self,
        count: u32,
        known: &mut dyn FnMut(u32, &mut Reader<'_>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..count {
            let tag = self.read_uvarint()?;
            let size = self.read_uvarint()? as usize;
            let content = self.slice(size)?;
            let mut field = Reader {
                frame: self.frame,
                rest: content,
                end: self.position(),
                flexible: true,
                budget: self.budget,
            };
            if known(tag, &mut field)? {
                field.expect_end()?;
            }
            self.budget = field.budget;
        }
        Ok(())
    }

    /// Passes over tagged fields none of which are known.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.read_tagged_fields(&mut |_, _| Ok(false))
    }

    #[inline]
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let length = self.read_uvarint()?;
        self.length(i64::from(length) - 1)
    }

    #[inline]
    fn length(&self, length: i64) -> Result<Option<usize>, DecodeError> {
        match usize::try_from(length) {
            Ok(length) if length <= self.remaining() => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            _ => Err(DecodeErrorKind::BadLength { length, remaining: self.remaining() }.into()),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((array, rest)) = self.rest.split_first_chunk() else {
            return Err(self.truncated(N));
        };
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    fn slice(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((slice, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.truncated(length));
        };
        self.rest = rest;
        Ok(slice)
    }

    #[cold]
    fn truncated(&self, wanted: usize) -> DecodeError {
        DecodeErrorKind::Truncated { wanted, remaining: self.remaining() }.into()
    }
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| DecodeError::from(DecodeErrorKind::NotUtf8))?;
    Ok(text.to_owned())
}

/// Collects the bytes of one message to send.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
    flexible: bool,
    /// Whether large byte strings are kept beside the buffer.
    scatters: bool,
    /// Byte strings that belong at these places of the buffer, in their order.
    beside: Vec<(usize, Bytes)>,
    beside_bytes: usize,
}

impl Writer {
    /// Starts empty, in the non-flexible style.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts empty with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: Vec::with_capacity(capacity), ..Self::default() }
    }

    /// Starts empty, and copies no large byte string: [`into_pieces`](Self::into_pieces) has them as they
    /// were given.
    pub(crate) fn scattering(capacity: usize) -> Self {
        Self { scatters: true, ..Self::with_capacity(capacity) }
    }

    /// Returns how many bytes were written.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.beside_bytes
    }

    /// Says whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether lengths are written as varints and structures end with tagged fields.
    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Chooses between the flexible and the older style for what follows.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Returns what was written.
    pub fn into_bytes(self) -> Bytes {
        self.buffer.into()
    }

    /// Fills the four bytes left at the start with the length of the rest, and returns it all.
    pub(crate) fn into_frame(mut self) -> Result<Bytes, EncodeError> {
        let length = limit(self.len().saturating_sub(LENGTH_BYTES))?;
        self.buffer[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(self.into_bytes())
    }

    /// Fills the four bytes left at the start with the length of the rest, and returns it all, in pieces
    /// that lie where they were made.
    pub(crate) fn into_pieces(mut self) -> Result<Vec<Bytes>, EncodeError> {
        let length = limit(self.len().saturating_sub(LENGTH_BYTES))?;
        self.buffer[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        let written = Bytes::from(self.buffer);
        let mut pieces = Vec::with_capacity(2 * self.beside.len() + 1);
        let mut taken = 0;
        for (at, bytes) in self.beside {
            pieces.push(written.slice(taken..at));
            pieces.push(bytes);
            taken = at;
        }
        if taken < written.len() {
            pieces.push(written.slice(taken..));
        }
        Ok(pieces)
    }

    /// Returns what was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }

    /// Writes a boolean as one byte.
    #[inline]
    pub fn put_bool(&mut self, value: bool) {
        self.put_i8(i8::from(value));
    }

    /// Writes one signed byte.
    #[inline]
    pub fn put_i8(&mut self, value: i8) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian `i16`.
    #[inline]
    pub fn put_i16(&mut self, value: i16) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian `u16`.
    #[inline]
    pub fn put_u16(&mut self, value: u16) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian `i32`.
    #[inline]
    pub fn put_i32(&mut self, value: i32) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian `u32`.
    #[inline]
    pub fn put_u32(&mut self, value: u32) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian `i64`.
    #[inline]
    pub fn put_i64(&mut self, value: i64) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian IEEE 754 `f64`.
    #[inline]
    pub fn put_f64(&mut self, value: f64) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Writes an unsigned varint: seven bits a byte, lowest first.
    #[inline]
    pub fn put_uvarint(&mut self, mut value: u32) {
        while value > 0x7f {
            self.buffer.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }

    /// Writes a zigzag varint.
    pub fn put_varint(&mut self, value: i32) {
        self.put_uvarint((value << 1 ^ value >> 31) as u32);
    }

    /// Writes bytes as they are.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Writes a nullable string.
    pub fn put_string(&mut self, value: Option<&str>) -> Result<(), EncodeError> {
        let length = value.map(str::len);
        if length.is_some_and(|length| length > i16::MAX as usize) {
            return Err(EncodeErrorKind::TooLong(length.unwrap_or(0)).into());
        }
        if self.flexible {
            self.put_compact_length(length)?;
        } else {
            self.put_i16(length.map_or(-1, |length| length as i16));
        }
        self.put_slice(value.unwrap_or("").as_bytes());
        Ok(())
    }

    /// Writes a nullable byte string.
    pub fn put_bytes(&mut self, value: Option<&[u8]>) -> Result<(), EncodeError> {
        self.put_array_length(value.map(<[u8]>::len))?;
        self.put_slice(value.unwrap_or(&[]));
        Ok(())
    }

    /// Writes a nullable byte string that may be shared rather than copied.
    pub(crate) fn put_shared_bytes(&mut self, value: Option<&Bytes>) -> Result<(), EncodeError> {
        let Some(bytes) = value.filter(|it| self.scatters && it.len() >= SHARED_BYTES) else {
            return self.put_bytes(value.map(|bytes| &bytes[..]));
        };
        self.put_array_length(Some(bytes.len()))?;
        self.beside.push((self.buffer.len(), bytes.clone()));
        self.beside_bytes += bytes.len();
        Ok(())
    }

    /// Writes the length of a nullable array (or byte string: they are written alike).
    pub fn put_array_length(&mut self, length: Option<usize>) -> Result<(), EncodeError> {
        if self.flexible {
            return self.put_compact_length(length);
        }
        self.put_i32(length.map_or(Ok(-1), limit)?);
        Ok(())
    }

    /// Writes the tagged fields that end a flexible structure, in the order of their tags.
    #[inline]
    pub(crate) fn put_tagged_fields(
        &mut self,
        fields: Vec<(u32, Writer)>,
    ) -> Result<(), EncodeError> {
        if fields.is_empty() {
            self.put_uvarint(0);
            return Ok(());
        }
        self.put_some_tagged_fields(fields)
    }

    fn put_some_tagged_fields(
        &mut self,
        mut fields: Vec<(u32, Writer)>,
    ) -> Result<(), EncodeError> {
        fields.sort_by_key(|(tag, _)| *tag);
        self.put_uvarint(limit(fields.len())? as u32);
        for (tag, field) in fields {
            self.put_uvarint(tag);
            self.put_uvarint(limit(field.len())? as u32);
            self.put_slice(field.as_slice());
        }
        Ok(())
    }

    /// Starts the value of one tagged field.
    pub(crate) fn for_tagged_field() -> Self {
        Self { flexible: true, ..Self::default() }
    }

    fn put_compact_length(&mut self, length: Option<usize>) -> Result<(), EncodeError> {
        let length = length.map_or(Ok(-1), limit)?;
        self.put_uvarint(length.wrapping_add(1) as u32);
        Ok(())
    }
}

/// From this size on, sharing a byte string costs less than copying it.
const SHARED_BYTES: usize = 1024;

/// What the elements of a message's arrays may take whatever its size, and for each of its bytes.
///
/// An empty string is one byte on the wire and 24 in memory. Real requests stay below a ratio of
/// two; without a limit, a frame of 100 MB that holds nothing but empty strings would take 2.4 GB.
const ELEMENT_BYTES_FREE: usize = 1024 * 1024;
const ELEMENT_BYTES_PER_BYTE: usize = 8;

fn limit(length: usize) -> Result<i32, EncodeError> {
    i32::try_from(length).map_err(|_| EncodeErrorKind::TooLong(length).into())
}
