//! What a request costs its client, while there are quotas: counted once it is answered, and told in
//! the answer.

use super::Counted;
use crate::node::Node;
use crate::outgoing::Piece;
use crate::request::{Answer, Context, Response};
use bytes::{BufMut, Bytes, BytesMut};
use kohort_protocol::ApiKey;
use kohort_protocol::header::response_header_version;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One request's toll.
pub(crate) struct Toll {
    node: Arc<Node>,
    key: ApiKey,
    version: i16,
    client_id: String,
    request_bytes: usize,
    started: Instant,
}

impl Toll {
    /// Begins to count a request, if there are quotas.
    pub(crate) fn begin(node: &Arc<Node>, context: &Context, request_bytes: usize) -> Option<Self> {
        node.metadata.quotas.any().then(|| Self {
            node: Arc::clone(node),
            key: context.api_key,
            version: context.version,
            client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
            request_bytes,
            started: Instant::now(),
        })
    }

    /// Takes the toll of an answer. What counts as a request's time is the time until here: waiting for
    /// the disk or for records takes no processor.
    pub(crate) fn of(self, answer: Answer) -> Answer {
        let took = self.started.elapsed();
        match answer {
            Answer::Ready(response) => Answer::Ready(self.take(response, took)),
            Answer::Later(future) => {
                Answer::Later(Box::pin(async move { self.take(future.await, took) }))
            }
            Answer::OfShard(answer) => {
                Answer::Later(Box::pin(async move { self.take(answer.await, took) }))
            }
            Answer::Blocked(future) => {
                Answer::Blocked(Box::pin(async move { self.take(future.await, took) }))
            }
        }
    }

    fn take(self, response: Response, took: Duration) -> Response {
        let quotas = &self.node.metadata.quotas;
        let now = self.node.clock.steady();
        let bytes = match self.key {
            ApiKey::Produce => Some((Counted::BytesProduced, self.request_bytes)),
            ApiKey::Fetch => Some((Counted::BytesConsumed, response.bytes())),
            _ => None,
        };
        let for_bytes = bytes.map_or(Duration::ZERO, |(what, bytes)| {
            quotas.count(what, &self.client_id, bytes as f64, now)
        });
        let wait = for_bytes.max(quotas.count_time(&self.client_id, took, now));
        if wait.is_zero() {
            return response;
        }
        let told = tell(response, self.key, self.version, wait);
        Response::Throttled(wait, Box::new(told))
    }
}

/// Writes into a response how long its client is to wait, if it has a place for that.
fn tell(response: Response, key: ApiKey, version: i16, wait: Duration) -> Response {
    match response {
        Response::Frame(frame) => Response::Frame(told(&frame, key, version, wait)),
        Response::Pieces(mut pieces) => {
            // A Fetch response: the place is near its beginning.
            if let Some(Piece::Bytes(first)) = pieces.first_mut() {
                *first = told(first, key, version, wait);
            }
            Response::Pieces(pieces)
        }
        Response::WithErrors(errors, inner) => {
            Response::WithErrors(errors, Box::new(tell(*inner, key, version, wait)))
        }
        other => other,
    }
}

fn told(frame: &Bytes, key: ApiKey, version: i16, wait: Duration) -> Bytes {
    let body = LENGTH + CORRELATION_ID + usize::from(response_header_version(key, version) > 0);
    let place = match key {
        // After the topics; from version 9 on the number of tagged fields follows, which is none.
        ApiKey::Produce if version >= 9 => frame.len().checked_sub(5),
        ApiKey::Produce => frame.len().checked_sub(4),
        ApiKey::OffsetDelete => Some(body + 2),
        _ => (version >= told_first_since(key)).then_some(body),
    };
    let Some(place) = place.filter(|place| place + 4 <= frame.len()) else { return frame.clone() };
    let mut bytes = BytesMut::from(&frame[..]);
    (&mut bytes[place..place + 4]).put_i32(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
    bytes.freeze()
}

const LENGTH: usize = 4;
const CORRELATION_ID: usize = 4;

/// Returns from which version on a response begins with the time to wait.
const fn told_first_since(key: ApiKey) -> i16 {
    match key {
        ApiKey::Metadata | ApiKey::OffsetCommit | ApiKey::OffsetFetch => 3,
        ApiKey::ListOffsets | ApiKey::JoinGroup | ApiKey::OffsetForLeaderEpoch => 2,
        ApiKey::Fetch
        | ApiKey::FindCoordinator
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::DeleteTopics => 1,
        // These have it elsewhere, or not at all.
        ApiKey::ApiVersions | ApiKey::DescribeQuorum | ApiKey::SaslHandshake => i16::MAX,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::APIS;
    use kohort_protocol::frame::encode_response;
    use kohort_protocol::header::decode_response_header;
    use kohort_protocol::messages as m;
    use kohort_protocol::{Message, Reader};

    #[test]
    fn the_time_to_wait_is_written_where_each_version_has_it() {
        macro_rules! check {
            ($($key:ident: $response:ident,)*) => {{
                let wait = Duration::from_millis(1234);
                $(for version in m::$response::VERSIONS.iter() {
                    let mut response = m::$response::default();
                    response.throttle_time_ms = 1234;
                    let Ok(expected) = encode_response(&response, version, 1) else { continue };
                    response.throttle_time_ms = 0;
                    let frame = encode_response(&response, version, 1).unwrap();
                    let told = told(&frame, ApiKey::$key, version, wait);
                    assert_eq!(told, expected, "{} {version}", stringify!($key));
                    let told = told.slice(4..);
                    let mut reader = Reader::new(&told);
                    decode_response_header(&mut reader, ApiKey::$key, version).unwrap();
                    m::$response::decode(&mut reader, version).unwrap();
                })*
                [$(ApiKey::$key),*]
            }};
        }
        let checked = check! {
            Produce: ProduceResponse,
            Fetch: FetchResponse,
            ListOffsets: ListOffsetsResponse,
            Metadata: MetadataResponse,
            OffsetCommit: OffsetCommitResponse,
            OffsetFetch: OffsetFetchResponse,
            FindCoordinator: FindCoordinatorResponse,
            JoinGroup: JoinGroupResponse,
            Heartbeat: HeartbeatResponse,
            LeaveGroup: LeaveGroupResponse,
            SyncGroup: SyncGroupResponse,
            DescribeGroups: DescribeGroupsResponse,
            ListGroups: ListGroupsResponse,
            CreateTopics: CreateTopicsResponse,
            DeleteTopics: DeleteTopicsResponse,
            DeleteRecords: DeleteRecordsResponse,
            InitProducerId: InitProducerIdResponse,
            OffsetForLeaderEpoch: OffsetForLeaderEpochResponse,
            DescribeAcls: DescribeAclsResponse,
            CreateAcls: CreateAclsResponse,
            DeleteAcls: DeleteAclsResponse,
            DescribeConfigs: DescribeConfigsResponse,
            AlterConfigs: AlterConfigsResponse,
            AlterReplicaLogDirs: AlterReplicaLogDirsResponse,
            DescribeLogDirs: DescribeLogDirsResponse,
            CreatePartitions: CreatePartitionsResponse,
            DeleteGroups: DeleteGroupsResponse,
            ElectLeaders: ElectLeadersResponse,
            IncrementalAlterConfigs: IncrementalAlterConfigsResponse,
            AlterPartitionReassignments: AlterPartitionReassignmentsResponse,
            ListPartitionReassignments: ListPartitionReassignmentsResponse,
            OffsetDelete: OffsetDeleteResponse,
            DescribeClientQuotas: DescribeClientQuotasResponse,
            AlterClientQuotas: AlterClientQuotasResponse,
            DescribeUserScramCredentials: DescribeUserScramCredentialsResponse,
            AlterUserScramCredentials: AlterUserScramCredentialsResponse,
            UpdateFeatures: UpdateFeaturesResponse,
            DescribeCluster: DescribeClusterResponse,
            DescribeProducers: DescribeProducersResponse,
            ConsumerGroupHeartbeat: ConsumerGroupHeartbeatResponse,
            ConsumerGroupDescribe: ConsumerGroupDescribeResponse,
            ListConfigResources: ListConfigResourcesResponse,
            DescribeTopicPartitions: DescribeTopicPartitionsResponse,
        };
        let untold = [ApiKey::ApiVersions, ApiKey::DescribeQuorum];
        for api in APIS {
            assert!(checked.contains(&api.key) || untold.contains(&api.key), "{:?}", api.key);
        }
    }
}
