//! What keeps the order, every record written once, and batches and requests within their bounds.

use kohort_protocol::records::Header;

use super::*;

/// Two batches under way of a producer that the broker knows, the second sent half a second later.
fn two_under_way() -> (Bench, Sent, Sent) {
    let mut bench = Bench::established(config());
    let first = bench.send_full(0, 1).remove(0);
    let second = bench.send_full(500, 1).remove(0);
    assert_eq!((first.header, second.header), ((0, 1), (0, 2)));
    (bench, first, second)
}

#[test]
fn after_a_gap_nothing_new_leaves_until_every_answer_is_in() {
    let (mut bench, first, second) = two_under_way();
    bench.fail(500, &first, ErrorCode::INVALID_RECORD);
    assert!(bench.send_full(500, 1).is_empty(), "the epoch cannot be raised yet");
    bench.accumulator.complete("t", 0, second.id);
    assert_eq!(headers(&bench.send(500)), [(1, 0)]);
}

#[test]
fn after_a_batch_whose_fate_is_unknown_the_answer_to_the_next_one_tells_it() {
    let (mut bench, _, second) = two_under_way();
    assert_eq!(bench.poll(1000).expired.len(), 1);
    assert!(bench.send_full(1000, 1).is_empty(), "it may have left a gap");
    bench.accumulator.complete("t", 0, second.id);
    assert_eq!(headers(&bench.send(1000)), [(0, 3)], "the broker took what came after it");
    assert_eq!(headers(&bench.send_full(1000, 2)), [(0, 4), (0, 5)], "and nothing waits any more");
}

#[test]
fn a_retry_keeps_its_sequence_while_the_fate_of_a_batch_before_it_is_unknown() {
    let (mut bench, _, second) = two_under_way();
    assert_eq!(bench.poll(1000).expired.len(), 1);
    bench.fail(1000, &second, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let retry = bench.send(1200);
    assert_eq!(headers(&retry), [(0, 2)], "under another one it might be written twice");
    bench.fail(1200, &retry[0], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(headers(&bench.send(1400)), [(1, 0)], "the one before it was not written");
}

#[test]
fn a_retry_waits_for_its_back_off() {
    let (mut bench, first, second) = two_under_way();
    bench.accumulator.complete("t", 0, second.id);
    bench.fail(500, &first, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let polled = bench.poll(501);
    assert!(polled.requests.is_empty());
    let due = polled.wake_at.unwrap();
    assert!((550..=650).contains(&due), "{due}");
    assert!(bench.send(due - 1).is_empty());
    assert_eq!(headers(&bench.send(due)), [first.header]);
}

#[test]
fn a_record_that_fits_into_its_batch_and_not_into_memory_is_refused() {
    let mut bench = Bench::new(AccumulatorConfig { buffer_memory: 250, ..config() });
    bench.append(0, 100).unwrap();
    bench.append_to(1, 0, 5).unwrap();
    assert_eq!(bench.append(0, 20), Err(Refused::Full));
    assert!(bench.accumulator.buffered_bytes() <= 250);
}

#[test]
fn a_batch_is_full_when_another_record_of_that_size_has_no_place_in_it() {
    let mut bench = Bench::new(config());
    let full = [10, 10, 60].map(|size| bench.append(0, size).unwrap().full);
    assert_eq!(full, [false, false, true]);
    assert!(bench.append_to(1, 0, 100).unwrap().full);
}

#[test]
fn a_request_is_no_larger_than_it_may_be_unless_a_single_batch_is() {
    let counts = |request_bytes_max| {
        let mut bench = Bench::established(AccumulatorConfig { request_bytes_max, ..config() });
        for partition in 0..4 {
            bench.append_to(partition, 0, 150).unwrap();
        }
        bench.accumulator.flush();
        let requests = bench.poll(0).requests;
        requests.iter().map(|request| request.batches.len()).collect::<Vec<_>>()
    };
    assert_eq!(counts(1000), [4]);
    assert_eq!(counts(500), [2, 2]);
    assert_eq!(counts(250), [1, 1, 1, 1]);
}

#[test]
fn every_batch_says_whose_it_is() {
    let mut bench = Bench::new(config());
    let sent = bench.send_full(0, 1).remove(0);
    let header = *batches(&sent.bytes).next().unwrap().unwrap().header();
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 0, 0));
}

#[test]
fn a_producer_whose_id_is_worth_nothing_asks_for_another_and_starts_over() {
    let mut bench = Bench::established(config());
    bench.accumulator.forget_identity();
    bench.append(0, 150).unwrap();
    bench.accumulator.flush();
    let polled = bench.poll(0);
    assert!(polled.needs_identity && polled.requests.is_empty());
    bench.accumulator.set_identity(ProducerIdentity { producer_id: 8, epoch: 3 });
    assert_eq!(headers(&bench.send(0)), [(3, 0)]);
}

#[test]
fn a_producer_past_its_highest_epoch_asks_for_another_id() {
    let mut bench = Bench::new(config());
    bench.accumulator.set_identity(ProducerIdentity { producer_id: 7, epoch: i16::MAX });
    let sent = bench.send_full(0, 1).remove(0);
    bench.fail(0, &sent, ErrorCode::INVALID_RECORD);
    bench.append(0, 150).unwrap();
    bench.accumulator.flush();
    let polled = bench.poll(0);
    assert!(polled.needs_identity && polled.requests.is_empty());
    bench.accumulator.set_identity(ProducerIdentity { producer_id: 8, epoch: 0 });
    assert_eq!(headers(&bench.send(0)), [(0, 0)]);
}

#[test]
fn what_is_not_answered_or_passes_is_sent_again_so_many_times() {
    for failure in [Failure::NoAnswer, Failure::Broker(ErrorCode::NOT_LEADER_OR_FOLLOWER)] {
        let mut bench = Bench::established(AccumulatorConfig { retries: 1, ..config() });
        let mut sent = bench.send_full(0, 1).remove(0);
        let mut fail = |now, sent: &Sent| {
            let place = ("t", 0, sent.id);
            let verdict = bench.accumulator.fail(now, place, sent.bytes.clone(), failure, || 9);
            (verdict, bench.send(now + 200))
        };
        let (verdict, mut again) = fail(0, &sent);
        assert_eq!(verdict, Verdict::Retry { metadata: true });
        sent = again.remove(0);
        assert_eq!(fail(200, &sent).0, Verdict::Fail(1, failure));
    }
}

#[test]
fn a_sender_looks_when_the_time_of_the_oldest_batch_is_over() {
    let (mut bench, ..) = two_under_way();
    assert_eq!(bench.poll(501).wake_at, Some(1000));
    assert_eq!(bench.poll(1000).wake_at, Some(1500));
}

#[test]
fn whoever_closes_gets_every_batch_back() {
    let (mut bench, ..) = two_under_way();
    bench.append(500, 150).unwrap();
    let given_up = |completion| GivenUp { completion, records: 1, failure: Failure::Closed };
    let abandoned = bench.accumulator.abandon(Failure::Closed);
    assert_eq!(abandoned, [given_up(1), given_up(2), given_up(3)]);
    assert!(bench.accumulator.is_empty());
    assert_eq!(bench.accumulator.buffered_bytes(), 0);
}

#[test]
fn records_keep_their_headers_when_their_batch_is_sent_in_parts() {
    let mut bench = Bench::new(config());
    for name in [b"one", b"two"] {
        let headers = [Header { key: name, value: Some(b"v") }];
        let record = NewRecord { key: Some(name), headers: &headers, ..NewRecord::default() };
        bench.accumulator.append(0, (bench.slot, 0), &record, || 0).unwrap();
    }
    bench.accumulator.flush();
    let whole = bench.send(0).remove(0);
    bench.fail(0, &whole, ErrorCode::MESSAGE_TOO_LARGE);
    for name in [b"one", b"two"] {
        let part = bench.send(0).remove(0);
        let (mut decompressor, mut buffer) = (Decompressor::new(), Vec::new());
        let batch = batches(&part.bytes).next().unwrap().unwrap();
        let mut records = batch.records(&mut decompressor, &mut buffer, 1 << 20).unwrap();
        let record = records.next().unwrap().unwrap();
        assert_eq!(record.key, Some(&name[..]));
        let headers: Vec<_> = record.headers.into_iter().collect();
        assert_eq!(headers, [Header { key: name, value: Some(b"v") }]);
        bench.accumulator.complete("t", 0, part.id).unwrap();
    }
}

#[test]
fn a_node_with_little_room_is_sent_its_partitions_in_turn() {
    let small = AccumulatorConfig { request_bytes_max: 250, idempotent: false, ..config() };
    let mut bench = Bench::new(small);
    for partition in [0, 1, 2, 0, 1, 2] {
        bench.append_to(partition, 0, 150).unwrap();
    }
    bench.accumulator.flush();
    bench.room = 1;
    let mut first = [(); 3].map(|()| bench.poll(0).requests[0].batches[0].partition);
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2]);
}
