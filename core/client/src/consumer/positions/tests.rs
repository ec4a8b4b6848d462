//! What the positions must keep to, the unhappy half included.

use kohort_protocol::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

use super::*;
use crate::metadata::MetadataScope;

/// One broker, one topic `t` of two partitions.
pub(in crate::consumer) fn view() -> MetadataView {
    view_led_by(1)
}

/// The same with this leader, of whom nothing is known unless it is the one broker, number 1.
fn view_led_by(leader_id: i32) -> MetadataView {
    picture(&[1], leader_id, 5)
}

/// These brokers, and one topic `t` of two partitions with this leader and epoch.
fn picture(brokers: &[i32], leader_id: i32, leader_epoch: i32) -> MetadataView {
    let partition = |index| MetadataResponsePartition {
        partition_index: index,
        leader_id,
        leader_epoch,
        ..Default::default()
    };
    let broker = |node_id: &i32| MetadataResponseBroker {
        node_id: *node_id,
        host: "h".to_owned(),
        port: 1,
        ..Default::default()
    };
    let response = MetadataResponse {
        brokers: brokers.iter().map(broker).collect(),
        topics: vec![MetadataResponseTopic {
            name: Some("t".to_owned()),
            partitions: vec![partition(0), partition(1)],
            ..Default::default()
        }],
        ..Default::default()
    };
    MetadataView::default().merge(&response, 13, MetadataScope::AllTopics).0
}

fn positions(reset: OffsetReset) -> Positions {
    Positions::new(PositionsConfig {
        has_group: true,
        reset,
        retry_backoff_ms: 100,
        retry_backoff_max_ms: 100,
        seed: 1,
    })
}

fn zero() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// Owns partition 0 and asks for its committed offset.
fn asking(reset: OffsetReset) -> (Positions, RequestId) {
    let mut positions = positions(reset);
    positions.assign([zero()]);
    let actions = positions.advance(0, &view(), true);
    let [PositionAction::FetchCommitted { id, .. }] = actions[..] else { panic!("{actions:?}") };
    (positions, id)
}

#[test]
fn reading_starts_at_the_committed_offset() {
    let (mut positions, id) = asking(OffsetReset::Latest);
    let answer = vec![(zero(), Ok(Some(Position::at(42))))];
    let actions = positions.handle_committed(1, id, Ok(answer));
    assert!(matches!(
        actions[..],
        [PositionAction::Start { position: Position { offset: 42, .. }, .. }]
    ));
    assert_eq!(positions.get(&zero()).unwrap().fetch_position(), Some(Position::at(42)));
}

#[test]
fn a_position_to_be_checked_with_an_unknown_leader_waits_for_a_newer_picture() {
    let (mut positions, id) = asking(OffsetReset::Latest);
    let position = Position { offset: 42, leader_epoch: Some(4) };
    positions.handle_committed(1, id, Ok(vec![(zero(), Ok(Some(position)))]));
    let lost = view_led_by(2);
    assert_eq!(positions.advance(1, &lost, true), [PositionAction::RefreshMetadata]);
    assert!(positions.advance(1, &lost, true).is_empty(), "it is not asked for at every turn");
    assert_eq!(positions.poll_timeout(1, true), Some(101));
    let actions = positions.advance(101, &view(), true);
    assert!(matches!(actions[..], [PositionAction::AskEpochEnds { node: 1, .. }]), "{actions:?}");
}

#[test]
fn no_error_about_the_committed_offset_reaches_the_reset_policy() {
    for (code, told) in [
        (ErrorCode::UNSTABLE_OFFSET_COMMIT, false),
        (ErrorCode::NOT_COORDINATOR, false),
        (ErrorCode::STALE_MEMBER_EPOCH, false),
        (ErrorCode::GROUP_AUTHORIZATION_FAILED, true),
    ] {
        for whole in [true, false] {
            let (mut positions, id) = asking(OffsetReset::Latest);
            let answer = if whole { Err(code) } else { Ok(vec![(zero(), Err(code))]) };
            let failed = PositionAction::Failed { partition: zero(), code };
            let expected = if told { vec![failed] } else { Vec::new() };
            assert_eq!(positions.handle_committed(1, id, answer), expected);
            assert_eq!(positions.advance(2, &view(), true), [], "it backs off");
            let actions = positions.advance(1_000, &view(), true);
            assert!(
                matches!(actions[..], [PositionAction::FetchCommitted { .. }]),
                "{code} is asked again, not reset: {actions:?}"
            );
        }
    }
}

#[test]
fn silence_about_a_partition_is_not_an_answer() {
    let (mut positions, id) = asking(OffsetReset::Latest);
    let told = positions.handle_committed(1, id, Ok(Vec::new()));
    assert_eq!(told, [], "the application can do nothing about it");
    let actions = positions.advance(1_000, &view(), true);
    assert!(matches!(actions[..], [PositionAction::FetchCommitted { .. }]));
}

#[test]
fn without_a_committed_offset_the_policy_decides() {
    let (mut positions, id) = asking(OffsetReset::ByDuration(1_000));
    assert_eq!(positions.handle_committed(5_000, id, Ok(vec![(zero(), Ok(None))])), []);
    let actions = positions.advance(5_000, &view(), true);
    let [PositionAction::ListOffsets { id, node: 1, partitions }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*partitions, [(zero(), 4_000, 5)]);
    // No record is that young: the end is next.
    positions.handle_listed(5_001, *id, Ok(vec![(zero(), Ok(None))]));
    let actions = positions.advance(5_001, &view(), true);
    let [PositionAction::ListOffsets { id, partitions, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(partitions[0].1, LATEST);
    // An end that is nowhere is not asked for without a pause.
    positions.handle_listed(5_002, *id, Ok(vec![(zero(), Ok(None))]));
    assert_eq!(positions.advance(5_002, &view(), true), []);
    let actions = positions.advance(6_000, &view(), true);
    assert!(matches!(&actions[..], [PositionAction::ListOffsets { .. }]));

    let (mut positions, id) = asking(OffsetReset::None);
    let actions = positions.handle_committed(1, id, Ok(vec![(zero(), Ok(None))]));
    assert_eq!(actions, [PositionAction::Undecided { partition: zero(), out_of_range: None }]);
    assert!(positions.seek(&zero(), Position::at(3)).is_some());
    assert_eq!(positions.get(&zero()).unwrap().fetch_position(), Some(Position::at(3)));
}

#[test]
fn answers_for_an_earlier_ownership_or_before_a_seek_are_dropped() {
    let (mut positions, id) = asking(OffsetReset::Latest);
    positions.seek(&zero(), Position::at(3));
    let answer = || Ok(vec![(zero(), Ok(Some(Position::at(42))))]);
    assert_eq!(positions.handle_committed(1, id, answer()), [], "the seek is newer");
    positions.release(&[zero()]);
    positions.assign([zero()]);
    assert_eq!(positions.handle_committed(2, id, answer()), [], "another ownership");
    assert!(positions.get(&zero()).unwrap().fetch_position().is_none());
    // Out of range, met by a sequence that a seek has ended.
    let old = positions.get(&zero()).unwrap().position_epoch;
    positions.seek(&zero(), Position::at(3));
    assert_eq!(positions.handle_out_of_range(3, &zero(), old), []);
    assert_eq!(positions.get(&zero()).unwrap().fetch_position(), Some(Position::at(3)));
}

fn newer(mut view: MetadataView) -> MetadataView {
    view.version += 1;
    view
}

/// Reads partition 0 from the offset 42, the record before it being of this epoch.
fn reading(reset: OffsetReset, leader_epoch: Option<i32>) -> Positions {
    let (mut positions, id) = asking(reset);
    let position = Position { offset: 42, leader_epoch };
    positions.handle_committed(1, id, Ok(vec![(zero(), Ok(Some(position)))]));
    positions
}

fn epoch_question(actions: &[PositionAction]) -> RequestId {
    let [PositionAction::AskEpochEnds { id, .. }] = actions else { panic!("{actions:?}") };
    *id
}

#[test]
fn a_partition_that_is_being_given_back_is_neither_asked_about_nor_waited_for() {
    let mut unknown = positions(OffsetReset::Latest);
    unknown.assign([zero()]);
    let mut to_look_up = asking(OffsetReset::Latest).0;
    to_look_up.seek_to_time(&zero(), EARLIEST);
    let unchecked = reading(OffsetReset::Latest, Some(3));
    for mut positions in [unknown, to_look_up, unchecked] {
        positions.mark_revoking(&[zero()]);
        assert_eq!(positions.advance(1_000, &view(), true), []);
        assert_eq!(positions.poll_timeout(1_000, true), None);
        assert!(!positions.awaits_committed());
    }
    let (mut positions, id) = asking(OffsetReset::Latest);
    positions.mark_revoking(&[zero()]);
    let answer = Ok(vec![(zero(), Ok(Some(Position::at(42))))]);
    assert_eq!(positions.handle_committed(1, id, answer), [], "nothing starts that has to end");
}

#[test]
fn out_of_range_is_where_the_policy_takes_over() {
    let mut positions = reading(OffsetReset::None, None);
    let epoch = positions.get(&zero()).unwrap().position_epoch;
    let actions = positions.handle_out_of_range(2, &zero(), epoch);
    assert_eq!(actions, [PositionAction::Undecided { partition: zero(), out_of_range: Some(42) }]);
    assert!(positions.get(&zero()).unwrap().is_undecided());
    assert_eq!(positions.advance(1_000, &view(), true), [], "only a seek helps");

    let mut positions = reading(OffsetReset::Earliest, None);
    let epoch = positions.get(&zero()).unwrap().position_epoch;
    assert_eq!(positions.handle_out_of_range(2, &zero(), epoch), []);
    let actions = positions.advance(2, &view(), true);
    let [PositionAction::ListOffsets { partitions, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*partitions, [(zero(), EARLIEST, 5)]);
}

#[test]
fn a_seek_to_a_time_ends_the_sequence_before_it_and_is_looked_up_at_once() {
    let mut positions = reading(OffsetReset::Latest, None);
    let before = positions.get(&zero()).unwrap().position_epoch;
    positions.back_off(2, &zero());
    assert!(positions.seek_to_time(&zero(), 1_234));
    assert_ne!(positions.get(&zero()).unwrap().position_epoch, before);
    assert_eq!(positions.poll_timeout(2, true), Some(0));
    let actions = positions.advance(2, &view(), true);
    let [PositionAction::ListOffsets { partitions, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*partitions, [(zero(), 1_234, 5)]);
}

#[test]
fn an_error_is_waited_out_however_new_the_picture_is() {
    let mut positions = positions(OffsetReset::Latest);
    positions.assign([zero()]);
    assert!(positions.seek_to_time(&zero(), LATEST));
    assert_eq!(positions.advance(0, &view_led_by(2), true), [PositionAction::RefreshMetadata]);
    let led = newer(view());
    let actions = positions.advance(1, &led, true);
    let [PositionAction::ListOffsets { id, .. }] = actions[..] else { panic!("{actions:?}") };
    positions.handle_listed(2, id, Err(ErrorCode::REQUEST_TIMED_OUT));
    assert_eq!(positions.advance(3, &led, true), []);
    assert_eq!(positions.poll_timeout(3, true), Some(102));
}

#[test]
fn what_is_to_be_asked_is_waited_for_and_what_is_under_way_is_not() {
    let mut positions = positions(OffsetReset::Latest);
    positions.assign([zero()]);
    assert_eq!(positions.poll_timeout(0, true), Some(0));
    assert_eq!(positions.poll_timeout(0, false), None, "there is nobody to ask");
    let actions = positions.advance(0, &view(), true);
    let [PositionAction::FetchCommitted { id, .. }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(positions.poll_timeout(0, true), None);
    positions.handle_committed(50, id, Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    let again = positions.poll_timeout(50, true).expect("a back-off");
    assert!((51..200).contains(&again), "{again}");
    assert_eq!(positions.advance(again - 1, &view(), true), []);
    let actions = positions.advance(again, &view(), true);
    let [PositionAction::FetchCommitted { id, .. }] = actions[..] else { panic!("{actions:?}") };
    positions.handle_committed(200, id, Ok(vec![(zero(), Ok(Some(Position::at(42))))]));
    assert_eq!(positions.poll_timeout(200, true), None, "it is read");
    positions.back_off(200, &zero());
    assert_eq!(positions.poll_timeout(200, true), Some(300), "it is read again then");
    assert_eq!(positions.poll_timeout(300, true), None);
}

#[test]
fn a_position_of_an_old_epoch_is_checked_each_time_that_reading_starts_there() {
    let mut positions = reading(OffsetReset::Latest, Some(3));
    let old = Position { offset: 42, leader_epoch: Some(3) };
    for _ in 0..2 {
        let id = epoch_question(&positions.advance(1, &view(), true));
        let end = vec![(zero(), Ok(Some(old)))];
        assert_eq!(positions.handle_epoch_ends(2, id, Ok(end), &|_| None), []);
        assert_eq!(positions.get(&zero()).unwrap().fetch_position(), Some(old));
        assert_eq!(positions.advance(3, &view(), true), []);
        positions.seek(&zero(), old);
    }
}

#[test]
fn a_question_about_an_epoch_is_asked_once_of_each_leader() {
    let mut positions = reading(OffsetReset::Latest, Some(3));
    epoch_question(&positions.advance(1, &view(), true));
    assert_eq!(positions.advance(1, &newer(view()), true), [], "the leader is the same");
    let moved = newer(newer(picture(&[0], 0, 6)));
    epoch_question(&positions.advance(1, &moved, true));
    assert_eq!(positions.advance(1, &newer(moved), true), []);
}

#[test]
fn a_leader_that_denies_when_it_is_asked_about_an_epoch_is_told_of() {
    let mut positions = reading(OffsetReset::Latest, Some(3));
    let id = epoch_question(&positions.advance(1, &view(), true));
    let actions = positions.handle_epoch_ends(
        2,
        id,
        Ok(vec![(zero(), Err(ErrorCode::NOT_LEADER_OR_FOLLOWER))]),
        &|_| None,
    );
    let denied = PositionAction::LeaderDenied { partition: zero(), node: 1 };
    assert_eq!(actions, [denied, PositionAction::RefreshMetadata]);
}

#[test]
fn a_new_leader_is_read_itself_whatever_replica_the_old_one_named() {
    let mut positions = reading(OffsetReset::Latest, None);
    positions.advance(1, &view(), true);
    positions.prefer(&zero(), 9, 1_000);
    let preferred = |positions: &Positions| positions.get(&zero()).unwrap().preferred(2);
    positions.advance(2, &newer(view()), true);
    assert_eq!(preferred(&positions), Some(9), "the leader is the same");
    positions.advance(2, &newer(newer(picture(&[0], 0, 6))), true);
    assert_eq!(preferred(&positions), None);
}

#[test]
fn a_picture_that_is_shown_is_looked_at_although_it_counts_as_the_one_before() {
    // A leader that an answer named is in the consumer's own picture before it is in the shell's.
    let mut positions = reading(OffsetReset::Latest, Some(5));
    assert_eq!(positions.advance(1, &view(), true), []);
    let moved = picture(&[0], 0, 6);
    assert_eq!(moved.version, view().version);
    positions.see_topics(&moved);
    epoch_question(&positions.advance(1, &moved, true));
}

/// Looks up where partition 0 is to be read from: at this time, or an end.
fn listing(time: i64) -> (Positions, RequestId) {
    let mut positions = positions(OffsetReset::Latest);
    positions.assign([zero()]);
    positions.seek_to_time(&zero(), time);
    let actions = positions.advance(0, &view(), true);
    let [PositionAction::ListOffsets { id, .. }] = actions[..] else { panic!("{actions:?}") };
    (positions, id)
}

#[test]
fn a_leader_that_says_where_reading_starts_is_not_asked_whether_it_has_that() {
    let (mut positions, id) = listing(EARLIEST);
    let first = Position { offset: 7, leader_epoch: Some(2) };
    let actions = positions.handle_listed(1, id, Ok(vec![(zero(), Ok(Some(first)))]));
    assert!(matches!(actions[..], [PositionAction::Start { position, .. }] if position == first));
    assert_eq!(positions.advance(1, &view(), true), []);
    assert_eq!(positions.get(&zero()).unwrap().fetch_position(), Some(first));
}

#[test]
fn a_time_without_records_since_is_the_end_and_the_first_time_is_a_time() {
    for time in [0, 1_234] {
        let (mut positions, id) = listing(time);
        assert_eq!(positions.handle_listed(1, id, Ok(vec![(zero(), Ok(None))])), []);
        let actions = positions.advance(1, &view(), true);
        let [PositionAction::ListOffsets { partitions, .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(*partitions, [(zero(), LATEST, 5)]);
    }
}

#[test]
fn a_leader_that_will_not_say_is_told_of_if_waiting_does_not_help_and_asked_again() {
    for (code, told) in
        [(ErrorCode::LEADER_NOT_AVAILABLE, false), (ErrorCode::TOPIC_AUTHORIZATION_FAILED, true)]
    {
        let (mut positions, id) = listing(LATEST);
        let actions = positions.handle_listed(1, id, Ok(vec![(zero(), Err(code))]));
        let mut expected = vec![PositionAction::RefreshMetadata];
        if told {
            expected.insert(0, PositionAction::Failed { partition: zero(), code });
        }
        assert_eq!(actions, expected);
        let actions = positions.advance(101, &view(), true);
        assert!(matches!(actions[..], [PositionAction::ListOffsets { .. }]), "{actions:?}");
    }
}

#[test]
fn committed_offsets_are_asked_for_once_their_topic_is_known() {
    let mut positions = positions(OffsetReset::Latest);
    positions.assign([zero()]);
    let nothing = MetadataView::default();
    assert_eq!(positions.advance(0, &nothing, true), [PositionAction::RefreshMetadata]);
    assert_eq!(positions.advance(1, &nothing, true), [], "it is not asked for at every turn");
    let actions = positions.advance(1, &view(), true);
    assert!(matches!(actions[..], [PositionAction::FetchCommitted { .. }]), "{actions:?}");
}

#[test]
fn waits_for_committed_offsets_grow_until_there_is_an_answer() {
    let mut positions = Positions::new(PositionsConfig {
        retry_backoff_max_ms: 10_000,
        ..positions(OffsetReset::Latest).config
    });
    let mut now = 0;
    let mut wait_after = |positions: &mut Positions, answer: Result<_, ErrorCode>| {
        positions.assign([zero()]);
        let actions = positions.advance(now, &view(), true);
        let [PositionAction::FetchCommitted { id, .. }] = actions[..] else {
            panic!("{actions:?}")
        };
        positions.handle_committed(now, id, answer.map(|position| vec![(zero(), Ok(position))]));
        let again = positions.poll_timeout(now, true);
        let wait = again.map(|at| at - now);
        now = again.unwrap_or(now);
        wait
    };
    let busy = || Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let first = wait_after(&mut positions, busy()).unwrap();
    wait_after(&mut positions, busy());
    wait_after(&mut positions, busy());
    assert!(wait_after(&mut positions, busy()).unwrap() > 4 * first);
    assert_eq!(wait_after(&mut positions, Ok(Some(Position::at(42)))), None);
    assert!(wait_after(&mut positions, busy()).unwrap() < 2 * first);
}
