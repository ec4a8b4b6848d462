//! A thousand members in virtual time: how long a group takes until everybody has what it is to have, if
//! each member comes back when it is told to and says at once what it gave up, as clients do.
//!
//! The time that the coordinator computes does not count here; that members are not told more, or to come
//! back later, than need be does. `cargo test --release -- --nocapture` prints what it computed, too.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use kohort_coordinator::{
    ConnectionId, ConsumerRecord, GroupCall, GroupConfig, GroupOutcome, GroupRecord, GroupResponse,
    GroupShard, MetadataImage, ReplyTo, RequestContext, Shard, Timestamp, TopicImage,
};
use kohort_protocol::Uuid;
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequestTopicPartitions;
use kohort_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

#[test]
fn a_thousand_members_settle_within_a_second_and_a_half() {
    let mut world = World::new(1_000);
    for member in 0..1_000 {
        // They start within 300 ms.
        world.schedule(member, (member as i64 * 3) / 10);
    }
    let settled = world.run_until_stable();
    assert!(settled <= 1_500, "settled after {settled} ms");
    assert!(world.assignments <= 15, "{} assignments", world.assignments);

    // One leaves.
    world.records = 0;
    let began = world.now;
    world.leave(500);
    let settled = world.run_until_stable() - began;
    assert!(settled <= 1_000, "settled {settled} ms after a leave");
    // Its tombstones, two epochs, one heir's target, and a step of each member.
    assert!(world.records <= 1_010, "{} records", world.records);

    // A quiet group writes nothing.
    world.records = 0;
    let end = world.now + 5_000;
    world.run_until(end);
    assert_eq!(world.records, 0);
    assert!(world.heartbeats_at_rest() <= 2_100, "more heartbeats than the budget has");
}

#[derive(Debug, Clone, Default)]
struct Member {
    epoch: i32,
    owned: BTreeSet<i32>,
    changed: bool,
    gone: bool,
}

struct World {
    now: Timestamp,
    shard: GroupShard,
    members: Vec<Member>,
    queue: BTreeSet<(Timestamp, usize)>,
    assignments: usize,
    records: usize,
    heartbeats: BTreeMap<Timestamp, usize>,
}

impl World {
    fn new(members: usize) -> Self {
        let mut shard = GroupShard::new(GroupConfig::default(), 0);
        let topic = TopicImage { name: "t".into(), id: TOPIC, partitions: members as i32 };
        let image: MetadataImage = [topic].into_iter().collect();
        assert!(shard.handle_loaded(START).is_empty());
        assert!(shard.handle_metadata(START, &image).is_empty());
        Self {
            now: START,
            shard,
            members: vec![Member::default(); members],
            queue: BTreeSet::new(),
            assignments: 0,
            records: 0,
            heartbeats: BTreeMap::new(),
        }
    }

    fn schedule(&mut self, member: usize, after: Timestamp) {
        self.queue.insert((self.now + after, member));
    }

    /// Runs until the group is stable with all its members; returns how long that took from the start.
    fn run_until_stable(&mut self) -> Timestamp {
        let alive = self.members.iter().filter(|member| !member.gone).count();
        for _ in 0..300 {
            let end = self.now + 20;
            self.run_until(end);
            if self.state() == ("Stable".to_owned(), alive) {
                return self.now - START;
            }
        }
        panic!("the group does not settle: {:?}", self.state());
    }

    fn run_until(&mut self, end: Timestamp) {
        loop {
            let timer = self.shard.poll_timeout().filter(|due| *due <= end);
            let beat = self.queue.first().copied().filter(|(at, _)| *at <= end);
            match (timer, beat) {
                (Some(due), beat) if beat.is_none_or(|(at, _)| due <= at) => {
                    self.now = self.now.max(due);
                    let outcome = self.shard.handle_timeout(self.now);
                    self.apply(outcome);
                }
                (_, Some((at, member))) => {
                    self.queue.remove(&(at, member));
                    self.now = self.now.max(at);
                    self.beat(member);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn beat(&mut self, index: usize) {
        let member = &self.members[index];
        if member.gone {
            return;
        }
        let joins = member.epoch == 0;
        let owned = ConsumerGroupHeartbeatRequestTopicPartitions {
            topic_id: TOPIC,
            partitions: member.owned.iter().copied().collect(),
        };
        let owned = if member.owned.is_empty() { Vec::new() } else { vec![owned] };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".to_owned(),
            member_id: format!("m{index:04}"),
            member_epoch: member.epoch,
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            subscribed_topic_names: joins.then(|| vec!["t".to_owned()]),
            topic_partitions: (joins || member.changed).then_some(owned),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        *self.heartbeats.entry(self.now / 1000).or_default() += 1;
        let response = self.send(request);
        assert!(response.error_code.is_ok(), "{response:?}");
        let member = &mut self.members[index];
        member.epoch = response.member_epoch;
        member.changed = false;
        let mut after = response.heartbeat_interval_ms.into();
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.iter();
            let told: BTreeSet<i32> =
                topics.flat_map(|topic| topic.partitions.iter().copied()).collect();
            if told != member.owned {
                member.changed = true;
                member.owned = told;
                // A client says at once what it has done.
                after = 2;
            }
        }
        self.schedule(index, after);
    }

    fn leave(&mut self, index: usize) {
        self.members[index].gone = true;
        let response = self.send(ConsumerGroupHeartbeatRequest {
            group_id: "g".to_owned(),
            member_id: format!("m{index:04}"),
            member_epoch: -1,
            ..ConsumerGroupHeartbeatRequest::default()
        });
        assert!(response.error_code.is_ok(), "{response:?}");
    }

    fn send(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let call = GroupCall { context: context(), request: request.into() };
        let outcome = self.shard.handle(self.now, ReplyTo(0), call);
        let mut replies = self.apply(outcome);
        let Some((_, GroupResponse::ConsumerGroupHeartbeat(response))) = replies.pop() else {
            panic!("a heartbeat is answered at once");
        };
        response
    }

    fn apply(&mut self, outcome: GroupOutcome) -> Vec<(ReplyTo, GroupResponse)> {
        for record in &outcome.records {
            self.shard.replay(record);
            if let GroupRecord::Consumer { record: ConsumerRecord::TargetEpoch(_), .. } = record {
                self.assignments += 1;
            }
        }
        self.records += outcome.records.len();
        outcome.replies
    }

    fn state(&mut self) -> (String, usize) {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec!["g".to_owned()],
            ..ConsumerGroupDescribeRequest::default()
        };
        let call = GroupCall { context: context(), request: request.into() };
        let outcome = self.shard.handle(self.now, ReplyTo(1), call);
        let Some((_, GroupResponse::ConsumerGroupDescribe(response))) =
            outcome.replies.into_iter().next()
        else {
            panic!("a description is there at once");
        };
        let group = &response.groups[0];
        (group.group_state.clone(), group.members.len())
    }

    /// Returns how many heartbeats there were in the last whole second.
    fn heartbeats_at_rest(&self) -> usize {
        self.heartbeats.get(&(self.now / 1000 - 1)).copied().unwrap_or(0)
    }
}

fn context() -> RequestContext {
    RequestContext {
        api_version: 1,
        client_id: "c".into(),
        client_host: "/h".into(),
        connection: ConnectionId(1),
    }
}

const TOPIC: Uuid = Uuid([7; 16]);
const START: Timestamp = 10_000;
