//! Produce (key 0), versions 3–13: appends record batches.
//!
//! * 3 brings record batches of today's format; 5 the log's start in the response; 7 zstd; 8 errors
//!   per record; 9 is flexible; 10 the current leader (KIP-951); 12 implicit transactions, not served;
//!   13 names topics by id.
//! * Versions 0–2 are advertised and refused, as Kafka does: old librdkafka turns compression off when
//!   it does not see them (KAFKA-18659).
//! * acks 1 and -1 are answered alike, when the records are on disk. acks 0 is never answered; an
//!   error ends the connection, which is all such a producer can be told.
//! * The log keeps the order of a partition's requests: each is appended before the next is read.

use crate::cluster::topics::Topic;
use crate::node::Node;
use crate::partition::Partition;
use crate::request::{Answer, Context, Response};
use bytes::Bytes;
use kohort_log::validator::AppendOrigin;
use kohort_protocol::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use kohort_protocol::messages::{ProduceRequest, ProduceResponse};
use kohort_protocol::{ErrorCode, VersionRange};
use kohort_storage::{AppendError, StorageError};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What is told to clients; see above.
pub(crate) const ADVERTISED: VersionRange = VersionRange::new(0, 13);
/// Kafka's own tools may write to the broker's topics; nobody else may.
const ADMIN_CLIENT: &str = "__admin_client";

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: ProduceRequest) -> Answer {
    let acks = request.acks;
    let mut work = Work::new(node, &context, request);
    work.append_all();
    if work.is_stalled() {
        return Answer::Blocked(Box::pin(async move {
            while work.is_stalled() {
                work.node.log_dir_room().await;
                work.append_all();
            }
            work.finish(context, acks).await
        }));
    }
    if work.waits.is_empty() || acks == 0 {
        return Answer::Ready(respond(&context, acks, work.response));
    }
    Answer::Later(Box::pin(work.finish(context, acks)))
}

type Durable = oneshot::Receiver<Result<(), StorageError>>;

/// A request on its way into the logs.
struct Work {
    node: Arc<Node>,
    now: i64,
    response: ProduceResponse,
    /// What is still to be appended, the last first: topic and partition in the response, and records.
    todo: Vec<(usize, usize, Arc<Partition>, Bytes)>,
    /// What was appended and is not yet known to be durable.
    waits: Vec<(usize, usize, Durable)>,
}

impl Work {
    fn new(node: &Arc<Node>, context: &Context, request: ProduceRequest) -> Self {
        let ProduceRequest { acks, transactional_id, topic_data, .. } = request;
        let refusal = if !(-1..=1).contains(&acks) {
            Some(ErrorCode::INVALID_REQUIRED_ACKS)
        } else if transactional_id.is_some() {
            // No transactional id has ever been given out here.
            Some(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
        } else {
            None
        };
        let admin = context.client_id.as_deref() == Some(ADMIN_CLIENT);
        let mut todo = Vec::new();
        let mut responses = Vec::with_capacity(topic_data.len());
        for TopicProduceData { name, topic_id, partition_data } in topic_data {
            let topic = match refusal {
                Some(error) => Err(error),
                None => find(node, &name, topic_id, acks, admin),
            };
            let mut partition_responses = Vec::with_capacity(partition_data.len());
            for PartitionProduceData { index, records } in partition_data {
                let mut response = PartitionProduceResponse {
                    index,
                    base_offset: -1,
                    ..PartitionProduceResponse::default()
                };
                let partition = topic.as_ref().map_err(|error| *error).and_then(|topic| {
                    topic.partition(index).cloned().ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
                });
                match partition {
                    Ok(partition) => {
                        let place = (responses.len(), partition_responses.len());
                        todo.push((place.0, place.1, partition, records.unwrap_or_default()));
                    }
                    Err(error) => response.error_code = error,
                }
                partition_responses.push(response);
            }
            responses.push(TopicProduceResponse { name, topic_id, partition_responses });
        }
        todo.reverse();
        let response = ProduceResponse { responses, ..ProduceResponse::default() };
        Self { node: Arc::clone(node), now: node.clock.now(), response, todo, waits: Vec::new() }
    }

    /// Appends until all is appended or the log's queue is full.
    fn append_all(&mut self) {
        while let Some((topic, place, partition, records)) = self.todo.pop() {
            let response = &mut self.response.responses[topic].partition_responses[place];
            let (done, wait) = oneshot::channel();
            let appended = partition.log.append(
                self.now,
                records.clone(),
                AppendOrigin::Client,
                move |result| drop(done.send(result)),
            );
            match appended {
                Ok(info) => {
                    response.base_offset = info.base_offset;
                    response.log_append_time_ms = info.log_append_time;
                    response.log_start_offset = info.log_start_offset;
                    self.waits.push((topic, place, wait));
                }
                Err(AppendError::QueueFull) => {
                    self.todo.push((topic, place, partition, records));
                    return;
                }
                Err(error) => fail(response, &error),
            }
        }
    }

    fn is_stalled(&self) -> bool {
        !self.todo.is_empty()
    }

    /// Waits until everything appended is durable, and answers.
    async fn finish(mut self, context: Context, acks: i16) -> Response {
        for (topic, place, wait) in std::mem::take(&mut self.waits) {
            let error_code = match wait.await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.code(),
                Err(_) => ErrorCode::KAFKA_STORAGE_ERROR,
            };
            let response = &mut self.response.responses[topic].partition_responses[place];
            let index = response.index;
            *response = PartitionProduceResponse {
                index,
                error_code,
                base_offset: -1,
                ..PartitionProduceResponse::default()
            };
        }
        respond(&context, acks, self.response)
    }
}

fn find(
    node: &Node,
    name: &str,
    id: kohort_protocol::Uuid,
    acks: i16,
    admin: bool,
) -> Result<Arc<Topic>, ErrorCode> {
    let topic = node.topic(name, id)?;
    if topic.is_internal() && !admin {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if acks == -1 && topic.config.min_insync_replicas > 1 {
        return Err(ErrorCode::NOT_ENOUGH_REPLICAS);
    }
    Ok(topic)
}

fn fail(response: &mut PartitionProduceResponse, error: &AppendError) {
    response.error_code = error.code();
    response.error_message = Some(error.to_string());
    if let AppendError::Invalid(invalid) = error {
        let records = invalid.records.iter().map(|record| BatchIndexAndErrorMessage {
            batch_index: record.index,
            batch_index_error_message: Some(record.message.clone()),
        });
        response.record_errors = records.collect();
    }
}

fn respond(context: &Context, acks: i16, response: ProduceResponse) -> Response {
    if acks != 0 {
        return context.encode(&response);
    }
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.map(|partition| partition.error_code).find(|code| !code.is_ok()) {
        None => Response::Silence,
        Some(code) => Response::Broken(format!("a Produce with acks=0 failed: {code}")),
    }
}
