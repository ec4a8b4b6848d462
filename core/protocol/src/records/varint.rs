//! Zigzag variable-length integers, the coding of everything inside a record.
//!
//! Nearly all of them are of one byte or two, so those come first and the rest is kept out of line.

/// A read position in borrowed bytes. Every `take` is `None` at the end of the bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn take_u8(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    pub(super) fn take_varint(&mut self) -> Option<i32> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Some(unzigzag(u64::from(byte)) as i32)
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Some(unzigzag(u64::from(low & 0x7f) | u64::from(high) << 7) as i32)
            }
            _ => self.take_long(MAX_VARINT_BYTES).map(|raw| {
                // Bits beyond the 32nd are dropped, as Kafka's reader does.
                unzigzag(u64::from(raw as u32)) as i32
            }),
        }
    }

    #[inline]
    pub(super) fn take_varlong(&mut self) -> Option<i64> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Some(unzigzag(u64::from(byte)))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Some(unzigzag(u64::from(low & 0x7f) | u64::from(high) << 7))
            }
            _ => self.take_long(VARLONG_BYTES_MAX).map(unzigzag),
        }
    }

    #[cold]
    fn take_long(&mut self, max_bytes: usize) -> Option<u64> {
        let mut raw = 0u64;
        for index in 0..max_bytes {
            let byte = self.take_u8()?;
            raw |= u64::from(byte & 0x7f) << (7 * index as u32);
            if byte < 0x80 {
                return Some(raw);
            }
        }
        None
    }

    /// Takes a length and that many bytes; a length of -1 is null. The outer `None` is malformed.
    #[allow(clippy::option_option, reason = "missing bytes are an error, null is a value")]
    #[inline]
    pub(super) fn take_nullable(&mut self) -> Option<Option<&'a [u8]>> {
        let len = self.take_varint()?;
        if len == NULL_LENGTH {
            return Some(None);
        }
        self.take(usize::try_from(len).ok()?).map(Some)
    }
}

/// Appends a zigzag varint; 32-bit values have the same form as 64-bit ones.
#[inline]
pub(super) fn put_varint(output: &mut Vec<u8>, value: i64) {
    match zigzag(value) {
        raw @ ..0x80 => output.push(raw as u8),
        raw @ 0x80..0x4000 => output.extend_from_slice(&[raw as u8 | 0x80, (raw >> 7) as u8]),
        raw => put_long(output, raw),
    }
}

fn put_long(output: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        output.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    output.push(raw as u8);
}

/// Appends a length and the bytes, or the length of null.
#[inline]
pub(super) fn put_nullable(output: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varint(output, bytes.len() as i64);
            output.extend_from_slice(bytes);
        }
        None => put_varint(output, i64::from(NULL_LENGTH)),
    }
}

/// Returns how many bytes [`put_varint`] writes.
#[inline]
pub(super) const fn varint_len(value: i64) -> usize {
    match zigzag(value) {
        ..0x80 => 1,
        0x80..0x4000 => 2,
        raw => (64 - raw.leading_zeros() as usize).div_ceil(7),
    }
}

/// Returns how many bytes [`put_nullable`] writes.
#[inline]
pub(super) fn nullable_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint_len(bytes.len() as i64) + bytes.len(),
        None => varint_len(i64::from(NULL_LENGTH)),
    }
}

pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

const NULL_LENGTH: i32 = -1;
const MAX_VARINT_BYTES: usize = 5;
const VARLONG_BYTES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values_have_their_bytes() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (8192, &[0x80, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut output = Vec::new();
            put_varint(&mut output, value);
            assert_eq!(output, bytes);
            assert_eq!(varint_len(value), bytes.len());
            let mut cursor = Cursor::new(bytes);
            assert_eq!(cursor.take_varint().map(i64::from), Some(value));
            assert!(cursor.rest().is_empty());
        }
    }

    #[test]
    fn an_endless_or_cut_varint_is_refused() {
        assert_eq!(Cursor::new(&[0xff; 11]).take_varlong(), None);
        assert_eq!(Cursor::new(&[0xff; 6]).take_varint(), None);
        assert_eq!(Cursor::new(&[0xff]).take_varint(), None);
        assert_eq!(Cursor::new(&[]).take_varlong(), None);
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value: i64) {
            let mut output = Vec::new();
            put_varint(&mut output, value);
            prop_assert_eq!(output.len(), varint_len(value));
            prop_assert_eq!(Cursor::new(&output).take_varlong(), Some(value));
            let mut output = Vec::new();
            put_varint(&mut output, i64::from(value as i32));
            prop_assert_eq!(Cursor::new(&output).take_varint(), Some(value as i32));
        }
    }
}
