//! ConsumerGroupHeartbeat (key 68), request and response.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    pub struct ConsumerGroupHeartbeatRequest: ConsumerGroupHeartbeat [0..=1, flexible 0..] {
        group_id: String [0..],
        member_id: String [0..],
        member_epoch: i32 [0..],
        instance_id: Option<String> [0.., nullable 0..],
        rack_id: Option<String> [0.., nullable 0..],
        rebalance_timeout_ms: i32 [0..] = -1,
        subscribed_topic_names: Option<Vec<String>> [0.., nullable 0..],
        subscribed_topic_regex: Option<String> [1.., nullable 1..],
        server_assignor: Option<String> [0.., nullable 0..],
        topic_partitions: Option<Vec<ConsumerGroupHeartbeatRequestTopicPartitions>> [0.., nullable 0..],
    }

    pub struct ConsumerGroupHeartbeatRequestTopicPartitions {
        topic_id: Uuid [0..],
        partitions: Vec<i32> [0..],
    }
}

message! {
    pub struct ConsumerGroupHeartbeatResponse: ConsumerGroupHeartbeat [0..=1, flexible 0..] {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..],
        member_id: Option<String> [0.., nullable 0..],
        member_epoch: i32 [0..],
        heartbeat_interval_ms: i32 [0..],
        assignment: Option<Assignment> [0.., nullable 0..],
    }

    pub struct Assignment {
        topic_partitions: Vec<ConsumerGroupHeartbeatResponseTopicPartitions> [0..],
    }

    pub struct ConsumerGroupHeartbeatResponseTopicPartitions {
        topic_id: Uuid [0..],
        partitions: Vec<i32> [0..],
    }
}
