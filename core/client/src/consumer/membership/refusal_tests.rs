//! What a member does when its group does not have it: what somebody may change is tried again, the rest is
//! the end.

use super::tests::*;
use super::*;

fn refused(code: ErrorCode) -> GroupAction {
    GroupAction::Failed(MembershipError::Refused { group_id: "g".to_owned(), code })
}

/// Lets the back-off pass, which is `wait` milliseconds give or take a fifth, and returns the time.
fn back_off(member: &ClassicMembership, now: Timestamp, wait: i64) -> Timestamp {
    let at = member.poll_timeout().unwrap();
    assert!((wait * 4 / 5..=wait * 6 / 5).contains(&(at - now)), "{} is not {wait}", at - now);
    at
}

#[test]
fn a_refused_join_is_told_and_made_again_until_somebody_lets_the_member_in() {
    for code in [
        ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ErrorCode::GROUP_MAX_SIZE_REACHED,
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ErrorCode::INVALID_SESSION_TIMEOUT,
        ErrorCode::UNKNOWN_SERVER_ERROR,
    ] {
        let mut member = eager();
        let mut join = start(&mut member, 0);
        let mut now = 0;
        for _ in 0..3 {
            assert_eq!(member.handle_response(now, join, join_error(code)), [refused(code)]);
            assert!(member.refusal().is_some(), "{code}");
            now = back_off(&member, now, 100);
            join = sent(&member.handle_timeout(now)).0;
        }
        let actions = complete(&mut member, now, join, 1, &[0]);
        assert!(matches!(actions[..], [GroupAction::Assigned { .. }]), "{actions:?}");
        assert_eq!(member.refusal(), None, "{code}");
    }
}

#[test]
fn a_refused_search_for_the_coordinator_is_told_and_made_again() {
    let code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
    let mut member = eager();
    let actions = member.handle_subscription(0, topics(&["t"]));
    let Some(&GroupAction::FindCoordinator(mut id)) = actions.last() else { panic!("{actions:?}") };
    let mut now = 0;
    for _ in 0..3 {
        assert_eq!(member.handle_coordinator(now, id, Err(code)), [refused(code)]);
        assert!(member.refusal().is_some());
        now = back_off(&member, now, 100);
        let [GroupAction::FindCoordinator(next)] = member.handle_timeout(now)[..] else { panic!() };
        id = next;
    }
    let (join, _) = sent(&member.handle_coordinator(now, id, Ok(7)));
    complete(&mut member, now, join, 1, &[0]);
    assert_eq!((member.is_stable(), member.refusal()), (true, None));
}

#[test]
fn a_member_whose_heartbeats_are_refused_keeps_what_it_has_and_tells_each() {
    let code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
    let mut member = stable(eager());
    let mut now = 3_000;
    for _ in 0..3 {
        assert_eq!(heartbeat(&mut member, now, code), [refused(code)]);
        now = back_off(&member, now, 100);
    }
    assert!(member.is_stable() && member.refusal().is_some());
    assert_eq!(heartbeat(&mut member, now, ErrorCode::NONE), []);
    assert_eq!((member.poll_timeout(), member.refusal()), (Some(now + 3_000), None));
}

#[test]
fn what_only_the_application_can_change_ends_the_membership() {
    for code in [ErrorCode::INVALID_GROUP_ID, ErrorCode::INVALID_REQUEST] {
        let mut member = eager();
        let join = start(&mut member, 0);
        assert_eq!(member.handle_response(0, join, join_error(code)), [refused(code)]);
        assert_eq!((member.is_idle(), member.poll_timeout()), (true, None), "{code}");
        assert!(member.refusal().is_some(), "whoever asks is told");
        let actions = member.handle_subscription(10, topics(&["u"]));
        assert!(matches!(sent(&actions).1, GroupRequest::Join(_)), "{actions:?}");
        assert_eq!(member.refusal(), None);
    }
}

#[test]
fn a_leader_whose_assignor_fails_joins_again_less_and_less_often() {
    let config = config(Box::new(kohort_assignor::RangeAssignor));
    let config = MembershipConfig { retry_backoff_max_ms: 1_000, ..config };
    let mut member = ClassicMembership::new(config);
    let mut join = start(&mut member, 0);
    let mut now = 0;
    for wait in [100, 200, 400, 800, 1_000, 1_000] {
        let actions = member.handle_response(now, join, led("m"));
        let [GroupAction::Assign { id, .. }] = actions[..] else { panic!("{actions:?}") };
        let actions = member.handle_assignment(now, id, Err("it is raining".to_owned()));
        assert!(matches!(sent(&actions).1, GroupRequest::Leave(_)), "another may lead meanwhile");
        let why =
            MembershipError::Assignor { group_id: "g".to_owned(), why: "it is raining".to_owned() };
        assert_eq!(actions.first(), Some(&GroupAction::Failed(why)));
        now = back_off(&member, now, wait);
        let actions = member.handle_timeout(now);
        let (id, GroupRequest::Join(request)) = sent(&actions) else { panic!("{actions:?}") };
        assert_eq!(request.member_id, "", "its place was given up");
        join = id;
    }
}

#[test]
fn whoever_is_refused_while_it_leaves_has_left() {
    let code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
    let mut member = stable(cooperative());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::REBALANCE_IN_PROGRESS);
    let (join, _) = sent(&actions);
    member.handle_close(3_050, GroupMembershipOperation::RemainInGroup);
    let actions = member.handle_response(3_100, join, join_error(code));
    assert_eq!(actions.last(), Some(&GroupAction::Left), "{actions:?}");
    assert_eq!((member.is_idle(), member.handle_timeout(60_000)), (true, Vec::new()));
}

#[test]
fn a_static_member_without_a_coordinator_for_it_is_told_what_it_needs_and_joins_no_more() {
    let config = config(Box::new(kohort_assignor::RangeAssignor));
    let named = MembershipConfig { group_instance_id: Some("i".to_owned()), ..config };
    let mut member = ClassicMembership::new(named);
    let join = start(&mut member, 0);
    let unsupported = join_error(ErrorCode::UNSUPPORTED_VERSION);
    let error = MembershipError::InstanceIdUnsupported {
        group_id: "g".to_owned(),
        instance_id: "i".to_owned(),
        needed: 5,
    };
    assert!(error.is_final());
    assert_eq!(
        error.to_string(),
        "instance `i` cannot join group `g`: group.instance.id needs brokers of Kafka 2.3 or later (JoinGroup version 5)"
    );
    let actions = member.handle_response(0, join, unsupported.clone());
    assert_eq!(actions, [GroupAction::Failed(error.clone())]);
    assert_eq!((member.refusal(), member.poll_timeout()), (Some(&error), None));
    // Of a dynamic member it is what the coordinator says of it, like anything else.
    let mut member = eager();
    let join = start(&mut member, 0);
    let actions = member.handle_response(0, join, unsupported);
    assert_eq!(actions, [refused(ErrorCode::UNSUPPORTED_VERSION)]);
}
