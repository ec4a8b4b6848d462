//! What a member of a consumer group must keep to, the unhappy half included.

use kohort_protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponseTopicPartitions,
};
use kohort_protocol::messages::metadata::{MetadataResponse, MetadataResponseTopic};

use super::sending::{ASK_MS, HOLD_MS};
use super::*;
use crate::consumer::membership::{
    GroupMembershipOperation, GroupProtocol, GroupRequest, GroupResponse, Membership,
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
fn a_topic_whose_name_is_not_known_waits_for_metadata() {
    let mut world = World::with(&[0]);
    let (id, _) = world.beat();
    world.answer(id, 5, Some(&[(T, &[0]), (U, &[3])]));
    assert!(world.take().contains(&GroupAction::RefreshMetadata));
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
    let wanted = Wanted { regex: Some("t.*".into()), ..Wanted::default() };
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

mod heartbeats;
mod leaving;
mod refusals;
