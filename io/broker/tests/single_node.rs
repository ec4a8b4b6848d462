//! What a cluster of one answers to those who ask about security, replicas, quorums and producers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{batch_with, start};
use kohort_protocol::messages::alter_partition_reassignments::{
    ReassignablePartition, ReassignableTopic,
};
use kohort_protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kohort_protocol::messages::create_acls::AclCreation;
use kohort_protocol::messages::delete_acls::DeleteAclsFilter;
use kohort_protocol::messages::describe_producers::TopicRequest;
use kohort_protocol::messages::describe_quorum::{
    DescribeQuorumRequestPartition, DescribeQuorumRequestTopic,
};
use kohort_protocol::messages::elect_leaders::TopicPartitions;
use kohort_protocol::messages::update_features::FeatureUpdateKey;
use kohort_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, ApiVersionsRequest,
    CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, ElectLeadersRequest, ListConfigResourcesRequest,
    ListPartitionReassignmentsRequest, UpdateFeaturesRequest,
};
use kohort_protocol::records::BatchOptions;
use kohort_protocol::{ErrorCode, Message};

#[tokio::test]
async fn acls_are_refused_while_there_is_no_authorizer() {
    let running = start().await;
    let mut client = running.client().await;
    for version in 1..=DescribeAclsRequest::VERSIONS.max {
        let described = client.call(&DescribeAclsRequest::default(), version).await;
        assert_eq!(described.error_code, ErrorCode::SECURITY_DISABLED);
        let creations = vec![AclCreation::default(); 2];
        let created = client.call(&CreateAclsRequest { creations }, version).await;
        assert_eq!(created.results.len(), 2);
        assert_eq!(created.results[1].error_code, ErrorCode::SECURITY_DISABLED);
        let filters = vec![DeleteAclsFilter::default()];
        let deleted = client.call(&DeleteAclsRequest { filters }, version).await;
        assert_eq!(deleted.filter_results[0].error_code, ErrorCode::SECURITY_DISABLED);
    }
}

#[tokio::test]
async fn resources_with_properties_are_listed_by_type() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let mut list = async |resource_types: &[i8], version| {
        let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec() };
        let response = client.call(&request, version).await;
        let found = response.config_resources.into_iter();
        let found: Vec<_> = found.map(|r| (r.resource_type, r.resource_name)).collect();
        (response.error_code, found)
    };
    let broker = |kind| (kind, "1".to_owned());
    let all = vec![broker(8), broker(4), (2, "t".to_owned())];
    assert_eq!(list(&[], 1).await, (ErrorCode::NONE, all));
    assert_eq!(list(&[4], 1).await, (ErrorCode::NONE, vec![broker(4)]));
    assert_eq!(list(&[], 0).await, (ErrorCode::NONE, vec![]));
    assert_eq!(list(&[3], 1).await, (ErrorCode::UNSUPPORTED_VERSION, vec![]));
}

#[tokio::test]
async fn a_partitions_producers_are_described() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let options =
        BatchOptions { producer_id: 7, producer_epoch: 2, base_sequence: 5, ..Default::default() };
    assert!(client.produce("t", 0, batch_with(&["a", "b"], &options)).await.error_code.is_ok());
    let request = DescribeProducersRequest {
        topics: vec![TopicRequest { name: "t".to_owned(), partition_indexes: vec![0, 1] }],
    };
    let partitions = client.call(&request, 0).await.topics.remove(0).partitions;
    let producer = &partitions[0].active_producers[0];
    assert_eq!((producer.producer_id, producer.producer_epoch), (7, 2));
    assert_eq!((producer.last_sequence, producer.current_txn_start_offset), (6, -1));
    assert_eq!(producer.last_timestamp, 1_700_000_000_000);
    assert_eq!(partitions[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn this_node_is_the_quorum() {
    let running = start().await;
    let mut client = running.client().await;
    let topic = |name: &str| DescribeQuorumRequestTopic {
        topic_name: name.to_owned(),
        partitions: vec![DescribeQuorumRequestPartition { partition_index: 0 }],
    };
    let request = DescribeQuorumRequest { topics: vec![topic("__cluster_metadata"), topic("t")] };
    for version in 0..=2 {
        let response = client.call(&request, version).await;
        let quorum = &response.topics[0].partitions[0];
        assert_eq!((quorum.error_code, quorum.leader_id), (ErrorCode::NONE, 1));
        assert!(quorum.high_watermark > 0);
        assert_eq!(quorum.current_voters[0].log_end_offset, quorum.high_watermark);
        let other = &response.topics[1].partitions[0];
        assert_eq!(other.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let port = response.nodes.first().map(|node| node.listeners[0].port);
        assert_eq!(port, (version >= 2).then_some(running.broker.local_addr().port()));
    }
}

#[tokio::test]
async fn partitions_can_be_assigned_to_where_they_are() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let partition = |replicas| ReassignablePartition { partition_index: 0, replicas };
    let wanted = [Some(vec![1]), None, Some(vec![2]), Some(vec![]), Some(vec![1, 1])];
    let request = AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: "t".to_owned(),
            partitions: wanted.map(partition).to_vec(),
        }],
        ..AlterPartitionReassignmentsRequest::default()
    };
    let response = client.call(&request, 1).await.responses.remove(0);
    let codes: Vec<_> = response.partitions.iter().map(|partition| partition.error_code).collect();
    let refused = ErrorCode::INVALID_REPLICA_ASSIGNMENT;
    let none_in_progress = ErrorCode::NO_REASSIGNMENT_IN_PROGRESS;
    assert_eq!(codes, [ErrorCode::NONE, none_in_progress, refused, refused, refused]);
    let listed = client.call(&ListPartitionReassignmentsRequest::default(), 0).await;
    assert!(listed.error_code.is_ok() && listed.topics.is_empty());
}

#[tokio::test]
async fn elections_are_not_needed() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let some = |topic: &str| TopicPartitions { topic: topic.to_owned(), partitions: vec![0, 1] };
    let mut request = ElectLeadersRequest {
        topic_partitions: Some(vec![some("t")]),
        ..ElectLeadersRequest::default()
    };
    for version in 0..=2 {
        let results = client.call(&request, version).await.replica_election_results.remove(0);
        let codes: Vec<_> = results.partition_result.iter().map(|one| one.error_code).collect();
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        assert_eq!(codes, [ErrorCode::ELECTION_NOT_NEEDED, unknown]);
    }
    request.election_type = 2;
    let response = client.call(&request, 2).await;
    assert_eq!(response.error_code, ErrorCode::INVALID_REQUEST);
    assert_eq!(response.replica_election_results[0].partition_result.len(), 2);
    (request.election_type, request.topic_partitions) = (0, None);
    let response = client.call(&request, 2).await;
    assert!(response.replica_election_results[0].partition_result.is_empty());
}

#[tokio::test]
async fn partitions_stay_in_the_one_data_folder() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let dir = |path: &str| AlterReplicaLogDir {
        path: path.to_owned(),
        topics: vec![AlterReplicaLogDirTopic { name: "t".to_owned(), partitions: vec![0, 9] }],
    };
    let here = running.folder.path().display().to_string();
    let request = AlterReplicaLogDirsRequest { dirs: vec![dir(&here), dir("/elsewhere")] };
    let results = client.call(&request, 2).await.results;
    let codes: Vec<_> =
        results[0].partitions.iter().map(|partition| partition.error_code).collect();
    let (no_folder, no_partition) =
        (ErrorCode::LOG_DIR_NOT_FOUND, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(codes, [ErrorCode::NONE, no_partition, no_folder, no_folder]);
}

#[tokio::test]
async fn consumer_groups_are_announced_as_the_feature_they_are_in_kafka() {
    let running = start().await;
    let mut client = running.client().await;
    let request = ApiVersionsRequest {
        client_software_name: "t".to_owned(),
        client_software_version: "1".to_owned(),
    };
    for version in [3, 4] {
        let response = client.call(&request, version).await;
        let supported = response.supported_features.iter();
        let supported: Vec<_> =
            supported.map(|it| (it.name.as_str(), it.min_version, it.max_version)).collect();
        let finalized = response.finalized_features.iter();
        let finalized: Vec<_> = finalized
            .map(|it| (it.name.as_str(), it.min_version_level, it.max_version_level))
            .collect();
        assert_eq!((supported, finalized.len()), (finalized.clone(), 1));
        assert_eq!(finalized, [("group.version", 1, 1)]);
        assert_eq!(
            response.finalized_features_epoch, 0,
            "without an epoch clients look no further"
        );
    }
}

#[tokio::test]
async fn features_have_no_other_level_than_what_is_announced() {
    let running = start().await;
    let mut client = running.client().await;
    let mut request = UpdateFeaturesRequest::default();
    assert!(client.call(&request, 2).await.error_code.is_ok());
    let update = |feature: &str, max_version_level| FeatureUpdateKey {
        feature: feature.to_owned(),
        max_version_level,
        ..FeatureUpdateKey::default()
    };
    request.feature_updates = vec![update("group.version", 1)];
    assert!(client.call(&request, 2).await.error_code.is_ok());
    for (feature, level, why) in [
        ("group.version", 0, "Controller 1 only supports versions 1"),
        ("share.version", 1, "Controller 1 does not support this feature."),
    ] {
        request.feature_updates.truncate(1);
        request.feature_updates.push(update(feature, level));
        let response = client.call(&request, 2).await;
        assert_eq!(response.error_code, ErrorCode::INVALID_UPDATE_VERSION);
        let message = response.error_message.unwrap();
        let reason = format!("Invalid update version {level} for feature {feature}. {why}");
        assert!(message.ends_with(&reason), "{message}");
    }
}
