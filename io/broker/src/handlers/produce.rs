//! Produce (key 0), versions 3–13: appends record batches.
//!
//! * 3 brings record batches of today's format; 5 the log's start in the response; 7 zstd; 8 errors
//!   per record; 9 is flexible; 10 the current leader (KIP-951); 12 implicit transactions, not served;
//!   13 names topics by id.
//! * Versions 0–2 are advertised and refused, as Kafka does: old librdkafka turns compression off when
//!   it does not see them (KAFKA-18659).
//! * acks 1 and -1 are answered alike, when the records are on disk. acks 0 is never answered; an
//!   error ends the connection, which is all such a producer can be told.
//! * A partition that is named more than once is refused, once.
//! * The log keeps the order of a partition's requests: each is appended before the next is read.

use super::repeats::{Named, Repeats};
use crate::cluster::topics::Topic;
use crate::node::Node;
use crate::partition::Partition;
use crate::request::{Answer, Context, Response};
use bytes::Bytes;
use kohort_log::validator::AppendOrigin;
use kohort_protocol::compression::Compression;
use kohort_protocol::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use kohort_protocol::messages::{ProduceRequest, ProduceResponse};
use kohort_protocol::records::BatchHeader;
use kohort_protocol::{ErrorCode, Uuid, VersionRange};
use kohort_storage::{AppendError, StorageError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// What is told to clients; see above.
pub(crate) const ADVERTISED: VersionRange = VersionRange::new(0, 13);
/// Kafka's own tools may write to the broker's topics; nobody else may.
const ADMIN_CLIENT: &str = "__admin_client";
/// What a producer says of its patience is about replicas, which are not waited for here; a sync of a
/// busy disk may take longer than it says.
const PATIENCE_MIN: Duration = Duration::from_secs(5);
/// The version from which producers may use zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;
/// The version from which topics are named by id (KIP-516).
const IDS_SINCE: i16 = 13;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: ProduceRequest) -> Answer {
    let acks = request.acks;
    let mut work = Work::new(node, &context, request);
    work.append_all();
    if work.is_stalled() {
        return Answer::Blocked(Box::pin(async move {
            while work.is_stalled() {
                // Cancel-safe: who waits for room and goes away takes nothing with it.
                match timeout_at(work.deadline, work.node.log_dir_room()).await {
                    Ok(()) => work.append_all(),
                    Err(_) => work.give_up(),
                }
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
    /// When the producer no longer counts on an answer.
    deadline: Instant,
    response: ProduceResponse,
    /// What is still to be appended, the last first: topic and partition in the response, and records.
    todo: Vec<(usize, usize, Arc<Partition>, Bytes)>,
    /// What was appended and is not yet known to be durable.
    waits: Vec<(usize, usize, Durable)>,
}

impl Work {
    fn new(node: &Arc<Node>, context: &Context, request: ProduceRequest) -> Self {
        let ProduceRequest { acks, transactional_id, timeout_ms, topic_data, .. } = request;
        let patience = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        let deadline = Instant::now() + patience.max(PATIENCE_MIN);
        let refusal = if !(-1..=1).contains(&acks) {
            Some(ErrorCode::INVALID_REQUIRED_ACKS)
        } else if transactional_id.is_some() {
            // No transactional id has ever been given out here.
            Some(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
        } else {
            None
        };
        let mut repeats = Repeats::among(topic_data.iter().flat_map(|topic| {
            let named = topic.partition_data.iter();
            named.map(|partition| (&*topic.name, topic.topic_id, partition.index))
        }));
        let admin = context.client_id.as_deref() == Some(ADMIN_CLIENT);
        let mut todo = Vec::new();
        let mut responses = Vec::with_capacity(topic_data.len());
        for TopicProduceData { name, topic_id, partition_data } in topic_data {
            let topic = match refusal {
                Some(error) => Err(error),
                None if context.version >= IDS_SINCE && topic_id.is_zero() => {
                    Err(ErrorCode::UNKNOWN_TOPIC_ID)
                }
                None => find(node, &name, topic_id, admin),
            };
            let mut partition_responses = Vec::with_capacity(partition_data.len());
            for PartitionProduceData { index, records } in partition_data {
                let mut response = PartitionProduceResponse {
                    index,
                    base_offset: -1,
                    ..PartitionProduceResponse::default()
                };
                match repeats.meet(&name, topic_id, index) {
                    Named::Once => {}
                    Named::Again => continue,
                    Named::First => {
                        // One answer, and nothing is written: it could not tell of both.
                        response.error_code = ErrorCode::INVALID_REQUEST;
                        response.error_message =
                            Some("the request names the partition more than once".to_owned());
                        partition_responses.push(response);
                        continue;
                    }
                }
                let records = records.unwrap_or_default();
                let partition = topic.as_ref().map_err(|error| *error).and_then(|topic| {
                    let partition = topic.partition(index).cloned();
                    let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
                    if context.version < ZSTD_SINCE && is_zstd(&records) {
                        return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
                    }
                    Ok(partition)
                });
                match partition {
                    Ok(partition) => {
                        let place = (responses.len(), partition_responses.len());
                        todo.push((place.0, place.1, partition, records));
                    }
                    Err(error) => response.error_code = error,
                }
                partition_responses.push(response);
            }
            // Nothing is said of a topic of which nothing was asked, or all was told.
            if !partition_responses.is_empty() {
                responses.push(TopicProduceResponse { name, topic_id, partition_responses });
            }
        }
        todo.reverse();
        let response = ProduceResponse { responses, ..ProduceResponse::default() };
        let now = node.clock.wall();
        Self { node: Arc::clone(node), now, deadline, response, todo, waits: Vec::new() }
    }

    /// Appends until all is appended or the log's queue is full.
    fn append_all(&mut self) {
        while let Some((topic, place, partition, records)) = self.todo.pop() {
            let response = &mut self.response.responses[topic].partition_responses[place];
            let (done, wait) = oneshot::channel();
            let bytes = records.len() as u64;
            let appended = partition.log.append(
                self.now,
                records.clone(),
                AppendOrigin::Client,
                move |result| drop(done.send(result)),
            );
            match appended {
                Ok(info) => {
                    let counters = &partition.counters;
                    counters.produce_requests.add(1);
                    if !info.duplicate {
                        counters.messages_in.add((info.last_offset - info.base_offset + 1) as u64);
                        counters.bytes_in.add(bytes);
                    }
                    response.base_offset = info.base_offset;
                    response.log_append_time_ms = info.log_append_time;
                    response.log_start_offset = info.log_start_offset;
                    self.waits.push((topic, place, wait));
                }
                Err(AppendError::QueueFull) => {
                    self.todo.push((topic, place, partition, records));
                    return;
                }
                Err(error) => {
                    partition.counters.produce_requests.add(1);
                    partition.counters.failed_produce_requests.add(1);
                    fail(response, &error, partition.log.log_start_offset());
                }
            }
        }
    }

    fn is_stalled(&self) -> bool {
        !self.todo.is_empty()
    }

    /// Refuses what could not even be queued in time.
    fn give_up(&mut self) {
        for (topic, place, partition, _) in self.todo.drain(..) {
            partition.counters.produce_requests.add(1);
            partition.counters.failed_produce_requests.add(1);
            let response = &mut self.response.responses[topic].partition_responses[place];
            response.error_code = ErrorCode::REQUEST_TIMED_OUT;
        }
    }

    /// Waits until everything appended is durable, and answers. What is not durable in time, as when
    /// the disk has no room for it, may become so later: the producer is told so, as by Kafka, with
    /// REQUEST_TIMED_OUT, and an idempotent one writes it once whatever comes.
    async fn finish(mut self, context: Context, acks: i16) -> Response {
        let mut alarm = context.caller.alarm.lend();
        for (topic, place, wait) in std::mem::take(&mut self.waits) {
            // Whichever comes second is dropped with the request.
            let error_code = tokio::select! {
                biased;
                durable = wait => match durable {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error.code(),
                    Err(_) => ErrorCode::KAFKA_STORAGE_ERROR,
                },
                () = alarm.until(self.deadline) => ErrorCode::REQUEST_TIMED_OUT,
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

fn find(node: &Node, name: &str, id: Uuid, admin: bool) -> Result<Arc<Topic>, ErrorCode> {
    let topic = node.topic(name, id)?;
    if topic.is_internal() && !admin {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    Ok(topic)
}

fn is_zstd(records: &[u8]) -> bool {
    BatchHeader::parse(records)
        .and_then(|header| header.compression())
        .is_ok_and(|compression| compression == Compression::Zstd)
}

fn fail(response: &mut PartitionProduceResponse, error: &AppendError, log_start_offset: i64) {
    response.error_code = error.code();
    if !matches!(
        error.code(),
        ErrorCode::MESSAGE_TOO_LARGE
            | ErrorCode::RECORD_LIST_TOO_LARGE
            | ErrorCode::CORRUPT_MESSAGE
    ) {
        // As Kafka: the log was looked at, so its start is known.
        response.log_start_offset = log_start_offset;
    }
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
