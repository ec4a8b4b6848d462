//! One scrape: every metric in the table, with the values of now.

use super::page::Page;
use super::requests::Stage;
use super::{health, lag, process, table};
use crate::node::Node;
use crate::partition_counters::PartitionCounters;
use crate::request_memory::RequestMemory;
use kohort_protocol::ApiKey;
use kohort_storage::LogCounters;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Partitions that are listed one by one. Beyond, a scrape would be too large to be of use; the
/// metrics by topic go on.
const PARTITIONS_MAX: usize = 50_000;

/// Writes a scrape. It waits for whoever reads it, so it belongs on a thread that may.
pub(super) fn write(node: &Node, mut page: Page) {
    page.family(&table::BUILD_INFO).value(&[&env!("CARGO_PKG_VERSION")], 1);
    page.single(&table::BROKERS, 1);
    page.single(&table::READY, u8::from(health::is_serving(node)));
    write_topics(node, &mut page);
    write_requests(node, &mut page);
    write_connections(node, &mut page);
    write_partitions(node, &mut page);
    lag::write(node, &mut page);
    write_storage(node, &mut page);
    let dropped = node.metrics.log_lines_dropped.load(Ordering::Relaxed);
    page.single(&table::LOG_LINES_DROPPED, dropped);
    process::write(&mut page);
    page.finish();
}

fn write_topics(node: &Node, page: &mut Page) {
    let topics = node.metadata.topics.all();
    let families = [
        &table::MESSAGES_IN,
        &table::BYTES_IN,
        &table::BYTES_OUT,
        &table::PRODUCE_REQUESTS,
        &table::FAILED_PRODUCE_REQUESTS,
        &table::FETCH_REQUESTS,
        &table::FAILED_FETCH_REQUESTS,
    ];
    for (at, family) in families.into_iter().enumerate() {
        let count = |counters: &PartitionCounters| counters.all()[at].get();
        let mut series = page.family(family);
        let mut total = count(&node.metrics.gone);
        for topic in &topics {
            let partitions = topic.partitions.iter();
            let sum = partitions.map(|partition| count(&partition.counters)).sum::<u64>();
            series.value(&[&topic.name], sum);
            total += sum;
        }
        series.total(total);
    }
}

fn write_requests(node: &Node, page: &mut Page) {
    let counts = node.metrics.requests.counts();
    let mut series = page.family(&table::REQUESTS);
    for api in &counts {
        let by_version = api.by_version.iter().enumerate().filter(|(_, count)| **count > 0);
        by_version.for_each(|(version, count)| series.value(&[&api.key.name(), &version], count));
    }
    let mut series = page.family(&table::REQUEST_ERRORS);
    for ((key, error), count) in node.metrics.requests.error_counts() {
        let name = ApiKey::from_i16(key).map_or("unknown", ApiKey::name);
        series.value(&[&name, &error], count);
    }
    let mut series = page.family(&table::REQUEST_BYTES);
    for api in &counts {
        series.value(&[&api.key.name()], api.bytes);
    }
    for (family, stage) in [
        (&table::TOTAL_TIME, Stage::Total),
        (&table::REQUEST_QUEUE_TIME, Stage::RequestQueue),
        (&table::LOCAL_TIME, Stage::Local),
        (&table::REMOTE_TIME, Stage::Remote),
        (&table::RESPONSE_SEND_TIME, Stage::ResponseSend),
    ] {
        let mut series = page.family(family);
        for api in &counts {
            series.histogram(&[&api.key.name()], api.stage(stage));
        }
    }
}

fn write_connections(node: &Node, page: &mut Page) {
    let connections = &node.metrics.connections;
    // In this order: one that is counted as closed was counted as created.
    let closed = connections.closed.get();
    let created = connections.created.get();
    page.single(&table::CONNECTIONS, created.saturating_sub(closed));
    page.single(&table::CONNECTIONS_CREATED, created);
    page.single(&table::CONNECTIONS_CLOSED, closed);
    page.single(&table::CONNECTIONS_IDLE_CLOSED, connections.idle.get());
    let mut refused = page.family(&table::CONNECTIONS_REFUSED);
    refused.value(&[&"max.connections"], connections.refused_total.get());
    refused.value(&[&"max.connections.per.ip"], connections.refused_address.get());
    refused.value(&[&"open files"], connections.refused_descriptors.get());
    page.single(&table::CONNECTIONS_FAULTY, connections.faulty.get());
    // Without a limit as Kafka tells it: there is room for whatever can be counted.
    let memory = node.request_memory.as_deref();
    let (limit, used) = memory.map_or((i64::MAX as usize, 0), RequestMemory::limit_and_used);
    page.single(&table::REQUEST_MEMORY_USED, used);
    page.single(&table::REQUEST_MEMORY_AVAILABLE, limit - used);
    page.single(&table::REQUESTS_WAITED, memory.map_or(0, |memory| memory.waited.get()));
}

/// One of a partition's numbers.
type OfPartition = fn(&LogCounters) -> u64;

fn write_partitions(node: &Node, page: &mut Page) {
    let topics = node.metadata.topics.all();
    let count: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    page.single(&table::PARTITION_COUNT, count);
    page.single(&table::LEADER_COUNT, count);
    page.single(&table::UNDER_REPLICATED, 0);
    let mut series = page.family(&table::TOPIC_PARTITIONS);
    for topic in &topics {
        series.value(&[&topic.name], topic.partitions.len());
    }
    // A few numbers for each partition, taken one partition after another: its log is held up for
    // as long as it takes to read them.
    let partitions: Vec<(Arc<str>, i32, LogCounters)> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (&topic.name, partition)))
        .take(PARTITIONS_MAX)
        .map(|(topic, partition)| (Arc::clone(topic), partition.index, partition.log.counters()))
        .collect();
    drop(topics);
    page.single(&table::PARTITIONS_OMITTED, count.saturating_sub(partitions.len()));
    let families: [(&table::MetricFamily, OfPartition); 6] = [
        (&table::TOPIC_CURRENT_OFFSET, |log| log.high_watermark as u64),
        (&table::TOPIC_OLDEST_OFFSET, |log| log.log_start_offset as u64),
        (&table::LOG_SIZE, |log| log.size_in_bytes),
        (&table::LOG_END_OFFSET, |log| log.log_end_offset as u64),
        (&table::LOG_START_OFFSET, |log| log.log_start_offset as u64),
        (&table::LOG_SEGMENTS, |log| log.segments as u64),
    ];
    for (family, value) in families {
        if page.is_abandoned() {
            return;
        }
        let mut series = page.family(family);
        for (topic, index, stats) in &partitions {
            series.value(&[topic, index], value(stats));
        }
    }
}

fn write_storage(node: &Node, page: &mut Page) {
    let stats = node.log_dir.stats();
    page.single(&table::STORAGE_QUEUED, stats.queued_bytes);
    page.single(&table::STORAGE_UNFLUSHED, stats.unflushed_bytes);
    page.single(&table::STORAGE_WAL, stats.wal_bytes);
    page.single(&table::STORAGE_OPEN_FILES, stats.open_files);
    page.single(&table::STORAGE_DISK_FULL, u8::from(node.log_dir.is_disk_full()));
    page.single(&table::OFFLINE_LOG_DIRS, u8::from(node.log_dir.fatal().is_some()));
    let uncleanable = node.log_dir.cleaner_stats().uncleanable_partitions;
    page.single(&table::UNCLEANABLE_PARTITIONS, uncleanable);
    page.single(&table::STORAGE_COMMITS, stats.commits);
    page.single(&table::STORAGE_COMMITTED, stats.committed_bytes);
    page.family(&table::SYNC_TIME).histogram(&[], &stats.syncs);
}
