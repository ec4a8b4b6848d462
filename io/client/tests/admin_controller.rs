//! Changes that only the controller makes, in a cluster of two nodes where nobody else passes them on: Kafka
//! with ZooKeeper.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use kohort::admin::{Admin, AdminError, CredentialChange, NewTopic, ScramMechanism};
use kohort::config::{AdminConfig, Properties as _};
use kohort_protocol::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult,
};
use kohort_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use kohort_protocol::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use kohort_protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kohort_protocol::{ApiKey, ErrorCode};
use support::nodes::{Call, Nodes};

/// Every change, with the outcome of each object by its name. Metadata is for the caller.
fn change(call: &Call, code: impl Fn(&str) -> ErrorCode) -> Vec<u8> {
    match call.api {
        ApiKey::CreateTopics => {
            let result = |name: String| CreatableTopicResult {
                error_code: code(&name),
                name,
                ..Default::default()
            };
            let asked = call.request::<CreateTopicsRequest>().topics.into_iter();
            let topics = asked.map(|topic| result(topic.name)).collect();
            call.answer(&CreateTopicsResponse { topics, ..Default::default() })
        }
        ApiKey::DeleteTopics => {
            let result = |name: Option<String>| DeletableTopicResult {
                error_code: code(name.as_deref().unwrap()),
                name,
                ..Default::default()
            };
            let asked = call.request::<DeleteTopicsRequest>().topics.into_iter();
            let responses = asked.map(|topic| result(topic.name)).collect();
            call.answer(&DeleteTopicsResponse { responses, ..Default::default() })
        }
        ApiKey::CreatePartitions => {
            let result = |name: String| CreatePartitionsTopicResult {
                error_code: code(&name),
                name,
                ..Default::default()
            };
            let asked = call.request::<CreatePartitionsRequest>().topics.into_iter();
            let results = asked.map(|topic| result(topic.name)).collect();
            call.answer(&CreatePartitionsResponse { results, ..Default::default() })
        }
        ApiKey::AlterUserScramCredentials => {
            let result = |user: String| AlterUserScramCredentialsResult {
                error_code: code(&user),
                user,
                ..Default::default()
            };
            let asked = call.request::<AlterUserScramCredentialsRequest>().deletions.into_iter();
            let results = asked.map(|it| result(it.name)).collect();
            call.answer(&AlterUserScramCredentialsResponse { results, ..Default::default() })
        }
        api => panic!("{api:?} is not asked here"),
    }
}

fn admin(servers: String, timeout: &str) -> Admin {
    let pairs = [
        ("bootstrap.servers", servers),
        ("retry.backoff.ms", "5".to_owned()),
        ("default.api.timeout.ms", timeout.to_owned()),
    ];
    Admin::new(AdminConfig::from_pairs(pairs).unwrap()).unwrap()
}

/// Longer than any of this takes.
const PATIENT: &str = "20000";

const CHANGES: [ApiKey; 4] = [
    ApiKey::CreateTopics,
    ApiKey::CreatePartitions,
    ApiKey::DeleteTopics,
    ApiKey::AlterUserScramCredentials,
];

async fn make_changes(admin: &Admin) {
    admin.create_topic(NewTopic::new("t")).await.unwrap();
    admin.create_partitions_of("t", 2).await.unwrap();
    let deleted = admin.delete_topics(vec!["t".to_owned()]).await.unwrap();
    assert!(deleted["t"].is_ok(), "{deleted:?}");
    let removal = CredentialChange::Remove(ScramMechanism::Sha256);
    let users = BTreeMap::from([("alice".to_owned(), removal)]);
    let altered = admin.alter_user_credentials(users).await.unwrap();
    assert!(altered["alice"].is_ok(), "{altered:?}");
}

fn of_controller(controller: bool) -> ErrorCode {
    if controller { ErrorCode::NONE } else { ErrorCode::NOT_CONTROLLER }
}

#[tokio::test]
async fn what_only_the_controller_does_is_asked_of_the_controller() {
    let nodes = Nodes::start(2, |call| match call.api {
        ApiKey::Metadata => call.metadata(&[1, 2], 2),
        _ => change(call, |_| of_controller(call.node == 2)),
    });
    make_changes(&admin(nodes.server(1), PATIENT)).await;
    assert_eq!(CHANGES.map(|api| nodes.asked(api)), [(); 4].map(|()| vec![2]));
}

#[tokio::test]
async fn a_cluster_that_names_no_controller_is_asked_until_it_does() {
    let asked = AtomicUsize::new(0);
    let nodes = Nodes::start(2, move |call| match call.api {
        ApiKey::Metadata => {
            let named = asked.fetch_add(1, Ordering::SeqCst) >= 3;
            call.metadata(&[1, 2], if named { 2 } else { -1 })
        }
        _ => change(call, |_| of_controller(call.node == 2)),
    });
    make_changes(&admin(nodes.server(1), PATIENT)).await;
    for api in CHANGES {
        assert_eq!(nodes.asked(api).last(), Some(&2), "{api:?}");
    }
}

#[tokio::test]
async fn a_controller_that_moves_is_followed_by_each_kind_of_change() {
    let controller = Arc::new(AtomicI32::new(1));
    let now = controller.clone();
    let nodes = Nodes::start(2, move |call| match call.api {
        ApiKey::Metadata => call.metadata(&[1, 2], now.load(Ordering::SeqCst)),
        _ => change(call, |_| of_controller(call.node == now.load(Ordering::SeqCst))),
    });
    let admin = admin(nodes.server(1), PATIENT);
    admin.create_topic(NewTopic::new("t")).await.unwrap();
    controller.store(2, Ordering::SeqCst);
    admin.create_topic(NewTopic::new("t")).await.unwrap();
    controller.store(1, Ordering::SeqCst);
    admin.create_partitions_of("t", 2).await.unwrap();
    controller.store(2, Ordering::SeqCst);
    let deleted = admin.delete_topics(vec!["t".to_owned()]).await.unwrap();
    assert!(deleted["t"].is_ok(), "{deleted:?}");
    controller.store(1, Ordering::SeqCst);
    let removal = CredentialChange::Remove(ScramMechanism::Sha256);
    let users = BTreeMap::from([("alice".to_owned(), removal)]);
    let altered = admin.alter_user_credentials(users).await.unwrap();
    assert!(altered["alice"].is_ok(), "{altered:?}");
    // One refusal each, and no second one: the next attempt waits for new metadata.
    let asked = CHANGES.map(|api| nodes.asked(api));
    assert_eq!(asked, [vec![1, 1, 2], vec![2, 1], vec![1, 2], vec![2, 1]]);
}

#[tokio::test]
async fn a_controller_that_hangs_up_is_looked_for_anew() {
    let controller = AtomicI32::new(1);
    let nodes = Nodes::start(2, move |call| match (call.api, call.node) {
        (ApiKey::Metadata, _) => call.metadata(&[1, 2], controller.load(Ordering::SeqCst)),
        (_, 1) => {
            controller.store(2, Ordering::SeqCst);
            Vec::new()
        }
        _ => change(call, |_| ErrorCode::NONE),
    });
    let admin = admin(nodes.server(1), PATIENT);
    admin.create_topic(NewTopic::new("t")).await.unwrap();
    let asked = nodes.asked(ApiKey::CreateTopics);
    assert!(asked.first() == Some(&1) && asked.last() == Some(&2), "{asked:?}");
}

#[tokio::test]
async fn a_denial_after_a_lost_answer_is_told_for_what_it_may_be() {
    let hangs_up = Arc::new(AtomicBool::new(true));
    let now = hangs_up.clone();
    let nodes = Nodes::start(1, move |call| match call.api {
        ApiKey::Metadata => call.metadata(&[1], 1),
        _ if now.swap(false, Ordering::SeqCst) => Vec::new(),
        ApiKey::CreateTopics => change(call, |_| ErrorCode::TOPIC_ALREADY_EXISTS),
        _ => change(call, |_| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    });
    let admin = admin(nodes.server(1), PATIENT);
    for lost in [true, false] {
        let ours = if lost {
            "an earlier attempt of this call, whose answer was lost, may have done it ("
        } else {
            ""
        };
        hangs_up.store(lost, Ordering::SeqCst);
        let created = admin.create_topic(NewTopic::new("t")).await.unwrap_err();
        assert_eq!(created.code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));
        let end = if lost { ")" } else { "" };
        assert_eq!(created.to_string(), format!("topic `t`: {ours}TOPIC_ALREADY_EXISTS{end}"));
        hangs_up.store(lost, Ordering::SeqCst);
        let mut deleted = admin.delete_topics(vec!["t".to_owned()]).await.unwrap();
        let deleted = deleted.remove("t").unwrap().unwrap_err().to_string();
        let words = if lost { ours } else { "there is no such topic or partition (" };
        assert_eq!(deleted, format!("topic `t`: {words}UNKNOWN_TOPIC_OR_PARTITION)"));
        // It denies nothing.
        hangs_up.store(lost, Ordering::SeqCst);
        let grown = admin.create_partitions_of("t", 2).await.unwrap_err().to_string();
        assert_eq!(
            grown,
            "topic `t`: there is no such topic or partition (UNKNOWN_TOPIC_OR_PARTITION)"
        );
    }
}

#[tokio::test]
async fn only_what_was_not_done_is_asked_for_again() {
    let (rounds, asked) = (AtomicUsize::new(0), Arc::new(parking_lot::Mutex::new(Vec::new())));
    let noted = asked.clone();
    let nodes = Nodes::start(1, move |call| {
        if call.api == ApiKey::Metadata {
            return call.metadata(&[1], 1);
        }
        let round = rounds.fetch_add(1, Ordering::SeqCst);
        change(call, |name| {
            noted.lock().push((round, name.to_owned()));
            match (name, round) {
                ("b", 0) => ErrorCode::THROTTLING_QUOTA_EXCEEDED,
                ("b", 1) => ErrorCode::NOT_CONTROLLER,
                ("c", _) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                // It may be deleted later.
                ("d", _) => ErrorCode::REQUEST_TIMED_OUT,
                _ => ErrorCode::NONE,
            }
        })
    });
    let names = ["a", "b", "c", "d"].map(ToOwned::to_owned);
    let deleted = admin(nodes.servers(), PATIENT).delete_topics(names.into()).await.unwrap();
    let code = |result: &Result<(), AdminError>| result.as_ref().err().map(|it| it.code().unwrap());
    let outcome: Vec<_> = deleted.iter().map(|(name, result)| (&**name, code(result))).collect();
    let (unknown, late) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::REQUEST_TIMED_OUT);
    assert_eq!(outcome, [("a", None), ("b", None), ("c", Some(unknown)), ("d", Some(late))]);
    let expected = [(0, "a"), (0, "b"), (0, "c"), (0, "d"), (1, "b"), (2, "b")];
    assert_eq!(*asked.lock(), expected.map(|(round, name)| (round, name.to_owned())));
}

#[tokio::test]
async fn what_was_done_is_told_when_time_is_over_for_the_rest() {
    let nodes = Nodes::start(1, |call| match call.api {
        ApiKey::Metadata => call.metadata(&[1], 1),
        _ => change(call, |name| of_controller(name == "done")),
    });
    // Long enough for an answer, on a busy machine as well.
    let admin = admin(nodes.servers(), "2000");
    let names = ["done", "left"].map(ToOwned::to_owned);
    let mut deleted = admin.delete_topics(names.into()).await.unwrap();
    deleted.remove("done").unwrap().unwrap();
    let left = deleted.remove("left").unwrap().unwrap_err();
    let in_time = Duration::from_secs(2);
    assert!(matches!(&left, AdminError::TimedOut { timeout, .. } if *timeout == in_time), "{left}");
    assert_eq!(left.code(), Some(ErrorCode::NOT_CONTROLLER));
    // With nothing done there is one error, as for a cluster that cannot be reached.
    let refused = admin.create_topic(NewTopic::new("left")).await.unwrap_err();
    assert_eq!(refused.to_string(), "gave up after 2s: topic `left`: NOT_CONTROLLER");
}
