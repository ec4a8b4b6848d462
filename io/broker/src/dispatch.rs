//! From a frame to its handler.
//!
//! [`APIS`] is the one table of what this broker serves: ApiVersions is made from it, so a client is
//! told exactly what is true. What is not in it ends the connection, as in Kafka.

use crate::caller::Caller;
use crate::handlers;
use crate::metrics::Kind;
use crate::node::Node;
use crate::quota::toll::Toll;
use crate::request::{Answer, Context};
use bytes::Bytes;
use kohort_protocol::messages::api_versions::ApiVersion;
use kohort_protocol::{
    ApiKey, DecodeError, Message, Reader, RequestHeader, VersionRange, messages as m,
};
use std::sync::Arc;
use thiserror::Error;

/// Which requests of one connection may be under way together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// None: it starts when all before it are answered.
    Alone,
    /// Produce may follow Produce: the log keeps their order, and one fdatasync serves many.
    Produce,
    /// Commits and heartbeats may follow each other: their shard keeps their order.
    Group,
}

/// One API as it is served.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    /// What is told to clients.
    pub(crate) advertised: VersionRange,
    /// What is taken: all of the above but for Produce, see its handler.
    pub(crate) accepted: VersionRange,
    pub(crate) overlap: Overlap,
    start: fn(&Arc<Node>, Context, &mut Reader<'_>) -> Result<Answer, DecodeError>,
}

macro_rules! api {
    ($request:ty, $overlap:ident, $handler:path) => {
        api!($request, $overlap, $handler, <$request>::VERSIONS)
    };
    ($request:ty, $overlap:ident, $handler:path, $advertised:expr) => {
        Api {
            key: <$request>::API_KEY,
            advertised: $advertised,
            accepted: <$request>::VERSIONS,
            overlap: Overlap::$overlap,
            start: |node, context, reader| {
                let request = <$request>::decode(reader, context.version)?;
                Ok($handler(node, context, request))
            },
        }
    };
}

/// Everything this broker serves, in the order of the keys.
pub(crate) const APIS: &[Api] = &[
    api!(m::ProduceRequest, Produce, handlers::produce::handle, handlers::produce::ADVERTISED),
    api!(m::FetchRequest, Alone, handlers::fetch::handle),
    api!(m::ListOffsetsRequest, Alone, handlers::list_offsets::handle),
    api!(m::MetadataRequest, Alone, handlers::metadata::handle),
    api!(m::OffsetCommitRequest, Group, handlers::groups::handle),
    api!(m::OffsetFetchRequest, Group, handlers::groups::handle),
    api!(m::FindCoordinatorRequest, Alone, handlers::find_coordinator::handle),
    api!(m::JoinGroupRequest, Group, handlers::groups::handle),
    api!(m::HeartbeatRequest, Group, handlers::groups::handle),
    api!(m::LeaveGroupRequest, Group, handlers::groups::handle),
    api!(m::SyncGroupRequest, Group, handlers::groups::handle),
    api!(m::DescribeGroupsRequest, Alone, handlers::groups::handle),
    api!(m::ListGroupsRequest, Alone, handlers::groups::handle),
    api!(m::ApiVersionsRequest, Alone, handlers::api_versions::handle),
    api!(m::CreateTopicsRequest, Alone, handlers::create_topics::handle),
    api!(m::DeleteTopicsRequest, Alone, handlers::delete_topics::handle),
    api!(m::DeleteRecordsRequest, Alone, handlers::delete_records::handle),
    api!(m::InitProducerIdRequest, Alone, handlers::init_producer_id::handle),
    api!(m::OffsetForLeaderEpochRequest, Alone, handlers::offset_for_leader_epoch::handle),
    api!(m::DescribeAclsRequest, Alone, handlers::acls::describe),
    api!(m::CreateAclsRequest, Alone, handlers::acls::create),
    api!(m::DeleteAclsRequest, Alone, handlers::acls::delete),
    api!(m::DescribeConfigsRequest, Alone, handlers::describe_configs::handle),
    api!(m::AlterConfigsRequest, Alone, handlers::alter_configs::replace),
    api!(m::AlterReplicaLogDirsRequest, Alone, handlers::alter_replica_log_dirs::handle),
    api!(m::DescribeLogDirsRequest, Alone, handlers::describe_log_dirs::handle),
    api!(m::CreatePartitionsRequest, Alone, handlers::create_partitions::handle),
    api!(m::DeleteGroupsRequest, Alone, handlers::groups::handle),
    api!(m::ElectLeadersRequest, Alone, handlers::elect_leaders::handle),
    api!(m::IncrementalAlterConfigsRequest, Alone, handlers::alter_configs::incremental),
    api!(m::AlterPartitionReassignmentsRequest, Alone, handlers::partition_reassignments::alter),
    api!(m::ListPartitionReassignmentsRequest, Alone, handlers::partition_reassignments::list),
    api!(m::OffsetDeleteRequest, Alone, handlers::groups::handle),
    api!(m::DescribeClientQuotasRequest, Alone, handlers::client_quotas::describe),
    api!(m::AlterClientQuotasRequest, Alone, handlers::client_quotas::alter),
    api!(m::DescribeUserScramCredentialsRequest, Alone, handlers::user_scram::describe),
    api!(m::AlterUserScramCredentialsRequest, Alone, handlers::user_scram::alter),
    api!(m::DescribeQuorumRequest, Alone, handlers::describe_quorum::handle),
    api!(m::UpdateFeaturesRequest, Alone, handlers::update_features::handle),
    api!(m::DescribeClusterRequest, Alone, handlers::describe_cluster::handle),
    api!(m::DescribeProducersRequest, Alone, handlers::describe_producers::handle),
    api!(m::ConsumerGroupHeartbeatRequest, Group, handlers::groups::handle),
    api!(m::ConsumerGroupDescribeRequest, Alone, handlers::groups::handle),
    api!(m::ListConfigResourcesRequest, Alone, handlers::list_config_resources::handle),
    api!(m::DescribeTopicPartitionsRequest, Alone, handlers::describe_topic_partitions::handle),
];

/// A request no response can be given to. Its connection ends.
#[derive(Debug, Error)]
pub(crate) enum Unanswerable {
    #[error("a request header is malformed: {0}")]
    Header(DecodeError),
    #[error("API key {0} is not served")]
    UnknownApi(i16),
    #[error("{key:?} in version {version} is not served, only in {served}")]
    UnsupportedVersion { key: ApiKey, version: i16, served: VersionRange },
    #[error("a {key:?} request in version {version} is malformed: {error}")]
    Body { key: ApiKey, version: i16, error: DecodeError },
}

/// Returns what ApiVersions tells of that.
pub(crate) fn advertised() -> Vec<ApiVersion> {
    let told = |api: &Api| ApiVersion {
        api_key: api.key as i16,
        min_version: api.advertised.min,
        max_version: api.advertised.max,
    };
    APIS.iter().map(told).collect()
}

/// Returns the class of requests with that key.
pub(crate) fn overlap(key: i16) -> Overlap {
    find(key).map_or(Overlap::Alone, |api| api.overlap)
}

/// A request that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) kind: Kind,
    pub(crate) overlap: Overlap,
    pub(crate) answer: Answer,
}

/// Starts one request.
pub(crate) fn start(
    node: &Arc<Node>,
    frame: Bytes,
    caller: &Arc<Caller>,
) -> Result<Started, Unanswerable> {
    let mut reader = Reader::new(&frame);
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(error) => return unreadable(node, &frame, error),
    };
    let version = header.api_version;
    let Some(api) = find(header.api_key) else {
        return Err(Unanswerable::UnknownApi(header.api_key));
    };
    let kind = Kind { api: api.key, version };
    node.metrics.requests.received(kind, frame.len());
    if !api.accepted.contains(version) {
        if api.key == ApiKey::ApiVersions {
            let answer = handlers::api_versions::unsupported(node, header.correlation_id);
            return Ok(Started { kind, overlap: Overlap::Alone, answer });
        }
        let served = api.accepted;
        return Err(Unanswerable::UnsupportedVersion { key: api.key, version, served });
    }
    let client_id = header.client_id.as_deref();
    let context = Context {
        api_key: api.key,
        version,
        correlation_id: header.correlation_id,
        client_id: node.groups.known(caller, client_id).name(client_id),
        caller: Arc::clone(caller),
    };
    let toll = Toll::begin(node, &context, frame.len());
    let answer = (api.start)(node, context, &mut reader).map_err(|error| Unanswerable::Body {
        key: api.key,
        version,
        error,
    })?;
    let answer = match toll {
        Some(toll) => toll.of(answer),
        None => answer,
    };
    let (overlap, answer) = match answer {
        // A request that could not start at once must not be overtaken.
        Answer::Blocked(future) => (Overlap::Alone, Answer::Later(future)),
        answer => (api.overlap, answer),
    };
    Ok(Started { kind, overlap, answer })
}

/// An ApiVersions request of a version we do not know may have a header we cannot read. It is
/// answered all the same, so that newer clients can step down (KIP-511).
fn unreadable(node: &Node, frame: &Bytes, error: DecodeError) -> Result<Started, Unanswerable> {
    let mut reader = Reader::new(frame);
    let key = reader.read_i16().ok();
    let (Ok(version), Ok(correlation_id)) = (reader.read_i16(), reader.read_i32()) else {
        return Err(Unanswerable::Header(error));
    };
    if key == Some(ApiKey::ApiVersions as i16)
        && let Some(api) = key.and_then(find)
        && !api.accepted.contains(version)
    {
        let answer = handlers::api_versions::unsupported(node, correlation_id);
        return Ok(Started {
            kind: Kind { api: ApiKey::ApiVersions, version },
            overlap: Overlap::Alone,
            answer,
        });
    }
    Err(Unanswerable::Header(error))
}

/// Returns the API with that key.
fn find(key: i16) -> Option<&'static Api> {
    APIS.binary_search_by_key(&key, |api| api.key as i16).ok().map(|at| &APIS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_keys() {
        assert!(APIS.is_sorted_by_key(|api| api.key as i16));
    }

    #[test]
    fn the_documentation_lists_exactly_what_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol-support.md");
        let expected: Vec<String> = APIS
            .iter()
            .map(|api| format!("| {} | {} | {} |", api.key as i16, api.key.name(), api.advertised))
            .collect();
        let mut document = std::fs::read_to_string(path).unwrap_or_default();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let head = document.find("|---|").expect("the document has a table");
            let head = document[head..].find('\n').expect("a line has an end") + head + 1;
            let tail = document[head..].find("\n\n").map_or(document.len(), |at| head + at + 1);
            document.replace_range(head..tail, &(expected.join("\n") + "\n"));
            std::fs::write(path, &document).expect("the document can be written");
        }
        let rows: Vec<&str> = document
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| key"))
            .collect();
        assert_eq!(
            rows, expected,
            "docs/protocol-support.md is not up to date; UPDATE_DOCS=1 rewrites it"
        );
    }
}
