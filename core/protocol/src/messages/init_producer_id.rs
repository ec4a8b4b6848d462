//! InitProducerId (key 22), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct InitProducerIdRequest: InitProducerId [0..=5, flexible 2..] {
        transactional_id: Option<String> [0.., nullable 0..] = Some(String::new()),
        transaction_timeout_ms: i32 [0..],
        producer_id: i64 [3..] = -1,
        producer_epoch: i16 [3..] = -1,
    }
}

message! {
    pub struct InitProducerIdResponse: InitProducerId [0..=5, flexible 2..] {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        producer_id: i64 [0..] = -1,
        producer_epoch: i16 [0..],
    }
}
