//! DeleteTopics (key 20): topics are removed, by name or from version 6 by id (KIP-516).

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Removes topics.
    pub struct DeleteTopicsRequest: DeleteTopics [1..=6, flexible 4..] {
        /// The topics to remove, from version 6.
        topics: Vec<DeleteTopicState> [6..],
        /// The topics to remove, up to version 5.
        topic_names: Vec<String> [1..=5],
        /// How many milliseconds the broker may take.
        timeout_ms: i32 [1..],
    }

    /// A topic to remove, by name or by id.
    pub struct DeleteTopicState {
        /// The topic's name, or null if it is removed by id.
        name: Option<String> [6.., nullable 6..],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [6..],
    }
}

message! {
    /// Says for each topic whether it was removed.
    pub struct DeleteTopicsResponse: DeleteTopics [1..=6, flexible 4..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// The outcome for each.
        responses: Vec<DeletableTopicResult> [1..],
    }

    /// The outcome for one topic.
    pub struct DeletableTopicResult {
        /// The topic's name, or null if it was removed by an unknown id.
        name: Option<String> [1.., nullable 6..] = Some(String::new()),
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [6..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// What went wrong in words, or null.
        error_message: Option<String> [5.., nullable 5..],
    }
}
