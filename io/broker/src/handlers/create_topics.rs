//! CreateTopics (key 19), versions 2–7.
//!
//! * 4 lets partitions and replication factor be left to the broker; 5 returns the configuration; 7
//!   the topic's id.
//! * One broker holds everything: replication factors other than 1 and -1 are refused, and so are
//!   assignments to other brokers.

use super::config_entries::topic_entries;
use crate::cluster::command::CreatedTopic;
use crate::cluster::decide::{ApiError, NewTopic};
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
};
use kohort_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: CreateTopicsRequest) -> Answer {
    let node = Arc::clone(node);
    context.answer_later(async move {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for topic in &request.topics {
            *counts.entry(topic.name.clone()).or_default() += 1;
        }
        let (repeated, wanted): (Vec<_>, Vec<_>) =
            request.topics.into_iter().partition(|topic| counts[&topic.name] > 1);
        let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
        let wanted = wanted.into_iter().map(new_topic).collect();
        let created = node.controller.create(wanted, request.validate_only).await;
        let mut topics: Vec<CreatableTopicResult> = names
            .into_iter()
            .zip(created)
            .map(|(name, created)| respond(&node, name, created))
            .collect();
        let mut repeated: Vec<String> = repeated.into_iter().map(|topic| topic.name).collect();
        repeated.sort_unstable();
        repeated.dedup();
        let refusal = || {
            ApiError::new(ErrorCode::INVALID_REQUEST, "The request names the topic more than once.")
        };
        topics.extend(repeated.into_iter().map(|name| respond(&node, name, Err(refusal()))));
        CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
    })
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.into_iter();
    NewTopic {
        name: topic.name,
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.map(|one| (one.partition_index, one.broker_ids)).collect(),
        configs: topic.configs.into_iter().map(|config| (config.name, config.value)).collect(),
    }
}

fn respond(
    node: &Node,
    name: String,
    created: Result<CreatedTopic, ApiError>,
) -> CreatableTopicResult {
    match created {
        Ok(created) => {
            let entries = topic_entries(&created.own_config, &node.config.settings());
            let configs = entries.into_iter().map(|entry| CreatableTopicConfigs {
                name: entry.name,
                value: entry.value,
                read_only: false,
                config_source: entry.source as i8,
                is_sensitive: false,
            });
            CreatableTopicResult {
                name,
                topic_id: created.id,
                error_message: None,
                num_partitions: created.partitions,
                replication_factor: 1,
                configs: Some(configs.collect()),
                ..CreatableTopicResult::default()
            }
        }
        Err(error) => CreatableTopicResult {
            name,
            error_code: error.code,
            error_message: error.message,
            ..CreatableTopicResult::default()
        },
    }
}
