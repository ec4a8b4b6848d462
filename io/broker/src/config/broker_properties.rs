//! The broker's properties, under Kafka's names.
//!
//! One line per property that changes what this broker does: the field it becomes, its name, its
//! type and range, Kafka's default, whether it can be altered while the broker runs, and what it
//! means. From this table come the typed [`BrokerConfig`], the checks on `--set`, and what
//! DescribeConfigs tells. Kafka's other properties are in
//! [`inert_properties`](super::inert_properties): they are accepted and described, and change
//! nothing here.

use super::value::{FromConfig, Kind};

/// One property: everything that is known about it but its value.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// Kafka's name for it.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default as text; `None` is null.
    pub default: Option<&'static str>,
    /// When a new value takes effect.
    pub effect: Effect,
    /// What it means.
    pub doc: &'static str,
}

/// When a property's value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Read at start.
    AtStart,
    /// Read whenever it is needed, so it can be altered while the broker runs.
    Live,
    /// Never: it has no meaning for a broker that is alone.
    Inert,
    /// Never here either, though Kafka lets it be altered while the broker runs.
    InertLive,
}

impl Effect {
    /// Returns whether AlterConfigs may set the property.
    pub const fn is_dynamic(self) -> bool {
        matches!(self, Effect::Live | Effect::InertLive)
    }

    /// Returns whether the property changes nothing here.
    pub const fn is_inert(self) -> bool {
        matches!(self, Effect::Inert | Effect::InertLive)
    }
}

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;

macro_rules! broker_properties {
    ($( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $name:literal, $kind:expr, $default:expr, $effect:ident; )*) => {
        /// The broker's configuration, typed.
        #[derive(Debug, Clone, PartialEq)]
        pub struct BrokerConfig {
            $( $(#[doc = $doc])+ pub $field: $ty, )*
        }

        impl BrokerConfig {
            /// Reads every field through `value`, which returns checked text or null by name.
            pub(super) fn from_values<'a>(value: impl Fn(&'static str) -> Option<&'a str>) -> Self {
                Self { $( $field: <$ty>::from_config(value($name)), )* }
            }
        }

        /// Every property that changes what this broker does, or will: those that are inert await
        /// the work they are about.
        pub const APPLIED_PROPERTIES: &[Property] = &[
            $( Property {
                name: $name,
                kind: $kind,
                default: $default,
                effect: Effect::$effect,
                doc: concat!($($doc),+).trim_ascii_start(),
            }, )*
        ];
    };
}

broker_properties! {
    /// Where the broker listens, as NAME://HOST:PORT; no host is every address, IPv6 and IPv4, and port 0 picks a free one. All listeners that speak PLAINTEXT are served, a controller's is passed over, others are refused.
    listeners: Vec<String> = "listeners", Kind::List(&[]), Some("PLAINTEXT://127.0.0.1:9092"), AtStart;
    /// What clients are told to connect to, by the listener they came by; the listener's own address when not set.
    advertised_listeners: Vec<String> = "advertised.listeners", Kind::List(&[]), None, AtStart;
    /// Which security protocol a listener of that name speaks.
    listener_security_protocol_map: String = "listener.security.protocol.map", Kind::Text, Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), AtStart;
    /// The listeners that are a controller's: there is none here, so they are passed over.
    controller_listener_names: Vec<String> = "controller.listener.names", Kind::List(&[]), None, AtStart;
    /// What a Kafka server is to be. Here it is always both; a file for a controller alone is refused.
    process_roles: Vec<String> = "process.roles", Kind::List(&["broker", "controller"]), Some("broker,controller"), AtStart;
    /// Where values of the form ${provider:key} come from. None is served: with one, such values are refused.
    config_providers: Vec<String> = "config.providers", Kind::List(&[]), Some(""), AtStart;
    /// Who decides what clients may do. Everybody may do everything here, so a file that names an authorizer is refused.
    authorizer_class_name: String = "authorizer.class.name", Kind::Text, Some(""), AtStart;
    /// Where `/metrics` and `/health` are answered, as HOST:PORT; nowhere when not set. A property of Kohort's own.
    metrics_listener: Option<String> = "metrics.listener", Kind::Text, None, AtStart;
    /// This broker's number in metadata. A data folder stays with the number it has topics of.
    node_id: i32 = "node.id", Kind::Int(0, INT), Some("1"), AtStart;
    /// The older name of node.id: one stands for the other, and both must agree.
    broker_id: i32 = "broker.id", Kind::Int(-1, INT), Some("-1"), AtStart;
    /// The rack this broker reports in metadata.
    broker_rack: Option<String> = "broker.rack", Kind::Text, None, AtStart;
    /// The data directory, when log.dirs is not set.
    log_dir: Vec<String> = "log.dir", Kind::List(&[]), Some("kohort-data"), AtStart;
    /// The data directory. One is used; a list of several is refused.
    log_dirs: Option<Vec<String>> = "log.dirs", Kind::List(&[]), None, AtStart;
    /// Kohort's own: fdatasync acknowledges only what is on disk, page-cache trusts the kernel.
    flush: String = "flush", Kind::OneOf(&["fdatasync", "page-cache"]), Some("fdatasync"), AtStart;

    /// The largest request, in bytes, that is read from a connection.
    socket_request_max_bytes: i32 = "socket.request.max.bytes", Kind::Int(1, INT), Some("104857600"), AtStart;
    /// How many bytes of requests may be in memory at once, over all connections: those that arrive, and those with records until they are on disk. Further ones are read when there is room; while any wait, a connection that sends nothing for 5 s in the middle of a request is closed. 0 or less: no limit; else at least socket.request.max.bytes.
    queued_max_request_bytes: i64 = "queued.max.request.bytes", Kind::Long(-LONG, LONG), Some("-1"), AtStart;
    /// How many connections may be open at once.
    max_connections: i32 = "max.connections", Kind::Int(0, INT), Some("2147483647"), Live;
    /// How many connections may be open at once from one address.
    max_connections_per_ip: i32 = "max.connections.per.ip", Kind::Int(0, INT), Some("2147483647"), Live;
    /// Limits of single addresses in the place of max.connections.per.ip, as ADDRESS:LIMIT; names of hosts are refused.
    max_connections_per_ip_overrides: Vec<String> = "max.connections.per.ip.overrides", Kind::AddressLimits, Some(""), Live;
    /// How many connections are accepted in a second; those beyond wait.
    max_connection_creation_rate: i32 = "max.connection.creation.rate", Kind::Int(0, INT), Some("2147483647"), Live;
    /// A connection on which nothing happened for this long is closed, and one whose request takes longer to arrive; negative never closes.
    connections_max_idle_ms: i64 = "connections.max.idle.ms", Kind::Long(-LONG, LONG), Some("600000"), AtStart;
    /// How many connections the kernel may hold before they are accepted.
    socket_listen_backlog_size: i32 = "socket.listen.backlog.size", Kind::Int(1, INT), Some("50"), AtStart;

    /// How many samples a quota's rate is taken over.
    quota_window_num: i32 = "quota.window.num", Kind::Int(1, INT), Some("11"), AtStart;
    /// How many seconds one of these samples covers.
    quota_window_size_seconds: i32 = "quota.window.size.seconds", Kind::Int(1, INT), Some("1"), AtStart;

    /// Whether a topic that a client asks for by name is created when it does not exist.
    auto_create_topics_enable: bool = "auto.create.topics.enable", Kind::Bool, Some("true"), AtStart;
    /// Whether topics can be deleted.
    delete_topic_enable: bool = "delete.topic.enable", Kind::Bool, Some("true"), AtStart;
    /// How many partitions a topic gets when its creator does not say.
    num_partitions: i32 = "num.partitions", Kind::Int(1, INT), Some("1"), AtStart;
    /// How many replicas a topic gets when its creator does not say; here there is always one.
    default_replication_factor: i32 = "default.replication.factor", Kind::Int(1, INT), Some("1"), Inert;
    /// The most partitions one DescribeTopicPartitions response holds.
    max_request_partition_size_limit: i32 = "max.request.partition.size.limit", Kind::Int(1, INT), Some("2000"), AtStart;

    /// The most bytes of records one Fetch response holds.
    fetch_max_bytes: i32 = "fetch.max.bytes", Kind::Int(1024, INT), Some("57671680"), AtStart;
    /// How many incremental fetch sessions are remembered.
    max_incremental_fetch_session_cache_slots: i32 = "max.incremental.fetch.session.cache.slots", Kind::Int(0, INT), Some("1000"), AtStart;

    /// The largest record batch a topic takes, when the topic does not say.
    message_max_bytes: i32 = "message.max.bytes", Kind::Int(0, INT), Some("1048588"), Live;
    /// Whether a record's timestamp is its producer's or the broker's, when the topic does not say.
    log_message_timestamp_type: String = "log.message.timestamp.type", Kind::OneOf(&["CreateTime", "LogAppendTime"]), Some("CreateTime"), Live;
    /// How far behind the broker's clock a record's timestamp may be, when the topic does not say.
    log_message_timestamp_before_max_ms: i64 = "log.message.timestamp.before.max.ms", Kind::Long(0, LONG), Some("9223372036854775807"), Live;
    /// How far ahead of the broker's clock a record's timestamp may be, when the topic does not say.
    log_message_timestamp_after_max_ms: i64 = "log.message.timestamp.after.max.ms", Kind::Long(0, LONG), Some("3600000"), Live;
    /// The codec records are stored with, when the topic does not say; `producer` keeps theirs.
    compression_type: String = "compression.type", super::COMPRESSION, Some("producer"), Live;
    /// The level used when the broker compresses with gzip.
    compression_gzip_level: i32 = "compression.gzip.level", Kind::Int(-1, 9), Some("-1"), Live;
    /// The level used when the broker compresses with lz4. Checked, and of no effect: there is one lz4 compressor here, the fast one.
    compression_lz4_level: i32 = "compression.lz4.level", Kind::Int(1, 17), Some("9"), InertLive;
    /// The level used when the broker compresses with zstd.
    compression_zstd_level: i32 = "compression.zstd.level", Kind::Int(-131_072, 22), Some("3"), Live;
    /// How many replicas must have a record before it is acknowledged; here there is one.
    min_insync_replicas: i32 = "min.insync.replicas", Kind::Int(1, INT), Some("1"), Live;

    /// The size at which a log segment is closed, when the topic does not say.
    log_segment_bytes: i32 = "log.segment.bytes", Kind::Int(1_048_576, INT), Some("1073741824"), Live;
    /// The age at which a log segment is closed, when the topic does not say.
    log_roll_ms: Option<i64> = "log.roll.ms", Kind::Long(-LONG, LONG), None, Live;
    /// The age in hours at which a log segment is closed, when log.roll.ms is not set.
    log_roll_hours: i32 = "log.roll.hours", Kind::Int(1, INT), Some("168"), AtStart;
    /// How much earlier than log.roll.ms a segment may be closed, at random, when the topic does not say.
    log_roll_jitter_ms: Option<i64> = "log.roll.jitter.ms", Kind::Long(-LONG, LONG), None, Live;
    /// The same in hours, when log.roll.jitter.ms is not set.
    log_roll_jitter_hours: i32 = "log.roll.jitter.hours", Kind::Int(0, INT), Some("0"), AtStart;
    /// What happens to old records, when the topic does not say: delete, compact or both.
    log_cleanup_policy: Vec<String> = "log.cleanup.policy", Kind::List(&["compact", "delete"]), Some("delete"), Live;
    /// How long records are kept in ms, when the topic does not say; -1 is for ever.
    log_retention_ms: Option<i64> = "log.retention.ms", Kind::Long(-1, LONG), None, Live;
    /// How long records are kept in minutes, when log.retention.ms is not set.
    log_retention_minutes: Option<i32> = "log.retention.minutes", Kind::Int(-1, INT), None, AtStart;
    /// How long records are kept in hours, when neither ms nor minutes are set.
    log_retention_hours: i32 = "log.retention.hours", Kind::Int(-1, INT), Some("168"), AtStart;
    /// How many bytes of a partition are kept, when the topic does not say; -1 is all.
    log_retention_bytes: i64 = "log.retention.bytes", Kind::Long(-1, LONG), Some("-1"), Live;
    /// How often old segments are looked for.
    log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms", Kind::Long(1, LONG), Some("300000"), AtStart;
    /// How long after the start old segments are first looked for.
    log_initial_task_delay_ms: i64 = "log.initial.task.delay.ms", Kind::Long(0, LONG), Some("30000"), AtStart;
    /// Bytes of log between two entries of its offset index.
    log_index_interval_bytes: i32 = "log.index.interval.bytes", Kind::Int(0, INT), Some("4096"), Live;
    /// Whether compaction runs.
    log_cleaner_enable: bool = "log.cleaner.enable", Kind::Bool, Some("true"), AtStart;
    /// The most memory compaction uses for the keys of one partition at a time. It is taken as keys come; Kafka takes all of it at its start.
    log_cleaner_dedupe_buffer_size: i64 = "log.cleaner.dedupe.buffer.size", Kind::Long(-LONG, LONG), Some("134217728"), Live;
    /// How many bytes a second compaction reads and writes at most.
    log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second", Kind::Double(f64::MIN, f64::MAX), Some("1.7976931348623157E308"), Live;
    /// How long compaction rests when there was nothing to do.
    log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms", Kind::Long(0, LONG), Some("15000"), Live;
    /// The share of a log that must be dirty before it is compacted, when the topic does not say.
    log_cleaner_min_cleanable_ratio: f64 = "log.cleaner.min.cleanable.ratio", Kind::Double(0.0, 1.0), Some("0.5"), Live;
    /// How long tombstones stay after compaction, when the topic does not say.
    log_cleaner_delete_retention_ms: i64 = "log.cleaner.delete.retention.ms", Kind::Long(0, LONG), Some("86400000"), Live;
    /// How long a record stays out of compaction's reach, when the topic does not say.
    log_cleaner_min_compaction_lag_ms: i64 = "log.cleaner.min.compaction.lag.ms", Kind::Long(0, LONG), Some("0"), Live;
    /// How long a record may wait for compaction, when the topic does not say.
    log_cleaner_max_compaction_lag_ms: i64 = "log.cleaner.max.compaction.lag.ms", Kind::Long(1, LONG), Some("9223372036854775807"), Live;

    /// How long a producer id that writes nothing is remembered.
    producer_id_expiration_ms: i32 = "producer.id.expiration.ms", Kind::Int(1, INT), Some("86400000"), Live;

    /// How many partitions __consumer_offsets gets when it is created.
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions", Kind::Int(1, INT), Some("50"), AtStart;
    /// The segment size of __consumer_offsets; at least 1048576, as of any topic.
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes", Kind::Int(1, INT), Some("104857600"), AtStart;
    /// How long committed offsets are kept once their group is empty or no longer subscribes.
    offsets_retention_minutes: i32 = "offsets.retention.minutes", Kind::Int(1, INT), Some("10080"), AtStart;
    /// How often expired offsets are looked for.
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms", Kind::Long(1, LONG), Some("600000"), AtStart;
    /// The longest text that may accompany a committed offset, in bytes.
    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes", Kind::Int(0, INT), Some("4096"), AtStart;

    /// The shortest session timeout a group member may ask for.
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms", Kind::Int(0, INT), Some("6000"), AtStart;
    /// The longest session timeout a group member may ask for.
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms", Kind::Int(0, INT), Some("1800000"), AtStart;
    /// How long an empty group waits for more members before its first rebalance ends.
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms", Kind::Int(0, INT), Some("3000"), AtStart;
    /// After how long without a new member that wait ends early, when all who were given an id have joined with it. -1: never, as in Kafka; so also where group.initial.rebalance.delay.ms is set and this is not. A property of Kohort's own.
    group_initial_rebalance_quiet_ms: i32 = "group.initial.rebalance.quiet.ms", Kind::Int(-1, INT), Some("300"), AtStart;
    /// How many members a group may have.
    group_max_size: i32 = "group.max.size", Kind::Int(1, INT), Some("2147483647"), AtStart;
    /// How long a group waits for a member whose connection closed without a leave, before it goes on without it. -1: as long as the member's session. A property of Kohort's own.
    group_disconnect_grace_ms: i32 = "group.disconnect.grace.ms", Kind::Int(-1, INT), Some("500"), AtStart;
    /// Whether every rebalance is told in the topic __kohort_group_events. A property of Kohort's own.
    group_events_enable: bool = "group.events.enable", Kind::Bool, Some("true"), AtStart;
    /// Whether group.disconnect.grace.ms goes for static members, too. A property of Kohort's own.
    group_disconnect_grace_static: bool = "group.disconnect.grace.static", Kind::Bool, Some("false"), AtStart;

    /// How long a member of a consumer group may be silent.
    group_consumer_session_timeout_ms: i32 = "group.consumer.session.timeout.ms", Kind::Int(1, INT), Some("45000"), AtStart;
    /// How often members of consumer groups are told to heartbeat. Unless it is set: as often as the broker can afford, from every 100 ms while a group settles to Kafka's default where there are many members.
    group_consumer_heartbeat_interval_ms: i32 = "group.consumer.heartbeat.interval.ms", Kind::Int(1, INT), Some("5000"), AtStart;
    /// How long lies at least between two assignments of a consumer group. Unless it is set: what the group's size asks for, which is nothing for a small one and Kafka's default at most.
    group_consumer_assignment_interval_ms: i32 = "group.consumer.assignment.interval.ms", Kind::Int(0, INT), Some("1000"), Live;
    /// How many members a consumer group may have.
    group_consumer_max_size: i32 = "group.consumer.max.size", Kind::Int(1, INT), Some("2147483647"), AtStart;
    /// The assignors that members of consumer groups may ask for; the first is for those that do not.
    group_consumer_assignors: Vec<String> = "group.consumer.assignors", Kind::List(&["uniform", "range"]), Some("uniform,range"), AtStart;
    /// Which groups may change between the classic and the consumer protocol while members are in them.
    group_consumer_migration_policy: String = "group.consumer.migration.policy", Kind::OneOf(&["disabled", "upgrade", "downgrade", "bidirectional"]), Some("bidirectional"), AtStart;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        for property in APPLIED_PROPERTIES {
            if let Some(default) = property.default {
                assert_eq!(
                    property.kind.check(default).as_deref(),
                    Ok(default),
                    "{}",
                    property.name
                );
            }
        }
    }

    #[test]
    fn defaults_become_typed_values() {
        let config = BrokerConfig::from_values(|name| {
            APPLIED_PROPERTIES.iter().find(|p| p.name == name).and_then(|p| p.default)
        });
        assert_eq!(config.socket_request_max_bytes, 104_857_600);
        assert_eq!(config.log_retention_ms, None);
        assert_eq!(config.log_cleanup_policy, ["delete"]);
    }
}
