//! DescribeTopicPartitions (key 75): the partitions of topics, page by page (KIP-966).

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Asks for the partitions of topics, from a cursor on.
    pub struct DescribeTopicPartitionsRequest: DescribeTopicPartitions [0..=0, flexible 0..] {
        /// Each topic concerned.
        topics: Vec<TopicRequest> [0..],
        /// How many partitions a page may have.
        response_partition_limit: i32 [0..] = 2000,
        /// Where to go on, or null to begin at the start.
        cursor: Option<DescribeTopicPartitionsRequestCursor> [0.., nullable 0..],
    }

    /// A topic of interest.
    pub struct TopicRequest {
        /// The topic's name.
        name: String [0..],
    }

    /// Where the page begins.
    pub struct DescribeTopicPartitionsRequestCursor {
        /// The topic's name.
        topic_name: String [0..],
        /// The partition, counted from 0.
        partition_index: i32 [0..],
    }
}

message! {
    /// One page of topics and partitions.
    pub struct DescribeTopicPartitionsResponse: DescribeTopicPartitions [0..=0, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// Each topic concerned.
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0..],
        /// Where the next page begins, or null if this is the last.
        next_cursor: Option<DescribeTopicPartitionsResponseCursor> [0.., nullable 0..],
    }

    /// A topic and those of its partitions that fit on the page.
    pub struct DescribeTopicPartitionsResponseTopic {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The topic's name.
        name: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [0..],
        /// Whether Kafka itself uses the topic.
        is_internal: bool [0..],
        /// Each partition concerned.
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0..],
        /// What the caller may do with the topic, one bit per operation; i32::MIN if it was not
        /// asked for.
        topic_authorized_operations: i32 [0..] = i32::MIN,
    }

    /// A partition: its leader and its replicas.
    pub struct DescribeTopicPartitionsResponsePartition {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// The id of the leader, or -1 if there is none.
        leader_id: i32 [0..],
        /// The epoch of the partition's leader, or -1.
        leader_epoch: i32 [0..] = -1,
        /// All replicas, preferred leader first.
        replica_nodes: Vec<i32> [0..],
        /// The replicas in sync.
        isr_nodes: Vec<i32> [0..],
        /// Replicas out of sync that may still become leader (KIP-966), or null.
        eligible_leader_replicas: Option<Vec<i32>> [0.., nullable 0..],
        /// The eligible replicas before an unclean shutdown, or null.
        last_known_elr: Option<Vec<i32>> [0.., nullable 0..],
        /// The replicas that cannot be reached.
        offline_replicas: Vec<i32> [0..],
    }

    /// Where the next page begins.
    pub struct DescribeTopicPartitionsResponseCursor {
        /// The topic's name.
        topic_name: String [0..],
        /// The partition, counted from 0.
        partition_index: i32 [0..],
    }
}
