//! Kafka's bytes: messages, frames, record batches, compression and error codes.
//!
//! Every message Kohort speaks is declared in [`messages`], one file per API, each field once with
//! its type and the versions it exists in. What a peer sends is read by decoders that never trust
//! its lengths; see [`primitives`].

pub mod api_key;
pub mod compression;
pub mod error;
pub mod error_code;
mod field;
pub mod frame;
pub mod header;
mod message;
pub mod messages;
pub mod primitives;
pub mod records;
#[cfg(feature = "testing")]
pub mod testing;
mod topic_partition;
mod uuid;
mod version_range;

pub use api_key::ApiKey;
pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
pub use error_code::ErrorCode;
pub use header::{RequestHeader, request_header_version, response_header_version};
pub use message::{Message, Request};
pub use primitives::{Reader, Writer};
pub use topic_partition::{ParseTopicPartitionError, TopicPartition};
pub use uuid::{ParseUuidError, Uuid};
pub use version_range::VersionRange;
