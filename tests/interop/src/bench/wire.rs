//! The requests of the load, in the versions both brokers serve, and what must be there before it:
//! topics that are served, groups whose coordinator answers.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::compression::Compressor;
use kohort_protocol::frame::encode_request;
use kohort_protocol::messages::create_topics::CreatableTopic;
use kohort_protocol::messages::delete_topics::DeleteTopicState;
use kohort_protocol::messages::fetch::{FetchPartition, FetchTopic};
use kohort_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use kohort_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, ListOffsetsRequest,
    OffsetCommitRequest, OffsetCommitResponse, ProduceRequest, ProduceResponse,
};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

use super::link::{CLIENT, Link, decode};

/// Creates a topic of [`PARTITIONS`] and waits until every partition is served.
pub(crate) fn create_topic(link: &mut Link, name: &str) -> Result<()> {
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: PARTITIONS,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let created = link.call(&request, 7)?;
    if let Some(refused) = created.topics.iter().find(|topic| !topic.error_code.is_ok()) {
        bail!("topic `{name}` was not created: {}", refused.error_code);
    }
    until_ok(|| Ok(end_offsets(link, name)?.1))
}

/// Deletes a topic; its files go when the broker sees fit.
pub(crate) fn delete_topic(link: &mut Link, name: &str) -> Result<()> {
    let topic = DeleteTopicState { name: Some(name.to_owned()), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..DeleteTopicsRequest::default()
    };
    let deleted = link.call(&request, 6)?;
    match deleted.responses.first().map(|topic| topic.error_code) {
        Some(code) if !code.is_ok() => bail!("topic `{name}` was not deleted: {code}"),
        _ => Ok(()),
    }
}

/// Returns the end of each partition, and the first error if there is one.
pub(crate) fn end_offsets(link: &mut Link, topic: &str) -> Result<(Vec<i64>, ErrorCode)> {
    let partitions = (0..PARTITIONS).map(|partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: LATEST,
        ..ListOffsetsPartition::default()
    });
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: partitions.collect() };
    let request =
        ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    let answer = link.call(&request, 7)?;
    let mut ends = vec![0; PARTITIONS as usize];
    let mut error = ErrorCode::NONE;
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        ends[partition.partition_index as usize] = partition.offset;
        if !partition.error_code.is_ok() {
            error = partition.error_code;
        }
    }
    Ok((ends, error))
}

/// Returns one request for each partition that writes a batch of `records` records of `size` bytes.
pub(crate) fn produce_requests(topic: &str, records: usize, size: usize) -> Result<Vec<Bytes>> {
    let value = noise(size);
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_millis();
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.append(&NewRecord {
            timestamp: i64::try_from(now)?,
            value: Some(&value),
            ..NewRecord::default()
        })?;
    }
    let batch = builder.build(&BatchOptions::default(), &mut Compressor::none());
    (0..PARTITIONS)
        .map(|index| {
            let partition = PartitionProduceData { index, records: Some(batch.clone()) };
            let topic = TopicProduceData {
                name: topic.to_owned(),
                partition_data: vec![partition],
                ..TopicProduceData::default()
            };
            let request = ProduceRequest {
                acks: -1,
                timeout_ms: 30_000,
                topic_data: vec![topic],
                ..ProduceRequest::default()
            };
            Ok(encode_request(&request, PRODUCE, 0, Some(CLIENT))?)
        })
        .collect()
}

/// Checks the answer to one of [`produce_requests`].
pub(crate) fn check_produced(frame: &Bytes) -> Result<()> {
    let answer: ProduceResponse = decode(frame, PRODUCE)?;
    match answer.responses.first().and_then(|topic| topic.partition_responses.first()) {
        Some(partition) if partition.error_code.is_ok() => Ok(()),
        Some(partition) => bail!("a produce failed: {}", partition.error_code),
        None => bail!("a produce was not answered for its partition"),
    }
}

/// Returns a request to read all partitions from `offsets` on, with the limits of Kafka's consumer.
pub(crate) fn fetch_request(topic: &str, offsets: &[i64]) -> Result<Bytes> {
    let partitions = offsets.iter().zip(0..).map(|(offset, partition)| FetchPartition {
        partition,
        fetch_offset: *offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    });
    let topic = FetchTopic {
        topic: topic.to_owned(),
        partitions: partitions.collect(),
        ..FetchTopic::default()
    };
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    Ok(encode_request(&request, FETCH, 0, Some(CLIENT))?)
}

/// Returns a request that commits `partitions` positions for a group without members.
pub(crate) fn commit_request(group: &str, topic: &str, partitions: i32) -> Result<Bytes> {
    let request = commit(group, topic, partitions);
    Ok(encode_request(&request, COMMIT, 0, Some(CLIENT))?)
}

/// Checks the answer to [`commit_request`].
pub(crate) fn check_committed(frame: &Bytes) -> Result<()> {
    let code = commit_error(&decode(frame, COMMIT)?);
    if code.is_ok() { Ok(()) } else { bail!("a commit failed: {code}") }
}

/// Waits until the coordinator of a group is there and takes its commit.
pub(crate) fn await_coordinator(link: &mut Link, group: &str, topic: &str) -> Result<()> {
    use kohort_protocol::messages::FindCoordinatorRequest;
    let find = FindCoordinatorRequest {
        coordinator_keys: vec![group.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    until_ok(|| {
        let found = link.call(&find, 4)?;
        let missing = found.coordinators.iter().find(|found| !found.error_code.is_ok());
        if let Some(missing) = missing {
            return Ok(missing.error_code);
        }
        Ok(commit_error(&link.call(&commit(group, topic, 1), COMMIT)?))
    })
}

fn commit(group: &str, topic: &str, partitions: i32) -> OffsetCommitRequest {
    let partitions = (0..partitions).map(|partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 1,
        ..OffsetCommitRequestPartition::default()
    });
    let topic = OffsetCommitRequestTopic {
        name: topic.to_owned(),
        partitions: partitions.collect(),
        ..OffsetCommitRequestTopic::default()
    };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    }
}

fn commit_error(answer: &OffsetCommitResponse) -> ErrorCode {
    let mut codes =
        answer.topics.iter().flat_map(|topic| &topic.partitions).map(|found| found.error_code);
    codes.find(|code| !code.is_ok()).unwrap_or(ErrorCode::NONE)
}

/// Repeats until the answer is without error.
fn until_ok(mut ask: impl FnMut() -> Result<ErrorCode>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let code = ask()?;
        if code.is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("still {code} after {PATIENCE:?}");
        }
        thread::sleep(PAUSE);
    }
}

/// Returns bytes no codec would shrink, the same each time.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// The partitions of every topic.
pub(crate) const PARTITIONS: i32 = 12;
/// The last versions that name topics instead of giving their ids.
pub(crate) const FETCH: i16 = 12;
const PRODUCE: i16 = 12;
const COMMIT: i16 = 9;
const LATEST: i64 = -1;
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
