//! Kohort's broker: a durable log and a group coordinator behind Kafka's protocol.
//!
//! It is a library first: a test starts a broker in a few milliseconds, several in one process, each
//! on a free port.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let broker = kohort_broker::Broker::builder()
//!     .listen("127.0.0.1:0")
//!     .data_dir(folder.path())
//!     .set("num.partitions", "3")
//!     .start()
//!     .await?;
//! println!("ready on {}", broker.local_addr());
//! broker.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Life of a request
//! ```text
//! listener ─► connection ─► dispatch ─► handlers/<api> ─┬─► partition logs (io/storage)
//!                 ▲                                     ├─► group shards (shard_task)
//!                 └────────── responses, in order ──────┴─► controller (cluster/)
//! ```
//!
//! # What is not here
//! Replication: there is one broker. Transactions, TLS and SASL: not served, and not advertised. ACLs are
//! refused, since there is no authorizer.

mod admission;
mod alarm;
mod broker;
mod caller;
mod clock;
mod cluster;
pub mod config;
mod connection;
mod counters;
pub mod data_folder;
mod descriptors;
mod dispatch;
mod fetch_frame;
mod fetch_session;
mod frame_reader;
pub mod group_events;
mod groups;
mod handlers;
mod housekeeping;
mod listener;
mod log_pace;
mod metrics;
mod node;
mod opening;
mod outgoing;
mod partition;
mod partition_counters;
mod producer_ids;
mod purgatory;
mod quiet;
mod quota;
mod random;
mod request;
mod request_memory;
mod shard_task;
mod stopping;
mod timing;
mod vital;

pub use broker::{Broker, BrokerBuilder, StopError};
pub use cluster::load::LoadError;
pub use kohort_coordinator::partition_for;
pub use metrics::{METRICS, MetricFamily, MetricKind};
pub use opening::StartError;
pub use shard_task::ShardLoad;
