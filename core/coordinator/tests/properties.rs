//! Random members, retries, lost answers, timeouts, failed appends and crashes, and what must hold
//! at every step all the same.
//!
//! The shell here keeps a log of which only a part is durable: it replays at once, releases replies
//! when their records are flushed, and on a failed append or a crash goes on with a new shard built
//! from what was durable. So the contract in the crate's documentation is under test, too.
//!
//! The runs are the same every time. A failure prints the shortest sequence of steps that shows it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kohort_coordinator::{
    ConnectionId, GroupCall, GroupConfig, GroupEffect, GroupOutcome, GroupRecord, GroupRequest,
    GroupResponse, GroupShard, MetadataImage, ReplyTo, RequestContext, Shard, Signs, Timestamp,
    TopicImage,
};
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::leave_group::MemberIdentity;
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_fetch::OffsetFetchRequestGroup;
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use kohort_protocol::{ErrorCode, Uuid};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use group_log::{Log, check_replay, rebuild, runner};

mod group_log;

/// One thing that happens. Clients are numbered; the last two are static members.
#[derive(Debug, Clone)]
enum Step {
    /// A client joins with the member id it knows; `changed` with another subscription.
    Join {
        client: usize,
        changed: bool,
    },
    /// A client lost its state and joins without a member id.
    JoinAnew {
        client: usize,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    /// A client's connection closes. It may be heard of again.
    Close {
        client: usize,
    },
    /// A client commits, in its own generation or `behind` it.
    Commit {
        client: usize,
        behind: i32,
    },
    Advance {
        seconds: i64,
    },
    /// Every client joins and syncs until the group is stable, more or less.
    Settle,
    /// What was appended becomes durable, and the replies leave.
    Flush,
    /// What was appended since the last flush is lost.
    FailAppend,
    /// The broker dies. Of what was not flushed, some records may have reached the disk.
    Crash {
        survivors: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        6 => (client.clone(), any::<bool>()).prop_map(|(client, changed)| Step::Join {
            client,
            changed,
        }),
        1 => client.clone().prop_map(|client| Step::JoinAnew { client }),
        8 => client.clone().prop_map(|client| Step::Sync { client }),
        3 => client.clone().prop_map(|client| Step::Heartbeat { client }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        3 => client.clone().prop_map(|client| Step::Close { client }),
        8 => (client, prop_oneof![4 => Just(0), 1 => 1..3])
            .prop_map(|(client, behind)| Step::Commit { client, behind }),
        6 => (1..9_i64).prop_map(|seconds| Step::Advance { seconds }),
        3 => Just(Step::Settle),
        8 => Just(Step::Flush),
        1 => Just(Step::FailAppend),
        1 => (0..4_usize).prop_map(|survivors| Step::Crash { survivors }),
    ]
}

#[test]
fn nothing_is_lost_and_nothing_is_answered_twice_whatever_happens() {
    let result = runner(600).run(&vec(step(), 1..160), |steps| {
        let mut world = World::new();
        for (number, step) in steps.iter().enumerate() {
            world.run(step);
            check_replay(&world.log, &world.shard, number);
        }
        world.finish();
        prop_assert!(true);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_steps_reach_the_states_that_matter() {
    let mut runner = TestRunner::deterministic();
    let mut seen = Seen::default();
    for _ in 0..100 {
        let steps = vec(step(), 160).new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        for step in steps {
            world.run(&step);
        }
        seen.assignments += world.seen.assignments;
        seen.commits += world.seen.commits;
        seen.refused_commits += world.seen.refused_commits;
        seen.fenced += world.seen.fenced;
        seen.failed_appends += world.seen.failed_appends;
        seen.disconnected += world.seen.disconnected;
    }
    let enough = seen.assignments > 200
        && seen.commits > 200
        && seen.refused_commits > 50
        && seen.fenced > 10
        && seen.failed_appends > 20
        && seen.disconnected > 20;
    assert!(enough, "{seen:?}");
}

/// What the runs came across, to know that they test something.
#[derive(Debug, Default)]
struct Seen {
    assignments: usize,
    commits: usize,
    refused_commits: usize,
    fenced: usize,
    failed_appends: usize,
    disconnected: usize,
}

/// What a client believes.
#[derive(Debug, Clone, Default)]
struct Client {
    member_id: String,
    generation: i32,
    members: Vec<(String, Option<String>)>,
}

struct World {
    now: Timestamp,
    shard: GroupShard,
    log: Log,
    /// How much of the log is durable.
    durable: usize,
    /// Replies that leave once the log is durable up to a length.
    held: VecDeque<(usize, Vec<(ReplyTo, GroupResponse)>)>,
    waiting: BTreeMap<ReplyTo, (usize, GroupRequest)>,
    next: u64,
    clients: Vec<Client>,
    /// The newest generation that anybody was told, or that was loaded.
    newest: i32,
    /// Offsets whose commit was acknowledged.
    acknowledged: i64,
    next_offset: i64,
    /// Over which connection each client speaks now.
    connections: Vec<u64>,
    seen: Seen,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: 0,
            shard: GroupShard::new(GroupConfig::default(), 0),
            log: Vec::new(),
            durable: 0,
            held: VecDeque::new(),
            waiting: BTreeMap::new(),
            next: 0,
            clients: vec![Client::default(); CLIENTS],
            newest: 0,
            acknowledged: -1,
            next_offset: 0,
            connections: (0..CLIENTS as u64).collect(),
            seen: Seen::default(),
        };
        world.load();
        world
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Join { client, changed } => self.join(client, changed),
            Step::JoinAnew { client } => {
                self.clients[client] = Client::default();
                self.join(client, false);
            }
            Step::Sync { client } => self.sync(client),
            Step::Heartbeat { client } => {
                let Client { member_id, generation, .. } = self.clients[client].clone();
                let request = HeartbeatRequest {
                    group_id: GROUP.to_owned(),
                    generation_id: generation,
                    member_id,
                    group_instance_id: instance(client),
                    hold_ms: if client.is_multiple_of(2) { 3_000 } else { 0 },
                };
                self.send(client, 4, request);
            }
            Step::Leave { client } => {
                let member = MemberIdentity {
                    member_id: std::mem::take(&mut self.clients[client].member_id),
                    group_instance_id: instance(client),
                    ..MemberIdentity::default()
                };
                let request = LeaveGroupRequest {
                    group_id: GROUP.to_owned(),
                    members: vec![member],
                    ..LeaveGroupRequest::default()
                };
                self.send(client, 5, request);
            }
            Step::Close { client } => {
                let connection = ConnectionId(self.connections[client]);
                self.connections[client] += CLIENTS as u64;
                let outcome = self.shard.handle_connection_closed(self.now, connection);
                self.apply(outcome);
            }
            Step::Commit { client, behind } => self.commit(client, behind),
            Step::Advance { seconds } => {
                let end = self.now + seconds * 1000;
                while let Some(due) = self.shard.poll_timeout().filter(|due| *due <= end) {
                    self.now = self.now.max(due);
                    let outcome = self.shard.handle_timeout(self.now);
                    self.apply(outcome);
                }
                self.now = end;
            }
            Step::Settle => {
                for _ in 0..2 {
                    (0..CLIENTS).for_each(|client| self.join(client, false));
                    self.flush();
                }
                self.run(&Step::Advance { seconds: 7 });
                (0..CLIENTS).for_each(|client| self.sync(client));
                self.flush();
            }
            Step::Flush => self.flush(),
            Step::FailAppend => self.fail_append(),
            Step::Crash { survivors } => {
                let surviving = self.log.len().min(self.durable + survivors);
                self.log.truncate(surviving);
                self.held.clear();
                self.waiting.clear();
                self.load();
                self.check_offsets();
            }
        }
        while self.shard.poll_timeout().is_some_and(|due| due <= self.now) {
            let outcome = self.shard.handle_timeout(self.now);
            self.apply(outcome);
        }
    }

    fn join(&mut self, client: usize, changed: bool) {
        let request = JoinGroupRequest {
            group_id: GROUP.to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 15_000,
            member_id: self.clients[client].member_id.clone(),
            group_instance_id: instance(client),
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".to_owned(),
                metadata: Bytes::from(if changed { vec![1] } else { vec![0] }),
            }],
            reason: None,
        };
        let version = if client.is_multiple_of(3) { 3 } else { 9 };
        self.send(client, version, request);
    }

    /// Every client hands an assignment in if it believes to lead. Assignments say for which
    /// generation and for whom they are.
    fn sync(&mut self, client: usize) {
        let Client { member_id, generation, members } = self.clients[client].clone();
        let assign = |(member_id, instance): (String, Option<String>)| SyncGroupRequestAssignment {
            assignment: assignment(generation, instance.as_deref().unwrap_or(&member_id)),
            member_id,
        };
        let request = SyncGroupRequest {
            group_id: GROUP.to_owned(),
            generation_id: generation,
            member_id,
            group_instance_id: instance(client),
            assignments: members.into_iter().map(assign).collect(),
            ..SyncGroupRequest::default()
        };
        self.send(client, 4, request);
    }

    fn commit(&mut self, client: usize, behind: i32) {
        self.next_offset += 1;
        let partition = OffsetCommitRequestPartition {
            committed_offset: self.next_offset,
            ..OffsetCommitRequestPartition::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..OffsetCommitRequestTopic::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUP.to_owned(),
            generation_id_or_member_epoch: (self.clients[client].generation - behind).max(0),
            member_id: self.clients[client].member_id.clone(),
            group_instance_id: instance(client),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        self.send(client, 9, request);
    }

    fn send(&mut self, client: usize, version: i16, request: impl Into<GroupRequest>) {
        let from = ReplyTo(self.next);
        self.next += 1;
        let request = request.into();
        self.waiting.insert(from, (client, request.clone()));
        let context = RequestContext {
            api_version: version,
            client_id: format!("c{client}").into(),
            client_host: "/h".into(),
            connection: ConnectionId(self.connections[client]),
        };
        let outcome = self.shard.handle(self.now, from, GroupCall { context, request });
        self.apply(outcome);
    }

    fn apply(&mut self, outcome: GroupOutcome) {
        for (to, response) in &outcome.replies {
            self.check_decision(*to, response);
        }
        for record in &outcome.records {
            self.shard.replay(record);
            self.log.extend(record.encoded().unwrap());
        }
        self.held.push_back((self.log.len(), outcome.replies));
        self.release();
        for effect in outcome.effects {
            if let GroupEffect::SeekSigns { group, member, since, .. } = effect {
                let signs = [Signs::Hoped, Signs::Missing, Signs::Replaced][(since % 3) as usize];
                let outcome = self.shard.handle_signs(self.now, &group, &member, signs);
                self.seen.disconnected += usize::from(!outcome.is_empty());
                self.apply(outcome);
            }
        }
    }

    /// Lets the replies go whose records, and all before them, are durable.
    fn release(&mut self) {
        while self.held.front().is_some_and(|(needed, _)| *needed <= self.durable) {
            let (_, replies) = self.held.pop_front().unwrap();
            for (to, response) in replies {
                self.deliver(to, &response);
            }
        }
    }

    fn flush(&mut self) {
        self.durable = self.log.len();
        self.release();
    }

    fn fail_append(&mut self) {
        if self.durable == self.log.len() {
            return;
        }
        self.seen.failed_appends += 1;
        self.log.truncate(self.durable);
        let error = ErrorCode::NOT_COORDINATOR;
        let held: Vec<_> = self.held.drain(..).flat_map(|(_, replies)| replies).collect();
        for (to, response) in held {
            self.deliver(to, &response.into_failed(error));
        }
        for (to, response) in self.shard.resign(error) {
            self.deliver(to, &response);
        }
        assert!(self.waiting.is_empty(), "forgotten: {:?}", self.waiting);
        self.load();
        self.check_offsets();
    }

    fn load(&mut self) {
        self.durable = self.log.len();
        self.shard = rebuild(&self.log, self.next);
        let topic = TopicImage { name: "t".into(), id: Uuid([1; 16]), partitions: 1 };
        let image: MetadataImage = [topic].into_iter().collect();
        let outcome = self.shard.handle_loaded(self.now);
        self.apply(outcome);
        let outcome = self.shard.handle_metadata(self.now, &image);
        self.apply(outcome);
        let stored = self.log.iter().map(|(key, value)| generation(key, value.as_ref()));
        self.newest = stored.max().unwrap_or(0);
    }

    /// Checks an answer at the moment it is decided.
    fn check_decision(&mut self, to: ReplyTo, response: &GroupResponse) {
        let (_, request) = &self.waiting[&to];
        match (request, response) {
            (_, GroupResponse::JoinGroup(response)) if response.error_code.is_ok() => {
                assert!(response.generation_id >= self.newest, "generations go back: {response:?}");
                self.newest = response.generation_id;
            }
            (GroupRequest::SyncGroup(request), GroupResponse::SyncGroup(response))
                if response.error_code.is_ok() =>
            {
                assert_eq!(request.generation_id, self.newest, "a Sync of an old generation");
                self.seen.assignments += 1;
            }
            (GroupRequest::OffsetCommit(request), GroupResponse::OffsetCommit(response)) => {
                let result = response.topics[0].partitions[0].error_code;
                let generation = request.generation_id_or_member_epoch;
                if result.is_ok() {
                    assert_eq!(generation, self.newest, "a commit of an old generation is taken");
                    self.seen.commits += 1;
                } else {
                    self.seen.refused_commits += 1;
                }
            }
            _ => {}
        }
    }

    /// Hands an answer to its client, which acts on it.
    fn deliver(&mut self, to: ReplyTo, response: &GroupResponse) {
        let waiting = self.waiting.remove(&to);
        let (client, request) = waiting.unwrap_or_else(|| panic!("{to:?} is answered twice"));
        match (request, response) {
            (GroupRequest::JoinGroup(_), GroupResponse::JoinGroup(response)) => {
                self.joined(client, response);
            }
            (GroupRequest::SyncGroup(request), GroupResponse::SyncGroup(response)) => {
                self.note(response.error_code);
                let own = instance(client).unwrap_or(request.member_id);
                let expected = assignment(request.generation_id, &own);
                let right = response.assignment.is_empty() || response.assignment == expected;
                assert!(right, "{expected:?} expected, {response:?}");
            }
            (GroupRequest::OffsetCommit(request), GroupResponse::OffsetCommit(response)) => {
                let result = response.topics[0].partitions[0].error_code;
                self.note(result);
                if result.is_ok() {
                    let offset = request.topics[0].partitions[0].committed_offset;
                    assert!(offset > self.acknowledged, "acknowledged out of order");
                    self.acknowledged = offset;
                }
            }
            (_, GroupResponse::Heartbeat(response)) => self.note(response.error_code),
            _ => {}
        }
    }

    fn joined(&mut self, client: usize, response: &JoinGroupResponse) {
        self.note(response.error_code);
        let state = &mut self.clients[client];
        match response.error_code {
            ErrorCode::NONE => {
                let member =
                    |member: &kohort_protocol::messages::join_group::JoinGroupResponseMember| {
                        (member.member_id.clone(), member.group_instance_id.clone())
                    };
                state.member_id.clone_from(&response.member_id);
                state.generation = response.generation_id;
                state.members = response.members.iter().map(member).collect();
            }
            ErrorCode::MEMBER_ID_REQUIRED => state.member_id.clone_from(&response.member_id),
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => {
                *state = Client::default();
            }
            _ => {}
        }
    }

    fn note(&mut self, error: ErrorCode) {
        self.seen.fenced += usize::from(error == ErrorCode::FENCED_INSTANCE_ID);
    }

    /// Checks that what was acknowledged is still there.
    fn check_offsets(&mut self) {
        let group = OffsetFetchRequestGroup {
            group_id: GROUP.to_owned(),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        };
        let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let context = RequestContext {
            api_version: 9,
            client_id: "x".into(),
            client_host: "/h".into(),
            connection: ConnectionId(0),
        };
        let call = GroupCall { context, request: request.into() };
        let outcome = self.shard.handle(self.now, ReplyTo(u64::MAX), call);
        let [(_, GroupResponse::OffsetFetch(response))] = &outcome.replies[..] else {
            panic!("{outcome:?}");
        };
        let topics = &response.groups[0].topics;
        let offset = topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset);
        assert!(offset >= self.acknowledged, "{offset} < {}", self.acknowledged);
        self.acknowledged = offset;
    }

    fn finish(mut self) {
        self.flush();
        for (to, response) in self.shard.resign(ErrorCode::NOT_COORDINATOR) {
            self.deliver(to, &response);
        }
        assert!(self.waiting.is_empty(), "forgotten: {:?}", self.waiting);
    }
}

fn generation(key: &Bytes, value: Option<&Bytes>) -> i32 {
    match GroupRecord::decode(key, value) {
        Ok(GroupRecord::GroupMetadata { value, .. }) => value.generation,
        _ => 0,
    }
}

fn instance(client: usize) -> Option<String> {
    (client >= CLIENTS - STATIC_CLIENTS).then(|| format!("i{client}"))
}

fn assignment(generation: i32, member: &str) -> Bytes {
    Bytes::from(format!("{generation} {member}"))
}

const GROUP: &str = "g";
const CLIENTS: usize = 5;
const STATIC_CLIENTS: usize = 2;
