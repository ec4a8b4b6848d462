//! InitProducerId (key 22), versions 0–5: an id for an idempotent producer.
//!
//! * 2 is flexible; 3 lets a producer ask for its next epoch; 4 and 5 change errors of transactions.
//! * A producer without a transactional id always gets a new id with epoch 0, as in Kafka.
//! * Transactions are not served: a transactional id is refused with
//!   TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which clients report instead of trying for ever.

use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use std::sync::Arc;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: InitProducerIdRequest) -> Answer {
    let refused = |error_code| InitProducerIdResponse {
        error_code,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    };
    match request.transactional_id.as_deref() {
        Some("") => return context.answer(&refused(ErrorCode::INVALID_REQUEST)),
        Some(_) => {
            return context.answer(&refused(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
        }
        None => {}
    }
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return context.answer(&refused(ErrorCode::INVALID_REQUEST));
    }
    let node = Arc::clone(node);
    context.answer_later(async move {
        match node.producer_ids.next(&node.controller).await {
            Ok(producer_id) => {
                InitProducerIdResponse { producer_id, ..InitProducerIdResponse::default() }
            }
            Err(_) => refused(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        }
    })
}
