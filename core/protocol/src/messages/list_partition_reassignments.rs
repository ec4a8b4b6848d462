//! ListPartitionReassignments (key 46): partitions on their way to other brokers (KIP-455).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks which partitions are being moved.
    pub struct ListPartitionReassignmentsRequest: ListPartitionReassignments [0..=0, flexible 0..] {
        /// How long the answer may take, in milliseconds.
        timeout_ms: i32 [0..] = 60_000,
        /// The topics of interest, or null for all.
        topics: Option<Vec<ListPartitionReassignmentsTopics>> [0.., nullable 0..],
    }

    /// A topic and the partitions of interest.
    pub struct ListPartitionReassignmentsTopics {
        /// The topic's name.
        name: String [0..],
        /// Which partitions, counted from 0.
        partition_indexes: Vec<i32> [0..],
    }
}

message! {
    /// Lists the partitions being moved.
    pub struct ListPartitionReassignmentsResponse: ListPartitionReassignments [0..=0, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The topics with partitions on their way.
        topics: Vec<OngoingTopicReassignment> [0..],
    }

    /// A topic with partitions on their way.
    pub struct OngoingTopicReassignment {
        /// The topic's name.
        name: String [0..],
        /// The partitions on their way.
        partitions: Vec<OngoingPartitionReassignment> [0..],
    }

    /// A partition on its way.
    pub struct OngoingPartitionReassignment {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// The brokers that hold it now.
        replicas: Vec<i32> [0..],
        /// Those it is being brought to.
        adding_replicas: Vec<i32> [0..],
        /// Those it is being taken from.
        removing_replicas: Vec<i32> [0..],
    }
}
