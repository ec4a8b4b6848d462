//! ElectLeaders (key 43), versions 0–2: who is to lead a partition (KIP-460).
//!
//! * 1 adds elections of any replica; 2 is flexible.
//! * This broker leads every partition, so no election is ever needed.

use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::elect_leaders::{PartitionResult, ReplicaElectionResult};
use kohort_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use kohort_protocol::{ErrorCode, Uuid};
use std::sync::Arc;

const UNCLEAN: i8 = 1;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: ElectLeadersRequest) -> Answer {
    // Of no partitions nothing is wrong, as in Kafka.
    let none = request.topic_partitions.as_ref().is_some_and(Vec::is_empty);
    if !none && !(0..=UNCLEAN).contains(&request.election_type) {
        return context.answer(&refused(request));
    }
    // Of all partitions, those that need no election are not listed.
    let all =
        || node.metadata.topics.all().into_iter().map(|topic| (topic.name.to_string(), vec![]));
    let wanted: Vec<(String, Vec<i32>)> = match request.topic_partitions {
        Some(topics) => topics.into_iter().map(|topic| (topic.topic, topic.partitions)).collect(),
        None => all().collect(),
    };
    let results = wanted.into_iter().map(|(topic, partitions)| {
        let partition_result = partitions.iter().map(|index| elect(node, &topic, *index)).collect();
        ReplicaElectionResult { topic, partition_result }
    });
    let replica_election_results = results.collect();
    context.answer(&ElectLeadersResponse {
        replica_election_results,
        ..ElectLeadersResponse::default()
    })
}

/// Answers a kind of election that does not exist, for each partition.
fn refused(request: ElectLeadersRequest) -> ElectLeadersResponse {
    let message = format!("there are no elections of type {}", request.election_type);
    let refused = |partition_id| PartitionResult {
        partition_id,
        error_code: ErrorCode::INVALID_REQUEST,
        error_message: Some(message.clone()),
    };
    let topics = request.topic_partitions.unwrap_or_default().into_iter();
    let results = topics.map(|topic| ReplicaElectionResult {
        topic: topic.topic,
        partition_result: topic.partitions.into_iter().map(refused).collect(),
    });
    ElectLeadersResponse {
        error_code: ErrorCode::INVALID_REQUEST,
        replica_election_results: results.collect(),
        ..ElectLeadersResponse::default()
    }
}

fn elect(node: &Node, topic: &str, partition_id: i32) -> PartitionResult {
    let (error_code, error_message) = match node.topic(topic, Uuid::ZERO) {
        Err(code) => (code, format!("there is no topic `{topic}`")),
        Ok(found) if found.partition(partition_id).is_none() => (
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            format!("there is no partition {topic}-{partition_id}"),
        ),
        Ok(_) => (ErrorCode::ELECTION_NOT_NEEDED, "it is led by its only replica".to_owned()),
    };
    PartitionResult { partition_id, error_code, error_message: Some(error_message) }
}
