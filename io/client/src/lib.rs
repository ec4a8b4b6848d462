//! A native async Kafka client.

pub mod admin;
pub mod assignor;
mod clock;
pub mod cluster;
pub mod codec;
pub mod config;
pub mod consumer;
pub mod error;
mod kept;
pub mod net;
pub mod producer;
mod random;
pub mod records;

pub use kohort_protocol::{
    ApiKey, ErrorCode, ParseTopicPartitionError, ParseUuidError, TopicPartition, Uuid, VersionRange,
};

/// The README's example, so that it cannot go stale.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
