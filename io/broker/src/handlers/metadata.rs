//! Metadata (key 3), versions 0–13: brokers, topics and partitions.
//!
//! * 0 asks for all topics with an empty list, later versions with null; 1 adds the controller and
//!   racks; 2 the cluster id; 4 the auto-creation flag; 5 offline replicas; 7 leader epochs; 8
//!   authorized operations; 10 topic ids in the response; 12 in the request; 13 a top-level error.
//! * A topic that does not exist is created when the client and `auto.create.topics.enable` allow
//!   it, with the broker's defaults. It is answered as created: its leader is known at once.

use super::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS};
use crate::cluster::decide::NewTopic;
use crate::cluster::topic_name::check_topic_name;
use crate::cluster::topics::{Topic, is_internal};
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::metadata::{
    MetadataRequestTopic, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kohort_protocol::messages::{MetadataRequest, MetadataResponse};
use kohort_protocol::{ErrorCode, Uuid};
use std::collections::HashSet;
use std::sync::Arc;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: MetadataRequest) -> Answer {
    let wanted = match request.topics {
        Some(topics) if !topics.is_empty() || context.version >= 1 => Some(topics),
        _ => None,
    };
    let missing =
        missing_topics(node, &context, wanted.as_deref(), request.allow_auto_topic_creation);
    let options = Options {
        topic_operations: request.include_topic_authorized_operations,
        cluster_operations: request.include_cluster_authorized_operations,
    };
    if missing.is_empty() {
        return context.answer(&respond(node, &context, wanted, &options));
    }
    let node = Arc::clone(node);
    let described = context.clone();
    context.answer_later(async move {
        // Whether it worked shows in the response: the topic is there, or it is not.
        let _ = node.controller.create(missing, false).await;
        respond(&node, &described, wanted, &options)
    })
}

struct Options {
    topic_operations: bool,
    cluster_operations: bool,
}

/// Returns the topics to create before answering.
fn missing_topics(
    node: &Node,
    context: &Context,
    wanted: Option<&[MetadataRequestTopic]>,
    allowed: bool,
) -> Vec<NewTopic> {
    let allowed = (allowed || context.version < 4) && node.config().auto_create_topics_enable;
    let names = wanted.into_iter().flatten().filter(|topic| topic.topic_id.is_zero());
    let mut missing: Vec<NewTopic> = names
        .filter_map(|topic| topic.name.as_deref())
        .filter(|name| allowed && check_topic_name(name).is_ok())
        .filter(|name| node.metadata.topics.named(name).is_none())
        .map(|name| new_topic(node, name))
        .collect();
    missing.sort_by(|a, b| a.name.cmp(&b.name));
    missing.dedup_by(|a, b| a.name == b.name);
    missing
}

/// A topic as auto-creation makes it; the broker's own topics have properties of their own.
fn new_topic(node: &Node, name: &str) -> NewTopic {
    if name == crate::cluster::topics::OFFSETS_TOPIC {
        return crate::groups::offsets_topic(&node.config());
    }
    NewTopic::with_defaults(name)
}

fn respond(
    node: &Node,
    context: &Context,
    wanted: Option<Vec<MetadataRequestTopic>>,
    options: &Options,
) -> MetadataResponse {
    let topics = match wanted {
        None => {
            node.metadata.topics.all().iter().map(|topic| describe(node, topic, options)).collect()
        }
        Some(wanted) => {
            let mut seen = HashSet::new();
            wanted
                .into_iter()
                .filter(|topic| seen.insert((topic.topic_id, topic.name.clone())))
                .map(|topic| answer_one(node, context, topic, options))
                .collect()
        }
    };
    let endpoint = node.endpoint(context);
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: endpoint.node_id,
            host: endpoint.host,
            port: endpoint.port,
            rack: endpoint.rack,
        }],
        cluster_id: Some(node.cluster_id.clone()),
        controller_id: node.id,
        topics,
        cluster_authorized_operations: if options.cluster_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..MetadataResponse::default()
    }
}

fn answer_one(
    node: &Node,
    context: &Context,
    wanted: MetadataRequestTopic,
    options: &Options,
) -> MetadataResponseTopic {
    let MetadataRequestTopic { topic_id, name } = wanted;
    if context.version < 12 && (name.is_none() || !topic_id.is_zero()) {
        return failed(name.or_else(|| Some(String::new())), topic_id, ErrorCode::INVALID_REQUEST);
    }
    if !topic_id.is_zero() {
        return match node.metadata.topics.with_id(topic_id) {
            Some(topic) => describe(node, &topic, options),
            None => failed(None, topic_id, ErrorCode::UNKNOWN_TOPIC_ID),
        };
    }
    let name = name.unwrap_or_default();
    match node.metadata.topics.named(&name) {
        Some(topic) => describe(node, &topic, options),
        None if check_topic_name(&name).is_err() => {
            failed(Some(name), Uuid::ZERO, ErrorCode::INVALID_TOPIC_EXCEPTION)
        }
        None => failed(Some(name), Uuid::ZERO, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }
}

fn failed(name: Option<String>, topic_id: Uuid, error_code: ErrorCode) -> MetadataResponseTopic {
    let is_internal = name.as_deref().is_some_and(is_internal);
    MetadataResponseTopic {
        error_code,
        name,
        topic_id,
        is_internal,
        ..MetadataResponseTopic::default()
    }
}

fn describe(node: &Node, topic: &Topic, options: &Options) -> MetadataResponseTopic {
    let partition = |partition: &Arc<crate::partition::Partition>| MetadataResponsePartition {
        partition_index: partition.index,
        leader_id: node.id,
        leader_epoch: partition.log.leader_epoch(),
        replica_nodes: vec![node.id],
        isr_nodes: vec![node.id],
        ..MetadataResponsePartition::default()
    };
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: topic.partitions.iter().map(partition).collect(),
        topic_authorized_operations: if options.topic_operations {
            TOPIC_OPERATIONS
        } else {
            i32::MIN
        },
        ..MetadataResponseTopic::default()
    }
}
