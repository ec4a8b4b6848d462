//! CreateTopics (key 19): topics are made (KIP-4; KIP-525 added the answer's details).

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Makes topics.
    pub struct CreateTopicsRequest: CreateTopics [2..=7, flexible 5..] {
        /// Each topic concerned.
        topics: Vec<CreatableTopic> [2..],
        /// How many milliseconds the broker may take.
        timeout_ms: i32 [2..] = 60_000,
        /// Whether to check without doing it.
        validate_only: bool [2..],
    }

    /// A topic to make.
    pub struct CreatableTopic {
        /// The topic's name.
        name: String [2..],
        /// How many partitions to make; -1 for the broker's default.
        num_partitions: i32 [2..],
        /// How many replicas each partition shall have; -1 for the broker's default.
        replication_factor: i16 [2..],
        /// Brokers for each partition, if the client chooses them; then both counts are -1.
        assignments: Vec<CreatableReplicaAssignment> [2..],
        /// The configuration keys and values.
        configs: Vec<CreatableTopicConfig> [2..],
    }

    /// The brokers of one partition, chosen by the client.
    pub struct CreatableReplicaAssignment {
        /// The partition, counted from 0.
        partition_index: i32 [2..],
        /// The brokers that hold the partition, preferred leader first.
        broker_ids: Vec<i32> [2..],
    }

    /// A configuration value of the new topic.
    pub struct CreatableTopicConfig {
        /// The key.
        name: String [2..],
        /// The value, or null.
        value: Option<String> [2.., nullable 2..] = Some(String::new()),
    }
}

message! {
    /// Says for each topic whether it was made, and how.
    pub struct CreateTopicsResponse: CreateTopics [2..=7, flexible 5..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [2..],
        /// Each topic concerned.
        topics: Vec<CreatableTopicResult> [2..],
    }

    /// The outcome for one topic.
    pub struct CreatableTopicResult {
        /// The topic's name.
        name: String [2..],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [7..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [2..],
        /// What went wrong in words, or null.
        error_message: Option<String> [2.., nullable 2..] = Some(String::new()),
        /// Why the configuration is missing from the answer, if it is.
        topic_config_error_code: ErrorCode [5.., tag 0],
        /// How many partitions the topic has, or -1.
        num_partitions: i32 [5..] = -1,
        /// How many replicas each partition has, or -1.
        replication_factor: i16 [5..] = -1,
        /// The configuration keys and values.
        configs: Option<Vec<CreatableTopicConfigs>> [5.., nullable 5..] = Some(Vec::new()),
    }

    /// A configuration value the topic has now.
    pub struct CreatableTopicConfigs {
        /// The key.
        name: String [5..],
        /// The value, or null.
        value: Option<String> [5.., nullable 5..] = Some(String::new()),
        /// Whether the value cannot be changed.
        read_only: bool [5..],
        /// Where the value comes from: 1 topic, 2 one broker, 3 all brokers, 4 static, 5 default, 6
        /// logger, 7 client metrics, 8 group.
        config_source: i8 [5..] = -1,
        /// Whether the value is secret and therefore null.
        is_sensitive: bool [5..],
    }
}
