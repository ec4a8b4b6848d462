//! The broker's parts, put together: what every handler is given.

use crate::clock::Clock;
use crate::cluster::command::ControllerHandle;
use crate::cluster::metadata::Metadata;
use crate::cluster::topics::Topic;
use crate::config::{BrokerConfig, LiveConfig};
use crate::fetch_session::FetchSessions;
use crate::group_events::GroupEvents;
use crate::groups::Groups;
use crate::log_pace::LogPace;
use crate::metrics::Metrics;
use crate::producer_ids::ProducerIds;
use crate::request::Context;
use crate::request_memory::RequestMemory;
use crate::vital::Vital;
use kohort_protocol::messages::api_versions::ApiVersion;
use kohort_protocol::{ErrorCode, Uuid};
use kohort_storage::{LogDir, PartitionLog, ReadError};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tracing::error;

/// One broker.
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) cluster_id: String,
    pub(crate) listeners: Vec<Listening>,
    /// Which APIs clients are told of, and in which versions.
    pub(crate) advertised: Vec<ApiVersion>,
    pub(crate) data_dir: String,
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) log_dir: Arc<LogDir>,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) controller: ControllerHandle,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) sessions: FetchSessions,
    pub(crate) groups: Groups,
    /// Where rebalances are told, if they are.
    pub(crate) events: Option<Arc<GroupEvents>>,
    pub(crate) metrics: Arc<Metrics>,
    /// How often the log tells of connections that end for what their peer did.
    pub(crate) fault_lines: LogPace,
    /// How often it tells of partitions that cannot be read.
    pub(crate) damage_lines: LogPace,
    /// Nothing where requests may take as much memory as they like.
    pub(crate) request_memory: Option<Arc<RequestMemory>>,
    /// Whether a task failed that it cannot do without.
    pub(crate) vital: Vital,
    /// Turns true when the broker stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// An address this broker is reached at.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The listener's name.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// What clients are told instead.
    pub(crate) advertised: Option<(String, u16)>,
}

/// How this broker appears in responses.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) node_id: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

impl Node {
    /// Tells that a partition cannot be read, now and then: who reads it tries again without end.
    pub(crate) fn tell_unreadable(&self, log: &PartitionLog, error: &ReadError) {
        if self.damage_lines.allows() {
            error!(partition = %log.id(), %error, "a partition cannot be read: see `kohort log verify`");
        }
    }

    /// Returns the configuration in force.
    pub(crate) fn config(&self) -> Arc<BrokerConfig> {
        self.config.typed()
    }

    /// Returns where clients find this broker: what is advertised for the listener they came by, else
    /// its address; if that is every address, then the one this client came by.
    pub(crate) fn endpoint(&self, context: &Context) -> Endpoint {
        let listening = &self.listeners[context.caller.ends.listener];
        let (host, port) = match &listening.advertised {
            Some((host, port)) => (host.clone(), *port),
            None if listening.address.ip().is_unspecified() => {
                (context.caller.ends.local.ip().to_string(), listening.address.port())
            }
            None => (listening.address.ip().to_string(), listening.address.port()),
        };
        let rack = self.config().broker_rack.clone();
        Endpoint { node_id: self.id, host, port: i32::from(port), rack }
    }

    /// Waits until the log takes appends again.
    pub(crate) async fn log_dir_room(&self) {
        let (room, made) = oneshot::channel();
        self.log_dir.when_room(move || {
            let _ = room.send(());
        });
        let _ = made.await;
    }

    /// Returns the topic that a request names by id, or by name when the id is zero.
    pub(crate) fn topic(&self, name: &str, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
        if id.is_zero() {
            self.metadata.topics.named(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        } else {
            self.metadata.topics.with_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}
