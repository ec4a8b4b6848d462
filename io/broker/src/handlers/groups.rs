//! The group coordinator's APIs: JoinGroup 0–9, SyncGroup 0–5, Heartbeat 0–4, LeaveGroup 0–5,
//! OffsetCommit 2–10, OffsetFetch 1–10, OffsetDelete 0, DescribeGroups 0–6, ListGroups 0–5,
//! DeleteGroups 0–2, ConsumerGroupHeartbeat 0–1 and ConsumerGroupDescribe 0–1 (keys 11, 14, 12, 13, 8,
//! 9, 47, 15, 16, 42, 68, 69).
//!
//! What the versions mean is in `core/coordinator`. Here requests go to the shards of their groups,
//! and the answers of several shards become one.

use crate::groups::Answers;
use crate::node::Node;
use crate::request::{Answer, Context, Response, ShardAnswer};
use kohort_coordinator::{GroupRequest, GroupResponse, RequestContext, merge};
use kohort_protocol::ApiKey;
use kohort_protocol::messages::{
    ConsumerGroupDescribeResponse, DeleteGroupsResponse, DescribeGroupsResponse,
    ListGroupsResponse, OffsetFetchResponse,
};
use std::sync::Arc;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: impl Into<GroupRequest>,
) -> Answer {
    let request = request.into();
    let caller = RequestContext {
        api_version: context.version,
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: context.client_host(),
        connection: context.caller.connection,
    };
    let listing = matches!(request, GroupRequest::ListGroups(_));
    let topic = node.groups.topic();
    if !listing && topic.is_none() {
        let node = Arc::clone(node);
        return Answer::Blocked(Box::pin(async move {
            let topic = crate::groups::offsets_topic(&node.config());
            let error = node.groups.ensure_topic(&node.controller, topic).await;
            if !error.is_ok() {
                let refusal = request.refuse(context.version, error);
                return context.encode_of_shard(Some(&refusal));
            }
            let answers = node.groups.send_all(&context.caller, caller, request).await;
            finish(&context, answers).await
        }));
    }
    match node.groups.try_send_all(topic.as_deref(), &context.caller, caller, request) {
        Ok(Answers::Now(response)) => Answer::Ready(context.encode_of_shard(Some(&response))),
        Ok(Answers::One(answer)) => Answer::OfShard(ShardAnswer { answer, context }),
        Ok(answers) => Answer::Later(Box::pin(async move { finish(&context, answers).await })),
        Err(unsent) => {
            let node = Arc::clone(node);
            Answer::Blocked(Box::pin(async move {
                let answers = node.groups.send_rest(unsent).await;
                finish(&context, answers).await
            }))
        }
    }
}

async fn finish(context: &Context, answers: Answers) -> Response {
    let answers = match answers {
        Answers::Now(response) => return context.encode_of_shard(Some(&response)),
        Answers::One(answer) => vec![answer],
        Answers::Several(answers) => answers,
    };
    let mut responses = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer.await {
            Some(response) => responses.push(response),
            None => return context.encode_of_shard(None),
        }
    }
    let whole = merge(responses).unwrap_or_else(|| empty(context.api_key));
    context.encode_of_shard(Some(&whole))
}

/// The answer to a request that concerns no shard.
fn empty(key: ApiKey) -> GroupResponse {
    match key {
        ApiKey::DescribeGroups => DescribeGroupsResponse::default().into(),
        ApiKey::DeleteGroups => DeleteGroupsResponse::default().into(),
        ApiKey::ConsumerGroupDescribe => ConsumerGroupDescribeResponse::default().into(),
        ApiKey::OffsetFetch => OffsetFetchResponse::default().into(),
        _ => ListGroupsResponse::default().into(),
    }
}
