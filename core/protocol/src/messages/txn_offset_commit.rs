//! TxnOffsetCommit (key 28), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct TxnOffsetCommitRequest: TxnOffsetCommit [0..=5, flexible 3..] {
        transactional_id: String [0..],
        group_id: String [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        generation_id: i32 [3..] = -1,
        member_id: String [3..],
        group_instance_id: Option<String> [3.., nullable 3..],
        topics: Vec<TxnOffsetCommitRequestTopic> [0..],
    }

    pub struct TxnOffsetCommitRequestTopic {
        name: String [0..],
        partitions: Vec<TxnOffsetCommitRequestPartition> [0..],
    }

    pub struct TxnOffsetCommitRequestPartition {
        partition_index: i32 [0..],
        committed_offset: i64 [0..],
        committed_leader_epoch: i32 [2..] = -1,
        committed_metadata: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}

message! {
    pub struct TxnOffsetCommitResponse: TxnOffsetCommit [0..=5, flexible 3..] {
        throttle_time_ms: i32 [0..],
        topics: Vec<TxnOffsetCommitResponseTopic> [0..],
    }

    pub struct TxnOffsetCommitResponseTopic {
        name: String [0..],
        partitions: Vec<TxnOffsetCommitResponsePartition> [0..],
    }

    pub struct TxnOffsetCommitResponsePartition {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
