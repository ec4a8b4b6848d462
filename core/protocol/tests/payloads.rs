//! What travels inside records and other messages, with its version in front.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bytes::Bytes;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolSubscription;
use kohort_protocol::messages::group_records::{
    GroupMetadataKey, GroupRecordKey, OffsetCommitKey, OffsetCommitValue,
};
use kohort_protocol::{DecodeErrorKind, EncodeErrorKind};

#[test]
fn a_record_key_begins_with_its_kind() {
    let offset = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 1 };
    let bytes = offset.to_bytes().unwrap();
    assert_eq!(bytes[..], *b"\0\x01\0\x01g\0\x01t\0\0\0\x01");
    assert_eq!(GroupRecordKey::from_bytes(&bytes), Ok(GroupRecordKey::OffsetCommit(offset)));

    let group = GroupMetadataKey { group: "g".into() };
    let bytes = group.to_bytes().unwrap();
    assert_eq!(bytes[..], *b"\0\x02\0\x01g");
    assert_eq!(GroupRecordKey::from_bytes(&bytes), Ok(GroupRecordKey::GroupMetadata(group)));
}

#[test]
fn a_record_key_of_another_kind_is_recognised_as_such() {
    let bytes = Bytes::from_static(b"\0\x03whatever follows");
    assert_eq!(GroupRecordKey::from_bytes(&bytes), Ok(GroupRecordKey::Unknown(3)));
    GroupRecordKey::from_bytes(&Bytes::from_static(b"\0")).unwrap_err();
}

#[test]
fn a_record_value_is_read_in_the_version_it_names_and_in_no_other() {
    let value = OffsetCommitValue { offset: 7, commit_timestamp: 9, ..Default::default() };
    for version in OffsetCommitValue::VERSIONS.iter() {
        let bytes = value.to_bytes(version).unwrap();
        assert_eq!(bytes[..2], version.to_be_bytes());
        assert_eq!(OffsetCommitValue::from_bytes(&bytes), Ok(value.clone()));
    }
    let error = OffsetCommitValue::from_bytes(&Bytes::from_static(b"\0\x05")).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::UnsupportedVersion(5));
    let error = value.to_bytes(5).unwrap_err();
    assert_eq!(error.kind, EncodeErrorKind::UnsupportedVersion(5));
}

#[test]
fn a_subscription_of_a_later_version_is_read_as_far_as_we_know_it() {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["t".to_owned()],
        rack_id: Some("r".to_owned()),
        ..Default::default()
    };
    let mut bytes = subscription.to_bytes(3).unwrap().to_vec();
    bytes[1] = 9;
    bytes.extend_from_slice(b"what version nine added");
    let read = ConsumerProtocolSubscription::from_bytes(&Bytes::from(bytes));
    assert_eq!(read, Ok(subscription));

    let error = ConsumerProtocolSubscription::from_bytes(&Bytes::from_static(b"\xff\xff"));
    assert_eq!(error.unwrap_err().kind, DecodeErrorKind::UnsupportedVersion(-1));
}
