//! ElectLeaders (key 43): lets the preferred or any replica lead (KIP-183, KIP-460).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for elections.
    pub struct ElectLeadersRequest: ElectLeaders [0..=2, flexible 2..] {
        /// Who is to lead: 0 the preferred replica, 1 any if none is in sync.
        election_type: i8 [1..],
        /// The partitions concerned, or null for all.
        topic_partitions: Option<Vec<TopicPartitions>> [0.., nullable 0..] = Some(Vec::new()),
        /// How long the answer may take, in milliseconds.
        timeout_ms: i32 [0..] = 60_000,
    }

    /// A topic and the partitions concerned.
    pub struct TopicPartitions {
        /// The topic's name.
        topic: String [0..],
        /// Which partitions, counted from 0.
        partitions: Vec<i32> [0..],
    }
}

message! {
    /// Says how the elections went.
    pub struct ElectLeadersResponse: ElectLeaders [0..=2, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// Each topic concerned.
        replica_election_results: Vec<ReplicaElectionResult> [0..],
    }

    /// The outcome for one topic.
    pub struct ReplicaElectionResult {
        /// The topic's name.
        topic: String [0..],
        /// The outcome for each partition.
        partition_result: Vec<PartitionResult> [0..],
    }

    /// The outcome for one partition.
    pub struct PartitionResult {
        /// The partition, counted from 0.
        partition_id: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}
