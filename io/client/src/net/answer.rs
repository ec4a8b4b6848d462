//! The frame of an answer: how much room it deserves while it comes, and what it says.

use bytes::{Bytes, BytesMut};
use kohort_protocol::header::decode_response_header;
use kohort_protocol::{DecodeError, Message, Reader, frame};

/// Reads an answer's header and body.
pub(super) fn decode_body<M: Message>(frame: &Bytes, version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(frame);
    decode_response_header(&mut reader, M::API_KEY, version)?;
    M::decode(&mut reader, version)
}

/// How much room the rest of the frame at hand deserves: all of it up to [`TRUSTED_BYTES`], then
/// as much again as has arrived, so that a length alone never claims memory.
pub(super) fn wanted(received: &BytesMut) -> usize {
    let Some(prefix) = received.first_chunk::<{ frame::LENGTH_BYTES }>() else {
        return READ_BYTES;
    };
    let length = usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(0);
    let missing = (length + frame::LENGTH_BYTES).saturating_sub(received.len());
    missing.clamp(1, TRUSTED_BYTES.max(received.len()))
}

/// What one read asks for while the size of the next frame is not known.
const READ_BYTES: usize = 16 * 1024;
/// The part of a frame whose room is taken on the peer's word: one partition's fetch.
pub(super) const TRUSTED_BYTES: usize = 1024 * 1024;
