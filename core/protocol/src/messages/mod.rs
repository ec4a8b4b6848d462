//! Every request and response, one file per API.
//!
//! Field names are Kafka's in snake case; a field's versions, default and tag stand beside it. How
//! the declarations become code is told in the `message` module of this crate.

use crate::message::{Message, Request};
use crate::{ApiKey, VersionRange};

pub mod consumer_protocol;
pub mod group_records;

/// Lists the APIs: one module, one request, one response each.
macro_rules! apis {
    ($($module:ident: $api:ident, $request:ident => $response:ident;)*) => {
        $(pub mod $module;)*

        $(#[doc(inline)] pub use self::$module::{$request, $response};)*

        $(impl Request for $request {
            type Response = $response;
        })*

        /// Returns the versions of an API that this crate can read and write.
        pub fn versions(key: ApiKey) -> Option<VersionRange> {
            match key {
                $(ApiKey::$api => Some($request::VERSIONS),)*
                _ => None,
            }
        }

        /// Lists every message and payload.
        #[cfg(feature = "testing")]
        pub fn subjects() -> Vec<crate::testing::Subject> {
            use crate::testing::Subject;
            macro_rules! message {
                ($type:ident) => {
                    Subject::of::<$type>(
                        stringify!($type),
                        $type::VERSIONS,
                        $type::FLEXIBLE_FROM,
                    )
                };
            }
            use consumer_protocol::*;
            use group_records::*;
            use group_records::consumer_group::*;
            vec![
                $(message!($request), message!($response),)*
                message!(ConsumerProtocolSubscription),
                message!(ConsumerProtocolAssignment),
                message!(OffsetCommitKey),
                message!(OffsetCommitValue),
                message!(GroupMetadataKey),
                message!(GroupMetadataValue),
                message!(ConsumerGroupMetadataKey),
                message!(ConsumerGroupMetadataValue),
                message!(ConsumerGroupPartitionMetadataKey),
                message!(ConsumerGroupPartitionMetadataValue),
                message!(ConsumerGroupMemberMetadataKey),
                message!(ConsumerGroupMemberMetadataValue),
                message!(ConsumerGroupTargetAssignmentMetadataKey),
                message!(ConsumerGroupTargetAssignmentMetadataValue),
                message!(ConsumerGroupTargetAssignmentMemberKey),
                message!(ConsumerGroupTargetAssignmentMemberValue),
                message!(ConsumerGroupCurrentMemberAssignmentKey),
                message!(ConsumerGroupCurrentMemberAssignmentValue),
                message!(ConsumerGroupRegularExpressionKey),
                message!(ConsumerGroupRegularExpressionValue),
            ]
        }

        /// Returns the first version of an API in the flexible style, or `i16::MAX`.
        pub(crate) fn flexible_from(key: ApiKey) -> i16 {
            match key {
                $(ApiKey::$api => $request::FLEXIBLE_FROM,)*
                _ => i16::MAX,
            }
        }
    };
}

apis! {
    produce: Produce, ProduceRequest => ProduceResponse;
    fetch: Fetch, FetchRequest => FetchResponse;
    list_offsets: ListOffsets, ListOffsetsRequest => ListOffsetsResponse;
    metadata: Metadata, MetadataRequest => MetadataResponse;
    offset_commit: OffsetCommit, OffsetCommitRequest => OffsetCommitResponse;
    offset_fetch: OffsetFetch, OffsetFetchRequest => OffsetFetchResponse;
    find_coordinator: FindCoordinator, FindCoordinatorRequest => FindCoordinatorResponse;
    join_group: JoinGroup, JoinGroupRequest => JoinGroupResponse;
    heartbeat: Heartbeat, HeartbeatRequest => HeartbeatResponse;
    leave_group: LeaveGroup, LeaveGroupRequest => LeaveGroupResponse;
    sync_group: SyncGroup, SyncGroupRequest => SyncGroupResponse;
    describe_groups: DescribeGroups, DescribeGroupsRequest => DescribeGroupsResponse;
    list_groups: ListGroups, ListGroupsRequest => ListGroupsResponse;
    sasl_handshake: SaslHandshake, SaslHandshakeRequest => SaslHandshakeResponse;
    api_versions: ApiVersions, ApiVersionsRequest => ApiVersionsResponse;
    create_topics: CreateTopics, CreateTopicsRequest => CreateTopicsResponse;
    delete_topics: DeleteTopics, DeleteTopicsRequest => DeleteTopicsResponse;
    delete_records: DeleteRecords, DeleteRecordsRequest => DeleteRecordsResponse;
    init_producer_id: InitProducerId, InitProducerIdRequest => InitProducerIdResponse;
    offset_for_leader_epoch: OffsetForLeaderEpoch, OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse;
    add_partitions_to_txn: AddPartitionsToTxn, AddPartitionsToTxnRequest => AddPartitionsToTxnResponse;
    add_offsets_to_txn: AddOffsetsToTxn, AddOffsetsToTxnRequest => AddOffsetsToTxnResponse;
    end_txn: EndTxn, EndTxnRequest => EndTxnResponse;
    write_txn_markers: WriteTxnMarkers, WriteTxnMarkersRequest => WriteTxnMarkersResponse;
    txn_offset_commit: TxnOffsetCommit, TxnOffsetCommitRequest => TxnOffsetCommitResponse;
    describe_acls: DescribeAcls, DescribeAclsRequest => DescribeAclsResponse;
    create_acls: CreateAcls, CreateAclsRequest => CreateAclsResponse;
    delete_acls: DeleteAcls, DeleteAclsRequest => DeleteAclsResponse;
    describe_configs: DescribeConfigs, DescribeConfigsRequest => DescribeConfigsResponse;
    alter_configs: AlterConfigs, AlterConfigsRequest => AlterConfigsResponse;
    alter_replica_log_dirs: AlterReplicaLogDirs, AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse;
    describe_log_dirs: DescribeLogDirs, DescribeLogDirsRequest => DescribeLogDirsResponse;
    sasl_authenticate: SaslAuthenticate, SaslAuthenticateRequest => SaslAuthenticateResponse;
    create_partitions: CreatePartitions, CreatePartitionsRequest => CreatePartitionsResponse;
    delete_groups: DeleteGroups, DeleteGroupsRequest => DeleteGroupsResponse;
    elect_leaders: ElectLeaders, ElectLeadersRequest => ElectLeadersResponse;
    incremental_alter_configs: IncrementalAlterConfigs, IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    alter_partition_reassignments: AlterPartitionReassignments, AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse;
    list_partition_reassignments: ListPartitionReassignments, ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse;
    offset_delete: OffsetDelete, OffsetDeleteRequest => OffsetDeleteResponse;
    describe_client_quotas: DescribeClientQuotas, DescribeClientQuotasRequest => DescribeClientQuotasResponse;
    alter_client_quotas: AlterClientQuotas, AlterClientQuotasRequest => AlterClientQuotasResponse;
    describe_user_scram_credentials: DescribeUserScramCredentials, DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse;
    alter_user_scram_credentials: AlterUserScramCredentials, AlterUserScramCredentialsRequest => AlterUserScramCredentialsResponse;
    describe_quorum: DescribeQuorum, DescribeQuorumRequest => DescribeQuorumResponse;
    update_features: UpdateFeatures, UpdateFeaturesRequest => UpdateFeaturesResponse;
    describe_cluster: DescribeCluster, DescribeClusterRequest => DescribeClusterResponse;
    describe_producers: DescribeProducers, DescribeProducersRequest => DescribeProducersResponse;
    describe_transactions: DescribeTransactions, DescribeTransactionsRequest => DescribeTransactionsResponse;
    list_transactions: ListTransactions, ListTransactionsRequest => ListTransactionsResponse;
    consumer_group_heartbeat: ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse;
    consumer_group_describe: ConsumerGroupDescribe, ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse;
    list_config_resources: ListConfigResources, ListConfigResourcesRequest => ListConfigResourcesResponse;
    describe_topic_partitions: DescribeTopicPartitions, DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse;
}
