//! What the buffer must keep to about what was given and what was processed.

use bytes::Bytes;

use super::*;
use crate::consumer::fetcher::Delivery;
use crate::consumer::reader::Progress;

const OWNED: AssignmentEpoch = AssignmentEpoch(1);

fn zero() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A partition of which 40 to 49 were processed and 50 to 59 were given by the latest poll.
fn given() -> Buffer<()> {
    let mut buffer = Buffer::default();
    buffer.assign(zero(), OWNED);
    buffer.start(&zero(), PositionEpoch(1), Position::at(40));
    assert!(buffer.give(&zero(), PositionEpoch(1), Position::at(50), true));
    buffer.begin_poll();
    assert!(buffer.give(&zero(), PositionEpoch(1), Position::at(60), true));
    buffer
}

fn processed(buffer: &Buffer<()>) -> Vec<i64> {
    buffer.all_processed().into_iter().map(|(_, _, position)| position.offset).collect()
}

#[test]
fn a_seek_or_a_reset_does_not_declare_the_latest_records_processed() {
    let mut buffer = given();
    buffer.start(&zero(), PositionEpoch(2), Position::at(1_000));
    assert_eq!(processed(&buffer), [50]);
    buffer.begin_poll();
    assert_eq!(processed(&buffer), [1_000]);
    // By time: the place is found later.
    let mut buffer = given();
    buffer.suspend(&zero());
    buffer.start(&zero(), PositionEpoch(2), Position::at(1_000));
    assert!(processed(&buffer).is_empty());
    buffer.begin_poll();
    assert_eq!(processed(&buffer), [1_000]);
}

#[test]
fn a_commit_of_the_application_says_what_is_processed() {
    let mut buffer = given();
    buffer.committed(&zero(), OWNED, 57);
    assert_eq!(processed(&buffer), [57]);
    buffer.committed(&zero(), OWNED, 10);
    buffer.committed(&zero(), OWNED, 99);
    buffer.committed(&zero(), AssignmentEpoch(2), 60);
    assert_eq!(processed(&buffer), [57], "neither back, nor past what was given, nor by another");
    buffer.committed(&zero(), OWNED, 60);
    assert_eq!(processed(&buffer), [60]);
}

#[test]
fn what_is_given_back_is_not_among_what_the_application_has_though_it_stays_until_released() {
    let mut buffer: Buffer<()> = Buffer::default();
    let [kept, gone] = [0, 1].map(|index| TopicPartition::new("t", index));
    for partition in [&kept, &gone] {
        buffer.assign(partition.clone(), AssignmentEpoch(1));
        buffer.start(partition, PositionEpoch(1), Position::at(7));
    }
    let has = |buffer: &Buffer<()>| {
        buffer.all_given().into_iter().map(|(partition, ..)| partition).collect::<Vec<_>>()
    };
    buffer.mark_revoking([&gone]);
    assert_eq!(has(&buffer), [kept.clone(), gone.clone()], "it may still be committed");
    buffer.give_back(|_| true);
    assert_eq!(has(&buffer), std::slice::from_ref(&kept));
    assert_eq!(buffer.all_processed().len(), 2, "auto commit takes it along");
    buffer.release([&gone]);
    buffer.assign(gone.clone(), AssignmentEpoch(2));
    buffer.start(&gone, PositionEpoch(2), Position::at(9));
    assert_eq!(has(&buffer), [kept, gone], "it came back");
}

#[test]
fn what_was_lost_uncommitted_is_among_what_the_application_has_until_it_polls() {
    let mut buffer: Buffer<()> = Buffer::default();
    buffer.assign(zero(), OWNED);
    buffer.start(&zero(), PositionEpoch(1), Position::at(7));
    buffer.give(&zero(), PositionEpoch(1), Position::at(9), true);
    buffer.committed(&zero(), OWNED, 9);
    buffer.lose([&zero()]);
    assert!(buffer.all_given().is_empty(), "it was committed");
    buffer.assign(zero(), OWNED);
    buffer.start(&zero(), PositionEpoch(2), Position::at(9));
    buffer.give(&zero(), PositionEpoch(2), Position::at(11), true);
    buffer.lose([&zero()]);
    assert_eq!(buffer.all_given(), [(zero(), OWNED, Position::at(11))]);
    buffer.begin_poll();
    assert!(buffer.all_given().is_empty());
}

#[test]
fn a_partition_that_cannot_be_read_lets_the_others_go_first() {
    let mut buffer: Buffer<()> = Buffer::default();
    for index in 0..2 {
        let partition = TopicPartition::new("t", index);
        buffer.assign(partition.clone(), OWNED);
        buffer.start(&partition, PositionEpoch(1), Position::at(0));
        let delivery = Delivery {
            partition,
            epoch: OWNED,
            position_epoch: PositionEpoch(1),
            records: Bytes::from_static(b"data"),
            position: Position::at(0),
            next: Position::at(1),
            high_watermark: 1,
            last_stable_offset: -1,
            log_start_offset: 0,
            aborted: Vec::new(),
        };
        buffer.push(Chunk { delivery, progress: Progress::default(), hold: () });
    }
    let broken = buffer.take().unwrap();
    assert_eq!(broken.delivery.partition.partition, 0);
    buffer.put_back_last(broken);
    assert_eq!(buffer.take().unwrap().delivery.partition.partition, 1);
    let again = buffer.take().unwrap();
    assert_eq!(again.delivery.partition.partition, 0);
    buffer.put_back_last(again);
    assert!(buffer.take().is_some(), "alone it is still there");
}

fn waiting(offset: i64) -> Chunk<()> {
    let delivery = Delivery {
        partition: zero(),
        epoch: OWNED,
        position_epoch: PositionEpoch(1),
        records: Bytes::from_static(b"batches"),
        position: Position::at(offset),
        next: Position::at(offset + 10),
        high_watermark: 100,
        last_stable_offset: 100,
        log_start_offset: 0,
        aborted: Vec::new(),
    };
    Chunk { delivery, progress: Progress::default(), hold: () }
}

#[test]
fn a_partition_apart_is_passed_by_until_it_rejoins_with_what_waits_in_it() {
    let mut buffer = Buffer::default();
    buffer.assign(zero(), OWNED);
    buffer.start(&zero(), PositionEpoch(1), Position::at(40));
    assert!(buffer.push(waiting(40)));
    assert_eq!(buffer.set_apart(&zero()), Some(OWNED));
    assert_eq!(buffer.set_apart(&zero()), None, "it is somebody's already");
    assert!(buffer.push(waiting(50)) && buffer.take().is_none());
    let Apart::Chunk(chunk) = buffer.take_apart(&zero(), OWNED) else { panic!("there are two") };
    assert!(buffer.give(&zero(), PositionEpoch(1), Position::at(50), true));
    // Neither a poll nor a commit of what polls gave says that the stream is done with its records.
    buffer.begin_poll();
    assert_eq!((chunk.delivery.position.offset, processed(&buffer)), (40, vec![40]));
    assert!(buffer.all_given().is_empty());
    buffer.processed_apart(&zero(), OWNED);
    assert_eq!(processed(&buffer), [50]);
    assert!(buffer.rejoin(&zero(), OWNED), "one still waits");
    assert_eq!(buffer.take().unwrap().delivery.position.offset, 50);
}

#[test]
fn an_ownership_that_ends_ends_what_is_apart_and_a_late_rejoin_changes_nothing() {
    let mut buffer: Buffer<()> = Buffer::default();
    buffer.assign(zero(), OWNED);
    buffer.set_apart(&zero());
    assert!(matches!(buffer.take_apart(&zero(), OWNED), Apart::Nothing));
    buffer.mark_revoking([&zero()]);
    assert!(matches!(buffer.take_apart(&zero(), OWNED), Apart::Ended));
    buffer.release([&zero()]);
    let next = AssignmentEpoch(2);
    buffer.assign(zero(), next);
    assert!(matches!(buffer.take_apart(&zero(), OWNED), Apart::Ended));
    assert_eq!(buffer.set_apart(&zero()), Some(next));
    assert!(!buffer.rejoin(&zero(), OWNED) && buffer.is_apart(&zero()));
}
