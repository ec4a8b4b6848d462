//! DeleteTopics (key 20), request and response.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    pub struct DeleteTopicsRequest: DeleteTopics [1..=6, flexible 4..] {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<String> [1..=5],
        timeout_ms: i32 [1..],
    }

    pub struct DeleteTopicState {
        name: Option<String> [6.., nullable 6..],
        topic_id: Uuid [6..],
    }
}

message! {
    pub struct DeleteTopicsResponse: DeleteTopics [1..=6, flexible 4..] {
        throttle_time_ms: i32 [1..],
        responses: Vec<DeletableTopicResult> [1..],
    }

    pub struct DeletableTopicResult {
        name: Option<String> [1.., nullable 6..] = Some(String::new()),
        topic_id: Uuid [6..],
        error_code: ErrorCode [1..],
        error_message: Option<String> [5.., nullable 5..],
    }
}
