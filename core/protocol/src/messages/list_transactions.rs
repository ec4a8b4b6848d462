//! ListTransactions (key 66): the transactions a broker coordinates (KIP-664).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for transactions that pass all filters.
    pub struct ListTransactionsRequest: ListTransactions [0..=2, flexible 0..] {
        /// Only transactions in these states; empty for all.
        state_filters: Vec<String> [0..],
        /// Only transactions of these producers; empty for all.
        producer_id_filters: Vec<i64> [0..],
        /// Only transactions open for longer than this many milliseconds; -1 for all.
        duration_filter: i64 [1..] = -1,
        /// A pattern the transactional ids must match, or null for all (KIP-1152).
        transactional_id_pattern: Option<String> [2.., nullable 2..],
    }
}

message! {
    /// Lists transactions.
    pub struct ListTransactionsResponse: ListTransactions [0..=2, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The states asked for that do not exist.
        unknown_state_filters: Vec<String> [0..],
        /// The transactions.
        transaction_states: Vec<TransactionState> [0..],
    }

    /// A transaction in brief.
    pub struct TransactionState {
        /// The name under which the producer runs transactions.
        transactional_id: String [0..],
        /// The producer's id, or -1.
        producer_id: i64 [0..],
        /// The transaction's state, such as `Ongoing`.
        transaction_state: String [0..],
    }
}
