//! Commits made for the application: what they may say, and that they are made again.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use kohort_client_core::consumer::committer::CommitFailure;
use kohort_client_core::consumer::{Action, OffsetReset, Position, RequestId, TopicPartition};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use support::{POLLING, Taken, Topic, World};

fn commits(actions: &[Action]) -> Vec<(RequestId, OffsetCommitRequest)> {
    let commit = |action: &Action| match action {
        Action::Commit { id, request, .. } => Some((*id, request.clone())),
        _ => None,
    };
    actions.iter().filter_map(commit).collect()
}

fn answer(request: &OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    let partition = OffsetCommitResponsePartition { partition_index: 0, error_code: code };
    let topic = OffsetCommitResponseTopic {
        name: request.topics[0].name.clone(),
        topic_id: request.topics[0].topic_id,
        partitions: vec![partition],
    };
    OffsetCommitResponse { topics: vec![topic], ..Default::default() }
}

fn offset(request: &OffsetCommitRequest) -> i64 {
    request.topics[0].partitions[0].committed_offset
}

/// Starts an application that has been given records up to 20, and had been up to 10 when it last polled.
fn working() -> (World, Taken) {
    let mut world = World::with(OffsetReset::Earliest, |config| {
        config.auto_commit_interval_ms = Some(1_000);
    })
    .topic("t", Topic::new(1, 1));
    world.subscribe(&["t"]);
    world.refresh_all();
    let epoch = world.done.iter().find_map(|action| match action {
        Action::Own(owned) => owned.first().map(|(_, epoch)| *epoch),
        _ => None,
    });
    let processed = vec![(TopicPartition::new("t", 0), epoch.unwrap(), Position::at(10))];
    (world, Taken { consumed: Some(Position::at(20)), processed, ..POLLING })
}

#[test]
fn auto_commit_says_what_was_processed_and_is_made_again_after_an_error_that_passes() {
    let (mut world, mut application) = working();
    world.now += 1_000;
    let sent = commits(&world.machine.advance(world.now, &application));
    let [(id, request)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(offset(request), 10, "not what was given since");
    let busy = answer(request, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    world.machine.handle_committed(world.now, *id, Some(busy));
    assert!(commits(&world.machine.advance(world.now, &application)).is_empty(), "at once");
    world.now += 200;
    let sent = commits(&world.machine.advance(world.now, &application));
    let [(id, request)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(offset(request), 10);
    let done = answer(request, ErrorCode::NONE);
    world.machine.handle_committed(world.now, *id, Some(done));
    world.now += 1_000;
    assert!(commits(&world.machine.advance(world.now, &application)).is_empty(), "nothing is new");
    application.processed[0].2 = Position::at(20);
    world.now += 1_000;
    let sent = commits(&world.machine.advance(world.now, &application));
    assert_eq!(sent.iter().map(|(_, request)| offset(request)).collect::<Vec<_>>(), [20]);
}

#[test]
fn an_auto_commit_that_was_refused_is_made_again_when_its_time_comes() {
    let (mut world, application) = working();
    world.now += 1_000;
    let (id, request) = commits(&world.machine.advance(world.now, &application)).remove(0);
    let refused = answer(&request, ErrorCode::INVALID_COMMIT_OFFSET_SIZE);
    world.machine.handle_committed(world.now, id, Some(refused));
    world.now += 1_000;
    let sent = commits(&world.machine.advance(world.now, &application));
    assert_eq!(sent.iter().map(|(_, request)| offset(request)).collect::<Vec<_>>(), [10]);
}

#[test]
fn a_consumer_that_wants_nothing_commits_without_a_generation() {
    let mut world = World::new(OffsetReset::Earliest);
    world.refresh_all();
    let offset = (TopicPartition::new("t", 0), 3.into(), None);
    world.machine.handle_commit(world.now, vec![offset], None);
    let actions = world.machine.advance(world.now, &POLLING);
    world.run(actions);
    let sent = commits(&world.done);
    let [(_, request)] = &sent[..] else { panic!("{:?}", world.done) };
    assert_eq!((request.generation_id_or_member_epoch, &*request.member_id), (-1, ""));
}

#[test]
fn a_commit_to_a_group_that_may_not_be_found_fails_at_the_first_refusal() {
    let offset = || (TopicPartition::new("t", 0), 3.into(), None);
    // After the second, the coordinator is not looked for any more.
    for code in [ErrorCode::GROUP_AUTHORIZATION_FAILED, ErrorCode::INVALID_GROUP_ID] {
        let mut world = World::new(OffsetReset::Earliest);
        world.coordinator_error = Some(code);
        world.refresh_all();
        let refused = vec![(TopicPartition::new("t", 0), CommitFailure::Refused(code))];
        for _ in 0..2 {
            let ticket = world.machine.handle_commit(world.now, vec![offset()], None);
            world.pass(120);
            let done = world.take(|action| match action {
                Action::CommitDone { ticket, failures } => Some((*ticket, failures.clone())),
                _ => None,
            });
            assert_eq!(done, [(ticket, refused.clone())]);
        }
        if code == ErrorCode::GROUP_AUTHORIZATION_FAILED {
            world.coordinator_error = None;
            world.machine.handle_commit(world.now, vec![offset()], None);
            world.pass(120);
            assert_eq!(commits(&world.done).len(), 1, "it may be let in later");
        }
    }
}
