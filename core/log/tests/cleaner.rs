//! What a round of compaction leaves of a batch, one rule a test.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use kohort_log::cleaner::{
    AbortedTransaction, BatchFate, CleanPass, CleanStats, IndexPass, Indexed, OffsetMap,
    RoundLimits,
};
use kohort_log::producer_state::{LastOfProducer, ProducerStates, SequenceCheck};
use kohort_protocol::compression::{Compression, Compressor, Decompressor};
use kohort_protocol::records::{
    BatchBuilder, BatchHeader, BatchOptions, BatchRef, EndTransactionMarker, Header, MarkerKind,
    NewRecord, TimestampType, set_base_offset, set_max_timestamp,
};

const DELETE_RETENTION: i64 = 1000;

type Pair = (&'static str, Option<&'static str>);

/// Builds a batch with records a millisecond apart, from timestamp 100 on.
fn batch(offset: i64, records: &[Pair], options: &BatchOptions, codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (timestamp, (key, value)) in (100..).zip(records) {
        let headers = [Header { key: b"h", value: Some(key.as_bytes()) }];
        let key = (!key.is_empty()).then_some(key.as_bytes());
        let value = value.map(str::as_bytes);
        builder.append(&NewRecord { timestamp, key, value, headers: &headers }).unwrap();
    }
    let options = BatchOptions { base_offset: offset, partition_leader_epoch: 4, ..*options };
    builder.build(&options, &mut Compressor::new(codec, None).unwrap())
}

fn plain(offset: i64, records: &[Pair]) -> Bytes {
    batch(offset, records, &BatchOptions::default(), Compression::None)
}

fn by_producer(offset: i64, sequence: i32, records: &[Pair]) -> Bytes {
    let options = BatchOptions {
        producer_id: 7,
        producer_epoch: 2,
        base_sequence: sequence,
        ..BatchOptions::default()
    };
    batch(offset, records, &options, Compression::None)
}

/// A round over some batches, all of them dirty.
struct Round {
    now: i64,
    end: i64,
    memory: usize,
    from: i64,
    producers: BTreeMap<i64, LastOfProducer>,
    aborted: Vec<AbortedTransaction>,
}

impl Round {
    fn at(now: i64) -> Round {
        Round {
            now,
            end: 1_000_000,
            memory: 1 << 16,
            from: 0,
            producers: BTreeMap::new(),
            aborted: Vec::new(),
        }
    }

    /// Returns what becomes of each batch, in the form it has afterwards.
    fn run(&self, batches: &[Bytes]) -> Vec<Option<Bytes>> {
        self.run_with_stats(batches).0
    }

    fn run_with_stats(&self, batches: &[Bytes]) -> (Vec<Option<Bytes>>, CleanStats) {
        let mut index = IndexPass::new(OffsetMap::new(self.memory, [1, 2]), self.from);
        index.add_aborted(self.aborted.iter().copied());
        for batch in batches {
            if index.batch(&BatchRef::parse(batch).unwrap()).unwrap() == Indexed::Full {
                break;
            }
        }
        let map = index.finish();
        let limits =
            RoundLimits { now: self.now, delete_retention_ms: DELETE_RETENTION, end: self.end };
        let mut clean = CleanPass::new(&map, limits, self.producers.clone());
        clean.add_aborted(self.aborted.iter().copied());
        let after = |batch: &Bytes| match clean.batch(&BatchRef::parse(batch).unwrap()).unwrap() {
            BatchFate::Kept => Some(batch.clone()),
            BatchFate::Rewritten(bytes) => Some(bytes),
            BatchFate::Dropped => None,
        };
        let left = batches.iter().map(after).collect();
        (left, clean.stats())
    }
}

/// Offset, timestamp, key and value of all records.
fn records(batch: &Bytes) -> Vec<(i64, i64, String, Option<String>)> {
    let batch = BatchRef::parse(batch).unwrap();
    batch.verify_crc().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut buffer = Vec::new();
    let records = batch.records(&mut Decompressor::new(), &mut buffer, 1 << 20).unwrap();
    records
        .map(Result::unwrap)
        .map(|record| {
            let key = text(record.key.unwrap());
            let headers: Vec<Header<'_>> = record.headers.iter().collect();
            assert_eq!(headers, [Header { key: b"h", value: record.key }], "headers stay");
            (record.offset, record.timestamp, key, record.value.map(text))
        })
        .collect()
}

fn offsets(batch: Option<&Bytes>) -> Vec<i64> {
    batch.into_iter().flat_map(records).map(|record| record.0).collect()
}

#[test]
fn last_record_of_each_key_stays_where_it_was_whatever_the_codec() {
    for codec in Compression::ALL {
        let options = BatchOptions {
            producer_id: 3,
            producer_epoch: 1,
            base_sequence: 40,
            ..BatchOptions::default()
        };
        let pairs = [("a", Some("1")), ("b", Some("2")), ("a", Some("3")), ("c", Some("4"))];
        let first = batch(10, &pairs, &options, codec);
        let second = plain(14, &[("c", Some("5")), ("d", Some("6"))]);
        let after = Round::at(500).run(&[first.clone(), second.clone()]);
        let left = after[0].as_ref().unwrap();
        let kept = |offset, timestamp, key: &str, value: &str| {
            (offset, timestamp, key.to_owned(), Some(value.to_owned()))
        };
        assert_eq!(records(left), [kept(11, 101, "b", "2"), kept(12, 102, "a", "3")], "{codec}");
        let (was, is) = (BatchHeader::parse(&first).unwrap(), BatchHeader::parse(left).unwrap());
        assert_eq!((is.base_timestamp, is.max_timestamp, is.record_count), (101, 102, 2));
        let expected = BatchHeader {
            batch_length: is.batch_length,
            crc: is.crc,
            base_timestamp: 101,
            max_timestamp: 102,
            record_count: 2,
            ..was
        };
        assert_eq!(is, expected, "offsets, epoch, producer, sequence and codec stay");
        assert_eq!(after[1], Some(second), "what loses nothing stays as it is");
    }
}

#[test]
fn batch_stamped_by_the_broker_keeps_its_time() {
    let mut bytes = BytesMut::from(&plain(0, &[("a", Some("1")), ("b", Some("2"))])[..]);
    set_max_timestamp(&mut bytes, TimestampType::LogAppendTime, 777);
    let after = Round::at(0).run(&[bytes.freeze(), plain(2, &[("b", None)])]);
    let left = after[0].as_ref().unwrap();
    assert_eq!(records(left), [(0, 777, "a".to_owned(), Some("1".to_owned()))]);
    let header = BatchHeader::parse(left).unwrap();
    assert_eq!(
        (header.timestamp_type(), header.max_timestamp),
        (TimestampType::LogAppendTime, 777)
    );
}

#[test]
fn tombstone_stays_until_the_horizon_that_the_first_round_sets() {
    let log = [plain(0, &[("a", Some("1"))]), plain(1, &[("b", Some("2")), ("a", None)])];
    let first = Round::at(5000).run(&log);
    assert_eq!(first[0], None);
    let batch = first[1].clone().unwrap();
    assert_eq!(offsets(first[1].as_ref()), [1, 2]);
    assert_eq!(BatchHeader::parse(&batch).unwrap().delete_horizon(), Some(6000));
    assert_eq!(records(&batch)[1].1, 101, "timestamps are what they were");
    let before = Round::at(5999).run(std::slice::from_ref(&batch));
    assert_eq!(before[0], Some(batch.clone()), "the horizon is set once");
    let after = Round::at(6000).run(&[batch]);
    assert_eq!(offsets(after[0].as_ref()), [1]);
    let header = BatchHeader::parse(after[0].as_ref().unwrap()).unwrap();
    assert_eq!(header.delete_horizon(), Some(6000));
}

#[test]
fn tombstone_beyond_a_full_map_gets_no_horizon() {
    // The smallest map takes three keys.
    let log = [
        plain(0, &[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))]),
        plain(3, &[("d", Some("4")), ("a", None)]),
    ];
    let after = Round { memory: 0, ..Round::at(5000) }.run(&log);
    assert_eq!(after, log.map(Some), "nothing is known of `d`, so nothing is judged from there on");
}

#[test]
fn tombstone_beyond_a_full_map_outlives_its_horizon() {
    let log = [plain(4, &[("a", Some("1"))]), plain(5, &[("b", Some("2")), ("a", None)])];
    let with_horizon = Round::at(0).run(&log)[1].clone().unwrap();
    // The smallest map takes three keys, so of this round nothing from `a` on is known.
    let full = plain(0, &[("x", Some("1")), ("y", Some("2")), ("z", Some("3"))]);
    let log = [full, log[0].clone(), with_horizon];
    let after = Round { memory: 0, ..Round::at(i64::MAX) }.run(&log);
    assert_eq!(after, log.map(Some), "the tombstone must not go before what it deletes");
}

#[test]
fn tombstone_that_is_superseded_sets_no_horizon() {
    let log = [plain(0, &[("b", Some("1")), ("a", None)]), plain(2, &[("a", Some("2"))])];
    let after = Round::at(0).run(&log);
    assert_eq!(offsets(after[0].as_ref()), [0]);
    assert_eq!(BatchHeader::parse(after[0].as_ref().unwrap()).unwrap().delete_horizon(), None);
}

#[test]
fn records_without_a_key_go() {
    let after = Round::at(0).run(&[plain(0, &[("", Some("1")), ("a", Some("2"))])]);
    assert_eq!(offsets(after[0].as_ref()), [1]);
    let after = Round::at(0).run(&[plain(0, &[("a", Some("1"))]), plain(1, &[("", Some("2"))])]);
    assert_eq!(after[1], None, "also behind the last key of the round");
}

#[test]
fn first_pass_reaches_to_the_end_of_a_segment_whatever_is_missing_there() {
    let mut index = IndexPass::new(OffsetMap::new(0, [1, 2]), 0);
    index.batch(&BatchRef::parse(&plain(0, &[("a", Some("1"))])).unwrap()).unwrap();
    index.segment_ends(10);
    assert_eq!(index.finish().latest(), 9);
}

#[test]
fn round_tells_what_it_read_and_what_it_left() {
    let log = [
        plain(0, &[("a", Some("1"))]),
        plain(1, &[("a", Some("2")), ("", Some("3")), ("b", Some("4"))]),
        plain(4, &[("c", Some("5"))]),
    ];
    let read = log.iter().map(|batch| batch.len() as u64).sum();
    let (after, stats) = Round::at(0).run_with_stats(&log);
    assert_eq!(offsets(after[1].as_ref()), [1, 3]);
    let expected = CleanStats {
        bytes_read: read,
        bytes_kept: after.iter().flatten().map(|batch| batch.len() as u64).sum(),
        records_read: 5,
        records_kept: 3,
        without_key: 1,
    };
    assert_eq!(stats, expected);
}

#[test]
fn clean_part_loses_what_the_dirty_part_has_anew() {
    let log = [plain(0, &[("a", Some("1")), ("b", Some("2"))]), plain(2, &[("a", Some("3"))])];
    let after = Round { from: 2, ..Round::at(0) }.run(&log);
    assert_eq!((offsets(after[0].as_ref()), offsets(after[1].as_ref())), (vec![1], vec![2]));
}

#[test]
fn last_batch_of_an_active_producer_stays_if_empty_and_its_sequence_goes_on() {
    let log = [
        by_producer(0, 10, &[("a", Some("1"))]),
        by_producer(1, 11, &[("a", Some("2")), ("a", Some("3"))]),
        plain(3, &[("a", Some("4"))]),
    ];
    let mut states = ProducerStates::default();
    for batch in &log[..2] {
        states.update(&BatchHeader::parse(batch).unwrap(), 0);
    }
    let round = Round { producers: states.last_batches(), ..Round::at(0) };
    let after = round.run(&log);
    assert_eq!(after[0], None);
    let empty = after[1].clone().unwrap();
    let header = BatchHeader::parse(&empty).unwrap();
    assert_eq!(
        (header.record_count, header.base_offset, header.last_offset(), header.last_sequence()),
        (0, 1, 2, 12)
    );
    assert_eq!(BatchRef::parse(&empty).unwrap().verify_crc(), Ok(()));
    // What is left of the log tells the producer's state as before.
    let mut rebuilt = ProducerStates::default();
    rebuilt.update(&header, 0);
    let next = BatchHeader::parse(&by_producer(4, 13, &[("z", None)])).unwrap();
    assert_eq!(rebuilt.check(&next, true), Ok(SequenceCheck::InSequence));
    let again = BatchHeader::parse(&log[1]).unwrap();
    assert!(matches!(
        rebuilt.check(&again, true),
        Ok(SequenceCheck::Duplicate { first_offset: 1, last_offset: 2, .. })
    ));
    assert_eq!(round.run(std::slice::from_ref(&empty)), [Some(empty.clone())]);
    assert_eq!(Round::at(0).run(&[empty]), [None], "once its producer is forgotten it goes");
}

#[test]
fn last_batch_of_the_round_stays_so_that_the_log_tells_where_it_goes_on() {
    let log = [plain(0, &[("a", Some("1"))]), plain(1, &[("a", None)])];
    let once = Round { end: 2, ..Round::at(0) }.run(&log);
    let left = once[1].clone().unwrap();
    let after = Round { end: 2, ..Round::at(DELETE_RETENTION) }.run(&[left]);
    let header = BatchHeader::parse(after[0].as_ref().unwrap()).unwrap();
    assert_eq!((header.record_count, header.next_offset()), (0, 2));
}

fn transactional(offset: i64, records: &[Pair]) -> Bytes {
    let options = BatchOptions {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: 0,
        transactional: true,
        ..BatchOptions::default()
    };
    batch(offset, records, &options, Compression::None)
}

fn marker(offset: i64, kind: MarkerKind) -> Bytes {
    let marker = EndTransactionMarker { kind, coordinator_epoch: 0 };
    let mut bytes = BytesMut::from(&marker.batch(100, 7, 0)[..]);
    set_base_offset(&mut bytes, offset);
    bytes.freeze()
}

#[test]
fn aborted_records_go_at_once_and_their_marker_after_them_at_its_horizon() {
    let aborted = vec![AbortedTransaction { producer_id: 7, first_offset: 1 }];
    let log = [
        plain(0, &[("a", Some("1"))]),
        transactional(1, &[("a", Some("aborted"))]),
        marker(2, MarkerKind::Abort),
    ];
    let first = Round { aborted: aborted.clone(), ..Round::at(0) }.run(&log);
    assert_eq!(first, [Some(log[0].clone()), None, Some(log[2].clone())]);
    let second = Round { aborted, ..Round::at(10) }.run(&[log[0].clone(), log[2].clone()]);
    let left = second[1].clone().unwrap();
    let horizon = 10 + DELETE_RETENTION;
    assert_eq!(BatchHeader::parse(&left).unwrap().delete_horizon(), Some(horizon));
    assert_eq!(Round::at(horizon - 1).run(std::slice::from_ref(&left)), [Some(left.clone())]);
    assert_eq!(Round::at(horizon).run(&[left]), [None]);
}

#[test]
fn commit_marker_stays_as_long_as_a_record_of_its_transaction() {
    let log = [transactional(0, &[("a", Some("1"))]), marker(1, MarkerKind::Commit)];
    assert_eq!(Round::at(0).run(&log), log.clone().map(Some));
    let superseded = [&log[..], &[plain(2, &[("a", Some("2"))])]].concat();
    let first = Round::at(0).run(&superseded);
    assert_eq!(first[..2], [None, Some(log[1].clone())]);
    let second = Round::at(5).run(&[log[1].clone()]);
    let horizon = BatchHeader::parse(second[0].as_ref().unwrap()).unwrap().delete_horizon();
    assert_eq!(horizon, Some(5 + DELETE_RETENTION));
}

#[test]
fn each_transaction_of_a_producer_ends_in_its_own_way() {
    let log = [
        transactional(0, &[("a", Some("1"))]),
        marker(1, MarkerKind::Commit),
        transactional(2, &[("b", Some("aborted"))]),
        marker(3, MarkerKind::Abort),
        transactional(4, &[("c", Some("3"))]),
        marker(5, MarkerKind::Commit),
    ];
    let aborted = vec![AbortedTransaction { producer_id: 7, first_offset: 2 }];
    let round = Round { aborted, ..Round::at(0) };
    let mut expected = log.clone().map(Some);
    expected[2] = None;
    assert_eq!(round.run(&log), expected);
    // The next round still hears of the aborted one, of which only the marker is left.
    let next = round.run(&[log[3].clone(), log[4].clone(), log[5].clone()]);
    assert_eq!(next[1..], [Some(log[4].clone()), Some(log[5].clone())]);
}

#[test]
fn what_a_producer_commits_after_it_aborted_supersedes_what_was() {
    let log = [
        plain(0, &[("a", Some("1"))]),
        transactional(1, &[("b", Some("aborted"))]),
        marker(2, MarkerKind::Abort),
        transactional(3, &[("a", Some("2"))]),
        marker(4, MarkerKind::Commit),
    ];
    let aborted = vec![AbortedTransaction { producer_id: 7, first_offset: 1 }];
    let after = Round { aborted, ..Round::at(0) }.run(&log);
    assert_eq!((after[0].as_ref(), offsets(after[3].as_ref())), (None, vec![3]));
}

#[test]
fn marker_is_not_superseded_by_a_record_whose_key_has_its_bytes() {
    const KEY_OF_A_COMMIT_MARKER: &str = "\0\0\0\x01";
    let log = [
        transactional(0, &[("a", Some("1"))]),
        marker(1, MarkerKind::Commit),
        plain(2, &[(KEY_OF_A_COMMIT_MARKER, Some("2"))]),
    ];
    assert_eq!(Round::at(0).run(&log), log.map(Some));
}

#[test]
fn only_marker_of_an_active_producer_keeps_its_epoch() {
    let last = LastOfProducer { last_data_offset: None, epoch: 0 };
    let round = Round { producers: BTreeMap::from([(7, last)]), ..Round::at(0) };
    let with_horizon = round.run(&[marker(1, MarkerKind::Commit)]);
    let later = Round { now: i64::MAX, ..round }.run(&[with_horizon[0].clone().unwrap()]);
    let header = BatchHeader::parse(later[0].as_ref().unwrap()).unwrap();
    assert_eq!((header.record_count, header.is_control(), header.producer_epoch), (0, true, 0));
}
