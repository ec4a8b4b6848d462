//! The records of `__consumer_offsets`, in Kafka's own formats.
//!
//! A key begins with two bytes that say which kind of record it is, a value with two bytes of
//! version. A record without a value is a tombstone: it removes what the key names.
//!
//! Here are committed offsets and classic groups; the kinds of the new group protocol are in
//! [`consumer_group`]. Kinds that are not declared (those of share and streams groups) are reported as
//! [`GroupRecordKey::Unknown`], so that a reader can pass over them.

use bytes::Bytes;

use self::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMetadataKey, ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMetadataKey,
};
use crate::message::message;
use crate::{DecodeError, EncodeError, Reader, Uuid, Writer};

pub mod consumer_group;

/// The key of any record of `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRecordKey {
    /// Kinds 0 and 1: a committed offset. The value is an [`OffsetCommitValue`].
    OffsetCommit(OffsetCommitKey),
    /// Kind 2: a classic group. The value is a [`GroupMetadataValue`].
    GroupMetadata(GroupMetadataKey),
    /// Kind 3: the epoch of a group of the new protocol.
    ConsumerGroupMetadata(ConsumerGroupMetadataKey),
    /// Kind 4: the topics of such a group, before Kafka 4.1.
    ConsumerGroupPartitionMetadata(ConsumerGroupPartitionMetadataKey),
    /// Kind 5: who a member is and what it wants.
    ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataKey),
    /// Kind 6: the epoch of the target assignment.
    ConsumerGroupTargetAssignmentMetadata(ConsumerGroupTargetAssignmentMetadataKey),
    /// Kind 7: what a member shall have.
    ConsumerGroupTargetAssignmentMember(ConsumerGroupTargetAssignmentMemberKey),
    /// Kind 8: what a member has.
    ConsumerGroupCurrentMemberAssignment(ConsumerGroupCurrentMemberAssignmentKey),
    /// Kind 16: the topics a pattern stands for.
    ConsumerGroupRegularExpression(ConsumerGroupRegularExpressionKey),
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
            3 => {
                ConsumerGroupMetadataKey::decode(&mut reader, kind).map(Self::ConsumerGroupMetadata)
            }
            4 => ConsumerGroupPartitionMetadataKey::decode(&mut reader, kind)
                .map(Self::ConsumerGroupPartitionMetadata),
            5 => ConsumerGroupMemberMetadataKey::decode(&mut reader, kind)
                .map(Self::ConsumerGroupMemberMetadata),
            6 => ConsumerGroupTargetAssignmentMetadataKey::decode(&mut reader, kind)
                .map(Self::ConsumerGroupTargetAssignmentMetadata),
            7 => ConsumerGroupTargetAssignmentMemberKey::decode(&mut reader, kind)
                .map(Self::ConsumerGroupTargetAssignmentMember),
            8 => ConsumerGroupCurrentMemberAssignmentKey::decode(&mut reader, kind)
                .map(Self::ConsumerGroupCurrentMemberAssignment),
            16 => ConsumerGroupRegularExpressionKey::decode(&mut reader, kind)
                .map(Self::ConsumerGroupRegularExpression),
            kind => Ok(Self::Unknown(kind)),
        }
    }

    /// Returns the number of the kind, as Kafka writes it today.
    pub fn kind(&self) -> i16 {
        match self {
            Self::OffsetCommit(_) => 1,
            Self::GroupMetadata(_) => 2,
            Self::ConsumerGroupMetadata(_) => 3,
            Self::ConsumerGroupPartitionMetadata(_) => 4,
            Self::ConsumerGroupMemberMetadata(_) => 5,
            Self::ConsumerGroupTargetAssignmentMetadata(_) => 6,
            Self::ConsumerGroupTargetAssignmentMember(_) => 7,
            Self::ConsumerGroupCurrentMemberAssignment(_) => 8,
            Self::ConsumerGroupRegularExpression(_) => 16,
            Self::Unknown(kind) => *kind,
        }
    }
}

message! {
    /// Whose position in what: the key of a committed offset.
    pub struct OffsetCommitKey: payload [0..=1] {
        /// The group.
        group: String [0..],
        /// The topic's name.
        topic: String [0..],
        /// The partition, counted from 0.
        partition: i32 [0..],
    }
}

message! {
    /// A committed offset. Kafka 4.3 writes version 4, or 1 if the offset has an expiry of its own.
    pub struct OffsetCommitValue: payload [0..=4, flexible 4..] {
        /// The position: the offset of the next record to consume.
        offset: i64 [0..],
        /// The leader epoch of the last record consumed, or -1.
        leader_epoch: i32 [3..] = -1,
        /// What the client asked to remember with the position.
        metadata: String [0..],
        /// When the offset was committed, in Unix milliseconds.
        commit_timestamp: i64 [0..],
        /// When the offset expires, in Unix milliseconds, or -1 for the broker's retention; in
        /// version 1 only.
        expire_timestamp: i64 [1..=1] = -1,
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [4.., tag 0],
    }
}

message! {
    /// Which classic group: the key of its state.
    pub struct GroupMetadataKey: payload [2..=2] {
        /// The group.
        group: String [2..],
    }
}

message! {
    /// The state of a classic group as of its last complete rebalance.
    pub struct GroupMetadataValue: payload [0..=4, flexible 4..] {
        /// The kind of group; `consumer` for consumers.
        protocol_type: String [0..],
        /// How many rebalances the group has been through.
        generation: i32 [0..],
        /// The protocol in use, or null.
        protocol: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The leader's member id, or null.
        leader: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// When the group came into its present state, in Unix milliseconds, or -1.
        current_state_timestamp: i64 [2..] = -1,
        /// Everyone in the group.
        members: Vec<MemberMetadata> [0..],
    }

    /// A member of a classic group.
    pub struct MemberMetadata {
        /// The member's id.
        member_id: String [0..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [3.., nullable 3..],
        /// What the member's client calls itself.
        client_id: String [0..],
        /// Where the member connects from.
        client_host: String [0..],
        /// How many milliseconds the member may take to rejoin, or -1.
        rebalance_timeout: i32 [1..] = -1,
        /// After how many milliseconds without heartbeat the member is taken out.
        session_timeout: i32 [0..],
        /// What the member said in the protocol chosen.
        subscription: Bytes [0..],
        /// What the leader gave the member, in the protocol's own format.
        assignment: Bytes [0..],
    }
}

macro_rules! record_key {
    ($($name:ident),* $(,)?) => {$(
        impl $name {
            /// Writes the record's key in the kind Kafka writes today.
            pub fn to_bytes(&self) -> Result<Bytes, $crate::EncodeError> {
                $crate::messages::group_records::with_prefix(Self::VERSIONS.max, |writer, kind| self.encode(writer, kind))
            }
        }
    )*};
}

macro_rules! record_value {
    ($($name:ident),* $(,)?) => {$(
        impl $name {
            /// Reads a record's value.
            pub fn from_bytes(bytes: &Bytes) -> Result<Self, $crate::DecodeError> {
                let mut reader = $crate::Reader::new(bytes);
                let version = reader
                    .read_i16()
                    .map_err(|error| error.in_field(concat!(stringify!($name), " (version)")))?;
                Self::decode(&mut reader, version)
            }

            /// Writes a record's value in `version`.
            pub fn to_bytes(&self, version: i16) -> Result<Bytes, $crate::EncodeError> {
                $crate::messages::group_records::with_prefix(version, |writer, version| self.encode(writer, version))
            }
        }
    )*};
}

pub(crate) use {record_key, record_value};

record_key! { OffsetCommitKey, GroupMetadataKey }
record_value! { OffsetCommitValue, GroupMetadataValue }

/// Room for a committed offset without metadata, so that writing one allocates once.
const SMALL_RECORD_BYTES: usize = 64;

fn with_prefix(
    version: i16,
    write: impl FnOnce(&mut Writer, i16) -> Result<(), EncodeError>,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(SMALL_RECORD_BYTES);
    writer.put_i16(version);
    write(&mut writer, version)?;
    Ok(writer.into_bytes())
}
