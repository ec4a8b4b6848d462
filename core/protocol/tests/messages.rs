//! Known bytes of known messages.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bytes::Bytes;
use kohort_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use kohort_protocol::{DecodeErrorKind, EncodeErrorKind, ErrorCode, Message, Reader, Writer};

fn encoded<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

#[test]
fn older_versions_have_plain_lengths_and_flexible_ones_have_varints_and_tags() {
    let request = HeartbeatRequest {
        group_id: "g".to_owned(),
        generation_id: 3,
        member_id: "m".to_owned(),
        group_instance_id: None,
        hold_ms: 0,
    };
    assert_eq!(encoded(&request, 0)[..], *b"\0\x01g\0\0\0\x03\0\x01m");
    assert_eq!(encoded(&request, 3)[..], *b"\0\x01g\0\0\0\x03\0\x01m\xff\xff");
    assert_eq!(encoded(&request, 4)[..], *b"\x02g\0\0\0\x03\x02m\0\0");
}

#[test]
fn unknown_tagged_fields_are_passed_over() {
    let bytes = Bytes::from_static(b"\0\0\0\x05\0\x1b\x02\x00\x01x\x07\x02yz");
    let mut reader = Reader::new(&bytes);
    let response = HeartbeatResponse::decode(&mut reader, 4).unwrap();
    reader.expect_end().unwrap();
    let expected =
        HeartbeatResponse { throttle_time_ms: 5, error_code: ErrorCode::REBALANCE_IN_PROGRESS };
    assert_eq!(response, expected);
}

#[test]
fn errors_name_the_field() {
    let bytes = Bytes::from_static(b"\xff\xff");
    let error = HeartbeatRequest::decode(&mut Reader::new(&bytes), 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot decode HeartbeatRequest.group_id: null is not allowed here"
    );
    let error = HeartbeatRequest::decode(&mut Reader::new(&bytes), 9).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::UnsupportedVersion(9));
    let error = HeartbeatRequest::default().encode(&mut Writer::new(), 5).unwrap_err();
    assert_eq!(error.kind, EncodeErrorKind::UnsupportedVersion(5));
}
