//! DeleteTopics (key 20), versions 1–6.
//!
//! * 5 adds an error message; 6 takes topic ids as well as names.

use crate::cluster::api_error::ApiError;
use crate::cluster::topics::Topic;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicState};
use kohort_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use kohort_protocol::{ErrorCode, Uuid};
use std::collections::HashMap;
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
        let (mut responses, chosen) = choose(&node, wanted);
        let ids = chosen.iter().map(|(id, _)| *id).collect();
        for ((_, place), result) in chosen.iter().zip(node.controller.delete(ids).await) {
            if let Err(error) = result {
                fail(&mut responses[*place], error);
            }
        }
        DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
    })
}

/// Returns one response for each topic named, and which topics are to go, with the places of their
/// responses. What is named more than once, also by name and by id, stays.
fn choose(
    node: &Node,
    wanted: Vec<DeleteTopicState>,
) -> (Vec<DeletableTopicResult>, Vec<(Uuid, usize)>) {
    let mut responses: Vec<DeletableTopicResult> = Vec::with_capacity(wanted.len());
    let mut named = HashMap::new();
    let mut found = HashMap::new();
    for DeleteTopicState { name, topic_id } in wanted {
        let given = DeletableTopicResult {
            name: name.clone(),
            topic_id,
            ..DeletableTopicResult::default()
        };
        let nameless = name.is_none() && topic_id.is_zero();
        if let Some(place) = named.insert((name.clone(), topic_id), responses.len())
            // Who names nothing twice has not named one thing twice.
            && !nameless
        {
            named.insert((name, topic_id), place);
            responses[place] = given;
            fail(&mut responses[place], named_twice());
            continue;
        }
        let mut response = given;
        match find(node, name.as_deref(), topic_id) {
            Ok(topic) => {
                // By id, the name is told only with the result.
                response.name = Some(topic.name.to_string());
                response.topic_id = topic.id;
                if let Some(place) = found.get(&topic.id) {
                    fail(&mut responses[*place], named_twice());
                    named.insert((name, topic_id), *place);
                    continue;
                }
                found.insert(topic.id, responses.len());
            }
            Err(error) => fail(&mut response, error),
        }
        responses.push(response);
    }
    let chosen = found.into_iter().filter(|(_, place)| responses[*place].error_code.is_ok());
    let chosen = chosen.collect();
    (responses, chosen)
}

fn named_twice() -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, "The request names the topic more than once.")
}

fn find(node: &Node, name: Option<&str>, id: Uuid) -> Result<Arc<Topic>, ApiError> {
    let invalid = |message| ApiError::new(ErrorCode::INVALID_REQUEST, message);
    let found = match name {
        Some(_) if !id.is_zero() => {
            return Err(invalid("A topic is named by its name or by its id, not by both."));
        }
        None if id.is_zero() => {
            return Err(invalid("Neither a topic's name nor its id is given."));
        }
        Some(name) => node.topic(name, Uuid::ZERO),
        None => node.topic("", id),
    };
    found.map_err(|code| ApiError::new(code, "There is no such topic."))
}

fn fail(response: &mut DeletableTopicResult, error: ApiError) {
    response.error_code = error.code;
    response.error_message = error.message;
}
