//! EndTxn (key 26): a transaction is committed or aborted (KIP-98, KIP-890).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Ends a transaction.
    pub struct EndTxnRequest: EndTxn [0..=5, flexible 3..] {
        /// The name under which the producer runs transactions.
        transactional_id: String [0..],
        /// The producer's id, or -1.
        producer_id: i64 [0..],
        /// The producer's epoch, or -1.
        producer_epoch: i16 [0..],
        /// Whether the transaction is committed; if not, it is aborted.
        committed: bool [0..],
    }
}

message! {
    /// Says whether the transaction's end was accepted.
    pub struct EndTxnResponse: EndTxn [0..=5, flexible 3..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The producer's id, or -1.
        producer_id: i64 [5..] = -1,
        /// The producer's epoch, or -1.
        producer_epoch: i16 [5..] = -1,
    }
}
