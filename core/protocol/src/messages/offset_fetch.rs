//! OffsetFetch (key 9), request and response.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    pub struct OffsetFetchRequest: OffsetFetch [1..=10, flexible 6..] {
        group_id: String [1..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [1..=7, nullable 2..=7] = Some(Vec::new()),
        groups: Vec<OffsetFetchRequestGroup> [8..],
        require_stable: bool [7..],
    }

    pub struct OffsetFetchRequestTopic {
        name: String [1..=7],
        partition_indexes: Vec<i32> [1..=7],
    }

    pub struct OffsetFetchRequestGroup {
        group_id: String [8..],
        member_id: Option<String> [9.., nullable 9..],
        member_epoch: i32 [9..] = -1,
        topics: Option<Vec<OffsetFetchRequestTopics>> [8.., nullable 8..] = Some(Vec::new()),
    }

    pub struct OffsetFetchRequestTopics {
        name: String [8..=9],
        topic_id: Uuid [10..],
        partition_indexes: Vec<i32> [8..],
    }
}

message! {
    pub struct OffsetFetchResponse: OffsetFetch [1..=10, flexible 6..] {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetFetchResponseTopic> [1..=7],
        error_code: ErrorCode [2..=7],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    pub struct OffsetFetchResponseTopic {
        name: String [1..=7],
        partitions: Vec<OffsetFetchResponsePartition> [1..=7],
    }

    pub struct OffsetFetchResponsePartition {
        partition_index: i32 [1..=7],
        committed_offset: i64 [1..=7],
        committed_leader_epoch: i32 [5..=7] = -1,
        metadata: Option<String> [1..=7, nullable 1..=7] = Some(String::new()),
        error_code: ErrorCode [1..=7],
    }

    pub struct OffsetFetchResponseGroup {
        group_id: String [8..],
        topics: Vec<OffsetFetchResponseTopics> [8..],
        error_code: ErrorCode [8..],
    }

    pub struct OffsetFetchResponseTopics {
        name: String [8..=9],
        topic_id: Uuid [10..],
        partitions: Vec<OffsetFetchResponsePartitions> [8..],
    }

    pub struct OffsetFetchResponsePartitions {
        partition_index: i32 [8..],
        committed_offset: i64 [8..],
        committed_leader_epoch: i32 [8..] = -1,
        metadata: Option<String> [8.., nullable 8..] = Some(String::new()),
        error_code: ErrorCode [8..],
    }
}
