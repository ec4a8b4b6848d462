//! ListOffsets (key 2): offsets by time, and the ends of partitions (KIP-79).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks which offset belongs to a time.
    pub struct ListOffsetsRequest: ListOffsets [1..=11, flexible 6..] {
        /// The id of the replica that asks; -1 for consumers.
        replica_id: i32 [1..],
        /// 0 to read everything, 1 to read only what is committed.
        isolation_level: i8 [2..],
        /// Each topic concerned.
        topics: Vec<ListOffsetsTopic> [1..],
        /// How many milliseconds the broker may take.
        timeout_ms: i32 [10..],
    }

    /// A topic and the partitions to look into.
    pub struct ListOffsetsTopic {
        /// The topic's name.
        name: String [1..],
        /// Each partition concerned.
        partitions: Vec<ListOffsetsPartition> [1..],
    }

    /// A partition and the time to look for.
    pub struct ListOffsetsPartition {
        /// The partition, counted from 0.
        partition_index: i32 [1..],
        /// The leader epoch the client knows, or -1; a broker that knows another refuses.
        current_leader_epoch: i32 [4..] = -1,
        /// The time to look for, in Unix milliseconds; -1 the end, -2 the start, -3 the record of
        /// the highest time, -4, -5 and -6 the ends of tiered storage.
        timestamp: i64 [1..],
    }
}

message! {
    /// Brings the offsets.
    pub struct ListOffsetsResponse: ListOffsets [1..=11, flexible 6..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [2..],
        /// Each topic concerned.
        topics: Vec<ListOffsetsTopicResponse> [1..],
    }

    /// The answer for one topic.
    pub struct ListOffsetsTopicResponse {
        /// The topic's name.
        name: String [1..],
        /// Each partition concerned.
        partitions: Vec<ListOffsetsPartitionResponse> [1..],
    }

    /// The answer for one partition.
    pub struct ListOffsetsPartitionResponse {
        /// The partition, counted from 0.
        partition_index: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// The record's time, in Unix milliseconds, or -1.
        timestamp: i64 [1..] = -1,
        /// The offset found, or -1.
        offset: i64 [1..] = -1,
        /// The epoch of the partition's leader, or -1.
        leader_epoch: i32 [4..] = -1,
    }
}
