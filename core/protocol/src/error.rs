//! What can be wrong with bytes we are given, or with a value we are asked to send.

use thiserror::Error;

/// Bytes that are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot decode {field}: {kind}")]
pub struct DecodeError {
    /// What was being read, as `Structure.field`.
    pub field: &'static str,
    /// What was wrong with it.
    pub kind: DecodeErrorKind,
}

/// The ways in which bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The frame ends inside a value.
    #[error("{wanted} bytes wanted, {remaining} left")]
    Truncated {
        /// Bytes the value needs.
        wanted: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A string, array or byte string claims a length that cannot be.
    #[error("length {length} is impossible with {remaining} bytes left")]
    BadLength {
        /// The length the peer gave.
        length: i64,
        /// Bytes that are left.
        remaining: usize,
    },
    /// An array has so many elements that they would take far more memory than its frame.
    #[error("an array of {0} elements is out of proportion to the frame")]
    TooManyElements(usize),
    /// A varint has more bytes than its type can hold.
    #[error("the varint does not end")]
    VarintTooLong,
    /// A string is not UTF-8.
    #[error("the string is not UTF-8")]
    NotUtf8,
    /// Null where this version has no null.
    #[error("null is not allowed here")]
    UnexpectedNull,
    /// Bytes were left over.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    /// The version is not one we know for this message.
    #[error("version {0} is not supported")]
    UnsupportedVersion(i16),
    /// The frame is larger than allowed, or its length is negative.
    #[error("a frame of {length} bytes is outside 0..={limit}")]
    BadFrameLength {
        /// The length the peer gave.
        length: i32,
        /// The largest frame we take.
        limit: usize,
    },
}

impl DecodeError {
    /// Names the field, unless a deeper one is named already.
    #[must_use]
    pub(crate) fn in_field(mut self, field: &'static str) -> Self {
        if self.field == UNNAMED {
            self.field = field;
        }
        self
    }
}

impl From<DecodeErrorKind> for DecodeError {
    fn from(kind: DecodeErrorKind) -> Self {
        Self { field: UNNAMED, kind }
    }
}

/// A value that cannot be written in the version asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot encode {field}: {kind}")]
pub struct EncodeError {
    /// What was being written, as `Structure.field`.
    pub field: &'static str,
    /// What was wrong with it.
    pub kind: EncodeErrorKind,
}

/// The ways in which a value is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// Null where this version has no null.
    #[error("null is not allowed in this version")]
    UnexpectedNull,
    /// A string, byte string or array is longer than its length field can say.
    #[error("{0} is too long")]
    TooLong(usize),
    /// The version is not one we know for this message.
    #[error("version {0} is not supported")]
    UnsupportedVersion(i16),
}

impl EncodeError {
    /// Names the field, unless a deeper one is named already.
    #[must_use]
    pub(crate) fn in_field(mut self, field: &'static str) -> Self {
        if self.field == UNNAMED {
            self.field = field;
        }
        self
    }
}

impl From<EncodeErrorKind> for EncodeError {
    fn from(kind: EncodeErrorKind) -> Self {
        Self { field: UNNAMED, kind }
    }
}

const UNNAMED: &str = "the message";
