//! The topic settings that change what a partition log does.

use kohort_protocol::compression::Compression;
use kohort_protocol::records::TimestampType;

/// Settings of one partition's log, with Kafka's names and defaults. They may change at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionConfig {
    /// `max.message.bytes`: the largest batch accepted.
    pub max_message_bytes: usize,
    /// `segment.bytes`: a segment is closed before it would grow past this.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is closed when its records span more time than this.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to how much earlier than that a segment is closed.
    pub segment_jitter_ms: i64,
    /// `index.interval.bytes`: how far apart index entries are.
    pub index_interval_bytes: u32,
    /// Whether `cleanup.policy` contains `delete`, so that the two retention limits count. Unlike in
    /// Kafka this is false unless somebody says so: nothing is deleted by mistake.
    pub deletes: bool,
    /// `retention.ms`: how long records are kept; -1 is for ever.
    pub retention_ms: i64,
    /// `retention.bytes`: how many bytes are kept; -1 is all.
    pub retention_bytes: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far behind the broker's clock a record may be.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead of the broker's clock a record may be.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`: the codec batches are stored with; `None` keeps the producer's.
    pub compression: Option<Compression>,
    /// `compression.{gzip,lz4,zstd}.level`: that of the codec in `compression`; `None` is its default.
    pub compression_level: Option<i32>,
    /// Whether `cleanup.policy` contains `compact`, so that every record needs a key.
    pub compacted: bool,
    /// `min.cleanable.dirty.ratio`: the share of the log that must be dirty to be worth a round.
    pub min_cleanable_dirty_ratio: f64,
    /// `delete.retention.ms`: how long a tombstone stays after what it deletes is gone.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: how long a record stays out of compaction's reach.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: how long a record may wait for compaction.
    pub max_compaction_lag_ms: i64,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        PartitionConfig {
            max_message_bytes: 1_048_588,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            deletes: false,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            retention_bytes: -1,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 60 * 60 * 1000,
            compression: None,
            compression_level: None,
            compacted: false,
            min_cleanable_dirty_ratio: 0.5,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
        }
    }
}
