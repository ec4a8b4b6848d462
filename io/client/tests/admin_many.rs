//! The administrator's client and many objects: one request for each broker concerned, and an outcome for each
//! object.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;

use kohort::admin::{
    Admin, AdminError, CommittedOffset, ConfigChange, ConfigResource, GroupFilter, MemberToRemove,
    NewPartitions, NewTopic,
};
use kohort::net::NetError;
use kohort::{ApiKey, ErrorCode, TopicPartition};
use kohort_protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};
use kohort_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use kohort_protocol::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use kohort_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeConfigsResult,
};
use kohort_protocol::messages::describe_groups::{
    self, DescribeGroupsRequest, DescribeGroupsResponse,
};
use kohort_protocol::messages::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kohort_protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberResponse,
};
use kohort_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use kohort_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use support::nodes::{Call, Nodes};

fn admin(nodes: &Nodes) -> Admin {
    Admin::builder()
        .bootstrap_servers(&nodes.servers())
        .set("retry.backoff.ms", "5")
        .build()
        .unwrap()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The outcome of each object: its code, or what else failed.
fn codes<K: Ord, T>(outcomes: BTreeMap<K, Result<T, AdminError>>) -> BTreeMap<K, String> {
    let code = |result: Result<T, AdminError>| match result {
        Ok(_) => "done".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.to_string()),
    };
    outcomes.into_iter().map(|(object, result)| (object, code(result))).collect()
}

fn texts<K: ToString>(codes: BTreeMap<K, String>) -> Vec<String> {
    codes.into_iter().map(|(object, code)| format!("{}: {code}", object.to_string())).collect()
}

/// Answers that each group has committed the offset 7 in `t-0`, in every version.
fn committed(call: &Call) -> Vec<u8> {
    let asked = call.request::<OffsetFetchRequest>();
    if call.version() < 8 {
        let partition = OffsetFetchResponsePartition { committed_offset: 7, ..Default::default() };
        let topic = OffsetFetchResponseTopic { name: "t".to_owned(), partitions: vec![partition] };
        return call.answer(&OffsetFetchResponse { topics: vec![topic], ..Default::default() });
    }
    let group = |group_id: String| {
        let partition = OffsetFetchResponsePartitions { committed_offset: 7, ..Default::default() };
        let topic = OffsetFetchResponseTopics {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        OffsetFetchResponseGroup { group_id, topics: vec![topic], ..Default::default() }
    };
    let groups = asked.groups.into_iter().map(|it| group(it.group_id)).collect();
    call.answer(&OffsetFetchResponse { groups, ..Default::default() })
}

async fn offsets_of_five_groups(latest: &[(ApiKey, i16)]) -> Vec<i32> {
    let nodes = Nodes::of_versions(2, latest, |call| match call.api {
        ApiKey::FindCoordinator => call.coordinators(),
        ApiKey::OffsetFetch => committed(call),
        _ => call.metadata(&[1, 2], 1),
    });
    let groups = owned(&["1a", "1b", "1c", "2a", "denied"]);
    let listed = admin(&nodes).list_consumer_group_offsets(groups).await.unwrap();
    let offset = CommittedOffset { offset: 7, ..Default::default() };
    let offsets = BTreeMap::from([(TopicPartition::new("t", 0), offset)]);
    for group in ["1a", "1b", "1c", "2a"] {
        assert_eq!(listed[group].as_ref().unwrap(), &offsets);
    }
    let denied = listed["denied"].as_ref().unwrap_err();
    assert_eq!(denied.code(), Some(ErrorCode::GROUP_AUTHORIZATION_FAILED));
    nodes.asked(ApiKey::OffsetFetch)
}

#[tokio::test]
async fn offsets_of_many_groups_are_one_request_to_each_coordinator() {
    assert_eq!(offsets_of_five_groups(&[]).await, [1, 2]);
}

#[tokio::test]
async fn offsets_of_many_groups_are_one_request_each_where_a_broker_takes_one_group() {
    assert_eq!(offsets_of_five_groups(&[(ApiKey::OffsetFetch, 7)]).await, [1, 1, 1, 2]);
}

#[tokio::test]
async fn topics_are_created_and_grown_in_one_request_and_only_validated_where_asked() {
    let nodes = Nodes::start(1, |call| match call.api {
        ApiKey::CreateTopics => {
            let asked = call.request::<CreateTopicsRequest>();
            let topics = asked.topics.into_iter().map(|topic| CreatableTopicResult {
                error_code: match topic.name.as_str() {
                    "there" => ErrorCode::TOPIC_ALREADY_EXISTS,
                    "placed" => {
                        assert_eq!((topic.num_partitions, topic.replication_factor), (-1, -1));
                        let of_each = topic.assignments.iter();
                        let of_each: Vec<_> =
                            of_each.map(|it| (it.partition_index, it.broker_ids.clone())).collect();
                        assert_eq!(of_each, [(0, vec![1, 2]), (1, vec![2, 1])]);
                        ErrorCode::NONE
                    }
                    _ => ErrorCode::NONE,
                },
                name: topic.name,
                // So the answer tells whether it was asked for in earnest.
                num_partitions: if asked.validate_only { 0 } else { 3 },
                replication_factor: 2,
                ..Default::default()
            });
            let topics = topics.collect();
            call.answer(&CreateTopicsResponse { topics, ..Default::default() })
        }
        ApiKey::CreatePartitions => {
            let asked = call.request::<CreatePartitionsRequest>();
            let results = asked.topics.into_iter().map(|topic| {
                let placed = topic.assignments.map(|all| all[0].broker_ids.clone());
                assert_eq!(placed, (topic.name == "b").then(|| vec![2]), "{}", topic.name);
                let code = if topic.count > 3 && !asked.validate_only {
                    ErrorCode::NONE
                } else {
                    ErrorCode::INVALID_PARTITIONS
                };
                CreatePartitionsTopicResult {
                    name: topic.name,
                    error_code: code,
                    ..Default::default()
                }
            });
            let results = results.collect();
            call.answer(&CreatePartitionsResponse { results, ..Default::default() })
        }
        _ => call.metadata(&[1], 1),
    });
    let admin = admin(&nodes);
    let topics = || {
        let placed = NewTopic::new("placed").partitions(9).replicas([vec![1, 2], vec![2, 1]]);
        vec![NewTopic::new("new").partitions(3), NewTopic::new("there"), placed]
    };
    let created = admin.create_topics(topics()).await.unwrap();
    let new = created["new"].as_ref().unwrap();
    assert_eq!((new.partitions, new.replication_factor), (3, 2));
    let outcomes = ["new: done", "placed: done", "there: TOPIC_ALREADY_EXISTS"];
    assert_eq!(texts(codes(created)), outcomes);
    let validated = admin.validate_topics(topics()).await.unwrap();
    assert_eq!(validated["new"].as_ref().unwrap().partitions, 0);
    assert_eq!(nodes.asked(ApiKey::CreateTopics).len(), 2);

    let wanted = BTreeMap::from([
        ("a".to_owned(), NewPartitions::up_to(3)),
        ("b".to_owned(), NewPartitions::up_to(4).replicas([vec![2]])),
    ]);
    let grown = admin.create_partitions(wanted.clone()).await.unwrap();
    assert_eq!(texts(codes(grown)), ["a: INVALID_PARTITIONS", "b: done"]);
    let validated = admin.validate_partitions(wanted).await.unwrap();
    let outcomes = ["a: INVALID_PARTITIONS", "b: INVALID_PARTITIONS"];
    assert_eq!(texts(codes(validated)), outcomes);
    assert_eq!(nodes.asked(ApiKey::CreatePartitions).len(), 2);
}

#[tokio::test]
async fn configurations_are_one_request_and_those_of_brokers_one_to_each() {
    let nodes = Nodes::start(2, |call| match call.api {
        ApiKey::DescribeConfigs => {
            let asked = call.request::<DescribeConfigsRequest>().resources.into_iter();
            let result = |resource_type: i8, resource_name: String| DescribeConfigsResult {
                error_code: missing(&resource_name),
                resource_type,
                resource_name,
                ..Default::default()
            };
            let results = asked.map(|it| result(it.resource_type, it.resource_name)).collect();
            call.answer(&DescribeConfigsResponse { results, ..Default::default() })
        }
        ApiKey::IncrementalAlterConfigs => {
            let asked = call.request::<IncrementalAlterConfigsRequest>();
            let result = |resource_type, resource_name: String| AlterConfigsResourceResponse {
                error_code: if asked.validate_only {
                    ErrorCode::INVALID_CONFIG
                } else {
                    missing(&resource_name)
                },
                resource_type,
                resource_name,
                ..Default::default()
            };
            let asked_for = asked.resources.clone().into_iter();
            let responses = asked_for.map(|it| result(it.resource_type, it.resource_name));
            let responses = responses.collect();
            call.answer(&IncrementalAlterConfigsResponse { responses, ..Default::default() })
        }
        _ => call.metadata(&[1, 2], 1),
    });
    let admin = admin(&nodes);
    let resources = [
        ConfigResource::Topic("t".to_owned()),
        ConfigResource::Topic("missing".to_owned()),
        ConfigResource::Broker(2),
        ConfigResource::Broker(99),
        ConfigResource::Group("g".to_owned()),
    ];
    let outcomes = [
        "the configuration of topic `missing`: UNKNOWN_TOPIC_OR_PARTITION",
        "the configuration of topic `t`: done",
        "the configuration of broker 2: done",
        "the configuration of broker 99: the cluster has no broker 99",
        "the configuration of group `g`: done",
    ];
    let described = admin.describe_configs(resources.to_vec()).await.unwrap();
    assert_eq!(texts(codes(described)), outcomes);
    let asked = nodes.asked(ApiKey::DescribeConfigs);
    assert!(asked.len() == 2 && asked[1] == 2, "{asked:?}");

    let change = || vec![ConfigChange::Set("a".to_owned(), "1".to_owned())];
    let changes: BTreeMap<_, _> = resources.into_iter().map(|it| (it, change())).collect();
    let altered = admin.incremental_alter_configs(changes.clone()).await.unwrap();
    assert_eq!(texts(codes(altered)), outcomes);
    let validated = codes(admin.validate_config_changes(changes).await.unwrap());
    let refused = validated.values().filter(|code| *code == "INVALID_CONFIG").count();
    assert_eq!(refused, 4, "{validated:?}");
    assert_eq!(nodes.asked(ApiKey::IncrementalAlterConfigs).len(), 4);
}

fn missing(name: &str) -> ErrorCode {
    if name == "missing" { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::NONE }
}

#[tokio::test]
async fn groups_are_listed_by_state_and_type_or_not_at_all_where_a_broker_cannot() {
    let answer = |call: &Call| match call.api {
        ApiKey::ListGroups => {
            let asked = call.request::<ListGroupsRequest>();
            assert_eq!(
                (asked.states_filter, asked.types_filter),
                (owned(&["Empty"]), owned(&["classic"]))
            );
            let group = ListedGroup { group_id: format!("{}a", call.node), ..Default::default() };
            call.answer(&ListGroupsResponse { groups: vec![group], ..Default::default() })
        }
        _ => call.metadata(&[1, 2], 1),
    };
    let filter = GroupFilter::default().state("Empty").group_type("classic");
    let listed = admin(&Nodes::start(2, answer)).list_groups_with(filter.clone()).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|group| group.group_id.as_str()).collect();
    assert_eq!(ids, ["1a", "2a"]);

    let older = Nodes::of_versions(2, &[(ApiKey::ListGroups, 4)], answer);
    let refused = admin(&older).list_groups_with(filter).await.unwrap_err();
    let AdminError::Cluster(kohort::cluster::ClusterError::Net(why)) = refused else {
        panic!("{refused}");
    };
    assert!(matches!(why, NetError::UnsupportedVersion { .. }), "{why}");
}

#[tokio::test]
async fn a_group_of_the_new_protocol_is_described_with_epochs_subscriptions_and_targets() {
    let nodes = Nodes::start(2, |call| match call.api {
        ApiKey::FindCoordinator => call.coordinators(),
        ApiKey::ConsumerGroupDescribe => {
            let assignment = |partitions: Vec<i32>| Assignment {
                topic_partitions: vec![TopicPartitions {
                    topic_name: "t".to_owned(),
                    partitions,
                    ..Default::default()
                }],
            };
            let member = Member {
                member_id: "m".to_owned(),
                member_epoch: 4,
                subscribed_topic_names: owned(&["t"]),
                subscribed_topic_regex: Some("t.*".to_owned()),
                assignment: assignment(vec![0]),
                target_assignment: assignment(vec![1, 0]),
                ..Default::default()
            };
            let group = DescribedGroup {
                group_id: "2a".to_owned(),
                group_epoch: 6,
                assignment_epoch: 5,
                members: vec![member],
                ..Default::default()
            };
            call.answer(&ConsumerGroupDescribeResponse {
                groups: vec![group],
                ..Default::default()
            })
        }
        _ => call.metadata(&[1, 2], 1),
    });
    let groups = owned(&["2a", "denied"]);
    let mut described = admin(&nodes).describe_groups(groups).await.unwrap();
    let group = described.remove("2a").unwrap().unwrap();
    assert_eq!((group.epoch, group.assignment_epoch), (Some(6), Some(5)));
    let member = &group.members[0];
    assert_eq!(member.epoch, Some(4));
    assert_eq!(member.subscribed_topics, ["t"]);
    assert_eq!(member.subscribed_pattern.as_deref(), Some("t.*"));
    let partition = |index| TopicPartition::new("t", index);
    assert_eq!(member.partitions, [partition(0)]);
    assert_eq!(member.target, Some(vec![partition(0), partition(1)]));
    assert_eq!(texts(codes(described)), ["denied: GROUP_AUTHORIZATION_FAILED"]);
}

#[tokio::test]
async fn members_are_removed_in_one_request_each_with_its_outcome() {
    let nodes = Nodes::start(2, |call| match call.api {
        ApiKey::FindCoordinator => call.coordinators(),
        ApiKey::LeaveGroup => {
            let members = call.request::<LeaveGroupRequest>().members.into_iter().map(|member| {
                let gone = member.member_id == "gone";
                let error_code = if gone { ErrorCode::UNKNOWN_MEMBER_ID } else { ErrorCode::NONE };
                let group_instance_id = member.group_instance_id;
                MemberResponse { member_id: member.member_id, group_instance_id, error_code }
            });
            let members = members.collect();
            call.answer(&LeaveGroupResponse { members, ..Default::default() })
        }
        _ => call.metadata(&[1, 2], 1),
    });
    let members = vec![
        MemberToRemove::Member("gone".to_owned()),
        MemberToRemove::Instance("pump-1".to_owned()),
        MemberToRemove::Member("m".to_owned()),
    ];
    let removed = admin(&nodes).remove_members("2a", members).await.unwrap();
    let [instance, gone, member] = &*removed.into_iter().collect::<Vec<_>>() else {
        panic!("not three");
    };
    assert_eq!(instance.0, MemberToRemove::Instance("pump-1".to_owned()));
    assert!(instance.1.is_ok() && member.1.is_ok());
    let refused = gone.1.as_ref().unwrap_err();
    assert_eq!(refused.to_string(), "member `gone` of group `2a`: UNKNOWN_MEMBER_ID");
    assert_eq!(nodes.asked(ApiKey::LeaveGroup), [2]);
}

/// Kafka 3.7, early access: each assignment has three more fields, and no names of topics.
#[tokio::test]
async fn groups_described_as_by_kafka_3_7_are_told_to_need_a_later_one_and_classic_ones_are_described()
 {
    let nodes =
        Nodes::of_versions(1, &[(ApiKey::ConsumerGroupDescribe, 0)], |call| match call.api {
            ApiKey::FindCoordinator => call.coordinators(),
            ApiKey::ConsumerGroupDescribe => {
                let member = Member { member_id: "m".to_owned(), ..Default::default() };
                let groups = vec![DescribedGroup { members: vec![member], ..Default::default() }];
                let answer = ConsumerGroupDescribeResponse { groups, ..Default::default() };
                let mut frame = call.answer(&answer);
                // Behind the two assignments there are their tags, and those of member, group and answer, with
                // what the group allows before the group's.
                let end = frame.len() - (1 + 1 + 4 + 1);
                let assignment = [1, 0, 0, 0, 0, 0, 1, 0];
                frame.splice(end - 4..end, [assignment, assignment].concat());
                let length = i32::try_from(frame.len() - 4).unwrap();
                frame[..4].copy_from_slice(&length.to_be_bytes());
                frame
            }
            ApiKey::DescribeGroups => {
                let group = |group_id: String| {
                    let dead = group_id != "1classic";
                    describe_groups::DescribedGroup {
                        group_id,
                        group_state: if dead { "Dead" } else { "Empty" }.to_owned(),
                        ..Default::default()
                    }
                };
                let groups = call.request::<DescribeGroupsRequest>().groups.into_iter().map(group);
                call.answer(&DescribeGroupsResponse {
                    groups: groups.collect(),
                    ..Default::default()
                })
            }
            _ => call.metadata(&[1], 1),
        });
    let groups = owned(&["1classic", "1new"]);
    let mut described = admin(&nodes).describe_groups(groups).await.unwrap();
    assert_eq!(described.remove("1classic").unwrap().unwrap().state, "Empty");
    let error = described.remove("1new").unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNSUPPORTED_VERSION));
    assert!(error.to_string().contains("needs Kafka 3.8 or later"), "{error}");
}
