//! What a consumer makes of new leaders (KIP-320, KIP-951) and of replicas nearby (KIP-392).
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use kohort_client_core::consumer::fetcher::{FetchPlan, FetchStatus};
use kohort_client_core::consumer::machine::{Application, Fault, GroupEvent};
use kohort_client_core::consumer::{Action, OffsetReset, Position, RequestId, TopicPartition};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::fetch::{
    FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kohort_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use support::{POLLING, Taken, Topic, World};

fn zero() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A consumer at offset 42, after a record of epoch 5, when the partition gets a leader of epoch 6.
fn moved(reset: OffsetReset) -> World {
    let mut world = World::new(reset).topic("t", Topic::new(1, 1));
    world.refresh_some(&["t"]);
    world.committed.insert(zero(), 42);
    world.committed_epoch = 5;
    world.assign(&[zero()]);
    world.done.clear();
    move_leader(&mut world, 2, 6);
    world
}

fn move_leader(world: &mut World, leader: i32, epoch: i32) {
    let topic = world.topics.get_mut("t").unwrap();
    (topic.leader, topic.leader_epoch) = (leader, epoch);
    world.refresh_some(&["t"]);
}

/// The questions about epochs: number, node, the epoch in question and the leader's.
fn asked(world: &mut World) -> Vec<(RequestId, i32, i32, i32)> {
    world.take(|action| match action {
        Action::AskEpochEnds { id, node, request } => {
            let it = &request.topics[0].partitions[0];
            Some((*id, *node, it.leader_epoch, it.current_leader_epoch))
        }
        _ => None,
    })
}

fn end(leader_epoch: i32, end_offset: i64) -> EpochEndOffset {
    EpochEndOffset { leader_epoch, end_offset, ..Default::default() }
}

fn answer(world: &mut World, id: RequestId, end: EpochEndOffset, application: &dyn Application) {
    let topic = OffsetForLeaderTopicResult { topic: "t".to_owned(), partitions: vec![end] };
    let answer = OffsetForLeaderEpochResponse { topics: vec![topic], ..Default::default() };
    let actions = world.machine.handle_epoch_ends(world.now, id, Ok(answer), application);
    world.run(actions);
}

fn fetches(world: &mut World) -> Vec<FetchPlan> {
    world.take(|action| match action {
        Action::Fetch(plan) => Some(plan.clone()),
        _ => None,
    })
}

fn fetched(world: &mut World, plan: &FetchPlan, data: PartitionData, nodes: Vec<NodeEndpoint>) {
    let topic_id = plan.request.topics[0].topic_id;
    let topic = FetchableTopicResponse { topic: "t".to_owned(), topic_id, partitions: vec![data] };
    let answer =
        FetchResponse { responses: vec![topic], node_endpoints: nodes, ..Default::default() };
    let actions =
        world.machine.handle_fetched(world.now, plan.node, plan.id, Some(answer), &POLLING);
    world.run(actions);
}

fn failed(error_code: ErrorCode) -> PartitionData {
    PartitionData { error_code, ..Default::default() }
}

fn status(world: &World) -> FetchStatus {
    world.machine.status(world.now, &POLLING)[&zero()]
}

fn starts(world: &[Action]) -> Vec<Position> {
    let start = |action: &Action| match action {
        Action::Start { position, .. } => Some(*position),
        _ => None,
    };
    world.iter().filter_map(start).collect()
}

#[test]
fn a_new_leader_is_asked_for_the_old_epoch_before_it_is_read() {
    let mut world = moved(OffsetReset::Earliest);
    assert_eq!(status(&world), FetchStatus::Validating);
    let [(id, 2, 5, 6)] = asked(&mut world)[..] else { panic!("{:?}", world.done) };
    answer(&mut world, id, end(5, 42), &POLLING);
    assert!(starts(&world.done).is_empty(), "reading goes on where it was");
    let plan = fetches(&mut world).remove(0);
    assert_eq!((plan.node, plan.request.topics[0].partitions[0].fetch_offset), (2, 42));
    world.refresh_some(&["t"]);
    assert_eq!(asked(&mut world), [], "it is asked once");
}

#[test]
fn a_committed_offset_of_an_old_epoch_is_checked_and_one_of_this_epoch_is_not() {
    for (committed_epoch, checked) in [(3, true), (5, false), (-1, false)] {
        let mut world = World::new(OffsetReset::Earliest).topic("t", Topic::new(1, 1));
        world.refresh_some(&["t"]);
        world.committed.insert(zero(), 42);
        world.committed_epoch = committed_epoch;
        world.assign(&[zero()]);
        assert_eq!(!asked(&mut world).is_empty(), checked, "{committed_epoch}");
    }
}

#[test]
fn a_log_that_was_cut_is_told_and_read_on_from_where_it_differs() {
    let mut world = moved(OffsetReset::Latest);
    let (id, ..) = asked(&mut world).remove(0);
    answer(&mut world, id, end(5, 30), &POLLING);
    let told = GroupEvent::Truncated { partition: zero(), offset: 42, diverges_at: Some(30) };
    assert!(world.done.contains(&Action::Event(told)), "{:?}", world.done);
    assert_eq!(starts(&world.done), [Position { offset: 30, leader_epoch: Some(5) }]);
    assert_eq!(fetches(&mut world)[0].request.topics[0].partitions[0].fetch_offset, 30);
}

#[test]
fn without_a_policy_a_cut_log_waits_for_the_application() {
    let mut world = moved(OffsetReset::None);
    let (id, ..) = asked(&mut world).remove(0);
    answer(&mut world, id, end(5, 30), &POLLING);
    let fault = Fault::Truncated { partition: zero(), offset: 42, diverges_at: Some(30) };
    assert!(world.done.contains(&Action::Fault(fault)), "{:?}", world.done);
    assert_eq!(status(&world), FetchStatus::NoOffset);
    let actions = world.machine.handle_seek(world.now, &zero(), Position::at(30)).unwrap();
    world.run(actions);
    assert_eq!(status(&world), FetchStatus::InFlight);
}

#[test]
fn a_leader_that_knows_nothing_of_the_epoch_leaves_it_to_the_policy() {
    let mut world = moved(OffsetReset::Latest);
    let (id, ..) = asked(&mut world).remove(0);
    answer(&mut world, id, end(-1, -1), &POLLING);
    let told = GroupEvent::Truncated { partition: zero(), offset: 42, diverges_at: None };
    assert!(world.done.contains(&Action::Event(told)), "{:?}", world.done);
    assert_eq!(starts(&world.done), [Position::at(100)], "the end");
}

#[test]
fn a_cut_behind_what_the_application_took_costs_only_what_waits() {
    for offset in [20, 30] {
        let mut world = moved(OffsetReset::None);
        let (id, ..) = asked(&mut world).remove(0);
        let position = Position { offset, leader_epoch: Some(4) };
        answer(&mut world, id, end(5, 30), &Taken { consumed: Some(position), ..POLLING });
        assert_eq!(starts(&world.done), [position]);
        let told = world.take(|it| matches!(it, Action::Event(_) | Action::Fault(_)).then_some(()));
        assert!(told.is_empty(), "it has seen nothing that is gone");
    }
}

#[test]
fn a_question_that_fails_is_asked_again_and_an_older_leaders_answer_does_not_count() {
    let mut world = moved(OffsetReset::None);
    let (id, ..) = asked(&mut world).remove(0);
    let fenced = EpochEndOffset { error_code: ErrorCode::FENCED_LEADER_EPOCH, ..end(-1, -1) };
    answer(&mut world, id, fenced, &POLLING);
    assert_eq!(asked(&mut world), [], "it backs off");
    world.pass(1_000);
    let (old, ..) = asked(&mut world).remove(0);
    move_leader(&mut world, 1, 7);
    let (new, 1, 5, 7) = asked(&mut world).remove(0) else { panic!() };
    answer(&mut world, old, end(5, 1), &POLLING);
    assert_eq!(status(&world), FetchStatus::Validating, "that was the leader before");
    answer(&mut world, new, end(5, 50), &POLLING);
    assert_eq!(status(&world), FetchStatus::BrokerBusy, "with a fetch from before");
    // A broker that has no answer to such questions is taken at its word.
    move_leader(&mut world, 2, 8);
    let (id, ..) = asked(&mut world).remove(0);
    let unsupported = Err(ErrorCode::UNSUPPORTED_VERSION);
    let actions = world.machine.handle_epoch_ends(world.now, id, unsupported, &POLLING);
    world.run(actions);
    assert_eq!(status(&world), FetchStatus::InFlight);
}

/// Makes the next pictures of the cluster those of a broker before 2.4, whose epochs are not reliable.
fn forget_epochs(world: &mut World) {
    world.metadata_version = 8;
    world.refresh_some(&["t"]);
}

#[test]
fn without_reliable_epochs_none_is_named_nothing_is_checked_and_a_new_leader_is_read() {
    let mut world = World::new(OffsetReset::Earliest).topic("t", Topic::new(0, 1));
    world.committed.insert(zero(), 42);
    world.committed_epoch = 3;
    forget_epochs(&mut world);
    world.assign(&[zero()]);
    let named = |plan: &FetchPlan| {
        let it = &plan.request.topics[0].partitions[0];
        (plan.node, it.fetch_offset, it.current_leader_epoch)
    };
    let plan = fetches(&mut world).remove(0);
    assert_eq!(named(&plan), (1, 42, -1));
    fetched(&mut world, &plan, failed(ErrorCode::NOT_LEADER_OR_FOLLOWER), Vec::new());
    assert!(world.done.contains(&Action::RefreshMetadata));
    move_leader(&mut world, 2, 4);
    world.pass(1_000);
    let refused = FetchStatus::Refused(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(status(&world), refused, "until the new one has answered");
    let plan = fetches(&mut world).remove(0);
    assert_eq!(named(&plan), (2, 42, -1), "nobody is asked first");
    fetched(&mut world, &plan, PartitionData::default(), Vec::new());
    assert_eq!(status(&world), FetchStatus::InFlight);
}

#[test]
fn a_position_that_was_checked_is_read_on_when_epochs_are_not_known_any_more() {
    // While brokers are upgraded, some tell epochs and some do not.
    let (mut world, plan) = reading();
    forget_epochs(&mut world);
    let delivered = |it: &Action| matches!(it, Action::Deliver(_));
    fetched(&mut world, &plan, PartitionData::default(), Vec::new());
    assert!(world.done.iter().any(delivered), "the answer counts");
    let plan = fetches(&mut world).remove(0);
    assert_eq!(plan.request.topics[0].partitions[0].current_leader_epoch, -1);
    fetched(&mut world, &plan, PartitionData::default(), Vec::new());
    assert!(world.done.iter().any(delivered), "and so does the next");
    assert_eq!(status(&world), FetchStatus::InFlight);
    // Whoever was to be asked is not asked any more.
    let mut world = moved(OffsetReset::None);
    let (id, ..) = asked(&mut world).remove(0);
    forget_epochs(&mut world);
    assert_eq!(asked(&mut world), []);
    assert_ne!(status(&world), FetchStatus::Validating);
    answer(&mut world, id, end(5, 1), &POLLING);
    assert!(starts(&world.done).is_empty(), "that answer is late");
}

/// A consumer in a rack, at offset 42, whose position has no epoch, and the fetch it has under way.
fn reading() -> (World, FetchPlan) {
    let mut world = World::with(OffsetReset::None, |config| config.fetch.rack = "r2".into())
        .topic("t", Topic::new(1, 1));
    world.refresh_some(&["t"]);
    world.committed.insert(zero(), 42);
    world.assign(&[zero()]);
    let plan = fetches(&mut world).remove(0);
    (world, plan)
}

#[test]
fn a_leader_named_in_an_answer_is_asked_at_once_even_if_its_broker_was_unknown() {
    let (mut world, plan) = reading();
    let current_leader = LeaderIdAndEpoch { leader_id: 3, leader_epoch: 6 };
    let data = PartitionData { current_leader, ..failed(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
    let node = NodeEndpoint { node_id: 3, host: "h3".to_owned(), port: 3, rack: None };
    fetched(&mut world, &plan, data, vec![node]);
    let learnt = Action::LeaderLearnt { partition: zero(), node: 3, epoch: 6 };
    assert!(world.done.contains(&learnt), "{:?}", world.done);
    assert!(!world.done.contains(&Action::RefreshMetadata), "nothing is left to find out");
    assert_eq!(fetches(&mut world)[0].node, 3);
}

#[test]
fn a_leader_that_is_no_news_makes_the_partition_wait_for_metadata() {
    let (mut world, plan) = reading();
    let current_leader = LeaderIdAndEpoch { leader_id: 2, leader_epoch: 5 };
    let data = PartitionData { current_leader, ..failed(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
    fetched(&mut world, &plan, data, Vec::new());
    assert!(world.done.contains(&Action::RefreshMetadata));
    assert_eq!(
        (status(&world), fetches(&mut world)),
        (FetchStatus::Refused(ErrorCode::NOT_LEADER_OR_FOLLOWER), vec![])
    );
}

#[test]
fn a_topic_recreated_without_an_id_is_read_from_its_new_leader_and_listed_there() {
    // Ready to fetch from the leader of epoch 5, and still to ask it for the log's end.
    for (reset, committed) in [(OffsetReset::None, Some(0)), (OffsetReset::Latest, None)] {
        let mut world = World::new(reset).topic("t", Topic::new(0, 1));
        world.list_error = Some(ErrorCode::UNKNOWN_LEADER_EPOCH).filter(|_| committed.is_none());
        world.refresh_some(&["t"]);
        world.committed.extend(committed.map(|offset| (zero(), offset)));
        world.assign(&[zero()]);
        if committed.is_some() {
            let plan = fetches(&mut world).remove(0);
            fetched(&mut world, &plan, failed(ErrorCode::NOT_LEADER_OR_FOLLOWER), Vec::new());
        }
        let denied = Action::LeaderDenied { partition: zero(), node: 1 };
        assert!(world.done.contains(&denied), "{:?}", world.done);
        world.list_error = None;
        world.done.clear();
        move_leader(&mut world, 2, 0);
        world.pass(1_000);
        assert_eq!(fetches(&mut world)[0].node, 2, "{reset:?}");
    }
}

#[test]
fn a_replica_nearby_is_read_for_a_while_and_its_leader_has_the_last_word() {
    let sent_away = || PartitionData { preferred_read_replica: 2, ..Default::default() };
    let (mut world, plan) = reading();
    fetched(&mut world, &plan, sent_away(), Vec::new());
    let plan = fetches(&mut world).remove(0);
    assert_eq!(plan.node, 2);
    // It lags behind: out of its range is not out of the leader's.
    fetched(&mut world, &plan, failed(ErrorCode::OFFSET_OUT_OF_RANGE), Vec::new());
    assert!(world.take(|it| matches!(it, Action::Fault(_)).then_some(())).is_empty());
    assert_eq!(status(&world), FetchStatus::InFlight);
    // After a while the leader is asked anyway.
    let (mut world, plan) = reading();
    fetched(&mut world, &plan, sent_away(), Vec::new());
    let plan = fetches(&mut world).remove(0);
    world.now += 300_000;
    fetched(&mut world, &plan, PartitionData::default(), Vec::new());
    assert_eq!(fetches(&mut world)[0].node, 1);
}

#[test]
fn a_leader_is_not_told_our_rack_for_a_while_after_the_replica_there_did_not_answer() {
    let sent_away = || PartitionData { preferred_read_replica: 2, ..Default::default() };
    let (mut world, plan) = reading();
    let to = |plan: &FetchPlan| (plan.node, plan.request.rack_id.clone());
    assert_eq!(to(&plan), (1, "r2".to_owned()));
    fetched(&mut world, &plan, sent_away(), Vec::new());
    let plan = fetches(&mut world).remove(0);
    assert_eq!(to(&plan), (2, "r2".to_owned()));
    let actions = world.machine.handle_fetched(world.now, 2, plan.id, None, &POLLING);
    world.run(actions);
    let plan = fetches(&mut world).remove(0);
    assert_eq!(to(&plan), (1, String::new()), "it would send us there again");
    world.now += 299_999;
    fetched(&mut world, &plan, PartitionData::default(), Vec::new());
    let plan = fetches(&mut world).remove(0);
    assert_eq!(to(&plan), (1, String::new()));
    world.now += 1;
    fetched(&mut world, &plan, PartitionData::default(), Vec::new());
    assert_eq!(to(&fetches(&mut world)[0]), (1, "r2".to_owned()));
}

#[test]
fn what_is_out_of_the_leaders_range_is_left_to_the_policy() {
    let (mut world, plan) = reading();
    fetched(&mut world, &plan, failed(ErrorCode::OFFSET_OUT_OF_RANGE), Vec::new());
    let fault = Fault::NoOffset { partition: zero(), out_of_range: Some(42) };
    assert!(world.done.contains(&Action::Fault(fault)), "{:?}", world.done);
    assert_eq!(status(&world), FetchStatus::NoOffset);
}

#[test]
fn a_replica_nobody_has_heard_of_is_asked_about_with_a_pause() {
    let (mut world, plan) = reading();
    let sent_away = || PartitionData { preferred_read_replica: 9, ..Default::default() };
    fetched(&mut world, &plan, sent_away(), Vec::new());
    let plan = fetches(&mut world).remove(0);
    assert_eq!(plan.node, 1);
    fetched(&mut world, &plan, sent_away(), Vec::new());
    assert!(world.done.contains(&Action::RefreshMetadata));
    assert_eq!((status(&world), fetches(&mut world)), (FetchStatus::BackingOff, vec![]));
}
