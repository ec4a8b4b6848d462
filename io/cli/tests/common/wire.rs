//! Single requests by hand: where a test must see the error code itself, and no client's retries.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use kohort_protocol::compression::{Compressor, Decompressor};
use kohort_protocol::frame::encode_request;
use kohort_protocol::header::decode_response_header;
use kohort_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use kohort_protocol::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use kohort_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData,
};
use kohort_protocol::messages::{DeleteRecordsRequest, FetchRequest, ProduceRequest};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord, batches};
use kohort_protocol::{ErrorCode, Message as _, Reader, Request};

use super::PATIENCE;

/// The version of Produce and Fetch: the last that names topics.
const VERSION: i16 = 12;

/// A connection of its own to the broker.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Asks and waits for the answer.
    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.0.write_all(&encode_request(request, version, 1, Some("test")).unwrap()).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        let frame = Bytes::from(frame);
        let mut reader = Reader::new(&frame);
        assert_eq!(decode_response_header(&mut reader, R::API_KEY, version).unwrap(), 1);
        R::Response::decode(&mut reader, version).unwrap()
    }

    /// Produces one record to partition 0 and waits until the broker answers.
    pub(crate) fn produce(&mut self, topic: &str, value: &[u8]) -> PartitionProduceResponse {
        let mut builder = BatchBuilder::new();
        builder.append(&NewRecord { value: Some(value), ..NewRecord::default() }).unwrap();
        let records = builder.build(&BatchOptions::default(), &mut Compressor::none());
        let partition = PartitionProduceData { index: 0, records: Some(records) };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData {
                name: topic.to_owned(),
                partition_data: vec![partition],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        self.call(&request, VERSION).responses.remove(0).partition_responses.remove(0)
    }

    /// Deletes the records of partition 0 below an offset, and waits until that is durable.
    pub(crate) fn delete_below(&mut self, topic: &str, offset: i64) -> ErrorCode {
        let partition = DeleteRecordsPartition { partition_index: 0, offset };
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.to_owned(),
                partitions: vec![partition],
            }],
            timeout_ms: 10_000,
        };
        self.call(&request, 2).topics.remove(0).partitions.remove(0).error_code
    }

    /// Fetches from a partition, without a session and without waiting.
    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let partition = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            min_bytes: 1,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: topic.to_owned(),
                partitions: vec![partition],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let response = self.call(&request, VERSION);
        assert!(response.error_code.is_ok(), "{response:?}");
        response.responses.into_iter().next().unwrap().partitions.remove(0)
    }

    /// Reads a partition from `offset` to its high watermark.
    pub(crate) fn read_all(&mut self, topic: &str, partition: i32, mut offset: i64) -> Vec<Record> {
        let mut all = Vec::new();
        loop {
            let data = self.fetch(topic, partition, offset);
            assert!(data.error_code.is_ok(), "at {offset}: {}", data.error_code);
            if offset >= data.high_watermark {
                return all;
            }
            all.extend(records(&data));
            let last: &Record = all.last().expect("there is something below the high watermark");
            assert!(last.0 >= offset, "nothing at {offset}, below the high watermark");
            offset = last.0 + 1;
        }
    }
}

/// Offset and value.
pub(crate) type Record = (i64, Vec<u8>);

/// The records of what was fetched.
pub(crate) fn records(data: &PartitionData) -> Vec<Record> {
    let mut found = Vec::new();
    let mut scratch = Vec::new();
    let mut decompressor = Decompressor::default();
    let bytes = data.records.clone().unwrap_or_default();
    for batch in batches(&bytes) {
        for record in batch.unwrap().records(&mut decompressor, &mut scratch, 2 << 20).unwrap() {
            let record = record.unwrap();
            found.push((record.offset, record.value.unwrap_or_default().to_vec()));
        }
    }
    found
}
