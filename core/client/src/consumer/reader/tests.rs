//! What the reader must keep to, the unhappy half included.

mod checks;

use kohort_protocol::compression::Compressor;
use kohort_protocol::messages::fetch::AbortedTransaction;
use kohort_protocol::records::{
    BatchBuilder, BatchOptions, EndTransactionMarker, NewRecord, set_base_offset,
};

use super::*;
use crate::consumer::fetcher::Delivery;
use crate::consumer::types::{AssignmentEpoch, PositionEpoch};

fn batch(base_offset: i64, count: usize, producer: Option<i64>, codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::with_capacity(1_000);
    for at in 0..count {
        let value = (base_offset + at as i64).to_string();
        builder
            .append(&NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() })
            .unwrap();
    }
    let options = BatchOptions {
        base_offset,
        producer_id: producer.unwrap_or(-1),
        producer_epoch: producer.map_or(-1, |_| 0),
        base_sequence: producer.map_or(-1, |_| 0),
        transactional: producer.is_some(),
        ..BatchOptions::default()
    };
    let mut compressor = Compressor::new(codec, None).unwrap();
    builder.build(&options, &mut compressor).to_vec()
}

/// Memory that is not used again.
struct Fresh;

impl Memory<()> for Fresh {
    fn admits(&self) -> bool {
        true
    }

    fn spare(&self) -> Vec<u8> {
        Vec::new()
    }

    fn keep(&self, mut memory: Vec<u8>, filled: usize) -> (Bytes, ()) {
        memory.truncate(filled);
        (memory.into(), ())
    }
}

fn marker(offset: i64, producer: i64, kind: MarkerKind) -> Vec<u8> {
    let mut bytes =
        EndTransactionMarker { kind, coordinator_epoch: 0 }.batch(0, producer, 0).to_vec();
    set_base_offset(&mut bytes, offset);
    bytes
}

fn chunk(batches: &[Vec<u8>], from: i64, next: i64, aborted: &[(i64, i64)]) -> Chunk<()> {
    let aborted = aborted
        .iter()
        .map(|(producer_id, first_offset)| AbortedTransaction {
            producer_id: *producer_id,
            first_offset: *first_offset,
        })
        .collect();
    let delivery = Delivery {
        partition: TopicPartition::new("t", 0),
        epoch: AssignmentEpoch(1),
        position_epoch: PositionEpoch(1),
        records: batches.concat().into(),
        position: Position::at(from),
        next: Position::at(next),
        high_watermark: next,
        last_stable_offset: next,
        log_start_offset: 0,
        aborted,
    };
    Chunk { delivery, progress: Progress::default(), hold: () }
}

fn reader(isolation: IsolationLevel) -> Reader {
    Reader::new(ReaderConfig { check_crcs: true, isolation })
}

/// Reads a chunk in polls of `limit`; returns the offsets and the positions after each poll.
fn check(
    mut reader: Reader,
    mut chunk: Chunk<()>,
    limit: usize,
    offsets: &[i64],
    positions: &[i64],
) {
    let (mut read, mut after) = (Vec::new(), Vec::new());
    loop {
        let opened = reader.open(chunk, Limit::records(limit), &Fresh);
        assert_eq!(opened.error, None);
        assert!(opened.records <= limit);
        read.extend(opened.batches.iter().flat_map(OpenBatch::iter).map(|record| record.offset));
        after.push(opened.position.offset);
        match opened.rest {
            Some(rest) => chunk = rest,
            None => break,
        }
    }
    assert_eq!(read, offsets);
    assert_eq!(after, positions);
}

#[test]
fn a_batch_larger_than_a_poll_is_read_in_parts_with_every_codec() {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    for codec in [None, Gzip, Snappy, Lz4, Zstd] {
        let batches = [batch(0, 5, Option::None, codec), batch(5, 2, Option::None, codec)];
        let whole = chunk(&batches, 0, 7, &[]);
        check(
            reader(IsolationLevel::ReadUncommitted),
            whole,
            2,
            &[0, 1, 2, 3, 4, 5, 6],
            &[2, 4, 6, 7],
        );
    }
}

#[test]
fn reading_in_the_middle_of_a_batch_leaves_out_what_was_read_before() {
    let whole = chunk(&[batch(0, 5, None, Compression::None)], 3, 5, &[]);
    check(reader(IsolationLevel::ReadUncommitted), whole, 500, &[3, 4], &[5]);
}

#[test]
fn aborted_data_and_markers_are_passed_so_that_no_lag_remains() {
    let batches = [
        batch(0, 2, Some(9), Compression::None),
        batch(2, 2, Some(8), Compression::None),
        marker(4, 9, MarkerKind::Abort),
        batch(5, 1, Some(9), Compression::None),
        marker(6, 8, MarkerKind::Commit),
        marker(7, 9, MarkerKind::Commit),
    ];
    let whole = || chunk(&batches, 0, 8, &[(9, 0)]);
    check(reader(IsolationLevel::ReadCommitted), whole(), 500, &[2, 3, 5], &[8]);
    check(reader(IsolationLevel::ReadUncommitted), whole(), 500, &[0, 1, 2, 3, 5], &[8]);
    // The same, when a poll ends inside the transaction.
    check(reader(IsolationLevel::ReadCommitted), whole(), 1, &[2, 3, 5], &[3, 4, 6, 8]);
}

#[test]
fn a_flipped_byte_stops_the_reading_before_it() {
    let mut bad = batch(2, 2, None, Compression::None);
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let whole = chunk(&[batch(0, 2, None, Compression::None), bad], 0, 4, &[]);
    let mut reader = reader(IsolationLevel::ReadUncommitted);
    let opened = reader.open(whole, Limit::records(500), &Fresh);
    assert_eq!((opened.records, opened.position.offset), (2, 2));
    let error = opened.error.unwrap();
    assert_eq!((error.partition, error.offset), (TopicPartition::new("t", 0), 2));
    let again = reader.open(opened.rest.unwrap(), Limit::records(500), &Fresh);
    assert_eq!((again.records, again.position.offset), (0, 2), "it stays there");
    assert!(again.error.is_some());
}

#[test]
fn a_record_that_contradicts_its_batch_is_an_error_before_any_of_the_batch_is_given() {
    for codec in [Compression::None, Compression::Lz4] {
        let mut good = batch(2, 3, None, Compression::None);
        // The offset delta of the last record, which has a one-digit value: it repeats the one before.
        let at = good.len() - 5;
        assert_eq!(good[at], 4, "the zigzag of 2");
        good[at] = 2;
        let mut packed = Vec::new();
        Compressor::new(codec, None).unwrap().compress(&good[HEADER..], &mut packed);
        good.truncate(HEADER);
        good.extend_from_slice(&packed);
        let length = good.len() as i32 - 12;
        good[8..12].copy_from_slice(&length.to_be_bytes());
        good[22] = codec.id();
        let crc = crc32c::crc32c(&good[21..]);
        good[17..21].copy_from_slice(&crc.to_be_bytes());
        let whole = chunk(&[batch(0, 2, None, Compression::None), good], 0, 5, &[]);
        let opened =
            reader(IsolationLevel::ReadUncommitted).open(whole, Limit::records(500), &Fresh);
        assert_eq!((opened.records, opened.position.offset), (2, 2));
        let error = opened.error.unwrap();
        assert_eq!(error.offset, 2);
        assert!(error.why.contains("record 2"), "{}", error.why);
    }
}

#[test]
fn a_limit_in_bytes_ends_at_the_next_whole_batch() {
    let batches: Vec<_> = (0..4).map(|at| batch(at * 5, 5, None, Compression::None)).collect();
    let limit = Limit { records: usize::MAX, bytes: 1 };
    let whole = chunk(&batches, 0, 20, &[]);
    let mut reader = reader(IsolationLevel::ReadUncommitted);
    let opened = reader.open(whole, limit, &Fresh);
    assert_eq!((opened.records, opened.batches.len(), opened.position.offset), (5, 1, 5));
    let opened = reader.open(opened.rest.unwrap(), Limit { bytes: 60, ..limit }, &Fresh);
    assert_eq!(opened.position.offset, 15);
}

/// What compaction leaves of a batch: its offsets, and no record.
fn emptied(base_offset: i64, last_offset_delta: i32) -> Vec<u8> {
    let mut bytes = batch(0, 1, None, Compression::None);
    bytes.truncate(HEADER);
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[8..12].copy_from_slice(&(HEADER as i32 - 12).to_be_bytes());
    bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
    bytes[57..61].copy_from_slice(&0_i32.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn holes_that_compaction_left_are_passed_so_that_no_lag_remains() {
    let batches =
        [emptied(0, 3), batch(6, 2, None, Compression::None), emptied(8, 1), emptied(12, 7)];
    let walked = crate::consumer::walk::walk_batches(&batches.concat());
    assert_eq!(walked.next.unwrap().offset, 20);
    let whole = chunk(&batches, 0, 20, &[]);
    check(reader(IsolationLevel::ReadUncommitted), whole, 500, &[6, 7], &[20]);
    let holes = chunk(&[emptied(20, 79)], 20, 100, &[]);
    check(reader(IsolationLevel::ReadCommitted), holes, 500, &[], &[100]);
}

/// Memory for so many batches.
struct Scarce(std::cell::Cell<usize>);

impl Memory<()> for Scarce {
    fn admits(&self) -> bool {
        self.0.get() > 0
    }

    fn spare(&self) -> Vec<u8> {
        Vec::new()
    }

    fn keep(&self, memory: Vec<u8>, filled: usize) -> (Bytes, ()) {
        self.0.set(self.0.get() - 1);
        Fresh.keep(memory, filled)
    }
}

#[test]
fn what_there_is_no_memory_to_unpack_into_is_left_for_later() {
    let batches = [
        batch(0, 2, None, Compression::None),
        batch(2, 2, None, Compression::Lz4),
        batch(4, 2, None, Compression::Lz4),
    ];
    let mut reader = reader(IsolationLevel::ReadUncommitted);
    let mut left = chunk(&batches, 0, 6, &[]);
    for (room, read, no_room) in [(0, 2, true), (0, 2, true), (1, 4, true), (5, 6, false)] {
        let opened = reader.open(left, Limit::records(500), &Scarce(room.into()));
        assert_eq!((opened.position.offset, opened.no_room), (read, no_room));
        match opened.rest {
            Some(rest) => left = rest,
            None => break,
        }
    }
}
