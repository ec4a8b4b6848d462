//! The administrator's client: topics, configurations, groups, offsets, records, access rules, quotas
//! and users.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use kohort::admin::{Admin, NewTopic};
//!
//! let admin = Admin::builder().bootstrap_servers("localhost:9092").build()?;
//! admin.create_topic(NewTopic::new("flights").partitions(6)).await?;
//! for group in admin.list_groups().await? {
//!     println!("{} is {}", group.group_id, group.state);
//! }
//! # Ok(()) }
//! ```
//!
//! Each function sends one request to each broker concerned, not one for each object, and repeats
//! what failed in passing (a controller or coordinator that moves or loads, a lost connection) until
//! `default.api.timeout.ms` is over. An object that is refused fails alone: functions over many
//! objects return a result for each. All futures may be dropped at any time; whether the broker
//! acted is then unknown.

#![warn(clippy::missing_errors_doc)]

mod acls;
mod builder;
mod changes;
mod configs;
mod descriptions;
mod error;
mod group_offsets;
mod groups;
mod log_dirs;
mod members;
mod offsets;
mod quotas;
mod records;
mod reset;
mod topic_changes;
mod topics;
mod users;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use kohort_client_core::backoff::{Backoff, Jitter};
use kohort_protocol::Request;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError, ClusterOptions};
use crate::config::{AdminConfig, Properties as _};
use crate::net::{Driver, Purpose, after};

pub use acls::{
    AclFilter, AclOperation, AclPermission, AclRule, DeletedAcls, PatternFilter, PatternType,
    ResourceType,
};
pub use builder::AdminBuilder;
pub use configs::{
    ConfigChange, ConfigEntry, ConfigResource, ConfigSource, ConfigSynonym, ConfigType,
};
pub use descriptions::{GroupDescription, GroupMember};
pub use error::AdminError;
pub use group_offsets::{CommittedOffset, CommittedOffsets};
pub use groups::{GroupFilter, GroupListing};
pub use kohort_client_core::metadata::{Broker, PartitionView, TopicView};
pub use log_dirs::{LogDirectory, Replica};
pub use members::MemberToRemove;
pub use offsets::{ListedOffset, OffsetSpec};
pub use quotas::{QuotaChange, QuotaEntity, QuotaFilter};
pub use records::KeepFrom;
pub use reset::{Adjusted, PlannedReset, ResetTo};
pub use topic_changes::{CreatedTopic, NewPartitions, NewTopic};
pub use topics::{ClusterDescription, TopicListing};
pub use users::{CredentialChange, ScramCredential, ScramMechanism};

/// The administrator's client. Clones share its thread and connections.
#[derive(Clone)]
pub struct Admin {
    driver: Driver,
    session: Session,
}

/// What an operation needs on the driver's thread.
#[derive(Clone)]
struct Session {
    cluster: Cluster,
    config: Arc<AdminConfig>,
}

impl Admin {
    /// Starts a configuration.
    pub fn builder() -> AdminBuilder {
        AdminBuilder::default()
    }

    /// Starts a client; nothing is asked of the cluster before the first operation but its
    /// metadata.
    ///
    /// # Errors
    /// [`AdminError::Config`] for properties that contradict each other and certificates and secrets that cannot
    /// be read, [`AdminError::Start`] if the system has no thread for it.
    pub fn new(config: AdminConfig) -> Result<Self, AdminError> {
        config.validate()?;
        let config = config.with_client_id();
        let driver = Driver::start("kohort-admin").map_err(AdminError::Start)?;
        let cluster = Cluster::start(&driver, &config.common, ClusterOptions::default())?;
        Ok(Self { driver, session: Session { cluster, config: Arc::new(config) } })
    }

    /// Runs attempts on the driver until one succeeds, fails for good, or time is over.
    async fn run<T, F, A>(&self, attempt: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: Fn(Session) -> A + Send + 'static,
        A: Future<Output = Result<T, AdminError>> + Send + 'static,
    {
        let session = self.session.clone();
        self.driver.run(async move { session.repeat(attempt).await }).await?
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("bootstrap_servers", &self.session.config.common.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

impl Session {
    async fn repeat<T, F, A>(self, attempt: F) -> Result<T, AdminError>
    where
        F: Fn(Session) -> A,
        A: Future<Output = Result<T, AdminError>>,
    {
        let common = &self.config.common;
        let backoff = Backoff::new(common.retry_backoff, common.retry_backoff_max);
        let mut jitter = Jitter::seeded(crate::clock::seed());
        let timeout = common.default_api_timeout;
        let deadline = after(Instant::now(), timeout);
        let mut last = None;
        for failures in 1.. {
            let Ok(result) = tokio::time::timeout_at(deadline, attempt(self.clone())).await else {
                break;
            };
            match result {
                Err(error) if error.is_retriable() && failures <= self.config.retries => {
                    tracing::debug!(%error, failures, "the request is repeated");
                    if matches!(error, AdminError::Cluster(ClusterError::Net(_))) {
                        // Whom we asked may be gone, and another be what it was: the controller, say.
                        self.cluster.refresh_soon();
                    }
                    last = Some(error);
                }
                done => return done,
            }
            let next = after(Instant::now(), backoff.delay(failures, &mut jitter));
            // Where no time is left for another attempt, nothing is to be waited for.
            if next >= deadline {
                break;
            }
            tokio::time::sleep_until(next).await;
        }
        let last = last.unwrap_or_else(|| AdminError::Cluster(self.cluster.why_no_answer()));
        Err(AdminError::TimedOut { timeout, last: Box::new(last) })
    }

    /// Asks the controller for what only it does: to make and delete topics and partitions, and to change
    /// users' credentials. Kafka with ZooKeeper answers NOT_CONTROLLER anywhere else; in KRaft metadata
    /// names one of the brokers, each of which forwards to the real one.
    async fn ask_controller<R: Request>(&self, request: &R) -> Result<R::Response, AdminError> {
        Ok(self.cluster.controller_connection().await?.send(request).await?)
    }

    /// Asks any broker: what each one knows, or passes on to whoever must do it.
    async fn ask_any<R: Request>(&self, request: &R) -> Result<R::Response, AdminError> {
        Ok(self.cluster.any_connection().await?.send(request).await?)
    }

    /// Asks one broker. Whether there is such a one is for the cluster to say: it may be new.
    async fn ask_node<R: Request>(
        &self,
        broker: i32,
        request: &R,
    ) -> Result<R::Response, AdminError> {
        if self.cluster.view().broker(broker).is_none()
            && self.cluster.refresh().await?.broker(broker).is_none()
        {
            return Err(AdminError::UnknownBroker { broker });
        }
        Ok(self.cluster.connection(broker, Purpose::General).await?.send(request).await?)
    }

    /// How long a broker may take for what it does on the cluster's behalf, in milliseconds.
    fn broker_timeout_ms(&self) -> i32 {
        i32::try_from(self.config.common.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}
