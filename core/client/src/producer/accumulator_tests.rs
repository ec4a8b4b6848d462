//! The accumulator's rules, on one or two partitions of topic `t` led by node 1.

mod order_tests;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::producer::{Failure, GivenUp, OutBatch, Polled, Room, Verdict};
use kohort_protocol::ErrorCode;
use kohort_protocol::compression::{Compression, Compressor, Decompressor};
use kohort_protocol::records::batches;

const IDENTITY: ProducerIdentity = ProducerIdentity { producer_id: 7, epoch: 0 };

const FREE: Room = Room { free: 5, under_way: 0 };

fn config() -> AccumulatorConfig {
    AccumulatorConfig {
        batch_size: 200,
        linger_ms: 5,
        gather_bytes: 0,
        delivery_timeout_ms: 1000,
        buffer_memory: 10_000,
        run_ahead: 10_000,
        availability_timeout_ms: 0,
        request_bytes_max: 1000,
        retries: u32::MAX,
        in_flight_max: 5,
        packed: false,
        idempotent: true,
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_millis(100)),
        seed: 1,
    }
}

/// An accumulator with its producer id, and what a shell does with it.
struct Bench {
    accumulator: Accumulator<u32>,
    slot: TopicSlot,
    completions: u32,
    room: usize,
    under_way: usize,
}

/// A batch under way: its id, what was sent, and (epoch, first sequence).
struct Sent {
    id: u64,
    bytes: Bytes,
    header: (i16, i32),
}

impl Bench {
    fn new(config: AccumulatorConfig) -> Self {
        let mut accumulator = Accumulator::new(config);
        accumulator.set_identity(IDENTITY);
        let slot = accumulator.slot(&Arc::from("t"));
        Self { accumulator, slot, completions: 0, room: 10, under_way: 0 }
    }

    fn append(&mut self, now: i64, size: usize) -> Result<Appended<u32>, Refused> {
        self.append_to(0, now, size)
    }

    fn append_to(
        &mut self,
        partition: i32,
        now: i64,
        size: usize,
    ) -> Result<Appended<u32>, Refused> {
        let value = vec![b'x'; size];
        let record = NewRecord { timestamp: now, value: Some(&value), ..NewRecord::default() };
        let completions = &mut self.completions;
        self.accumulator.append(now, (self.slot, partition), &record, || {
            *completions += 1;
            *completions
        })
    }

    fn poll(&mut self, now: i64) -> Polled<u32> {
        let room = Room { free: self.room, under_way: self.under_way };
        self.accumulator.poll(now, |_, _| Some(1), |_| room)
    }

    /// Polls, and builds what is to be sent.
    fn send(&mut self, now: i64) -> Vec<Sent> {
        let requests = self.poll(now).requests;
        requests.into_iter().flat_map(|request| request.batches).map(built).collect()
    }

    /// Fills one batch after the other and sends them all.
    fn send_full(&mut self, now: i64, count: usize) -> Vec<Sent> {
        for _ in 0..count {
            self.append(now, 150).unwrap();
        }
        self.accumulator.flush();
        self.send(now)
    }

    /// Lets the broker know the producer: its first batch is written.
    fn established(config: AccumulatorConfig) -> Self {
        let mut bench = Self::new(config);
        let sent = bench.send_full(0, 1);
        bench.accumulator.complete("t", 0, sent[0].id);
        bench.completions = 0;
        bench
    }

    fn fail(&mut self, now: i64, sent: &Sent, code: ErrorCode) -> Verdict<u32> {
        let failure = Failure::Broker(code);
        let completions = &mut self.completions;
        self.accumulator.fail(now, ("t", 0, sent.id), sent.bytes.clone(), failure, || {
            *completions += 1;
            *completions
        })
    }
}

fn built(batch: OutBatch) -> Sent {
    let mut compressor = Compressor::new(Compression::None, None).unwrap();
    let bytes = match batch.payload {
        Payload::Open(mut builder, options) => builder.build(&options, &mut compressor),
        Payload::Built(bytes) => bytes,
    };
    let parsed = batches(&bytes).next().unwrap().unwrap();
    let header = (parsed.header().producer_epoch, parsed.header().base_sequence);
    Sent { id: batch.id, bytes, header }
}

fn headers(sent: &[Sent]) -> Vec<(i16, i32)> {
    sent.iter().map(|sent| sent.header).collect()
}

#[test]
fn a_batch_waits_for_linger_and_its_first_record_wakes_the_sender() {
    let mut bench = Bench::new(config());
    assert!(bench.append(0, 10).unwrap().wake);
    assert!(!bench.append(1, 10).unwrap().wake, "the sender is already told");
    assert!(!bench.append_to(1, 1, 10).unwrap().wake, "and looks before this is due");
    let early = bench.poll(4);
    assert!(early.requests.is_empty());
    assert_eq!(early.wake_at, Some(5));
    assert_eq!(bench.send(5).len(), 1);
}

#[test]
fn a_full_batch_goes_at_once_and_the_rest_waits() {
    let mut bench = Bench::established(config());
    let first = bench.append(0, 100).unwrap();
    let second = bench.append(0, 100).unwrap();
    assert_eq!((first.completion, second.completion), (1, 2), "two batches");
    assert!(second.wake);
    assert_eq!(bench.send(0).len(), 1);
    assert_eq!(bench.send(5).len(), 1);
}

#[test]
fn records_of_a_batch_share_its_completion() {
    let mut bench = Bench::new(config());
    let places: Vec<_> =
        (0..3).map(|_| bench.append(0, 10).map(|it| (it.completion, it.index)).unwrap()).collect();
    assert_eq!(places, [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn memory_is_bounded_and_comes_back_when_a_batch_ends() {
    let mut bench = Bench::new(AccumulatorConfig { buffer_memory: 300, ..config() });
    bench.append(0, 100).unwrap();
    assert!(bench.send(0).is_empty(), "it may become more");
    assert_eq!(bench.append_to(1, 0, 100), Err(Refused::Full));
    // Shortage of memory hurries what is held, linger or not.
    let sent = bench.send(0);
    assert_eq!(bench.accumulator.complete("t", 0, sent[0].id), Some(1));
    assert_eq!(bench.accumulator.buffered_bytes(), 0);
    bench.append_to(1, 0, 100).unwrap();
}

#[test]
fn a_record_larger_than_a_request_is_refused() {
    let mut bench = Bench::new(config());
    assert!(matches!(bench.append(0, 1000), Err(Refused::TooLarge { limit: 1000, .. })));
    assert!(bench.accumulator.is_empty());
}

#[test]
fn nothing_is_sent_before_the_producer_has_its_id() {
    let mut accumulator: Accumulator<u32> = Accumulator::new(config());
    let slot = accumulator.slot(&Arc::from("t"));
    accumulator.append(0, (slot, 0), &NewRecord::default(), || 0).unwrap();
    let polled = accumulator.poll(10, |_, _| Some(1), |_| FREE);
    assert!(polled.needs_identity && polled.requests.is_empty());
    accumulator.set_identity(IDENTITY);
    assert_eq!(accumulator.poll(10, |_, _| Some(1), |_| FREE).requests.len(), 1);
}

#[test]
fn only_one_batch_is_in_flight_until_the_broker_knows_the_producer() {
    let mut bench = Bench::new(config());
    let sent = bench.send_full(0, 3);
    assert_eq!(headers(&sent), [(0, 0)]);
    bench.accumulator.complete("t", 0, sent[0].id);
    assert_eq!(headers(&bench.send(0)), [(0, 1), (0, 2)]);
}

#[test]
fn at_most_five_batches_of_a_partition_are_in_flight_with_growing_sequences() {
    let mut bench = Bench::established(config());
    let sent = bench.send_full(0, 7);
    assert_eq!(headers(&sent), [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
    bench.accumulator.complete("t", 0, sent[0].id);
    assert_eq!(headers(&bench.send(0)), [(0, 6)]);
}

#[test]
fn retries_keep_the_order_and_go_one_at_a_time() {
    let mut bench = Bench::established(config());
    let sent = bench.send_full(0, 3);
    let moved = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    assert_eq!(bench.fail(0, &sent[0], moved), Verdict::Retry { metadata: true });
    let late = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert_eq!(bench.fail(0, &sent[1], late), Verdict::Retry { metadata: false });
    bench.append(0, 150).unwrap();
    assert!(bench.send(500).is_empty(), "the third answer is still out");
    bench.fail(0, &sent[2], late);
    for expected in &sent[..2] {
        let retry = bench.send(500);
        assert_eq!(headers(&retry), [expected.header]);
        assert_eq!(retry[0].bytes, expected.bytes);
        bench.accumulator.complete("t", 0, retry[0].id);
    }
    // With the last retry on its way, what is new may follow.
    assert_eq!(headers(&bench.send(500)), [(0, 3), (0, 4)]);
}

#[test]
fn the_oldest_batch_out_of_order_raises_the_epoch_and_starts_over() {
    let mut bench = Bench::new(config());
    let first = bench.send_full(0, 1);
    bench.accumulator.complete("t", 0, first[0].id);
    let sent = bench.send_full(0, 2);
    assert_eq!(headers(&sent), [(0, 1), (0, 2)]);
    for batch in &sent {
        bench.fail(0, batch, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    }
    let retry = bench.send(500);
    assert_eq!(headers(&retry), [(1, 0)]);
    bench.accumulator.complete("t", 0, retry[0].id);
    assert_eq!(headers(&bench.send(500)), [(1, 1)]);
}

#[test]
fn a_duplicate_is_a_success() {
    let mut bench = Bench::new(config());
    let sent = bench.send_full(0, 1);
    let verdict = bench.fail(0, &sent[0], ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    assert_eq!(verdict, Verdict::Duplicate(1));
    assert!(bench.accumulator.is_empty());
}

#[test]
fn a_batch_that_fails_for_good_leaves_a_gap_that_a_new_epoch_closes() {
    let mut bench = Bench::new(config());
    let sent = bench.send_full(0, 1);
    let code = ErrorCode::INVALID_RECORD;
    assert_eq!(bench.fail(0, &sent[0], code), Verdict::Fail(1, Failure::Broker(code)));
    assert_eq!(headers(&bench.send_full(0, 1)), [(1, 0)]);
}

#[test]
fn time_runs_out_for_waiting_and_sent_batches_alike() {
    let mut bench = Bench::new(config());
    let sent = bench.send_full(0, 1);
    bench.append(1, 150).unwrap();
    bench.room = 0;
    let polled = bench.poll(1001);
    let expired = |completion| GivenUp { completion, records: 1, failure: Failure::TimedOut };
    assert_eq!(polled.expired, [expired(1), expired(2)]);
    let late = bench.fail(1002, &sent[0], ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(late, Verdict::Ignored);
    // Whether the first was written is not known: the epoch makes sure no gap is seen.
    bench.room = 10;
    assert_eq!(headers(&bench.send_full(1002, 1)), [(1, 0)]);
}

#[test]
fn of_the_batches_that_wait_those_whose_time_is_not_over_stay() {
    let mut bench = Bench::established(config());
    bench.room = 0;
    bench.append(0, 150).unwrap();
    bench.append(500, 150).unwrap();
    let expired = |completion| GivenUp { completion, records: 1, failure: Failure::TimedOut };
    assert_eq!(bench.poll(1000).expired, [expired(1)]);
    assert_eq!(bench.poll(1500).expired, [expired(2)]);
}

#[test]
fn a_producer_without_sequences_has_several_batches_under_way_from_the_start() {
    let config = AccumulatorConfig { idempotent: false, ..config() };
    let mut bench = Bench { accumulator: Accumulator::new(config), ..Bench::new(self::config()) };
    bench.slot = bench.accumulator.slot(&Arc::from("t"));
    let sent = bench.send_full(0, 3);
    assert_eq!(headers(&sent), [(-1, -1), (-1, -1), (-1, -1)]);
    // Sent again as they were, and given up, they leave no gap that anybody would see.
    bench.fail(0, &sent[0], ErrorCode::INVALID_RECORD);
    assert_eq!(bench.send_full(0, 1).len(), 1);
}

#[test]
fn a_full_node_and_a_missing_leader_hold_batches_back() {
    let mut bench = Bench::new(config());
    bench.append(0, 150).unwrap();
    let nobody = bench.accumulator.poll(5, |_, _| None, |_| FREE);
    assert!(nobody.leaderless && nobody.requests.is_empty());
    bench.room = 0;
    assert!(bench.send(5).is_empty());
    bench.room = 1;
    assert_eq!(bench.send(5).len(), 1);
}

#[test]
fn flush_hurries_what_is_there_and_knows_when_it_ended() {
    let mut bench = Bench::new(config());
    bench.append(0, 10).unwrap();
    let mark = bench.accumulator.flush();
    let sent = bench.send(0);
    assert!(!bench.accumulator.flushed(mark));
    bench.append(0, 10).unwrap();
    bench.accumulator.complete("t", 0, sent[0].id);
    assert!(bench.accumulator.flushed(mark), "what came later does not count");
}

/// The records of a batch as sent, by their values' lengths.
fn lengths(sent: &Sent) -> Vec<usize> {
    let (mut decompressor, mut buffer) = (Decompressor::new(), Vec::new());
    let batch = batches(&sent.bytes).next().unwrap().unwrap();
    let records = batch.records(&mut decompressor, &mut buffer, 1 << 20).unwrap();
    records.map(|record| record.unwrap().value.unwrap().len()).collect()
}

/// Sends one batch of records of these sizes.
fn send_sizes(bench: &mut Bench, sizes: &[usize]) -> Sent {
    for size in sizes {
        bench.append(0, *size).unwrap();
    }
    bench.accumulator.flush();
    bench.send(0).remove(0)
}

#[test]
fn a_batch_too_large_for_the_broker_is_sent_in_halves_under_its_own_sequences() {
    let mut bench = Bench::established(config());
    let whole = send_sizes(&mut bench, &[10, 20, 30, 40]);
    assert_eq!(whole.header, (0, 1));
    let behind = bench.send_full(0, 1).remove(0);
    let verdict = bench.fail(0, &whole, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(verdict, Verdict::Split(1, vec![(0, 3), (2, 4)]));
    bench.fail(0, &behind, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let mut resent = Vec::new();
    for _ in 0..3 {
        let mut sent = bench.send(500);
        assert_eq!(sent.len(), 1, "what was refused goes again one by one");
        bench.accumulator.complete("t", 0, sent[0].id).unwrap();
        resent.append(&mut sent);
    }
    assert_eq!(headers(&resent), [(0, 1), (0, 3), (0, 5)]);
    let after = bench.send_full(500, 1).remove(0);
    let ids: BTreeSet<u64> = resent.iter().chain([&whole, &after]).map(|sent| sent.id).collect();
    assert_eq!(ids.len(), 5, "no two of them are taken for each other");
    bench.accumulator.complete("t", 0, after.id);
    assert_eq!(lengths(&resent[0]), [10, 20]);
    assert_eq!(lengths(&resent[1]), [30, 40]);
    assert_eq!(resent[2].bytes, behind.bytes);
    assert_eq!(bench.accumulator.buffered_bytes(), 0);
}

#[test]
fn a_batch_is_halved_until_one_record_is_refused_alone() {
    let mut bench = Bench::new(config());
    let whole = send_sizes(&mut bench, &[10, 11, 12, 13]);
    bench.fail(0, &whole, ErrorCode::MESSAGE_TOO_LARGE);
    let half = bench.send(0).remove(0);
    assert_eq!(lengths(&half), [10, 11]);
    let verdict = bench.fail(0, &half, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(verdict, Verdict::Split(2, vec![(0, 4), (1, 5)]));
    let single = bench.send(0).remove(0);
    let failure = Failure::Broker(ErrorCode::MESSAGE_TOO_LARGE);
    let verdict = bench.fail(0, &single, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(verdict, Verdict::Fail(4, failure));
    // The gap it leaves is closed by a new epoch, and the others are written.
    let next = bench.send(0).remove(0);
    assert_eq!((lengths(&next), next.header), (vec![11], (1, 0)));
}

#[test]
fn a_flush_waits_for_all_parts_of_a_batch() {
    let mut bench = Bench::new(config());
    let whole = send_sizes(&mut bench, &[10, 10]);
    let mark = bench.accumulator.flush();
    bench.fail(0, &whole, ErrorCode::MESSAGE_TOO_LARGE);
    for _ in 0..2 {
        assert!(!bench.accumulator.flushed(mark));
        let part = bench.send(0).remove(0);
        bench.accumulator.complete("t", 0, part.id).unwrap();
    }
    assert!(bench.accumulator.flushed(mark));
}

#[test]
fn full_batches_wait_for_company_while_a_request_is_under_way_but_not_past_their_linger() {
    let mut bench = Bench::established(AccumulatorConfig { gather_bytes: 900, ..config() });
    bench.under_way = 1;
    // A full batch, and one more record in the next one.
    let fill = |bench: &mut Bench, now, partition| {
        bench.append_to(partition, now, 60).unwrap();
        bench.append_to(partition, now, 60).unwrap();
        bench.append_to(partition, now, 60).unwrap().wake
    };
    assert!(fill(&mut bench, 0, 0));
    let held = bench.poll(0);
    assert!(held.requests.is_empty());
    assert_eq!(held.wake_at, Some(5), "the linger of the first");
    assert!(!fill(&mut bench, 1, 1), "the sender need not look yet");
    assert_eq!(bench.poll(1).wake_at, Some(5), "still of the first");
    assert!(fill(&mut bench, 1, 2), "now there is enough");
    let sent = bench.poll(1).requests.remove(0).batches;
    assert_eq!(sent.len(), 3);
    for batch in sent {
        bench.accumulator.complete("t", batch.partition, batch.id).unwrap();
    }
    assert!(fill(&mut bench, 1, 3), "and nothing is waited for any more");

    assert!(bench.poll(4).requests.is_empty());
    assert!(!bench.poll(6).requests.is_empty(), "time is up");
}

#[test]
fn full_batches_wait_for_nothing_when_nothing_is_under_way() {
    let mut bench = Bench::established(AccumulatorConfig { gather_bytes: 900, ..config() });
    bench.append(0, 60).unwrap();
    bench.append(0, 60).unwrap();
    assert!(bench.append(0, 60).unwrap().wake);
    assert_eq!(bench.poll(0).requests.len(), 1);
}

#[test]
fn queue_lengths_are_told_of_topics_where_batches_pile_up() {
    let mut bench = Bench::established(config());
    bench.append_to(2, 0, 150).unwrap();
    assert!(queue_lengths(&bench).is_empty());
    bench.append_to(2, 0, 150).unwrap();
    assert_eq!(queue_lengths(&bench), [Some(0), Some(0), Some(2)]);
}

/// What is told of the partitions of the one topic; partition 0 is led by node 0, the others by node 1.
fn queue_lengths(bench: &Bench) -> Vec<Option<u32>> {
    let mut told = Vec::new();
    let leader = |_: &str, partition: i32| Some(i32::from(partition > 0));
    bench.accumulator.queue_lengths(leader, |topic, lengths| {
        assert_eq!(topic, "t");
        told.extend((0..3).map(lengths));
    });
    told
}

#[test]
fn partitions_of_a_node_that_takes_nothing_for_too_long_are_told_as_unavailable() {
    let mut bench =
        Bench::established(AccumulatorConfig { availability_timeout_ms: 100, ..config() });
    let leader = |_: &str, partition: i32| Some(i32::from(partition > 0));
    let poll = |bench: &mut Bench, now, stuck: i32| {
        let room = |node| if node == stuck { Room { free: 0, under_way: 5 } } else { FREE };
        bench.accumulator.poll(now, leader, room);
    };
    bench.append_to(0, 10, 150).unwrap();
    bench.append_to(1, 10, 150).unwrap();
    poll(&mut bench, 20, 0);
    bench.append_to(1, 20, 150).unwrap();
    poll(&mut bench, 120, 0);
    assert!(queue_lengths(&bench).is_empty(), "not yet");
    bench.append_to(2, 121, 10).unwrap();
    poll(&mut bench, 121, 0);
    assert_eq!(queue_lengths(&bench), [None, Some(1), Some(1)]);
    poll(&mut bench, 122, 9);
    assert!(queue_lengths(&bench).is_empty(), "it was sent something");
}

#[test]
fn a_node_without_room_is_no_reason_to_wake_the_sender_for_more() {
    let mut bench = Bench::established(config());
    bench.room = 0;
    assert!(bench.append(0, 150).unwrap().wake);
    bench.poll(0);
    assert!(!bench.append(0, 150).unwrap().wake, "its answer will");
    assert!(bench.append_to(1, 0, 150).unwrap().wake, "who leads this one is not known here");
    bench.room = 5;
    bench.poll(1);
    assert!(bench.append(1, 150).unwrap().wake);
}

#[test]
fn an_application_ahead_of_the_sender_waits_until_half_of_its_lead_is_sent() {
    let mut bench = Bench::established(AccumulatorConfig { run_ahead: 400, ..config() });
    bench.room = 0;
    // Two batches behind which others wait, and an open one.
    for _ in 0..3 {
        bench.append(0, 150).unwrap();
    }
    assert_eq!(bench.append(0, 150), Err(Refused::Ahead));
    assert_eq!(bench.append_to(1, 0, 150), Err(Refused::Ahead));
    bench.append(0, 1).unwrap_err();
    assert!(!bench.poll(1).resume);
    bench.room = 2;
    let polled = bench.poll(2);
    assert!(polled.resume && polled.requests.len() == 2);
    bench.append(2, 150).unwrap();
}

#[test]
fn an_application_is_not_ahead_by_what_was_given_up() {
    let mut bench = Bench::established(AccumulatorConfig { run_ahead: 400, ..config() });
    bench.room = 0;
    for _ in 0..3 {
        bench.append(0, 150).unwrap();
    }
    // As far ahead as it may be, and nobody has been refused yet.
    assert_eq!(bench.poll(1000).expired.len(), 3);
    for _ in 0..3 {
        bench.append(1000, 150).unwrap();
    }
}

#[test]
fn an_application_does_not_wait_for_a_sender_that_is_held_up() {
    let mut bench = Bench::established(AccumulatorConfig { run_ahead: 400, ..config() });
    bench.room = 0;
    let mut now = 0;
    let mut taken = 0;
    loop {
        match bench.append(now, 150) {
            Ok(_) => taken += 1,
            Err(Refused::Ahead) => {
                let polled = bench.poll(now);
                assert!(!polled.resume);
                now = polled.wake_at.unwrap();
                assert!(bench.poll(now).resume, "no more than it was told to wait");
            }
            Err(refused) => {
                assert_eq!(refused, Refused::Full);
                break;
            }
        }
    }
    assert_eq!(taken, 10_000 / bench.accumulator.buffered_bytes().div_ceil(taken));
    assert!(now <= 50, "{now} ms in all");
}
