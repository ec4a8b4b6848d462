//! OffsetDelete (key 47), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct OffsetDeleteRequest: OffsetDelete [0..=0] {
        group_id: String [0..],
        topics: Vec<OffsetDeleteRequestTopic> [0..],
    }

    pub struct OffsetDeleteRequestTopic {
        name: String [0..],
        partitions: Vec<OffsetDeleteRequestPartition> [0..],
    }

    pub struct OffsetDeleteRequestPartition {
        partition_index: i32 [0..],
    }
}

message! {
    pub struct OffsetDeleteResponse: OffsetDelete [0..=0] {
        error_code: ErrorCode [0..],
        throttle_time_ms: i32 [0..],
        topics: Vec<OffsetDeleteResponseTopic> [0..],
    }

    pub struct OffsetDeleteResponseTopic {
        name: String [0..],
        partitions: Vec<OffsetDeleteResponsePartition> [0..],
    }

    pub struct OffsetDeleteResponsePartition {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
