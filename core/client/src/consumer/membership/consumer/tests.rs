//! What a member of a consumer group must keep to, the unhappy half included.

use kohort_protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponseTopicPartitions,
};
use kohort_protocol::messages::metadata::{MetadataResponse, MetadataResponseTopic};

use super::*;
use crate::consumer::membership::{
    GroupMembershipOperation, GroupProtocol, GroupRequest, Membership,
};
use crate::metadata::MetadataScope;

const T: Uuid = Uuid([1; 16]);
const U: Uuid = Uuid([2; 16]);

/// A member, its time, and what it wanted done that nobody has looked at yet.
struct World {
    now: Timestamp,
    member: ConsumerMembership,
    actions: Vec<GroupAction>,
    /// Whether the coordinator says that it holds answers, as Kohort does and Kafka does not.
    holds: bool,
}

impl World {
    fn new(change: impl FnOnce(&mut MembershipConfig)) -> Self {
        let mut config = MembershipConfig {
            protocol: GroupProtocol::Consumer,
            group_id: "g".to_owned(),
            rebalance_timeout_ms: 60_000,
            heartbeat_interval_ms: 3_000,
            retry_backoff_ms: 100,
            retry_backoff_max_ms: 100,
            seed: 1,
            ..MembershipConfig::default()
        };
        change(&mut config);
        let mut world = Self {
            now: 0,
            member: ConsumerMembership::new(config),
            actions: Vec::new(),
            holds: true,
        };
        world.see(&[("t", T)]);
        let [GroupAction::FindCoordinator(id)] = world.take()[..] else { panic!("no search") };
        let found = world.member.handle_coordinator(0, id, Ok(1));
        world.actions.extend(found);
        world
    }

    /// A member of epoch 5 that owns these partitions of `t` and has said so.
    fn with(partitions: &[i32]) -> Self {
        let mut world = Self::new(|_| {});
        let (id, _) = world.subscribe(&["t"]);
        world.answer(id, 5, Some(&[(T, partitions)]));
        if !partitions.is_empty() {
            let (id, _) = world.sent();
            world.answer(id, 5, None);
        }
        // Now that nothing is left to do there is one that may be held.
        let (id, _) = world.sent();
        world.answer(id, 5, None);
        world.actions.clear();
        world
    }

    /// The same member of a coordinator that holds nothing.
    fn on_kafka(partitions: &[i32]) -> Self {
        let mut world = Self::new(|_| {});
        world.holds = false;
        let (id, _) = world.subscribe(&["t"]);
        world.answer(id, 5, Some(&[(T, partitions)]));
        let (id, _) = world.sent();
        world.answer(id, 5, None);
        world.actions.clear();
        world
    }

    fn take(&mut self) -> Vec<GroupAction> {
        std::mem::take(&mut self.actions)
    }

    fn see(&mut self, topics: &[(&str, Uuid)]) {
        let topic = |(name, topic_id): &(&str, Uuid)| MetadataResponseTopic {
            name: Some((*name).to_owned()),
            topic_id: *topic_id,
            ..Default::default()
        };
        let topics = topics.iter().map(topic).collect();
        let response = MetadataResponse { topics, ..Default::default() };
        let view = MetadataView::default().merge(&response, 13, MetadataScope::AllTopics).0;
        let actions = self.member.handle_metadata(self.now, &Arc::new(view));
        self.actions.extend(actions);
    }

    fn subscribe(&mut self, topics: &[&str]) -> (RequestId, ConsumerGroupHeartbeatRequest) {
        let wanted = Wanted::topics(topics.iter().map(|it| TopicName::from(*it)).collect());
        let actions = self.member.handle_subscription(self.now, wanted);
        self.actions.extend(actions);
        self.sent()
    }

    /// Returns the one heartbeat that was sent since the last look; other actions stay.
    fn sent(&mut self) -> (RequestId, ConsumerGroupHeartbeatRequest) {
        let mut sent = Vec::new();
        self.actions.retain(|action| match action {
            GroupAction::Send { id, request: GroupRequest::ConsumerHeartbeat(beat), .. } => {
                sent.push((*id, beat.clone()));
                false
            }
            _ => true,
        });
        assert_eq!(sent.len(), 1, "{sent:?}, {:?}", self.actions);
        sent.remove(0)
    }

    fn is_silent(&self) -> bool {
        !self.actions.iter().any(|it| matches!(it, GroupAction::Send { .. }))
    }

    fn answer(&mut self, id: RequestId, epoch: i32, assigned: Option<&[(Uuid, &[i32])]>) {
        let topic = |(topic_id, partitions): &(Uuid, &[i32])| {
            ConsumerGroupHeartbeatResponseTopicPartitions {
                topic_id: *topic_id,
                partitions: partitions.to_vec(),
            }
        };
        let assignment = assigned
            .map(|topics| Assignment { topic_partitions: topics.iter().map(topic).collect() });
        let answer = ConsumerGroupHeartbeatResponse {
            member_epoch: epoch,
            heartbeat_interval_ms: 5_000,
            assignment,
            holds: self.holds,
            ..Default::default()
        };
        let actions = self.member.handle_response(self.now, id, answer);
        self.actions.extend(actions);
    }

    fn refuse(&mut self, id: RequestId, error_code: ErrorCode) {
        let answer = ConsumerGroupHeartbeatResponse { error_code, ..Default::default() };
        let actions = self.member.handle_response(self.now, id, answer);
        self.actions.extend(actions);
    }

    fn pass(&mut self, ms: i64) {
        self.now += ms;
        let actions = self.member.handle_timeout(self.now);
        self.actions.extend(actions);
    }

    /// Has the next heartbeat sent, when it is due.
    fn beat(&mut self) -> (RequestId, ConsumerGroupHeartbeatRequest) {
        self.pass(5_000);
        self.sent()
    }

    /// Gives back what is to be given back; returns it.
    fn give_back(&mut self) -> BTreeSet<TopicPartition> {
        let (ticket, partitions) = self.revoking();
        let actions = self.member.handle_revoked(self.now, ticket);
        self.actions.extend(actions);
        partitions
    }

    fn revoking(&mut self) -> (RequestId, BTreeSet<TopicPartition>) {
        let mut found = None;
        self.actions.retain(|action| match action {
            GroupAction::Revoke { ticket, partitions, .. } => {
                found = Some((*ticket, partitions.clone()));
                false
            }
            _ => true,
        });
        found.unwrap_or_else(|| panic!("nothing is revoked: {:?}", self.actions))
    }
}

fn of_t(partitions: &[i32]) -> BTreeSet<TopicPartition> {
    partitions.iter().map(|it| TopicPartition::new("t", *it)).collect()
}

fn reported(beat: &ConsumerGroupHeartbeatRequest) -> Option<Vec<(Uuid, Vec<i32>)>> {
    let topics = beat.topic_partitions.as_ref()?;
    Some(topics.iter().map(|it| (it.topic_id, it.partitions.clone())).collect())
}

#[test]
fn joining_says_everything_under_an_id_of_the_members_own_making() {
    let mut world = World::new(|config| {
        config.rack = Some("r".to_owned());
        config.remote_assignor = Some("range".to_owned());
    });
    let (_, beat) = world.subscribe(&["t"]);
    assert_eq!(beat.member_id.len(), 22, "a uuid as Kafka writes them: {}", beat.member_id);
    let expected = ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: beat.member_id.clone(),
        member_epoch: 0,
        rack_id: Some("r".to_owned()),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        server_assignor: Some("range".to_owned()),
        topic_partitions: Some(Vec::new()),
        hold_ms: ASK_MS,
        ..Default::default()
    };
    assert_eq!(beat, expected);
}

#[test]
fn what_is_assigned_is_taken_and_acknowledged_at_once() {
    let mut world = World::new(|_| {});
    let (id, _) = world.subscribe(&["t"]);
    world.actions.clear();
    world.answer(id, 5, Some(&[(T, &[0, 1])]));
    let (_, beat) = world.sent();
    assert_eq!(reported(&beat), Some(vec![(T, vec![0, 1])]));
    assert_eq!(beat.member_epoch, 5);
    let owned = of_t(&[0, 1]);
    let assigned = GroupAction::Assigned { added: owned.clone(), owned, generation: 5 };
    assert_eq!(world.take(), [assigned]);
}

#[test]
fn a_keep_alive_leaves_out_what_did_not_change_and_comes_when_the_broker_wants_it() {
    let mut world = World::with(&[0, 1]);
    assert_eq!(world.member.poll_timeout(), Some(5_000), "the broker's interval, not ours");
    world.pass(4_999);
    assert!(world.is_silent());
    world.pass(1);
    let (_, beat) = world.sent();
    assert_eq!(reported(&beat), None);
    assert_eq!(beat.subscribed_topic_names, None);
    assert_eq!(beat.rebalance_timeout_ms, -1);
}

#[test]
fn a_revocation_is_acknowledged_only_once_it_is_done_and_the_rest_stays() {
    let mut world = World::with(&[0, 1, 2]);
    let (id, _) = world.beat();
    world.answer(id, 5, Some(&[(T, &[0, 2])]));
    assert!(world.is_silent(), "nothing is acknowledged yet");
    let (id, beat) = world.beat();
    assert_eq!(reported(&beat), None, "a keep-alive acknowledges nothing");
    world.answer(id, 5, None);
    assert_eq!(world.give_back(), of_t(&[1]));
    let (_, beat) = world.sent();
    assert_eq!(reported(&beat), Some(vec![(T, vec![0, 2])]));
    assert!(world.take().contains(&GroupAction::Released(of_t(&[1]))));
}

#[test]
fn a_partition_that_comes_back_while_it_is_given_back_is_acknowledged_all_the_same() {
    let mut world = World::with(&[0, 1]);
    let (id, _) = world.beat();
    world.answer(id, 5, Some(&[(T, &[0])]));
    let (id, _) = world.beat();
    world.answer(id, 6, Some(&[(T, &[0, 1])]));
    assert_eq!(world.give_back(), of_t(&[1]));
    // It is taken anew, in the same breath: the coordinator hears of what is owned now.
    let (_, beat) = world.sent();
    assert_eq!(reported(&beat), Some(vec![(T, vec![0, 1])]));
}

#[test]
fn what_was_revoked_and_is_not_given_back_in_time_is_lost() {
    let mut world = World::with(&[0, 1]);
    let (id, _) = world.beat();
    world.answer(id, 5, Some(&[(T, &[0])]));
    let (ticket, partitions) = world.revoking();
    world.pass(60_000);
    let lost = GroupAction::Lost { partitions, reason: LostReason::RevocationTimedOut };
    assert!(world.take().contains(&lost));
    assert!(world.member.handle_revoked(world.now, ticket).is_empty(), "too late");
}

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
fn a_topic_whose_name_is_not_known_waits_for_metadata() {
    let mut world = World::with(&[0]);
    let (id, _) = world.beat();
    world.answer(id, 5, Some(&[(T, &[0]), (U, &[3])]));
    assert!(world.take().contains(&GroupAction::UnknownTopics));
    world.see(&[("t", T), ("u", U)]);
    let (_, beat) = world.sent();
    assert_eq!(reported(&beat), Some(vec![(T, vec![0]), (U, vec![3])]));
    let added = [TopicPartition::new("u", 3)].into();
    let found =
        |it: &GroupAction| matches!(it, GroupAction::Assigned { added: a, .. } if *a == added);
    assert!(world.take().iter().any(found));
}

#[test]
fn a_topic_created_anew_is_given_back_and_taken_again() {
    let mut world = World::with(&[0]);
    let (id, _) = world.beat();
    world.see(&[("t", U)]);
    world.answer(id, 6, Some(&[(U, &[0])]));
    assert_eq!(world.give_back(), of_t(&[0]));
    let (_, beat) = world.sent();
    assert_eq!(reported(&beat), Some(vec![(U, vec![0])]));
}

#[test]
fn a_changed_subscription_is_told_at_once_and_an_expression_taken_back_by_an_empty_one() {
    let mut world = World::new(|_| {});
    let wanted = Wanted { topics: BTreeSet::new(), regex: Some("t.*".into()) };
    let actions = world.member.handle_subscription(0, wanted);
    world.actions.extend(actions);
    let (id, beat) = world.sent();
    assert_eq!(beat.subscribed_topic_regex.as_deref(), Some("t.*"));
    assert_eq!(beat.subscribed_topic_names, Some(Vec::new()));
    world.answer(id, 1, Some(&[]));
    let (_, held) = world.sent();
    assert_eq!(held.hold_ms, HOLD_MS, "nothing is left to do");
    // One that is held keeps nobody from saying what changed.
    let (_, beat) = world.subscribe(&["t"]);
    assert_eq!(beat.subscribed_topic_regex.as_deref(), Some(""));
    assert_eq!(beat.subscribed_topic_names, Some(vec!["t".to_owned()]));
    assert_eq!(reported(&beat), Some(Vec::new()), "with which the epoch before would do, too");
}

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
        world.pass(10_000);
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
        let wanted = Wanted { topics: [TopicName::from("t")].into(), regex: expression };
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
            let answer = super::super::GroupResponse::ConsumerHeartbeat(answer);
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
