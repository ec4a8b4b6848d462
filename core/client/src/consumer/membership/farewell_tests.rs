//! That a leave reaches the coordinator or is given up in time, by both protocols alike.

use kohort_assignor::RangeAssignor;
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use kohort_protocol::messages::leave_group::{LeaveGroupResponse, MemberResponse};

use super::tests::{config, join_answer, sent, sync_answer, topics};
use super::*;

const BOTH: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];

/// A member that owns nothing, whose coordinator is node 7.
fn in_group(protocol: GroupProtocol) -> Membership {
    let config = MembershipConfig { protocol, ..config(Box::new(RangeAssignor)) };
    let mut member = Membership::new(config);
    let actions = member.handle_timeout(0);
    find(&mut member, 0, &actions, Ok(7));
    let actions = member.handle_subscription(0, Wanted::topics(topics(&["t"])));
    let (join, _) = sent(&actions);
    if protocol == GroupProtocol::Classic {
        let actions = member.handle_response(0, join, join_answer("m", 1));
        let (sync, _) = sent(&actions);
        member.handle_response(0, sync, sync_answer(&[]));
    } else {
        let answer = ConsumerGroupHeartbeatResponse { member_epoch: 5, ..Default::default() };
        member.handle_response(0, join, GroupResponse::ConsumerHeartbeat(answer));
    }
    assert!(member.identity().is_some());
    member
}

/// Answers the one search among the actions.
fn find(
    member: &mut Membership,
    now: Timestamp,
    actions: &[GroupAction],
    found: Result<i32, ErrorCode>,
) -> Vec<GroupAction> {
    let [GroupAction::FindCoordinator(id)] = actions else { panic!("{actions:?}") };
    member.handle_coordinator(now, *id, found)
}

/// Has the member do what is due next; returns when that was.
fn next(member: &mut Membership) -> (Timestamp, Vec<GroupAction>) {
    let now = member.poll_timeout().expect("something is due");
    (now, member.handle_timeout(now))
}

/// What is answered to a second leave.
fn unknown(protocol: GroupProtocol) -> GroupResponse {
    refused(protocol, ErrorCode::UNKNOWN_MEMBER_ID)
}

fn refused(protocol: GroupProtocol, error_code: ErrorCode) -> GroupResponse {
    if protocol == GroupProtocol::Classic {
        return GroupResponse::Leave(LeaveGroupResponse { error_code, ..Default::default() });
    }
    let answer = ConsumerGroupHeartbeatResponse { error_code, ..Default::default() };
    GroupResponse::ConsumerHeartbeat(answer)
}

#[test]
fn a_leave_without_an_answer_is_said_again_to_whoever_is_the_coordinator_by_then() {
    for protocol in BOTH {
        let mut member = in_group(protocol);
        let actions = member.handle_close(10, GroupMembershipOperation::Default);
        let (first, leave) = sent(&actions);
        assert_eq!(member.handle_failure(20, first), []);
        let (now, actions) = next(&mut member);
        assert!(now > 20, "not before a back-off");
        let actions = find(&mut member, now, &actions, Ok(8));
        let (second, again) = sent(&actions);
        assert_eq!(again, leave);
        assert!(matches!(actions[..], [GroupAction::Send { coordinator: 8, .. }]));
        assert_eq!(member.handle_response(now, first, unknown(protocol)), [], "given up before");
        assert_eq!(member.handle_response(now, second, unknown(protocol)), [GroupAction::Left]);
        assert!(member.is_idle() && member.identity().is_none());
    }
}

#[test]
fn a_leave_that_cannot_be_said_is_given_up_two_seconds_after_the_first_failure() {
    for protocol in BOTH {
        for finds in [true, false] {
            let mut member = in_group(protocol);
            let actions = member.handle_close(10, GroupMembershipOperation::Default);
            let (mut leave, _) = sent(&actions);
            let (mut now, mut tries) = (1_000, 1);
            'tries: loop {
                assert_eq!(member.handle_failure(now, leave), []);
                loop {
                    let actions;
                    (now, actions) = next(&mut member);
                    if actions == [GroupAction::Left] {
                        break 'tries;
                    }
                    let found = finds.then_some(7).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE);
                    let actions = find(&mut member, now, &actions, found);
                    if finds {
                        (leave, tries) = (sent(&actions).0, tries + 1);
                        break;
                    }
                }
            }
            assert_eq!(now, 3_000, "{protocol:?}");
            assert_eq!(tries > 1, finds);
            assert!(tries < 30 && member.is_idle(), "{tries}");
        }
    }
}

#[test]
fn a_leave_that_is_not_answered_is_given_up_after_five_seconds() {
    for protocol in BOTH {
        let mut member = in_group(protocol);
        let actions = member.handle_close(10, GroupMembershipOperation::Default);
        let (leave, _) = sent(&actions);
        assert_eq!(next(&mut member), (5_010, vec![GroupAction::Left]), "{protocol:?}");
        // And no later for a failure just before.
        let mut member = in_group(protocol);
        member.handle_close(10, GroupMembershipOperation::Default);
        assert_eq!(member.handle_failure(5_000, leave), []);
        assert_eq!(next(&mut member), (5_010, vec![GroupAction::Left]), "{protocol:?}");
    }
}

#[test]
fn a_leave_said_again_is_not_waited_for_any_longer() {
    for protocol in BOTH {
        let mut member = in_group(protocol);
        let actions = member.handle_close(10, GroupMembershipOperation::Default);
        assert_eq!(member.handle_failure(20, sent(&actions).0), []);
        let (now, actions) = next(&mut member);
        let actions = find(&mut member, now, &actions, Ok(7));
        let (second, _) = sent(&actions);
        assert_eq!(next(&mut member), (2_020, vec![GroupAction::Left]));
        assert_eq!(member.handle_response(2_030, second, unknown(protocol)), []);
    }
}

#[test]
fn a_member_whose_coordinator_is_lost_looks_for_another_one_to_leave() {
    for protocol in BOTH {
        let mut member = in_group(protocol);
        member.handle_coordinator_lost(5, 7);
        assert_eq!(member.handle_close(10, GroupMembershipOperation::Default), []);
        let (now, actions) = next(&mut member);
        let actions = find(&mut member, now, &actions, Ok(8));
        let (leave, _) = sent(&actions);
        assert_eq!(member.handle_response(now, leave, unknown(protocol)), [GroupAction::Left]);
        // One that may not look has nobody to tell.
        let mut member = in_group(protocol);
        member.handle_coordinator_lost(5, 7);
        member.handle_close(10, GroupMembershipOperation::Default);
        let (now, actions) = next(&mut member);
        let refusal = Err(ErrorCode::GROUP_AUTHORIZATION_FAILED);
        let actions = find(&mut member, now, &actions, refusal);
        assert!(matches!(actions[..], [GroupAction::Left, GroupAction::Failed(_)]), "{actions:?}");
    }
}

#[test]
fn a_coordinator_that_is_none_any_more_has_let_nobody_go() {
    let codes = [
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ];
    // A classic coordinator may say it of the member alone.
    let member = |error_code| MemberResponse { error_code, ..Default::default() };
    let of_member =
        codes.map(|code| LeaveGroupResponse { members: vec![member(code)], ..Default::default() });
    let answers =
        BOTH.into_iter().flat_map(|protocol| codes.map(|code| (protocol, refused(protocol, code))));
    let of_member = of_member.map(|it| (GroupProtocol::Classic, GroupResponse::Leave(it)));
    for (protocol, answer) in answers.chain(of_member) {
        let mut member = in_group(protocol);
        let actions = member.handle_close(10, GroupMembershipOperation::Default);
        let (mut leave, _) = sent(&actions);
        assert_eq!(member.handle_response(20, leave, answer.clone()), [], "{answer:?}");
        let (mut now, actions) = next(&mut member);
        let mut actions = find(&mut member, now, &actions, Ok(8));
        // Whoever says nothing else is not asked for longer than one that says nothing.
        while actions != [GroupAction::Left] {
            if let [GroupAction::FindCoordinator(_)] = actions[..] {
                actions = find(&mut member, now, &actions, Ok(8));
            }
            assert!(matches!(actions[..], [GroupAction::Send { coordinator: 8, .. }]));
            let (again, _) = sent(&actions);
            assert!(again > leave);
            leave = again;
            assert_eq!(member.handle_response(now, leave, answer.clone()), [], "{answer:?}");
            (now, actions) = next(&mut member);
        }
        assert_eq!(now, 2_020);
    }
}

#[test]
fn whoever_stopped_polling_leaves_for_sure_and_whoever_closes_then_waits_for_that() {
    for protocol in BOTH {
        let mut member = in_group(protocol);
        let actions = member.handle_poll_interval_exceeded(10);
        assert_eq!(member.handle_failure(20, sent(&actions).0), []);
        let (now, actions) = next(&mut member);
        let actions = find(&mut member, now, &actions, Ok(8));
        let (again, _) = sent(&actions);
        assert_eq!(member.handle_close(now, GroupMembershipOperation::Default), []);
        assert_eq!(member.handle_response(now, again, unknown(protocol)), [GroupAction::Left]);
    }
}

#[test]
fn a_member_that_joins_under_its_old_id_does_not_leave_any_more() {
    let mut member = in_group(GroupProtocol::Consumer);
    let actions = member.handle_poll_interval_exceeded(10);
    assert_eq!(member.handle_failure(20, sent(&actions).0), []);
    member.handle_poll(30);
    let (now, actions) = next(&mut member);
    let actions = find(&mut member, now, &actions, Ok(7));
    let (_, GroupRequest::ConsumerHeartbeat(join)) = sent(&actions) else { panic!("{actions:?}") };
    assert_eq!(join.member_epoch, 0);
}

#[test]
fn a_join_whose_answer_was_lost_may_have_made_a_member_which_leaves() {
    let protocol = GroupProtocol::Consumer;
    let config = MembershipConfig { protocol, ..config(Box::new(RangeAssignor)) };
    let mut member = Membership::new(config);
    let actions = member.handle_timeout(0);
    find(&mut member, 0, &actions, Ok(7));
    let actions = member.handle_subscription(0, Wanted::topics(topics(&["t"])));
    assert_eq!(member.handle_failure(10, sent(&actions).0), []);
    assert_eq!(member.handle_close(20, GroupMembershipOperation::Default), []);
    let (now, actions) = next(&mut member);
    let actions = find(&mut member, now, &actions, Ok(7));
    let (id, GroupRequest::ConsumerHeartbeat(leave)) = sent(&actions) else {
        panic!("{actions:?}")
    };
    assert_eq!(leave.member_epoch, -1);
    assert_eq!(member.handle_response(now, id, unknown(protocol)), [GroupAction::Left]);
    // Once it has left, or was never asked for, there is nothing to say.
    assert_eq!(member.handle_close(now, GroupMembershipOperation::Default), [GroupAction::Left]);
}

#[test]
fn whoever_learns_while_it_leaves_that_it_is_unknown_has_left() {
    let protocol = GroupProtocol::Classic;
    let mut member = in_group(protocol);
    let actions = member.handle_close(10, GroupMembershipOperation::Default);
    let (leave, _) = sent(&actions);
    let actions = member.handle_commit_error(20, 1, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(actions, [GroupAction::Left]);
    assert_eq!(member.handle_response(30, leave, refused(protocol, ErrorCode::NONE)), []);
    assert!(member.is_idle());
}
