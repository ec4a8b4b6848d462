//! Answers to everything but Fetch, as short as clients take them.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use kohort_protocol::frame::encode_response;
use kohort_protocol::messages::api_versions::ApiVersion;
use kohort_protocol::messages::find_coordinator::Coordinator;
use kohort_protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kohort_protocol::messages::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kohort_protocol::messages::produce::{PartitionProduceResponse, TopicProduceResponse};
use kohort_protocol::messages::{
    ApiVersionsResponse, FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdResponse,
    ListOffsetsRequest, ListOffsetsResponse, MetadataResponse, ProduceRequest, ProduceResponse,
    versions,
};
use kohort_protocol::records::batches;
use kohort_protocol::{ApiKey, Message, Reader};

use super::fetches::FLEXIBLE_FROM;
use super::server::{Cluster, FIRST_NODE, TOPIC, TOPIC_ID};

/// What is advertised. Groups are not: everybody reads assigned partitions.
const SERVED: [ApiKey; 7] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::ApiVersions,
    ApiKey::InitProducerId,
];

/// Answers a request with a whole frame.
pub(super) fn answer(
    cluster: &Cluster,
    node: usize,
    key: Option<ApiKey>,
    reader: &mut Reader<'_>,
    version: i16,
    id: i32,
) -> Result<Bytes> {
    match key {
        Some(ApiKey::ApiVersions) => {
            // Whoever asks in a version from the future is answered in version 0.
            let known = versions(ApiKey::ApiVersions).is_some_and(|range| range.contains(version));
            let version = if known { version } else { 0 };
            framed(&api_versions(known), version, id)
        }
        Some(ApiKey::Metadata) => framed(&metadata(cluster), version, id),
        Some(ApiKey::ListOffsets) => {
            let request = ListOffsetsRequest::decode(reader, version)?;
            framed(&offsets(cluster, &request), version, id)
        }
        Some(ApiKey::FindCoordinator) => {
            let request = FindCoordinatorRequest::decode(reader, version)?;
            framed(&coordinators(cluster, node, request), version, id)
        }
        Some(ApiKey::InitProducerId) => {
            let answer = InitProducerIdResponse {
                producer_id: 1000,
                producer_epoch: 0,
                ..InitProducerIdResponse::default()
            };
            framed(&answer, version, id)
        }
        _ => bail!("this is not advertised"),
    }
}

/// Takes records and forgets them; `None` if no answer is wanted.
pub(super) fn produce(
    ends: &mut [i64],
    reader: &mut Reader<'_>,
    version: i16,
    id: i32,
) -> Result<Option<Bytes>> {
    let request = ProduceRequest::decode(reader, version)?;
    let mut responses = Vec::new();
    for topic in request.topic_data {
        let mut partitions = Vec::new();
        for data in topic.partition_data {
            let end = ends.get_mut(data.index as usize).context("there is no such partition")?;
            let base_offset = *end;
            for batch in batches(&data.records.unwrap_or_default()) {
                *end += i64::from(batch?.header().record_count);
            }
            partitions.push(PartitionProduceResponse {
                index: data.index,
                base_offset,
                log_start_offset: 0,
                ..PartitionProduceResponse::default()
            });
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: partitions,
        });
    }
    let answer = ProduceResponse { responses, ..ProduceResponse::default() };
    if request.acks == 0 { Ok(None) } else { framed(&answer, version, id).map(Some) }
}

fn framed<M: Message>(message: &M, version: i16, id: i32) -> Result<Bytes> {
    Ok(encode_response(message, version, id)?)
}

fn api_versions(known: bool) -> ApiVersionsResponse {
    let api_keys = SERVED.iter().filter_map(|key| {
        let range = versions(*key)?;
        let min_version = if *key == ApiKey::Fetch { FLEXIBLE_FROM } else { range.min };
        Some(ApiVersion { api_key: *key as i16, min_version, max_version: range.max })
    });
    ApiVersionsResponse {
        api_keys: api_keys.collect(),
        error_code: if known {
            kohort_protocol::ErrorCode::NONE
        } else {
            kohort_protocol::ErrorCode::UNSUPPORTED_VERSION
        },
        ..ApiVersionsResponse::default()
    }
}

/// The whole cluster, whatever is asked for: it is one topic.
fn metadata(cluster: &Cluster) -> MetadataResponse {
    let brokers = cluster.ports.iter().zip(FIRST_NODE..).map(|(port, node_id)| {
        let (host, port) = ("127.0.0.1".to_owned(), i32::from(*port));
        MetadataResponseBroker { node_id, host, port, rack: None }
    });
    let partitions = (0..cluster.arguments.partitions).map(|partition_index| {
        let leader = FIRST_NODE + cluster.leader(partition_index) as i32;
        MetadataResponsePartition {
            partition_index,
            leader_id: leader,
            leader_epoch: 0,
            replica_nodes: vec![leader],
            isr_nodes: vec![leader],
            ..MetadataResponsePartition::default()
        }
    });
    let topic = MetadataResponseTopic {
        name: Some(TOPIC.to_owned()),
        topic_id: TOPIC_ID,
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    };
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some("bench".to_owned()),
        controller_id: FIRST_NODE,
        topics: vec![topic],
        ..MetadataResponse::default()
    }
}

fn offsets(cluster: &Cluster, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            offset: if asked.timestamp == LATEST { cluster.end(asked.partition_index) } else { 0 },
            leader_epoch: 0,
            ..ListOffsetsPartitionResponse::default()
        });
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }
}

fn coordinators(
    cluster: &Cluster,
    node: usize,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let (node_id, host) = (FIRST_NODE + node as i32, "127.0.0.1".to_owned());
    let port = i32::from(cluster.ports[node]);
    let of = |key| Coordinator { key, node_id, host: host.clone(), port, ..Coordinator::default() };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.into_iter().map(of).collect(),
        node_id,
        host: host.clone(),
        port,
        ..FindCoordinatorResponse::default()
    }
}

const LATEST: i64 = -1;
