//! ListOffsets (key 2), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct ListOffsetsRequest: ListOffsets [1..=11, flexible 6..] {
        replica_id: i32 [1..],
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic> [1..],
        timeout_ms: i32 [10..],
    }

    pub struct ListOffsetsTopic {
        name: String [1..],
        partitions: Vec<ListOffsetsPartition> [1..],
    }

    pub struct ListOffsetsPartition {
        partition_index: i32 [1..],
        current_leader_epoch: i32 [4..] = -1,
        timestamp: i64 [1..],
    }
}

message! {
    pub struct ListOffsetsResponse: ListOffsets [1..=11, flexible 6..] {
        throttle_time_ms: i32 [2..],
        topics: Vec<ListOffsetsTopicResponse> [1..],
    }

    pub struct ListOffsetsTopicResponse {
        name: String [1..],
        partitions: Vec<ListOffsetsPartitionResponse> [1..],
    }

    pub struct ListOffsetsPartitionResponse {
        partition_index: i32 [1..],
        error_code: ErrorCode [1..],
        timestamp: i64 [1..] = -1,
        offset: i64 [1..] = -1,
        leader_epoch: i32 [4..] = -1,
    }
}
