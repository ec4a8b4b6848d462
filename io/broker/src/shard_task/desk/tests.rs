//! What is decided at a desk, and what is left to the task: on a disk that writes when it is told to.

use super::super::ShardCall;
use super::super::serving::{Means, Round, Told};
use super::super::shared::SharedByShards;
use super::*;
use crate::clock::Clock;
use crate::partition::Partition;
use kohort_coordinator::{
    ConnectionId, GroupConfig, GroupRequest, GroupResponse, GroupShard, MetadataImage,
    RequestContext, TopicImage,
};
use kohort_log::PartitionConfig;
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::{HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest};
use kohort_protocol::{ErrorCode, Uuid};
use kohort_storage::{Background, LogDir, LogDirConfig, PartitionId, SimulatedDisk};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{mpsc, watch};

/// A shard that serves, on a disk that writes when it is told to.
struct Shop {
    desk: Desk,
    disk: Arc<LogDir>,
    vital: Vital,
    changes: watch::Sender<u64>,
    told: UnboundedReceiver<Told>,
}

impl Shop {
    fn open() -> Self {
        let config = LogDirConfig { background: Background::Manual, ..LogDirConfig::new("/data") };
        let disk = LogDir::open_on(Arc::new(SimulatedDisk::new(1)), config).unwrap().0;
        let topic_id = Uuid([1; 16]);
        let id = PartitionId { topic_id, topic: OFFSETS_TOPIC.into(), index: 7 };
        let log = disk.create_partition(id, PartitionConfig::default()).unwrap();
        let (changes, changed) = watch::channel(0);
        let (to_task, told) = mpsc::unbounded_channel();
        let means = Means {
            partition: Arc::new(Partition::new(topic_id, 7, log)),
            clock: Arc::new(Clock::default()),
            metrics: Arc::default(),
            shared: Arc::new(SharedByShards::default()),
            changes: changed,
            to_task,
            counted_members: 0,
        };
        let vital = Vital::new();
        let desk = Desk::new(ShardName(7), vital.clone());
        assert!(desk.free().is_none(), "nothing is decided before the shard is loaded");
        desk.open(Serving::new(GroupShard::new(config_of_groups(), 1), 0, means));
        let mut shop = Self { desk, disk, vital, changes, told };
        shop.learn();
        shop
    }

    fn learn(&mut self) {
        let topic = TopicImage { name: "t".into(), id: Uuid([2; 16]), partitions: 1 };
        let mut round = Round::default();
        let mut turn = self.desk.turn().unwrap();
        turn.serving().learn(&mut round, config_of_groups(), || MetadataImage::from_iter([topic]));
        turn.serving().commit(round);
    }

    fn decide(&self, request: impl Into<GroupRequest>) -> Decided {
        self.desk.free().expect("the desk is free").decide(call(request.into()), false)
    }

    /// Makes what was appended durable, and tells the shard.
    fn write(&mut self) {
        self.disk.step_commit();
        while let Ok(told) = self.told.try_recv() {
            if let Told::Written(result) = told {
                self.desk.turn().unwrap().serving().written(result);
            }
        }
    }
}

fn config_of_groups() -> GroupConfig {
    GroupConfig { group_initial_rebalance_delay_ms: 1, ..GroupConfig::default() }
}

fn call(request: GroupRequest) -> GroupCall {
    let context = RequestContext {
        api_version: 3,
        client_id: "test".into(),
        client_host: "/127.0.0.1".into(),
        connection: ConnectionId(1),
    };
    GroupCall { context, request }
}

fn commit(committed_offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition { committed_offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic {
        name: "t".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() }
}

fn heartbeat() -> HeartbeatRequest {
    HeartbeatRequest { group_id: "nobody's".into(), ..HeartbeatRequest::default() }
}

fn join() -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
    JoinGroupRequest {
        group_id: "members'".into(),
        session_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..JoinGroupRequest::default()
    }
}

fn is_now(decided: &Decided) -> bool {
    matches!(decided, Decided::Now(_))
}

#[test]
fn a_call_that_changes_nothing_is_answered_on_the_spot() {
    let shop = Shop::open();
    let Decided::Now(GroupResponse::Heartbeat(answer)) = shop.decide(heartbeat()) else {
        panic!("it is not answered");
    };
    assert_eq!(answer.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test]
async fn a_commit_is_answered_once_it_is_durable_and_so_is_what_was_asked_after_it() {
    let mut shop = Shop::open();
    let Decided::Later(committed) = shop.decide(commit(5)) else { panic!("it is not durable") };
    let Decided::Later(heard) = shop.decide(heartbeat()) else { panic!("it was asked later") };
    shop.write();
    assert!(matches!(committed.await, Some(GroupResponse::OffsetCommit(_))));
    assert!(matches!(heard.await, Some(GroupResponse::Heartbeat(_))));
    assert!(is_now(&shop.decide(heartbeat())));
}

#[test]
fn nobody_passes_a_message_that_is_queued_and_not_decided() {
    let shop = Shop::open();
    let queued = shop.desk.queue(ShardMessage::ConnectionClosed(ConnectionId(9)));
    assert!(shop.desk.free().is_none());
    drop(queued);
    assert!(shop.desk.free().is_some());
}

#[test]
fn a_connection_does_not_wait_for_the_desk() {
    let shop = Shop::open();
    let turn = shop.desk.turn();
    assert!(shop.desk.free().is_none());
    drop(turn);
    assert!(shop.desk.free().is_some());
}

#[test]
fn topics_that_changed_are_learned_before_the_next_call() {
    let mut shop = Shop::open();
    shop.changes.send(1).unwrap();
    assert!(shop.desk.free().is_none());
    shop.learn();
    assert!(shop.desk.free().is_some());
}

#[test]
fn batches_that_are_on_their_way_to_the_disk_are_enough_at_some_time() {
    let mut shop = Shop::open();
    for offset in 0..4 {
        assert!(!is_now(&shop.decide(commit(offset))));
    }
    assert!(shop.desk.free().is_none());
    shop.write();
    assert!(shop.desk.free().is_some());
}

#[test]
fn a_deadline_that_a_call_brought_calls_the_task_and_comes_before_the_next_call() {
    let mut shop = Shop::open();
    shop.desk.turn().unwrap().serving().task_came(None);
    assert!(!is_now(&shop.decide(join())), "it waits for other members");
    assert!(matches!(shop.told.try_recv(), Ok(Told::Changed)));
    let deadline = Instant::now() + Duration::from_secs(60);
    while shop.desk.free().is_some() {
        assert!(Instant::now() < deadline, "the wait for other members is never over");
        std::thread::yield_now();
    }
}

#[test]
fn an_append_that_fails_calls_the_task_and_ends_the_shard() {
    let mut shop = Shop::open();
    shop.disk.shutdown().unwrap();
    assert!(!is_now(&shop.decide(commit(5))));
    assert!(matches!(shop.told.try_recv(), Ok(Told::Changed)));
    assert!(shop.desk.turn().unwrap().serving().failed().is_some());
    assert!(shop.desk.free().is_none());
}

#[tokio::test]
async fn nothing_is_decided_between_an_append_that_fails_and_the_next_load() {
    let shop = Shop::open();
    assert!(!is_now(&shop.decide(join())), "it waits for other members");
    let due = shop.desk.turn().unwrap().serving().due(Timestamp::MAX);
    assert!(due.is_some(), "and not for ever");
    shop.disk.shutdown().unwrap();
    assert!(!is_now(&shop.decide(commit(5))));
    // Meanwhile the task took a call out of the queue, and its timer rang.
    let (queued, answer) = ShardCall::new(call(heartbeat().into()), false);
    let mut round = Round::default();
    let mut turn = shop.desk.turn().unwrap();
    let serving = turn.serving();
    assert_eq!(serving.due(Timestamp::MAX), None);
    let now = serving.time();
    serving.decide_queued(&mut round, now, *queued);
    serving.commit(round);
    let Some(GroupResponse::Heartbeat(answer)) = answer.await else { panic!("it is answered") };
    assert_eq!(answer.error_code, ErrorCode::NOT_COORDINATOR);
}

#[test]
fn a_panic_at_the_desk_ends_the_broker_by_the_shards_name_and_nothing_is_decided_after_it() {
    let mut shop = Shop::open();
    let desk = Arc::new(shop.desk);
    let at_desk = Arc::clone(&desk);
    let connection = std::thread::spawn(move || {
        let desk = at_desk.free().expect("the desk is free");
        desk.guarded(|_| panic!("a decision panics, as this test wants"))
    });
    assert!(connection.join().is_err());
    assert_eq!(
        shop.vital.failed_task().as_deref(),
        Some("the group coordinator of partition 7 of __consumer_offsets")
    );
    assert!(desk.free().is_none());
    assert!(desk.turn().is_none(), "nobody knows what is left of the shard");
    assert!(matches!(shop.told.try_recv(), Ok(Told::Changed)));
}
