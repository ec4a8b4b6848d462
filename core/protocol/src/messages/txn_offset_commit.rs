//! TxnOffsetCommit (key 28): positions that take effect with a transaction (KIP-98, KIP-447).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Stores positions of a group that count once the transaction commits.
    pub struct TxnOffsetCommitRequest: TxnOffsetCommit [0..=5, flexible 3..] {
        /// The name under which the producer runs transactions.
        transactional_id: String [0..],
        /// The group.
        group_id: String [0..],
        /// The producer's id, or -1.
        producer_id: i64 [0..],
        /// The producer's epoch, or -1.
        producer_epoch: i16 [0..],
        /// The generation the member believes to be current.
        generation_id: i32 [3..] = -1,
        /// The member's id.
        member_id: String [3..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [3.., nullable 3..],
        /// The topics and positions.
        topics: Vec<TxnOffsetCommitRequestTopic> [0..],
    }

    /// A topic to store positions of.
    pub struct TxnOffsetCommitRequestTopic {
        /// The topic's name.
        name: String [0..],
        /// Each partition concerned.
        partitions: Vec<TxnOffsetCommitRequestPartition> [0..],
    }

    /// A partition and the position to store.
    pub struct TxnOffsetCommitRequestPartition {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// The position: the offset of the next record to consume.
        committed_offset: i64 [0..],
        /// The leader epoch of the last record consumed, or -1.
        committed_leader_epoch: i32 [2..] = -1,
        /// What the client wants to remember with the position.
        committed_metadata: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}

message! {
    /// Says for each partition whether the position was stored.
    pub struct TxnOffsetCommitResponse: TxnOffsetCommit [0..=5, flexible 3..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// Each topic concerned.
        topics: Vec<TxnOffsetCommitResponseTopic> [0..],
    }

    /// The outcome for one topic.
    pub struct TxnOffsetCommitResponseTopic {
        /// The topic's name.
        name: String [0..],
        /// Each partition concerned.
        partitions: Vec<TxnOffsetCommitResponsePartition> [0..],
    }

    /// The outcome for one partition.
    pub struct TxnOffsetCommitResponsePartition {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
    }
}
