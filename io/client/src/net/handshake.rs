//! The first exchange on a connection: which versions both sides know.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kohort_protocol::header::decode_response_header;
use kohort_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use kohort_protocol::{ApiKey, DecodeError, ErrorCode, Message, Reader, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::Stream;
use super::{ApiVersions, ConnectionOptions, NetError};

/// Agrees on versions (KIP-511): asks in our highest ApiVersions version; a broker that does not
/// know it answers in version 0, with the versions it does know.
pub(super) async fn negotiate(
    stream: &mut Stream,
    address: &Arc<str>,
    options: &ConnectionOptions,
) -> Result<ApiVersions, NetError> {
    let mut version = ApiVersionsRequest::VERSIONS.max;
    loop {
        let response = ask_versions(stream, address, options, version).await?;
        if response.error_code != ErrorCode::UNSUPPORTED_VERSION {
            return Ok(ApiVersions::new(&response));
        }
        let theirs = ApiVersions::new(&response).range(ApiKey::ApiVersions);
        let lower = theirs.map_or(0, |theirs| theirs.max);
        if lower >= version {
            return Err(NetError::UnsupportedVersion {
                address: address.clone(),
                api: ApiKey::ApiVersions,
                ours: ApiVersionsRequest::VERSIONS,
                theirs,
            });
        }
        version = lower;
    }
}

async fn ask_versions(
    stream: &mut Stream,
    address: &Arc<str>,
    options: &ConnectionOptions,
    version: i16,
) -> Result<ApiVersionsResponse, NetError> {
    let request = ApiVersionsRequest {
        client_software_name: env!("CARGO_PKG_NAME").to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let broken = |reason| NetError::Broken { address: address.clone(), reason: Arc::new(reason) };
    let malformed =
        |reason| NetError::Malformed { address: address.clone(), api: ApiKey::ApiVersions, reason };
    let frame = frame::encode_request(&request, version, 0, Some(&options.client_id))
        .map_err(|reason| NetError::Unwritable { address: address.clone(), reason })?;
    stream.write_all(&frame).await.map_err(broken)?;
    let mut received = BytesMut::new();
    let frame = loop {
        let limit = options.response_bytes_max;
        if let Some(frame) = frame::split_frame(&mut received, limit).map_err(malformed)? {
            break frame;
        }
        received.reserve(wanted(&received));
        if stream.read_buf(&mut received).await.map_err(broken)? == 0 {
            return Err(NetError::ClosedByPeer { address: address.clone() });
        }
    };
    // The header (an id, no tags) and then the error come first in every version.
    let refused = frame.get(4..6) == Some(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes());
    let answered_in = if refused { 0 } else { version };
    decode_body(&frame, answered_in).map_err(malformed)
}

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
