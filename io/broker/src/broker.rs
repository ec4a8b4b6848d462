//! Starting and stopping a broker.

use crate::clock::Clock;
use crate::cluster::controller::Controller;
use crate::cluster::load;
use crate::config::{ConfigError, Listeners, LiveConfig, Settings};
use crate::dispatch;
use crate::fetch_session::FetchSessions;
use crate::group_events::{self, GroupEvents};
use crate::groups::Groups;
use crate::housekeeping::{self, Intervals};
use crate::listener;
use crate::log_pace::LogPace;
use crate::metrics::{HttpServer, Metrics};
use crate::node::{Listening, Node};
use crate::opening::{
    StartError, absolute, data_dir, http_server, listen, open_log_dir, tell_settings,
};
use crate::producer_ids::ProducerIds;
use crate::request_memory::RequestMemory;
use crate::shard_task::ShardLoad;
use crate::stopping::waiting_for;
use crate::vital::{Failure, Vital};
use kohort_storage::StorageError;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

/// A running broker. Dropping it stops it without a clean shutdown, as a crash would.
#[derive(Debug)]
pub struct Broker {
    node: Arc<Node>,
    stop: StopOnDrop,
    failure: watch::Receiver<Option<Failure>>,
    serving: JoinHandle<()>,
    http: Option<HttpServer>,
}

/// What a broker is to be like. Made by [`Broker::builder`].
#[derive(Debug, Default)]
pub struct BrokerBuilder {
    settings: Settings,
    refused: Option<ConfigError>,
    data_dir: Option<PathBuf>,
    log_lines_dropped: Arc<AtomicU64>,
}

/// Why a broker did not stop cleanly. What was acknowledged is safe all the same.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StopError {
    /// The data folder could not be closed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Something of ours panicked.
    #[error("a task of the broker failed: {0}")]
    Task(String),
}

impl Broker {
    /// Starts to describe a broker.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Returns the address it listens on, with the port the system picked if it was to; of several
    /// listeners, the first one's.
    pub fn local_addr(&self) -> SocketAddr {
        self.node.listeners.first().expect("a broker has a listener").address
    }

    /// Returns the addresses of all listeners, in the order of `listeners`.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.node.listeners.iter().map(|listener| listener.address).collect()
    }

    /// Returns the address that `metrics.listener` made it answer `/metrics` and `/health` on.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|http| http.address)
    }

    /// Returns the cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.node.cluster_id
    }

    /// Returns what loading the group coordinator took since the start, one entry for each partition of
    /// `__consumer_offsets` that held anything and is loaded.
    pub fn coordinator_loads(&self) -> Vec<ShardLoad> {
        self.node.groups.loads()
    }

    /// Waits until something fails after which the broker must be started again, and says what: the disk,
    /// or a task of the broker that panicked.
    ///
    /// Cancel-safe.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(failure) => failure.as_ref().map(ToString::to_string).unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops: accepts nothing more, answers what is in flight (for a few seconds at most), and closes
    /// the data folder.
    pub async fn shutdown(self) -> Result<(), StopError> {
        let Self { node, stop, serving, http, failure } = self;
        node.groups.stop_orderly();
        drop(stop);
        let drained = waiting_for("requests in flight", serving).await;
        drained.map_err(|error| StopError::Task(error.to_string()))?;
        waiting_for("group coordinators", node.groups.stopped()).await;
        let log_dir = Arc::clone(&node.log_dir);
        drop(node);
        let closing = tokio::task::spawn_blocking(move || log_dir.shutdown());
        waiting_for("the disk: segments and a checkpoint are written and synced", closing)
            .await
            .map_err(|error| StopError::Task(error.to_string()))??;
        drop(http);
        if let Some(Failure::Task(name)) = &*failure.borrow() {
            return Err(StopError::Task(format!("{name} panicked")));
        }
        info!("broker stopped");
        Ok(())
    }
}

impl BrokerBuilder {
    /// Sets where to listen, as HOST:PORT; port 0 picks a free one. Takes the place of `listeners`.
    #[must_use]
    pub fn listen(self, address: impl AsRef<str>) -> Self {
        self.set("listeners", &format!("PLAINTEXT://{}", address.as_ref()))
    }

    /// Sets the data folder. It is created if it does not exist.
    #[must_use]
    pub fn data_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.data_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Sets a property under Kafka's name. One that is refused makes [`start`](Self::start) fail.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        if let Err(error) = self.settings.set(name, value) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Sets every property of a Java properties file, as Kafka's own `server.properties`.
    #[must_use]
    pub fn properties(mut self, file: &[u8]) -> Self {
        if let Err(error) = self.settings.set_all(file) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Sets the count of lines that are missing in the log of the process, which `/metrics` shows: whoever
    /// writes the log counts what it could not write.
    #[must_use]
    pub fn log_lines_dropped(mut self, count: Arc<AtomicU64>) -> Self {
        self.log_lines_dropped = count;
        self
    }

    /// Starts the broker on the current tokio runtime. When this returns, it serves.
    pub async fn start(mut self) -> Result<Broker, StartError> {
        if let Some(error) = self.refused {
            return Err(error.into());
        }
        if let Some(path) = &self.data_dir {
            self.settings.set("log.dirs", &path.to_string_lossy())?;
        }
        self.settings.complete()?;
        let typed = self.settings.typed();
        let plan = Listeners::new(&typed)?;
        tell_settings(&self.settings, &plan.passed_over);
        let data_dir = absolute(data_dir(self.data_dir, &typed)?);
        let mut sockets = Vec::with_capacity(plan.served.len());
        let mut listeners = Vec::with_capacity(plan.served.len());
        for config in plan.served {
            let (socket, listening) = listen(config, typed.socket_listen_backlog_size).await?;
            sockets.push(socket);
            listeners.push(listening);
        }

        let http = match typed.metrics_listener.as_deref().filter(|address| !address.is_empty()) {
            Some(address) => Some(http_server(address).await?),
            None => None,
        };
        let vital = Vital::new();
        let clock = Arc::new(Clock::default());
        let log_dir = open_log_dir(&data_dir, &typed, &clock, vital.clone()).await?;
        let config = Arc::new(LiveConfig::new(self.settings));
        let log = log_dir.metadata_log()?;
        let metadata = load::load(&log_dir, &log, &config, typed.node_id, clock.wall()).await?;
        let stored = metadata.state.read().node_id;
        if let Some(of) = stored.filter(|of| *of != typed.node_id) {
            return Err(StartError::OtherNode { path: data_dir, of, given: typed.node_id });
        }
        let metadata = Arc::new(metadata);
        let cluster_id = metadata.state.read().cluster_id.unwrap_or_default().to_string();
        let metrics = Arc::new(Metrics::new(self.log_lines_dropped));
        let (stop, stopping) = watch::channel(false);
        let controller = Controller {
            node_id: typed.node_id,
            metadata: Arc::clone(&metadata),
            config: Arc::clone(&config),
            clock: Arc::clone(&clock),
            log_dir: Arc::clone(&log_dir),
            log,
            metrics: Arc::clone(&metrics),
        };
        let house = housekeeping::run(
            Arc::clone(&log_dir),
            Arc::clone(&clock),
            Intervals::new(&typed),
            stopping.clone(),
        );
        vital.spawn("the housekeeping task", house);
        let controller = controller.start(&vital);
        let (events, queue) = GroupEvents::new();
        let events = typed.group_events_enable.then_some(events);
        if let Some(events) = &events {
            let writer = group_events::Writer::new(
                Arc::clone(events),
                queue,
                Arc::clone(&clock),
                Arc::clone(&metadata),
                controller.clone(),
            );
            tokio::spawn(writer.run(stopping.clone()));
        }
        let groups = Groups::start(
            Arc::clone(&config),
            Arc::clone(&clock),
            Arc::clone(&metadata),
            Arc::clone(&metrics),
            events.clone(),
            vital.clone(),
            stopping.clone(),
        );
        let node = Arc::new(Node {
            id: typed.node_id,
            cluster_id,
            listeners,
            advertised: dispatch::advertised(),
            data_dir: data_dir.display().to_string(),
            config,
            clock,
            log_dir,
            metadata,
            controller,
            producer_ids: ProducerIds::default(),
            sessions: FetchSessions::default(),
            groups,
            events,
            metrics,
            fault_lines: LogPace::default(),
            damage_lines: LogPace::default(),
            request_memory: RequestMemory::new(typed.queued_max_request_bytes).map(Arc::new),
            vital: vital.clone(),
            stopping: stopping.clone(),
        });
        if let Some(http) = &http {
            http.serve(&node);
            info!(address = %http.address, "metrics and health are answered");
        }
        let accepting = listener::run(Arc::clone(&node), sockets, stopping);
        let serving = vital.spawn("the task that accepts connections", accepting);
        for Listening { name, address, .. } in &node.listeners {
            let version = env!("CARGO_PKG_VERSION");
            info!(listener = name, %address, data = %data_dir.display(), node_id = node.id, version, "broker ready");
        }
        Ok(Broker { node, stop: StopOnDrop(stop), failure: vital.watch(), serving, http })
    }
}

/// Tells every task of a broker to end when it is dropped.
#[derive(Debug)]
struct StopOnDrop(watch::Sender<bool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::is_live;
    use kohort_protocol::Uuid;
    use kohort_storage::{PartitionConfig, PartitionId};

    #[tokio::test]
    async fn a_controller_that_panics_fails_the_broker_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::builder().listen("127.0.0.1:0").data_dir(folder.path());
        let broker = broker.start().await.unwrap();
        assert!(is_live(&broker.node));
        let panics = |_: &_| panic!("a decision panics, as this test wants");
        let refused = broker.node.controller.decide(1, panics, false).await;
        assert!(matches!(refused[..], [Err(_)]), "{refused:?}");
        let failure = broker.failed().await;
        assert!(failure.contains("the controller's task panicked"), "{failure}");
        assert!(!is_live(&broker.node));
        let stopped = broker.shutdown().await.unwrap_err();
        assert!(stopped.to_string().contains("the controller's task"), "{stopped}");
    }

    #[tokio::test]
    async fn a_thread_of_the_data_folder_that_panics_fails_the_broker_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::builder().listen("127.0.0.1:0").data_dir(folder.path());
        let broker = broker.start().await.unwrap();
        let id = PartitionId { topic_id: Uuid([9; 16]), topic: "t".into(), index: 0 };
        let log_dir = &broker.node.log_dir;
        log_dir.create_partition(id, PartitionConfig::default()).unwrap();
        let panics = |_| panic!("a callback panics, as this test wants");
        assert!(log_dir.delete_partition(Uuid([9; 16]), 0, panics).unwrap());
        let failure = broker.failed().await;
        assert!(failure.starts_with("the thread kohort-commit panicked"), "{failure}");
        assert!(!is_live(&broker.node));
        assert!(broker.shutdown().await.is_err());
    }
}
