//! What the broker tells of its groups' rebalances, as any consumer reads it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::scraping::{scrape, value};
use common::{Client, PATIENCE, Running, start, start_with, values};
use kohort_broker::group_events::{GroupEvent, HandoverEvent, RebalanceEvent};
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequestTopicPartitions;
use kohort_protocol::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscription,
};
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::leave_group::MemberIdentity;
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    ConsumerGroupHeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest,
};
use kohort_protocol::{ErrorCode, Uuid};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const TOPIC: &str = "__kohort_group_events";

fn join_request(member_id: &str) -> JoinGroupRequest {
    let topics = vec!["t".to_owned()];
    let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
    JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: subscription.to_bytes(1).unwrap(),
        }],
        ..JoinGroupRequest::default()
    }
}

async fn join(client: &mut Client) -> JoinGroupResponse {
    let id = client.call(&join_request(""), 9).await.member_id;
    client.call(&join_request(&id), 9).await
}

/// Gives every partition of `t` to the leader, who asks.
async fn take_all(client: &mut Client, joined: &JoinGroupResponse, partitions: i32) {
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![ConsumerProtocolAssignmentTopicPartition {
            topic: "t".to_owned(),
            partitions: (0..partitions).collect(),
        }],
        ..ConsumerProtocolAssignment::default()
    };
    let request = SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: assignment.to_bytes(1).unwrap(),
        }],
        ..SyncGroupRequest::default()
    };
    let response = client.call(&request, 4).await;
    assert!(response.error_code.is_ok(), "{response:?}");
    assert_eq!(response.assignment, assignment.to_bytes(1).unwrap());
}

async fn leave(client: &mut Client, member_id: &str) {
    let member = MemberIdentity {
        member_id: member_id.to_owned(),
        reason: Some("closed".to_owned()),
        ..MemberIdentity::default()
    };
    let request = LeaveGroupRequest {
        group_id: "g".to_owned(),
        members: vec![member],
        ..LeaveGroupRequest::default()
    };
    assert!(client.call(&request, 5).await.error_code.is_ok());
}

/// Reads the events until there are `count`.
async fn events(running: &Running, count: usize) -> Vec<GroupEvent> {
    let mut client = running.client().await.named("reader");
    let read = async {
        loop {
            let data = client.fetch(TOPIC, 0, 0).await;
            if data.error_code.is_ok() {
                let events = values(&data);
                if events.len() >= count {
                    let parse = |(_, text): &(i64, String)| serde_json::from_str(text).unwrap();
                    return events.iter().map(parse).collect();
                }
            } else {
                assert_eq!(data.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            }
        }
    };
    timeout(PATIENCE, read).await.expect("the events come")
}

fn rebalance(event: &GroupEvent) -> &RebalanceEvent {
    let GroupEvent::Rebalance(event) = event else { panic!("{event:?}") };
    event
}

fn handover(event: &GroupEvent) -> &HandoverEvent {
    let GroupEvent::Handover(event) = event else { panic!("{event:?}") };
    event
}

/// The end of a connection is kept in mind also where it does not end a session.
#[tokio::test]
async fn a_member_that_keeps_its_session_is_gone_since_its_connection_closed() {
    let running = start_with(|broker| {
        let broker = broker.set("group.disconnect.grace.ms", "-1");
        let broker = broker.set("group.min.session.timeout.ms", "100");
        broker.set("metrics.listener", "127.0.0.1:0")
    })
    .await;
    let mut member = running.client().await.named("m");
    member.create_topic("t", 1).await;
    let request = JoinGroupRequest { session_timeout_ms: 1_500, ..join_request("") };
    let id = member.call(&request, 9).await.member_id;
    let joined = member.call(&JoinGroupRequest { member_id: id, ..request }, 9).await;
    take_all(&mut member, &joined, 1).await;
    // Later than it was heard, and sooner than its session ends.
    sleep(Duration::from_millis(20)).await;
    let before = now_ms();
    drop(member);
    let connections = async || {
        let page = scrape(&running).await;
        value(&page, "kafka_server_socket_server_metrics_connection_count")
    };
    while connections().await != Some(0.0) {}
    let noticed = now_ms();
    let events = events(&running, 2).await;
    let expired = rebalance(&events[1]);
    assert_eq!(expired.causes[0].what, "expired", "{expired:?}");
    let gone = expired.moved[0].unserved_since_ms.unwrap();
    // Both clocks' milliseconds do not end at the same moment.
    assert!((before - 1..=noticed + 1).contains(&gone), "{before} to {noticed}: {expired:?}");
}

/// The time of day, in milliseconds since 1970.
fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

#[tokio::test]
async fn a_partition_that_moves_is_told_with_the_time_nobody_read_it() {
    let running = start().await;
    let mut first = running.client().await.named("first");
    first.create_topic("t", 2).await;
    let joined = join(&mut first).await;
    take_all(&mut first, &joined, 2).await;
    leave(&mut first, &joined.member_id).await;
    let mut second = running.client().await.named("second");
    let heir = join(&mut second).await;
    take_all(&mut second, &heir, 2).await;
    // What somebody else reads is no hand-over.
    first.fetch("t", 0, 0).await;
    events(&running, 3).await;
    for partition in 0..2 {
        second.fetch("t", partition, 0).await;
    }
    let events = events(&running, 4).await;

    let came = rebalance(&events[0]);
    assert_eq!((came.generation, came.causes[0].what.as_str()), (1, "joined"));
    assert_eq!(came.members_after, [joined.member_id.as_str()]);
    let left = rebalance(&events[1]);
    assert_eq!((left.generation, left.causes[0].what.as_str()), (2, "left"));
    assert_eq!(left.causes[0].text, format!("member {} left (closed)", joined.member_id));
    let to_nobody = |moved: &kohort_broker::group_events::MovedPartition| {
        (moved.from.as_deref(), moved.to.is_none()) == (Some(joined.member_id.as_str()), true)
    };
    assert!(left.moved.len() == 2 && left.moved.iter().all(to_nobody), "{left:?}");
    let taken = rebalance(&events[2]);
    assert_eq!(taken.moved.len(), 2);
    for moved in &taken.moved {
        assert_eq!(moved.from.as_deref(), Some(joined.member_id.as_str()));
        assert_eq!(moved.to.as_deref(), Some(heir.member_id.as_str()));
        assert!(moved.unserved_since_ms.is_some_and(|at| at <= left.ended_ms), "{moved:?}");
    }
    let served = handover(&events[3]);
    assert_eq!((served.generation, served.unserved.len()), (taken.generation, 0));
    let partitions: Vec<i32> = served.served.iter().map(|served| served.partition).collect();
    assert_eq!(partitions, [0, 1]);
}

/// A member of the consumer protocol.
struct Beating {
    client: Client,
    id: &'static str,
    epoch: i32,
}

impl Beating {
    async fn join(running: &Running, id: &'static str) -> Self {
        let client = running.client().await.named(id);
        let mut member = Self { client, id, epoch: 0 };
        member.beat(Some(Vec::new())).await;
        member
    }

    /// Heartbeats, saying what it owns of a topic.
    async fn beat(&mut self, owned: Option<Vec<ConsumerGroupHeartbeatRequestTopicPartitions>>) {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".to_owned(),
            member_id: self.id.to_owned(),
            member_epoch: self.epoch,
            rebalance_timeout_ms: 30_000,
            subscribed_topic_names: (self.epoch == 0).then(|| vec!["t".to_owned()]),
            topic_partitions: owned,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let response = self.client.call(&request, 1).await;
        assert!(response.error_code.is_ok(), "{response:?}");
        self.epoch = response.member_epoch;
    }

    async fn keep(&mut self, topic_id: Uuid, partitions: &[i32]) {
        self.beat(None).await;
        let partitions = partitions.to_vec();
        let of_topic = ConsumerGroupHeartbeatRequestTopicPartitions { topic_id, partitions };
        self.beat(Some(vec![of_topic])).await;
    }
}

/// A member of a consumer group fetches what it is given long before the last of the others has followed.
#[tokio::test]
async fn a_fetch_counts_from_when_its_partition_was_given_and_not_from_when_that_is_told() {
    let running = start().await;
    let topic = running.client().await.create_topic("t", 6).await;
    let mut first = Beating::join(&running, "first").await;
    let mut second = Beating::join(&running, "second").await;
    first.keep(topic, &[0, 1, 2]).await;
    second.beat(None).await;
    for partition in 3..6 {
        second.client.fetch("t", partition, 0).await;
    }
    events(&running, 3).await;
    let mut third = Beating::join(&running, "third").await;
    first.keep(topic, &[0, 1]).await;
    third.beat(None).await;
    third.client.fetch("t", 2, 0).await;
    second.keep(topic, &[3, 4]).await;
    third.beat(None).await;
    events(&running, 4).await;
    third.client.fetch("t", 5, 0).await;
    let events = events(&running, 5).await;
    let given: Vec<i32> = rebalance(&events[3]).moved.iter().map(|it| it.partition).collect();
    assert_eq!(given, [2, 5]);
    let held: std::collections::BTreeSet<_> = rebalance(&events[3])
        .revocations
        .iter()
        .map(|it| (&*it.member, it.partitions[0].partition))
        .collect();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [("first", 2), ("second", 5)]);
    let members = &rebalance(&events[3]).members;
    let known: Vec<_> = members.iter().map(|(id, who)| (&**id, &*who.client_id)).collect();
    assert_eq!(known, ["first", "second", "third"].map(|id| (id, id)));
    let served = handover(&events[4]);
    let partitions: Vec<i32> = served.served.iter().map(|served| served.partition).collect();
    assert_eq!(partitions, [2, 5], "each was fetched once: {served:?}");
    assert_eq!(served.members, *members);
}

#[tokio::test]
async fn a_broker_that_is_told_so_tells_nothing() {
    let running = start_with(|builder| builder.set("group.events.enable", "false")).await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let joined = join(&mut client).await;
    take_all(&mut client, &joined, 1).await;
    leave(&mut client, &joined.member_id).await;
    let topic = client.describe(TOPIC, false).await;
    assert_eq!(topic.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

/// Nobody rebalances, and the group has another member than before.
#[tokio::test]
async fn a_static_member_that_takes_over_is_told_with_the_time_nobody_read_its_partitions() {
    let running = start().await;
    let mut first = running.client().await.named("first");
    first.create_topic("t", 1).await;
    let request = JoinGroupRequest { group_instance_id: Some("i".to_owned()), ..join_request("") };
    let joined = first.call(&request, 9).await;
    take_all(&mut first, &joined, 1).await;
    drop(first);
    let mut second = running.client().await.named("second");
    let heir = second.call(&request, 9).await;
    assert_eq!((heir.generation_id, heir.error_code), (1, ErrorCode::NONE), "{heir:?}");
    events(&running, 2).await;
    second.fetch("t", 0, 0).await;
    let events = events(&running, 3).await;

    let taken = rebalance(&events[1]);
    assert!(taken.take_over && !rebalance(&events[0]).take_over, "{events:?}");
    assert_eq!((taken.generation, &*taken.causes[0].what), (1, "static-member-replaced"));
    assert_eq!(taken.members_before, [joined.member_id.as_str()]);
    assert_eq!(taken.members_after, [heir.member_id.as_str()]);
    let moved = &taken.moved[0];
    assert_eq!(moved.from.as_deref(), Some(joined.member_id.as_str()));
    assert_eq!(moved.to.as_deref(), Some(heir.member_id.as_str()));
    let served = handover(&events[2]);
    assert_eq!((served.generation, served.served.len()), (1, 1));
    assert_eq!(served.served[0].to.as_deref(), Some(heir.member_id.as_str()));
}
