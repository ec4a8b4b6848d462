//! AddOffsetsToTxn (key 25), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct AddOffsetsToTxnRequest: AddOffsetsToTxn [0..=4, flexible 3..] {
        transactional_id: String [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        group_id: String [0..],
    }
}

message! {
    pub struct AddOffsetsToTxnResponse: AddOffsetsToTxn [0..=4, flexible 3..] {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
