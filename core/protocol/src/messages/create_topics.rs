//! CreateTopics (key 19), request and response.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    pub struct CreateTopicsRequest: CreateTopics [2..=7, flexible 5..] {
        topics: Vec<CreatableTopic> [2..],
        timeout_ms: i32 [2..] = 60_000,
        validate_only: bool [2..],
    }

    pub struct CreatableTopic {
        name: String [2..],
        num_partitions: i32 [2..],
        replication_factor: i16 [2..],
        assignments: Vec<CreatableReplicaAssignment> [2..],
        configs: Vec<CreatableTopicConfig> [2..],
    }

    pub struct CreatableReplicaAssignment {
        partition_index: i32 [2..],
        broker_ids: Vec<i32> [2..],
    }

    pub struct CreatableTopicConfig {
        name: String [2..],
        value: Option<String> [2.., nullable 2..] = Some(String::new()),
    }
}

message! {
    pub struct CreateTopicsResponse: CreateTopics [2..=7, flexible 5..] {
        throttle_time_ms: i32 [2..],
        topics: Vec<CreatableTopicResult> [2..],
    }

    pub struct CreatableTopicResult {
        name: String [2..],
        topic_id: Uuid [7..],
        error_code: ErrorCode [2..],
        error_message: Option<String> [2.., nullable 2..] = Some(String::new()),
        topic_config_error_code: ErrorCode [5.., tag 0],
        num_partitions: i32 [5..] = -1,
        replication_factor: i16 [5..] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5.., nullable 5..] = Some(Vec::new()),
    }

    pub struct CreatableTopicConfigs {
        name: String [5..],
        value: Option<String> [5.., nullable 5..] = Some(String::new()),
        read_only: bool [5..],
        config_source: i8 [5..] = -1,
        is_sensitive: bool [5..],
    }
}
