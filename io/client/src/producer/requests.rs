//! What the sender asks brokers, apart from when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kohort_client_core::producer::idempotence::ProducerIdentity;
use kohort_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use kohort_protocol::messages::init_producer_id::InitProducerIdRequest;
use kohort_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use kohort_protocol::{ErrorCode, Request, Uuid};

use crate::cluster::{Cluster, ClusterError};
use crate::config::{Acks, ProducerConfig};
use crate::net::{BrokerConnection, NetError};

/// A batch under way, with its bytes for a retry.
pub(super) struct SentBatch {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) id: u64,
    pub(super) records: u32,
    pub(super) bytes: Bytes,
}

/// Returns the version to produce in: the highest, but without topic ids if one is not known.
pub(super) fn produce_version(
    connection: &BrokerConnection,
    sent: &[SentBatch],
) -> Result<i16, NetError> {
    let mut wanted = <ProduceRequest as kohort_protocol::Message>::VERSIONS;
    if sent.iter().any(|batch| batch.topic_id.is_zero()) {
        wanted.max = TOPIC_IDS_FROM - 1;
    }
    connection.version_within::<ProduceRequest>(wanted)
}

pub(super) fn produce_request(
    sent: &mut [SentBatch],
    version: i16,
    config: &ProducerConfig,
) -> ProduceRequest {
    sent.sort_by(|left, right| left.topic.cmp(&right.topic));
    let mut topic_data: Vec<TopicProduceData> = Vec::new();
    for batches in sent.chunk_by(|left, right| left.topic == right.topic) {
        let data = |batch: &SentBatch| PartitionProduceData {
            index: batch.partition,
            records: Some(batch.bytes.clone()),
        };
        let by_id = version >= TOPIC_IDS_FROM;
        topic_data.push(TopicProduceData {
            name: if by_id { String::new() } else { batches[0].topic.to_string() },
            topic_id: if by_id { batches[0].topic_id } else { Uuid::ZERO },
            partition_data: batches.iter().map(data).collect(),
        });
    }
    let timeout_ms = config.common.request_timeout.as_millis();
    ProduceRequest {
        transactional_id: None,
        acks: match config.acks {
            Acks::All => -1,
            Acks::Leader => 1,
            Acks::None => 0,
        },
        timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
        topic_data,
    }
}

/// The answer to a request that gets none: written somewhere.
pub(super) fn unknown_offsets(sent: &[SentBatch]) -> ProduceResponse {
    use kohort_protocol::messages::produce::TopicProduceResponse;
    let response = |batch: &SentBatch| TopicProduceResponse {
        name: batch.topic.to_string(),
        partition_responses: vec![PartitionProduceResponse {
            index: batch.partition,
            base_offset: -1,
            ..PartitionProduceResponse::default()
        }],
        ..TopicProduceResponse::default()
    };
    ProduceResponse { responses: sent.iter().map(response).collect(), ..ProduceResponse::default() }
}

/// Asks for a producer id until there is one or a broker refuses for good.
pub(super) async fn identify(
    cluster: Cluster,
    pause: Duration,
) -> Result<ProducerIdentity, ClusterError> {
    loop {
        match ask_identity(&cluster).await {
            Err(error) if error.is_retriable() => {
                tracing::debug!(%error, "no producer id yet");
                tokio::time::sleep(pause).await;
            }
            outcome => return outcome,
        }
    }
}

async fn ask_identity(cluster: &Cluster) -> Result<ProducerIdentity, ClusterError> {
    let connection = cluster.any_connection().await?;
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let answer: <InitProducerIdRequest as Request>::Response = connection.send(&request).await?;
    match answer.error_code {
        ErrorCode::NONE => {
            Ok(ProducerIdentity { producer_id: answer.producer_id, epoch: answer.producer_epoch })
        }
        code => {
            Err(ClusterError::Refused { what: "a producer id".to_owned(), code, message: None })
        }
    }
}

/// Asks how large a batch the topic takes; `None` if nobody tells.
pub(super) async fn ask_size_limit(cluster: Cluster, topic: Arc<str>) -> Option<usize> {
    let connection = cluster.any_connection().await.ok()?;
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: topic.to_string(),
            configuration_keys: Some(vec![SIZE_LIMIT.to_owned()]),
        }],
        ..DescribeConfigsRequest::default()
    };
    let answer = connection.send(&request).await.ok()?;
    let mut keys = answer.results.into_iter().flat_map(|result| result.configs);
    keys.find(|key| key.name == SIZE_LIMIT)?.value?.parse().ok()
}

/// The first Produce version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

/// Kafka's number for topics among what is configured.
const TOPIC_RESOURCE: i8 = 2;

/// The topic's property that limits its batches.
const SIZE_LIMIT: &str = "max.message.bytes";
