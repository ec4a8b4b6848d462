//! Every metric, declared once: name, type, unit, labels and meaning.
//!
//! The code that writes a scrape can only write what is declared here, and `docs/metrics.md` is made
//! from this table, so neither can be ahead of the other. Names are those that operators know: what
//! the JMX exporter's rules make of Kafka's beans, and kafka_exporter's for topics and groups. What has
//! no counterpart there begins with `kohort_`.

/// What a metric's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from 0 at the broker's start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size: `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl MetricKind {
    /// Returns the type's name in a scrape.
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// One metric with all its series.
#[derive(Debug)]
pub struct MetricFamily {
    /// The name in a scrape.
    pub name: &'static str,
    /// What its value is.
    pub kind: MetricKind,
    /// What is counted or measured.
    pub unit: &'static str,
    /// The labels of its series.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub doc: &'static str,
}

macro_rules! metrics {
    ($( $(#[doc = $doc:literal])+ $constant:ident: $kind:ident $name:literal, $unit:literal, [$($label:literal),*]; )*) => {
        $(
            pub(crate) const $constant: MetricFamily = MetricFamily {
                name: $name,
                kind: MetricKind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                doc: concat!($($doc),+).trim_ascii_start(),
            };
        )*

        /// Every metric there is, in the order of a scrape.
        pub const METRICS: &[MetricFamily] = &[$($constant),*];
    };
}

metrics! {
    /// Always 1; the label tells the version.
    BUILD_INFO: Gauge "kohort_build_info", "none", ["version"];
    /// The brokers there are: this one.
    BROKERS: Gauge "kafka_brokers", "brokers", [];
    /// 1 while the broker serves clients, 0 while it starts, stops or refuses producers or after its disk failed, as `/health/ready` says.
    READY: Gauge "kohort_ready", "boolean", [];

    /// Records appended by producers; without labels those of all topics, also deleted ones.
    MESSAGES_IN: Counter "kafka_server_brokertopicmetrics_messagesin_total", "records", ["topic"];
    /// Bytes of record batches appended by producers; without labels those of all topics.
    BYTES_IN: Counter "kafka_server_brokertopicmetrics_bytesin_total", "bytes", ["topic"];
    /// Bytes of record batches sent to consumers; without labels those of all topics.
    BYTES_OUT: Counter "kafka_server_brokertopicmetrics_bytesout_total", "bytes", ["topic"];
    /// Appends to a partition that producers asked for.
    PRODUCE_REQUESTS: Counter "kafka_server_brokertopicmetrics_totalproducerequests_total", "appends", ["topic"];
    /// Appends to a partition that failed.
    FAILED_PRODUCE_REQUESTS: Counter "kafka_server_brokertopicmetrics_failedproducerequests_total", "appends", ["topic"];
    /// Looks at a partition on behalf of a Fetch; one that waits looks more than once, as in Kafka.
    FETCH_REQUESTS: Counter "kafka_server_brokertopicmetrics_totalfetchrequests_total", "reads", ["topic"];
    /// Reads of a partition that failed.
    FAILED_FETCH_REQUESTS: Counter "kafka_server_brokertopicmetrics_failedfetchrequests_total", "reads", ["topic"];

    /// Requests received, by API and version.
    REQUESTS: Counter "kafka_network_requestmetrics_requests_total", "requests", ["request", "version"];
    /// Error codes in responses, by API; responses without one are not counted here.
    REQUEST_ERRORS: Counter "kafka_network_requestmetrics_errors_total", "error codes", ["request", "error"];
    /// Bytes of requests received.
    REQUEST_BYTES: Counter "kafka_network_requestmetrics_requestbytes_total", "bytes", ["request"];
    /// From a request's last byte to its last response byte given to the kernel.
    TOTAL_TIME: Histogram "kafka_network_requestmetrics_totaltimems", "ms", ["request"];
    /// How long a request waited for earlier ones of its connection.
    REQUEST_QUEUE_TIME: Histogram "kafka_network_requestmetrics_requestqueuetimems", "ms", ["request"];
    /// How long its handler ran before it answered or began to wait.
    LOCAL_TIME: Histogram "kafka_network_requestmetrics_localtimems", "ms", ["request"];
    /// How long it then waited: a Produce for the disk, a Fetch for records, a join for the others.
    REMOTE_TIME: Histogram "kafka_network_requestmetrics_remotetimems", "ms", ["request"];
    /// How long the response waited for the peer to read.
    RESPONSE_SEND_TIME: Histogram "kafka_network_requestmetrics_responsesendtimems", "ms", ["request"];

    /// Connections open now.
    CONNECTIONS: Gauge "kafka_server_socket_server_metrics_connection_count", "connections", [];
    /// Connections accepted.
    CONNECTIONS_CREATED: Counter "kafka_server_socket_server_metrics_connection_creation_total", "connections", [];
    /// Connections that ended.
    CONNECTIONS_CLOSED: Counter "kafka_server_socket_server_metrics_connection_close_total", "connections", [];
    /// Connections closed because nothing came over them for connections.max.idle.ms.
    CONNECTIONS_IDLE_CLOSED: Counter "kafka_server_socket_server_metrics_expired_connections_killed_count", "connections", [];
    /// Connections turned away, by the limit that was reached.
    CONNECTIONS_REFUSED: Counter "kohort_connections_refused_total", "connections", ["limit"];
    /// Connections the broker ended for what the peer sent.
    CONNECTIONS_FAULTY: Counter "kohort_connections_faulty_total", "connections", [];
    /// Bytes of requests in memory, as far as queued.max.request.bytes counts them; 0 where it sets no limit.
    REQUEST_MEMORY_USED: Gauge "kafka_network_socketserver_memorypoolused", "bytes", [];
    /// Bytes of requests there is still room for under queued.max.request.bytes.
    REQUEST_MEMORY_AVAILABLE: Gauge "kafka_network_socketserver_memorypoolavailable", "bytes", [];
    /// Requests that were not read at once because of queued.max.request.bytes.
    REQUESTS_WAITED: Counter "kohort_requests_waited_for_memory_total", "requests", [];

    /// Partitions served.
    PARTITION_COUNT: Gauge "kafka_server_replicamanager_partitioncount", "partitions", [];
    /// Partitions led by this broker: all of them.
    LEADER_COUNT: Gauge "kafka_server_replicamanager_leadercount", "partitions", [];
    /// Partitions with too few replicas in sync: none, there is one replica.
    UNDER_REPLICATED: Gauge "kafka_server_replicamanager_underreplicatedpartitions", "partitions", [];
    /// Partitions of each topic.
    TOPIC_PARTITIONS: Gauge "kafka_topic_partitions", "partitions", ["topic"];
    /// Partitions beyond the bound of what is listed one by one in a scrape.
    PARTITIONS_OMITTED: Gauge "kohort_metrics_partitions_omitted", "partitions", [];
    /// The offset after the last record that can be read.
    TOPIC_CURRENT_OFFSET: Gauge "kafka_topic_partition_current_offset", "offset", ["topic", "partition"];
    /// The first offset that can be read.
    TOPIC_OLDEST_OFFSET: Gauge "kafka_topic_partition_oldest_offset", "offset", ["topic", "partition"];
    /// Bytes of a partition's records, on disk and on their way there.
    LOG_SIZE: Gauge "kafka_log_log_size", "bytes", ["topic", "partition"];
    /// The offset the next record gets.
    LOG_END_OFFSET: Gauge "kafka_log_log_logendoffset", "offset", ["topic", "partition"];
    /// The first offset of the log.
    LOG_START_OFFSET: Gauge "kafka_log_log_logstartoffset", "offset", ["topic", "partition"];
    /// Segments of a partition.
    LOG_SEGMENTS: Gauge "kafka_log_log_numlogsegments", "segments", ["topic", "partition"];

    /// Groups there are, with members or with offsets alone.
    GROUPS: Gauge "kafka_coordinator_group_groupmetadatamanager_numgroups", "groups", [];
    /// Offsets that groups have committed.
    GROUP_OFFSETS: Gauge "kafka_coordinator_group_groupmetadatamanager_numoffsets", "offsets", [];
    /// Groups without members.
    GROUPS_EMPTY: Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "groups", [];
    /// Groups whose members are called to join.
    GROUPS_PREPARING: Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance", "groups", [];
    /// Groups that wait for their leader's assignment.
    GROUPS_COMPLETING: Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance", "groups", [];
    /// Groups that all members of which have their assignment.
    GROUPS_STABLE: Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupsstable", "groups", [];
    /// Partitions of __consumer_offsets being loaded; their groups are in none of the numbers here meanwhile.
    GROUPS_LOADING: Gauge "kohort_group_partitions_loading", "partitions", [];
    /// Partitions of __consumer_offsets whose log is damaged; their groups are refused, and are in none of the numbers here.
    GROUPS_DAMAGED: Gauge "kohort_group_partitions_damaged", "partitions", [];
    /// Rebalances that ended.
    REBALANCES: Counter "kafka_server_group_coordinator_metrics_group_completed_rebalance_count", "rebalances", [];
    /// Offsets committed.
    OFFSET_COMMITS: Counter "kafka_server_group_coordinator_metrics_offset_commit_count", "offsets", [];
    /// Members that were silent for longer than their session timeout.
    MEMBERS_EXPIRED: Counter "kohort_group_members_expired_total", "members", [];
    /// Members whose connection closed without a leave and who did not come back within group.disconnect.grace.ms.
    MEMBERS_DISCONNECTED: Counter "kohort_group_members_disconnected_total", "members", [];
    /// Committed offsets beyond the bound of what is listed one by one in a scrape, or of groups with a very long id.
    GROUP_OFFSETS_OMITTED: Gauge "kohort_metrics_group_offsets_omitted", "offsets", [];
    /// Committed offsets whose lag in seconds waits for the next scrape: one reads only so much from disk.
    LAG_DEFERRED: Gauge "kohort_metrics_lag_seconds_deferred", "offsets", [];
    /// Members of each group.
    GROUP_MEMBERS: Gauge "kafka_consumergroup_members", "members", ["consumergroup"];
    /// Sum of a group's committed offsets of a topic.
    GROUP_OFFSET_SUM: Gauge "kafka_consumergroup_current_offset_sum", "offset", ["consumergroup", "topic"];
    /// Records of a topic that a group has not read, of the partitions it has committed to.
    GROUP_LAG_SUM: Gauge "kafka_consumergroup_lag_sum", "records", ["consumergroup", "topic"];
    /// The offset a group has committed.
    GROUP_CURRENT_OFFSET: Gauge "kafka_consumergroup_current_offset", "offset", ["consumergroup", "topic", "partition"];
    /// Records after the committed offset; absent when the partition is gone.
    GROUP_LAG: Gauge "kafka_consumergroup_lag", "records", ["consumergroup", "topic", "partition"];
    /// Age of the oldest record after the committed offset, by its timestamp, 0 when there is none; to the precision of a batch.
    GROUP_LAG_SECONDS: Gauge "kafka_consumergroup_lag_seconds", "seconds", ["consumergroup", "topic", "partition"];

    /// Bytes of appends that wait for the disk.
    STORAGE_QUEUED: Gauge "kohort_storage_commit_queue_bytes", "bytes", [];
    /// Bytes of durable records that are in the write-ahead log and in memory, but not in segments yet.
    STORAGE_UNFLUSHED: Gauge "kohort_storage_unflushed_bytes", "bytes", [];
    /// Bytes of the write-ahead log's files in use.
    STORAGE_WAL: Gauge "kohort_storage_wal_bytes", "bytes", [];
    /// Segment and index files open.
    STORAGE_OPEN_FILES: Gauge "kohort_storage_open_files", "files", [];
    /// 1 while producers are refused for want of space.
    STORAGE_DISK_FULL: Gauge "kohort_storage_disk_full", "boolean", [];
    /// 1 after the data folder failed.
    OFFLINE_LOG_DIRS: Gauge "kafka_log_logmanager_offlinelogdirectorycount", "folders", [];
    /// Partitions that are not compacted until the next start, because a segment is damaged or compacting it panicked; the log names them.
    UNCLEANABLE_PARTITIONS: Gauge "kafka_log_logcleanermanager_uncleanable_partitions_count", "partitions", [];
    /// Commits: one write and one sync for all that waits.
    STORAGE_COMMITS: Counter "kohort_storage_commits_total", "commits", [];
    /// Bytes of appends made durable, groups' and the broker's own among them.
    STORAGE_COMMITTED: Counter "kohort_storage_committed_bytes_total", "bytes", [];
    /// How long the syncs of commits took; with flush=page-cache there are none, which count as 0.
    SYNC_TIME: Histogram "kohort_storage_sync_seconds", "seconds", [];

    /// Lines of the log that are missing because nobody took them from stderr in time.
    LOG_LINES_DROPPED: Counter "kohort_log_lines_dropped_total", "lines", [];
    /// Bytes resident in memory.
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes", "bytes", [];
    /// Bytes of address space.
    PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes", "bytes", [];
    /// CPU time of the process, in user and system mode.
    PROCESS_CPU: Counter "process_cpu_seconds_total", "seconds", [];
    /// Threads of the process.
    PROCESS_THREADS: Gauge "process_threads", "threads", [];
    /// When the process started, in seconds since 1970.
    PROCESS_START: Gauge "process_start_time_seconds", "seconds", [];
    /// File descriptors open now.
    PROCESS_OPEN_FDS: Gauge "process_open_fds", "descriptors", [];
    /// File descriptors the process may open.
    PROCESS_MAX_FDS: Gauge "process_max_fds", "descriptors", [];
}
