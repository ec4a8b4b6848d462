//! What the fetcher must keep to, the unhappy half included.

use kohort_protocol::compression::Compressor;
use kohort_protocol::messages::fetch::FetchableTopicResponse;
use kohort_protocol::messages::metadata::{MetadataResponse, MetadataResponseBroker};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

use super::*;
use crate::consumer::positions::PositionsConfig;
use crate::consumer::positions::tests::view;
use crate::consumer::stalls::{Stall, Stalls};
use crate::consumer::types::OffsetReset;
use crate::metadata::MetadataScope;

fn config() -> FetchConfig {
    FetchConfig {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        partition_max_bytes: 1 << 20,
        budget_bytes: 16 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        rack: String::new(),
        retry_backoff_ms: 100,
        preferred_replica_ms: 300_000,
    }
}

fn memory(used: i64, kept: i64) -> Memory<'static> {
    Memory { used, kept, starves: &|_| false }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

/// Partitions 0 and 1, both at offset 10.
fn owned() -> Positions {
    let mut positions = Positions::new(PositionsConfig {
        has_group: false,
        reset: OffsetReset::None,
        retry_backoff_ms: 100,
        retry_backoff_max_ms: 100,
        seed: 1,
    });
    positions.assign([partition(0), partition(1)]);
    for index in 0..2 {
        positions.seek(&partition(index), Position::at(10));
    }
    positions
}

fn batch(base_offset: i64, count: usize) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1_000);
    for _ in 0..count {
        builder.append(&NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
    }
    let options =
        BatchOptions { base_offset, partition_leader_epoch: 5, ..BatchOptions::default() };
    builder.build(&options, &mut Compressor::none())
}

fn answer(partitions: Vec<PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse { topic: "t".to_owned(), partitions, ..Default::default() };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

fn data(index: i32, records: Bytes) -> PartitionData {
    PartitionData {
        partition_index: index,
        high_watermark: 99,
        records: Some(records),
        ..Default::default()
    }
}

/// Every owned partition is in flight, or says why not.
fn check_named(fetcher: &Fetcher, now: Timestamp, positions: &Positions, buffered: usize) {
    for index in 0..2 {
        let status = fetcher.status(now, &partition(index), positions, &view(), buffered);
        assert!(status.is_some_and(|status| status != FetchStatus::Due), "{status:?}");
    }
}

#[test]
fn the_next_fetch_leaves_as_soon_as_the_answer_is_walked() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let planned = fetcher.plan(0, &positions, &view(), &|_| 0, &memory(0, 0));
    check_named(&fetcher, 0, &positions, 0);
    let [plan] = &planned.fetches[..] else { panic!("{planned:?}") };
    let response = answer(vec![data(0, batch(10, 5)), data(1, Bytes::new())]);
    let outcome = fetcher.handle_response(1, 1, plan.id, response.clone(), &mut positions);
    assert_eq!(outcome.deliveries.len(), 2);
    assert_eq!(outcome.deliveries[0].next, Position { offset: 15, leader_epoch: Some(5) });
    // What is buffered does not hold the next one back; who waited longest comes first.
    let planned = fetcher.plan(1, &positions, &view(), &|_| 100, &memory(100, 0));
    let wanted = &planned.fetches[0].request.topics[0].partitions;
    let wanted: Vec<_> = wanted.iter().map(|it| (it.partition, it.fetch_offset)).collect();
    assert_eq!(wanted, [(1, 10), (0, 15)]);
    let again = fetcher.handle_response(2, 1, plan.id, response, &mut positions);
    assert_eq!(again, FetchOutcome::default(), "the first answer, twice");
}

#[test]
fn a_full_partition_or_a_spent_budget_holds_fetches_back_until_there_is_room() {
    let (mut fetcher, positions) = (Fetcher::new(config()), owned());
    let full = |it: &TopicPartition| if it.partition == 0 { 3 << 20 } else { 0 };
    let planned = fetcher.plan(0, &positions, &view(), &full, &memory(3 << 20, 0));
    assert!(planned.fetches.is_empty() && planned.wants.taken.is_some());
    let planned = fetcher.plan(0, &positions, &view(), &|_| 0, &memory(16 << 20, 0));
    assert!(planned.fetches.is_empty() && planned.wants.budget);
    let planned = fetcher.plan(0, &positions, &view(), &|_| 0, &memory(8 << 20, 0));
    assert!(planned.fetches[0].request.max_bytes <= 8 << 20, "half of the budget");
    let planned =
        Fetcher::new(config()).plan(0, &positions, &view(), &|_| 0, &memory(8 << 20, 8 << 20));
    assert!(planned.fetches.is_empty() && planned.wants.budget, "the rest is kept for unpacking");
}

/// As with Java's client: a broker returns a whole batch, however little it is asked for.
#[test]
fn limits_of_no_bytes_read_one_batch_after_the_other() {
    for (max_bytes, partition_max_bytes) in [(0, 1 << 20), (50 << 20, 0), (0, 0)] {
        let config = FetchConfig { max_bytes, partition_max_bytes, ..config() };
        let (mut fetcher, positions) = (Fetcher::new(config), owned());
        let status = fetcher.status(0, &partition(0), &positions, &view(), 0);
        assert_eq!(status, Some(FetchStatus::Due));
        let planned = fetcher.plan(0, &positions, &view(), &|_| 70, &memory(140, 0));
        assert!(planned.fetches.is_empty() && planned.wants.taken.is_some(), "{planned:?}");
        let planned = fetcher.plan(0, &positions, &view(), &|_| 0, &memory(140, 0));
        assert_eq!(planned.fetches.len(), 1, "{max_bytes} {partition_max_bytes}");
    }
}

#[test]
fn no_more_is_fetched_ahead_than_one_answer_beside_the_one_that_is_read() {
    let (mut fetcher, positions) = (Fetcher::new(config()), owned());
    let waits = |bytes: usize| move |it: &TopicPartition| bytes * usize::from(it.partition == 0);
    let first = 256 << 10;
    let planned = fetcher.plan(0, &positions, &view(), &waits(first + 999), &memory(1 << 20, 0));
    assert!(planned.fetches.is_empty());
    assert_eq!(planned.wants, Wants { budget: false, taken: Some(1000) });
    let status = fetcher.status(0, &partition(1), &positions, &view(), 0);
    assert_eq!(status, Some(FetchStatus::ApplicationBehind));
    let planned = fetcher.plan(0, &positions, &view(), &waits(first - 1), &memory(1 << 20, 0));
    assert_eq!((planned.fetches.len(), planned.wants.any()), (1, false));
}

#[test]
fn errors_make_a_partition_wait_and_never_move_it() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let plan = fetcher.plan(0, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0);
    let moved = PartitionData {
        partition_index: 0,
        error_code: ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ..Default::default()
    };
    let broken = data(1, Bytes::from_static(&[0; 80]));
    let outcome =
        fetcher.handle_response(1, 1, plan.id, answer(vec![moved, broken]), &mut positions);
    assert!(outcome.refresh_metadata);
    assert_eq!(outcome.errors, [(partition(1), ErrorCode::CORRUPT_MESSAGE)]);
    assert!(fetcher.plan(2, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.is_empty());
    check_named(&fetcher, 2, &positions, 0);
    let status = fetcher.status(2, &partition(0), &positions, &view(), 0);
    assert_eq!(status, Some(FetchStatus::Refused(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
    let plan = fetcher.plan(200, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0);
    assert!(plan.request.topics[0].partitions.iter().all(|it| it.fetch_offset == 10));
}

#[test]
fn a_partition_whose_fetches_all_fail_says_why_while_the_next_one_is_in_flight() {
    let (refused, silent) =
        (FetchStatus::Refused(ErrorCode::UNKNOWN_LEADER_EPOCH), FetchStatus::NoAnswer);
    for expected in [refused, silent, FetchStatus::Refused(ErrorCode::UNKNOWN_SERVER_ERROR)] {
        let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
        let (mut now, mut seen) = (0, Vec::new());
        let next = |fetcher: &mut Fetcher, positions: &Positions, now| {
            fetcher.plan(now, positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0).id
        };
        let mut stalls = Stalls::default();
        let mut id = next(&mut fetcher, &positions, now);
        while now < 7_000 {
            match expected {
                FetchStatus::NoAnswer => fetcher.handle_failure(now, 1, id, &mut positions),
                FetchStatus::Refused(error_code) if expected == refused => {
                    let refusal = PartitionData { error_code, ..data(0, Bytes::new()) };
                    let response = answer(vec![refusal, data(1, Bytes::new())]);
                    fetcher.handle_response(now, 1, id, response, &mut positions);
                }
                FetchStatus::Refused(error_code) => {
                    let response = FetchResponse { error_code, ..FetchResponse::default() };
                    fetcher.handle_response(now, 1, id, response, &mut positions);
                }
                _ => unreachable!("not tested"),
            }
            // Backing off, and then in flight for most of the time.
            for wait in [50, 950] {
                let status = |buffered| {
                    fetcher.status(now, &partition(0), &positions, &view(), buffered).unwrap()
                };
                assert_eq!(status(0), expected);
                if wait == 950 {
                    assert_eq!(status(1), FetchStatus::InFlight, "there is something to read");
                }
                seen.extend(stalls.look(now, [(partition(0), status(0))].into()));
                now += wait;
                if wait == 50 {
                    now += 50;
                    id = next(&mut fetcher, &positions, now);
                }
            }
        }
        let stall = Stall { partition: partition(0), reason: expected, waiting_ms: 5_250 };
        assert_eq!(seen, [stall]);
        let sound = answer(vec![data(0, batch(10, 1)), data(1, Bytes::new())]);
        fetcher.handle_response(now, 1, id, sound, &mut positions);
        next(&mut fetcher, &positions, now);
        let status = fetcher.status(now, &partition(0), &positions, &view(), 0);
        assert_eq!(status, Some(FetchStatus::InFlight));
    }
}

#[test]
fn a_broker_that_takes_seconds_longer_than_it_was_to_wait_gives_no_answer() {
    let (mut fetcher, positions) = (Fetcher::new(config()), owned());
    fetcher.plan(0, &positions, &view(), &|_| 0, &memory(0, 0));
    let status =
        |now, buffered| fetcher.status(now, &partition(0), &positions, &view(), buffered).unwrap();
    assert_eq!(status(5_499, 0), FetchStatus::InFlight);
    assert_eq!(status(5_500, 0), FetchStatus::NoAnswer);
    assert_eq!(status(5_500, 1), FetchStatus::InFlight, "there is something to read");
}

#[test]
fn a_fetch_without_an_answer_is_followed_by_a_smaller_one() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let mut asked = Vec::new();
    for now in [0, 30_000, 60_000] {
        let plan = fetcher.plan(now, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0);
        asked.push(plan.request.max_bytes >> 10);
        fetcher.handle_failure(now + 1_000, 1, plan.id, &mut positions);
    }
    assert_eq!(asked, [256, 64, 16]);
}

#[test]
fn what_was_refused_to_an_earlier_ownership_is_not_told_of_the_next() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let plan = fetcher.plan(0, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0);
    let error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let refusal = PartitionData { error_code, ..data(0, Bytes::new()) };
    fetcher.handle_response(1, 1, plan.id, answer(vec![refusal]), &mut positions);
    positions.release(&[partition(0)]);
    positions.assign([partition(0)]);
    positions.seek(&partition(0), Position::at(10));
    fetcher.plan(200, &positions, &view(), &|_| 0, &memory(0, 0));
    let status = fetcher.status(200, &partition(0), &positions, &view(), 0);
    assert_eq!(status, Some(FetchStatus::InFlight));
}

#[test]
fn an_answer_from_before_a_seek_is_dropped() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let plan = fetcher.plan(0, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0);
    positions.seek(&partition(0), Position::at(0));
    let response = answer(vec![data(0, batch(10, 5))]);
    let outcome = fetcher.handle_response(1, 1, plan.id, response, &mut positions);
    assert_eq!(outcome, FetchOutcome::default());
    assert_eq!(positions.get(&partition(0)).unwrap().fetch_position(), Some(Position::at(0)));
}

#[test]
fn an_answer_of_the_old_leader_and_one_of_the_new_deliver_the_records_once() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let old = fetcher.plan(0, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0);
    let broker = |node_id| MetadataResponseBroker {
        node_id,
        host: "h".to_owned(),
        port: node_id,
        ..Default::default()
    };
    let brokers = MetadataResponse { brokers: vec![broker(1), broker(2)], ..Default::default() };
    let (moved, _) = view().merge(&brokers, 13, MetadataScope::SomeTopics);
    let moved = moved.with_leader("t", 0, 2, 6);
    let new = fetcher.plan(1, &positions, &moved, &|_| 0, &memory(0, 0)).fetches.remove(0);
    assert_eq!((old.node, new.node), (1, 2));
    let response = || answer(vec![data(0, batch(10, 5))]);
    let first = fetcher.handle_response(2, 1, old.id, response(), &mut positions);
    assert_eq!(first.deliveries.len(), 1);
    let second = fetcher.handle_response(3, 2, new.id, response(), &mut positions);
    assert_eq!(second, FetchOutcome::default());
    assert_eq!(positions.get(&partition(0)).unwrap().fetch_position().unwrap().offset, 15);
}

#[test]
fn what_paused_partitions_keep_does_not_stop_the_others() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    positions.set_paused(&partition(0), true);
    let kept = |it: &TopicPartition| if it.partition == 0 { 16 << 20 } else { 0 };
    let planned = fetcher.plan(0, &positions, &view(), &kept, &memory(16 << 20, 0));
    let [plan] = &planned.fetches[..] else { panic!("{planned:?}") };
    assert_eq!(plan.request.max_bytes, 64 * 1024, "one small answer at a time");
    assert_eq!(plan.request.topics[0].partitions.len(), 1);
    // What the application holds itself is its own to drop.
    let mut fetcher = Fetcher::new(config());
    let planned = fetcher.plan(0, &positions, &view(), &kept, &memory(40 << 20, 0));
    assert!(planned.fetches.is_empty() && planned.wants.budget);
}

#[test]
fn a_damaged_segment_is_told_and_not_a_silent_hang() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let damaged = |error_code| PartitionData { error_code, ..data(0, Bytes::new()) };
    let mut now = 0;
    let mut told = Vec::new();
    for _ in 0..4 {
        now += 1_000;
        let plan = fetcher.plan(now, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0);
        let response = answer(vec![damaged(ErrorCode::KAFKA_STORAGE_ERROR)]);
        told.push(fetcher.handle_response(now, 1, plan.id, response, &mut positions).errors);
        let status = fetcher.status(now, &partition(0), &positions, &view(), 0);
        assert_eq!(status, Some(FetchStatus::Refused(ErrorCode::KAFKA_STORAGE_ERROR)));
    }
    let damage = vec![(partition(0), ErrorCode::KAFKA_STORAGE_ERROR)];
    assert_eq!(told, [vec![], vec![], damage.clone(), damage]);
}

#[test]
fn a_session_is_used_as_soon_as_the_broker_gives_one_and_begun_anew_without_waiting() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let in_session = |partitions, session_id| FetchResponse { session_id, ..answer(partitions) };
    let next = |fetcher: &mut Fetcher, positions: &Positions| {
        fetcher.plan(0, positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0)
    };
    let said = |plan: &FetchPlan| {
        let partitions = plan.request.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions: Vec<_> = partitions.map(|it| (it.partition, it.fetch_offset)).collect();
        (plan.request.session_id, plan.request.session_epoch, partitions)
    };
    let plan = next(&mut fetcher, &positions);
    assert_eq!(said(&plan), (0, 0, vec![(0, 10), (1, 10)]));
    let response = in_session(vec![data(0, batch(10, 5)), data(1, Bytes::new())], 7);
    fetcher.handle_response(0, 1, plan.id, response, &mut positions);
    let plan = next(&mut fetcher, &positions);
    assert_eq!(said(&plan), (7, 1, vec![(0, 15)]), "only what moved");
    // An answer that leaves a partition out says that there is nothing new of it.
    let outcome = fetcher.handle_response(0, 1, plan.id, in_session(vec![], 7), &mut positions);
    assert_eq!(outcome, FetchOutcome::default());
    positions.seek(&partition(1), Position::at(3));
    let plan = next(&mut fetcher, &positions);
    assert_eq!(said(&plan), (7, 2, vec![(1, 3)]));
    let lost = FetchResponse {
        error_code: ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
        ..FetchResponse::default()
    };
    let outcome = fetcher.handle_response(0, 1, plan.id, lost, &mut positions);
    assert!(!outcome.refresh_metadata);
    let plan = next(&mut fetcher, &positions);
    assert_eq!(said(&plan), (0, 0, vec![(1, 3), (0, 15)]));
    fetcher.handle_failure(0, 1, plan.id, &mut positions);
    let plan = fetcher.plan(100, &positions, &view(), &|_| 0, &memory(0, 0)).fetches.remove(0);
    assert_eq!(said(&plan).1, 0, "nobody knows what became of it");
}

#[test]
fn a_stream_that_is_behind_is_left_out_and_does_not_hold_the_others_up() {
    let (mut fetcher, mut positions) = (Fetcher::new(config()), owned());
    let epoch = positions.epoch(&partition(0)).unwrap();
    positions.set_apart(&partition(0), epoch, true);
    let behind = |it: &TopicPartition| if it.partition == 0 { 1 << 20 } else { 0 };
    let planned = fetcher.plan(0, &positions, &view(), &behind, &memory(1 << 20, 0));
    let [plan] = &planned.fetches[..] else { panic!("{planned:?}") };
    let wanted: Vec<_> = plan.request.topics[0].partitions.iter().map(|it| it.partition).collect();
    assert_eq!(wanted, [1]);
    assert_eq!(planned.wants.taken, Some(1), "what it takes wakes us");
    assert!(plan.request.max_wait_ms < 100, "it may catch up at any moment");
    let status = fetcher.status(0, &partition(0), &positions, &view(), 1 << 20);
    assert_eq!(status, Some(FetchStatus::Buffered));
}

#[test]
fn streams_share_half_of_the_budget_however_many_they_are() {
    let mut positions = owned();
    let more: Vec<_> = (2..40).map(partition).collect();
    for (it, epoch) in positions.assign(more) {
        positions.seek(&it, Position::at(0));
        positions.set_apart(&it, epoch, true);
    }
    let credit = Fetcher::new(config()).credit_apart(&positions);
    assert!(credit >= 64 * 1024 && 2 * 38 * credit <= 8 << 20, "{credit}");
}

#[test]
fn whoever_waits_with_no_more_than_one_earlier_answer_gets_another_beyond_the_budget() {
    let mut positions = owned();
    let spent = |starves| Memory { used: 40 << 20, kept: 0, starves };
    let polls = |it: Option<&TopicPartition>| it.is_none();
    let planned = Fetcher::new(config()).plan(0, &positions, &view(), &|_| 0, &spent(&polls));
    let [plan] = &planned.fetches[..] else { panic!("{planned:?}") };
    assert_eq!(plan.request.max_bytes, 64 * 1024);
    let planned = Fetcher::new(config()).plan(0, &positions, &view(), &|_| 1, &spent(&polls));
    assert!(planned.fetches.is_empty(), "there is something to take");
    let epoch = positions.epoch(&partition(0)).unwrap();
    positions.set_apart(&partition(0), epoch, true);
    let stream = |it: Option<&TopicPartition>| it == Some(&partition(0));
    let others = |it: &TopicPartition| usize::from(it.partition == 1);
    let planned = Fetcher::new(config()).plan(0, &positions, &view(), &others, &spent(&stream));
    assert_eq!(planned.fetches.len(), 1, "what waits for others is nothing to a stream");
}
