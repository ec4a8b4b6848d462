//! InitProducerId (key 22): a producer gets its id and epoch (KIP-98, KIP-360).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for a producer id, or for a new epoch of one.
    pub struct InitProducerIdRequest: InitProducerId [0..=5, flexible 2..] {
        /// The transactional id, or null for a producer that is only idempotent.
        transactional_id: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// After how many milliseconds the coordinator aborts the transaction.
        transaction_timeout_ms: i32 [0..],
        /// The producer's id, or -1.
        producer_id: i64 [3..] = -1,
        /// The producer's epoch, or -1.
        producer_epoch: i16 [3..] = -1,
    }
}

message! {
    /// Brings the producer id and epoch.
    pub struct InitProducerIdResponse: InitProducerId [0..=5, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The producer's id, or -1.
        producer_id: i64 [0..] = -1,
        /// The producer's epoch, or -1.
        producer_epoch: i16 [0..],
    }
}
