//! A native async Kafka client.

mod clock;
pub mod cluster;
pub mod config;
pub mod net;
