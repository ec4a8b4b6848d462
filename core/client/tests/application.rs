//! What a consumer makes of its application: that it polls or does not, seeks, chooses partitions by
//! hand, and closes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;

use kohort_client_core::consumer::machine::GroupEvent;
use kohort_client_core::consumer::membership::GroupMembershipOperation;
use kohort_client_core::consumer::{
    Action, AssignmentEpoch, OffsetReset, Position, TopicPartition,
};
use support::{POLLING, Taken, Topic, World};

fn zero(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

fn world() -> World {
    let auto_commit = |config: &mut kohort_client_core::consumer::MachineConfig| {
        config.auto_commit_interval_ms = Some(10_000);
    };
    World::with(OffsetReset::Earliest, auto_commit)
        .topic("t", Topic::new(1, 1))
        .topic("u", Topic::new(2, 1))
}

fn member() -> World {
    let mut world = world();
    world.subscribe(&["t"]);
    world.refresh_all();
    assert_eq!(world.owned(), BTreeSet::from([zero("t")]));
    world
}

/// An application that has processed the partition owned up to 10.
fn busy(world: &mut World) -> Taken {
    let owned = world.take(|action| match action {
        Action::Own(owned) => owned.first().cloned(),
        _ => None,
    });
    let [(partition, epoch)]: [(TopicPartition, AssignmentEpoch); 1] = owned.try_into().unwrap();
    Taken { processed: vec![(partition, epoch, Position::at(10))], ..POLLING }
}

fn starts(actions: &[Action]) -> Vec<(TopicPartition, i64)> {
    let start = |action: &Action| match action {
        Action::Start { partition, position, .. } => Some((partition.clone(), position.offset)),
        _ => None,
    };
    actions.iter().filter_map(start).collect()
}

/// Topic, offset and generation of the commits.
fn commits(actions: &[Action]) -> Vec<(String, i64, i32)> {
    let commit = |action: &Action| match action {
        Action::Commit { request, .. } => {
            let topic = &request.topics[0];
            let offset = topic.partitions[0].committed_offset;
            Some((topic.name.clone(), offset, request.generation_id_or_member_epoch))
        }
        _ => None,
    };
    actions.iter().filter_map(commit).collect()
}

#[test]
fn an_application_that_polls_too_late_is_out_of_its_group_until_it_polls_again() {
    let mut world = member();
    let away = Taken { idle_since: Some(world.now), ..POLLING };
    world.now += 299_999;
    let exceeded = |actions: &[Action]| {
        let event = |action: &Action| match action {
            Action::Event(GroupEvent::PollIntervalExceeded { idle_ms }) => Some(*idle_ms),
            _ => None,
        };
        actions.iter().filter_map(event).collect::<Vec<_>>()
    };
    let actions = world.machine.advance(world.now, &away);
    assert!(exceeded(&actions).is_empty());
    world.run(actions);
    world.now += 1;
    let actions = world.machine.advance(world.now, &away);
    assert_eq!(exceeded(&actions), [300_000]);
    world.run(actions);
    assert!(world.owned().is_empty());
    let actions = world.machine.handle_poll(world.now);
    world.run(actions);
    assert_eq!(world.owned(), BTreeSet::from([zero("t")]));
}

#[test]
fn an_auto_commit_waits_for_commits_of_the_application_that_are_on_their_way() {
    let mut world = member();
    let taken = Taken { is_committing: true, ..busy(&mut world) };
    world.now += 10_000;
    assert!(commits(&world.machine.advance(world.now, &taken)).is_empty());
    // The one of 5 arrives. What was processed by now is committed after it, not before.
    let (partition, epoch, _) = taken.processed[0].clone();
    world.machine.handle_commit(world.now, vec![(partition, 5.into(), Some(epoch))], None);
    world.now += 1;
    let actions = world.machine.advance(world.now, &Taken { is_committing: false, ..taken });
    assert_eq!(commits(&actions), [("t".to_owned(), 10, 2)]);
}

#[test]
fn an_application_whose_partitions_are_chosen_by_hand_may_be_away_as_long_as_it_likes() {
    let mut world = world();
    world.assign(&[zero("t")]);
    world.refresh_all();
    let away = Taken { idle_since: Some(0), ..POLLING };
    let actions = world.machine.advance(world.now, &away);
    world.run(actions);
    assert_eq!(world.owned(), BTreeSet::from([zero("t")]));
}

#[test]
fn a_seek_starts_where_it_says_and_one_to_a_time_where_that_is_found() {
    let mut world = member();
    let actions = world.machine.handle_seek(world.now, &zero("t"), Position::at(7)).unwrap();
    assert_eq!(starts(&actions), [(zero("t"), 7)]);
    world.run(actions);
    assert!(world.machine.handle_seek(world.now, &zero("u"), Position::at(7)).is_none());
    world.done.clear();
    assert!(world.machine.handle_seek_to_time(&zero("t"), 1_234));
    assert!(!world.machine.handle_seek_to_time(&zero("u"), 1_234), "it is not owned");
    world.pass(0);
    assert_eq!(starts(&world.done), [(zero("t"), 50)]);
}

#[test]
fn partitions_chosen_by_hand_take_the_place_of_a_subscription_and_the_other_way_round() {
    let mut world = member();
    world.assign(&[zero("u")]);
    assert_eq!(world.owned(), BTreeSet::from([zero("u")]));
    world.subscribe(&["t"]);
    world.pass(1_000);
    assert_eq!(world.owned(), BTreeSet::from([zero("t")]));
}

#[test]
fn what_was_processed_is_committed_when_another_choice_is_made_by_hand() {
    let mut world = world();
    world.assign(&[zero("t")]);
    world.refresh_all();
    let application = busy(&mut world);
    let chosen = BTreeSet::from([zero("u"), zero("t")]);
    let actions = world.machine.handle_assign(world.now, chosen, &application);
    world.run(actions);
    assert_eq!(commits(&world.done), [("t".to_owned(), 10, -1)]);
}

#[test]
fn whoever_closes_commits_what_was_processed_by_hand_or_as_a_member() {
    let mut by_hand = world();
    by_hand.assign(&[zero("t")]);
    by_hand.refresh_all();
    // The member joined once more when it knew the topics.
    for (mut world, generation) in [(member(), 2), (by_hand, -1)] {
        let application = busy(&mut world);
        let by = world.now + 5_000;
        let actions = world.machine.handle_close(
            world.now,
            GroupMembershipOperation::Default,
            by,
            &application,
        );
        // The world's own application has nothing to say; what this one said is noted by now.
        world.run(actions);
        assert_eq!(commits(&world.done), [("t".to_owned(), 10, generation)]);
        let closed = |world: &World| world.done.contains(&Action::Closed);
        let id = |action: &Action| match action {
            Action::Commit { id, .. } => Some(*id),
            _ => None,
        };
        // A commit that fails is made again for as long as there is time.
        let [first] = world.take(id)[..] else { panic!("it was sent once") };
        let actions = world.machine.handle_committed(world.now, first, None);
        world.run(actions);
        world.pass(4_999);
        assert!(!closed(&world));
        let [_] = world.take(id)[..] else { panic!("it is sent once more") };
        world.pass(1);
        assert!(closed(&world), "and then it is given up, answered or not");
    }
}
