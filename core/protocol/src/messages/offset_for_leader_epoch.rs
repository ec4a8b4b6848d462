//! OffsetForLeaderEpoch (key 23), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct OffsetForLeaderEpochRequest: OffsetForLeaderEpoch [2..=4, flexible 4..] {
        replica_id: i32 [3..] = -2,
        topics: Vec<OffsetForLeaderTopic> [2..],
    }

    pub struct OffsetForLeaderTopic {
        topic: String [2..],
        partitions: Vec<OffsetForLeaderPartition> [2..],
    }

    pub struct OffsetForLeaderPartition {
        partition: i32 [2..],
        current_leader_epoch: i32 [2..] = -1,
        leader_epoch: i32 [2..],
    }
}

message! {
    pub struct OffsetForLeaderEpochResponse: OffsetForLeaderEpoch [2..=4, flexible 4..] {
        throttle_time_ms: i32 [2..],
        topics: Vec<OffsetForLeaderTopicResult> [2..],
    }

    pub struct OffsetForLeaderTopicResult {
        topic: String [2..],
        partitions: Vec<EpochEndOffset> [2..],
    }

    pub struct EpochEndOffset {
        error_code: ErrorCode [2..],
        partition: i32 [2..],
        leader_epoch: i32 [2..] = -1,
        end_offset: i64 [2..] = -1,
    }
}
