//! AddOffsetsToTxn (key 25): a producer is about to commit a group's offsets in its transaction
//! (KIP-98).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Tells the transaction coordinator which group's offsets the transaction will commit.
    pub struct AddOffsetsToTxnRequest: AddOffsetsToTxn [0..=4, flexible 3..] {
        /// The name under which the producer runs transactions.
        transactional_id: String [0..],
        /// The producer's id, or -1.
        producer_id: i64 [0..],
        /// The producer's epoch, or -1.
        producer_epoch: i16 [0..],
        /// The group.
        group_id: String [0..],
    }
}

message! {
    /// Says whether the group was added to the transaction.
    pub struct AddOffsetsToTxnResponse: AddOffsetsToTxn [0..=4, flexible 3..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
    }
}
