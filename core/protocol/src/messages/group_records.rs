//! The records of `__consumer_offsets`, in Kafka's own formats.
//!
//! A key begins with two bytes that say which kind of record it is, a value with two bytes of
//! version. A record without a value is a tombstone: it removes what the key names.
//!
//! Kinds that are not declared here (those of KIP-848, share and streams groups) are reported as
//! [`GroupRecordKey::Unknown`], so that a reader can pass over them.

use bytes::Bytes;

use crate::message::message;
use crate::{DecodeError, EncodeError, Reader, Uuid, Writer};

/// The key of any record of `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRecordKey {
    /// Kinds 0 and 1: a committed offset. The value is an [`OffsetCommitValue`].
    OffsetCommit(OffsetCommitKey),
    /// Kind 2: a classic group. The value is a [`GroupMetadataValue`].
    GroupMetadata(GroupMetadataKey),
    /// Another kind, with its number.
    Unknown(i16),
}

impl GroupRecordKey {
    /// Reads a record's key.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.read_i16().map_err(|error| error.in_field("GroupRecordKey"))?;
        match kind {
            0 | 1 => OffsetCommitKey::decode(&mut reader, kind).map(Self::OffsetCommit),
            2 => GroupMetadataKey::decode(&mut reader, kind).map(Self::GroupMetadata),
            kind => Ok(Self::Unknown(kind)),
        }
    }
}

message! {
    pub struct OffsetCommitKey: payload [0..=1] {
        group: String [0..],
        topic: String [0..],
        partition: i32 [0..],
    }
}

message! {
    pub struct OffsetCommitValue: payload [0..=4, flexible 4..] {
        offset: i64 [0..],
        leader_epoch: i32 [3..] = -1,
        metadata: String [0..],
        commit_timestamp: i64 [0..],
        expire_timestamp: i64 [1..=1] = -1,
        topic_id: Uuid [4.., tag 0],
    }
}

message! {
    pub struct GroupMetadataKey: payload [2..=2] {
        group: String [2..],
    }
}

message! {
    pub struct GroupMetadataValue: payload [0..=4, flexible 4..] {
        protocol_type: String [0..],
        generation: i32 [0..],
        protocol: Option<String> [0.., nullable 0..] = Some(String::new()),
        leader: Option<String> [0.., nullable 0..] = Some(String::new()),
        current_state_timestamp: i64 [2..] = -1,
        members: Vec<MemberMetadata> [0..],
    }

    pub struct MemberMetadata {
        member_id: String [0..],
        group_instance_id: Option<String> [3.., nullable 3..],
        client_id: String [0..],
        client_host: String [0..],
        rebalance_timeout: i32 [1..] = -1,
        session_timeout: i32 [0..],
        subscription: Bytes [0..],
        assignment: Bytes [0..],
    }
}

macro_rules! record_key {
    ($($name:ident),*) => {$(
        impl $name {
            /// Writes the record's key in the kind Kafka writes today.
            pub fn to_bytes(&self) -> Result<Bytes, EncodeError> {
                with_prefix(Self::VERSIONS.max, |writer, kind| self.encode(writer, kind))
            }
        }
    )*};
}

macro_rules! record_value {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads a record's value.
            pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(bytes);
                let version = reader
                    .read_i16()
                    .map_err(|error| error.in_field(concat!(stringify!($name), " (version)")))?;
                Self::decode(&mut reader, version)
            }

            /// Writes a record's value in `version`.
            pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
                with_prefix(version, |writer, version| self.encode(writer, version))
            }
        }
    )*};
}

record_key! { OffsetCommitKey, GroupMetadataKey }
record_value! { OffsetCommitValue, GroupMetadataValue }

fn with_prefix(
    version: i16,
    write: impl FnOnce(&mut Writer, i16) -> Result<(), EncodeError>,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.put_i16(version);
    write(&mut writer, version)?;
    Ok(writer.into_bytes())
}
