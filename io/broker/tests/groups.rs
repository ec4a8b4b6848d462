//! Groups end to end: members that join, commit, leave and come back after a restart.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use bytes::Bytes;
use common::{Client, Running, start, start_with};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::leave_group::MemberIdentity;
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};

const GROUP: &str = "g";

fn join(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(&[0, 0, 0, 0, 0, 0]),
        }],
        ..JoinGroupRequest::default()
    }
}

/// Gets a member id, as clients have done since JoinGroup version 4.
async fn member_id(client: &mut Client) -> String {
    let response = client.call(&join(""), 9).await;
    assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    response.member_id
}

async fn sync(
    client: &mut Client,
    joined: &JoinGroupResponse,
    assignments: &[(&str, &'static str)],
) -> Bytes {
    let request = SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: assignments
            .iter()
            .map(|(member, assignment)| SyncGroupRequestAssignment {
                member_id: (*member).to_owned(),
                assignment: Bytes::from_static(assignment.as_bytes()),
            })
            .collect(),
        ..SyncGroupRequest::default()
    };
    let response = client.call(&request, 5).await;
    assert!(response.error_code.is_ok(), "{response:?}");
    response.assignment
}

async fn heartbeat(client: &mut Client, generation_id: i32, member_id: &str) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id,
        member_id: member_id.to_owned(),
        ..HeartbeatRequest::default()
    };
    client.call(&request, 4).await.error_code
}

fn commit(generation: i32, member_id: &str, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                committed_metadata: Some("note".to_owned()),
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    }
}

async fn committed(client: &mut Client) -> (i64, Option<String>) {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: GROUP.to_owned(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".to_owned(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let response = client.call(&request, 9).await;
    let partition = &response.groups[0].topics[0].partitions[0];
    (partition.committed_offset, partition.metadata.clone())
}

/// Brings one member into the group and returns it.
async fn lone_member(client: &mut Client) -> JoinGroupResponse {
    let id = member_id(client).await;
    let joined = client.call(&join(&id), 9).await;
    assert!(joined.error_code.is_ok(), "{joined:?}");
    let assignment = sync(client, &joined, &[(id.as_str(), "all")]).await;
    assert_eq!(&assignment[..], b"all");
    joined
}

#[tokio::test]
async fn the_coordinator_is_this_broker_and_transactions_are_refused_for_good() {
    let running = start().await;
    let mut client = running.client().await;
    let ask = |key_type| FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec![GROUP.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    let found = client.call(&ask(0), 6).await.coordinators.remove(0);
    assert_eq!((found.error_code, found.node_id), (ErrorCode::NONE, 1));
    assert_eq!(found.port, i32::from(running.broker.local_addr().port()));
    assert_eq!(client.describe("__consumer_offsets", false).await.partitions.len(), 3);
    let words = "transactions are not served";
    for version in 4..=6 {
        let refused = client.call(&ask(1), version).await.coordinators.remove(0);
        assert_eq!(refused.error_code, ErrorCode::UNSUPPORTED_VERSION);
        assert_eq!(refused.error_message.as_deref(), Some(words));
    }
    // librdkafka asks so, and takes anything else for a reason to ask again.
    let one = |key_type| FindCoordinatorRequest {
        key_type,
        key: GROUP.to_owned(),
        ..FindCoordinatorRequest::default()
    };
    for version in 1..=3 {
        let refused = client.call(&one(1), version).await;
        assert_eq!(refused.error_code, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        assert_eq!(refused.error_message.as_deref(), Some(words));
        assert_eq!(client.call(&one(0), version).await.error_code, ErrorCode::NONE);
    }
}

#[tokio::test]
async fn two_members_share_a_group_and_one_takes_over_when_the_other_leaves() {
    let running = start().await;
    let (mut a, mut b) = (running.client().await, running.client().await);
    let alone = lone_member(&mut a).await;

    let b_id = member_id(&mut b).await;
    let b_join = b.send(&join(&b_id), 9).await;
    // A learns of the rebalance by its heartbeat and rejoins; both are answered then.
    while heartbeat(&mut a, alone.generation_id, &alone.member_id).await
        != ErrorCode::REBALANCE_IN_PROGRESS
    {}
    let a_joined = a.call(&join(&alone.member_id), 9).await;
    let b_joined = b.receive::<JoinGroupRequest>(b_join, 9).await;
    assert_eq!(a_joined.generation_id, b_joined.generation_id);
    assert_eq!((a_joined.leader.as_str(), a_joined.members.len()), (alone.member_id.as_str(), 2));

    let shares = [(a_joined.member_id.as_str(), "half"), (b_id.as_str(), "other half")];
    let (for_a, for_b) =
        tokio::join!(sync(&mut a, &a_joined, &shares), sync(&mut b, &b_joined, &[]));
    assert_eq!((&for_a[..], &for_b[..]), (&b"half"[..], &b"other half"[..]));

    let leave = LeaveGroupRequest {
        group_id: GROUP.to_owned(),
        members: vec![MemberIdentity { member_id: b_id, ..MemberIdentity::default() }],
        ..LeaveGroupRequest::default()
    };
    assert!(b.call(&leave, 5).await.error_code.is_ok());
    let code = heartbeat(&mut a, a_joined.generation_id, &a_joined.member_id).await;
    assert_eq!(code, ErrorCode::REBALANCE_IN_PROGRESS);
    let again = a.call(&join(&a_joined.member_id), 9).await;
    assert_eq!((again.generation_id, again.members.len()), (a_joined.generation_id + 1, 1));
}

#[tokio::test]
async fn a_held_heartbeat_tells_of_a_rebalance_when_it_begins() {
    let running = start().await;
    let (mut a, mut b) = (running.client().await, running.client().await);
    let alone = lone_member(&mut a).await;
    let held = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: alone.generation_id,
        member_id: alone.member_id.clone(),
        // Longer than a test waits for an answer; half the session is still longer than this takes.
        hold_ms: i32::MAX,
        ..HeartbeatRequest::default()
    };
    let heartbeat = a.send(&held, 4).await;
    // What comes over another connection finds it there; what follows on its own lets it go.
    assert_eq!(described_state(&mut b).await, "Stable");
    let b_id = member_id(&mut b).await;
    b.send(&join(&b_id), 9).await;
    let told = a.receive::<HeartbeatRequest>(heartbeat, 4).await;
    assert_eq!(told.error_code, ErrorCode::REBALANCE_IN_PROGRESS);
}

#[tokio::test]
async fn a_held_heartbeat_holds_up_nothing_behind_it() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let alone = lone_member(&mut client).await;
    let held = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: alone.generation_id,
        member_id: alone.member_id.clone(),
        hold_ms: i32::MAX,
        ..HeartbeatRequest::default()
    };
    let heartbeat = client.send(&held, 4).await;
    let request = commit(alone.generation_id, &alone.member_id, 42);
    let commit = client.send(&request, 9).await;
    let told = client.receive::<HeartbeatRequest>(heartbeat, 4).await;
    assert_eq!(told.error_code, ErrorCode::NONE);
    let response = client.receive::<OffsetCommitRequest>(commit, 9).await;
    assert!(response.topics[0].partitions[0].error_code.is_ok(), "{response:?}");
}

#[tokio::test]
async fn commits_members_and_generations_survive_a_restart() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let joined = lone_member(&mut client).await;
    let request = commit(joined.generation_id, &joined.member_id, 42);
    let response = client.call(&request, 9).await;
    assert!(response.topics[0].partitions[0].error_code.is_ok(), "{response:?}");
    assert_eq!(committed(&mut client).await, (42, Some("note".to_owned())));

    let running = running.restart().await;
    let mut client = running.client().await;
    // The group goes on as it was: no rebalance.
    loop {
        match heartbeat(&mut client, joined.generation_id, &joined.member_id).await {
            ErrorCode::NONE => break,
            code => assert_eq!(code, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        }
    }
    assert_eq!(described_state(&mut client).await, "Stable");
    assert_eq!(committed(&mut client).await, (42, Some("note".to_owned())));
    let stale = client.call(&commit(joined.generation_id + 1, &joined.member_id, 43), 9).await;
    assert_eq!(stale.topics[0].partitions[0].error_code, ErrorCode::ILLEGAL_GENERATION);
}

async fn described_state(client: &mut Client) -> String {
    let request = DescribeGroupsRequest {
        groups: vec![GROUP.to_owned()],
        ..DescribeGroupsRequest::default()
    };
    loop {
        let group = client.call(&request, 5).await.groups.remove(0);
        if group.error_code != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
            return group.group_state;
        }
    }
}

#[tokio::test]
async fn pipelined_commits_are_answered_in_order_and_the_last_one_counts() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let mut sent = Vec::new();
    for offset in 0..200 {
        sent.push(client.send(&commit(-1, "", offset), 9).await);
    }
    for id in sent {
        let response = client.receive::<OffsetCommitRequest>(id, 9).await;
        assert!(response.topics[0].partitions[0].error_code.is_ok(), "{response:?}");
    }
    assert_eq!(committed(&mut client).await.0, 199);
    let running = running.restart().await;
    let mut client = running.client().await;
    described_state(&mut client).await;
    assert_eq!(committed(&mut client).await.0, 199);
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted() {
    let running = start().await;
    let mut client = running.client().await;
    assert!(client.call(&ListGroupsRequest::default(), 5).await.groups.is_empty());
    client.create_topic("t", 1).await;
    let joined = lone_member(&mut client).await;
    let listed = client.call(&ListGroupsRequest::default(), 5).await;
    assert_eq!((listed.groups.len(), listed.groups[0].group_state.as_str()), (1, "Stable"));
    let delete = DeleteGroupsRequest { groups_names: vec![GROUP.to_owned()] };
    let refused = client.call(&delete, 2).await;
    assert_eq!(refused.results[0].error_code, ErrorCode::NON_EMPTY_GROUP);
    let leave = LeaveGroupRequest {
        group_id: GROUP.to_owned(),
        members: vec![MemberIdentity { member_id: joined.member_id, ..MemberIdentity::default() }],
        ..LeaveGroupRequest::default()
    };
    client.call(&leave, 5).await;
    assert!(client.call(&delete, 2).await.results[0].error_code.is_ok());
    assert!(client.call(&ListGroupsRequest::default(), 5).await.groups.is_empty());
}

#[tokio::test]
async fn a_member_that_is_silent_after_a_restart_loses_its_session() {
    let running: Running =
        start_with(|builder| builder.set("group.min.session.timeout.ms", "10")).await;
    let mut client = running.client().await;
    let id = member_id(&mut client).await;
    let mut request = join(&id);
    request.session_timeout_ms = 200;
    let joined = client.call(&request, 9).await;
    sync(&mut client, &joined, &[(id.as_str(), "all")]).await;
    let running = running.restart().await;
    let mut client = running.client().await;
    while described_state(&mut client).await != "Empty" {}
}

#[tokio::test]
async fn a_parked_join_is_answered_when_the_broker_stops() {
    let running =
        start_with(|builder| builder.set("group.initial.rebalance.delay.ms", "60000")).await;
    let mut client = running.client().await;
    let id = member_id(&mut client).await;
    let parked = client.send(&join(&id), 9).await;
    let mut other = running.client().await;
    while described_state(&mut other).await != "PreparingRebalance" {}
    let stopping = tokio::spawn(running.broker.shutdown());
    let response = client.receive::<JoinGroupRequest>(parked, 9).await;
    assert_eq!(response.error_code, ErrorCode::NOT_COORDINATOR);
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn offsets_of_a_deleted_topic_are_forgotten() {
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.call(&commit(-1, "", 7), 9).await;
    let delete = kohort_protocol::messages::DeleteTopicsRequest {
        topic_names: vec!["t".to_owned()],
        ..kohort_protocol::messages::DeleteTopicsRequest::default()
    };
    assert!(client.call(&delete, 5).await.responses[0].error_code.is_ok());
    while committed(&mut client).await.0 != -1 {}
}
