//! DescribeTopicPartitions (key 75), request and response.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    pub struct DescribeTopicPartitionsRequest: DescribeTopicPartitions [0..=0, flexible 0..] {
        topics: Vec<TopicRequest> [0..],
        response_partition_limit: i32 [0..] = 2000,
        cursor: Option<DescribeTopicPartitionsRequestCursor> [0.., nullable 0..],
    }

    pub struct TopicRequest {
        name: String [0..],
    }

    pub struct DescribeTopicPartitionsRequestCursor {
        topic_name: String [0..],
        partition_index: i32 [0..],
    }
}

message! {
    pub struct DescribeTopicPartitionsResponse: DescribeTopicPartitions [0..=0, flexible 0..] {
        throttle_time_ms: i32 [0..],
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0..],
        next_cursor: Option<DescribeTopicPartitionsResponseCursor> [0.., nullable 0..],
    }

    pub struct DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode [0..],
        name: Option<String> [0.., nullable 0..] = Some(String::new()),
        topic_id: Uuid [0..],
        is_internal: bool [0..],
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0..],
        topic_authorized_operations: i32 [0..] = i32::MIN,
    }

    pub struct DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode [0..],
        partition_index: i32 [0..],
        leader_id: i32 [0..],
        leader_epoch: i32 [0..] = -1,
        replica_nodes: Vec<i32> [0..],
        isr_nodes: Vec<i32> [0..],
        eligible_leader_replicas: Option<Vec<i32>> [0.., nullable 0..],
        last_known_elr: Option<Vec<i32>> [0.., nullable 0..],
        offline_replicas: Vec<i32> [0..],
    }

    pub struct DescribeTopicPartitionsResponseCursor {
        topic_name: String [0..],
        partition_index: i32 [0..],
    }
}
