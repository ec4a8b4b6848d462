//! What a consumer whose group refuses it does, and whom it tells.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use kohort_client_core::consumer::fetcher::FetchStatus;
use kohort_client_core::consumer::machine::Fault;
use kohort_client_core::consumer::membership::MembershipError;
use kohort_client_core::consumer::{Action, OffsetReset, Position, TopicPartition};
use kohort_protocol::ErrorCode;
use support::{POLLING, Topic, World};

const DENIED: ErrorCode = ErrorCode::GROUP_AUTHORIZATION_FAILED;

fn faults(world: &mut World) -> Vec<Fault> {
    world.take(|action| match action {
        Action::Fault(fault) => Some(fault.clone()),
        _ => None,
    })
}

fn denied() -> Fault {
    Fault::Group(MembershipError::Refused { group_id: "g".to_owned(), code: DENIED })
}

/// It may be so new that the first broker asked has not heard of it.
#[test]
fn a_partition_that_its_topic_does_not_have_is_told_when_three_pictures_lack_it() {
    let mut world = World::new(OffsetReset::Earliest).topic("t", Topic::new(1, 1));
    world.refresh_some(&["t"]);
    let nowhere = TopicPartition::new("t", 99);
    world.assign(std::slice::from_ref(&nowhere));
    let status = world.machine.status(world.now, &POLLING)[&nowhere];
    assert_eq!(status, FetchStatus::NoPartition);
    let mut told = Vec::new();
    for step in 1..=8 {
        world.now += 50;
        world.refresh_some(&["t"]);
        told.extend(faults(&mut world).into_iter().map(|fault| (step, fault)));
    }
    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let fault = Fault::Partition { partition: nowhere.clone(), code };
    let pause = 100 / 50;
    let expected: Vec<_> = [3, 3 + pause, 3 + 2 * pause].map(|at| (at, fault.clone())).into();
    assert_eq!(told, expected);
}

#[test]
fn a_member_that_is_denied_its_group_is_told_each_time_and_reads_once_it_is_granted() {
    let mut world = World::new(OffsetReset::Earliest).topic("t", Topic::new(1, 1));
    world.coordinator_error = Some(DENIED);
    world.refresh_all();
    world.subscribe(&["t"]);
    for _ in 0..3 {
        world.pass(120);
        assert_eq!(faults(&mut world), [denied()]);
        assert!(world.machine.group_refusal().is_some());
    }
    world.coordinator_error = None;
    world.pass(120);
    assert_eq!(world.owned(), [TopicPartition::new("t", 0)].into());
    assert_eq!(world.machine.group_refusal(), None);
}

#[test]
fn whoever_reads_by_hand_is_told_of_the_group_only_while_it_needs_it() {
    let mut world = World::new(OffsetReset::Earliest).topic("t", Topic::new(1, 1));
    let partition = TopicPartition::new("t", 0);
    world.coordinator_error = Some(DENIED);
    world.refresh_all();
    world.assign(std::slice::from_ref(&partition));
    world.pass(120);
    world.pass(120);
    assert_eq!(faults(&mut world), [denied(), denied()], "the committed offset is not known");
    let actions = world.machine.handle_seek(world.now, &partition, Position::at(7)).unwrap();
    world.run(actions);
    world.pass(120);
    world.pass(120);
    assert_eq!(faults(&mut world), [], "it does without");
    assert!(world.machine.group_refusal().is_some(), "whoever asks is told");
}
