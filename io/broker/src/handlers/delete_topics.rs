//! DeleteTopics (key 20), versions 1–6.
//!
//! * 5 adds an error message; 6 takes topic ids as well as names.

use crate::cluster::decide::ApiError;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicState};
use kohort_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use kohort_protocol::{ErrorCode, Uuid};
use std::collections::HashSet;
use std::sync::Arc;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: DeleteTopicsRequest) -> Answer {
    let node = Arc::clone(node);
    let by_name = |name| DeleteTopicState { name: Some(name), topic_id: Uuid::ZERO };
    let wanted: Vec<DeleteTopicState> = if context.version >= 6 {
        request.topics
    } else {
        request.topic_names.into_iter().map(by_name).collect()
    };
    context.answer_later(async move {
        let mut seen = HashSet::new();
        let mut responses = Vec::with_capacity(wanted.len());
        let mut ids = Vec::new();
        let mut places = Vec::new();
        for topic in wanted {
            let mut response = DeletableTopicResult {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                ..DeletableTopicResult::default()
            };
            match find(&node, &topic) {
                Ok((name, id)) if seen.insert(id) => {
                    // By id, the name is told only with the result.
                    response.name = Some(name);
                    response.topic_id = id;
                    ids.push(id);
                    places.push(responses.len());
                }
                Ok(_) => fail(&mut response, ErrorCode::INVALID_REQUEST.into()),
                Err(error) => fail(&mut response, error.into()),
            }
            responses.push(response);
        }
        for (place, result) in places.into_iter().zip(node.controller.delete(ids).await) {
            if let Err(error) = result {
                fail(&mut responses[place], error);
            }
        }
        DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
    })
}

fn find(node: &Node, wanted: &DeleteTopicState) -> Result<(String, Uuid), ErrorCode> {
    let topic = match &wanted.name {
        Some(_) if !wanted.topic_id.is_zero() => return Err(ErrorCode::INVALID_REQUEST),
        Some(name) => node.topic(name, Uuid::ZERO)?,
        None if wanted.topic_id.is_zero() => return Err(ErrorCode::INVALID_REQUEST),
        None => node.topic("", wanted.topic_id)?,
    };
    Ok((topic.name.to_string(), topic.id))
}

fn fail(response: &mut DeletableTopicResult, error: ApiError) {
    response.error_code = error.code;
    response.error_message = error.message;
}
