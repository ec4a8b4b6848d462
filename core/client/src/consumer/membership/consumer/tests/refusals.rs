//! What a member of a consumer group does that its coordinator fences or refuses.

use super::*;

#[test]
fn a_fenced_member_loses_everything_and_joins_again_with_its_id() {
    for code in [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID] {
        let mut world = World::with(&[0, 1]);
        let (id, before) = world.beat();
        world.refuse(id, code);
        let (_, beat) = world.sent();
        assert_eq!((beat.member_epoch, &beat.member_id), (0, &before.member_id));
        assert_eq!(reported(&beat), Some(Vec::new()));
        let lost =
            GroupAction::Lost { partitions: of_t(&[0, 1]), reason: LostReason::Fenced(code) };
        assert!(world.take().contains(&lost));
        assert_eq!(world.member.identity(), None, "nothing is committed under the old epoch");
    }
}

#[test]
fn a_member_whose_group_is_gone_joins_anew_and_hears_if_that_is_refused_as_well() {
    let gone = ErrorCode::GROUP_ID_NOT_FOUND;
    let mut world = World::with(&[0]);
    let (id, _) = world.beat();
    world.refuse(id, gone);
    let (id, beat) = world.sent();
    assert_eq!(beat.member_epoch, 0);
    let lost = GroupAction::Lost { partitions: of_t(&[0]), reason: LostReason::Fenced(gone) };
    assert!(matches!(&world.take()[..], [it, GroupAction::Rebalancing(_)] if *it == lost));
    // The group is there, as one that may not be turned into one of this protocol.
    world.refuse(id, gone);
    let refused = MembershipError::Refused { group_id: "g".to_owned(), code: gone };
    assert_eq!(world.take(), [GroupAction::Failed(refused)]);
    world.pass(79);
    assert!(world.is_silent());
    world.pass(41);
    assert_eq!(world.sent().1.member_epoch, 0);
}

#[test]
fn a_member_that_may_not_begin_anew_leaves_first_what_is_there_of_it() {
    let fenced = ErrorCode::FENCED_MEMBER_EPOCH;
    let mut world = World::on_kafka(&[0]);
    let (id, before) = world.beat();
    world.refuse(id, fenced);
    let (id, _) = world.sent();
    world.take();
    // Kafka 4.1 has the id in a later epoch still, and refuses this one as well.
    world.refuse(id, fenced);
    let (id, leave) = world.sent();
    assert_eq!((leave.member_epoch, &leave.member_id), (-1, &before.member_id));
    world.pass(1_000);
    assert!(world.is_silent(), "a join could overtake it");
    world.answer(id, -1, None);
    let (id, join) = world.sent();
    assert_eq!((join.member_epoch, &join.member_id), (0, &before.member_id));
    assert_eq!((world.take(), world.member.refusal()), (Vec::new(), None));
    world.answer(id, 7, Some(&[(T, &[0])]));
    assert_eq!(world.member.identity().map(|it| it.generation), Some(7));
}

#[test]
fn a_leave_before_a_join_that_the_coordinator_did_not_take_is_said_again_before_anybody_is_told() {
    let fenced = ErrorCode::FENCED_MEMBER_EPOCH;
    let mut world = World::on_kafka(&[0]);
    let (id, _) = world.beat();
    world.refuse(id, fenced);
    let (id, _) = world.sent();
    world.refuse(id, fenced);
    let (id, _) = world.sent();
    world.take();
    world.refuse(id, ErrorCode::NOT_COORDINATOR);
    assert!(world.is_silent(), "the coordinator is looked for first");
    world.pass(1_000);
    let [GroupAction::FindCoordinator(search)] = world.take()[..] else { panic!("no search") };
    let found = world.member.handle_coordinator(world.now, search, Ok(2));
    world.actions.extend(found);
    let (id, join) = world.sent();
    assert_eq!(join.member_epoch, 0);
    world.refuse(id, fenced);
    assert_eq!(world.sent().1.member_epoch, -1);
    assert_eq!((world.take(), world.member.refusal()), (Vec::new(), None));
}

#[test]
fn joins_that_are_refused_again_and_again_are_told_and_back_off() {
    for code in [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID] {
        let mut world = World::new(|config| config.retry_backoff_max_ms = 1_000);
        world.holds = false;
        let (mut id, _) = world.subscribe(&["t"]);
        world.take();
        let refused = MembershipError::Refused { group_id: "g".to_owned(), code };
        let mut waits = Vec::new();
        while world.now < 10_000 {
            world.refuse(id, code);
            if code == ErrorCode::FENCED_MEMBER_EPOCH {
                let (leave, _) = world.sent();
                world.answer(leave, -1, None);
                let (join, _) = world.sent();
                world.refuse(join, code);
            }
            assert_eq!(world.take(), [GroupAction::Failed(refused.clone())]);
            assert_eq!(world.member.refusal(), Some(&refused));
            let at = world.member.poll_timeout().unwrap();
            waits.push(at - world.now);
            world.pass(at - world.now);
            id = world.sent().0;
        }
        assert!(waits.is_sorted_by(|a, b| a < b || *b > 799), "{code}: {waits:?}");
        assert!(waits[0] >= 80 && waits.len() < 20, "{code}: {waits:?}");
        world.answer(id, 5, Some(&[]));
        assert_eq!(world.member.refusal(), None);
    }
}

#[test]
fn a_refused_member_stays_as_it_is_and_asks_again_telling_each_refusal() {
    let mut joining = World::new(|_| {});
    let (id, _) = joining.subscribe(&["t"]);
    let mut member = World::with(&[0]);
    let (beat, _) = member.beat();
    for (mut world, mut id, epoch) in [(joining, id, 0), (member, beat, 5)] {
        for code in [
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::GROUP_MAX_SIZE_REACHED,
            ErrorCode::UNSUPPORTED_ASSIGNOR,
        ] {
            world.actions.clear();
            world.refuse(id, code);
            let error = MembershipError::Refused { group_id: "g".to_owned(), code };
            assert_eq!(world.member.refusal(), Some(&error));
            assert_eq!(world.take(), [GroupAction::Failed(error)]);
            world.pass(79);
            assert!(world.is_silent(), "{code}: not before the back-off is over");
            world.pass(41);
            let (next, beat) = world.sent();
            assert_eq!(beat.member_epoch, epoch, "{code}");
            id = next;
        }
        world.answer(id, 5, None);
        assert_eq!(world.member.refusal(), None);
    }
}

#[test]
fn a_broker_that_lacks_what_is_asked_is_told_with_what_to_do() {
    let group_id = "g".to_owned();
    let protocol = MembershipError::ProtocolUnsupported { group_id: group_id.clone() };
    let regex = MembershipError::RegexUnsupported { group_id };
    for (expression, error, advice) in [
        (None, protocol, "use group.protocol=classic or auto"),
        (Some("t.*".into()), regex, "use subscribe_pattern"),
    ] {
        let mut world = World::new(|_| {});
        let wanted = Wanted { regex: expression, ..Wanted::topics([TopicName::from("t")].into()) };
        let actions = world.member.handle_subscription(0, wanted);
        world.actions.extend(actions);
        let (id, _) = world.sent();
        world.take();
        world.refuse(id, ErrorCode::UNSUPPORTED_VERSION);
        assert_eq!(world.take(), [GroupAction::Failed(error.clone())]);
        assert_eq!(world.member.refusal(), Some(&error));
        assert!(error.to_string().contains(advice) && !error.is_final(), "{error}");
        world.pass(200);
        assert_eq!(world.sent().1.member_epoch, 0, "the broker may be upgraded");
    }
}

#[test]
fn what_only_the_application_can_change_ends_the_membership() {
    for code in [ErrorCode::INVALID_REGULAR_EXPRESSION, ErrorCode::INVALID_GROUP_ID] {
        let mut world = World::new(|_| {});
        let (id, _) = world.subscribe(&["t"]);
        world.refuse(id, code);
        assert!(matches!(world.take()[..], [.., GroupAction::Failed(_)]), "{code}");
        world.pass(10_000);
        assert!(world.is_silent() && world.member.is_idle() && world.member.refusal().is_some());
        let (_, beat) = world.subscribe(&["u"]);
        assert_eq!((beat.member_epoch, world.member.refusal()), (0, None));
    }
}

#[test]
fn an_instance_that_is_still_held_is_told_and_asked_for_until_it_is_free() {
    let mut world = World::new(|config| config.group_instance_id = Some("i".to_owned()));
    let (mut id, _) = world.subscribe(&["t"]);
    world.take();
    let held =
        MembershipError::InstanceHeld { group_id: "g".to_owned(), instance_id: "i".to_owned() };
    for _ in 0..3 {
        world.refuse(id, ErrorCode::UNRELEASED_INSTANCE_ID);
        assert_eq!(world.take(), [GroupAction::Failed(held.clone())]);
        assert_eq!(world.member.refusal(), Some(&held));
        world.pass(200);
        id = world.sent().0;
    }
    world.answer(id, 5, Some(&[(T, &[0])]));
    assert!(world.member.identity().is_some() && world.member.refusal().is_none());
}

#[test]
fn an_instance_that_another_process_took_is_given_up() {
    let mut world = World::new(|config| config.group_instance_id = Some("i".to_owned()));
    let (id, _) = world.subscribe(&["t"]);
    world.refuse(id, ErrorCode::FENCED_INSTANCE_ID);
    let failed = |it: &GroupAction| {
        matches!(it, GroupAction::Failed(MembershipError::InstanceFenced { .. }))
    };
    assert!(world.take().iter().any(failed));
    world.pass(10_000);
    assert!(world.is_silent());
}

#[test]
fn a_broker_without_the_protocol_gets_a_classic_member_if_that_is_allowed() {
    for code in [ErrorCode::UNSUPPORTED_VERSION, ErrorCode::GROUP_ID_NOT_FOUND] {
        for protocol in [GroupProtocol::Consumer, GroupProtocol::ConsumerElseClassic] {
            let config = MembershipConfig { protocol, ..World::new(|_| {}).member.config };
            let mut member = Membership::new(config);
            let actions = member.handle_timeout(0);
            let [GroupAction::FindCoordinator(id)] = actions[..] else { panic!("no search") };
            member.handle_coordinator(0, id, Ok(1));
            let wanted = Wanted::topics([TopicName::from("t")].into());
            let actions = member.handle_subscription(0, wanted);
            let Some(GroupAction::Send { id, .. }) = actions.last() else { panic!("no join") };
            let answer = ConsumerGroupHeartbeatResponse { error_code: code, ..Default::default() };
            let answer = GroupResponse::ConsumerHeartbeat(answer);
            let actions = member.handle_response(0, *id, answer);
            let joins = |it: &GroupAction| {
                matches!(it, GroupAction::Send { request: GroupRequest::Join(_), .. })
            };
            let falls_back = protocol == GroupProtocol::ConsumerElseClassic;
            assert_eq!(actions.iter().any(joins), falls_back, "{code}: {actions:?}");
            assert_eq!(actions.contains(&GroupAction::Downgraded(code)), falls_back);
            assert_eq!(member.refusal().is_some(), !falls_back, "and asked for again");
        }
    }
}
