//! Produce (key 0), request and response.

use bytes::Bytes;

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    pub struct ProduceRequest: Produce [3..=13, flexible 9..] {
        transactional_id: Option<String> [3.., nullable 3..],
        acks: i16 [3..],
        timeout_ms: i32 [3..],
        topic_data: Vec<TopicProduceData> [3..],
    }

    pub struct TopicProduceData {
        name: String [3..=12],
        topic_id: Uuid [13..],
        partition_data: Vec<PartitionProduceData> [3..],
    }

    pub struct PartitionProduceData {
        index: i32 [3..],
        records: Option<Bytes> [3.., nullable 3..] = Some(Bytes::new()),
    }
}

message! {
    pub struct ProduceResponse: Produce [3..=13, flexible 9..] {
        responses: Vec<TopicProduceResponse> [3..],
        throttle_time_ms: i32 [3..],
        node_endpoints: Vec<NodeEndpoint> [10.., tag 0],
    }

    pub struct TopicProduceResponse {
        name: String [3..=12],
        topic_id: Uuid [13..],
        partition_responses: Vec<PartitionProduceResponse> [3..],
    }

    pub struct PartitionProduceResponse {
        index: i32 [3..],
        error_code: ErrorCode [3..],
        base_offset: i64 [3..],
        log_append_time_ms: i64 [3..] = -1,
        log_start_offset: i64 [5..] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [8..],
        error_message: Option<String> [8.., nullable 8..],
        current_leader: LeaderIdAndEpoch [10.., tag 0],
    }

    pub struct BatchIndexAndErrorMessage {
        batch_index: i32 [8..],
        batch_index_error_message: Option<String> [8.., nullable 8..],
    }

    pub struct LeaderIdAndEpoch {
        leader_id: i32 [10..] = -1,
        leader_epoch: i32 [10..] = -1,
    }

    pub struct NodeEndpoint {
        node_id: i32 [10..],
        host: String [10..],
        port: i32 [10..],
        rack: Option<String> [10.., nullable 10..],
    }
}
