//! Headers: their own versions, and what is read of a request nobody can answer.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use kohort_protocol::frame::{encode_request, encode_response, split_frame};
use kohort_protocol::header::decode_response_header;
use kohort_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
use kohort_protocol::{
    ApiKey, Message, Reader, RequestHeader, Writer, request_header_version, response_header_version,
};

#[test]
fn flexible_messages_have_the_header_with_tagged_fields() {
    for (key, version, request, response) in [
        (ApiKey::Metadata, 8, 1, 0),
        (ApiKey::Metadata, 9, 2, 1),
        (ApiKey::SaslHandshake, 1, 1, 0),
        (ApiKey::OffsetDelete, 0, 1, 0),
        (ApiKey::ConsumerGroupHeartbeat, 0, 2, 1),
    ] {
        assert_eq!(request_header_version(key, version), request, "{key} v{version}");
        assert_eq!(response_header_version(key, version), response, "{key} v{version}");
    }
}

#[test]
fn api_versions_responses_never_have_tagged_fields_in_their_header() {
    for version in ApiVersionsRequest::VERSIONS.iter() {
        assert_eq!(response_header_version(ApiKey::ApiVersions, version), 0);
    }
    let frame = encode_response(&ApiVersionsResponse::default(), 3, 7).unwrap();
    assert_eq!(frame[..], *b"\0\0\0\x0c\0\0\0\x07\0\0\x01\0\0\0\0\0");
}

#[test]
fn a_client_id_that_is_not_utf_8_is_read_as_well_as_it_can_be() {
    for version in [0, 9] {
        let mut frame = vec![0, 3, 0, version, 0, 0, 0, 5, 0, 5, b'c', b'a', b'f', 0xe9, b'1'];
        frame.extend(if version == 9 { &[0][..] } else { &[] });
        let frame = Bytes::from(frame);
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader).unwrap();
        assert_eq!(header.client_id.as_deref(), Some("caf\u{fffd}1"));
        reader.expect_end().unwrap();
    }
}

#[test]
fn a_request_comes_out_of_its_frame_as_it_went_in() {
    for (version, client_id) in [(8, Some("c")), (9, Some("c")), (9, None)] {
        let frame = encode_request(&MetadataRequest::default(), version, 5, client_id).unwrap();
        let frame = split_frame(&mut BytesMut::from(&frame[..]), 100).unwrap().unwrap();
        let mut reader = Reader::new(&frame);
        let header = RequestHeader {
            api_key: 3,
            api_version: version,
            correlation_id: 5,
            client_id: client_id.map(Cow::Borrowed),
        };
        assert_eq!(RequestHeader::decode(&mut reader), Ok(header));
        assert_eq!(MetadataRequest::decode(&mut reader, version), Ok(MetadataRequest::default()));
        reader.expect_end().unwrap();
    }
}

#[test]
fn the_header_of_an_unknown_api_or_version_can_be_read() {
    for (key, version) in [(9999, 0), (-1, -1), (18, 77)] {
        let header = RequestHeader {
            api_key: key,
            api_version: version,
            correlation_id: 1,
            client_id: Some("future".into()),
        };
        let mut writer = Writer::new();
        header.encode(&mut writer).unwrap();
        let bytes = writer.into_bytes();
        assert_eq!(RequestHeader::decode(&mut Reader::new(&bytes)), Ok(header));
    }
}

#[test]
fn a_response_header_gives_the_correlation_id() {
    let bytes = Bytes::from_static(b"\0\0\0\x07\x01\x05\x02ab");
    let mut reader = Reader::new(&bytes);
    assert_eq!(decode_response_header(&mut reader, ApiKey::Metadata, 9), Ok(7));
    reader.expect_end().unwrap();
}
