//! DeleteRecords (key 21), versions 0–2: makes records below an offset unreadable for good.
//!
//! * -1 stands for the high watermark. The answer comes when the new start of the log is durable.
//! * The broker's own topics are left alone, as in Kafka.

use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kohort_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use kohort_protocol::{ErrorCode, Uuid};
use kohort_storage::StorageError;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

type Durable = oneshot::Receiver<Result<(), StorageError>>;

const HIGH_WATERMARK: i64 = -1;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: DeleteRecordsRequest) -> Answer {
    let node = Arc::clone(node);
    context.answer_later(async move {
        // Of a partition named again the last offset counts, as in Kafka.
        let mut wanted: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
        for topic in request.topics {
            let partitions = wanted.entry(topic.name).or_default();
            partitions.extend(topic.partitions.iter().map(|one| (one.partition_index, one.offset)));
        }
        let mut topics = Vec::with_capacity(wanted.len());
        for (name, offsets) in wanted {
            let offsets = offsets.into_iter();
            let started: Vec<_> = offsets
                .map(|(index, offset)| (index, start(&node, &name, index, offset)))
                .collect();
            let mut partitions = Vec::with_capacity(started.len());
            for (index, started) in started {
                partitions.push(finish(index, started).await);
            }
            topics.push(DeleteRecordsTopicResult { name, partitions });
        }
        DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
    })
}

fn start(node: &Node, topic: &str, index: i32, wanted: i64) -> Result<(i64, Durable), ErrorCode> {
    let topic = node.topic(topic, Uuid::ZERO)?;
    let partition = topic.partition(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    // The broker would lose commits that it still has in memory.
    if topic.is_internal() {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    // A policy of neither still lets records be deleted by hand.
    if topic.config.compacts() && !topic.config.deletes() {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let high_watermark = partition.log.high_watermark();
    let offset = if wanted == HIGH_WATERMARK { high_watermark } else { wanted };
    if offset < 0 || offset > high_watermark {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let (done, durable) = oneshot::channel();
    let low = partition
        .log
        .advance_log_start(offset, move |result| drop(done.send(result)))
        .map_err(|error| error.code())?;
    Ok((low, durable))
}

async fn finish(
    partition_index: i32,
    started: Result<(i64, Durable), ErrorCode>,
) -> DeleteRecordsPartitionResult {
    let result = match started {
        Err(code) => Err(code),
        Ok((low, durable)) => match durable.await {
            Ok(Ok(())) => Ok(low),
            Ok(Err(error)) => Err(error.code()),
            Err(_) => Err(ErrorCode::KAFKA_STORAGE_ERROR),
        },
    };
    match result {
        Ok(low_watermark) => DeleteRecordsPartitionResult {
            partition_index,
            low_watermark,
            error_code: ErrorCode::NONE,
        },
        Err(error_code) => {
            DeleteRecordsPartitionResult { partition_index, low_watermark: -1, error_code }
        }
    }
}
