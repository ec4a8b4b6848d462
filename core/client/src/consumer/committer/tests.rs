//! What the committer must keep to, the unhappy half included.

use kohort_protocol::messages::offset_commit::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::*;

const OWNED: AssignmentEpoch = AssignmentEpoch(1);

/// A member of generation `generation` that owns partitions below `owned`.
struct World {
    generation: i32,
    owned: i32,
    revoking: bool,
    /// Whether the group runs by the consumer protocol.
    renewed: bool,
    /// Whether the picture of the cluster lacks what is committed.
    unknown: bool,
    /// Whether nothing is assigned or subscribed to.
    outside: bool,
}

impl World {
    fn with<R>(&self, act: impl FnOnce(&CommitContext<'_>) -> R) -> R {
        let owned = |it: &TopicPartition| (it.partition < self.owned).then_some(OWNED);
        act(&CommitContext {
            coordinator: Some(7),
            identity: Some(GroupIdentity {
                member_id: "m".to_owned(),
                generation: self.generation,
                group_instance_id: None,
            }),
            accepted_now: true,
            renewed_while_revoking: self.renewed,
            manual: false,
            outside: self.outside,
            epoch: &owned,
            revoking: &|_| self.revoking,
            unknown: &|_| self.unknown,
            topic_id: &|_| None,
        })
    }

    fn advance(&self, committer: &mut Committer, now: Timestamp) -> Vec<CommitAction> {
        self.with(|context| committer.advance(now, context))
    }

    fn answer(
        &self,
        committer: &mut Committer,
        now: Timestamp,
        id: RequestId,
        codes: &[(i32, ErrorCode)],
    ) -> Vec<CommitAction> {
        let partitions = codes
            .iter()
            .map(|(index, code)| OffsetCommitResponsePartition {
                partition_index: *index,
                error_code: *code,
            })
            .collect();
        let topic =
            OffsetCommitResponseTopic { name: "t".to_owned(), partitions, ..Default::default() };
        let response = OffsetCommitResponse { topics: vec![topic], ..Default::default() };
        self.with(|context| committer.handle_response(now, id, response, context))
    }
}

const MEMBER: World = World {
    generation: 1,
    owned: 2,
    revoking: false,
    renewed: false,
    unknown: false,
    outside: false,
};

fn committer() -> Committer {
    Committer::new("g".to_owned(), 100, 100, 1)
}

fn commit(committer: &mut Committer, partition: i32, offset: i64) -> CommitTicket {
    let partition = TopicPartition::new("t", partition);
    committer.commit([(partition, offset.into(), Some(OWNED))], 10_000)
}

fn zero() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// The number, generation and offsets of the one request among the actions.
fn sent(actions: &[CommitAction]) -> (RequestId, i32, Vec<(i32, i64)>) {
    let [CommitAction::Send { id, request, .. }] = actions else { panic!("{actions:?}") };
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let offsets = partitions.map(|it| (it.partition_index, it.committed_offset)).collect();
    (*id, request.generation_id_or_member_epoch, offsets)
}

fn done(ticket: CommitTicket) -> CommitAction {
    CommitAction::Done { ticket, failures: Vec::new() }
}

#[test]
fn the_latest_offset_wins_and_commits_complete_in_order() {
    let mut committer = committer();
    let first = commit(&mut committer, 0, 1);
    let (id, _, offsets) = sent(&MEMBER.advance(&mut committer, 0));
    assert_eq!(offsets, [(0, 1)]);
    let second = commit(&mut committer, 0, 2);
    let third = commit(&mut committer, 0, 3);
    assert_eq!(MEMBER.advance(&mut committer, 1), [], "one is in flight");
    let actions = MEMBER.answer(&mut committer, 2, id, &[(0, ErrorCode::NONE)]);
    assert_eq!(actions, [done(first)]);
    let (id, _, offsets) = sent(&MEMBER.advance(&mut committer, 2));
    assert_eq!(offsets, [(0, 3)], "the second never travels");
    let actions = MEMBER.answer(&mut committer, 3, id, &[(0, ErrorCode::NONE)]);
    assert_eq!(actions, [done(second), done(third)]);
    assert_eq!(MEMBER.answer(&mut committer, 4, id, &[(0, ErrorCode::NONE)]), [], "twice");
}

#[test]
fn a_retried_commit_never_overwrites_a_later_one() {
    let mut committer = committer();
    commit(&mut committer, 0, 1);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 0));
    commit(&mut committer, 0, 2);
    let busy = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    assert_eq!(MEMBER.answer(&mut committer, 1, id, &[(0, busy)]), []);
    assert_eq!(MEMBER.advance(&mut committer, 2), [], "after a back-off");
    let (_, _, offsets) = sent(&MEMBER.advance(&mut committer, 200));
    assert_eq!(offsets, [(0, 2)]);
}

#[test]
fn after_a_changed_generation_only_what_is_still_owned_is_sent_again() {
    let mut committer = committer();
    let first = commit(&mut committer, 0, 1);
    let second = commit(&mut committer, 1, 1);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 0));
    let code = ErrorCode::ILLEGAL_GENERATION;
    let actions = MEMBER.answer(&mut committer, 1, id, &[(0, code), (1, code)]);
    assert_eq!(actions, [CommitAction::MembershipError { generation: 1, code }]);
    assert_eq!(MEMBER.advance(&mut committer, 500), [], "the old generation is refused");
    let next = World { generation: 2, owned: 1, ..MEMBER };
    let (id, generation, offsets) = sent(&next.advance(&mut committer, 501));
    assert_eq!((generation, offsets), (2, vec![(0, 1)]));
    let lost = (TopicPartition::new("t", 1), CommitFailure::NotOwned);
    let failed = CommitAction::Done { ticket: second, failures: vec![lost] };
    assert_eq!(
        next.answer(&mut committer, 502, id, &[(0, ErrorCode::NONE)]),
        [done(first), failed]
    );
}

#[test]
fn what_is_being_given_back_does_not_wait_for_the_next_generation() {
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 0));
    let revoking = World { revoking: true, ..MEMBER };
    let code = ErrorCode::REBALANCE_IN_PROGRESS;
    let actions = revoking.answer(&mut committer, 1, id, &[(0, code)]);
    let failures = vec![(TopicPartition::new("t", 0), CommitFailure::Refused(code))];
    assert!(actions.contains(&CommitAction::Done { ticket, failures }));
    assert!(!committer.is_committing([TopicPartition::new("t", 0)].into_iter()));
}

#[test]
fn a_commit_that_is_not_done_by_its_deadline_says_what_it_met() {
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 0));
    let busy = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    MEMBER.answer(&mut committer, 9_990, id, &[(0, busy)]);
    let actions = MEMBER.advance(&mut committer, 10_000);
    let timed_out = CommitFailure::TimedOut { last: Some(busy) };
    let failures = vec![(TopicPartition::new("t", 0), timed_out)];
    assert_eq!(actions, [CommitAction::Done { ticket, failures }]);
    assert!(committer.is_idle());
}

#[test]
fn a_commit_without_a_membership_is_refused_by_a_group_with_members_and_the_next_one_leaves() {
    let manual = |act: &mut dyn FnMut(&CommitContext<'_>) -> Vec<CommitAction>| {
        MEMBER.with(|context| {
            act(&CommitContext { identity: None, manual: true, coordinator: Some(7), ..*context })
        })
    };
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    let (id, generation, _) = sent(&manual(&mut |context| committer.advance(0, context)));
    assert_eq!(generation, -1);
    let code = ErrorCode::UNKNOWN_MEMBER_ID;
    let partitions = vec![OffsetCommitResponsePartition { partition_index: 0, error_code: code }];
    let topic =
        OffsetCommitResponseTopic { name: "t".to_owned(), partitions, ..Default::default() };
    let response = OffsetCommitResponse { topics: vec![topic], ..Default::default() };
    let actions =
        manual(&mut |context| committer.handle_response(1, id, response.clone(), context));
    let failures = vec![(TopicPartition::new("t", 0), CommitFailure::Refused(code))];
    assert_eq!(actions, [CommitAction::Done { ticket, failures }]);
    // The members may be gone by now.
    commit(&mut committer, 0, 2);
    let (_, _, offsets) = sent(&manual(&mut |context| committer.advance(2, context)));
    assert_eq!(offsets, [(0, 2)]);
}

#[test]
fn a_member_whose_epoch_moved_on_commits_again_under_the_new_one_while_it_gives_back() {
    let mut world = World { generation: 5, revoking: true, renewed: true, ..MEMBER };
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    let (id, epoch, _) = sent(&world.advance(&mut committer, 0));
    assert_eq!(epoch, 5);
    let stale = ErrorCode::STALE_MEMBER_EPOCH;
    let actions = world.answer(&mut committer, 1, id, &[(0, stale)]);
    assert_eq!(actions, [CommitAction::MembershipError { generation: 5, code: stale }]);
    assert!(world.advance(&mut committer, 60).is_empty(), "the epoch is the same");
    world.generation = 6;
    let (id, epoch, _) = sent(&world.advance(&mut committer, 61));
    assert_eq!(epoch, 6);
    let actions = world.answer(&mut committer, 62, id, &[(0, ErrorCode::NONE)]);
    assert_eq!(actions, [CommitAction::Done { ticket, failures: Vec::new() }]);
}

#[test]
fn a_commit_to_a_deleted_topic_fails_at_once_and_the_others_are_made() {
    let gone = World { unknown: true, ..MEMBER };
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    let later = commit(&mut committer, 1, 1);
    let (id, _, _) = sent(&gone.advance(&mut committer, 0));
    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let actions = gone.answer(&mut committer, 1, id, &[(0, code), (1, ErrorCode::NONE)]);
    let failures = vec![(TopicPartition::new("t", 0), CommitFailure::Refused(code))];
    assert_eq!(actions, [CommitAction::Done { ticket, failures }, done(later)]);
    assert!(committer.is_idle());
}

#[test]
fn a_topic_that_only_the_coordinator_does_not_know_is_looked_up_and_tried_again() {
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 0));
    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let actions = MEMBER.answer(&mut committer, 1, id, &[(0, code)]);
    assert_eq!(actions, [CommitAction::TopicUnknown]);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 1_000));
    let actions = MEMBER.answer(&mut committer, 1_001, id, &[(0, ErrorCode::NONE)]);
    assert_eq!(actions, [done(ticket)]);
}

#[test]
fn a_refused_commit_of_a_revoked_partition_is_made_again_if_there_is_a_newer_generation() {
    let mut world = World { revoking: true, ..MEMBER };
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    let (id, _, _) = sent(&world.advance(&mut committer, 0));
    world.generation = 2;
    world.answer(&mut committer, 1, id, &[(0, ErrorCode::ILLEGAL_GENERATION)]);
    let (id, generation, _) = sent(&world.advance(&mut committer, 2));
    assert_eq!(generation, 2);
    let actions = world.answer(&mut committer, 3, id, &[(0, ErrorCode::NONE)]);
    assert_eq!(actions, [done(ticket)]);
}

#[test]
fn whoever_closes_gives_up_its_commits_in_time_to_leave() {
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    sent(&MEMBER.advance(&mut committer, 0));
    assert!(committer.is_committing([zero()].into_iter()));
    assert!(!committer.is_committing([TopicPartition::new("t", 1)].into_iter()));
    committer.hurry(500);
    committer.hurry(900);
    let actions = MEMBER.advance(&mut committer, 500);
    let failures = vec![(TopicPartition::new("t", 0), CommitFailure::TimedOut { last: None })];
    assert_eq!(actions, [CommitAction::Done { ticket, failures }]);
    assert!(!committer.is_committing([TopicPartition::new("t", 0)].into_iter()));
}

#[test]
fn outside_the_group_what_was_never_owned_is_committed_and_what_was_is_not() {
    let outside = World { outside: true, owned: 0, ..MEMBER };
    let mut committer = committer();
    let owned_once = commit(&mut committer, 0, 1);
    let free = [(TopicPartition::new("t", 1), 7.into(), None)];
    committer.commit(free, 10_000);
    let actions = outside.advance(&mut committer, 0);
    let failures = vec![(TopicPartition::new("t", 0), CommitFailure::NotOwned)];
    assert_eq!(actions[0], CommitAction::Done { ticket: owned_once, failures });
    let (_, _, offsets) = sent(&actions[1..]);
    assert_eq!(offsets, [(1, 7)]);
}

#[test]
fn a_commit_that_is_not_answered_is_made_again_after_a_back_off_unless_a_later_one_was_asked_for() {
    let mut committer = committer();
    commit(&mut committer, 0, 1);
    commit(&mut committer, 1, 1);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 0));
    assert!(!committer.is_idle());
    assert_eq!(committer.poll_timeout(0), Some(10_000), "only the deadline is waited for");
    commit(&mut committer, 0, 2);
    assert_eq!(committer.handle_failure(10, id), [CommitAction::CoordinatorLost(7)]);
    assert_eq!(committer.handle_failure(11, id), [], "it was another one");
    let again = committer.poll_timeout(11).expect("a back-off");
    assert!((10 + 50..10_000).contains(&again), "{again}");
    assert_eq!(MEMBER.advance(&mut committer, again - 1), []);
    let (_, _, offsets) = sent(&MEMBER.advance(&mut committer, again));
    assert_eq!(offsets, [(0, 2), (1, 1)]);
    let late = [(0, ErrorCode::NONE), (1, ErrorCode::NONE)];
    assert_eq!(MEMBER.answer(&mut committer, again, id, &late), [], "what it answers is over");
    assert_eq!(committer.handle_failure(again, id), []);
}

#[test]
fn a_node_that_is_not_the_coordinator_is_told_of_once_and_the_next_one_asked() {
    let mut committer = committer();
    commit(&mut committer, 0, 1);
    commit(&mut committer, 1, 1);
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE] {
        let now = committer.poll_timeout(0).filter(|at| *at < 10_000).unwrap_or(0);
        let (id, _, _) = sent(&MEMBER.advance(&mut committer, now));
        let actions = MEMBER.answer(&mut committer, now, id, &[(0, code), (1, code)]);
        assert_eq!(actions, [CommitAction::CoordinatorLost(7)]);
    }
    let (_, _, offsets) = sent(&MEMBER.advance(&mut committer, 5_000));
    assert_eq!(offsets, [(0, 1), (1, 1)]);
}

#[test]
fn a_partition_that_an_answer_leaves_out_is_sent_again() {
    let mut committer = committer();
    commit(&mut committer, 0, 1);
    let later = commit(&mut committer, 1, 1);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 0));
    assert_eq!(MEMBER.answer(&mut committer, 1, id, &[(1, ErrorCode::NONE)]), []);
    assert_eq!(MEMBER.advance(&mut committer, 2), [], "after a back-off");
    let (id, _, offsets) = sent(&MEMBER.advance(&mut committer, 1_000));
    assert_eq!(offsets, [(0, 1)]);
    let actions = MEMBER.answer(&mut committer, 1_001, id, &[(0, ErrorCode::NONE)]);
    assert_eq!(actions.last(), Some(&done(later)));
}

#[test]
fn a_commit_that_is_refused_for_good_fails_at_once() {
    let mut committer = committer();
    let ticket = commit(&mut committer, 0, 1);
    let (id, _, _) = sent(&MEMBER.advance(&mut committer, 0));
    let code = ErrorCode::OFFSET_METADATA_TOO_LARGE;
    let failures = vec![(zero(), CommitFailure::Refused(code))];
    let actions = MEMBER.answer(&mut committer, 1, id, &[(0, code)]);
    assert_eq!(actions, [CommitAction::Done { ticket, failures }]);
    assert!(committer.is_idle());
    assert_eq!(MEMBER.advance(&mut committer, 1_000), []);
}

#[test]
fn a_member_commits_nothing_without_a_generation_or_while_none_are_taken() {
    let mut committer = committer();
    commit(&mut committer, 0, 1);
    MEMBER.with(|context| {
        let joining = CommitContext { identity: None, ..*context };
        assert_eq!(committer.advance(0, &joining), []);
        let identity = context.identity.clone();
        let syncing = CommitContext { identity, accepted_now: false, ..*context };
        assert_eq!(committer.advance(0, &syncing), []);
        let identity = context.identity.clone();
        let lost = CommitContext { identity, coordinator: None, ..*context };
        assert_eq!(committer.advance(0, &lost), []);
    });
    assert_eq!(committer.poll_timeout(0), Some(10_000), "none of that comes with time");
    sent(&MEMBER.advance(&mut committer, 0));
}

#[test]
fn only_a_consumer_whose_partitions_are_assigned_by_hand_commits_what_it_does_not_own() {
    let mut committer = committer();
    let ticket = committer.commit([(zero(), 1.into(), None)], 10_000);
    let failures = vec![(zero(), CommitFailure::NotOwned)];
    let actions = World { owned: 0, ..MEMBER }.advance(&mut committer, 0);
    assert_eq!(actions, [CommitAction::Done { ticket, failures }]);
    committer.commit([(zero(), 2.into(), None)], 10_000);
    let actions = MEMBER.with(|context| {
        let manual = CommitContext { identity: None, manual: true, ..*context };
        committer.advance(0, &manual)
    });
    assert_eq!(sent(&actions).2, [(0, 2)]);
}

#[test]
fn a_later_commit_of_a_partition_goes_on_when_an_earlier_one_is_too_late() {
    let mut committer = committer();
    let early = committer.commit([(zero(), 1.into(), Some(OWNED))], 100);
    let late = commit(&mut committer, 0, 2);
    let failures = vec![(zero(), CommitFailure::TimedOut { last: None })];
    let actions = MEMBER.advance(&mut committer, 100);
    assert_eq!(actions[0], CommitAction::Done { ticket: early, failures });
    let (id, _, offsets) = sent(&actions[1..]);
    assert_eq!(offsets, [(0, 2)]);
    let actions = MEMBER.answer(&mut committer, 101, id, &[(0, ErrorCode::NONE)]);
    assert_eq!(actions, [done(late)]);
}

#[test]
fn a_commit_that_is_too_late_is_not_sent_any_more() {
    let mut committer = committer();
    commit(&mut committer, 0, 1);
    assert_eq!(MEMBER.advance(&mut committer, 10_000).len(), 1, "it is done, and that is all");
    assert!(committer.is_idle());
    assert_eq!(MEMBER.advance(&mut committer, 10_001), []);
}

#[test]
fn topics_are_sent_with_their_ids_and_answers_that_name_nothing_else_are_understood() {
    let mut committer = committer();
    let all = [("t", 0), ("t", 1), ("u", 0)]
        .map(|(topic, index)| (TopicPartition::new(topic, index), 1.into(), Some(OWNED)));
    let ticket = committer.commit(all, 10_000);
    let ids = |topic: &str| match topic {
        "t" => Some(Uuid::from_random([7; 16])),
        _ => Some(Uuid::ZERO),
    };
    let (actions, answered) = MEMBER.with(|context| {
        let identity = context.identity.clone();
        let context = CommitContext { identity, topic_id: &ids, ..*context };
        let actions = committer.advance(0, &context);
        let (id, _, _) = sent(&actions);
        let partition = |partition_index| OffsetCommitResponsePartition {
            partition_index,
            ..Default::default()
        };
        let topic = |(name, topic_id, count): (&str, _, _)| OffsetCommitResponseTopic {
            name: name.to_owned(),
            topic_id,
            partitions: (0..count).map(partition).collect(),
        };
        let topics = [("", Uuid::from_random([7; 16]), 2), ("u", Uuid::ZERO, 1)].map(topic);
        let response = OffsetCommitResponse { topics: topics.into(), ..Default::default() };
        (actions, committer.handle_response(1, id, response, &context))
    });
    let CommitAction::Send { request, .. } = &actions[0] else { panic!("{actions:?}") };
    let named = |it: &OffsetCommitRequestTopic| (it.name.clone(), it.topic_id, it.partitions.len());
    let [t, u] = &request.topics[..] else { panic!("{request:?}") };
    assert_eq!(named(t), ("t".to_owned(), Uuid::from_random([7; 16]), 2));
    assert_eq!(named(u), ("u".to_owned(), Uuid::ZERO, 1));
    assert_eq!(answered, [done(ticket)]);
}
