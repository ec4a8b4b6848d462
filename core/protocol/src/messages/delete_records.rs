//! DeleteRecords (key 21): the start of partitions is cut off (KIP-107).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Removes all records below an offset.
    pub struct DeleteRecordsRequest: DeleteRecords [0..=2, flexible 2..] {
        /// Each topic concerned.
        topics: Vec<DeleteRecordsTopic> [0..],
        /// How many milliseconds the broker may take.
        timeout_ms: i32 [0..],
    }

    /// A topic to remove records from.
    pub struct DeleteRecordsTopic {
        /// The topic's name.
        name: String [0..],
        /// Each partition concerned.
        partitions: Vec<DeleteRecordsPartition> [0..],
    }

    /// A partition and the offset to cut it at.
    pub struct DeleteRecordsPartition {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// The first offset to keep; -1 removes all that is safe to read.
        offset: i64 [0..],
    }
}

message! {
    /// Tells where each partition begins now.
    pub struct DeleteRecordsResponse: DeleteRecords [0..=2, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// Each topic concerned.
        topics: Vec<DeleteRecordsTopicResult> [0..],
    }

    /// The outcome for one topic.
    pub struct DeleteRecordsTopicResult {
        /// The topic's name.
        name: String [0..],
        /// Each partition concerned.
        partitions: Vec<DeleteRecordsPartitionResult> [0..],
    }

    /// The outcome for one partition.
    pub struct DeleteRecordsPartitionResult {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// The first offset the partition still has, or -1.
        low_watermark: i64 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
    }
}
