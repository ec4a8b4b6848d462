//! CreatePartitions (key 37), versions 0–3: gives topics more partitions.
//!
//! * 2 is flexible; 3 adds a quota's error, and there are no quotas here.

use crate::cluster::command::Growth;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::create_partitions::CreatePartitionsTopicResult;
use kohort_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use std::collections::HashSet;
use std::sync::Arc;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: CreatePartitionsRequest,
) -> Answer {
    let node = Arc::clone(node);
    context.answer_later(async move {
        let mut seen = HashSet::new();
        let (wanted, repeated): (Vec<_>, Vec<_>) =
            request.topics.into_iter().partition(|topic| seen.insert(topic.name.clone()));
        let repeated: HashSet<String> = repeated.into_iter().map(|topic| topic.name).collect();
        let wanted: Vec<_> =
            wanted.into_iter().filter(|topic| !repeated.contains(&topic.name)).collect();
        let growths = wanted.iter().map(|topic| {
            let assignments = topic.assignments.as_ref();
            Growth {
                topic: topic.name.clone(),
                count: topic.count,
                assignments: assignments
                    .map(|all| all.iter().map(|one| one.broker_ids.clone()).collect()),
            }
        });
        let grown = node.controller.grow(growths.collect(), request.validate_only).await;
        let mut results: Vec<CreatePartitionsTopicResult> = wanted
            .into_iter()
            .zip(grown)
            .map(|(topic, grown)| {
                let (error_code, error_message) = match grown {
                    Ok(()) => (ErrorCode::NONE, None),
                    Err(error) => (error.code, error.message),
                };
                CreatePartitionsTopicResult { name: topic.name, error_code, error_message }
            })
            .collect();
        results.extend(repeated.into_iter().map(|name| CreatePartitionsTopicResult {
            name,
            error_code: ErrorCode::INVALID_REQUEST,
            error_message: Some("The request names the topic more than once.".to_owned()),
        }));
        CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
    })
}
