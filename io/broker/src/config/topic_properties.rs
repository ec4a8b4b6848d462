//! A topic's properties, under Kafka's names.
//!
//! A topic's value is its own if it has one, else that of the first broker property in its
//! `synonyms` that has been set, else the default. Properties that name no field in
//! [`TopicConfig`] concern replication or tiered storage and change nothing here.

use super::broker_properties::Effect;
use super::value::{FromConfig, Kind, split_list};
use super::{COMPRESSION, Settings};
use std::collections::BTreeMap;

/// One property of a topic.
#[derive(Debug, Clone, Copy)]
pub struct TopicProperty {
    /// Kafka's name for it.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default when neither the topic nor the broker says anything.
    pub default: &'static str,
    /// The broker properties it falls back to, and how many of the topic's units make one of theirs.
    pub synonyms: &'static [(&'static str, i64)],
    /// Whether a value changes what the broker does.
    pub effect: Effect,
    /// What it means.
    pub doc: &'static str,
}

/// The least `segment.bytes` of a topic.
pub(super) const SEGMENT_BYTES_MIN: i64 = 1 << 20;
const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const NONE: &[(&str, i64)] = &[];
const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;

macro_rules! topic_properties {
    ($( #[doc = $doc:literal] $($field:ident : $ty:ty)? = $name:literal, $kind:expr, $default:literal, $synonyms:expr, $effect:ident; )*) => {
        /// Every topic property of Kafka 4.3, in the order of their names.
        pub const TOPIC_PROPERTIES: &[TopicProperty] = &[
            $( TopicProperty {
                name: $name,
                kind: $kind,
                default: $default,
                synonyms: $synonyms,
                effect: Effect::$effect,
                doc: $doc.trim_ascii_start(),
            }, )*
        ];
        topic_config! { $( $( #[doc = $doc] $field : $ty = $name; )? )* }
    };
}

macro_rules! topic_config {
    ($( #[doc = $doc:literal] $field:ident : $ty:ty = $name:literal; )*) => {
        /// A topic's configuration, typed: its own values over the broker's over the defaults.
        #[derive(Debug, Clone, PartialEq)]
        pub struct TopicConfig {
            $( #[doc = $doc] pub $field: $ty, )*
        }

        impl TopicConfig {
            /// Reads a topic's configuration from its own values and the broker's settings.
            pub fn new(own: &BTreeMap<String, String>, broker: &Settings) -> Self {
                Self { $( $field: <$ty>::from_config(Some(&effective($name, own, broker))), )* }
            }
        }
    };
}

topic_properties! {
    /// What happens to old records: delete, compact, or both.
    cleanup_policy: Vec<String> = "cleanup.policy", Kind::List(&["compact", "delete"]), "delete", &[("log.cleanup.policy", 1)], Live;
    /// The level used when the broker compresses with gzip.
    compression_gzip_level: i32 = "compression.gzip.level", Kind::Int(-1, 9), "-1", &[("compression.gzip.level", 1)], Live;
    /// The level used when the broker compresses with lz4. Checked, and of no effect: there is one lz4 compressor here, the fast one.
    compression_lz4_level: i32 = "compression.lz4.level", Kind::Int(1, 17), "9", &[("compression.lz4.level", 1)], InertLive;
    /// The codec records are stored with; `producer` keeps the producer's.
    compression_type: String = "compression.type", COMPRESSION, "producer", &[("compression.type", 1)], Live;
    /// The level used when the broker compresses with zstd.
    compression_zstd_level: i32 = "compression.zstd.level", Kind::Int(-131_072, 22), "3", &[("compression.zstd.level", 1)], Live;
    /// How long tombstones stay after compaction has passed them.
    delete_retention_ms: i64 = "delete.retention.ms", Kind::Long(0, LONG), "86400000", &[("log.cleaner.delete.retention.ms", 1)], Live;
    /// How long a deleted file stays on disk. Deleted files go at once here.
    = "file.delete.delay.ms", Kind::Long(0, LONG), "60000", &[("log.segment.delete.delay.ms", 1)], InertLive;
    /// After how many records to flush. Every acknowledged record is on disk already.
    = "flush.messages", Kind::Long(1, LONG), "9223372036854775807", &[("log.flush.interval.messages", 1)], InertLive;
    /// After what time to flush. Every acknowledged record is on disk already.
    = "flush.ms", Kind::Long(0, LONG), "9223372036854775807", &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)], InertLive;
    /// Replicas throttled as followers. There are none here.
    = "follower.replication.throttled.replicas", Kind::List(&[]), "", NONE, InertLive;
    /// Bytes of log between two entries of its offset index.
    index_interval_bytes: i32 = "index.interval.bytes", Kind::Int(0, INT), "4096", &[("log.index.interval.bytes", 1)], Live;
    /// Replicas throttled as leaders. There are none here.
    = "leader.replication.throttled.replicas", Kind::List(&[]), "", NONE, InertLive;
    /// Local bytes kept with tiered storage, which is not served here.
    = "local.retention.bytes", Kind::Long(-2, LONG), "-2", &[("log.local.retention.bytes", 1)], InertLive;
    /// Local time kept with tiered storage, which is not served here.
    = "local.retention.ms", Kind::Long(-2, LONG), "-2", &[("log.local.retention.ms", 1)], InertLive;
    /// How long a record may wait for compaction.
    max_compaction_lag_ms: i64 = "max.compaction.lag.ms", Kind::Long(1, LONG), "9223372036854775807", &[("log.cleaner.max.compaction.lag.ms", 1)], Live;
    /// The largest record batch the topic takes, in bytes.
    max_message_bytes: i32 = "max.message.bytes", Kind::Int(0, INT), "1048588", &[("message.max.bytes", 1)], Live;
    /// How far ahead of the broker's clock a record's timestamp may be.
    message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms", Kind::Long(0, LONG), "3600000", &[("log.message.timestamp.after.max.ms", 1)], Live;
    /// How far behind the broker's clock a record's timestamp may be.
    message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms", Kind::Long(0, LONG), "9223372036854775807", &[("log.message.timestamp.before.max.ms", 1)], Live;
    /// Whether a record's timestamp is its producer's (CreateTime) or the broker's (LogAppendTime).
    message_timestamp_type: String = "message.timestamp.type", Kind::OneOf(&["CreateTime", "LogAppendTime"]), "CreateTime", &[("log.message.timestamp.type", 1)], Live;
    /// The share of the log that must be dirty before it is compacted.
    min_cleanable_dirty_ratio: f64 = "min.cleanable.dirty.ratio", Kind::Double(0.0, 1.0), "0.5", &[("log.cleaner.min.cleanable.ratio", 1)], Live;
    /// How long a record stays out of compaction's reach.
    min_compaction_lag_ms: i64 = "min.compaction.lag.ms", Kind::Long(0, LONG), "0", &[("log.cleaner.min.compaction.lag.ms", 1)], Live;
    /// How many replicas must have a record before acks=all is answered; a partition here has one, which is enough as in Kafka.
    min_insync_replicas: i32 = "min.insync.replicas", Kind::Int(1, INT), "1", &[("min.insync.replicas", 1)], Live;
    /// Whether files are reserved in advance. The write-ahead log always is.
    = "preallocate", Kind::Bool, "false", &[("log.preallocate", 1)], InertLive;
    /// Concerns tiered storage, which is not served here.
    = "remote.log.copy.disable", Kind::Bool, "false", NONE, InertLive;
    /// Concerns tiered storage, which is not served here.
    = "remote.log.delete.on.disable", Kind::Bool, "false", NONE, InertLive;
    /// Concerns tiered storage, which is not served here.
    = "remote.storage.enable", Kind::Bool, "false", NONE, InertLive;
    /// How many bytes of a partition are kept; -1 is all, as is any other negative number.
    retention_bytes: i64 = "retention.bytes", Kind::Long(i64::MIN, LONG), "-1", &[("log.retention.bytes", 1)], Live;
    /// How long records are kept; -1 is for ever.
    retention_ms: i64 = "retention.ms", Kind::Long(-1, LONG), "604800000", &[("log.retention.ms", 1), ("log.retention.minutes", MINUTE), ("log.retention.hours", HOUR)], Live;
    /// The size at which a log segment is closed.
    segment_bytes: i32 = "segment.bytes", Kind::Int(SEGMENT_BYTES_MIN, INT), "1073741824", &[("log.segment.bytes", 1)], Live;
    /// The largest index of a segment. Indexes grow as they must here.
    = "segment.index.bytes", Kind::Int(4, INT), "10485760", &[("log.index.size.max.bytes", 1)], InertLive;
    /// How much earlier than segment.ms a segment may be closed, at random.
    segment_jitter_ms: i64 = "segment.jitter.ms", Kind::Long(0, LONG), "0", &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR)], Live;
    /// The age at which a log segment is closed.
    segment_ms: i64 = "segment.ms", Kind::Long(1, LONG), "604800000", &[("log.roll.ms", 1), ("log.roll.hours", HOUR)], Live;
    /// Whether a replica that lags may lead. There is one replica here.
    = "unclean.leader.election.enable", Kind::Bool, "false", &[("unclean.leader.election.enable", 1)], InertLive;
}

impl TopicProperty {
    /// Returns the property of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        let at = TOPIC_PROPERTIES.binary_search_by(|property| property.name.cmp(name)).ok()?;
        TOPIC_PROPERTIES.get(at)
    }
}

impl TopicConfig {
    /// Returns whether old records are removed by key.
    pub fn compacts(&self) -> bool {
        self.cleanup_policy.iter().any(|policy| policy == "compact")
    }

    /// Returns whether old segments are removed by age and size.
    pub fn deletes(&self) -> bool {
        self.cleanup_policy.iter().any(|policy| policy == "delete")
    }
}

/// Checks one topic property and returns its value as it will be kept, or why it cannot be.
pub fn check_topic_property(name: &str, value: &str) -> Result<String, String> {
    let property =
        TopicProperty::named(name).ok_or_else(|| format!("topics have no property `{name}`"))?;
    property
        .kind
        .check(value)
        .and_then(|value| check_further(name, &value).map(|()| value))
        .map_err(|reason| format!("{name} cannot be `{value}`: {reason}"))
}

/// Checks what a type and a range do not tell.
fn check_further(name: &str, value: &str) -> Result<(), String> {
    let is_replica = |item: &str| {
        item.split_once(':').is_some_and(|(partition, broker)| {
            partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
        })
    };
    let reason = match name {
        "compression.gzip.level" if value == "0" => "it must be -1 or 1 to 9",
        "follower.replication.throttled.replicas" | "leader.replication.throttled.replicas"
            if value != "*" && !split_list(value).all(is_replica) =>
        {
            "it must be * or a list of PARTITION:BROKER"
        }
        "remote.storage.enable" if value == "true" => "tiered storage is not served here",
        _ => return Ok(()),
    };
    Err(reason.to_owned())
}

/// Returns the value in force of a topic property.
pub fn effective(name: &str, own: &BTreeMap<String, String>, broker: &Settings) -> String {
    if let Some(value) = own.get(name) {
        return value.clone();
    }
    let property = TopicProperty::named(name).expect("only names in the table are asked for");
    for (synonym, factor) in property.synonyms {
        if let Some(value) = broker.explicit(synonym) {
            return converted(value, *factor);
        }
    }
    property.default.to_owned()
}

/// Converts a broker property's value to the topic's unit; -1 means "for ever" in any unit.
fn converted(value: &str, factor: i64) -> String {
    match (factor, value.parse::<i64>()) {
        (1, _) | (_, Err(_)) => value.to_owned(),
        (_, Ok(number)) if number < 0 => "-1".to_owned(),
        (_, Ok(number)) => number.saturating_mul(factor).to_string(),
    }
}

/// Returns a list property's items after `change` has added or removed some.
pub fn list_with(current: &str, items: &str, add: bool) -> String {
    let mut list: Vec<&str> = split_list(current).collect();
    for item in split_list(items) {
        match (add, list.iter().position(|present| *present == item)) {
            (true, None) => list.push(item),
            (false, Some(at)) => drop(list.remove(at)),
            _ => {}
        }
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_defaults_pass_their_checks() {
        assert!(TOPIC_PROPERTIES.is_sorted_by(|a, b| a.name < b.name));
        for property in TOPIC_PROPERTIES {
            assert!(property.kind.check(property.default).is_ok(), "{}", property.name);
        }
    }

    #[test]
    fn what_kafka_refuses_beyond_type_and_range_is_refused() {
        for (name, good, bad) in [
            ("compression.gzip.level", "-1", "0"),
            ("follower.replication.throttled.replicas", "0:1,1:1", "0"),
            ("leader.replication.throttled.replicas", "*", "none"),
            ("remote.storage.enable", "false", "true"),
            ("cleanup.policy", "", "delete,"),
        ] {
            assert!(check_topic_property(name, good).is_ok(), "{name}");
            assert!(check_topic_property(name, bad).is_err(), "{name}");
        }
        assert!(check_topic_property("retention.bytes", "-2").is_ok());
    }

    #[test]
    fn a_topic_falls_back_to_the_broker_and_then_to_the_default() {
        let mut broker = Settings::default();
        let none = BTreeMap::new();
        assert_eq!(TopicConfig::new(&none, &broker).retention_ms, 604_800_000);
        broker.set("log.retention.hours", "2").unwrap();
        assert_eq!(TopicConfig::new(&none, &broker).retention_ms, 2 * HOUR);
        broker.set("log.retention.minutes", "3").unwrap();
        assert_eq!(TopicConfig::new(&none, &broker).retention_ms, 3 * MINUTE);
        let own = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
        assert_eq!(TopicConfig::new(&own, &broker).retention_ms, -1);
    }

    #[test]
    fn lists_are_appended_to_and_subtracted_from_without_doubles() {
        assert_eq!(list_with("delete", "compact,delete", true), "delete,compact");
        assert_eq!(list_with("delete,compact", "compact", false), "delete");
        assert_eq!(list_with("delete", "compact", false), "delete");
    }
}
