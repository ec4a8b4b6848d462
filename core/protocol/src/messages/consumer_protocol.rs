//! What members of a classic group tell each other inside JoinGroup and SyncGroup: their
//! subscriptions, and the assignments their leader makes (KIP-429, KIP-792, KIP-881).
//!
//! The coordinator passes these bytes on without reading them. Two bytes of version come first. A
//! version above ours is read as the highest we know, since versions only ever add fields at the
//! end.

use bytes::Bytes;

use crate::message::message;
use crate::{DecodeError, DecodeErrorKind, EncodeError, Reader, Writer};

message! {
    /// What a member wants: topics, and what it owns from before. Sent in JoinGroup.
    pub struct ConsumerProtocolSubscription: payload [0..=3] {
        /// The topics the member wants.
        topics: Vec<String> [0..],
        /// The assignor's own bytes, or null.
        user_data: Option<Bytes> [0.., nullable 0..],
        /// The partitions the member owns from before.
        owned_partitions: Vec<ConsumerProtocolSubscriptionTopicPartition> [1..],
        /// The generation in which the member owned these partitions, or -1.
        generation_id: i32 [2..] = -1,
        /// The rack the member stands in, or null.
        rack_id: Option<String> [3.., nullable 3..],
    }

    /// A topic and the partitions of it that the member owns.
    pub struct ConsumerProtocolSubscriptionTopicPartition {
        /// The topic's name.
        topic: String [1..],
        /// Each partition concerned.
        partitions: Vec<i32> [1..],
    }
}

message! {
    /// What a member gets. Sent in SyncGroup.
    pub struct ConsumerProtocolAssignment: payload [0..=3] {
        /// The partitions the member gets.
        assigned_partitions: Vec<ConsumerProtocolAssignmentTopicPartition> [0..],
        /// The assignor's own bytes, or null.
        user_data: Option<Bytes> [0.., nullable 0..],
    }

    /// A topic and the partitions of it that the member gets.
    pub struct ConsumerProtocolAssignmentTopicPartition {
        /// The topic's name.
        topic: String [0..],
        /// Each partition concerned.
        partitions: Vec<i32> [0..],
    }
}

macro_rules! with_version_prefix {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads the version and what follows it.
            pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(bytes);
                let version = reader
                    .read_i16()
                    .map_err(|error| error.in_field(concat!(stringify!($name), " (version)")))?;
                if version < Self::VERSIONS.min {
                    return Err(DecodeError::from(DecodeErrorKind::UnsupportedVersion(version))
                        .in_field(stringify!($name)));
                }
                Self::decode(&mut reader, version.min(Self::VERSIONS.max))
            }

            /// Writes `version` and the structure after it.
            pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
                let mut writer = Writer::new();
                writer.put_i16(version);
                self.encode(&mut writer, version)?;
                Ok(writer.into_bytes())
            }
        }
    )*};
}

with_version_prefix! { ConsumerProtocolSubscription, ConsumerProtocolAssignment }
