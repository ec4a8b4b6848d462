//! What the membership must keep to, the unhappy half included.

use kohort_assignor::{Assignment, CooperativeStickyAssignor, RangeAssignor};
use kohort_protocol::messages::heartbeat::HeartbeatResponse;
use kohort_protocol::messages::join_group::JoinGroupResponse;
use kohort_protocol::messages::leave_group::LeaveGroupResponse;
use kohort_protocol::messages::sync_group::SyncGroupResponse;

use super::*;

pub(super) fn config(assignor: Box<dyn Assignor>) -> MembershipConfig {
    MembershipConfig {
        group_id: "g".to_owned(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 60_000,
        heartbeat_interval_ms: 3_000,
        retry_backoff_ms: 100,
        retry_backoff_max_ms: 100,
        assignors: vec![assignor],
        seed: 1,
        ..MembershipConfig::default()
    }
}

use kohort_assignor::Assignor;

pub(super) fn eager() -> ClassicMembership {
    ClassicMembership::new(config(Box::new(RangeAssignor)))
}

pub(super) fn cooperative() -> ClassicMembership {
    ClassicMembership::new(config(Box::<CooperativeStickyAssignor>::default()))
}

pub(super) fn topics(names: &[&str]) -> BTreeSet<TopicName> {
    names.iter().map(|name| TopicName::from(*name)).collect()
}

fn of_t(partitions: &[i32]) -> BTreeSet<TopicPartition> {
    partitions.iter().map(|it| TopicPartition::new("t", *it)).collect()
}

/// The number and kind of the one request among the actions.
pub(super) fn sent(actions: &[GroupAction]) -> (RequestId, &GroupRequest) {
    let sends: Vec<_> = actions
        .iter()
        .filter_map(|it| match it {
            GroupAction::Send { id, request, .. } => Some((*id, request)),
            _ => None,
        })
        .collect();
    assert_eq!(sends.len(), 1, "{actions:?}");
    sends[0]
}

/// The answer to the join of a leader.
pub(super) fn led(member: &str) -> GroupResponse {
    GroupResponse::Join(JoinGroupResponse {
        generation_id: 1,
        protocol_name: Some("range".to_owned()),
        leader: member.to_owned(),
        member_id: member.to_owned(),
        ..Default::default()
    })
}

pub(super) fn join_answer(member: &str, generation: i32) -> GroupResponse {
    GroupResponse::Join(JoinGroupResponse {
        generation_id: generation,
        protocol_name: Some("range".to_owned()),
        leader: "somebody".to_owned(),
        member_id: member.to_owned(),
        ..Default::default()
    })
}

pub(super) fn join_error(code: ErrorCode) -> GroupResponse {
    GroupResponse::Join(JoinGroupResponse {
        error_code: code,
        member_id: "m".to_owned(),
        ..Default::default()
    })
}

pub(super) fn sync_answer(partitions: &[i32]) -> GroupResponse {
    let assignment =
        Assignment { partitions: of_t(partitions).into_iter().collect(), user_data: None };
    let assignment = assignment.to_bytes(3).unwrap();
    GroupResponse::Sync(SyncGroupResponse { assignment, ..Default::default() })
}

fn beat(code: ErrorCode) -> GroupResponse {
    GroupResponse::Heartbeat(HeartbeatResponse { error_code: code, ..Default::default() })
}

/// Subscribes and finds the coordinator; returns the join that left.
pub(super) fn start(member: &mut ClassicMembership, now: Timestamp) -> RequestId {
    let actions = member.handle_subscription(now, topics(&["t"]));
    let find = actions.iter().find_map(|it| match it {
        GroupAction::FindCoordinator(id) => Some(*id),
        _ => None,
    });
    sent(&member.handle_coordinator(now, find.unwrap(), Ok(7))).0
}

/// Answers a join, the sync after it, and the heartbeat that a complete generation begins with.
pub(super) fn complete(
    member: &mut ClassicMembership,
    now: Timestamp,
    join: RequestId,
    generation: i32,
    partitions: &[i32],
) -> Vec<GroupAction> {
    let actions = member.handle_response(now, join, join_answer("m", generation));
    let (sync, request) = sent(&actions);
    assert!(matches!(request, GroupRequest::Sync(_)));
    let mut actions = member.handle_response(now, sync, sync_answer(partitions));
    let mut first = None;
    actions.retain(|action| match action {
        GroupAction::Send { id, request: GroupRequest::Heartbeat(_), .. } => {
            first = Some(*id);
            false
        }
        _ => true,
    });
    if let Some(id) = first {
        actions.extend(member.handle_response(now, id, beat(ErrorCode::NONE)));
    }
    actions
}

/// A member that owns partitions 0 and 1 in generation 1.
pub(super) fn stable(mut member: ClassicMembership) -> ClassicMembership {
    let join = start(&mut member, 0);
    complete(&mut member, 0, join, 1, &[0, 1]);
    assert!(member.is_stable());
    member
}

/// Sends the next heartbeat and answers it.
pub(super) fn heartbeat(
    member: &mut ClassicMembership,
    now: Timestamp,
    code: ErrorCode,
) -> Vec<GroupAction> {
    let actions = member.handle_timeout(now);
    let (id, request) = sent(&actions);
    assert!(matches!(request, GroupRequest::Heartbeat(_)));
    member.handle_response(now, id, beat(code))
}

#[test]
fn the_id_the_coordinator_asks_for_is_used_at_once() {
    let mut member = eager();
    let join = start(&mut member, 0);
    let actions = member.handle_response(5, join, join_error(ErrorCode::MEMBER_ID_REQUIRED));
    let (_, GroupRequest::Join(again)) = sent(&actions) else { panic!("{actions:?}") };
    assert_eq!(again.member_id, "m");
}

#[test]
fn a_completed_generation_is_announced_and_kept_by_heartbeats() {
    let mut member = eager();
    let join = start(&mut member, 0);
    let actions = complete(&mut member, 0, join, 1, &[0, 1]);
    let owned = of_t(&[0, 1]);
    assert_eq!(actions, [GroupAction::Assigned { added: owned.clone(), owned, generation: 1 }]);
    assert_eq!(member.poll_timeout(), Some(3_000));
    assert_eq!(heartbeat(&mut member, 3_000, ErrorCode::NONE), []);
    assert_eq!(member.poll_timeout(), Some(6_000));
}

#[test]
fn a_member_that_matches_a_pattern_looks_for_topics_before_it_joins_a_rebalance_of_others() {
    let mut member = stable(cooperative());
    member.by_pattern = true;
    let actions = heartbeat(&mut member, 3_000, ErrorCode::REBALANCE_IN_PROGRESS);
    let why = GroupAction::Rebalancing("the group is rebalancing".to_owned());
    assert_eq!(actions, [GroupAction::RefreshMetadata, why]);
    // The new picture has one more that matches.
    assert_eq!(member.handle_subscription(3_005, topics(&["t", "u"])), []);
    let actions = member.handle_picture(3_005);
    let (join, GroupRequest::Join(request)) = sent(&actions) else { panic!("{actions:?}") };
    let metadata = &request.protocols[0].metadata;
    let subscription = kohort_assignor::MemberSubscription::from_bytes(metadata).unwrap();
    assert_eq!(subscription.topics, ["t", "u"].map(TopicName::from));
    complete(&mut member, 3_005, join, 2, &[0, 1]);
    assert!(member.is_stable(), "that was what it joined for");

    // A cluster that gives no picture does not hold the group up.
    heartbeat(&mut member, 7_000, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(member.poll_timeout(), Some(7_500));
    let actions = member.handle_timeout(7_500);
    assert!(matches!(sent(&actions), (_, GroupRequest::Join(_))), "{actions:?}");
}

#[test]
fn an_eager_member_gives_everything_back_before_it_joins_again() {
    let mut member = stable(eager());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::REBALANCE_IN_PROGRESS);
    let GroupAction::Revoke { ticket, partitions, deadline } = &actions[1] else {
        panic!("{actions:?}")
    };
    assert_eq!((partitions, *deadline), (&of_t(&[0, 1]), 60_000), "a heartbeat less than allowed");
    // Heartbeats go on while the application finishes; the same answer changes nothing.
    assert_eq!(heartbeat(&mut member, 6_000, ErrorCode::REBALANCE_IN_PROGRESS), []);
    let actions = member.handle_revoked(7_000, *ticket);
    assert_eq!(actions[0], GroupAction::Released(of_t(&[0, 1])));
    let (_, GroupRequest::Join(join)) = sent(&actions) else { panic!("{actions:?}") };
    assert_eq!(join.member_id, "m");
}

#[test]
fn a_cooperative_member_gives_back_only_what_the_answer_takes_and_joins_again() {
    let mut member = stable(cooperative());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::REBALANCE_IN_PROGRESS);
    let (join, _) = sent(&actions);
    assert!(!actions.iter().any(|it| matches!(it, GroupAction::Revoke { .. })));
    let actions = complete(&mut member, 3_100, join, 2, &[0]);
    assert!(matches!(&actions[0], GroupAction::Assigned { added, .. } if added.is_empty()));
    let GroupAction::Revoke { ticket, partitions, .. } = &actions[1] else { panic!("{actions:?}") };
    assert_eq!(*partitions, of_t(&[1]));
    let actions = member.handle_revoked(3_200, *ticket);
    assert!(matches!(sent(&actions).1, GroupRequest::Join(_)), "so that it finds its new owner");
}

#[test]
fn what_is_not_given_back_in_time_is_lost_and_the_member_goes_on() {
    let mut member = stable(eager());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::REBALANCE_IN_PROGRESS);
    let GroupAction::Revoke { ticket, .. } = &actions[1] else { panic!("{actions:?}") };
    let actions = member.handle_timeout(60_000);
    let partitions = of_t(&[0, 1]);
    assert_eq!(
        actions[0],
        GroupAction::Lost { partitions, reason: LostReason::RevocationTimedOut }
    );
    assert_eq!(member.handle_revoked(60_100, *ticket), [], "too late");
}

#[test]
fn whoever_leaves_in_a_rebalance_goes_on_with_it_until_all_is_given_back() {
    let mut member = stable(cooperative());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::REBALANCE_IN_PROGRESS);
    let (join, _) = sent(&actions);
    let actions = member.handle_close(3_050, GroupMembershipOperation::Default);
    let [GroupAction::Revoke { ticket, partitions, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*partitions, of_t(&[0, 1]));
    assert!(member.renews_while_revoking(), "the old generation may be over");
    let answered = member.handle_response(3_100, join, join_answer("m", 2));
    let (sync, _) = sent(&answered);
    assert!(!member.accepts_commits(), "not before the generation is complete");
    let answered = member.handle_response(3_150, sync, sync_answer(&[0, 2]));
    assert!(!answered.iter().any(|it| matches!(it, GroupAction::Assigned { .. })), "{answered:?}");
    assert!(member.accepts_commits() && !member.renews_while_revoking());
    assert_eq!(member.identity().unwrap().generation, 2);
    let actions = member.handle_revoked(3_200, *ticket);
    assert_eq!(actions[0], GroupAction::Released(of_t(&[0, 1])));
    assert!(matches!(sent(&actions).1, GroupRequest::Leave(_)));
}

#[test]
fn whoever_is_put_out_of_the_group_while_it_leaves_has_left() {
    let mut member = stable(cooperative());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::REBALANCE_IN_PROGRESS);
    let (join, _) = sent(&actions);
    member.handle_close(3_050, GroupMembershipOperation::Default);
    let actions = member.handle_response(3_100, join, join_error(ErrorCode::UNKNOWN_MEMBER_ID));
    let reason = LostReason::Fenced(ErrorCode::UNKNOWN_MEMBER_ID);
    let lost = GroupAction::Lost { partitions: of_t(&[0, 1]), reason };
    assert_eq!(actions, [lost, GroupAction::Left]);
    assert!(member.is_idle());
}

#[test]
fn an_unknown_member_loses_all_and_joins_as_a_new_one() {
    let mut member = stable(cooperative());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::UNKNOWN_MEMBER_ID);
    let reason = LostReason::Fenced(ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(actions[0], GroupAction::Lost { partitions: of_t(&[0, 1]), reason });
    let (_, GroupRequest::Join(join)) = sent(&actions) else { panic!("{actions:?}") };
    assert_eq!(join.member_id, "");
    let mut member = stable(eager());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::ILLEGAL_GENERATION);
    let (_, GroupRequest::Join(join)) = sent(&actions) else { panic!("{actions:?}") };
    assert_eq!(join.member_id, "m", "the id is still good");
}

#[test]
fn a_fenced_instance_ends_the_membership() {
    let config = config(Box::new(RangeAssignor));
    let named = MembershipConfig { group_instance_id: Some("i".to_owned()), ..config };
    let mut member = stable(ClassicMembership::new(named));
    let actions = heartbeat(&mut member, 3_000, ErrorCode::FENCED_INSTANCE_ID);
    assert!(matches!(actions[1], GroupAction::Failed(MembershipError::InstanceFenced { .. })));
    assert!(member.is_idle());
    assert_eq!(member.poll_timeout(), None, "nothing is tried again");
}

#[test]
fn answers_that_come_late_or_twice_change_nothing() {
    let mut member = eager();
    let join = start(&mut member, 0);
    let actions = member.handle_response(1, join, join_answer("m", 1));
    let (sync, _) = sent(&actions);
    assert_eq!(member.handle_response(2, join, join_answer("m", 9)), [], "answered already");
    member.handle_response(3, sync, sync_answer(&[0]));
    assert_eq!(member.handle_response(4, sync, sync_answer(&[5])), []);
    assert_eq!(member.handle_failure(5, join), []);
    let leave = member.handle_close(6, GroupMembershipOperation::Default);
    let GroupAction::Revoke { ticket, .. } = &leave[0] else { panic!("{leave:?}") };
    let actions = member.handle_revoked(7, *ticket);
    let (id, request) = sent(&actions);
    assert!(matches!(request, GroupRequest::Leave(_)));
    let answer = GroupResponse::Leave(LeaveGroupResponse::default());
    assert_eq!(member.handle_response(8, id, answer), [GroupAction::Left]);
    assert_eq!(member.handle_response(9, sync, sync_answer(&[0])), [], "after the leave");
    assert_eq!(member.identity(), None);
}

#[test]
fn a_lost_coordinator_is_looked_up_and_heartbeats_go_on_there() {
    let mut member = stable(eager());
    heartbeat(&mut member, 3_000, ErrorCode::NOT_COORDINATOR);
    assert_eq!(member.coordinator(), None);
    let at = member.poll_timeout().unwrap();
    assert!(at > 3_000, "after a back-off");
    let actions = member.handle_timeout(at);
    let [GroupAction::FindCoordinator(id)] = actions[..] else { panic!("{actions:?}") };
    let actions = member.handle_coordinator(at, id, Ok(8));
    assert!(matches!(
        actions[..],
        [GroupAction::Send { coordinator: 8, request: GroupRequest::Heartbeat(_), .. }]
    ));
    assert!(member.is_stable(), "its partitions stay its own");
}

#[test]
fn a_member_whose_application_does_not_poll_leaves_until_it_does() {
    let mut member = stable(eager());
    let actions = member.handle_poll_interval_exceeded(0);
    assert!(matches!(actions[0], GroupAction::Lost { reason: LostReason::PollInterval, .. }));
    assert!(matches!(sent(&actions).1, GroupRequest::Leave(_)));
    assert_eq!(member.handle_timeout(100_000), []);
    let actions = member.handle_poll(100_001);
    assert!(matches!(sent(&actions).1, GroupRequest::Join(_)));
}

#[test]
fn a_commit_error_of_an_earlier_generation_is_ignored() {
    let mut member = stable(eager());
    assert_eq!(member.handle_commit_error(10, 0, ErrorCode::UNKNOWN_MEMBER_ID), []);
    assert!(member.is_stable());
    assert!(!member.handle_commit_error(10, 1, ErrorCode::UNKNOWN_MEMBER_ID).is_empty());
}

#[test]
fn commits_go_on_while_a_join_is_parked_and_wait_for_the_sync() {
    let mut member = stable(cooperative());
    let actions = heartbeat(&mut member, 3_000, ErrorCode::REBALANCE_IN_PROGRESS);
    let (join, _) = sent(&actions);
    assert!(member.accepts_commits() && member.identity().unwrap().generation == 1);
    let actions = member.handle_response(4_000, join, join_answer("m", 2));
    let (sync, _) = sent(&actions);
    assert!(!member.accepts_commits());
    member.handle_response(5_000, sync, sync_answer(&[0, 1]));
    assert!(member.accepts_commits() && member.identity().unwrap().generation == 2);
}

#[test]
fn a_join_parked_at_a_coordinator_that_died_is_made_again_long_before_the_rebalance_timeout() {
    let mut member = eager();
    let [GroupAction::FindCoordinator(id)] = member.handle_timeout(0)[..] else { panic!() };
    member.handle_coordinator(0, id, Ok(1));
    let actions = member.handle_subscription(0, topics(&["t"]));
    let (join, _) = sent(&actions);
    assert_eq!(member.poll_timeout(), Some(15_000), "a third of the session");
    let actions = member.handle_timeout(15_000);
    let (probe, request) = sent(&actions);
    assert_eq!(*request, GroupRequest::Probe);
    // One that is there may take its time.
    member.handle_response(15_001, probe, GroupResponse::Probe);
    let actions = member.handle_timeout(30_000);
    let (probe, _) = sent(&actions);
    member.handle_failure(45_000, probe);
    let actions = member.handle_timeout(45_200);
    let [GroupAction::FindCoordinator(id)] = actions[..] else { panic!("{actions:?}") };
    let actions = member.handle_coordinator(45_200, id, Ok(2));
    assert!(matches!(sent(&actions).1, GroupRequest::Join(_)), "{actions:?}");
    let late = member.handle_response(45_500, join, join_answer("m", 1));
    assert!(late.is_empty(), "the first join is given up: {late:?}");
}

#[test]
fn a_leader_whose_assignor_fails_frees_its_place_at_once() {
    let mut member = eager();
    let join = start(&mut member, 0);
    let actions = member.handle_response(10, join, led("m"));
    let [GroupAction::Assign { id, .. }] = actions[..] else { panic!("{actions:?}") };
    let actions = member.handle_assignment(20, id, Err("no partition is good enough".to_owned()));
    let (_, GroupRequest::Leave(leave)) = sent(&actions) else { panic!("{actions:?}") };
    assert_eq!(leave.members[0].member_id, "m");
    let error = "assigning the partitions of group `g` failed: no partition is good enough";
    let said =
        |it: &GroupAction| matches!(it, GroupAction::Failed(why) if why.to_string() == error);
    assert!(actions.iter().any(said), "{actions:?}");
}

#[test]
fn a_static_member_says_goodbye_only_if_it_is_told_to_leave() {
    use GroupMembershipOperation::{Default, LeaveGroup, RemainInGroup};
    for (operation, is_static, leaves) in [
        (Default, false, true),
        (RemainInGroup, false, false),
        (Default, true, false),
        (RemainInGroup, true, false),
        (LeaveGroup, true, true),
    ] {
        let mut member = eager();
        member.config.group_instance_id = is_static.then(|| "i".to_owned());
        let join = start(&mut member, 0);
        complete(&mut member, 0, join, 1, &[]);
        let actions = member.handle_close(1, operation);
        let said = actions.iter().find_map(|action| match action {
            GroupAction::Send { request: GroupRequest::Leave(leave), .. } => Some(leave),
            _ => None,
        });
        assert_eq!(said.is_some(), leaves, "{operation:?}, static: {is_static}: {actions:?}");
        let instance = said.and_then(|leave| leave.members[0].group_instance_id.clone());
        assert_eq!(instance.is_some(), leaves && is_static, "it is the instance that leaves");
    }
}
