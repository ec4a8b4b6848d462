//! The cluster as one client sees it: metadata kept fresh, and connections to the right nodes.
//!
//! For applications: [`ClusterError`], which other errors carry, and what a cluster looks like ([`Broker`],
//! [`TopicView`], [`PartitionView`]). The rest is public for this repository's own tests and tools, is left out of this
//! page, and may change in any version:
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use kohort::cluster::{Cluster, ClusterOptions, CoordinatorKind};
//! use kohort::config::{ConsumerConfig, Properties};
//! use kohort::net::{Driver, Purpose};
//!
//! let config = ConsumerConfig::from_pairs([("bootstrap.servers", "localhost:9092")])?;
//! let driver = Driver::start("kohort-consumer")?;
//! let cluster = Cluster::start(&driver, &config.common, ClusterOptions::default())?;
//! cluster.follow_topics(["orders"]);
//! let view = driver.run({
//!     let cluster = cluster.clone();
//!     async move { cluster.refresh().await }
//! }).await??;
//! let partitions = view.topic("orders").map_or(0, |topic| topic.partitions.len());
//! # Ok(()) }
//! ```
//!
//! `Cluster::view` and the `follow` and `refresh_soon` functions may be called anywhere; what
//! connects must run on the client's `Driver`.

#![warn(clippy::missing_errors_doc)]

mod error;
mod failures;
mod metadata;
mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_client_core::backoff::Backoff;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse,
};
use tokio::sync::watch;

use crate::config::{CommonConfig, ConfigError};
use crate::net::stream::Dialer;
use crate::net::{
    BrokerConnection, ConnectionOptions, Driver, FramePool, Pool, Purpose, Security, Throttles,
};
pub use error::ClusterError;
pub(crate) use failures::Heard;
pub use kohort_client_core::metadata::{Broker, PartitionView, TopicView};
#[doc(hidden)]
pub use kohort_client_core::metadata::{MetadataView, Topics};
#[doc(hidden)]
use metadata::Refresher;
pub use metadata::topics::HeldTopics;
#[doc(hidden)]
pub use options::ClusterOptions;

/// The cluster as one client sees it. Clones share everything.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Cluster {
    refresher: Arc<Refresher>,
}

/// What a coordinator coordinates.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoordinatorKind {
    /// A group, by its id.
    Group,
    /// A transactional id.
    Transaction,
}

impl Cluster {
    /// Starts to follow a cluster: the first metadata is asked for at once, on the driver.
    ///
    /// # Errors
    /// Certificates and secrets that the configuration names and that cannot be read.
    pub fn start(
        driver: &Driver,
        config: &CommonConfig,
        options: ClusterOptions,
    ) -> Result<Self, ConfigError> {
        let size = |bytes: crate::config::ByteSize| u32::try_from(bytes.0).ok();
        let connection = ConnectionOptions {
            client_id: Arc::from(config.client_id.as_str()),
            request_timeout: config.request_timeout,
            setup_timeout: config.connection_setup_timeout,
            setup_timeout_max: config.connection_setup_timeout_max,
            idle_max: config.connections_max_idle,
            response_bytes_max: options.response_bytes_max,
            dialer: Dialer {
                send_buffer: config.send_buffer.and_then(size),
                receive_buffer: config.receive_buffer.and_then(size),
                ..Dialer::default()
            },
            frames: FramePool::new(options.answers_kept_bytes),
            security: Security::new(config)?,
            ..ConnectionOptions::default()
        };
        let seed = options.seed.unwrap_or_else(crate::clock::seed);
        let reconnect = Backoff::new(config.reconnect_backoff, config.reconnect_backoff_max);
        let pool = Pool::new(connection, reconnect, seed);
        let refresher = Arc::new(Refresher::new(pool, config, &options, seed));
        driver.spawn(refresher.clone().run());
        Ok(Self { refresher })
    }

    /// Returns what is known now.
    pub fn view(&self) -> Arc<MetadataView> {
        self.refresher.view()
    }

    /// Returns a receiver that sees every new picture.
    pub fn subscribe(&self) -> watch::Receiver<Arc<MetadataView>> {
        self.refresher.subscribe()
    }

    /// Returns why no server can be reached, while none can: what the latest attempt to get metadata met,
    /// or, where a server answers and none of the brokers it names can be connected to, why that is.
    pub fn trouble(&self) -> Option<ClusterError> {
        self.refresher.trouble()
    }

    /// Returns how often and for how long brokers throttled this client, because of a quota.
    pub fn throttles(&self) -> &Throttles {
        self.refresher.pool.throttles()
    }

    /// Returns why there is no answer yet, in any case.
    pub(crate) fn why_no_answer(&self) -> ClusterError {
        self.trouble().unwrap_or_else(|| self.refresher.no_answer())
    }

    /// Waits until the cluster refuses this client: a wrong password, a certificate that is not trusted,
    /// a listener that speaks something else. For ever if it does not. Cancel-safe.
    pub async fn refused(&self) -> ClusterError {
        self.refresher.refused().await
    }

    /// Waits until the cluster refuses this client once more than was heard: once for each attempt, and they
    /// have a back-off between them. Cancel-safe.
    pub(crate) async fn refused_anew(&self, heard: &Heard) -> ClusterError {
        self.refresher.refused_anew(heard).await
    }

    /// The same, without waiting.
    pub(crate) fn unheard_refusal(&self, heard: &Heard) -> Option<ClusterError> {
        self.refresher.unheard_refusal(heard)
    }

    /// Adds topics to those that are followed; unknown ones are asked for at once.
    pub fn follow_topics<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) {
        self.refresher.follow(topics);
    }

    /// Takes a topic out of those that are followed: it turned out not to exist, or is not needed.
    pub fn unfollow_topic(&self, topic: &str) {
        self.refresher.unfollow(topic);
    }

    /// Adds topics to the picture for as long as the returned guard lives; unknown ones are asked for at
    /// once.
    pub fn hold_topics(&self, topics: BTreeSet<Arc<str>>) -> HeldTopics {
        self.refresher.hold(topics)
    }

    /// Replaces what is followed. Topics that are no longer followed leave the picture.
    pub fn set_topics(&self, topics: Topics) {
        self.refresher.set_topics(topics);
    }

    /// Asks for new metadata, soon: after an error that says ours is old. Calls before the answer
    /// come to one request, which waits for the back-off since the one before.
    pub fn refresh_soon(&self) {
        self.refresher.request(false);
    }

    /// Asks for new metadata and returns the picture once an answer asked for after this call is
    /// in, or the failure of that attempt. (A failed attempt is tried again in any case.)
    ///
    /// # Errors
    /// Why the attempt failed: [`ClusterError::Unreachable`] if no server answered.
    pub async fn refresh(&self) -> Result<Arc<MetadataView>, ClusterError> {
        self.refresher.refresh().await
    }

    /// Returns what the last answer said of a followed topic that it could not describe.
    pub fn topic_error(&self, topic: &str) -> Option<ErrorCode> {
        self.refresher.topic_error(topic)
    }

    /// Takes over where brokers are that a Produce or Fetch answer named (KIP-951).
    pub fn learn_brokers(&self, brokers: &[Broker]) {
        self.refresher.learn_brokers(brokers);
    }

    /// Takes over a leader that a Produce or Fetch answer named (KIP-951).
    pub fn learn_leader(&self, topic: &str, partition: i32, leader: i32, epoch: i32) {
        self.refresher.learn_leader(topic, partition, leader, epoch);
    }

    /// Takes over that a node that was asked as a partition's leader says that it is not.
    pub fn deny_leader(&self, topic: &str, partition: i32, node: i32) {
        self.refresher.deny_leader(topic, partition, node);
    }

    /// Returns a connection to a node of the current picture, opening it if need be.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`] for a node that is not in the picture, and why it cannot be connected to.
    pub async fn connection(
        &self,
        node: i32,
        purpose: Purpose,
    ) -> Result<BrokerConnection, ClusterError> {
        let view = self.view();
        let broker = view.broker(node).ok_or(ClusterError::UnknownNode { node })?;
        self.connection_to(broker, purpose).await
    }

    /// Returns the open connection to a node, if there is one.
    pub fn existing_connection(&self, node: i32, purpose: Purpose) -> Option<BrokerConnection> {
        let view = self.view();
        self.refresher.pool.existing(view.broker(node)?, purpose)
    }

    /// Returns a connection to a broker whose address is known from elsewhere, such as a
    /// coordinator's.
    ///
    /// # Errors
    /// Why it cannot be connected to.
    pub async fn connection_to(
        &self,
        broker: &Broker,
        purpose: Purpose,
    ) -> Result<BrokerConnection, ClusterError> {
        let connected = self.refresher.pool.connection(broker, purpose).await;
        if connected.is_err() {
            // Its address may be the old one.
            self.refresh_soon();
        }
        Ok(connected?)
    }

    /// Returns a connection to any node, the one that is easiest to reach.
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`] if none can be connected to.
    pub async fn any_connection(&self) -> Result<BrokerConnection, ClusterError> {
        self.refresher.any_connection().await
    }

    /// Returns a connection to the node that metadata names as the controller, or to any while it names none.
    pub(crate) async fn controller_connection(&self) -> Result<BrokerConnection, ClusterError> {
        let view = self.refresher.described().await?;
        match view.broker(view.controller_id) {
            Some(broker) => self.connection_to(broker, Purpose::General).await,
            None => self.any_connection().await,
        }
    }

    /// Finds the coordinator of one group or transactional id, in one attempt.
    ///
    /// # Errors
    /// What [`find_coordinators`](Self::find_coordinators) tells of the key.
    pub async fn find_coordinator(
        &self,
        kind: CoordinatorKind,
        key: &str,
    ) -> Result<Broker, ClusterError> {
        let mut found = self.find_coordinators(kind, &[key]).await?;
        found.remove(key).unwrap_or_else(|| {
            Err(ClusterError::Refused {
                what: format!("the coordinator of `{key}`"),
                code: ErrorCode::COORDINATOR_NOT_AVAILABLE,
                message: None,
            })
        })
    }

    /// Finds the coordinators of many keys, in one request where the broker can (KIP-699).
    ///
    /// # Errors
    /// Why nobody could be asked, and for a key [`ClusterError::Refused`]: `COORDINATOR_NOT_AVAILABLE`,
    /// `GROUP_AUTHORIZATION_FAILED`, `TRANSACTIONAL_ID_AUTHORIZATION_FAILED`.
    pub async fn find_coordinators(
        &self,
        kind: CoordinatorKind,
        keys: &[&str],
    ) -> Result<BTreeMap<String, Result<Broker, ClusterError>>, ClusterError> {
        let connection = self.any_connection().await?;
        let version = connection.version::<FindCoordinatorRequest>()?;
        let key_type = match kind {
            CoordinatorKind::Group => 0,
            CoordinatorKind::Transaction => 1,
        };
        let mut found = BTreeMap::new();
        if version >= BATCHED_FROM {
            let coordinator_keys = keys.iter().map(|key| (*key).to_owned()).collect();
            let request =
                FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
            for answer in connection.send(&request).await?.coordinators {
                let place = (answer.node_id, answer.host, answer.port);
                let result = located(&answer.key, answer.error_code, answer.error_message, place);
                found.insert(answer.key, result);
            }
        } else {
            for key in keys {
                let key = (*key).to_owned();
                let request =
                    FindCoordinatorRequest { key_type, key: key.clone(), ..Default::default() };
                let answer: FindCoordinatorResponse = connection.send(&request).await?;
                let place = (answer.node_id, answer.host, answer.port);
                let result = located(&key, answer.error_code, answer.error_message, place);
                found.insert(key, result);
            }
        }
        Ok(found)
    }
}

fn located(
    key: &str,
    code: ErrorCode,
    message: Option<String>,
    (id, host, port): (i32, String, i32),
) -> Result<Broker, ClusterError> {
    match u16::try_from(port) {
        Ok(port) if code == ErrorCode::NONE => Ok(Broker { id, host, port, rack: None }),
        Ok(_) | Err(_) => Err(ClusterError::Refused {
            what: format!("the coordinator of `{key}`"),
            code: if code == ErrorCode::NONE { ErrorCode::COORDINATOR_NOT_AVAILABLE } else { code },
            message: message.filter(|text| !text.is_empty()),
        }),
    }
}

/// The first FindCoordinator version that takes many keys.
const BATCHED_FROM: i16 = 4;
