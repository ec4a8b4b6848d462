//! What an operator can see of a running broker: `/metrics` and `/health`.
//!
//! ```text
//! connections, handlers ─► counters (sharded, relaxed) ─┐
//! partitions, logs, shards, /proc: asked when scraped ──┴─► scrape ─► page ─► pieces ─► http
//! ```
//!
//! Counting costs a few nanoseconds and takes no lock. A scrape reads everything else there and then,
//! one partition and one stretch of groups at a time, and its text leaves in pieces while it is
//! written, so that neither locks nor memory grow with what the broker holds. [`table`] declares every
//! metric.

mod health;
mod http;
mod lag;
mod page;
mod process;
mod requests;
mod scrape;
mod table;

pub(crate) use http::HttpServer;
pub(crate) use requests::{Kind, RequestMetrics, Stage};
pub use table::{METRICS, MetricFamily, MetricKind};

use crate::admission::Refusal;
use crate::cluster::topics::Topic;
use crate::counters::{Counter, Gauge};
use crate::partition_counters::PartitionCounters;
use kohort_protocol::Uuid;
use kohort_storage::RecordTime;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Everything a broker counts for its operator, but what its partitions count themselves.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: RequestMetrics,
    pub(crate) connections: ConnectionMetrics,
    pub(crate) groups: GroupMetrics,
    /// Lines of the process' log that were not written, as its owner counts them.
    pub(crate) log_lines_dropped: Arc<AtomicU64>,
    /// Times of records that lag in seconds was computed from, and will be again.
    times: Mutex<KnownTimes>,
    /// What partitions had counted that are gone, so that totals never go back.
    gone: PartitionCounters,
}

/// Times of records that were found on disk: by topic, partition and offset.
type KnownTimes = HashMap<(Uuid, i32, i64), RecordTime>;

/// What is counted of connections.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMetrics {
    pub(crate) created: Counter,
    pub(crate) closed: Counter,
    pub(crate) idle: Counter,
    pub(crate) faulty: Counter,
    /// Refused for want of file descriptors.
    pub(crate) refused_descriptors: Counter,
    /// Refused for `max.connections`.
    pub(crate) refused_total: Counter,
    /// Refused for `max.connections.per.ip` or an override.
    pub(crate) refused_address: Counter,
}

impl ConnectionMetrics {
    /// Counts a connection that was refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::OpenFiles(_) => &self.refused_descriptors,
            Refusal::Total(_) => &self.refused_total,
            Refusal::PerAddress(_) => &self.refused_address,
        };
        counter.add(1);
    }
}

/// What is counted of groups.
#[derive(Debug, Default)]
pub(crate) struct GroupMetrics {
    /// Shards that read their log.
    pub(crate) loading: Gauge,
    /// Shards whose log is damaged, by partition: what is wrong with it.
    pub(crate) damaged: Mutex<BTreeMap<i32, String>>,
    pub(crate) rebalances: Counter,
    pub(crate) commits: Counter,
    pub(crate) expired_members: Counter,
    pub(crate) disconnected_members: Counter,
}

/// Tells whether a broker should be left running, as `/health/live` does.
#[cfg(test)]
pub(crate) fn is_live(node: &crate::node::Node) -> bool {
    health::is_alive(&health::troubles(Some(node)))
}

impl Metrics {
    /// Begins to count, beside what the log's owner counts.
    pub(crate) fn new(log_lines_dropped: Arc<AtomicU64>) -> Self {
        Self { log_lines_dropped, ..Self::default() }
    }

    /// Keeps what the partitions of a deleted topic have counted.
    pub(crate) fn topic_is_gone(&self, topic: &Topic) {
        for partition in &topic.partitions {
            for (sum, counter) in self.gone.all().into_iter().zip(partition.counters.all()) {
                sum.add(counter.get());
            }
        }
    }
}
