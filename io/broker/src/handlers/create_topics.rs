//! CreateTopics (key 19), versions 2–7.
//!
//! * 4 lets partitions and replication factor be left to the broker; 5 returns the configuration; 7
//!   the topic's id.
//! * One broker holds everything: replication factors other than 1 and -1 are refused, and so are
//!   assignments to other brokers.
//! * One request may add 10 000 partitions and 10 000 records of metadata; of one that wants more
//!   nothing is done, as in Kafka.

use super::config_entries::topic_entries;
use crate::cluster::api_error::ApiError;
use crate::cluster::command::CreatedTopic;
use crate::cluster::decide::NewTopic;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
};
use kohort_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::task::yield_now;

/// The version from which the answer tells each topic's configuration (KIP-525).
const CONFIGS_SINCE: i16 = 5;
/// How many topics are described before others have a turn on the same thread.
const TURN: usize = 64;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: CreateTopicsRequest) -> Answer {
    let (node, version) = (Arc::clone(node), context.version);
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
        let mut repeated: Vec<String> = repeated.into_iter().map(|topic| topic.name).collect();
        repeated.sort_unstable();
        repeated.dedup();
        let refusal = || {
            ApiError::new(ErrorCode::INVALID_REQUEST, "The request names the topic more than once.")
        };
        let created = names.into_iter().zip(created);
        let refused = repeated.into_iter().map(|name| (name, Err(refusal())));
        let mut describe = Describe { node: &node, configs: version >= CONFIGS_SINCE, last: None };
        let mut topics = Vec::new();
        for (name, created) in created.chain(refused) {
            if topics.len() % TURN == TURN - 1 {
                yield_now().await;
            }
            topics.push(describe.respond(name, created));
        }
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

/// Answers topic after topic.
struct Describe<'a> {
    node: &'a Node,
    configs: bool,
    /// Most topics of a request have the same properties.
    last: Option<(BTreeMap<String, String>, Vec<CreatableTopicConfigs>)>,
}

impl Describe<'_> {
    fn respond(
        &mut self,
        name: String,
        created: Result<CreatedTopic, ApiError>,
    ) -> CreatableTopicResult {
        match created {
            Ok(created) => CreatableTopicResult {
                name,
                topic_id: created.id,
                error_message: None,
                num_partitions: created.partitions,
                replication_factor: 1,
                configs: Some(self.configs_of(created.own_config)),
                ..CreatableTopicResult::default()
            },
            Err(error) => CreatableTopicResult {
                name,
                error_code: error.code,
                error_message: error.message,
                ..CreatableTopicResult::default()
            },
        }
    }

    fn configs_of(&mut self, own: BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
        if !self.configs {
            return Vec::new();
        }
        if let Some((last, configs)) = &self.last
            && *last == own
        {
            return configs.clone();
        }
        let entries = topic_entries(&own, &self.node.config.settings());
        let configs = entries.into_iter().map(|entry| CreatableTopicConfigs {
            name: entry.name,
            value: entry.value,
            read_only: false,
            config_source: entry.source as i8,
            is_sensitive: false,
        });
        self.last.insert((own, configs.collect())).1.clone()
    }
}
