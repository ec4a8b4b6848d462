//! CreatePartitions (key 37): topics get more partitions (KIP-195).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Raises the number of partitions of topics.
    pub struct CreatePartitionsRequest: CreatePartitions [0..=3, flexible 2..] {
        /// Each topic concerned.
        topics: Vec<CreatePartitionsTopic> [0..],
        /// How many milliseconds the broker may take.
        timeout_ms: i32 [0..],
        /// Whether to check without doing it.
        validate_only: bool [0..],
    }

    /// A topic and the number of partitions it shall have.
    pub struct CreatePartitionsTopic {
        /// The topic's name.
        name: String [0..],
        /// How many partitions the topic shall have in all.
        count: i32 [0..],
        /// Brokers for each new partition, or null to let the cluster choose.
        assignments: Option<Vec<CreatePartitionsAssignment>> [0.., nullable 0..] = Some(Vec::new()),
    }

    /// The brokers of one new partition.
    pub struct CreatePartitionsAssignment {
        /// The brokers that hold the partition, preferred leader first.
        broker_ids: Vec<i32> [0..],
    }
}

message! {
    /// Says for each topic whether it was enlarged.
    pub struct CreatePartitionsResponse: CreatePartitions [0..=3, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// The outcome for each.
        results: Vec<CreatePartitionsTopicResult> [0..],
    }

    /// The outcome for one topic.
    pub struct CreatePartitionsTopicResult {
        /// The topic's name.
        name: String [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..],
    }
}
