//! DescribeTransactions (key 65): the state of transactions (KIP-664).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the state of transactions.
    pub struct DescribeTransactionsRequest: DescribeTransactions [0..=0, flexible 0..] {
        /// The transactions of interest.
        transactional_ids: Vec<String> [0..],
    }
}

message! {
    /// Tells the state of each transaction asked for.
    pub struct DescribeTransactionsResponse: DescribeTransactions [0..=0, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// The transactions.
        transaction_states: Vec<TransactionState> [0..],
    }

    /// A transaction in full.
    pub struct TransactionState {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The name under which the producer runs transactions.
        transactional_id: String [0..],
        /// The transaction's state, such as `Ongoing`.
        transaction_state: String [0..],
        /// After how many milliseconds the coordinator aborts the transaction.
        transaction_timeout_ms: i32 [0..],
        /// When the transaction began, in Unix milliseconds, or -1.
        transaction_start_time_ms: i64 [0..],
        /// The producer's id, or -1.
        producer_id: i64 [0..],
        /// The producer's epoch, or -1.
        producer_epoch: i16 [0..],
        /// Each topic concerned.
        topics: Vec<TopicData> [0..],
    }

    /// A topic and the partitions of it in the transaction.
    pub struct TopicData {
        /// The topic's name.
        topic: String [0..],
        /// Each partition concerned.
        partitions: Vec<i32> [0..],
    }
}
