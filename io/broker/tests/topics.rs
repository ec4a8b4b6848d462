//! Topics and their properties: made, changed, deleted, and still there after a restart.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{batch, start, start_with, values};
use kohort_protocol::messages::alter_configs::{
    AlterConfigsResource as OldResource, AlterableConfig as OldConfig,
};
use kohort_protocol::messages::create_partitions::CreatePartitionsTopic;
use kohort_protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use kohort_protocol::messages::delete_topics::DeleteTopicState;
use kohort_protocol::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult,
};
use kohort_protocol::messages::describe_topic_partitions::DescribeTopicPartitionsRequestCursor;
use kohort_protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use kohort_protocol::messages::metadata::MetadataRequestTopic;
use kohort_protocol::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    MetadataRequest,
};
use kohort_protocol::{ErrorCode, Uuid};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

async fn config_of(
    client: &mut common::Client,
    kind: i8,
    name: &str,
    key: &str,
) -> DescribeConfigsResourceResult {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configuration_keys: Some(vec![key.to_owned()]),
        }],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    let mut result = client.call(&request, 4).await.results.remove(0);
    assert!(result.error_code.is_ok(), "{result:?}");
    result.configs.remove(0)
}

#[tokio::test]
async fn what_else_was_said_of_a_property_is_told_if_asked_for_the_nearest_first() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic_with("t", 1, &[("retention.ms", "7")]).await;
    let config = config_of(&mut client, TOPIC, "t", "retention.ms").await;
    let said = config.synonyms.iter().map(|it| (it.name.as_str(), it.value.as_deref(), it.source));
    let (topic, file, default) = (1, 4, 5);
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            ("retention.ms", Some("7"), topic),
            ("log.retention.ms", Some("-1"), file),
            ("log.retention.hours", Some("168"), default),
        ]
    );
    let mut request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".to_owned(),
            configuration_keys: Some(vec!["retention.ms".to_owned()]),
        }],
        ..DescribeConfigsRequest::default()
    };
    for include_synonyms in [false, true] {
        request.include_synonyms = include_synonyms;
        let result = client.call(&request, 4).await.results.remove(0);
        assert_eq!(!result.configs[0].synonyms.is_empty(), include_synonyms);
    }
}

fn change(
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> IncrementalAlterConfigsRequest {
    let configs = changes.iter().map(|(name, config_operation, value)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    });
    IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configs: configs.collect(),
        }],
        ..IncrementalAlterConfigsRequest::default()
    }
}

#[tokio::test]
async fn a_topic_is_created_on_demand_only_if_client_and_broker_allow_it() {
    let running = start().await;
    let mut client = running.client().await;
    let refused = client.describe("wanted", false).await;
    assert_eq!(refused.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let created = client.describe("wanted", true).await;
    assert_eq!((created.error_code, created.partitions.len()), (ErrorCode::NONE, 1));
    assert!(!created.topic_id.is_zero());
    let wanted = ["x", "y", "x"].map(|name| MetadataRequestTopic {
        name: Some(name.to_owned()),
        ..MetadataRequestTopic::default()
    });
    let request = MetadataRequest {
        topics: Some(wanted.into()),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let several = client.call(&request, 12).await.topics;
    let several: Vec<_> = several.into_iter().map(|it| (it.name.unwrap(), it.error_code)).collect();
    assert_eq!(several, ["x", "y"].map(|name| (name.to_owned(), ErrorCode::NONE)));

    let running = start_with(|builder| builder.set("auto.create.topics.enable", "false")).await;
    let refused = running.client().await.describe("wanted", true).await;
    assert_eq!(refused.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn topics_ids_and_properties_survive_a_restart() {
    let running = start().await;
    let mut client = running.client().await;
    let id = client.create_topic_with("t", 3, &[("retention.ms", "1234")]).await;
    let cluster = running.broker.cluster_id().to_owned();
    client.produce("t", 2, batch(&["kept"])).await;

    let running = running.restart().await;
    let mut client = running.client().await;
    let topic = client.describe("t", false).await;
    assert_eq!((topic.topic_id, topic.partitions.len()), (id, 3));
    assert_eq!(running.broker.cluster_id(), cluster);
    let config = config_of(&mut client, TOPIC, "t", "retention.ms").await;
    assert_eq!((config.value.as_deref(), config.config_source), (Some("1234"), 1));
    assert_eq!(values(&client.fetch("t", 2, 0).await), [(0, "kept".to_owned())]);
}

#[tokio::test]
async fn who_creates_a_topic_is_told_its_properties_and_where_they_come_from() {
    let running = start().await;
    let mut client = running.client().await;
    let topic = CreatableTopic {
        name: "t".to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![CreatableTopicConfig {
            name: "segment.ms".to_owned(),
            value: Some("1234".to_owned()),
        }],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let configs = client.call(&request, 5).await.topics.remove(0).configs.unwrap();
    let of = |name: &str| {
        let config = configs.iter().find(|config| config.name == name).unwrap();
        (config.value.as_deref(), config.config_source, config.read_only)
    };
    assert_eq!(of("segment.ms"), (Some("1234"), 1, false));
    assert_eq!(of("cleanup.policy"), (Some("delete"), 5, false));
}

#[tokio::test]
async fn all_topics_are_meant_by_none_and_in_the_first_version_by_an_empty_list() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    for (topics, version, expected) in
        [(Some(vec![]), 0, 1), (Some(vec![]), 1, 0), (None, 1, 1), (Some(vec![]), 12, 0)]
    {
        let request = MetadataRequest { topics, ..MetadataRequest::default() };
        let response = client.call(&request, version).await;
        assert_eq!(response.topics.len(), expected, "version {version}");
    }
}

#[tokio::test]
async fn what_is_allowed_is_told_to_who_asks_for_it() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    for asked in [false, true] {
        let request = MetadataRequest {
            topics: None,
            include_topic_authorized_operations: asked,
            include_cluster_authorized_operations: asked,
            ..MetadataRequest::default()
        };
        let metadata = client.call(&request, 10).await;
        let told = [
            metadata.cluster_authorized_operations,
            metadata.topics[0].topic_authorized_operations,
        ];
        assert_eq!(told.map(|bits| bits != i32::MIN), [asked; 2]);
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: asked,
            ..DescribeClusterRequest::default()
        };
        let cluster = client.call(&request, 1).await;
        assert_eq!(cluster.cluster_authorized_operations != i32::MIN, asked);
    }
}

#[tokio::test]
async fn a_password_is_marked_as_one_and_not_told() {
    let running = start().await;
    let mut client = running.client().await;
    let name = "listener.name.plaintext.ssl.keystore.password";
    let secret = [(name, 0, Some("xyzzy"))];
    assert!(client.call(&change(BROKER, "1", &secret), 1).await.responses[0].error_code.is_ok());
    for (name, sensitive) in [("ssl.keystore.password", true), ("ssl.protocol", false)] {
        let config = config_of(&mut client, BROKER, "1", name).await;
        assert_eq!(config.is_sensitive, sensitive, "{name}");
    }
    let everything = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: BROKER,
            resource_name: "1".to_owned(),
            // As Kafka, no name at all means every one.
            configuration_keys: Some(Vec::new()),
        }],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    let result = client.call(&everything, 4).await.results.remove(0);
    assert!(result.configs.len() > 200);
    assert!(!format!("{result:?}").contains("xyzzy"));
}

#[tokio::test]
async fn validate_only_creates_nothing() {
    let running = start().await;
    let mut client = running.client().await;
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "t".to_owned(),
            num_partitions: 2,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        validate_only: true,
        ..CreateTopicsRequest::default()
    };
    let response = client.call(&request, 7).await;
    assert_eq!(
        (response.topics[0].error_code, response.topics[0].num_partitions),
        (ErrorCode::NONE, 2)
    );
    let refused = client.describe("t", false).await;
    assert_eq!(refused.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn a_topic_named_twice_in_a_request_is_refused_and_the_others_are_made() {
    let running = start().await;
    let mut client = running.client().await;
    let topic = |name: &str| CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic("twice"), topic("once"), topic("twice")],
        ..CreateTopicsRequest::default()
    };
    let response = client.call(&request, 5).await;
    let codes: Vec<_> =
        response.topics.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
    assert_eq!(codes, [("once", ErrorCode::NONE), ("twice", ErrorCode::INVALID_REQUEST)]);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_its_name_can_be_used_again() {
    let running = start().await;
    let mut client = running.client().await;
    let id = client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["old"])).await;
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: None, topic_id: id }],
        ..DeleteTopicsRequest::default()
    };
    let response = client.call(&request, 6).await;
    assert_eq!(response.responses[0].name.as_deref(), Some("t"));
    assert!(response.responses[0].error_code.is_ok());
    assert_eq!(client.call(&request, 6).await.responses[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);

    let again = client.create_topic("t", 1).await;
    assert_ne!(again, id);
    assert_eq!(values(&client.fetch("t", 0, 0).await), []);

    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(client.describe("t", false).await.topic_id, again);
    assert_eq!(values(&client.fetch("t", 0, 0).await), []);
}

#[tokio::test]
async fn partitions_are_added_and_serve_at_once() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let grow = |count| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { name: "t".to_owned(), count, assignments: None }],
        ..CreatePartitionsRequest::default()
    };
    assert!(client.call(&grow(3), 3).await.results[0].error_code.is_ok());
    let refused = client.call(&grow(2), 3).await;
    assert_eq!(refused.results[0].error_code, ErrorCode::INVALID_PARTITIONS);
    assert_eq!(client.produce("t", 2, batch(&["x"])).await.base_offset, 0);
    let running = running.restart().await;
    assert_eq!(running.client().await.describe("t", false).await.partitions.len(), 3);
}

#[tokio::test]
async fn properties_are_set_appended_to_subtracted_from_and_deleted() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    for (changes, expected, source) in [
        ([("cleanup.policy", 2, Some("compact"))], "delete,compact", 1),
        ([("cleanup.policy", 3, Some("delete"))], "compact", 1),
        ([("cleanup.policy", 0, Some("delete"))], "delete", 1),
        ([("cleanup.policy", 1, None)], "delete", 5),
    ] {
        let response = client.call(&change(TOPIC, "t", &changes), 1).await;
        assert!(response.responses[0].error_code.is_ok(), "{response:?}");
        let config = config_of(&mut client, TOPIC, "t", "cleanup.policy").await;
        assert_eq!((config.value.as_deref(), config.config_source), (Some(expected), source));
    }
    let refused = client.call(&change(TOPIC, "t", &[("nonsense", 0, Some("1"))]), 1).await;
    assert_eq!(refused.responses[0].error_code, ErrorCode::INVALID_CONFIG);
    for (change_of, expected) in [
        (("retention.ms", 0, Some("1")), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (("retention.ms", 0, Some("-2")), ErrorCode::INVALID_CONFIG),
        (("nonsense", 0, Some("1")), ErrorCode::INVALID_CONFIG),
    ] {
        let refused = client.call(&change(TOPIC, "none", &[change_of]), 1).await;
        assert_eq!(refused.responses[0].error_code, expected, "{change_of:?}");
    }
}

#[tokio::test]
async fn the_older_form_of_altering_unsets_what_it_does_not_name() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic_with("t", 1, &[("max.compaction.lag.ms", "5")]).await;
    let request = AlterConfigsRequest {
        resources: vec![OldResource {
            resource_type: TOPIC,
            resource_name: "t".to_owned(),
            configs: vec![OldConfig { name: "segment.ms".to_owned(), value: Some("7".to_owned()) }],
        }],
        ..AlterConfigsRequest::default()
    };
    assert!(client.call(&request, 2).await.responses[0].error_code.is_ok());
    assert_eq!(config_of(&mut client, TOPIC, "t", "segment.ms").await.value.as_deref(), Some("7"));
    assert_eq!(config_of(&mut client, TOPIC, "t", "max.compaction.lag.ms").await.config_source, 5);
    let lags = ["min", "max"].map(|which| OldConfig {
        name: format!("{which}.compaction.lag.ms"),
        value: Some(if which == "min" { "9" } else { "8" }.to_owned()),
    });
    for (name, configs, expected) in [
        ("t", lags.to_vec(), ErrorCode::INVALID_CONFIG),
        ("none", vec![], ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("a b", vec![], ErrorCode::INVALID_TOPIC_EXCEPTION),
    ] {
        let resource_name = name.to_owned();
        let resource = OldResource { resource_type: TOPIC, resource_name, configs };
        let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
        assert_eq!(client.call(&request, 2).await.responses[0].error_code, expected, "{name}");
    }
}

#[tokio::test]
async fn a_dynamic_broker_property_is_in_force_at_once_and_after_a_restart() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let small = [("message.max.bytes", 0, Some("80"))];
    assert!(client.call(&change(BROKER, "", &small), 1).await.responses[0].error_code.is_ok());
    let refused = client.produce("t", 0, batch(&["x".repeat(100).as_str()])).await;
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    let running = running.restart().await;
    let mut client = running.client().await;
    let config = config_of(&mut client, BROKER, "1", "message.max.bytes").await;
    assert_eq!((config.value.as_deref(), config.config_source), (Some("80"), 3));
    let topic = config_of(&mut client, TOPIC, "t", "max.message.bytes").await;
    assert_eq!((topic.value.as_deref(), topic.config_source), (Some("80"), 3));

    let fixed = [("node.id", 0, Some("7"))];
    let refused = client.call(&change(BROKER, "1", &fixed), 1).await;
    assert_eq!(refused.responses[0].error_code, ErrorCode::INVALID_REQUEST);
}

#[tokio::test]
async fn a_topic_describes_every_property_kafka_has() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".to_owned(),
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let result = client.call(&request, 4).await.results.remove(0);
    assert_eq!(result.configs.len(), 33);
}

#[tokio::test]
async fn topics_are_described_page_by_page() {
    let running = start_with(|builder| builder.set("max.request.partition.size.limit", "4")).await;
    let mut client = running.client().await;
    client.create_topic("a", 2).await;
    client.create_topic("b", 3).await;
    for (limit, expected) in [
        (2, &[&["a0", "a1"][..], &["b0", "b1"], &["b2"]][..]),
        (3, &[&["a0", "a1", "b0"], &["b1", "b2"]]),
        (0, &[&["a0"], &["a1"], &["b0"], &["b1"], &["b2"]]),
        (2000, &[&["a0", "a1", "b0", "b1"], &["b2"]]),
    ] {
        let mut cursor = None;
        let mut pages = Vec::new();
        loop {
            let request = DescribeTopicPartitionsRequest {
                response_partition_limit: limit,
                cursor: cursor.take(),
                ..DescribeTopicPartitionsRequest::default()
            };
            let response = client.call(&request, 0).await;
            let mut page = Vec::new();
            for topic in response.topics {
                let name = topic.name.unwrap();
                page.extend(
                    topic.partitions.iter().map(|it| format!("{name}{}", it.partition_index)),
                );
            }
            pages.push(page);
            let Some(next) = response.next_cursor else { break };
            cursor = Some(DescribeTopicPartitionsRequestCursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
            });
        }
        assert_eq!(pages, expected);
    }
}

#[tokio::test]
async fn a_topic_stays_where_topics_may_not_be_deleted() {
    let running = start_with(|builder| builder.set("delete.topic.enable", "false")).await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let topic = DeleteTopicState { name: Some("t".to_owned()), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], ..DeleteTopicsRequest::default() };
    let response = client.call(&request, 6).await;
    assert_eq!(response.responses[0].error_code, ErrorCode::TOPIC_DELETION_DISABLED);
    assert!(client.describe("t", false).await.error_code.is_ok());
}

#[tokio::test]
async fn a_topic_that_is_to_grow_twice_in_a_request_is_refused_and_the_others_grow() {
    let running = start().await;
    let mut client = running.client().await;
    for name in ["twice", "once"] {
        client.create_topic(name, 1).await;
    }
    let grow = |name: &str, count| CreatePartitionsTopic {
        name: name.to_owned(),
        count,
        assignments: None,
    };
    let request = CreatePartitionsRequest {
        topics: vec![grow("twice", 2), grow("once", 2), grow("twice", 3)],
        ..CreatePartitionsRequest::default()
    };
    let results = client.call(&request, 3).await.results;
    let codes: Vec<_> = results.iter().map(|one| (one.name.as_str(), one.error_code)).collect();
    assert_eq!(codes, [("once", ErrorCode::NONE), ("twice", ErrorCode::INVALID_REQUEST)]);
    assert_eq!(client.describe("twice", false).await.partitions.len(), 1);
}

#[tokio::test]
async fn a_resource_that_cannot_be_altered_is_refused_and_the_others_are_altered() {
    let running = start().await;
    let mut client = running.client().await;
    for name in ["t", "twice", "two"] {
        client.create_topic(name, 1).await;
    }
    let set = |kind, name: &str| {
        let property = if kind == TOPIC { "segment.ms" } else { "message.max.bytes" };
        change(kind, name, &[(property, 0, Some("5000"))]).resources.remove(0)
    };
    let mut two = set(TOPIC, "two");
    two.configs.push(two.configs[0].clone());
    let request = IncrementalAlterConfigsRequest {
        resources: vec![
            set(TOPIC, "twice"),
            set(TOPIC, "t"),
            set(TOPIC, "twice"),
            two,
            set(TOPIC, ""),
            set(BROKER, "one"),
            set(BROKER, "2"),
        ],
        ..IncrementalAlterConfigsRequest::default()
    };
    let responses = client.call(&request, 1).await.responses;
    let answers: Vec<_> =
        responses.iter().map(|one| (one.resource_name.as_str(), one.error_code)).collect();
    let refused = ErrorCode::INVALID_REQUEST;
    let expected = ["twice", "t", "twice", "two", "", "one", "2"]
        .map(|name| (name, if name == "t" { ErrorCode::NONE } else { refused }));
    assert_eq!(answers, expected);
    for (name, source) in [("t", 1), ("twice", 5), ("two", 5)] {
        let config = config_of(&mut client, TOPIC, name, "segment.ms").await;
        assert_eq!(config.config_source, source, "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_described() {
    let running = start().await;
    let mut client = running.client().await;
    let (refused, fine) = (ErrorCode::INVALID_REQUEST, ErrorCode::NONE);
    for (resource_type, name, expected) in [
        (TOPIC, "none", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a b", ErrorCode::INVALID_TOPIC_EXCEPTION),
        (BROKER, "1", fine),
        (BROKER, "", fine),
        (BROKER, "2", refused),
        (BROKER, "one", refused),
        (BROKER_LOGGER, "1", fine),
        (BROKER_LOGGER, "2", refused),
        (BROKER_LOGGER, "", refused),
        (CLIENT_METRICS, "m", fine),
        (CLIENT_METRICS, "", refused),
        (GROUP, "g", fine),
        (GROUP, "", refused),
        (3, "x", refused),
    ] {
        let resource = DescribeConfigsResource {
            resource_type,
            resource_name: name.to_owned(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let result = client.call(&request, 4).await.results.remove(0);
        assert_eq!(result.error_code, expected, "{resource_type} {name}");
        assert!(expected.is_ok() || result.configs.is_empty(), "{resource_type} {name}");
    }
}

#[tokio::test]
async fn the_cluster_is_this_one_broker() {
    let running = start().await;
    let mut client = running.client().await;
    let port = i32::from(running.broker.local_addr().port());
    let metadata =
        client.call(&MetadataRequest { topics: None, ..MetadataRequest::default() }, 13).await;
    assert_eq!((metadata.brokers.len(), metadata.brokers[0].port), (1, port));
    assert_eq!(metadata.controller_id, 1);
    let cluster = client.call(&DescribeClusterRequest::default(), 2).await;
    assert_eq!((cluster.brokers[0].broker_id, cluster.brokers[0].port), (1, port));
    assert_eq!(Some(cluster.cluster_id), metadata.cluster_id);
}

#[tokio::test]
async fn log_directories_tell_the_size_of_partitions() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let records = batch(&["x"]);
    client.produce("t", 0, records.clone()).await;
    let response = client.call(&DescribeLogDirsRequest { topics: None }, 4).await;
    let topic = response.results[0].topics.iter().find(|topic| topic.name == "t").unwrap();
    assert_eq!(topic.partitions[0].partition_size, records.len() as i64);
}

#[tokio::test]
async fn an_unknown_topic_id_is_told_from_an_unknown_name() {
    let running = start().await;
    let mut client = running.client().await;
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id: Uuid([9; 16]), name: None }]),
        ..MetadataRequest::default()
    };
    let topic = client.call(&request, 12).await.topics.remove(0);
    assert_eq!((topic.error_code, topic.name), (ErrorCode::UNKNOWN_TOPIC_ID, None));
    // The versions before have a place for it, and cannot be asked by it.
    let topic = client.call(&request, 11).await.topics.remove(0);
    assert_eq!(topic.error_code, ErrorCode::INVALID_REQUEST);
}

#[tokio::test]
async fn a_group_s_own_properties_are_kept_described_and_listed() {
    let running = start().await;
    let mut client = running.client().await;
    let name = "consumer.session.timeout.ms";
    let response =
        client.call(&change(GROUP, "g", &[(name, 0, Some("50000"))]), 1).await.responses.remove(0);
    assert!(response.error_code.is_ok(), "{response:?}");
    let response =
        client.call(&change(GROUP, "g", &[(name, 0, Some("1"))]), 1).await.responses.remove(0);
    assert_eq!(response.error_code, ErrorCode::INVALID_CONFIG);
    assert_eq!(
        response.error_message.unwrap(),
        "consumer.session.timeout.ms must be at least group.consumer.min.session.timeout.ms",
    );

    let running = running.restart().await;
    let mut client = running.client().await;
    let entry = config_of(&mut client, GROUP, "g", name).await;
    assert_eq!((entry.value.as_deref(), entry.config_source), (Some("50000"), 8));
    let entry = config_of(&mut client, GROUP, "another", name).await;
    assert_eq!((entry.value.as_deref(), entry.config_source), (Some("45000"), 5));
    let list = ListConfigResourcesRequest { resource_types: vec![GROUP] };
    let listed = client.call(&list, 1).await.config_resources;
    assert_eq!(listed.iter().map(|of| &*of.resource_name).collect::<Vec<_>>(), ["g"]);

    client.call(&change(GROUP, "g", &[(name, 1, None)]), 1).await;
    assert!(client.call(&list, 1).await.config_resources.is_empty());
}
