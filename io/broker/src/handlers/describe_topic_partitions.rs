//! DescribeTopicPartitions (key 75), version 0: topics with their partitions, page by page (KIP-966).
//!
//! Topics come in the order of their names; a response holds at most as many partitions as the client
//! and `max.request.partition.size.limit` allow, and a cursor to go on from.

use super::TOPIC_OPERATIONS;
use crate::cluster::topic_name::check_topic_name;
use crate::cluster::topics::Topic;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsResponseCursor, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use kohort_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: DescribeTopicPartitionsRequest,
) -> Answer {
    let limit =
        request.response_partition_limit.min(node.config().max_request_partition_size_limit);
    let all = request.topics.is_empty();
    if let Some(cursor) = &request.cursor
        && (cursor.partition_index < 0
            || !(all || request.topics.iter().any(|topic| topic.name == cursor.topic_name)))
    {
        return context.answer(&refused(request));
    }
    let names: BTreeSet<String> = if all {
        node.metadata.topics.all().iter().map(|topic| topic.name.to_string()).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name).collect()
    };
    let (first, mut from) = match request.cursor {
        Some(cursor) => (cursor.topic_name, cursor.partition_index),
        None => (String::new(), 0),
    };
    let mut room = limit.max(1);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.range(first.clone()..) {
        let start = if *name == first { std::mem::take(&mut from) } else { 0 };
        let cursor = |partition_index| {
            Some(DescribeTopicPartitionsResponseCursor {
                topic_name: name.clone(),
                partition_index,
            })
        };
        if room == 0 {
            response.next_cursor = cursor(start);
            break;
        }
        let Some(topic) = node.metadata.topics.named(name) else {
            if !all {
                response.topics.push(unknown(name));
            }
            continue;
        };
        let left = topic.partitions.len() as i32 - start;
        response.topics.push(describe(node, &topic, start, room));
        if left > room {
            response.next_cursor = cursor(start + room);
            break;
        }
        room -= left.max(0);
    }
    context.answer(&response)
}

/// Answers a cursor that no response can have held: each topic is told so.
fn refused(request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topic = |name| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        name: Some(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    let topics = request.topics.into_iter().map(|wanted| topic(wanted.name)).collect();
    DescribeTopicPartitionsResponse { topics, ..DescribeTopicPartitionsResponse::default() }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error_code = match check_topic_name(name) {
        Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(error) => error.code,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code,
        name: Some(name.to_owned()),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn describe(
    node: &Node,
    topic: &Topic,
    start: i32,
    room: i32,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = topic.partitions.iter().skip(start as usize).take(room as usize);
    DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions
            .map(|partition| DescribeTopicPartitionsResponsePartition {
                partition_index: partition.index,
                leader_id: node.id,
                leader_epoch: partition.log.leader_epoch(),
                replica_nodes: vec![node.id],
                isr_nodes: vec![node.id],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                ..DescribeTopicPartitionsResponsePartition::default()
            })
            .collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
