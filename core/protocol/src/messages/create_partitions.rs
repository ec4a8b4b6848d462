//! CreatePartitions (key 37), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct CreatePartitionsRequest: CreatePartitions [0..=3, flexible 2..] {
        topics: Vec<CreatePartitionsTopic> [0..],
        timeout_ms: i32 [0..],
        validate_only: bool [0..],
    }

    pub struct CreatePartitionsTopic {
        name: String [0..],
        count: i32 [0..],
        assignments: Option<Vec<CreatePartitionsAssignment>> [0.., nullable 0..] = Some(Vec::new()),
    }

    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..],
    }
}

message! {
    pub struct CreatePartitionsResponse: CreatePartitions [0..=3, flexible 2..] {
        throttle_time_ms: i32 [0..],
        results: Vec<CreatePartitionsTopicResult> [0..],
    }

    pub struct CreatePartitionsTopicResult {
        name: String [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..],
    }
}
