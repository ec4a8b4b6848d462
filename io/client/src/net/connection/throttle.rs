//! Quotas: for how long a broker reads nothing more of a connection (KIP-219).
//!
//! A broker whose quota a request exceeds answers it at once and says for how long it passes over the
//! connection from then on. What is sent meanwhile lies unread: so nothing is, and what is under way
//! already gets that much more time, since its answer is late by it. Java's client keeps to the same, by the
//! same versions: before them a broker held the answer back instead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kohort_protocol::header::{decode_response_header, response_header_version};
use kohort_protocol::messages::api_versions::ApiVersionsResponse;
use kohort_protocol::{ApiKey, DecodeError, Reader};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::net::answer::decode_body;
use crate::net::timers::after;

/// How often and for how long brokers throttled answers to one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttled {
    /// How many answers said so.
    pub answers: u64,
    /// How long all of it was.
    pub total: Duration,
    /// How long the longest was.
    pub longest: Duration,
}

/// What brokers throttled, over all connections of a client. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Throttles {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    by_api: BTreeMap<ApiKey, Throttled>,
    /// Until when each broker reads nothing of a connection.
    until: BTreeMap<Arc<str>, Instant>,
}

impl Throttles {
    /// Returns what was throttled since the client was built, by API: Kafka's `produce-throttle-time` and
    /// `fetch-throttle-time` among others.
    pub fn by_api(&self) -> BTreeMap<ApiKey, Throttled> {
        self.inner.lock().by_api.clone()
    }

    /// Returns for how long brokers, by address, read nothing more of a connection.
    pub fn now(&self) -> BTreeMap<Arc<str>, Duration> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.until.retain(|_, until| *until > now);
        inner.until.iter().map(|(address, until)| (address.clone(), *until - now)).collect()
    }

    pub(super) fn note(&self, address: &Arc<str>, api: ApiKey, time: Duration) {
        let mut inner = self.inner.lock();
        let until = after(Instant::now(), time);
        let latest = inner.until.entry(address.clone()).or_insert(until);
        *latest = until.max(*latest);
        let throttled = inner.by_api.entry(api).or_default();
        throttled.answers += 1;
        throttled.total = throttled.total.saturating_add(time);
        throttled.longest = throttled.longest.max(time);
    }
}

/// Returns for how long the broker reads nothing more of the connection it sent this answer over.
pub(super) fn throttle_time(api: ApiKey, version: i16, answer: &Bytes) -> Option<Duration> {
    // Whoever asked is told of an answer that cannot be read.
    let ms = read(api, version, answer).ok()??;
    let time = Duration::from_millis(u64::try_from(ms).ok()?).min(TIME_MAX);
    (!time.is_zero()).then_some(time)
}

/// The longest that is believed: far longer than the windows brokers measure quotas over, and short enough
/// for a client to come back from a number that is wrong.
const TIME_MAX: Duration = Duration::from_secs(300);

fn read(api: ApiKey, version: i16, answer: &Bytes) -> Result<Option<i32>, DecodeError> {
    let Some(_) = throttles_from(api).filter(|from| version >= *from) else { return Ok(None) };
    match api {
        ApiKey::Produce => {
            let mut reader = Reader::new(answer);
            decode_response_header(&mut reader, api, version)?;
            reader.set_flexible(response_header_version(api, version) == 1);
            skip_outcomes(&mut reader, version)?;
            reader.read_i32().map(Some)
        }
        ApiKey::ApiVersions => {
            decode_body::<ApiVersionsResponse>(answer, version).map(|it| Some(it.throttle_time_ms))
        }
        _ => {
            let mut reader = Reader::new(answer);
            decode_response_header(&mut reader, api, version)?;
            if api == ApiKey::OffsetDelete {
                // The error code.
                reader.read_i16()?;
            }
            reader.read_i32().map(Some)
        }
    }
}

/// Passes over what an answer to Produce says of each batch, which comes before the time: whoever asked takes it
/// apart, and every other answer of a producer is one of these.
fn skip_outcomes(reader: &mut Reader<'_>, version: i16) -> Result<(), DecodeError> {
    for _ in 0..reader.read_array_length()?.unwrap_or(0) {
        if version >= 13 {
            reader.skip(UUID_BYTES)?;
        } else {
            reader.read_label()?;
        }
        for _ in 0..reader.read_array_length()?.unwrap_or(0) {
            reader.skip(OUTCOME_BYTES)?;
            if version >= 8 {
                for _ in 0..reader.read_array_length()?.unwrap_or(0) {
                    // The record's place in the batch.
                    reader.read_i32()?;
                    reader.read_label()?;
                    skip_tagged_fields(reader)?;
                }
                reader.read_label()?;
            }
            skip_tagged_fields(reader)?;
        }
        skip_tagged_fields(reader)?;
    }
    Ok(())
}

fn skip_tagged_fields(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    if reader.is_flexible() { reader.skip_tagged_fields() } else { Ok(()) }
}

const UUID_BYTES: usize = 16;
/// The partition, the error, the first offset, the time of the append and the log's start.
const OUTCOME_BYTES: usize = 4 + 2 + 8 + 8 + 8;

/// Returns the first version whose answer leaves it to the client to wait. But for the three above, it is the
/// first field from there on.
fn throttles_from(api: ApiKey) -> Option<i16> {
    use ApiKey as A;
    Some(match api {
        A::Fetch => 8,
        A::Produce | A::Metadata => 6,
        A::OffsetCommit | A::OffsetFetch => 4,
        A::CreateTopics | A::JoinGroup | A::ListOffsets => 3,
        A::ApiVersions
        | A::DeleteTopics
        | A::DescribeConfigs
        | A::DescribeGroups
        | A::FindCoordinator
        | A::Heartbeat
        | A::LeaveGroup
        | A::ListGroups
        | A::OffsetForLeaderEpoch
        | A::SyncGroup => 2,
        A::AlterConfigs
        | A::CreateAcls
        | A::CreatePartitions
        | A::DeleteAcls
        | A::DeleteGroups
        | A::DeleteRecords
        | A::DescribeAcls
        | A::DescribeLogDirs
        | A::InitProducerId => 1,
        A::AlterClientQuotas
        | A::AlterUserScramCredentials
        | A::ConsumerGroupDescribe
        | A::ConsumerGroupHeartbeat
        | A::DescribeClientQuotas
        | A::DescribeCluster
        | A::DescribeUserScramCredentials
        | A::IncrementalAlterConfigs
        | A::OffsetDelete => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use kohort_protocol::messages as m;
    use kohort_protocol::{Message, Uuid, frame};

    use super::*;

    /// Checks every version of an answer that says "two seconds": it is read where the client has to wait.
    fn check<M: Message>(answer: &M) {
        for version in M::VERSIONS.min..=M::VERSIONS.max {
            let frame = frame::encode_response(answer, version, 7).unwrap();
            let read = throttle_time(M::API_KEY, version, &frame.slice(frame::LENGTH_BYTES..));
            let waits = throttles_from(M::API_KEY).is_some_and(|from| version >= from);
            let expected = waits.then_some(Duration::from_secs(2));
            assert_eq!(read, expected, "{:?} {version}", M::API_KEY);
        }
    }

    macro_rules! check_all {
        ($($module:ident :: $response:ident,)*) => {
            $(check(&m::$module::$response { throttle_time_ms: 2_000, ..Default::default() });)*
        };
    }

    #[test]
    fn the_time_is_found_in_every_answer_that_leaves_waiting_to_the_client() {
        check_all! {
            alter_client_quotas::AlterClientQuotasResponse,
            alter_configs::AlterConfigsResponse,
            alter_user_scram_credentials::AlterUserScramCredentialsResponse,
            api_versions::ApiVersionsResponse,
            consumer_group_describe::ConsumerGroupDescribeResponse,
            consumer_group_heartbeat::ConsumerGroupHeartbeatResponse,
            create_acls::CreateAclsResponse,
            create_partitions::CreatePartitionsResponse,
            create_topics::CreateTopicsResponse,
            delete_acls::DeleteAclsResponse,
            delete_groups::DeleteGroupsResponse,
            delete_records::DeleteRecordsResponse,
            delete_topics::DeleteTopicsResponse,
            describe_acls::DescribeAclsResponse,
            describe_client_quotas::DescribeClientQuotasResponse,
            describe_cluster::DescribeClusterResponse,
            describe_configs::DescribeConfigsResponse,
            describe_groups::DescribeGroupsResponse,
            describe_log_dirs::DescribeLogDirsResponse,
            describe_user_scram_credentials::DescribeUserScramCredentialsResponse,
            fetch::FetchResponse,
            find_coordinator::FindCoordinatorResponse,
            heartbeat::HeartbeatResponse,
            incremental_alter_configs::IncrementalAlterConfigsResponse,
            init_producer_id::InitProducerIdResponse,
            join_group::JoinGroupResponse,
            leave_group::LeaveGroupResponse,
            list_groups::ListGroupsResponse,
            list_offsets::ListOffsetsResponse,
            metadata::MetadataResponse,
            offset_commit::OffsetCommitResponse,
            offset_delete::OffsetDeleteResponse,
            offset_fetch::OffsetFetchResponse,
            offset_for_leader_epoch::OffsetForLeaderEpochResponse,
            produce::ProduceResponse,
            sync_group::SyncGroupResponse,
        }
    }

    #[test]
    fn the_time_is_found_behind_whatever_an_answer_says_of_batches() {
        use m::produce::{
            BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
            ProduceResponse, TopicProduceResponse,
        };
        for version in 6..=ProduceResponse::VERSIONS.max {
            let mut outcome = PartitionProduceResponse { index: 1, ..Default::default() };
            if version >= 8 {
                let message = |text: &str| Some(text.to_owned());
                let named = |batch_index, batch_index_error_message| BatchIndexAndErrorMessage {
                    batch_index,
                    batch_index_error_message,
                };
                outcome.record_errors = vec![named(0, message("bad")), named(7, None)];
                outcome.error_message = message("two are bad");
            }
            let mut answer = ProduceResponse { throttle_time_ms: 2_000, ..Default::default() };
            if version >= 10 {
                outcome.current_leader = LeaderIdAndEpoch { leader_id: 3, leader_epoch: 4 };
                answer.node_endpoints = vec![NodeEndpoint { node_id: 3, ..Default::default() }];
            }
            for name in ["one", "another"] {
                let mut topic = TopicProduceResponse::default();
                if version >= 13 {
                    topic.topic_id = Uuid([9; 16]);
                } else {
                    topic.name = name.to_owned();
                }
                topic.partition_responses =
                    vec![outcome.clone(), PartitionProduceResponse::default()];
                answer.responses.push(topic);
            }
            let frame = frame::encode_response(&answer, version, 7).unwrap();
            let frame = frame.slice(frame::LENGTH_BYTES..);
            let read = throttle_time(ApiKey::Produce, version, &frame);
            assert_eq!(read, Some(Duration::from_secs(2)), "version {version}");
        }
    }

    #[test]
    fn what_is_no_time_counts_as_none_and_too_long_a_one_as_the_longest() {
        let read = |throttle_time_ms, length: usize| {
            let answer = m::heartbeat::HeartbeatResponse { throttle_time_ms, ..Default::default() };
            let frame = frame::encode_response(&answer, 4, 7).unwrap();
            throttle_time(ApiKey::Heartbeat, 4, &frame.slice(frame::LENGTH_BYTES..length))
        };
        assert_eq!([0, -1].map(|ms| read(ms, 13)), [None, None]);
        assert_eq!(read(i32::MAX, 13), Some(TIME_MAX));
        assert_eq!(read(2_000, 12), None, "it is cut");
    }
}
