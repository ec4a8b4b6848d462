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
    let partition = |index| MetadataResponsePartition {
        partition_index: index,
        leader_id,
        leader_epoch: 5,
        ..Default::default()
    };
    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: 1,
            host: "h".to_owned(),
            port: 1,
            ..Default::default()
        }],
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
    for code in [
        ErrorCode::UNSTABLE_OFFSET_COMMIT,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::STALE_MEMBER_EPOCH,
        ErrorCode::GROUP_AUTHORIZATION_FAILED,
    ] {
        for whole in [true, false] {
            let (mut positions, id) = asking(OffsetReset::Latest);
            let answer = if whole { Err(code) } else { Ok(vec![(zero(), Err(code))]) };
            positions.handle_committed(1, id, answer);
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
