//! DescribeProducers (key 61), version 0: the idempotent producers a partition remembers (KIP-664).

use crate::cluster::topic_name::check_topic_name;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::describe_producers::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kohort_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use kohort_protocol::{ErrorCode, Uuid};
use std::sync::Arc;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: DescribeProducersRequest,
) -> Answer {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter();
        let partitions = partitions.map(|index| answer(node, &topic.name, *index)).collect();
        TopicResponse { name: topic.name, partitions }
    });
    let topics = topics.collect();
    context.answer(&DescribeProducersResponse { topics, ..DescribeProducersResponse::default() })
}

fn answer(node: &Node, topic: &str, partition_index: i32) -> PartitionResponse {
    let response = PartitionResponse { partition_index, ..PartitionResponse::default() };
    if let Err(error) = check_topic_name(topic) {
        let (error_code, error_message) = (error.code, error.message);
        return PartitionResponse { error_code, error_message, ..response };
    }
    let found = node.topic(topic, Uuid::ZERO);
    let partition = found.as_ref().ok().and_then(|topic| topic.partition(partition_index));
    let Some(partition) = partition else {
        return PartitionResponse { error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ..response };
    };
    let producers = partition.log.producers().into_iter();
    let active_producers = producers.map(|producer| ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        // No transaction has been coordinated.
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    });
    PartitionResponse { active_producers: active_producers.collect(), ..response }
}
