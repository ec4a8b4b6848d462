//! Fetch sessions against a broker that keeps them as KIP-227 has it, evicts them, starts anew and loses
//! answers: what the broker remembers is always what the consumer wants.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;

use kohort_client_core::backoff::Jitter;
use kohort_client_core::consumer::fetcher::FetchPlan;
use kohort_client_core::consumer::machine::Fault;
use kohort_client_core::consumer::membership::GroupMembershipOperation;
use kohort_client_core::consumer::{Action, OffsetReset, TopicPartition};
use kohort_protocol::ErrorCode;
use kohort_protocol::compression::Compressor;
use kohort_protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};
use support::{POLLING, Topic, World};

const TOPIC: &str = "t";

/// What a broker keeps of one session: the epoch it expects, and the next offset of each partition.
#[derive(Debug, Default)]
struct Session {
    epoch: i32,
    offsets: BTreeMap<i32, i64>,
}

/// The one broker.
#[derive(Debug, Default)]
struct Node {
    sessions: BTreeMap<i32, Session>,
    last_id: i32,
}

impl Node {
    fn answer(&mut self, request: &FetchRequest) -> FetchResponse {
        let refused = |error_code| FetchResponse { error_code, ..Default::default() };
        let mut id = request.session_id;
        if request.session_epoch <= 0 {
            self.sessions.remove(&id);
            if request.session_epoch < 0 {
                return FetchResponse::default();
            }
            self.last_id += 1;
            id = self.last_id;
            self.sessions.insert(id, Session::default());
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        };
        if session.epoch != request.session_epoch {
            return refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        session.epoch += 1;
        for topic in &request.forgotten_topics_data {
            session.offsets.retain(|partition, _| !topic.partitions.contains(partition));
        }
        for wanted in request.topics.iter().flat_map(|topic| &topic.partitions) {
            session.offsets.insert(wanted.partition, wanted.fetch_offset);
        }
        // Every other partition has a record; an incremental answer leaves the rest out.
        let full = request.session_epoch == 0;
        let found = session.offsets.iter().filter(|(it, _)| full || **it % 2 == 0);
        let data = found.map(|(partition, offset)| PartitionData {
            partition_index: *partition,
            high_watermark: offset + 1,
            records: Some(if partition % 2 == 0 { record(*offset) } else { bytes::Bytes::new() }),
            ..Default::default()
        });
        let topic = FetchableTopicResponse {
            topic: TOPIC.to_owned(),
            topic_id: kohort_protocol::Uuid([1; 16]),
            partitions: data.collect(),
        };
        FetchResponse { session_id: id, responses: vec![topic], ..Default::default() }
    }
}

fn record(offset: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    builder.append(&NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
    let options = BatchOptions { base_offset: offset, ..BatchOptions::default() };
    builder.build(&options, &mut Compressor::none())
}

fn of_t(indexes: impl IntoIterator<Item = i32>) -> Vec<TopicPartition> {
    indexes.into_iter().map(|index| TopicPartition::new(TOPIC, index)).collect()
}

fn world() -> World {
    let mut world = World::new(OffsetReset::Earliest).topic(TOPIC, Topic::new(1, 6));
    world.assign(&of_t(0..6));
    world.refresh_all();
    world
}

/// Takes the fetches that are to be sent, and sees that nothing is wrong.
fn fetches(world: &mut World) -> Vec<FetchPlan> {
    let done = std::mem::take(&mut world.done);
    done.into_iter()
        .filter_map(|action| match action {
            Action::Fetch(plan) => Some(plan),
            Action::Fault(Fault::Partition { .. }) => panic!("{action:?}"),
            _ => None,
        })
        .collect()
}

fn take(world: &mut World, plan: &FetchPlan, answer: Option<FetchResponse>) {
    let actions = world.machine.handle_fetched(world.now, plan.node, plan.id, answer, &POLLING);
    // Where reading goes on after what is delivered.
    world.run(actions);
}

#[test]
fn a_broker_remembers_what_is_wanted_whatever_happens_to_it_and_to_answers() {
    for seed in 0..50 {
        let (mut world, mut node) = (world(), Node::default());
        let mut random = Jitter::seeded(seed);
        let mut wanted: BTreeMap<i32, i64> = (0..6).map(|index| (index, 0)).collect();
        let mut incremental = 0;
        for _ in 0..200 {
            let sent = fetches(&mut world);
            let [plan] = &sent[..] else { panic!("seed {seed}: {sent:?}") };
            let mut lost = false;
            match random.next_u64() % 12 {
                0 => node.sessions.clear(),
                1 => node = Node { last_id: node.last_id + 100, ..Node::default() },
                2 => node.sessions.values_mut().for_each(|session| session.epoch += 1),
                3 => lost = true,
                _ => {}
            }
            let answer = node.answer(&plan.request);
            if answer.error_code.is_ok() {
                incremental += usize::from(plan.request.session_epoch > 0);
                assert_eq!(node.sessions[&answer.session_id].offsets, wanted, "seed {seed}");
            }
            if lost {
                take(&mut world, plan, None);
                world.pass(1_000);
                continue;
            }
            for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
                if data.partition_index % 2 == 0 {
                    *wanted.get_mut(&data.partition_index).unwrap() += 1;
                }
            }
            // What is given up and taken anew begins at its start; it is asked for with the next fetch.
            if random.next_u64().is_multiple_of(4) {
                let chosen: Vec<i32> = (0..6).filter(|it| (seed >> it) % 2 == 0).collect();
                let chosen =
                    if wanted.len() == 6 && !chosen.is_empty() { chosen } else { (0..6).collect() };
                let before = std::mem::take(&mut wanted);
                for index in &chosen {
                    wanted.insert(*index, before.get(index).copied().unwrap_or(0));
                }
                world.assign(&of_t(chosen.iter().copied()));
            }
            take(&mut world, plan, Some(answer));
        }
        assert!(incremental > 50, "seed {seed}: {incremental} fetches said only what changed");
    }
}

#[test]
fn a_consumer_that_closes_ends_its_session_and_waits_for_that() {
    let (mut world, mut node) = (world(), Node::default());
    let plan = fetches(&mut world).remove(0);
    let answer = node.answer(&plan.request);
    take(&mut world, &plan, Some(answer));
    world.done.clear();
    let actions = world.machine.handle_close(
        world.now,
        GroupMembershipOperation::Default,
        i64::MAX,
        &POLLING,
    );
    world.run(actions);
    let closes = world.done.iter().find_map(|action| match action {
        Action::CloseSessions(closes) => Some(closes.clone()),
        _ => None,
    });
    let [(1, request)] = &closes.unwrap()[..] else { panic!("{:?}", world.done) };
    assert_eq!((request.session_id, request.session_epoch), (1, -1));
    node.answer(request);
    assert!(node.sessions.is_empty());
    assert!(!world.done.contains(&Action::Closed), "the broker may still be told");
    assert!(!world.done.iter().any(|action| matches!(action, Action::Fetch(_))));
    world.machine.handle_sessions_closed();
    world.run(Vec::new());
    assert!(world.done.contains(&Action::Closed));
}
