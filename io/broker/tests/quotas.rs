//! Client quotas and SCRAM credentials: kept, described, and quotas enforced.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use bytes::Bytes;
use common::{Client, batch, fetch_request, produce_request, start, start_with};
use kohort_protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequestEntityData, AlterClientQuotasRequestEntryData, OpData,
};
use kohort_protocol::messages::alter_user_scram_credentials::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kohort_protocol::messages::describe_client_quotas::{ComponentData, EntryData};
use kohort_protocol::messages::describe_user_scram_credentials::{CredentialInfo, UserName};
use kohort_protocol::messages::{
    AlterClientQuotasRequest, AlterUserScramCredentialsRequest, DescribeClientQuotasRequest,
    DescribeUserScramCredentialsRequest, MetadataRequest,
};
use kohort_protocol::{ErrorCode, Request};
use std::time::{Duration, Instant};

/// Sets a quota of a user or client, or with `None` removes it.
async fn set(client: &mut Client, kind: &str, name: Option<&str>, key: &str, value: Option<f64>) {
    let entity = AlterClientQuotasRequestEntityData {
        entity_type: kind.to_owned(),
        entity_name: name.map(str::to_owned),
    };
    let op =
        OpData { key: key.to_owned(), value: value.unwrap_or_default(), remove: value.is_none() };
    let request = AlterClientQuotasRequest {
        entries: vec![AlterClientQuotasRequestEntryData { entity: vec![entity], ops: vec![op] }],
        validate_only: false,
    };
    let response = client.call(&request, 1).await;
    assert_eq!(response.entries[0].error_code, ErrorCode::NONE, "{response:?}");
}

async fn described(client: &mut Client, kind: &str, match_type: i8) -> Vec<EntryData> {
    let request = DescribeClientQuotasRequest {
        components: vec![ComponentData { entity_type: kind.to_owned(), match_type, r#match: None }],
        strict: true,
    };
    client.call(&request, 1).await.entries.unwrap()
}

#[tokio::test]
async fn quotas_are_kept_and_described_by_whom_they_are_for() {
    let running = start().await;
    let mut client = running.client().await;
    set(&mut client, "user", Some("u"), "request_percentage", Some(12.5)).await;
    set(&mut client, "client-id", None, "producer_byte_rate", Some(1e9)).await;
    let running = running.restart().await;
    let mut client = running.client().await;
    let users = described(&mut client, "user", 2).await;
    assert_eq!(users.len(), 1);
    assert_eq!(users[0].entity[0].entity_name.as_deref(), Some("u"));
    assert_eq!(
        (users[0].values[0].key.as_str(), users[0].values[0].value),
        ("request_percentage", 12.5)
    );
    let default = described(&mut client, "client-id", 1).await;
    assert_eq!((default.len(), default[0].entity[0].entity_name.as_deref()), (1, None));
    set(&mut client, "user", Some("u"), "request_percentage", None).await;
    assert!(described(&mut client, "user", 2).await.is_empty());
}

#[tokio::test]
async fn a_filter_of_quotas_that_makes_no_sense_is_refused() {
    let running = start().await;
    let mut client = running.client().await;
    let of = |kind: &str, match_type, name: Option<&str>| ComponentData {
        entity_type: kind.to_owned(),
        match_type,
        r#match: name.map(str::to_owned),
    };
    let invalid = ErrorCode::INVALID_REQUEST;
    for (components, expected) in [
        (vec![of("user", 0, Some("u")), of("client-id", 2, None)], ErrorCode::NONE),
        (vec![of("ip", 1, None)], ErrorCode::NONE),
        (vec![of("user", 7, None)], invalid),
        (vec![of("user", 0, None)], invalid),
        (vec![of("user", 1, Some("u"))], invalid),
        (vec![of("user", 2, Some("u"))], invalid),
        (vec![of("", 2, None)], invalid),
        (vec![of("user", 2, None), of("user", 1, None)], invalid),
        (vec![of("user", 2, None), of("ip", 2, None)], invalid),
        (vec![of("group", 2, None)], ErrorCode::UNSUPPORTED_VERSION),
    ] {
        let asked = format!("{components:?}");
        let request = DescribeClientQuotasRequest { components, strict: false };
        let response = client.call(&request, 0).await;
        assert_eq!(response.error_code, expected, "{asked}");
        assert_eq!(response.entries.is_some(), expected.is_ok(), "{asked}");
    }
}

#[tokio::test]
async fn quotas_are_found_by_name_and_a_strict_filter_takes_nothing_besides() {
    let running = start().await;
    let mut client = running.client().await;
    for name in ["u", "v"] {
        set(&mut client, "user", Some(name), "request_percentage", Some(1.0)).await;
    }
    let parts = [("user", "u"), ("client-id", "c")].map(|(entity_type, name)| {
        let (entity_type, entity_name) = (entity_type.to_owned(), Some(name.to_owned()));
        AlterClientQuotasRequestEntityData { entity_type, entity_name }
    });
    let op = OpData { key: "request_percentage".to_owned(), value: 2.0, remove: false };
    let entries = vec![AlterClientQuotasRequestEntryData { entity: parts.into(), ops: vec![op] }];
    let request = AlterClientQuotasRequest { entries, validate_only: false };
    assert!(client.call(&request, 1).await.entries[0].error_code.is_ok());
    for (strict, expected) in [(true, &[1.0][..]), (false, &[1.0, 2.0])] {
        let (entity_type, r#match) = ("user".to_owned(), Some("u".to_owned()));
        let components = vec![ComponentData { entity_type, match_type: 0, r#match }];
        let request = DescribeClientQuotasRequest { components, strict };
        let found = client.call(&request, 1).await.entries.unwrap();
        let mut found: Vec<f64> = found.iter().map(|entry| entry.values[0].value).collect();
        found.sort_by(f64::total_cmp);
        assert_eq!(found, expected, "strict: {strict}");
    }
}

/// Calls, and returns the response with the time from before it until the answer to a request sent after it:
/// the broker counts from a moment in between.
async fn timed<R: Request>(
    client: &mut Client,
    request: &R,
    version: i16,
) -> (R::Response, Duration) {
    let begun = Instant::now();
    let response = client.call(request, version).await;
    client.call(&MetadataRequest::default(), 12).await;
    (response, begun.elapsed())
}

#[tokio::test]
async fn who_is_over_a_quota_is_told_and_waits() {
    let running = start_with(|broker| {
        broker.set("quota.window.num", "2").set("quota.window.size.seconds", "1")
    })
    .await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let value = "x".repeat(15_000);
    let produce = produce_request("t", 0, -1, batch(&[&value]));
    assert_eq!(client.call(&produce, 9).await.throttle_time_ms, 0);

    // The client of these tests calls itself `test`; half as much again as may go in a second.
    set(&mut client, "client-id", Some("test"), "producer_byte_rate", Some(10_000.0)).await;
    let (response, waited) = timed(&mut client, &produce, 9).await;
    assert!((400..700).contains(&response.throttle_time_ms), "{}", response.throttle_time_ms);
    // A timer may be early by its granularity.
    let told = Duration::from_millis(response.throttle_time_ms as u64 - 50);
    assert!(waited >= told, "{waited:?} of {told:?}");
    set(&mut client, "client-id", Some("test"), "producer_byte_rate", None).await;
    assert_eq!(client.call(&produce, 9).await.throttle_time_ms, 0);

    // The time requests take counts as well, and nobody waits longer for it than for a sample.
    set(&mut client, "client-id", Some("test"), "request_percentage", Some(1e-4)).await;
    let waits = client.call(&MetadataRequest::default(), 12).await.throttle_time_ms;
    assert!((1..=1000).contains(&waits), "{waits}");
    set(&mut client, "client-id", Some("test"), "request_percentage", None).await;

    // Three batches by now.
    set(&mut client, "user", None, "consumer_byte_rate", Some(40_000.0)).await;
    let (response, waited) = timed(&mut client, &fetch_request("t", &[(0, 0)]), 12).await;
    assert!(response.throttle_time_ms > 100, "{}", response.throttle_time_ms);
    assert!(waited >= Duration::from_millis(response.throttle_time_ms as u64 - 50));
}

#[tokio::test]
async fn a_quota_is_in_force_after_a_restart() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    set(&mut client, "client-id", None, "producer_byte_rate", Some(1.0)).await;
    let running = running.restart().await;
    let request = produce_request("t", 0, -1, batch(&["x"]));
    assert!(running.client().await.call(&request, 9).await.throttle_time_ms > 0);
}

#[tokio::test]
async fn credentials_are_kept_without_the_password_and_described_without_secrets() {
    let running = start().await;
    let mut client = running.client().await;
    let upsertion = |name: &str, mechanism, iterations| ScramCredentialUpsertion {
        name: name.to_owned(),
        mechanism,
        iterations,
        salt: Bytes::from_static(b"a salt"),
        salted_password: Bytes::from_static(b"salted-and-secret"),
    };
    let request = AlterUserScramCredentialsRequest {
        upsertions: vec![upsertion("alice", 2, 8192), upsertion("bob", 1, 1)],
        deletions: vec![ScramCredentialDeletion { name: "carol".to_owned(), mechanism: 1 }],
    };
    let results = client.call(&request, 0).await.results;
    let codes: Vec<_> = results.iter().map(|one| (one.user.as_str(), one.error_code)).collect();
    let expected = [
        ("alice", ErrorCode::NONE),
        ("bob", ErrorCode::UNACCEPTABLE_CREDENTIAL),
        ("carol", ErrorCode::RESOURCE_NOT_FOUND),
    ];
    assert_eq!(codes, expected);

    let running = running.restart().await;
    let mut client = running.client().await;
    let all = client.call(&DescribeUserScramCredentialsRequest { users: None }, 0).await.results;
    assert_eq!((all.len(), all[0].user.as_str()), (1, "alice"));
    assert_eq!(all[0].credential_infos, [CredentialInfo { mechanism: 2, iterations: 8192 }]);
    let named = |name: &str| UserName { name: name.to_owned() };
    let users = Some(vec![named("alice"), named("bob"), named("bob"), named("eve")]);
    let some = client.call(&DescribeUserScramCredentialsRequest { users }, 0).await.results;
    let codes: Vec<_> = some.iter().map(|one| one.error_code).collect();
    let (twice, unknown) = (ErrorCode::DUPLICATE_RESOURCE, ErrorCode::RESOURCE_NOT_FOUND);
    assert_eq!(codes, [ErrorCode::NONE, twice, unknown]);
}
