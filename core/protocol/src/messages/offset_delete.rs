//! OffsetDelete (key 47): stored positions of a group are removed (KIP-496).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Removes positions of a group.
    pub struct OffsetDeleteRequest: OffsetDelete [0..=0] {
        /// The group.
        group_id: String [0..],
        /// Each topic concerned.
        topics: Vec<OffsetDeleteRequestTopic> [0..],
    }

    /// A topic to remove positions of.
    pub struct OffsetDeleteRequestTopic {
        /// The topic's name.
        name: String [0..],
        /// Each partition concerned.
        partitions: Vec<OffsetDeleteRequestPartition> [0..],
    }

    /// A partition to remove the position of.
    pub struct OffsetDeleteRequestPartition {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
    }
}

message! {
    /// Says for each partition whether the position was removed.
    pub struct OffsetDeleteResponse: OffsetDelete [0..=0] {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// Each topic concerned.
        topics: Vec<OffsetDeleteResponseTopic> [0..],
    }

    /// The outcome for one topic.
    pub struct OffsetDeleteResponseTopic {
        /// The topic's name.
        name: String [0..],
        /// Each partition concerned.
        partitions: Vec<OffsetDeleteResponsePartition> [0..],
    }

    /// The outcome for one partition.
    pub struct OffsetDeleteResponsePartition {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
    }
}
