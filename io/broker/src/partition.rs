//! One partition as the handlers see it: its log, its leader epoch, and who waits for it.

use crate::config::{BrokerConfig, TopicConfig};
use crate::partition_counters::PartitionCounters;
use crate::purgatory::Waiters;
use kohort_log::PartitionConfig;
use kohort_protocol::compression::Compression;
use kohort_protocol::records::TimestampType;
use kohort_protocol::{ErrorCode, Uuid};
use kohort_storage::{CleanerConfig, PartitionLog};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A partition led by this broker, as all are.
pub(crate) struct Partition {
    pub(crate) topic_id: Uuid,
    pub(crate) index: i32,
    pub(crate) log: Arc<PartitionLog>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) counters: PartitionCounters,
}

impl Partition {
    /// Takes the partition into service.
    pub(crate) fn new(topic_id: Uuid, index: i32, log: Arc<PartitionLog>) -> Self {
        let waiters = Arc::new(Waiters::default());
        let woken = Arc::clone(&waiters);
        log.on_advance(Arc::new(move |_| woken.wake()));
        Self { topic_id, index, log, waiters, counters: PartitionCounters::default() }
    }

    /// Checks the leader epoch a client believes in; -1 believes in none.
    pub(crate) fn check_epoch(&self, current: i32) -> Result<(), ErrorCode> {
        let own = self.log.leader_epoch();
        if current == -1 || current == own {
            Ok(())
        } else if current < own {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else {
            Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
        }
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition")
            .field("topic_id", &self.topic_id)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Returns what the broker's configuration means for the cleaner.
pub(crate) fn cleaner_config(config: &BrokerConfig) -> CleanerConfig {
    CleanerConfig {
        enabled: config.log_cleaner_enable,
        backoff: Duration::from_millis(config.log_cleaner_backoff_ms.unsigned_abs()),
        dedupe_buffer_bytes: usize::try_from(config.log_cleaner_dedupe_buffer_size).unwrap_or(0),
        io_bytes_per_second: config.log_cleaner_io_max_bytes_per_second,
    }
}

/// Returns what a topic's configuration means for its logs.
pub(crate) fn log_config(topic: &TopicConfig) -> PartitionConfig {
    PartitionConfig {
        max_message_bytes: topic.max_message_bytes as usize,
        segment_bytes: topic.segment_bytes as u32,
        segment_ms: if topic.compacts() {
            // What waits for compaction must leave the active segment in time.
            topic.segment_ms.min(topic.max_compaction_lag_ms)
        } else {
            topic.segment_ms
        },
        segment_jitter_ms: topic.segment_jitter_ms,
        index_interval_bytes: topic.index_interval_bytes as u32,
        deletes: topic.deletes(),
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        timestamp_type: match topic.message_timestamp_type.as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
        timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
        compression: match topic.compression_type.as_str() {
            "uncompressed" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            "lz4" => Some(Compression::Lz4),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        },
        compression_level: match topic.compression_type.as_str() {
            "gzip" => Some(topic.compression_gzip_level),
            "lz4" => Some(topic.compression_lz4_level),
            "zstd" => Some(topic.compression_zstd_level),
            _ => None,
        },
        compacted: topic.compacts(),
        min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
        delete_retention_ms: topic.delete_retention_ms,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
    }
}
