//! Heartbeats without an answer, late ones, and epochs that are over.

use super::*;

#[test]
fn after_a_heartbeat_without_an_answer_everything_is_said_again() {
    let mut world = World::with(&[0, 1]);
    let (id, _) = world.beat();
    let actions = world.member.handle_failure(world.now, id);
    world.actions.extend(actions);
    world.pass(150);
    let search = world.take().into_iter().find_map(|action| match action {
        GroupAction::FindCoordinator(id) => Some(id),
        _ => None,
    });
    let actions = world.member.handle_coordinator(world.now, search.unwrap(), Ok(2));
    world.actions.extend(actions);
    world.pass(1_000);
    let (_, beat) = world.sent();
    assert_eq!(beat.member_epoch, 5);
    assert_eq!(reported(&beat), Some(vec![(T, vec![0, 1])]));
    assert_eq!(beat.subscribed_topic_names, Some(vec!["t".to_owned()]));
    assert_eq!(beat.rebalance_timeout_ms, 60_000);
}

#[test]
fn another_coordinator_is_asked_at_once_and_nothing_is_lost() {
    let mut world = World::with(&[0]);
    let (id, _) = world.beat();
    world.refuse(id, ErrorCode::NOT_COORDINATOR);
    assert!(!world.actions.iter().any(|it| matches!(it, GroupAction::Lost { .. })));
    world.pass(150);
    let Some(GroupAction::FindCoordinator(id)) = world.take().pop() else { panic!("no search") };
    let actions = world.member.handle_coordinator(world.now, id, Ok(2));
    assert!(matches!(actions[..], [GroupAction::Send { coordinator: 2, .. }]), "{actions:?}");
}

#[test]
fn a_commit_that_meets_a_newer_epoch_has_the_coordinator_asked_at_once() {
    let mut world = World::with(&[0]);
    let stale = ErrorCode::STALE_MEMBER_EPOCH;
    let actions = world.member.handle_commit_error(world.now, 4, stale);
    assert!(actions.is_empty(), "that epoch is over: {actions:?}");
    let actions = world.member.handle_commit_error(world.now, 5, stale);
    world.actions.extend(actions);
    let (id, _) = world.sent();
    world.answer(id, 6, None);
    assert_eq!(world.member.identity().map(|it| it.generation), Some(6));
}

#[test]
fn where_nobody_holds_a_heartbeat_waits_for_the_answer_to_the_one_before() {
    let mut world = World::on_kafka(&[0]);
    let (id, beat) = world.beat();
    assert_eq!((beat.member_epoch, beat.hold_ms), (5, ASK_MS), "it asks, as it did before");
    // 1. The broker has answered with epoch 6. 2. A commit and a question for offsets meet that first.
    let stale = ErrorCode::STALE_MEMBER_EPOCH;
    let actions = world.member.handle_commit_error(world.now, 5, stale);
    world.actions.extend(actions);
    let actions = world.member.handle_stale(world.now, 5);
    world.actions.extend(actions);
    // 3. Nothing else sends a second one either.
    let actions = world.member.handle_rejoin(world.now);
    world.actions.extend(actions);
    let wanted = Wanted::topics(["t", "u"].map(TopicName::from).into());
    let actions = world.member.handle_subscription(world.now, wanted);
    world.actions.extend(actions);
    world.pass(1_000);
    assert!(world.is_silent(), "{:?}", world.actions);
    // 4. The answer brings the epoch, and what waited goes out with it.
    world.answer(id, 6, None);
    let (id, beat) = world.sent();
    assert_eq!(beat.member_epoch, 6);
    assert_eq!(beat.subscribed_topic_names, Some(vec!["t".to_owned(), "u".to_owned()]));
    world.answer(id, 6, None);
    assert!(world.is_silent(), "a heartbeat that nobody holds can as well wait for its time");
    assert_eq!(world.take(), []);
}

#[test]
fn a_request_of_an_epoch_that_is_over_says_nothing_new() {
    let mut world = World::on_kafka(&[0]);
    let (id, _) = world.beat();
    world.answer(id, 6, None);
    assert_eq!(world.member.handle_stale(world.now, 5), []);
    let stale = ErrorCode::STALE_MEMBER_EPOCH;
    assert_eq!(world.member.handle_commit_error(world.now, 5, stale), []);
    // Of the present one it does, if no answer is on its way.
    let actions = world.member.handle_stale(world.now, 6);
    world.actions.extend(actions);
    assert_eq!(world.sent().1.member_epoch, 6);
}

#[test]
fn a_heartbeat_that_overtakes_a_held_one_may_be_refused_for_its_epoch_and_nothing_is_lost() {
    let hold = |world: &mut World| {
        let (held, beat) = world.beat();
        assert_eq!(beat.hold_ms, HOLD_MS);
        let actions = world.member.handle_rejoin(world.now);
        world.actions.extend(actions);
        let (second, beat) = world.sent();
        assert_eq!((beat.member_epoch, reported(&beat)), (5, Some(vec![(T, vec![0])])));
        (held, second)
    };
    let fenced = ErrorCode::FENCED_MEMBER_EPOCH;
    // The held one was not held, but brought an epoch: in order, and in the wrong one.
    for overtakes in [false, true] {
        let mut world = World::with(&[0]);
        let (held, second) = hold(&mut world);
        if overtakes {
            world.refuse(second, fenced);
            assert!(world.is_silent(), "whether that is so is told by the other answer");
            world.answer(held, 6, None);
        } else {
            world.answer(held, 6, None);
            world.refuse(second, fenced);
        }
        let (id, beat) = world.sent();
        assert_eq!((beat.member_epoch, reported(&beat)), (6, Some(vec![(T, vec![0])])));
        world.answer(id, 6, None);
        assert_eq!(world.sent().1.hold_ms, HOLD_MS);
        assert_eq!(world.take(), [], "overtakes: {overtakes}");
    }
    // A member that is refused by both is fenced.
    let mut world = World::with(&[0]);
    let (held, second) = hold(&mut world);
    world.refuse(held, fenced);
    assert!(matches!(world.take()[..], [GroupAction::Lost { .. }, ..]));
    world.refuse(second, fenced);
    assert_eq!(world.take(), [], "an answer to the membership before");
}

#[test]
fn another_coordinator_is_not_taken_for_one_that_holds() {
    let mut world = World::with(&[0]);
    let (id, _) = world.beat();
    let actions = world.member.handle_failure(world.now, id);
    world.actions.extend(actions);
    world.take();
    world.pass(150);
    let Some(GroupAction::FindCoordinator(id)) = world.take().pop() else { panic!("no search") };
    world.holds = false;
    let actions = world.member.handle_coordinator(world.now, id, Ok(1));
    world.actions.extend(actions);
    let (id, beat) = world.sent();
    assert_eq!(beat.hold_ms, ASK_MS, "the same node, and maybe not the same broker");
    world.answer(id, 5, None);
    let (_, beat) = world.beat();
    assert_eq!(beat.hold_ms, ASK_MS);
    let actions = world.member.handle_rejoin(world.now);
    assert_eq!(actions, []);
}
