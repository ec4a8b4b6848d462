//! AlterPartitionReassignments (key 45): moves partitions to other brokers (KIP-455).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Starts and cancels moves of partitions.
    pub struct AlterPartitionReassignmentsRequest: AlterPartitionReassignments [0..=1, flexible 0..] {
        /// How long the answer may take, in milliseconds.
        timeout_ms: i32 [0..] = 60_000,
        /// Whether a partition may get another number of replicas than it has (KIP-860).
        allow_replication_factor_change: bool [1..] = true,
        /// Each topic concerned.
        topics: Vec<ReassignableTopic> [0..],
    }

    /// A topic whose partitions are to be moved.
    pub struct ReassignableTopic {
        /// The topic's name.
        name: String [0..],
        /// The partitions.
        partitions: Vec<ReassignablePartition> [0..],
    }

    /// A partition and where it is to be.
    pub struct ReassignablePartition {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// The brokers that are to hold it, or null to cancel a move that is under way.
        replicas: Option<Vec<i32>> [0.., nullable 0..],
    }
}

message! {
    /// Says for each partition whether its move began.
    pub struct AlterPartitionReassignmentsResponse: AlterPartitionReassignments [0..=1, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What the request said of the number of replicas.
        allow_replication_factor_change: bool [1..] = true,
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// Each topic concerned.
        responses: Vec<ReassignableTopicResponse> [0..],
    }

    /// The outcome for one topic.
    pub struct ReassignableTopicResponse {
        /// The topic's name.
        name: String [0..],
        /// The outcome for each partition.
        partitions: Vec<ReassignablePartitionResponse> [0..],
    }

    /// The outcome for one partition.
    pub struct ReassignablePartitionResponse {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}
