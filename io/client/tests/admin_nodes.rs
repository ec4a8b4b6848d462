//! The administrator's client and a cluster of several nodes: what is under way while it learns of them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kohort::admin::{Admin, AdminError, ConfigChange, ConfigResource, NewTopic};
use kohort::config::{AdminConfig, Properties as _};
use kohort_protocol::ApiKey;
use kohort_protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsResponse};
use kohort_protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use kohort_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use support::nodes::{Call, Nodes};

/// A new client each time, so that each call is its first one.
fn admin(servers: String) -> Admin {
    let pairs = [("bootstrap.servers", servers), ("retry.backoff.ms", "5".to_owned())];
    Admin::new(AdminConfig::from_pairs(pairs).unwrap()).unwrap()
}

/// Metadata comes while what was asked with it is still being done.
fn slow(call: &Call) -> Vec<u8> {
    std::thread::sleep(Duration::from_millis(if call.api == ApiKey::Metadata { 10 } else { 50 }));
    match call.api {
        ApiKey::CreateTopics => {
            let topics = vec![CreatableTopicResult { name: "t".to_owned(), ..Default::default() }];
            call.answer(&CreateTopicsResponse { topics, ..Default::default() })
        }
        ApiKey::IncrementalAlterConfigs => altered(call),
        _ => call.metadata(&[1, 2, 3], 3),
    }
}

fn altered(call: &Call) -> Vec<u8> {
    let resource = |it: AlterConfigsResource| AlterConfigsResourceResponse {
        resource_type: it.resource_type,
        resource_name: it.resource_name,
        ..Default::default()
    };
    let asked = call.request::<IncrementalAlterConfigsRequest>().resources.into_iter();
    let responses = asked.map(resource).collect();
    call.answer(&IncrementalAlterConfigsResponse { responses, ..Default::default() })
}

fn change() -> Vec<ConfigChange> {
    vec![ConfigChange::Set("log.retention.ms".to_owned(), "1".to_owned())]
}

#[tokio::test]
async fn the_first_call_of_a_client_with_three_bootstrap_servers_is_sent_once() {
    let nodes = Nodes::start(3, slow);
    for round in 1..=10 {
        admin(nodes.servers()).create_topic(NewTopic::new("t")).await.unwrap();
        assert_eq!(nodes.asked(ApiKey::CreateTopics).len(), round);
        admin(nodes.servers()).alter_config(ConfigResource::AllBrokers, change()).await.unwrap();
        assert_eq!(nodes.asked(ApiKey::IncrementalAlterConfigs).len(), round);
    }
}

#[tokio::test]
async fn what_a_broker_was_asked_before_it_left_the_cluster_is_not_asked_twice() {
    let under_way = AtomicBool::new(false);
    let nodes = Nodes::start(2, move |call| match call.api {
        ApiKey::Metadata if under_way.load(Ordering::SeqCst) => call.metadata(&[1], 1),
        ApiKey::Metadata => call.metadata(&[1, 2], 1),
        _ => {
            under_way.store(true, Ordering::SeqCst);
            // Longer than it takes to hear that this node is gone.
            std::thread::sleep(Duration::from_millis(100));
            under_way.store(false, Ordering::SeqCst);
            altered(call)
        }
    });
    // By chance metadata is asked of the broker that is busy, and comes too late.
    for round in 1..=10 {
        let admin = admin(nodes.server(1));
        let altering = admin.alter_config(ConfigResource::Broker(2), change());
        let refreshing = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            admin.describe_config(ConfigResource::Broker(99)).await
        };
        let (altered, refreshed) = tokio::join!(altering, refreshing);
        altered.unwrap();
        assert!(matches!(refreshed, Err(AdminError::UnknownBroker { broker: 99 })));
        assert_eq!(nodes.asked(ApiKey::IncrementalAlterConfigs), vec![2; round]);
    }
}

#[tokio::test]
async fn groups_that_are_deleted_stay_so_when_the_coordinator_of_others_is_lost() {
    let lost = AtomicBool::new(false);
    let nodes = Nodes::start(2, move |call| match (call.api, call.node) {
        (ApiKey::FindCoordinator, _) => call.coordinators(),
        (ApiKey::DeleteGroups, 2) if !lost.swap(true, Ordering::SeqCst) => Vec::new(),
        (ApiKey::DeleteGroups, _) => {
            let group = |group_id| DeletableGroupResult { group_id, ..Default::default() };
            let asked = call.request::<DeleteGroupsRequest>().groups_names.into_iter();
            let results = asked.map(group).collect();
            call.answer(&DeleteGroupsResponse { results, ..Default::default() })
        }
        _ => call.metadata(&[1, 2], 1),
    });
    let groups = vec!["1".to_owned(), "2".to_owned()];
    let deleted = admin(nodes.servers()).delete_groups(groups).await.unwrap();
    assert!(deleted.len() == 2 && deleted.values().all(Result::is_ok), "{deleted:?}");
    assert_eq!(nodes.asked(ApiKey::DeleteGroups), [1, 2, 2]);
}
