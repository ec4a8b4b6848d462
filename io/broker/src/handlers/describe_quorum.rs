//! DescribeQuorum (key 55), versions 0–2: the voters of the metadata log (KIP-595).
//!
//! * 1 tells when a voter last fetched; 2 error messages and where the voters are.
//! * This node is the quorum: it leads, it has everything, and it is reached where clients reach it.

use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_quorum::{
    DescribeQuorumResponseListener, DescribeQuorumResponseNode, DescribeQuorumResponsePartition,
    DescribeQuorumResponseTopic, ReplicaState,
};
use kohort_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use kohort_storage::{METADATA_TOPIC, METADATA_TOPIC_ID};
use std::sync::Arc;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: DescribeQuorumRequest) -> Answer {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions
            .map(|partition| describe(node, &topic.topic_name, partition.partition_index))
            .collect();
        DescribeQuorumResponseTopic { topic_name: topic.topic_name, partitions }
    });
    let endpoint = node.endpoint(&context);
    let listener = DescribeQuorumResponseListener {
        name: node.listeners[context.caller.ends.listener].name.clone(),
        host: endpoint.host,
        port: endpoint.port as u16,
    };
    context.answer(&DescribeQuorumResponse {
        topics: topics.collect(),
        nodes: vec![DescribeQuorumResponseNode { node_id: node.id, listeners: vec![listener] }],
        ..DescribeQuorumResponse::default()
    })
}

fn describe(node: &Node, topic: &str, partition_index: i32) -> DescribeQuorumResponsePartition {
    let response = DescribeQuorumResponsePartition {
        partition_index,
        ..DescribeQuorumResponsePartition::default()
    };
    let log = node.log_dir.partition(METADATA_TOPIC_ID, 0);
    let (METADATA_TOPIC, 0, Some(log)) = (topic, partition_index, log) else {
        return DescribeQuorumResponsePartition {
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            error_message: Some("only the partition of the metadata log has a quorum".to_owned()),
            ..response
        };
    };
    let now = node.clock.wall();
    DescribeQuorumResponsePartition {
        leader_id: node.id,
        leader_epoch: log.leader_epoch(),
        high_watermark: log.high_watermark(),
        current_voters: vec![ReplicaState {
            replica_id: node.id,
            log_end_offset: log.log_end_offset(),
            last_fetch_timestamp: now,
            last_caught_up_timestamp: now,
            ..ReplicaState::default()
        }],
        ..response
    }
}
