//! What is checked before records are given, and what is passed without giving any.

use super::*;

/// A batch of one record whose value was changed on its way: nothing but the checksum tells.
fn forged(offset: i64) -> Vec<u8> {
    let mut bytes = batch(offset, 1, None, Compression::None);
    let value = bytes.len() - 2;
    assert_eq!(bytes[value], b'0' + offset as u8);
    bytes[value] = b'!';
    bytes
}

fn opened(check_crcs: bool, chunk: Chunk<()>, limit: Limit) -> Opened<()> {
    let isolation = IsolationLevel::ReadUncommitted;
    Reader::new(ReaderConfig { check_crcs, isolation }).open(chunk, limit, &Fresh)
}

#[test]
fn a_batch_whose_checksum_is_wrong_is_not_given_unless_nobody_is_to_look() {
    let whole = || chunk(&[batch(0, 2, None, Compression::None), forged(2)], 0, 3, &[]);
    let checked = opened(true, whole(), Limit::records(500));
    assert_eq!((checked.records, checked.position.offset), (2, 2));
    assert_eq!(checked.error.unwrap().offset, 2);
    let taken = opened(false, whole(), Limit::records(500));
    assert_eq!((taken.records, taken.position.offset, taken.error), (3, 3, None));
    let last = taken.batches[1].iter().next().unwrap();
    assert_eq!(last.value, Some(&b"!"[..]));
}

#[test]
fn a_batch_before_the_position_and_one_that_compaction_emptied_are_not_given() {
    let batches =
        [batch(0, 5, None, Compression::None), emptied(5, 3), batch(9, 2, None, Compression::None)];
    let opened = opened(true, chunk(&batches, 5, 11, &[]), Limit::records(500));
    let given: Vec<_> = opened.batches.iter().map(|batch| batch.header().base_offset).collect();
    assert_eq!((given, opened.records, opened.position.offset), (vec![9], 2, 11));
}

#[test]
fn a_hole_behind_the_last_batch_is_passed() {
    let whole = chunk(&[batch(0, 2, None, Compression::None)], 0, 10, &[]);
    let opened = opened(true, whole, Limit::records(500));
    assert_eq!((opened.records, opened.position.offset), (2, 10));
}

#[test]
fn what_gives_nothing_is_passed_before_an_error_stops_the_reading() {
    let opened = opened(true, chunk(&[emptied(0, 3), forged(4)], 0, 5, &[]), Limit::records(500));
    assert_eq!((opened.records, opened.position.offset), (0, 4));
    assert_eq!(opened.error.unwrap().offset, 4);
}

#[test]
fn a_limit_in_bytes_that_is_reached_is_enough() {
    let batches = [0, 5].map(|at| batch(at, 5, None, Compression::None));
    let whole = || chunk(&batches, 0, 10, &[]);
    let bytes = opened(true, whole(), Limit::records(5)).bytes;
    let reached = opened(true, whole(), Limit { records: 500, bytes });
    assert_eq!((reached.records, reached.position.offset), (5, 5));
}

#[test]
fn a_position_has_the_epoch_of_the_batch_before_it_if_that_has_one() {
    for (epoch, known) in [(7_i32, Some(7)), (0, Some(0)), (-1, None)] {
        let mut records = batch(0, 3, None, Compression::None);
        records[12..16].copy_from_slice(&epoch.to_be_bytes());
        let mut whole = chunk(&[records], 0, 3, &[]);
        whole.delivery.next.leader_epoch = known;
        let first = opened(true, whole, Limit::records(2));
        assert_eq!(first.position, Position { offset: 2, leader_epoch: known });
    }
}

#[test]
fn an_aborted_transaction_of_a_single_record_is_not_given() {
    let batches = [
        batch(0, 1, Some(9), Compression::None),
        marker(1, 9, MarkerKind::Abort),
        batch(2, 1, Some(9), Compression::None),
    ];
    let whole = chunk(&batches, 0, 3, &[(9, 0)]);
    check(reader(IsolationLevel::ReadCommitted), whole, 500, &[2], &[3]);
}
