//! The `kafka-protocol` crate as an oracle: an implementation that owes nothing to ours.
//!
//! Every message and version both know goes both ways: a random value of ours is decoded by theirs
//! and encoded again, then theirs is decoded by ours, and the bytes are the same throughout.

use bytes::Bytes;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use kohort_protocol::testing::{Dice, Subject, subjects};

const SEEDS: std::ops::Range<u64> = 0..25;

macro_rules! for_each_message {
    ($($name:ident),* $(,)?) => {
        /// Compares every message both know and returns how many pairs of name and version.
        fn compare_all(subjects: &[Subject]) -> usize {
            let find = |name| subjects.iter().find(|subject| subject.name == name);
            let mut compared = 0;
            $(
                let subject = find(stringify!($name)).expect("a message of ours");
                compared += compare::<theirs::$name>(subject);
            )*
            compared
        }
    };
}

for_each_message! {
    ProduceRequest, ProduceResponse, FetchRequest, FetchResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, JoinGroupRequest, JoinGroupResponse, HeartbeatRequest,
    HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse, DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest,
    ListGroupsResponse, SaslHandshakeRequest, SaslHandshakeResponse, ApiVersionsRequest,
    ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse, InitProducerIdRequest,
    InitProducerIdResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse, EndTxnRequest, EndTxnResponse, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    DescribeAclsRequest, DescribeAclsResponse, CreateAclsRequest, CreateAclsResponse,
    DeleteAclsRequest, DeleteAclsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    AlterConfigsRequest, AlterConfigsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
    SaslAuthenticateRequest, SaslAuthenticateResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse, AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse, DescribeClusterRequest, DescribeClusterResponse,
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse,
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse, ListConfigResourcesRequest, ListConfigResourcesResponse,
    DescribeQuorumRequest, DescribeQuorumResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
    ElectLeadersRequest, ElectLeadersResponse, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse, AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    ConsumerProtocolSubscription, ConsumerProtocolAssignment,
}

#[test]
fn both_sides_write_and_read_the_same_bytes() {
    let compared = compare_all(&subjects());
    assert_eq!(compared, COMPARED, "name and version pairs");
}

fn compare<T: Message + Encodable + Decodable + Default>(subject: &Subject) -> usize {
    let mut compared = 0;
    for version in subject.versions.iter() {
        if !(T::VERSIONS.min..=T::VERSIONS.max).contains(&version) {
            continue;
        }
        for seed in SEEDS {
            let sampled = subject.sample(&mut Dice::new(seed), version);
            let context = || format!("{} v{version} seed {seed}: {}", subject.name, sampled.debug);

            let mut bytes = sampled.bytes.clone();
            let value = T::decode(&mut bytes, version)
                .unwrap_or_else(|error| panic!("{error:#} in {}", context()));
            assert!(bytes.is_empty(), "they left {} bytes of {}", bytes.len(), context());
            assert_eq!(encoded(&value, version), sampled.bytes, "{}", context());
        }
        let default = encoded(&T::default(), version);
        assert_eq!(subject.recode(&default, version).as_ref(), Ok(&default), "{}", subject.name);
        let ours = subject.default_bytes(version);
        assert!(ours.is_empty() || ours == default, "default of {} v{version}", subject.name);
        compared += 1;
    }
    compared
}

fn encoded<T: Encodable>(value: &T, version: i16) -> Bytes {
    let mut bytes = Vec::new();
    value.encode(&mut bytes, version).expect("a value that was decoded, or the default");
    bytes.into()
}

/// A drop in this number means that a message or version is no longer compared.
const COMPARED: usize = 484;
