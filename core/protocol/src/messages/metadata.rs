//! Metadata (key 3), request and response.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    pub struct MetadataRequest: Metadata [0..=13, flexible 9..] {
        topics: Option<Vec<MetadataRequestTopic>> [0.., nullable 1..] = Some(Vec::new()),
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }

    pub struct MetadataRequestTopic {
        topic_id: Uuid [10..],
        name: Option<String> [0.., nullable 10..] = Some(String::new()),
    }
}

message! {
    pub struct MetadataResponse: Metadata [0..=13, flexible 9..] {
        throttle_time_ms: i32 [3..],
        brokers: Vec<MetadataResponseBroker> [0..],
        cluster_id: Option<String> [2.., nullable 2..],
        controller_id: i32 [1..] = -1,
        topics: Vec<MetadataResponseTopic> [0..],
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        error_code: ErrorCode [13..],
    }

    pub struct MetadataResponseBroker {
        node_id: i32 [0..],
        host: String [0..],
        port: i32 [0..],
        rack: Option<String> [1.., nullable 1..],
    }

    pub struct MetadataResponseTopic {
        error_code: ErrorCode [0..],
        name: Option<String> [0.., nullable 12..] = Some(String::new()),
        topic_id: Uuid [10..],
        is_internal: bool [1..],
        partitions: Vec<MetadataResponsePartition> [0..],
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }

    pub struct MetadataResponsePartition {
        error_code: ErrorCode [0..],
        partition_index: i32 [0..],
        leader_id: i32 [0..],
        leader_epoch: i32 [7..] = -1,
        replica_nodes: Vec<i32> [0..],
        isr_nodes: Vec<i32> [0..],
        offline_replicas: Vec<i32> [5..],
    }
}
