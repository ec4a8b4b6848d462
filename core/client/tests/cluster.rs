//! What a consumer makes of changes in the cluster's topics.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use kohort_client_core::consumer::fetcher::FetchStatus;
use kohort_client_core::consumer::machine::{Fault, GroupEvent};
use kohort_client_core::consumer::{Action, OffsetReset, Pattern, TopicPartition};
use kohort_client_core::metadata::Topics;
use kohort_protocol::ErrorCode;
use support::{POLLING, Topic, World};

fn partitions(topic: &str, indexes: &[i32]) -> BTreeSet<TopicPartition> {
    indexes.iter().map(|index| TopicPartition::new(topic, *index)).collect()
}

fn starting_with(text: &'static str, exclude_internal: bool) -> Pattern {
    Pattern {
        text: text.into(),
        exclude_internal,
        matches: Arc::new(move |topic| topic.starts_with(text)),
    }
}

fn subscribe_pattern(world: &mut World, pattern: Pattern) {
    let actions = world.machine.handle_subscribe_pattern(world.now, pattern);
    world.run(actions);
}

fn faults(world: &mut World) -> Vec<Fault> {
    world.take(|action| match action {
        Action::Fault(fault) => Some(fault.clone()),
        _ => None,
    })
}

fn starts(world: &mut World) -> Vec<(TopicPartition, i64)> {
    world.take(|action| match action {
        Action::Start { partition, position, .. } => Some((partition.clone(), position.offset)),
        _ => None,
    })
}

fn wanted(world: &mut World) -> Vec<Topics> {
    world.take(|action| match action {
        Action::WantTopics(topics) => Some(topics.clone()),
        _ => None,
    })
}

fn named(names: &[&str]) -> Topics {
    Topics::Some(names.iter().map(|name| Arc::from(*name)).collect())
}

#[test]
fn a_topic_that_may_not_be_read_is_reported_once_and_named_by_health_while_the_others_go_on() {
    let denied = Topic { error: ErrorCode::TOPIC_AUTHORIZATION_FAILED, ..Topic::new(2, 0) };
    let mut world =
        World::new(OffsetReset::Earliest).topic("t", Topic::new(1, 1)).topic("u", denied);
    world.subscribe(&["t", "u"]);
    world.refresh_some(&["t", "u"]);
    let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let fault = Fault::Topic { topic: "u".into(), code };
    assert_eq!(faults(&mut world), std::slice::from_ref(&fault));
    assert_eq!(world.owned(), partitions("t", &[0]));
    assert_eq!(world.machine.topic_errors(), [("u".into(), code)].into());
    world.refresh_some(&["t", "u"]);
    assert_eq!(faults(&mut world), [], "told once");
    // It may be read for a while, and then not any more.
    world.topics.get_mut("u").unwrap().error = ErrorCode::NONE;
    world.refresh_some(&["t", "u"]);
    assert!(world.machine.topic_errors().is_empty());
    world.topics.get_mut("u").unwrap().error = code;
    world.refresh_some(&["t", "u"]);
    assert_eq!(faults(&mut world), std::slice::from_ref(&fault), "told again");
    // Who subscribes anew asks anew.
    world.subscribe(&["t", "u"]);
    assert!(!world.take(|it| (*it == Action::RefreshMetadata).then_some(())).is_empty());
    world.refresh_some(&["t", "u"]);
    assert_eq!(faults(&mut world), [fault]);
}

#[test]
fn a_topic_that_does_not_exist_yet_is_waited_for_in_silence() {
    let mut world = World::new(OffsetReset::Earliest);
    world.subscribe(&["t"]);
    world.refresh_some(&["t"]);
    assert_eq!(faults(&mut world), []);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(world.machine.topic_errors(), [("t".into(), unknown)].into());
    world.assign(&[TopicPartition::new("t", 0)]);
    let status = world.machine.status(world.now, &POLLING);
    assert_eq!(status.values().collect::<Vec<_>>(), [&FetchStatus::NoTopic(unknown)]);
}

#[test]
fn a_pattern_takes_in_topics_as_they_come_and_go() {
    let internal = Topic { internal: true, ..Topic::new(9, 1) };
    let mut world = World::new(OffsetReset::Earliest)
        .topic("orders-1", Topic::new(1, 2))
        .topic("orders-internal", internal)
        .topic("users", Topic::new(2, 1));
    subscribe_pattern(&mut world, starting_with("orders", true));
    assert_eq!(wanted(&mut world), [Topics::All]);
    // A picture of some topics decides nothing.
    world.refresh_some(&["users"]);
    assert!(world.owned().is_empty());
    world.refresh_all();
    assert_eq!(world.owned(), partitions("orders-1", &[0, 1]));
    world.topics.insert("orders-2", Topic::new(3, 1));
    world.refresh_all();
    let mut both = partitions("orders-1", &[0, 1]);
    both.extend(partitions("orders-2", &[0]));
    assert_eq!(world.owned(), both);
    world.topics.remove("orders-1");
    world.refresh_all();
    assert_eq!(world.owned(), partitions("orders-2", &[0]));
    world.topics.remove("orders-2");
    world.refresh_all();
    assert!(world.owned().is_empty() && world.machine.identity().is_none(), "nothing to be in for");
    world.topics.insert("orders-3", Topic::new(4, 1));
    world.refresh_all();
    assert_eq!(world.owned(), partitions("orders-3", &[0]));
    subscribe_pattern(&mut world, starting_with("orders", false));
    let mut with_internal = partitions("orders-3", &[0]);
    with_internal.extend(partitions("orders-internal", &[0]));
    assert_eq!(world.owned(), with_internal);
}

#[test]
fn partitions_of_a_topic_created_anew_are_read_as_if_just_assigned() {
    let mut world =
        World::new(OffsetReset::Earliest).topic("t", Topic::new(1, 2)).topic("u", Topic::new(2, 1));
    world.committed.insert(TopicPartition::new("t", 0), 42);
    world.subscribe(&["t", "u"]);
    world.refresh_some(&["t", "u"]);
    let at = |topic: &str, index, offset| (TopicPartition::new(topic, index), offset);
    let mut first = starts(&mut world);
    first.sort();
    assert_eq!(first, [at("t", 0, 42), at("t", 1, 0), at("u", 0, 0)]);
    world.machine.handle_pause(&TopicPartition::new("t", 1), true);
    // Deleted: nothing is given up for one picture without it.
    world.committed.clear();
    let topic = world.topics.remove("t").unwrap();
    world.refresh_some(&["t", "u"]);
    let status = world.machine.status(world.now, &POLLING);
    let unknown = FetchStatus::NoTopic(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(status.get(&TopicPartition::new("t", 1)), Some(&FetchStatus::Paused));
    assert!(
        [FetchStatus::InFlight, unknown].contains(&status[&TopicPartition::new("t", 0)]),
        "{status:?}"
    );
    world.done.clear();
    world.topics.insert("t", Topic { id: 7, leader_epoch: 0, ..topic });
    world.refresh_some(&["t", "u"]);
    let both = partitions("t", &[0, 1]);
    let recreated = Action::Event(GroupEvent::Recreated { partitions: both.clone() });
    assert!(world.done.contains(&recreated), "{:?}", world.done);
    assert_eq!(starts(&mut world), [at("t", 0, 0), at("t", 1, 0)], "and `u` is left alone");
    let status = world.machine.status(world.now, &POLLING);
    assert_eq!(status.get(&TopicPartition::new("t", 1)), Some(&FetchStatus::Paused));
    world.refresh_some(&["t", "u"]);
    assert_eq!(starts(&mut world), [], "once");
}

#[test]
fn a_leader_follows_what_its_members_want_only_while_it_leads() {
    let mut world = World::new(OffsetReset::Earliest).topic("t", Topic::new(1, 1));
    world.subscribe(&["t"]);
    world.refresh_some(&["t"]);
    assert_eq!(wanted(&mut world), [named(&["t"])]);
    world.subscribe(&["u"]);
    assert_eq!(wanted(&mut world).last(), Some(&named(&["u"])), "`t` is wanted by nobody");
    world.subscribe(&[]);
    assert_eq!(wanted(&mut world).last(), Some(&named(&[])));
}

#[test]
fn a_static_leader_that_keeps_an_assignment_watches_the_partition_counts() {
    let mut world = World::with(OffsetReset::Earliest, |config| {
        config.group.as_mut().unwrap().group_instance_id = Some("static".to_owned());
    })
    .topic("t", Topic::new(1, 1));
    world.kept_assignment = Some(vec![TopicPartition::new("t", 0)]);
    world.subscribe(&["t"]);
    world.refresh_some(&["t"]);
    assert_eq!(world.owned(), partitions("t", &[0]));
    let generation = world.machine.identity().unwrap().1;
    world.refresh_some(&["t"]);
    assert_eq!(world.machine.identity().unwrap().1, generation);
    world.kept_assignment = None;
    world.topics.get_mut("t").unwrap().partitions = 2;
    world.refresh_some(&["t"]);
    assert_eq!(world.owned(), partitions("t", &[0, 1]));
}

#[test]
fn a_leader_in_a_rack_joins_again_when_replicas_move_to_other_racks() {
    for (rack, rejoins) in [("r1", 1), ("", 0)] {
        let mut world =
            World::with(OffsetReset::Earliest, |config| config.fetch.rack = rack.into())
                .topic("t", Topic { replicas: vec![1, 2], ..Topic::new(1, 1) });
        world.nodes = vec![1, 2, 3];
        world.subscribe(&["t"]);
        world.refresh_some(&["t"]);
        let generation = |world: &World| world.machine.identity().unwrap().1;
        let before = generation(&world);
        // A node that is down is where it was, and so are its copies.
        world.nodes = vec![1, 3];
        world.refresh_some(&["t"]);
        world.nodes = vec![1, 2, 3];
        world.topics.get_mut("t").unwrap().replicas = vec![2, 1];
        world.refresh_some(&["t"]);
        assert_eq!(generation(&world), before, "nothing moved");
        world.topics.get_mut("t").unwrap().replicas = vec![1, 3];
        world.refresh_some(&["t"]);
        assert_eq!(generation(&world), before + rejoins);
        world.refresh_some(&["t"]);
        assert_eq!(generation(&world), before + rejoins, "once");
    }
}

#[test]
fn a_start_is_looked_up_as_soon_as_the_leader_is_known() {
    let mut world = World::with(OffsetReset::Earliest, |config| config.group = None)
        .topic("t", Topic::new(1, 1));
    world.assign(&[TopicPartition::new("t", 0)]);
    assert!(starts(&mut world).is_empty(), "nobody leads it as far as we know");
    world.refresh_all();
    assert_eq!(starts(&mut world), [(TopicPartition::new("t", 0), 0)], "no time has passed");
}
