//! What the broker's tests share: a broker on a temporary folder, and a client that speaks raw
//! protocol messages over loopback.

#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

pub(crate) mod scraping;

use bytes::Bytes;
use kohort_broker::{Broker, BrokerBuilder};
use kohort_protocol::compression::Compressor;
use kohort_protocol::frame::encode_request;
use kohort_protocol::header::decode_response_header;
use kohort_protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use kohort_protocol::messages::delete_topics::DeleteTopicState;
use kohort_protocol::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use kohort_protocol::messages::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData,
};
use kohort_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse, MetadataRequest,
    OffsetCommitRequest, ProduceRequest,
};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord, batches};
use kohort_protocol::{ErrorCode, Message, Reader, Request, Uuid};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker and its folder.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) broker: Broker,
    pub(crate) folder: TempDir,
}

/// Starts a broker with groups that do not wait for more members.
pub(crate) async fn start() -> Running {
    start_with(|builder| builder).await
}

pub(crate) async fn start_with(change: impl FnOnce(BrokerBuilder) -> BrokerBuilder) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let broker = change(builder(folder.path())).start().await.unwrap();
    Running { broker, folder }
}

pub(crate) fn builder(folder: &Path) -> BrokerBuilder {
    Broker::builder()
        .listen("127.0.0.1:0")
        .data_dir(folder)
        .set("group.initial.rebalance.delay.ms", "0")
        .set("offsets.topic.num.partitions", "3")
        // The tests' records are of the year 2023.
        .set("log.retention.ms", "-1")
}

impl Running {
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.broker.local_addr()).await
    }

    /// Stops the broker and starts it again on its folder.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|builder| builder).await
    }

    pub(crate) async fn restart_with(
        self,
        change: impl FnOnce(BrokerBuilder) -> BrokerBuilder,
    ) -> Self {
        let Self { broker, folder } = self;
        broker.shutdown().await.unwrap();
        let broker = change(builder(folder.path())).start().await.unwrap();
        Self { broker, folder }
    }
}

/// A connection on which requests are made by hand.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next_id: i32,
    name: &'static str,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), next_id: 1, name: "test" }
    }

    /// Gives it another client id.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sends a request and returns its correlation id.
    pub(crate) async fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let frame = encode_request(request, version, id, Some(self.name)).unwrap();
        self.stream.write_all(&frame).await.unwrap();
        id
    }

    /// Reads the response to the request with that correlation id, which must be the next.
    pub(crate) async fn receive<R: Request>(&mut self, id: i32, version: i16) -> R::Response {
        let frame = timeout(PATIENCE, self.frame()).await.expect("a response in time").unwrap();
        let mut reader = Reader::new(&frame);
        assert_eq!(decode_response_header(&mut reader, R::API_KEY, version).unwrap(), id);
        let response = R::Response::decode(&mut reader, version).unwrap();
        reader.expect_end().unwrap();
        response
    }

    pub(crate) async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let id = self.send(request, version).await;
        self.receive::<R>(id, version).await
    }

    /// Reads one frame; `None` when the broker closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(Bytes::from(frame))
    }

    /// Expects the broker to close the connection.
    pub(crate) async fn closed(&mut self) {
        let frame = timeout(PATIENCE, self.frame()).await.expect("the connection closes in time");
        assert_eq!(frame, None);
    }

    pub(crate) async fn create_topic(&mut self, name: &str, partitions: i32) -> Uuid {
        self.create_topic_with(name, partitions, &[]).await
    }

    pub(crate) async fn create_topic_with(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Uuid {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
        });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.to_owned(),
                num_partitions: partitions,
                replication_factor: -1,
                configs: configs.collect(),
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        };
        let response = self.call(&request, 7).await;
        assert!(response.topics[0].error_code.is_ok(), "{response:?}");
        response.topics[0].topic_id
    }

    pub(crate) async fn delete_topic(&mut self, name: &str) {
        let topic = DeleteTopicState { name: Some(name.to_owned()), ..DeleteTopicState::default() };
        let request = DeleteTopicsRequest { topics: vec![topic], ..DeleteTopicsRequest::default() };
        let response = self.call(&request, 6).await;
        assert!(response.responses[0].error_code.is_ok(), "{response:?}");
    }

    pub(crate) async fn describe(&mut self, name: &str, create: bool) -> MetadataResponseTopic {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(name.to_owned()),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        self.call(&request, 12).await.topics.remove(0)
    }

    /// Produces with acks=-1 to one partition.
    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        index: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(topic, index, -1, records);
        self.call(&request, 12).await.responses.remove(0).partition_responses.remove(0)
    }

    /// Commits an offset as one who is in no group.
    pub(crate) async fn commit(&mut self, group: &str, topic: &str, index: i32, offset: i64) {
        let partition = OffsetCommitRequestPartition {
            partition_index: index,
            committed_offset: offset,
            ..OffsetCommitRequestPartition::default()
        };
        let request = OffsetCommitRequest {
            group_id: group.to_owned(),
            topics: vec![OffsetCommitRequestTopic {
                name: topic.to_owned(),
                partitions: vec![partition],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        loop {
            let response = self.call(&request, 8).await;
            let error = response.topics[0].partitions[0].error_code;
            if error != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
                assert!(error.is_ok(), "{response:?}");
                return;
            }
        }
    }

    /// Fetches from one partition without a session.
    pub(crate) async fn fetch(&mut self, topic: &str, index: i32, offset: i64) -> PartitionData {
        let response = self.call(&fetch_request(topic, &[(index, offset)]), 12).await;
        assert!(response.error_code.is_ok(), "{response:?}");
        response.responses.into_iter().next().unwrap().partitions.remove(0)
    }
}

pub(crate) fn produce_request(
    topic: &str,
    index: i32,
    acks: i16,
    records: Bytes,
) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![PartitionProduceData { index, records: Some(records) }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

/// A Fetch without a session that does not wait.
pub(crate) fn fetch_request(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, fetch_offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    });
    FetchRequest {
        min_bytes: 1,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: partitions.collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// A batch of records without keys.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_with(values, &BatchOptions::default())
}

pub(crate) fn batch_with(values: &[&str], options: &BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        let record = NewRecord {
            timestamp: 1_700_000_000_000,
            value: Some(value.as_bytes()),
            ..NewRecord::default()
        };
        builder.append(&record).unwrap();
    }
    builder.build(options, &mut Compressor::none())
}

/// The offsets and values of what was fetched.
pub(crate) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let mut scratch = Vec::new();
    let records = data.records.clone().unwrap_or_default();
    for batch in batches(&records) {
        let mut decompressor = kohort_protocol::compression::Decompressor::default();
        for record in batch.unwrap().records(&mut decompressor, &mut scratch, 2 << 20).unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            found.push((record.offset, value));
        }
    }
    found
}

/// The partitions of a response, as (partition, number of records).
pub(crate) fn counts(response: &FetchResponse) -> Vec<(i32, usize)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|data| (data.partition_index, values(data).len())).collect()
}
