//! AddPartitionsToTxn (key 24): partitions become part of a transaction (KIP-98, KIP-890).
//!
//! Up to version 3 a producer asks for itself; from version 4 a broker asks for several producers.

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Adds partitions to one transaction, or from version 4 to several.
    pub struct AddPartitionsToTxnRequest: AddPartitionsToTxn [0..=5, flexible 3..] {
        /// The transactions, from version 4.
        transactions: Vec<AddPartitionsToTxnTransaction> [4..],
        /// The transactional id, up to version 3.
        v3_and_below_transactional_id: String [0..=3],
        /// The producer's id, up to version 3.
        v3_and_below_producer_id: i64 [0..=3],
        /// The producer's epoch, up to version 3.
        v3_and_below_producer_epoch: i16 [0..=3],
        /// The partitions to add, up to version 3.
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [0..=3],
    }

    /// One transaction and the partitions it wants to write to.
    pub struct AddPartitionsToTxnTransaction {
        /// The name under which the producer runs transactions.
        transactional_id: String [4..],
        /// The producer's id, or -1.
        producer_id: i64 [4..],
        /// The producer's epoch, or -1.
        producer_epoch: i16 [4..],
        /// Whether to check that the partitions are in the transaction instead of adding them.
        verify_only: bool [4..],
        /// Each topic concerned.
        topics: Vec<AddPartitionsToTxnTopic> [4..],
    }

    /// A topic and the partitions of it to add.
    pub struct AddPartitionsToTxnTopic {
        /// The topic's name.
        name: String [0..],
        /// Each partition concerned.
        partitions: Vec<i32> [0..],
    }
}

message! {
    /// Says for each partition whether it was added.
    pub struct AddPartitionsToTxnResponse: AddPartitionsToTxn [0..=5, flexible 3..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [4..],
        /// The outcome for each transaction, from version 4.
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4..],
        /// The outcome for each topic, up to version 3.
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [0..=3],
    }

    /// The outcome for one transaction.
    pub struct AddPartitionsToTxnResult {
        /// The name under which the producer runs transactions.
        transactional_id: String [4..],
        /// The outcome for each topic.
        topic_results: Vec<AddPartitionsToTxnTopicResult> [4..],
    }

    /// The outcome for one topic.
    pub struct AddPartitionsToTxnTopicResult {
        /// The topic's name.
        name: String [0..],
        /// The outcome for each partition.
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> [0..],
    }

    /// The outcome for one partition.
    pub struct AddPartitionsToTxnPartitionResult {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// What went wrong with the partition, if anything did.
        partition_error_code: ErrorCode [0..],
    }
}
