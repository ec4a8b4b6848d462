//! The consumer: a member of a group, or a reader of chosen partitions.
//!
//! ```no_run
//! use std::time::Duration;
//! use kohort::consumer::Consumer;
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let consumer = Consumer::builder()
//!     .bootstrap_servers("localhost:9092")
//!     .group_id("billing")
//!     .set("auto.offset.reset", "earliest")
//!     .set("enable.auto.commit", "false")
//!     .build()?;
//! consumer.subscribe(["orders"])?;
//! loop {
//!     let records = consumer.poll(Duration::from_secs(1)).await?;
//!     for record in &records {
//!         println!("{}-{} @{}: {:?}", record.topic, record.partition, record.offset, record.value);
//!     }
//!     consumer.commit_sync().await?;
//! }
//! # }
//! ```
//!
//! ```text
//!  the application's runtime             │ the consumer's own thread
//!                                        │
//!  Consumer ── commands ─────────────────┼─► task ── events, time ──► ConsumerMachine
//!     ▲                                  │     ▲ │                        (decides)
//!     │ poll: takes, checks, decompresses│     │ └── requests ─► brokers
//!     └──────── buffer, budget ◄─────────┼─────┘     (fetch, coordinator: own connections)
//! ```
//!
//! - Heartbeats, commits and fetches go on while the application, or its whole runtime, is busy. Only
//!   `max.poll.interval.ms` limits for how long.
//! - Everything is cancel-safe: a dropped `poll` has taken nothing; a dropped commit still happens.
//! - Several tasks may share a consumer. Records of one partition then go to whoever polls, so the
//!   order of processing is theirs to keep; with a [`PartitionStream`] each, it is kept for them.
//! - Memory is bounded by one budget of bytes; dropping [`Records`] is what returns them.

#![warn(clippy::missing_errors_doc)]

mod builder;
mod closing;
mod command;
mod commits;
mod committing;
mod credits;
mod error;
mod events;
mod health;
mod lookup;
mod pattern;
mod polling;
mod records;
mod requests;
mod shared;
mod signals;
mod spare;
mod steering;
mod streams;
mod subscribing;
mod task;
mod topics;

use std::sync::Arc;
use std::time::Duration;

pub use builder::ConsumerBuilder;
pub use closing::CloseOptions;
pub use commits::Commit;
pub use error::{CloseError, CommitError, CommitRefusal, ConsumerError, PollError};
pub use events::{RebalanceEvent, RebalanceEvents, RevocationGuard};
pub use health::{ConsumerMetrics, Health};
pub use kohort_client_core::consumer::fetcher::FetchStatus;
pub use kohort_client_core::consumer::machine::{Counters, Fetched};
pub use kohort_client_core::consumer::membership::{
    GroupMembershipOperation, LostReason, MembershipError,
};
use kohort_client_core::consumer::reader::{Reader, ReaderConfig};
pub use kohort_client_core::consumer::stalls::{Stall, StallCounters};
pub use kohort_client_core::consumer::{OffsetAndMetadata, Position, TopicPartition};
pub use kohort_client_core::metadata::PartitionView;
pub use lookup::OffsetAndTimestamp;
use parking_lot::Mutex;
pub use records::{Batch, ConsumedRecord, Iter, OwnedRecord, Record, Records};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Cluster, Heard};
use crate::net::Driver;
use command::Command;
use commits::Commits;
use shared::Shared;
pub use signals::StreamEnd;
pub use streams::{PartitionStream, StreamError};

/// See the [module](self).
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    driver: Driver,
    cluster: Cluster,
    reader: Mutex<Reader>,
    commits: Commits,
    settings: Settings,
    /// The refusals of the cluster that polls were told.
    heard: Heard,
}

/// What the application's side needs of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) group_id: Option<Arc<str>>,
    pub(crate) max_poll_records: usize,
    pub(crate) api_timeout: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) read_committed: bool,
    pub(crate) exclude_internal_topics: bool,
    /// Whether no coordinator can match expressions: the group is a classic one.
    pub(crate) matches_here: bool,
    pub(crate) reader: ReaderConfig,
}

impl Consumer {
    /// Starts a configuration.
    pub fn builder() -> ConsumerBuilder {
        ConsumerBuilder::default()
    }

    fn send(&self, command: Command) -> Result<(), ConsumerError> {
        if self.shared.ended().is_some() {
            return Err(self.closed());
        }
        self.commands.send(command).map_err(|_| self.closed())
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ConsumerError> {
        let (done, answer) = oneshot::channel();
        self.send(command(done))?;
        answer.await.map_err(|_| self.closed())
    }

    /// Why the task takes no commands.
    fn closed(&self) -> ConsumerError {
        match self.shared.ended() {
            Some(PollError::Failed) => ConsumerError::Failed,
            _ => ConsumerError::Closed,
        }
    }
}
