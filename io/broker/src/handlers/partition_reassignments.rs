//! AlterPartitionReassignments (key 45), versions 0–1, and ListPartitionReassignments (key 46),
//! version 0: moves of partitions between brokers (KIP-455).
//!
//! * 45/1 may forbid another number of replicas.
//! * There is one broker: a partition can be assigned to where it is, no move is ever under way.

use crate::cluster::api_error::ApiError;
use crate::cluster::decide::check_assignment;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::alter_partition_reassignments::{
    ReassignablePartition, ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kohort_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use kohort_protocol::{ErrorCode, Uuid};
use std::sync::Arc;

pub(crate) fn alter(
    node: &Arc<Node>,
    context: Context,
    request: AlterPartitionReassignmentsRequest,
) -> Answer {
    let responses = request.topics.into_iter().map(|topic| {
        let answer = |wanted: &ReassignablePartition| {
            let outcome = reassign(node, &topic.name, wanted);
            let response = ReassignablePartitionResponse {
                partition_index: wanted.partition_index,
                error_message: None,
                ..ReassignablePartitionResponse::default()
            };
            match outcome {
                Ok(()) => response,
                Err(ApiError { code: error_code, message: error_message }) => {
                    ReassignablePartitionResponse { error_code, error_message, ..response }
                }
            }
        };
        let partitions = topic.partitions.iter().map(answer).collect();
        ReassignableTopicResponse { name: topic.name, partitions }
    });
    context.answer(&AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: None,
        responses: responses.collect(),
        ..AlterPartitionReassignmentsResponse::default()
    })
}

fn reassign(node: &Node, name: &str, wanted: &ReassignablePartition) -> Result<(), ApiError> {
    let unknown = |what: String| ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, what);
    let index = wanted.partition_index;
    let topic = node.topic(name, Uuid::ZERO);
    let topic = topic.map_err(|_| unknown(format!("there is no topic `{name}`")))?;
    if topic.partition(index).is_none() {
        return Err(unknown(format!("there is no partition {name}-{index}")));
    }
    match &wanted.replicas {
        Some(replicas) => check_assignment(node.id, replicas),
        None => Err(ApiError::new(
            ErrorCode::NO_REASSIGNMENT_IN_PROGRESS,
            "no reassignment is under way",
        )),
    }
}

pub(crate) fn list(
    _: &Arc<Node>,
    context: Context,
    _: ListPartitionReassignmentsRequest,
) -> Answer {
    context.answer(&ListPartitionReassignmentsResponse {
        error_message: None,
        ..ListPartitionReassignmentsResponse::default()
    })
}
