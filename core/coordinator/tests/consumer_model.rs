//! Every interleaving there is, of a small world: two or three members, three partitions, and of each
//! member a join, a leave, heartbeats, and at one moment an answer that gets lost. The coordinator
//! restarts between any two steps.
//!
//! A state is what the log comes to and what the clients believe; the coordinator itself is built from
//! the log for each step, which is the restart. States are explored in breadth, each once, and in each it
//! must hold that no partition is held by two members and that each works only on what it holds. From
//! where nothing can go wrong any more the group must come to rest, with each partition in one pair of
//! hands.
//!
//! This needs no model of the coordinator: it is the coordinator. Epochs grow with joins and leaves, of
//! which there are so many, so the states are finite.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use kohort_coordinator::{
    ConnectionId, GroupCall, GroupConfig, GroupRecord, GroupRequest, GroupResponse, GroupShard,
    MetadataImage, ReplyTo, RequestContext, Shard, TopicImage,
};
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequestTopicPartitions;
use kohort_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest};
use kohort_protocol::{ErrorCode, Uuid};

/// The whole world at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// The log, compacted: what the coordinator knows.
    log: BTreeMap<Bytes, Bytes>,
    clients: Vec<Client>,
}

/// What a member believes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    epoch: i32,
    works_on: BTreeSet<i32>,
    /// What it was told to have, until it does.
    told: Option<BTreeSet<i32>>,
    /// It says everything next time.
    unsure: bool,
    changed: bool,
    joins_left: u8,
    losses_left: u8,
    gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// It heartbeats, or joins; the answer arrives or not.
    Beat { answered: bool },
    /// It takes and lets go as it was told.
    Reconcile,
    /// It leaves, for good.
    Leave,
    /// It gives everything up of its own accord, and will join again.
    Restart,
}

const ACTIONS: [Action; 5] = [
    Action::Beat { answered: true },
    Action::Beat { answered: false },
    Action::Reconcile,
    Action::Leave,
    Action::Restart,
];

#[test]
fn two_members_that_come_twice_and_lose_answers() {
    let explored = explore(2, 2, 1);
    assert!(explored > 1_000, "{explored} states");
}

#[test]
fn three_members_that_come_and_go() {
    let explored = explore(3, 1, 0);
    assert!(explored > 1_000, "{explored} states");
}

/// Explores all states and returns how many there are.
fn explore(members: usize, joins: u8, losses: u8) -> usize {
    let client = Client { joins_left: joins, losses_left: losses, ..Client::default() };
    let first = State { log: BTreeMap::new(), clients: vec![client; members] };
    let mut seen = BTreeSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    let mut explored = 0;
    while let Some(state) = queue.pop_front() {
        explored += 1;
        for index in 0..members {
            for action in ACTIONS {
                let Some(next) = step(&state, index, action) else { continue };
                check(&next);
                if seen.insert(next.clone()) {
                    queue.push_back(next);
                }
            }
        }
        // Coming to rest takes dozens of steps, and from states that follow each other much the same.
        if explored % REST_CHECKED_EVERY == 0 {
            check_rest(&state);
        }
    }
    seen.len()
}

/// Returns the state after an action, if it can be taken.
fn step(state: &State, index: usize, action: Action) -> Option<State> {
    let mut next = state.clone();
    let client = &mut next.clients[index];
    if client.gone {
        return None;
    }
    match action {
        Action::Reconcile => {
            let told = client.told.take()?;
            // Said even if it is what it had: it may have been told more in between, and then less.
            client.changed = true;
            client.works_on = told;
        }
        Action::Restart => {
            if client.epoch == 0 || client.joins_left == 0 {
                return None;
            }
            begin_anew(client);
        }
        Action::Leave => {
            if client.epoch == 0 {
                return None;
            }
            begin_anew(client);
            client.gone = true;
            let request = ConsumerGroupHeartbeatRequest {
                member_epoch: -1,
                ..request(index, &Client::default())
            };
            send(&mut next, request.into());
        }
        Action::Beat { answered } => {
            if client.epoch == 0 {
                client.joins_left = client.joins_left.checked_sub(1)?;
            }
            if !answered {
                client.losses_left = client.losses_left.checked_sub(1)?;
            }
            let request = request(index, client);
            let GroupResponse::ConsumerGroupHeartbeat(response) = send(&mut next, request.into())
            else {
                panic!("a heartbeat is answered");
            };
            let client = &mut next.clients[index];
            if !answered {
                client.unsure = true;
                // One whose join was not answered may try again, or it would never be known.
                client.joins_left += u8::from(client.epoch == 0);
                return Some(next);
            }
            match response.error_code {
                ErrorCode::NONE => {
                    client.epoch = response.member_epoch;
                    client.unsure = false;
                    client.changed = false;
                    if let Some(assignment) = response.assignment {
                        let topics = assignment.topic_partitions.iter();
                        let told = topics.flat_map(|topic| topic.partitions.iter().copied());
                        client.told = Some(told.collect());
                    }
                }
                _ => begin_anew(client),
            }
        }
    }
    Some(next)
}

fn begin_anew(client: &mut Client) {
    *client = Client {
        joins_left: client.joins_left,
        losses_left: client.losses_left,
        ..Client::default()
    };
}

fn request(index: usize, client: &Client) -> ConsumerGroupHeartbeatRequest {
    let all = client.epoch == 0 || client.unsure;
    // What it was told to take it may take at any moment.
    let owned: BTreeSet<i32> =
        client.works_on.iter().chain(client.told.iter().flatten()).copied().collect();
    let owned = ConsumerGroupHeartbeatRequestTopicPartitions {
        topic_id: TOPIC,
        partitions: owned.into_iter().collect(),
    };
    let owned = if owned.partitions.is_empty() { Vec::new() } else { vec![owned] };
    ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: format!("m{index}"),
        member_epoch: client.epoch,
        rebalance_timeout_ms: if all { 60_000 } else { -1 },
        subscribed_topic_names: all.then(|| vec!["t".to_owned()]),
        topic_partitions: (all || client.changed).then_some(owned),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// Sends a request to a coordinator that has just been loaded, and keeps what it writes.
fn send(state: &mut State, request: GroupRequest) -> GroupResponse {
    let mut shard = load(&state.log);
    let context = RequestContext {
        api_version: 1,
        client_id: "c".into(),
        client_host: "/h".into(),
        connection: ConnectionId(1),
    };
    let outcome = shard.handle(NOW, ReplyTo(0), GroupCall { context, request });
    for (key, value) in outcome.records.iter().flat_map(|record| record.encoded().unwrap()) {
        match value {
            Some(value) => state.log.insert(key, value),
            None => state.log.remove(&key),
        };
    }
    outcome.replies.into_iter().next().unwrap().1
}

fn load(log: &BTreeMap<Bytes, Bytes>) -> GroupShard {
    let config = GroupConfig { consumer_assignment_interval_ms: Some(0), ..GroupConfig::default() };
    let mut shard = GroupShard::new(config, 0);
    for (key, value) in log {
        shard.replay(&GroupRecord::decode(key, Some(value)).unwrap());
    }
    let topic = TopicImage { name: "t".into(), id: TOPIC, partitions: PARTITIONS };
    let image: MetadataImage = [topic].into_iter().collect();
    let loaded = shard.handle_loaded(NOW);
    let informed = shard.handle_metadata(NOW, &image);
    assert!(loaded.is_empty() && informed.is_empty(), "a restart writes nothing");
    while shard.poll_timeout().is_some_and(|due| due <= NOW) {
        let outcome = shard.handle_timeout(NOW);
        assert!(outcome.records.is_empty(), "a restart writes nothing: {:?}", outcome.records);
    }
    shard
}

/// Returns the group's state and what each member holds.
fn describe(state: &State) -> (String, BTreeMap<String, BTreeSet<i32>>) {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec!["g".to_owned()],
        ..ConsumerGroupDescribeRequest::default()
    };
    let GroupResponse::ConsumerGroupDescribe(response) = send(&mut state.clone(), request.into())
    else {
        panic!("a description is given");
    };
    let group = &response.groups[0];
    let held = group.members.iter().map(|member| {
        let topics = member.assignment.topic_partitions.iter();
        let held = topics.flat_map(|topic| topic.partitions.iter().copied()).collect();
        (member.member_id.clone(), held)
    });
    (group.group_state.clone(), held.collect())
}

fn check(state: &State) {
    let (_, holders) = describe(state);
    let mut held_by_all = BTreeSet::new();
    for held in holders.values() {
        assert!(held.iter().all(|index| held_by_all.insert(*index)), "two owners: {state:?}");
    }
    for (index, client) in state.clients.iter().enumerate() {
        // Who is not in the group any more hears of it at its next heartbeat.
        let Some(held) = holders.get(&format!("m{index}")) else { continue };
        assert!(client.works_on.is_subset(held), "client {index} works on more: {state:?}");
    }
}

/// Lets those who are left heartbeat in peace, and checks that the group comes to rest.
fn check_rest(state: &State) {
    let mut state = state.clone();
    for _ in 0..6 {
        for index in 0..state.clients.len() {
            for action in [Action::Beat { answered: true }, Action::Reconcile] {
                // Who has no join left and is not in the group stays out.
                if let Some(next) = step(&state, index, action) {
                    state = next;
                }
            }
        }
    }
    let (name, holders) = describe(&state);
    let members: BTreeSet<String> = (0..state.clients.len())
        .filter(|index| state.clients[*index].epoch > 0)
        .map(|index| format!("m{index}"))
        .collect();
    // A member that the coordinator knows and that does not know itself will time out.
    if members.is_empty() || holders.keys().any(|member| !members.contains(member)) {
        return;
    }
    assert_eq!(name, "Stable", "{state:?}");
    let held: usize = holders.values().map(BTreeSet::len).sum();
    assert_eq!(held, PARTITIONS as usize, "{state:?}");
    for (index, client) in state.clients.iter().enumerate().filter(|(_, client)| client.epoch > 0) {
        assert_eq!(client.works_on, holders[&format!("m{index}")], "{state:?}");
    }
}

const TOPIC: Uuid = Uuid([7; 16]);
const PARTITIONS: i32 = 3;
const NOW: i64 = 1_000;
const REST_CHECKED_EVERY: usize = 16;
