//! What a consumer is doing, what keeps it from that, and what it has counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kohort_protocol::{ApiKey, ErrorCode};

use super::command::Command;
use super::{
    Consumer, ConsumerError, Counters, FetchStatus, PollError, Stall, StallCounters, TopicPartition,
};
use crate::cluster::ClusterError;
use crate::net::Throttled;

/// What each owned partition is doing, and where the member stands.
#[derive(Debug, Clone)]
pub struct Health {
    /// What each partition is doing, or why it is not being fetched.
    pub partitions: BTreeMap<TopicPartition, FetchStatus>,
    /// The topics wanted that the cluster cannot or will not describe, with why: one that does not
    /// exist (yet) is asked for again and again, without a word from [`Consumer::poll`].
    pub topics: BTreeMap<Arc<str>, ErrorCode>,
    /// Why no server can be reached, while none can: nobody listens there, or the cluster refuses this
    /// client (a wrong password, a certificate that is not trusted, a listener that speaks something
    /// else). [`Consumer::poll`] fails with a refusal, and with what looks like one and lasts; for the rest it goes on waiting.
    pub cluster: Option<ClusterError>,
    /// Why the group does not have this consumer, if it refused it.
    pub group: Option<PollError>,
    /// The member's id and generation, while it has one.
    pub member: Option<(String, i32)>,
    /// The coordinator's node, while it is known.
    pub coordinator: Option<i32>,
    /// Which brokers, by address, read nothing from this client just now and for how long, because it
    /// exceeds a quota.
    pub throttled: BTreeMap<Arc<str>, Duration>,
    /// How many bytes are in memory.
    pub buffered_bytes: i64,
    /// Which partitions have waited for some seconds: neither fetched nor buffered nor paused.
    pub stalled: Vec<Stall>,
}

/// What a consumer has counted since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerMetrics {
    /// Rebalances, commits, what each broker sent.
    pub counters: Counters,
    /// How often and for how long partitions stalled, and why.
    pub stalls: StallCounters,
    /// How often and for how long brokers throttled this client, because of a quota: `Fetch` is Kafka's
    /// `fetch-throttle-time`.
    pub throttled: BTreeMap<ApiKey, Throttled>,
}

impl Consumer {
    /// Says what each partition is doing, or why it is not.
    ///
    /// # Errors
    /// [`ConsumerError::Closed`] and [`ConsumerError::Failed`], once the consumer is one of both.
    pub async fn health(&self) -> Result<Health, ConsumerError> {
        let status = self.ask(Command::Status).await?;
        Ok(Health {
            partitions: status.partitions,
            topics: status.topic_errors,
            cluster: self.cluster.trouble(),
            group: status.group_refusal,
            member: status.member,
            coordinator: status.coordinator,
            throttled: self.cluster.throttles().now(),
            buffered_bytes: status.used_bytes,
            stalled: status.stalled,
        })
    }

    /// Returns what was counted since the consumer was built.
    ///
    /// # Errors
    /// As [`health`](Self::health).
    pub async fn metrics(&self) -> Result<ConsumerMetrics, ConsumerError> {
        let status = self.ask(Command::Status).await?;
        Ok(ConsumerMetrics {
            counters: status.counters,
            stalls: status.stalls,
            throttled: self.cluster.throttles().by_api(),
        })
    }
}
