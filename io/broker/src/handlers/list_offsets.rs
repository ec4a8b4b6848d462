//! ListOffsets (key 2), versions 1–11: offsets by time.
//!
//! * 1 answers one offset with its timestamp; 2 adds the isolation level; 4 leader epochs; 7 the
//!   record with the greatest timestamp (-3); 8 the earliest local offset (-4); 9 the last tiered
//!   offset (-5); 10 a timeout; 11 the earliest pending upload (-6).
//! * A search by time may wait for the disk, so it has a thread of its own.
//! * A partition that is named twice is refused each time, as in Kafka.
//! * There is no tiered storage: the earliest local offset is the log's start, and the others are -1.

use super::repeats::{Named, Repeats};
use crate::node::Node;
use crate::partition::Partition;
use crate::request::{Answer, Context, Response};
use kohort_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kohort_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use kohort_protocol::{ErrorCode, Uuid};
use std::sync::Arc;
use tokio::task::spawn_blocking;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: ListOffsetsRequest) -> Answer {
    let mut asked = request.topics.iter().flat_map(|topic| &topic.partitions);
    if !asked.any(|wanted| wanted.timestamp >= 0 || wanted.timestamp == MAX_TIMESTAMP) {
        return context.answer(&answer(node, request, context.version));
    }
    let (node, version) = (Arc::clone(node), context.version);
    let searched = spawn_blocking(move || answer(&node, request, version));
    Answer::Later(Box::pin(async move {
        match searched.await {
            Ok(response) => context.encode(&response),
            Err(error) => Response::Broken(format!("a ListOffsets failed: {error}")),
        }
    }))
}

fn answer(node: &Node, request: ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let mut repeats = Repeats::among(request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|it| (&*topic.name, Uuid::ZERO, it.partition_index))
    }));
    let topics = request
        .topics
        .into_iter()
        .filter_map(|topic| {
            let named = !topic.partitions.is_empty();
            let found = node.topic(&topic.name, Uuid::ZERO);
            let partitions: Vec<_> = topic
                .partitions
                .into_iter()
                .filter_map(|wanted| {
                    let index = wanted.partition_index;
                    match repeats.meet(&topic.name, Uuid::ZERO, index) {
                        Named::Once => {}
                        // As Kafka: one answer for all the times it is named.
                        Named::First => {
                            return Some(respond(index, Err(ErrorCode::INVALID_REQUEST)));
                        }
                        Named::Again => return None,
                    }
                    let found = found.as_ref().ok().and_then(|topic| topic.partition(index));
                    let answer = match found {
                        _ if !is_known(wanted.timestamp, version) => {
                            Err(ErrorCode::UNSUPPORTED_VERSION)
                        }
                        Some(partition) => find(node, partition, &wanted),
                        None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                    };
                    Some(respond(index, answer))
                })
                .collect();
            let told_before = named && partitions.is_empty();
            (!told_before).then_some(ListOffsetsTopicResponse { name: topic.name, partitions })
        })
        .collect();
    ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }
}

/// An offset, its record's timestamp or -1, and its leader epoch or -1.
type Found = (i64, i64, i32);

/// Whether a version has the number that stands for what is wanted; looked at before the partition, as in Kafka.
fn is_known(timestamp: i64, version: i16) -> bool {
    let lowest_version = match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    };
    version >= lowest_version && timestamp >= EARLIEST_PENDING_UPLOAD
}

fn find(
    node: &Node,
    partition: &Partition,
    wanted: &ListOffsetsPartition,
) -> Result<Option<Found>, ErrorCode> {
    partition.check_epoch(wanted.current_leader_epoch)?;
    let log = &partition.log;
    let failed = |error: kohort_storage::ReadError| {
        node.tell_unreadable(log, &error);
        error.code()
    };
    match wanted.timestamp {
        LATEST => Ok(Some((log.high_watermark(), -1, log.leader_epoch()))),
        EARLIEST | EARLIEST_LOCAL => {
            let start = log.log_start_offset();
            let epoch = log.epoch_of(start);
            Ok(Some((start, -1, if epoch < 0 { log.leader_epoch() } else { epoch })))
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(None),
        MAX_TIMESTAMP => {
            let found = log.max_timestamp().map_err(failed)?;
            Ok(found.map(|found| (found.offset, found.timestamp, found.leader_epoch)))
        }
        timestamp => {
            let found = log.offset_for_timestamp(timestamp).map_err(failed)?;
            Ok(found.map(|found| (found.offset, found.timestamp, found.leader_epoch)))
        }
    }
}

fn respond(
    partition_index: i32,
    answer: Result<Option<Found>, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let response =
        ListOffsetsPartitionResponse { partition_index, ..ListOffsetsPartitionResponse::default() };
    match answer {
        Ok(Some((offset, timestamp, leader_epoch))) => {
            ListOffsetsPartitionResponse { offset, timestamp, leader_epoch, ..response }
        }
        Ok(None) => response,
        Err(error_code) => ListOffsetsPartitionResponse { error_code, ..response },
    }
}
