//! Random members of consumer groups, lost and repeated heartbeats, deaths, timeouts, failed appends and
//! restarts, and what must hold at every step all the same:
//!
//! - no partition is held by two members, and what a member works on it holds;
//! - who commits for a partition holds it;
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
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    OffsetCommitRequest,
};
use kohort_protocol::{ErrorCode, Uuid};
use proptest::collection::vec;
use proptest::prelude::*;

use group_log::{Log, check_replay, rebuild, runner};
use holdings::{Holdings, Place};

mod group_log;
mod holdings;

/// One thing that happens. Clients are numbered; the last one is a static member.
#[derive(Debug, Clone)]
enum Step {
    /// A client heartbeats, or joins if it is not in the group. The answer may get lost, or the request
    /// come twice.
    Beat {
        client: usize,
        fate: Fate,
    },
    /// A client lets go of what it is to let go of, and takes what it was given.
    Reconcile {
        client: usize,
    },
    /// A client leaves, for good or, if it is a static one, for a while.
    Leave {
        client: usize,
    },
    /// A client dies without a word, and one with another member id takes its place.
    Replace {
        client: usize,
    },
    /// A client subscribes to something else.
    Resubscribe {
        client: usize,
        what: usize,
    },
    /// A client commits for a partition that it works on, in an older epoch.
    Commit {
        client: usize,
        behind: i32,
    },
    /// A topic gets more partitions, or is deleted and comes back as another one.
    Topic {
        topic: usize,
        partitions: i32,
        anew: bool,
    },
    Advance {
        seconds: i64,
    },
    /// The next records are lost, and the shard is loaded anew.
    FailAppend,
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    AnswerLost,
    Twice,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let fate =
        prop_oneof![8 => Just(Fate::Answered), 2 => Just(Fate::AnswerLost), 1 => Just(Fate::Twice)];
    prop_oneof![
        30 => (client.clone(), fate).prop_map(|(client, fate)| Step::Beat { client, fate }),
        15 => client.clone().prop_map(|client| Step::Reconcile { client }),
        2 => client.clone().prop_map(|client| Step::Leave { client }),
        2 => client.clone().prop_map(|client| Step::Replace { client }),
        2 => (client.clone(), 0..SUBSCRIPTIONS.len())
            .prop_map(|(client, what)| Step::Resubscribe { client, what }),
        5 => (client, 0..3).prop_map(|(client, behind)| Step::Commit { client, behind }),
        2 => (0..TOPICS.len(), 1..4, prop::bool::weighted(0.2))
            .prop_map(|(topic, partitions, anew)| Step::Topic { topic, partitions, anew }),
        4 => (1..25_i64).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::FailAppend),
        1 => Just(Step::Restart),
    ]
}

#[test]
fn no_partition_ever_has_two_owners() {
    let result = runner(150).run(&vec(step(), 1..120), |steps| {
        let mut world = World::new();
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

/// What a client believes.
#[derive(Debug, Clone, Default)]
struct Client {
    incarnation: usize,
    /// 0 when it is not in the group.
    epoch: i32,
    subscription: usize,
    holdings: Holdings,
    /// Whether it says everything about itself next time, because an answer was lost.
    unsure: bool,
}

struct World {
    now: Timestamp,
    shard: GroupShard,
    log: Log,
    topics: Vec<(u8, i32)>,
    clients: Vec<Client>,
    next: u64,
    lose_next_append: bool,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: 1_000,
            shard: GroupShard::new(GroupConfig::default(), 0),
            log: Vec::new(),
            topics: vec![(1, 3), (2, 2)],
            clients: vec![Client::default(); CLIENTS],
            next: 0,
            lose_next_append: false,
        };
        world.load();
        world
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Beat { client, fate } => self.beat(client, fate),
            Step::Reconcile { client } => self.clients[client].holdings.reconcile(),
            Step::Leave { client } => self.leave(client),
            Step::Replace { client } => {
                let incarnation = self.clients[client].incarnation + 1;
                let subscription = self.clients[client].subscription;
                self.clients[client] = Client { incarnation, subscription, ..Client::default() };
            }
            Step::Resubscribe { client, what } => {
                self.clients[client].subscription = what;
                self.clients[client].unsure = true;
            }
            Step::Commit { client, behind } => self.commit(client, behind),
            Step::Topic { topic, partitions, anew } => {
                let (incarnation, count) = &mut self.topics[topic];
                *incarnation += u8::from(anew) * 10;
                *count = if anew { partitions } else { partitions.max(*count) };
                let image = self.image();
                let outcome = self.shard.handle_metadata(self.now, &image);
                self.apply(outcome);
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
            Step::Restart => self.load(),
        }
        while self.shard.poll_timeout().is_some_and(|due| due <= self.now) {
            let outcome = self.shard.handle_timeout(self.now);
            self.apply(outcome);
        }
    }

    fn beat(&mut self, client: usize, fate: Fate) {
        let request = self.request(client);
        let times = if fate == Fate::Twice { 2 } else { 1 };
        for _ in 0..times {
            let answer = self.send(client, request.clone());
            let Some(GroupResponse::ConsumerGroupHeartbeat(response)) = answer else {
                panic!("a heartbeat is answered at once");
            };
            if fate == Fate::AnswerLost {
                self.clients[client].unsure = true;
            } else {
                self.clients[client].hear(&response);
            }
        }
    }

    fn request(&self, index: usize) -> ConsumerGroupHeartbeatRequest {
        let client = &self.clients[index];
        let joins = client.epoch == 0;
        let all = joins || client.unsure;
        let names = SUBSCRIPTIONS[client.subscription].0.iter().map(|name| (*name).to_owned());
        let regex = SUBSCRIPTIONS[client.subscription].1;
        ConsumerGroupHeartbeatRequest {
            group_id: GROUP.to_owned(),
            member_id: member_id(index, client),
            member_epoch: client.epoch,
            instance_id: instance(index),
            rebalance_timeout_ms: if all { 20_000 } else { -1 },
            subscribed_topic_names: all.then(|| names.collect()),
            subscribed_topic_regex: all.then(|| regex.to_owned()),
            topic_partitions: (all || client.holdings.changed).then(|| client.holdings.reported()),
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    fn leave(&mut self, index: usize) {
        let client = &self.clients[index];
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP.to_owned(),
            member_id: member_id(index, client),
            member_epoch: if instance(index).is_some() { -2 } else { -1 },
            instance_id: instance(index),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        // It lets go of everything first; the answer does not matter to it.
        let incarnation = client.incarnation + 1;
        let subscription = client.subscription;
        self.clients[index] = Client { incarnation, subscription, ..Client::default() };
        self.send(index, request);
    }

    fn commit(&mut self, index: usize, behind: i32) {
        let client = self.clients[index].clone();
        let Some((topic, partition)) = client.holdings.owned.first().copied() else {
            return;
        };
        let Some(name) = self.topic_name(topic) else {
            return;
        };
        let partition_index = partition;
        let request = OffsetCommitRequest {
            group_id: GROUP.to_owned(),
            generation_id_or_member_epoch: (client.epoch - behind).max(0),
            member_id: member_id(index, &client),
            group_instance_id: instance(index),
            topics: vec![OffsetCommitRequestTopic {
                name: name.to_owned(),
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index,
                    ..OffsetCommitRequestPartition::default()
                }],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        let holders = self.holders();
        let Some(GroupResponse::OffsetCommit(response)) = self.send(index, request) else {
            panic!("a commit is answered at once");
        };
        if response.topics[0].partitions[0].error_code.is_ok() && !holders.is_empty() {
            let holder = holders.get(&member_id(index, &client));
            let epoch_is_right = behind == 0;
            let holds = holder.is_some_and(|held| held.contains(&(topic, partition)));
            assert!(holds || epoch_is_right, "{index} commits for what it does not hold");
        }
    }

    fn send(&mut self, client: usize, request: impl Into<GroupRequest>) -> Option<GroupResponse> {
        let from = ReplyTo(self.next);
        self.next += 1;
        let context = RequestContext {
            api_version: 1,
            client_id: format!("c{client}").into(),
            client_host: "/h".into(),
            connection: ConnectionId(client as u64),
        };
        let request = request.into();
        let context = match &request {
            GroupRequest::OffsetCommit(_) => RequestContext { api_version: 9, ..context },
            _ => context,
        };
        let outcome = self.shard.handle(self.now, from, GroupCall { context, request });
        self.apply(outcome).into_iter().find(|(to, _)| *to == from).map(|(_, response)| response)
    }

    fn apply(&mut self, outcome: GroupOutcome) -> Vec<(ReplyTo, GroupResponse)> {
        if !outcome.records.is_empty() && std::mem::take(&mut self.lose_next_append) {
            let failed = |(to, response): (ReplyTo, GroupResponse)| {
                (to, response.into_failed(ErrorCode::NOT_COORDINATOR))
            };
            let replies = outcome.replies.into_iter().map(failed).collect();
            self.load();
            return replies;
        }
        for record in &outcome.records {
            self.shard.replay(record);
            self.log.extend(record.encoded().unwrap());
        }
        outcome.replies
    }

    fn load(&mut self) {
        self.shard = rebuild(&self.log, 0);
        let outcome = self.shard.handle_loaded(self.now);
        self.apply(outcome);
        let image = self.image();
        let outcome = self.shard.handle_metadata(self.now, &image);
        self.apply(outcome);
    }

    fn image(&self) -> MetadataImage {
        let topic = |(name, (incarnation, partitions)): (&&str, &(u8, i32))| TopicImage {
            name: (*name).into(),
            id: Uuid([*incarnation; 16]),
            partitions: *partitions,
        };
        TOPICS.iter().zip(&self.topics).map(topic).collect()
    }

    fn topic_name(&self, id: Uuid) -> Option<&'static str> {
        let found = self.topics.iter().position(|(incarnation, _)| Uuid([*incarnation; 16]) == id);
        found.map(|at| TOPICS[at])
    }

    /// Returns what each member holds, as the coordinator sees it.
    fn holders(&mut self) -> BTreeMap<String, BTreeSet<Place>> {
        self.describe().1
    }

    fn describe(&mut self) -> (String, BTreeMap<String, BTreeSet<Place>>) {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![GROUP.to_owned()],
            ..ConsumerGroupDescribeRequest::default()
        };
        let Some(GroupResponse::ConsumerGroupDescribe(response)) = self.send(0, request) else {
            panic!("a description is there at once");
        };
        let group = &response.groups[0];
        let held = group.members.iter().map(|member| {
            let topics = member.assignment.topic_partitions.iter();
            let places = topics
                .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index)));
            (member.member_id.clone(), places.collect())
        });
        (group.group_state.clone(), held.collect())
    }

    fn check_owners(&mut self) {
        let holders = self.holders();
        let mut owners: BTreeMap<Place, &String> = BTreeMap::new();
        for (member, held) in &holders {
            for place in held {
                let other = owners.insert(*place, member);
                assert!(other.is_none(), "{place:?} is held by {member} and {other:?}");
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            // Who was put out does not know it yet, and whoever has its partitions now is right.
            let Some(held) = holders.get(&member_id(index, client)) else {
                continue;
            };
            // Partitions of a topic that is gone are nobody's.
            let mut works_on =
                client.holdings.owned.iter().filter(|place| self.topic_name(place.0).is_some());
            assert!(
                works_on.all(|place| held.contains(place)),
                "client {index} works on {:?} and holds {held:?}",
                client.holdings.owned
            );
        }
    }

    /// Lets everybody heartbeat in peace until nothing changes, and checks that all is well then.
    fn settle(&mut self) {
        self.lose_next_append = false;
        // Those that are gone are given up.
        for _ in 0..20 {
            self.run(&Step::Advance { seconds: 3 });
            for client in 0..CLIENTS {
                self.beat(client, Fate::Answered);
                self.clients[client].holdings.reconcile();
                self.check_owners();
            }
        }
        let (state, holders) = self.describe();
        assert_eq!(state, "Stable", "{:?}", self.clients);
        let held: usize = holders.values().map(BTreeSet::len).sum();
        let wanted: BTreeSet<usize> = self
            .clients
            .iter()
            .flat_map(|client| {
                let (names, regex) = SUBSCRIPTIONS[client.subscription];
                (0..TOPICS.len()).filter(move |topic| {
                    names.contains(&TOPICS[*topic]) || (regex == "b.*" && *topic == 1)
                })
            })
            .collect();
        let partitions: i32 = wanted.iter().map(|topic| self.topics[*topic].1).sum();
        assert_eq!(held, partitions as usize, "each partition has one owner");
        for (index, client) in self.clients.iter().enumerate() {
            assert_eq!(holders[&member_id(index, client)], client.holdings.owned, "client {index}");
        }
    }
}

impl Client {
    fn hear(&mut self, response: &ConsumerGroupHeartbeatResponse) {
        match response.error_code {
            ErrorCode::NONE => {
                self.epoch = response.member_epoch;
                self.unsure = false;
                self.holdings.hear(response);
            }
            ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::GROUP_ID_NOT_FOUND => self.begin_anew(),
            ErrorCode::UNRELEASED_INSTANCE_ID => {}
            _ => self.unsure = true,
        }
    }

    fn begin_anew(&mut self) {
        let (incarnation, subscription) = (self.incarnation, self.subscription);
        *self = Self { incarnation, subscription, ..Self::default() };
    }
}

fn member_id(index: usize, client: &Client) -> String {
    format!("m{index}.{}", client.incarnation)
}

fn instance(index: usize) -> Option<String> {
    (index == CLIENTS - 1).then(|| "static".to_owned())
}

const GROUP: &str = "g";
const CLIENTS: usize = 4;
const TOPICS: [&str; 2] = ["a", "bb"];
/// Names and a pattern.
const SUBSCRIPTIONS: [(&[&str], &str); 4] =
    [(&["a", "bb"], ""), (&["a"], ""), (&["a"], "b.*"), (&["bb", "missing"], "")];
