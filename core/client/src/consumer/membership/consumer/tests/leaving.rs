//! How a member of a consumer group leaves it.

use super::*;

#[test]
fn a_member_leaves_when_all_is_given_back_and_a_static_one_keeps_its_place_unless_told_to_leave() {
    use GroupMembershipOperation::{Default, LeaveGroup, RemainInGroup};
    for (operation, instance, epoch) in [
        (Default, None, -1),
        (LeaveGroup, None, -1),
        (Default, Some("i".to_owned()), -2),
        (RemainInGroup, Some("i".to_owned()), -2),
        (LeaveGroup, Some("i".to_owned()), -1),
    ] {
        let mut world = World::new(|config| config.group_instance_id.clone_from(&instance));
        let (id, _) = world.subscribe(&["t"]);
        world.answer(id, 5, Some(&[(T, &[0])]));
        let (id, _) = world.sent();
        world.answer(id, 5, None);
        let (id, _) = world.sent();
        world.answer(id, 5, None);
        let actions = world.member.handle_close(world.now, operation);
        world.actions.extend(actions);
        assert!(world.is_silent(), "first the application finishes");
        assert_eq!(world.give_back(), of_t(&[0]));
        let (id, beat) = world.sent();
        assert_eq!((beat.member_epoch, beat.instance_id), (epoch, instance));
        world.answer(id, epoch, None);
        assert!(world.take().contains(&GroupAction::Left));
        assert!(world.member.is_idle());
    }
}

#[test]
fn a_member_that_leaves_does_not_join_again_whatever_is_answered_to_its_heartbeats() {
    for code in [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::NONE] {
        let mut world = World::with(&[0]);
        let (beat, _) = world.beat();
        let actions = world.member.handle_close(world.now, GroupMembershipOperation::Default);
        world.actions.extend(actions);
        world.give_back();
        let (leave, request) = world.sent();
        assert_eq!(request.member_epoch, -1);
        world.take();
        // The answer to the heartbeat, and a commit that learns the same, come before that to the leave.
        world.refuse(beat, code);
        let actions = world.member.handle_commit_error(world.now, 5, code);
        world.actions.extend(actions);
        world.pass(4_000);
        assert_eq!(world.take(), [], "{code}");
        world.refuse(leave, ErrorCode::UNKNOWN_MEMBER_ID);
        assert_eq!(world.take(), [GroupAction::Left], "{code}");
        world.pass(10_000);
        assert!(world.member.is_idle() && world.is_silent());
    }
}

#[test]
fn a_member_that_is_fenced_while_it_gives_back_leaves_what_the_coordinator_still_has_of_it() {
    for (code, leaves) in
        [(ErrorCode::FENCED_MEMBER_EPOCH, true), (ErrorCode::UNKNOWN_MEMBER_ID, false)]
    {
        let mut world = World::with(&[0]);
        let (beat, _) = world.beat();
        let actions = world.member.handle_close(world.now, GroupMembershipOperation::Default);
        world.actions.extend(actions);
        world.take();
        world.refuse(beat, code);
        let lost = GroupAction::Lost { partitions: of_t(&[0]), reason: LostReason::Fenced(code) };
        if leaves {
            let (id, request) = world.sent();
            assert_eq!(request.member_epoch, -1);
            assert_eq!(world.take(), [lost]);
            world.refuse(id, ErrorCode::UNKNOWN_MEMBER_ID);
            assert_eq!(world.take(), [GroupAction::Left]);
        } else {
            assert_eq!(world.take(), [lost, GroupAction::Left]);
        }
        assert!(world.member.is_idle());
    }
}

#[test]
fn a_member_that_stops_polling_leaves_and_returns_with_the_next_poll() {
    let mut world = World::with(&[0]);
    let actions = world.member.handle_poll_interval_exceeded(world.now);
    world.actions.extend(actions);
    let (_, beat) = world.sent();
    assert_eq!(beat.member_epoch, -1);
    world.pass(10_000);
    assert!(world.is_silent());
    let actions = world.member.handle_poll(world.now);
    world.actions.extend(actions);
    assert_eq!(world.sent().1.member_epoch, 0);
}
