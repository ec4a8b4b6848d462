//! OffsetCommit (key 8), request and response.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    pub struct OffsetCommitRequest: OffsetCommit [2..=10, flexible 8..] {
        group_id: String [2..],
        generation_id_or_member_epoch: i32 [2..] = -1,
        member_id: String [2..],
        group_instance_id: Option<String> [7.., nullable 7..],
        retention_time_ms: i64 [2..=4] = -1,
        topics: Vec<OffsetCommitRequestTopic> [2..],
    }

    pub struct OffsetCommitRequestTopic {
        name: String [2..=9],
        topic_id: Uuid [10..],
        partitions: Vec<OffsetCommitRequestPartition> [2..],
    }

    pub struct OffsetCommitRequestPartition {
        partition_index: i32 [2..],
        committed_offset: i64 [2..],
        committed_leader_epoch: i32 [6..] = -1,
        committed_metadata: Option<String> [2.., nullable 2..] = Some(String::new()),
    }
}

message! {
    pub struct OffsetCommitResponse: OffsetCommit [2..=10, flexible 8..] {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetCommitResponseTopic> [2..],
    }

    pub struct OffsetCommitResponseTopic {
        name: String [2..=9],
        topic_id: Uuid [10..],
        partitions: Vec<OffsetCommitResponsePartition> [2..],
    }

    pub struct OffsetCommitResponsePartition {
        partition_index: i32 [2..],
        error_code: ErrorCode [2..],
    }
}
