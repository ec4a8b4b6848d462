//! Puts a consumer together from its configuration.

use std::sync::Arc;
use std::time::Duration;

use kohort_assignor::{
    Assignor, CooperativeStickyAssignor, RangeAssignor, RoundRobinAssignor, StickyAssignor,
};
use kohort_client_core::consumer::fetcher::FetchConfig;
use kohort_client_core::consumer::membership::{GroupProtocol, MembershipConfig};
use kohort_client_core::consumer::reader::{Reader, ReaderConfig};
use kohort_client_core::consumer::{ConsumerMachine, IsolationLevel, MachineConfig, OffsetReset};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::commits::Commits;
use super::requests::Requests;
use super::shared::Shared;
use super::task::Task;
use super::{Consumer, Settings};
use crate::assignor::Unbound;
use crate::builder_settings::builder_settings;
use crate::clock::ms;
use crate::cluster::{Cluster, ClusterOptions, Heard};
use crate::config::{AssignmentStrategy, ConfigError, ConsumerConfig, Properties};
use crate::error::BuildError;
use crate::net::{Driver, Follower};

/// Configures a [`Consumer`]: by Kafka's property names, or by a typed [`ConsumerConfig`].
#[derive(Debug)]
pub struct ConsumerBuilder {
    config: ConsumerConfig,
    budget_bytes: u64,
    assignors: Vec<Box<dyn Assignor>>,
    error: Option<ConfigError>,
}

/// The default budget: two answers of up to 8 MiB from one broker, one in use and one on its way. It
/// keeps a consumer small, and is far more than a fast link delivers in one round trip.
const BUDGET_BYTES: u64 = 16 * 1024 * 1024;

impl Default for ConsumerBuilder {
    fn default() -> Self {
        Self::from(ConsumerConfig::default())
    }
}

impl From<ConsumerConfig> for ConsumerBuilder {
    fn from(config: ConsumerConfig) -> Self {
        Self { config, budget_bytes: BUDGET_BYTES, assignors: Vec::new(), error: None }
    }
}

impl ConsumerBuilder {
    builder_settings!(ConsumerConfig);

    /// Sets the group.
    #[must_use]
    pub fn group_id(self, group: &str) -> Self {
        self.set("group.id", group)
    }

    /// Adds an assignor of one's own to those of `partition.assignment.strategy`, more wanted than these.
    /// A classic group chooses one that all its members support, and the member that leads it runs it. The
    /// consumer protocol has no use for it, since there the coordinator divides the partitions, and
    /// [`build`](Self::build) refuses it with `group.protocol=consumer`.
    #[must_use]
    pub fn assignor(mut self, assignor: impl Assignor + 'static) -> Self {
        self.assignors.push(Box::new(Unbound::new(assignor)));
        self
    }

    /// Sets how many bytes of records may be in memory: on their way, waiting and handed out, as they came
    /// and unpacked. One batch may exceed it, since it could be larger; a poll that finds it spent waits
    /// until [`Records`](super::Records) are dropped. What was copied out is not counted.
    #[must_use]
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.budget_bytes = bytes.max(1);
        self
    }

    /// Starts the consumer's thread. Connecting goes on in the background.
    ///
    /// # Errors
    /// [`BuildError::Config`] for a property that was refused when it was set, for properties that contradict
    /// each other and for certificates and secrets that cannot be read; [`BuildError::Thread`] if the system
    /// has no thread for it.
    pub fn build(self) -> Result<Consumer, BuildError> {
        if let Some(error) = self.error {
            return Err(error.into());
        }
        let config = self.config.with_client_id();
        config.validate()?;
        if !self.assignors.is_empty() {
            config.takes_assignors()?;
        }
        let seed = crate::clock::seed();
        let machine =
            ConsumerMachine::new(machine_config(&config, self.assignors, self.budget_bytes, seed));
        let driver = Driver::start("kohort-consumer").map_err(BuildError::Thread)?;
        let options = ClusterOptions {
            allow_auto_create_topics: config.allow_auto_create_topics,
            seed: Some(seed),
            answers_kept_bytes: usize::try_from(self.budget_bytes).unwrap_or(usize::MAX),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(&driver, &config.common, options)?;
        let shared = Arc::new(Shared::new(self.budget_bytes));
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (reply_sender, replies) = mpsc::unbounded_channel();
        let request_timeout = config.common.request_timeout;
        let requests = Requests {
            driver: driver.clone(),
            cluster: cluster.clone(),
            group_id: Arc::from(config.group_id.as_deref().unwrap_or_default()),
            request_timeout,
            heartbeat_timeout: request_timeout.min(config.session_timeout / 3).max(HEARTBEAT_LEAST),
            join_timeout: config.max_poll_interval.saturating_add(JOIN_SLACK),
            fetch_timeout: request_timeout.max(config.fetch_max_wait.saturating_add(FETCH_SLACK)),
            replies: reply_sender,
        };
        let task = Task {
            machine,
            shared: shared.clone(),
            view: cluster.subscribe(),
            cluster: cluster.clone(),
            requests,
            command_sender: commands.downgrade(),
            commands: command_receiver,
            replies,
            listener: None,
            commits: std::collections::BTreeMap::new(),
            coordinator: None,
            awaiting_streams: None,
            closing: None,
            closed: false,
            dropped: false,
            driver: driver.clone(),
            follower: Follower::new(config.common.thread_near_application),
        };
        driver.spawn(task.run());
        let isolation = isolation(&config);
        let reader = ReaderConfig { check_crcs: config.check_crcs, isolation };
        Ok(Consumer {
            commits: Commits {
                shared: shared.clone(),
                commands: commands.downgrade(),
                has_group: config.group_id.is_some(),
            },
            shared,
            commands,
            driver,
            cluster,
            reader: Mutex::new(Reader::new(reader)),
            heard: Heard::default(),
            settings: Settings {
                group_id: config.group_id.as_deref().map(Arc::from),
                max_poll_records: config.max_poll_records,
                api_timeout: config.common.default_api_timeout,
                retry_backoff: config.common.retry_backoff,
                read_committed: isolation == IsolationLevel::ReadCommitted,
                exclude_internal_topics: config.exclude_internal_topics,
                matches_here: config.group_protocol == crate::config::GroupProtocol::Classic,
                reader,
            },
        })
    }
}

fn machine_config(
    config: &ConsumerConfig,
    mut assignors: Vec<Box<dyn Assignor>>,
    budget_bytes: u64,
    seed: u64,
) -> MachineConfig {
    let retry_backoff_ms = ms(config.common.retry_backoff);
    let retry_backoff_max_ms = ms(config.common.retry_backoff_max);
    for strategy in &config.partition_assignment_strategy {
        assignors.push(assignor(*strategy));
    }
    let group = config.group_id.as_ref().map(|group_id| MembershipConfig {
        protocol: match config.group_protocol {
            crate::config::GroupProtocol::Classic => GroupProtocol::Classic,
            crate::config::GroupProtocol::Consumer => GroupProtocol::Consumer,
            crate::config::GroupProtocol::Auto => GroupProtocol::ConsumerElseClassic,
        },
        remote_assignor: config.group_remote_assignor.clone(),
        group_id: group_id.clone(),
        group_instance_id: config.group_instance_id.clone(),
        session_timeout_ms: ms_i32(config.session_timeout),
        rebalance_timeout_ms: ms_i32(config.max_poll_interval),
        heartbeat_interval_ms: ms_i32(config.heartbeat_interval).into(),
        retry_backoff_ms,
        retry_backoff_max_ms,
        assignors,
        rack: config.common.client_rack.clone(),
        seed,
    });
    MachineConfig {
        auto_commit_interval_ms: (config.enable_auto_commit && group.is_some())
            .then(|| ms(config.auto_commit_interval).max(1)),
        group,
        reset: match config.auto_offset_reset {
            crate::config::OffsetReset::Earliest => OffsetReset::Earliest,
            crate::config::OffsetReset::Latest => OffsetReset::Latest,
            crate::config::OffsetReset::None => OffsetReset::None,
            crate::config::OffsetReset::ByDuration(age) => OffsetReset::ByDuration(ms(age)),
        },
        fetch: FetchConfig {
            max_wait_ms: ms_i32(config.fetch_max_wait),
            min_bytes: config.fetch_min_bytes.as_i32(),
            max_bytes: config.fetch_max_bytes.as_i32(),
            partition_max_bytes: config.max_partition_fetch_bytes.as_i32(),
            budget_bytes: i64::try_from(budget_bytes).unwrap_or(i64::MAX),
            isolation: isolation(config),
            rack: config.common.client_rack.clone().unwrap_or_default(),
            retry_backoff_ms,
            preferred_replica_ms: ms(config.common.metadata_max_age),
        },
        max_poll_interval_ms: ms(config.max_poll_interval),
        api_timeout_ms: ms(config.common.default_api_timeout),
        retry_backoff_ms,
        retry_backoff_max_ms,
        seed,
    }
}

fn assignor(strategy: AssignmentStrategy) -> Box<dyn Assignor> {
    match strategy {
        AssignmentStrategy::Range => Box::new(RangeAssignor),
        AssignmentStrategy::RoundRobin => Box::new(RoundRobinAssignor),
        AssignmentStrategy::Sticky => Box::<StickyAssignor>::default(),
        AssignmentStrategy::CooperativeSticky => Box::<CooperativeStickyAssignor>::default(),
    }
}

fn isolation(config: &ConsumerConfig) -> IsolationLevel {
    match config.isolation_level {
        crate::config::IsolationLevel::ReadCommitted => IsolationLevel::ReadCommitted,
        crate::config::IsolationLevel::ReadUncommitted => IsolationLevel::ReadUncommitted,
    }
}

/// What the wire has room for: 24 days.
fn ms_i32(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// The coordinator answers a join at the rebalance timeout at the latest; the rest is for the way.
const JOIN_SLACK: Duration = Duration::from_secs(5);
/// No heartbeat is given up before this: a broker that is merely busy has to be waited for.
const HEARTBEAT_LEAST: Duration = Duration::from_secs(2);
/// What a fetch may take beyond the time the broker holds it back.
const FETCH_SLACK: Duration = Duration::from_secs(5);
