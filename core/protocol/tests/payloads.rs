//! What travels inside records and other messages, with its version in front.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bytes::Bytes;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolSubscription;
use kohort_protocol::messages::group_records::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, ConsumerGroupRegularExpressionKey, TopicPartitions,
};
use kohort_protocol::messages::group_records::{
    GroupMetadataKey, GroupRecordKey, OffsetCommitKey, OffsetCommitValue,
};
use kohort_protocol::{DecodeErrorKind, EncodeErrorKind, Uuid};

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

    let member =
        ConsumerGroupCurrentMemberAssignmentKey { group_id: "g".into(), member_id: "m".into() };
    let bytes = member.to_bytes().unwrap();
    assert_eq!(bytes[..], *b"\0\x08\0\x01g\0\x01m");
    let read = GroupRecordKey::from_bytes(&bytes).unwrap();
    assert_eq!(read.kind(), 8);
    assert_eq!(read, GroupRecordKey::ConsumerGroupCurrentMemberAssignment(member));

    let pattern =
        ConsumerGroupRegularExpressionKey { group_id: "g".into(), regular_expression: ".*".into() };
    let bytes = pattern.to_bytes().unwrap();
    assert_eq!(bytes[..], *b"\0\x10\0\x01g\0\x02.*");
    let read = GroupRecordKey::from_bytes(&bytes).unwrap();
    assert_eq!(read.kind(), 16);
    assert_eq!(read, GroupRecordKey::ConsumerGroupRegularExpression(pattern));
}

#[test]
fn a_member_of_the_new_protocol_is_told_from_a_classic_one_by_a_null_that_is_written() {
    let classic = ConsumerGroupMemberMetadataValue::default();
    let bytes = classic.to_bytes(0).unwrap();
    assert_eq!(bytes[..], *b"\0\0\0\0\x01\x01\x01\0\xff\xff\xff\xff\0\0");
    assert_eq!(ConsumerGroupMemberMetadataValue::from_bytes(&bytes), Ok(classic.clone()));

    let consumer = ConsumerGroupMemberMetadataValue { classic_member_metadata: None, ..classic };
    let bytes = consumer.to_bytes(0).unwrap();
    assert_eq!(bytes[..], *b"\0\0\0\0\x01\x01\x01\0\xff\xff\xff\xff\0\x01\0\x01\0",);
    assert_eq!(ConsumerGroupMemberMetadataValue::from_bytes(&bytes), Ok(consumer));
}

#[test]
fn partitions_without_epochs_are_read_as_without() {
    // As Kafka before KIP-1251 wrote them: no tagged field.
    let mut bytes = vec![7; 16];
    bytes.extend_from_slice(b"\x02\0\0\0\x05\0");
    let mut value = b"\0\0\0\0\0\x01\0\0\0\0\0\x02".to_vec();
    value.extend_from_slice(&bytes);
    value.extend_from_slice(b"\x01\0");
    let value = Bytes::from(value);
    let read = ConsumerGroupCurrentMemberAssignmentValue::from_bytes(&value).unwrap();
    let expected = TopicPartitions {
        topic_id: Uuid([7; 16]),
        partitions: vec![5],
        assignment_epochs: Some(Vec::new()),
    };
    assert_eq!(read.assigned_partitions, [expected]);
    assert_eq!(read.to_bytes(0), Ok(value));
}

#[test]
fn a_record_key_of_another_kind_is_recognised_as_such() {
    for kind in [9, 12, 17, -1] {
        let mut bytes = i16::to_be_bytes(kind).to_vec();
        bytes.extend_from_slice(b"whatever follows");
        let read = GroupRecordKey::from_bytes(&Bytes::from(bytes)).unwrap();
        assert_eq!(read, GroupRecordKey::Unknown(kind));
        assert_eq!(read.kind(), kind);
    }
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
