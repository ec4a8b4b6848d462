//! DescribeProducers (key 61): who writes to a partition (KIP-664).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the active idempotent producers of partitions.
    pub struct DescribeProducersRequest: DescribeProducers [0..=0, flexible 0..] {
        /// Each topic concerned.
        topics: Vec<TopicRequest> [0..],
    }

    /// A topic and the partitions of interest.
    pub struct TopicRequest {
        /// The topic's name.
        name: String [0..],
        /// Which partitions, counted from 0.
        partition_indexes: Vec<i32> [0..],
    }
}

message! {
    /// Lists the active producers of each partition.
    pub struct DescribeProducersResponse: DescribeProducers [0..=0, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// Each topic concerned.
        topics: Vec<TopicResponse> [0..],
    }

    /// The answer for one topic.
    pub struct TopicResponse {
        /// The topic's name.
        name: String [0..],
        /// Each partition concerned.
        partitions: Vec<PartitionResponse> [0..],
    }

    /// The answer for one partition.
    pub struct PartitionResponse {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..],
        /// The idempotent producers the partition remembers.
        active_producers: Vec<ProducerState> [0..],
    }

    /// A producer as the partition knows it.
    pub struct ProducerState {
        /// The producer's id, or -1.
        producer_id: i64 [0..],
        /// The producer's epoch, or -1.
        producer_epoch: i32 [0..],
        /// The sequence number of the producer's last record, or -1.
        last_sequence: i32 [0..] = -1,
        /// When the producer last wrote, in Unix milliseconds, or -1.
        last_timestamp: i64 [0..] = -1,
        /// The epoch of the transaction coordinator.
        coordinator_epoch: i32 [0..],
        /// Where the producer's open transaction begins, or -1.
        current_txn_start_offset: i64 [0..] = -1,
    }
}
