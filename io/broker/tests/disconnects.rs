//! Members whose connections close without a leave, by their death or otherwise.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use bytes::Bytes;
use common::{Client, PATIENCE, Running, start_with};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    ListGroupsRequest, SyncGroupRequest,
};
use std::collections::BTreeSet;
use tokio::time::timeout;

/// Each member is alone in a group of its own, so none has to hear of the others.
#[derive(Debug)]
struct Member {
    client: Client,
    group: &'static str,
    id: String,
    generation: i32,
}

impl Member {
    async fn join(running: &Running, name: &'static str, group: &'static str) -> Self {
        let mut client = running.client().await.named(name);
        let joined = join(&mut client, group).await;
        let request = SyncGroupRequest {
            group_id: group.to_owned(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            ..SyncGroupRequest::default()
        };
        let response = client.call(&request, 4).await;
        assert!(response.error_code.is_ok(), "{response:?}");
        Self { client, group, id: joined.member_id, generation: joined.generation_id }
    }

    fn heartbeat(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.group.to_owned(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            ..HeartbeatRequest::default()
        }
    }
}

fn join_request(group: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        // Longer than anything here is waited for.
        session_timeout_ms: 10 * PATIENCE.as_millis() as i32,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(&[0, 0, 0, 0, 0, 0]),
        }],
        ..JoinGroupRequest::default()
    }
}

async fn join(client: &mut Client, group: &str) -> JoinGroupResponse {
    let mut request = join_request(group);
    request.member_id = client.call(&request, 9).await.member_id;
    let joined = client.call(&request, 9).await;
    assert!(joined.error_code.is_ok(), "{joined:?}");
    joined
}

/// Returns which of the groups have members.
async fn inhabited(client: &mut Client, groups: &[&str]) -> BTreeSet<String> {
    let request = DescribeGroupsRequest {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..DescribeGroupsRequest::default()
    };
    let groups = client.call(&request, 5).await.groups;
    let inhabited = groups.into_iter().filter(|group| !group.members.is_empty());
    inhabited.map(|group| group.group_id).collect()
}

/// Waits until a member joined, was cut off and was removed: longer than one grace from now.
async fn one_grace(running: &Running, observer: &mut Client, group: &'static str) {
    drop(Member::join(running, "clock", group).await);
    let gone = async { while !inhabited(observer, &[group]).await.is_empty() {} };
    timeout(PATIENCE, gone).await.expect("a member that is cut off is removed");
}

async fn start_with_grace(grace_ms: &str) -> Running {
    start_with(|builder| builder.set("group.disconnect.grace.ms", grace_ms)).await
}

#[tokio::test]
async fn a_killed_member_is_replaced_long_before_its_session_ends() {
    let running = start_with_grace("20").await;
    let dying = Member::join(&running, "app", "g").await;
    let mut heir = running.client().await.named("app");
    let joining = tokio::spawn(async move { join(&mut heir, "g").await });
    drop(dying);
    let joined = timeout(PATIENCE, joining).await.expect("the heir is let in").unwrap();
    assert_eq!(joined.members.len(), 1, "alone: {joined:?}");
}

#[tokio::test]
async fn a_reset_connection_keeps_its_member() {
    let running = start_with_grace("20").await;
    let mut observer = running.client().await;
    reset(Member::join(&running, "reset", "g").await.client);
    one_grace(&running, &mut observer, "first").await;
    one_grace(&running, &mut observer, "second").await;
    assert_eq!(inhabited(&mut observer, &["g"]).await, BTreeSet::from(["g".to_owned()]));
}

#[tokio::test]
async fn a_member_that_dies_with_bytes_unread_is_replaced_all_the_same() {
    let running = start_with_grace("20").await;
    let mut observer = running.client().await;
    let dying = Member::join(&running, "dying", "g").await;
    let mut fetches = running.client().await.named("dying");
    fetches.call(&ListGroupsRequest::default(), 5).await;
    // The system resets the connections whose bytes nobody read, and closes the others in order.
    reset(dying.client);
    drop(fetches);
    let gone = async { while !inhabited(&mut observer, &["g"]).await.is_empty() {} };
    timeout(PATIENCE, gone).await.expect("it is removed");
}

fn reset(client: Client) {
    #[allow(deprecated, reason = "to reset at once is what it is for")]
    client.stream.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn a_new_connection_of_the_same_client_holds_the_member() {
    let running = start_with_grace("20").await;
    let mut observer = running.client().await;
    let member = Member::join(&running, "app", "g").await;
    let heartbeat = member.heartbeat();
    drop(member);
    // It asks for something that shows nothing, and only later speaks as the member.
    let mut next = running.client().await.named("app");
    next.call(&ListGroupsRequest::default(), 5).await;
    one_grace(&running, &mut observer, "first").await;
    one_grace(&running, &mut observer, "second").await;
    assert_eq!(next.call(&heartbeat, 4).await.error_code, ErrorCode::NONE);
    // Now that is its connection.
    drop(next);
    let gone = async { while !inhabited(&mut observer, &["g"]).await.is_empty() {} };
    timeout(PATIENCE, gone).await.expect("it is removed");
}

#[tokio::test]
async fn a_process_that_is_started_again_does_not_hold_its_predecessor() {
    let running = start_with_grace("20").await;
    let dying = Member::join(&running, "app", "g").await;
    let mut fetched = running.client().await.named("app");
    fetched.call(&ListGroupsRequest::default(), 5).await;
    drop((dying, fetched));
    let mut heir = running.client().await.named("app");
    let mut request = join_request("g");
    request.member_id = heir.call(&request, 9).await.member_id;
    // It has begun, and now opens a connection that never speaks for a member.
    let mut fetches = running.client().await.named("app");
    fetches.call(&ListGroupsRequest::default(), 5).await;
    let joined = timeout(PATIENCE, heir.call(&request, 9)).await.expect("it is let in");
    assert_eq!(joined.members.len(), 1, "alone: {joined:?}");
}

#[tokio::test]
async fn one_that_starts_does_not_stand_for_two_that_lost_their_connections() {
    let running = start_with_grace("20").await;
    let mut observer = running.client().await;
    let first = Member::join(&running, "app", "g").await;
    let second = Member::join(&running, "app", "h").await;
    let heartbeat = second.heartbeat();
    drop((first, second));
    // Both may be behind a proxy that was started again. One comes back slowly, and another one starts.
    let mut next = running.client().await.named("app");
    next.call(&ListGroupsRequest::default(), 5).await;
    let _third = Member::join(&running, "app", "i").await;
    one_grace(&running, &mut observer, "one").await;
    one_grace(&running, &mut observer, "two").await;
    assert_eq!(next.call(&heartbeat, 4).await.error_code, ErrorCode::NONE);
    // Now it is known whose place the third one took.
    let gone = async { while inhabited(&mut observer, &["g", "h"]).await.len() > 1 {} };
    timeout(PATIENCE, gone).await.expect("the first is removed");
    assert_eq!(inhabited(&mut observer, &["g", "h"]).await, BTreeSet::from(["h".to_owned()]));
}

#[tokio::test]
async fn a_connection_that_the_broker_closes_keeps_its_member() {
    let running = start_with(|builder| {
        builder.set("group.disconnect.grace.ms", "20").set("socket.request.max.bytes", "100000")
    })
    .await;
    let mut observer = running.client().await;
    let mut member = Member::join(&running, "app", "g").await;
    // A request that is larger than allowed.
    tokio::io::AsyncWriteExt::write_i32(&mut member.client.stream, 1_000_000).await.unwrap();
    member.client.closed().await;
    one_grace(&running, &mut observer, "first").await;
    one_grace(&running, &mut observer, "second").await;
    assert_eq!(inhabited(&mut observer, &["g"]).await, BTreeSet::from(["g".to_owned()]));
}

#[tokio::test]
async fn a_broker_that_is_told_so_waits_for_the_session() {
    let running = start_with(|builder| {
        builder.set("group.disconnect.grace.ms", "-1").set("group.min.session.timeout.ms", "1")
    })
    .await;
    let mut observer = running.client().await;
    drop(Member::join(&running, "app", "g").await);
    // Another member's short session passes, the long one of the first does not.
    let mut client = running.client().await;
    let short = JoinGroupRequest {
        group_id: "short".to_owned(),
        session_timeout_ms: 50,
        rebalance_timeout_ms: 50,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol::default()],
        ..JoinGroupRequest::default()
    };
    client.call(&short, 3).await;
    while !inhabited(&mut observer, &["short"]).await.is_empty() {}
    assert_eq!(inhabited(&mut observer, &["g"]).await, BTreeSet::from(["g".to_owned()]));
}
