//! OffsetForLeaderEpoch (key 23), versions 2–4: where a leader epoch ends, so that a consumer can tell
//! whether the log was cut short behind its back (KIP-320).
//!
//! * 3 adds the replica id; 4 is flexible.

use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use kohort_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use kohort_protocol::{ErrorCode, Uuid};
use std::sync::Arc;

/// What stands for no epoch.
const NO_EPOCH: i32 = -1;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: OffsetForLeaderEpochRequest,
) -> Answer {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions =
                topic.partitions.iter().map(|wanted| answer(node, &topic.topic, wanted)).collect();
            OffsetForLeaderTopicResult { topic: topic.topic, partitions }
        })
        .collect();
    context
        .answer(&OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() })
}

fn answer(node: &Node, topic: &str, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
    let response = EpochEndOffset { partition: wanted.partition, ..EpochEndOffset::default() };
    let found = node.topic(topic, Uuid::ZERO).and_then(|topic| {
        let partition = topic.partition(wanted.partition).cloned();
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        partition.check_epoch(wanted.current_leader_epoch)?;
        if wanted.leader_epoch < NO_EPOCH {
            // Before all epochs, as Kafka has it: each of them ends where the log begins.
            return Ok(Some((wanted.leader_epoch, partition.log.log_start_offset())));
        }
        Ok(partition.log.end_offset_for_epoch(wanted.leader_epoch))
    });
    match found {
        Ok(Some((leader_epoch, end_offset))) => {
            EpochEndOffset { leader_epoch, end_offset, ..response }
        }
        Ok(None) => response,
        Err(error_code) => EpochEndOffset { error_code, ..response },
    }
}
