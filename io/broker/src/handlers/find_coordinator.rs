//! FindCoordinator (key 10), versions 0–6: which broker coordinates a group. It is this one.
//!
//! * 1 adds key types and the throttle time; 4 asks for several keys at once; 5 and 6 change the
//!   meaning of errors of other APIs (transactions, share groups).
//! * The first request creates `__consumer_offsets`, as in Kafka.
//! * Transactions are not served: their keys are refused with UNSUPPORTED_VERSION, as Java's administrator
//!   names what a broker lacks, and in words, which producers report instead of trying for ever. librdkafka
//!   does not: it asks again twice a second until it is told that it may not. It knows versions up to 2, so
//!   below 4, where Java's clients have been since 3.0, it is TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
//! * Share groups are not served either: INVALID_REQUEST, as by a Kafka without them.

use crate::cluster::topics::OFFSETS_TOPIC;
use crate::groups::offsets_topic;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::find_coordinator::Coordinator;
use kohort_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use std::sync::Arc;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: FindCoordinatorRequest,
) -> Answer {
    if request.key_type != GROUP || node.metadata.topics.named(OFFSETS_TOPIC).is_some() {
        return context.answer(&respond(node, &context, request, ErrorCode::NONE));
    }
    let node = Arc::clone(node);
    let asked = context.clone();
    context.answer_later(async move {
        let error = node.groups.ensure_topic(&node.controller, offsets_topic(&node.config())).await;
        respond(&node, &asked, request, error)
    })
}

fn respond(
    node: &Node,
    context: &Context,
    request: FindCoordinatorRequest,
    error: ErrorCode,
) -> FindCoordinatorResponse {
    let endpoint = node.endpoint(context);
    let (error_code, error_message) = match request.key_type {
        GROUP => (error, None),
        TRANSACTION => (
            refusal_of_transactions(context.version),
            Some("transactions are not served".to_owned()),
        ),
        kind => (
            ErrorCode::INVALID_REQUEST,
            Some(format!("coordinators of type {kind} are not served by this broker")),
        ),
    };
    let found = |key: String| {
        let mut coordinator = Coordinator {
            key,
            node_id: -1,
            host: String::new(),
            port: -1,
            error_code,
            error_message: error_message.clone(),
        };
        if error_code.is_ok() {
            coordinator.node_id = endpoint.node_id;
            coordinator.host.clone_from(&endpoint.host);
            coordinator.port = endpoint.port;
        }
        coordinator
    };
    if context.version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(found).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let one = found(request.key);
    FindCoordinatorResponse {
        error_code: one.error_code,
        error_message: one.error_message,
        node_id: one.node_id,
        host: one.host,
        port: one.port,
        ..FindCoordinatorResponse::default()
    }
}

fn refusal_of_transactions(version: i16) -> ErrorCode {
    match version {
        ..4 => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        4.. => ErrorCode::UNSUPPORTED_VERSION,
    }
}
