//! Frames: how messages are told apart on a connection.
//!
//! Each is preceded by its length in four big-endian bytes. The length is checked before any
//! memory is set aside for the frame: negative or above the limit ends the connection.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::header::{RequestHeader, encode_response_header};
use crate::message::{Message, Request};
use crate::primitives::Writer;

pub use crate::primitives::LENGTH_BYTES;

/// The largest frame a broker takes unless it is configured otherwise (`socket.request.max.bytes`).
pub const DEFAULT_MAX_FRAME_BYTES: usize = 100 * 1024 * 1024;

/// Room for most messages that hold no records, so that writing one allocates once.
const SMALL_FRAME_BYTES: usize = 256;

/// Checks the length at the front of a frame.
pub fn frame_length(prefix: [u8; LENGTH_BYTES], limit: usize) -> Result<usize, DecodeError> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(DecodeErrorKind::BadFrameLength { length, limit }.into()),
    }
}

/// Cuts the first whole frame off what was received; `None` until it is all there.
pub fn split_frame(received: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, DecodeError> {
    let Some(prefix) = received.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = frame_length(*prefix, limit)?;
    if received.len() - LENGTH_BYTES < length {
        return Ok(None);
    }
    received.advance(LENGTH_BYTES);
    Ok(Some(received.split_to(length).freeze()))
}

/// Writes a request as a whole frame, length included.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Bytes, EncodeError> {
    framed(|writer| write_request(writer, request, version, correlation_id, client_id))
}

fn write_request<R: Request>(
    writer: &mut Writer,
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<(), EncodeError> {
    let header = RequestHeader {
        api_key: R::API_KEY as i16,
        api_version: version,
        correlation_id,
        client_id: client_id.map(Cow::Borrowed),
    };
    header.encode(writer)?;
    request.encode(writer, version)
}

/// Writes a request as the pieces of a frame, length included: large byte strings, such as batches of
/// records, are shared and not copied.
pub fn encode_request_in_pieces<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut writer = Writer::scattering(SMALL_FRAME_BYTES);
    writer.put_i32(0);
    write_request(&mut writer, request, version, correlation_id, client_id)?;
    writer.into_pieces()
}

/// Writes a response as a whole frame, length included.
pub fn encode_response<M: Message>(
    response: &M,
    version: i16,
    correlation_id: i32,
) -> Result<Bytes, EncodeError> {
    framed(|writer| {
        encode_response_header(writer, M::API_KEY, version, correlation_id);
        response.encode(writer, version)
    })
}

/// Puts the length before what `write` writes.
pub fn framed(
    write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(SMALL_FRAME_BYTES);
    writer.put_i32(0);
    write(&mut writer)?;
    writer.into_frame()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_off_only_when_whole() {
        let mut received = BytesMut::from(&[0, 0, 0, 2, 7][..]);
        assert_eq!(split_frame(&mut received, 10), Ok(None));
        received.extend_from_slice(&[8, 0, 0]);
        assert_eq!(split_frame(&mut received, 10), Ok(Some(Bytes::from_static(&[7, 8]))));
        assert_eq!(&received[..], [0, 0]);
    }

    #[test]
    fn pieces_are_the_frame_and_share_its_large_byte_strings() {
        use crate::messages::ProduceRequest;
        use crate::messages::produce::{PartitionProduceData, TopicProduceData};

        let records: Vec<Bytes> = [5, 2000, 0, 3000].map(|len| vec![7; len].into()).to_vec();
        let data = (0..)
            .zip(&records)
            .map(|(index, records)| PartitionProduceData { index, records: Some(records.clone()) });
        let request = ProduceRequest {
            topic_data: vec![TopicProduceData {
                partition_data: data.collect(),
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        for version in [3, 9, 13] {
            let whole = encode_request(&request, version, 42, Some("me")).unwrap();
            let pieces = encode_request_in_pieces(&request, version, 42, Some("me")).unwrap();
            assert_eq!(pieces.concat(), whole, "version {version}");
            for shared in [&records[1], &records[3]] {
                assert!(pieces.iter().any(|piece| piece.as_ptr() == shared.as_ptr()));
            }
        }
    }

    #[test]
    fn negative_and_oversized_frames_are_refused_before_their_bytes_arrive() {
        for prefix in [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 11]] {
            let mut received = BytesMut::from(&prefix[..]);
            let error = split_frame(&mut received, 10).unwrap_err();
            let length = i32::from_be_bytes(prefix);
            assert_eq!(error.kind, DecodeErrorKind::BadFrameLength { length, limit: 10 });
        }
    }
}
