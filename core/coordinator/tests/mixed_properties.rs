//! Members of both protocols in one group, which goes from the classic protocol to the new one and back as
//! they come and go: random steps, lost answers, deaths, timeouts, failed appends and restarts, and what
//! must hold at every step all the same:
//!
//! - no partition has two owners, neither by the coordinator's account nor by what the members in the
//!   group work on themselves;
//! - a shard built from the log, or from what any compaction leaves of it, equals the live one;
//! - when everything calms down, each partition has one owner and the group is stable.
//!
//! The runs are the same every time. A failure prints the shortest sequence of steps that shows it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use kohort_coordinator::{
    ConnectionId, GroupCall, GroupConfig, GroupOutcome, GroupRequest, GroupResponse, GroupShard,
    MetadataImage, ReplyTo, RequestContext, Shard, Timestamp, TopicImage,
};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::leave_group::MemberIdentity;
use kohort_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
    HeartbeatRequest, LeaveGroupRequest,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use group_log::{Log, check_replay, rebuild, runner};
use holdings::Place;
use mixed::client::{Client, Phase, SUBSCRIPTIONS, TOPICS, topic_id};

mod group_log;
mod holdings;
mod mixed;

/// One thing that happens. Clients are numbered.
#[derive(Debug, Clone)]
enum Step {
    /// A client does what it has to do next: joins, syncs, heartbeats. The answer may get lost.
    Act {
        client: usize,
        lost: bool,
    },
    /// A client of the new protocol lets go of what it is to let go of, and takes what it was given.
    Reconcile {
        client: usize,
    },
    Leave {
        client: usize,
    },
    /// A client leaves, or dies without a word, and comes back with the other protocol.
    Change {
        client: usize,
        dies: bool,
    },
    /// A client subscribes to something else.
    Resubscribe {
        client: usize,
        what: usize,
    },
    Advance {
        seconds: i64,
    },
    /// The next records are lost, and the shard is loaded anew.
    FailAppend,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        40 => (client.clone(), prop::bool::weighted(0.12))
            .prop_map(|(client, lost)| Step::Act { client, lost }),
        12 => client.clone().prop_map(|client| Step::Reconcile { client }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        8 => (client.clone(), any::<bool>())
            .prop_map(|(client, dies)| Step::Change { client, dies }),
        1 => (client, 0..SUBSCRIPTIONS.len())
            .prop_map(|(client, what)| Step::Resubscribe { client, what }),
        4 => (1..12_i64).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::FailAppend),
        1 => Just(Step::Restart),
    ]
}

#[test]
fn no_partition_has_two_owners_whichever_protocols_they_speak() {
    let runs = (any::<bool>(), vec(step(), 1..160));
    let result = runner(120).run(&runs, |(cooperative, steps)| {
        let mut world = World::new(cooperative);
        for (number, step) in steps.iter().enumerate() {
            world.run(step);
            world.check_owners();
            check_replay(&world.log, &world.shard, number);
        }
        world.settle();
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_steps_take_groups_from_either_protocol_to_the_other() {
    let mut runner = TestRunner::deterministic();
    let mut seen = Seen::default();
    for round in 0..120 {
        let steps = vec(step(), 160).new_tree(&mut runner).unwrap().current();
        let mut world = World::new(round % 2 == 0);
        for step in &steps {
            world.run(step);
            world.note_protocol();
        }
        seen.upgrades += world.seen.upgrades;
        seen.downgrades += world.seen.downgrades;
        seen.shared += world.seen.shared;
    }
    assert!(seen.upgrades > 40 && seen.downgrades > 20 && seen.shared > 50, "{seen:?}");
}

/// What the runs came across, to know that they test something.
#[derive(Debug, Default)]
struct Seen {
    upgrades: usize,
    downgrades: usize,
    /// After how many steps members of both protocols owned something.
    shared: usize,
    was_new: Option<bool>,
}

struct World {
    cooperative: bool,
    now: Timestamp,
    shard: GroupShard,
    log: Log,
    clients: Vec<Client>,
    /// Who waits for which answer, as which incarnation.
    waiting: BTreeMap<ReplyTo, (usize, usize)>,
    next: u64,
    lose_next_append: bool,
    seen: Seen,
}

impl World {
    fn new(cooperative: bool) -> Self {
        let client =
            |index: usize| Client { classic: index.is_multiple_of(2), ..Client::default() };
        let mut world = Self {
            cooperative,
            now: 1_000,
            shard: GroupShard::new(GroupConfig::default(), 0),
            log: Vec::new(),
            clients: (0..CLIENTS).map(client).collect(),
            waiting: BTreeMap::new(),
            next: 0,
            lose_next_append: false,
            seen: Seen::default(),
        };
        world.load();
        world
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Act { client, lost } => self.act(client, lost),
            Step::Reconcile { client } => self.clients[client].holdings.reconcile(),
            Step::Leave { client } => self.leave(client),
            Step::Change { client, dies } => {
                if dies {
                    self.begin_anew(client);
                } else {
                    self.leave(client);
                }
                self.clients[client].classic ^= true;
            }
            Step::Resubscribe { client, what } => {
                let client = &mut self.clients[client];
                client.subscription = what;
                client.unsure = true;
                if client.phase != Phase::Wait {
                    client.phase = Phase::Join;
                }
            }
            Step::Advance { seconds } => {
                let end = self.now + seconds * 1000;
                while let Some(due) = self.shard.poll_timeout().filter(|due| *due <= end) {
                    self.now = self.now.max(due);
                    let outcome = self.shard.handle_timeout(self.now);
                    self.apply(outcome);
                }
                self.now = end;
            }
            Step::FailAppend => self.lose_next_append = true,
            Step::Restart => {
                self.waiting.clear();
                self.load();
                // Who waits is told by nobody, and asks again.
                for client in self.clients.iter_mut().filter(|it| it.phase == Phase::Wait) {
                    client.phase = Phase::Join;
                }
            }
        }
        while self.shard.poll_timeout().is_some_and(|due| due <= self.now) {
            let outcome = self.shard.handle_timeout(self.now);
            self.apply(outcome);
        }
    }

    fn act(&mut self, index: usize, lost: bool) {
        let client = &self.clients[index];
        let request: GroupRequest = match (client.classic, client.phase) {
            (false, _) => client.heartbeat(index).into(),
            (true, Phase::Join) => {
                if !self.cooperative {
                    self.clients[index].holdings.owned.clear();
                }
                self.clients[index].join(self.cooperative).into()
            }
            (true, Phase::Sync) => client.sync().into(),
            (true, Phase::Heartbeat) => HeartbeatRequest {
                group_id: GROUP.to_owned(),
                generation_id: client.epoch,
                member_id: client.member_id.clone(),
                ..HeartbeatRequest::default()
            }
            .into(),
            (true, Phase::Wait) => return,
        };
        let client = &mut self.clients[index];
        let next = if client.phase == Phase::Heartbeat { Phase::Heartbeat } else { Phase::Wait };
        client.phase = next;
        if lost {
            // It asks again, when it has waited long enough.
            client.unsure = true;
            client.phase = if next == Phase::Wait { Phase::Join } else { next };
        }
        self.send(index, request, lost);
    }

    fn leave(&mut self, index: usize) {
        let client = self.clients[index].clone();
        // It lets go of everything first; the answer does not matter to it.
        self.begin_anew(index);
        if client.classic {
            let member =
                MemberIdentity { member_id: client.member_id, ..MemberIdentity::default() };
            let request = LeaveGroupRequest {
                group_id: GROUP.to_owned(),
                members: vec![member],
                ..LeaveGroupRequest::default()
            };
            self.send(index, request.into(), true);
        } else {
            let request = ConsumerGroupHeartbeatRequest {
                group_id: GROUP.to_owned(),
                member_id: client.new_id(index),
                member_epoch: -1,
                ..ConsumerGroupHeartbeatRequest::default()
            };
            self.send(index, request.into(), true);
        }
    }

    fn begin_anew(&mut self, index: usize) {
        let client = &self.clients[index];
        self.clients[index] = Client {
            classic: client.classic,
            incarnation: client.incarnation + 1,
            subscription: client.subscription,
            ..Client::default()
        };
    }

    fn send(&mut self, index: usize, request: GroupRequest, lost: bool) {
        let from = ReplyTo(self.next);
        self.next += 1;
        if !lost {
            self.waiting.insert(from, (index, self.clients[index].incarnation));
        }
        let context = Self::context(index, &request);
        let outcome = self.shard.handle(self.now, from, GroupCall { context, request });
        self.apply(outcome);
    }

    fn context(index: usize, request: &GroupRequest) -> RequestContext {
        let api_version = match request {
            GroupRequest::JoinGroup(_) => 9,
            GroupRequest::LeaveGroup(_) => 5,
            GroupRequest::SyncGroup(_) | GroupRequest::Heartbeat(_) => 4,
            _ => 1,
        };
        RequestContext {
            api_version,
            client_id: format!("c{index}").into(),
            client_host: "/h".into(),
            connection: ConnectionId(index as u64),
        }
    }

    fn apply(&mut self, outcome: GroupOutcome) {
        if !outcome.records.is_empty() && std::mem::take(&mut self.lose_next_append) {
            let error = ErrorCode::NOT_COORDINATOR;
            for (to, response) in outcome.replies {
                self.deliver(to, response.into_failed(error));
            }
            for (to, response) in self.shard.resign(error) {
                self.deliver(to, response);
            }
            self.load();
            return;
        }
        for record in &outcome.records {
            self.shard.replay(record);
            self.log.extend(record.encoded().unwrap());
        }
        for (to, response) in outcome.replies {
            self.deliver(to, response);
        }
    }

    /// Hands an answer to its client, unless nobody waits for it any more.
    fn deliver(&mut self, to: ReplyTo, response: GroupResponse) {
        let Some((index, incarnation)) = self.waiting.remove(&to) else { return };
        let client = &mut self.clients[index];
        if client.incarnation != incarnation {
            return;
        }
        match response {
            GroupResponse::ConsumerGroupHeartbeat(response) => client.hear(&response),
            GroupResponse::JoinGroup(response) => client.joined(response),
            GroupResponse::SyncGroup(response) => client.synced(&response),
            GroupResponse::Heartbeat(response) => client.refused(response.error_code),
            _ => {}
        }
    }

    fn load(&mut self) {
        // A coordinator that starts anew gives nobody an id that the one before gave away.
        self.shard = rebuild(&self.log, self.next);
        let outcome = self.shard.handle_loaded(self.now);
        self.apply(outcome);
        let image: MetadataImage = TOPICS
            .iter()
            .map(|(name, partitions)| TopicImage {
                name: (*name).into(),
                id: topic_id(name),
                partitions: *partitions,
            })
            .collect();
        let outcome = self.shard.handle_metadata(self.now, &image);
        self.apply(outcome);
    }

    fn ask(&mut self, request: GroupRequest) -> GroupResponse {
        let context = Self::context(0, &request);
        let call = GroupCall { context, request };
        let outcome = self.shard.handle(self.now, ReplyTo(u64::MAX), call);
        outcome.replies.into_iter().next().unwrap().1
    }

    /// Returns the group's state, and what each member holds by the coordinator's account, if it is a group
    /// of the new protocol: of a classic group it knows the members alone.
    fn describe(&mut self) -> (String, BTreeMap<String, Option<BTreeSet<Place>>>) {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![GROUP.to_owned()],
            ..ConsumerGroupDescribeRequest::default()
        };
        let GroupResponse::ConsumerGroupDescribe(response) = self.ask(request.into()) else {
            panic!("a description is there at once");
        };
        let group = &response.groups[0];
        if group.error_code.is_ok() {
            let held = group.members.iter().map(|member| {
                let topics = member.assignment.topic_partitions.iter();
                let places = topics
                    .flat_map(|of| of.partitions.iter().map(|index| (of.topic_id, *index)))
                    .collect();
                (member.member_id.clone(), Some(places))
            });
            return (group.group_state.clone(), held.collect());
        }
        let request = DescribeGroupsRequest {
            groups: vec![GROUP.to_owned()],
            ..DescribeGroupsRequest::default()
        };
        let GroupResponse::DescribeGroups(response) = self.ask(request.into()) else {
            panic!("a description is there at once");
        };
        let group = &response.groups[0];
        let members = group.members.iter().map(|member| (member.member_id.clone(), None));
        (group.group_state.clone(), members.collect())
    }

    fn check_owners(&mut self) {
        let (_, members) = self.describe();
        let mut holders: BTreeMap<Place, &String> = BTreeMap::new();
        for (member, held) in &members {
            for place in held.iter().flatten() {
                let other = holders.insert(*place, member);
                assert!(other.is_none(), "{place:?} is held by {member} and {other:?}");
            }
        }
        let mut owners: BTreeMap<Place, usize> = BTreeMap::new();
        for (index, client) in self.clients.iter().enumerate() {
            // Who was put out does not know it yet, and whoever has its partitions now is right.
            if !members.contains_key(&client.id(index)) {
                continue;
            }
            for place in &client.holdings.owned {
                let other = owners.insert(*place, index);
                assert!(other.is_none(), "{place:?} is worked on by {index} and {other:?}");
            }
        }
    }

    fn note_protocol(&mut self) {
        let (_, members) = self.describe();
        let new = members.values().next().map(Option::is_some);
        match (self.seen.was_new, new) {
            (Some(false), Some(true)) => self.seen.upgrades += 1,
            (Some(true), Some(false)) => self.seen.downgrades += 1,
            _ => {}
        }
        self.seen.was_new = new.or(self.seen.was_new);
        let owning = |classic: bool| {
            let mut all = self.clients.iter().enumerate();
            all.any(|(index, it)| {
                it.classic == classic
                    && !it.holdings.owned.is_empty()
                    && members.contains_key(&it.id(index))
            })
        };
        self.seen.shared += usize::from(owning(true) && owning(false));
    }

    /// Lets everybody go on in peace until nothing changes, and checks that all is well then.
    fn settle(&mut self) {
        self.lose_next_append = false;
        for _ in 0..40 {
            self.run(&Step::Advance { seconds: 2 });
            for client in 0..CLIENTS {
                self.act(client, false);
                self.clients[client].holdings.reconcile();
                self.check_owners();
            }
        }
        let (state, members) = self.describe();
        assert_eq!(state, "Stable", "{:#?}", self.clients);
        let mut owners: BTreeMap<Place, usize> = BTreeMap::new();
        for (index, client) in self.clients.iter().enumerate() {
            assert!(members.contains_key(&client.id(index)), "{index} is out: {client:#?}");
            owners.extend(client.holdings.owned.iter().map(|place| (*place, index)));
        }
        let wanted: BTreeSet<String> = self.clients.iter().flat_map(Client::topics).collect();
        let count: i32 = TOPICS
            .iter()
            .filter(|(topic, _)| wanted.contains(*topic))
            .map(|(_, partitions)| partitions)
            .sum();
        assert_eq!(owners.len(), count as usize, "each partition has an owner");
    }
}

const GROUP: &str = "g";
const CLIENTS: usize = 4;
