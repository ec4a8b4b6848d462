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
    pub struct ConsumerProtocolSubscription: payload [0..=3] {
        topics: Vec<String> [0..],
        user_data: Option<Bytes> [0.., nullable 0..],
        owned_partitions: Vec<ConsumerProtocolSubscriptionTopicPartition> [1..],
        generation_id: i32 [2..] = -1,
        rack_id: Option<String> [3.., nullable 3..],
    }

    pub struct ConsumerProtocolSubscriptionTopicPartition {
        topic: String [1..],
        partitions: Vec<i32> [1..],
    }
}

message! {
    pub struct ConsumerProtocolAssignment: payload [0..=3] {
        assigned_partitions: Vec<ConsumerProtocolAssignmentTopicPartition> [0..],
        user_data: Option<Bytes> [0.., nullable 0..],
    }

    pub struct ConsumerProtocolAssignmentTopicPartition {
        topic: String [0..],
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
