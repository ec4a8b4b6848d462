//! Produce (key 0): records are written.
//!
//! Kafka advertises version 0 too and refuses 0 to 2; those formats are not declared here. Version
//! 12 adds partitions to transactions by the way (KIP-890); 13 has topic ids.

use bytes::Bytes;

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Writes records.
    pub struct ProduceRequest: Produce [3..=13, flexible 9..] {
        /// The transactional id, or null outside transactions.
        transactional_id: Option<String> [3.., nullable 3..],
        /// Who must have the records before the answer: 0 nobody (and no answer), 1 the leader, -1
        /// all in-sync replicas.
        acks: i16 [3..],
        /// How many milliseconds the broker may take.
        timeout_ms: i32 [3..],
        /// The topics and their records.
        topic_data: Vec<TopicProduceData> [3..],
    }

    /// A topic to write to.
    pub struct TopicProduceData {
        /// The topic's name.
        name: String [3..=12],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [13..],
        /// The partitions and their records.
        partition_data: Vec<PartitionProduceData> [3..],
    }

    /// A partition and the records for it.
    pub struct PartitionProduceData {
        /// The partition, counted from 0.
        index: i32 [3..],
        /// Whole record batches, one after the other, or null.
        records: Option<Bytes> [3.., nullable 3..] = Some(Bytes::new()),
    }
}

message! {
    /// Tells the offsets the records got.
    pub struct ProduceResponse: Produce [3..=13, flexible 9..] {
        /// The outcome for each topic.
        responses: Vec<TopicProduceResponse> [3..],
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [3..],
        /// Where the leaders named in the answer can be reached (KIP-951).
        node_endpoints: Vec<NodeEndpoint> [10.., tag 0],
    }

    /// The outcome for one topic.
    pub struct TopicProduceResponse {
        /// The topic's name.
        name: String [3..=12],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [13..],
        /// The outcome for each partition.
        partition_responses: Vec<PartitionProduceResponse> [3..],
    }

    /// The outcome for one partition.
    pub struct PartitionProduceResponse {
        /// The partition, counted from 0.
        index: i32 [3..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [3..],
        /// The offset of the first record written.
        base_offset: i64 [3..],
        /// When the records were appended, in Unix milliseconds, if the topic counts that; else -1.
        log_append_time_ms: i64 [3..] = -1,
        /// The first offset the partition still has, or -1.
        log_start_offset: i64 [5..] = -1,
        /// The records at fault, if the broker can name them.
        record_errors: Vec<BatchIndexAndErrorMessage> [8..],
        /// What went wrong in words, or null.
        error_message: Option<String> [8.., nullable 8..],
        /// Who leads the partition now, if the reader is wrong about it (KIP-951).
        current_leader: LeaderIdAndEpoch [10.., tag 0],
    }

    /// A record that made its batch fail (KIP-467).
    pub struct BatchIndexAndErrorMessage {
        /// The record's place in the batch.
        batch_index: i32 [8..],
        /// What was wrong with the record, or null.
        batch_index_error_message: Option<String> [8.., nullable 8..],
    }

    /// Who leads the partition now.
    pub struct LeaderIdAndEpoch {
        /// The id of the leader, or -1 if there is none.
        leader_id: i32 [10..] = -1,
        /// The epoch of the partition's leader, or -1.
        leader_epoch: i32 [10..] = -1,
    }

    /// Where a leader named in the answer can be reached (KIP-951).
    pub struct NodeEndpoint {
        /// The node's id.
        node_id: i32 [10..],
        /// The host name to connect to.
        host: String [10..],
        /// The port to connect to.
        port: i32 [10..],
        /// The rack the node stands in, or null.
        rack: Option<String> [10.., nullable 10..],
    }
}
