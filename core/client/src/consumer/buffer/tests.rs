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
        buffer.push(waiting_in(index, 0));
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
    waiting_in(0, offset)
}

fn waiting_in(index: i32, offset: i64) -> Chunk<()> {
    let delivery = Delivery {
        partition: TopicPartition::new("t", index),
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

/// Partitions from 0 on that are read from offset 40 on.
fn reading(count: i32) -> Buffer<()> {
    let mut buffer = Buffer::default();
    for index in 0..count {
        let partition = TopicPartition::new("t", index);
        buffer.assign(partition.clone(), OWNED);
        buffer.start(&partition, PositionEpoch(1), Position::at(40));
    }
    buffer
}

/// Takes all there is: partition and offset of each chunk.
fn drain(buffer: &mut Buffer<()>) -> Vec<(i32, i64)> {
    let next = || buffer.take().map(|chunk| chunk.delivery);
    std::iter::from_fn(next).map(|it| (it.partition.partition, it.position.offset)).collect()
}

#[test]
fn partitions_take_turns_and_each_keeps_its_order() {
    let mut buffer = reading(2);
    for (index, offset) in [(0, 40), (0, 50), (0, 60), (1, 40), (1, 50)] {
        assert!(buffer.push(waiting_in(index, offset)));
    }
    assert_eq!(drain(&mut buffer), [(0, 40), (1, 40), (0, 50), (1, 50), (0, 60)]);
}

#[test]
fn the_rest_of_what_was_taken_comes_before_everything_else() {
    let mut buffer = reading(2);
    for (index, offset) in [(0, 40), (0, 50), (1, 40)] {
        buffer.push(waiting_in(index, offset));
    }
    let rest = buffer.take().unwrap();
    buffer.put_back(rest);
    assert_eq!(drain(&mut buffer), [(0, 40), (1, 40), (0, 50)]);
}

#[test]
fn the_bytes_that_wait_are_counted_and_the_ends_told_even_by_an_answer_without_records() {
    let mut buffer = reading(1);
    let size = waiting(40).delivery.records.len();
    buffer.push(waiting(40));
    buffer.push(waiting(50));
    assert_eq!(buffer.bytes(&zero()), 2 * size);
    let taken = buffer.take().unwrap();
    assert_eq!(buffer.bytes(&zero()), size);
    buffer.put_back(taken);
    assert_eq!(buffer.bytes(&zero()), 2 * size);
    let mut empty = waiting(60);
    empty.delivery.records = Bytes::new();
    empty.delivery.high_watermark = 200;
    assert!(!buffer.push(empty), "there is nothing to take");
    assert_eq!(buffer.watermarks(&zero()).unwrap().high_watermark, 200);
    assert_eq!(drain(&mut buffer), [(0, 40), (0, 50)]);
    buffer.push(waiting(60));
    buffer.set_apart(&zero());
    assert!(matches!(buffer.take_apart(&zero(), OWNED), Apart::Chunk(_)));
    assert_eq!(buffer.bytes(&zero()), 0);
}

#[test]
fn a_paused_partition_keeps_what_waits_until_it_is_resumed() {
    let mut buffer = reading(2);
    buffer.push(waiting(40));
    assert!(!buffer.set_paused(&zero(), true));
    assert!(buffer.is_paused(&zero()) && buffer.paused().eq([&zero()]));
    assert!(!buffer.push(waiting(50)), "there is nothing to take");
    assert!(buffer.push(waiting_in(1, 40)));
    assert_eq!(drain(&mut buffer), [(1, 40)]);
    assert!(buffer.set_paused(&zero(), false), "there is something to take");
    assert_eq!(drain(&mut buffer), [(0, 40), (0, 50)]);
    assert!(!buffer.is_paused(&zero()) && !buffer.set_paused(&zero(), false));
}

#[test]
fn a_pause_outlives_the_ownership_it_was_made_in() {
    let mut buffer = reading(1);
    buffer.set_paused(&zero(), true);
    buffer.assign(zero(), AssignmentEpoch(2));
    assert!(buffer.is_paused(&zero()));
}

#[test]
fn nothing_of_an_earlier_sequence_is_delivered() {
    let mut buffer = reading(1);
    buffer.push(waiting(40));
    buffer.push(waiting(50));
    let taken = buffer.take().unwrap();
    buffer.start(&zero(), PositionEpoch(2), Position::at(7));
    assert_eq!(buffer.bytes(&zero()), 0);
    assert!(!buffer.give(&zero(), PositionEpoch(1), Position::at(50), true));
    buffer.put_back(taken);
    assert!(!buffer.push(waiting(60)));
    assert!(drain(&mut buffer).is_empty());
    assert_eq!(buffer.given(&zero()), Some((OWNED, Some(Position::at(7)))));
}

#[test]
fn a_suspended_partition_has_no_position_and_takes_nothing() {
    let mut buffer = reading(1);
    buffer.push(waiting(40));
    buffer.suspend(&zero());
    assert_eq!((buffer.bytes(&zero()), buffer.given(&zero())), (0, Some((OWNED, None))));
    assert!(buffer.all_given().is_empty() && !buffer.push(waiting(50)));
    assert!(drain(&mut buffer).is_empty());
}

#[test]
fn nothing_of_a_partition_that_is_given_back_is_delivered() {
    let mut buffer = reading(2);
    buffer.push(waiting(40));
    buffer.push(waiting(50));
    let taken = buffer.take().unwrap();
    buffer.mark_revoking([&zero()]);
    assert_eq!(buffer.bytes(&zero()), 0);
    assert!(!buffer.give(&zero(), PositionEpoch(1), Position::at(50), true));
    buffer.put_back(taken);
    assert!(!buffer.push(waiting(60)) && drain(&mut buffer).is_empty());
    assert_eq!(buffer.set_apart(&zero()), None);
    assert_eq!(buffer.first_not_apart(), Some(&TopicPartition::new("t", 1)));
    buffer.set_apart(&TopicPartition::new("t", 1));
    assert_eq!(buffer.first_not_apart(), None);
}

#[test]
fn markers_and_holes_are_processed_with_what_was_before_them() {
    let mut buffer = reading(1);
    buffer.give(&zero(), PositionEpoch(1), Position::at(45), false);
    assert_eq!(processed(&buffer), [45], "nothing waits to be processed");
    let mut buffer = given();
    buffer.give(&zero(), PositionEpoch(1), Position::at(65), false);
    assert_eq!(processed(&buffer), [50], "records before them do");
    buffer.begin_poll();
    assert_eq!(processed(&buffer), [65]);
}

#[test]
fn what_a_stream_left_unprocessed_is_so_by_the_poll_after_it_rejoined() {
    let mut buffer = reading(1);
    buffer.set_apart(&zero());
    buffer.give(&zero(), PositionEpoch(1), Position::at(50), true);
    buffer.start(&zero(), PositionEpoch(2), Position::at(90));
    assert_eq!(processed(&buffer), [40], "a seek does not say that the stream is done");
    buffer.rejoin(&zero(), OWNED);
    assert_eq!(processed(&buffer), [40]);
    buffer.begin_poll();
    assert_eq!(processed(&buffer), [90]);
}

#[test]
fn what_was_lost_after_it_was_given_back_or_by_a_stream_is_not_the_applications() {
    let mut buffer = reading(2);
    let one = TopicPartition::new("t", 1);
    for partition in [zero(), one.clone()] {
        buffer.give(&partition, PositionEpoch(1), Position::at(50), true);
    }
    buffer.mark_revoking([&zero()]);
    buffer.give_back(|_| true);
    buffer.set_apart(&one);
    buffer.lose([&zero(), &one]);
    assert!(buffer.all_given().is_empty());
}

#[test]
fn a_dropped_stream_goes_back_to_what_it_was_done_with() {
    let apart = || {
        let mut buffer = reading(1);
        buffer.set_apart(&zero());
        for offset in [50, 60] {
            buffer.processed_apart(&zero(), OWNED);
            assert!(buffer.give(&zero(), PositionEpoch(1), Position::at(offset), true));
        }
        buffer.push(waiting(60));
        buffer
    };
    let back = |mut buffer: Buffer<()>| {
        let ready = buffer.rejoin(&zero(), OWNED);
        let given = buffer.given(&zero()).unwrap().1.unwrap().offset;
        assert_eq!(buffer.all_given()[0].2.offset, given, "no commit passes it");
        (given, buffer.take_back_to(&zero(), OWNED).map(|it| it.offset), ready, processed(&buffer))
    };
    assert_eq!(back(apart()), (50, Some(50), false, vec![50]), "it asked for more at 50");
    let mut buffer = apart();
    buffer.committed(&zero(), OWNED, 57);
    assert_eq!(back(buffer), (57, Some(57), false, vec![57]), "a commit says so as well");
    let mut buffer = apart();
    buffer.processed_apart(&zero(), OWNED);
    buffer.committed(&zero(), OWNED, 10);
    assert_eq!(back(buffer), (60, None, true, vec![60]), "all was done: what waits stays");
    let mut buffer = apart();
    buffer.give(&zero(), PositionEpoch(1), Position::at(65), false);
    assert_eq!(
        back(buffer),
        (50, Some(50), false, vec![50]),
        "a marker is nothing to be done with"
    );
}

#[test]
fn a_stream_that_was_given_nothing_goes_back_no_further_than_where_it_began() {
    let mut buffer = given();
    buffer.set_apart(&zero());
    buffer.give(&zero(), PositionEpoch(1), Position::at(70), true);
    buffer.rejoin(&zero(), OWNED);
    assert_eq!(buffer.take_back_to(&zero(), OWNED), Some(Position::at(60)), "where polls were");
    assert_eq!(buffer.take_back_to(&zero(), OWNED), None, "it is told once");
    assert_eq!(processed(&buffer), [50], "polls are not done with theirs");
    buffer.begin_poll();
    assert_eq!(processed(&buffer), [60]);
}

#[test]
fn a_seek_says_where_to_read_on_whether_the_stream_is_dropped_before_or_after_it() {
    let mut buffer = reading(1);
    buffer.set_apart(&zero());
    buffer.give(&zero(), PositionEpoch(1), Position::at(50), true);
    buffer.start(&zero(), PositionEpoch(2), Position::at(90));
    buffer.rejoin(&zero(), OWNED);
    assert_eq!(buffer.take_back_to(&zero(), OWNED), None);
    buffer.set_apart(&zero());
    buffer.give(&zero(), PositionEpoch(2), Position::at(95), true);
    buffer.rejoin(&zero(), OWNED);
    // On its way when the stream was dropped.
    buffer.start(&zero(), PositionEpoch(3), Position::at(7));
    assert_eq!(buffer.take_back_to(&zero(), OWNED), None);
    assert_eq!(buffer.given(&zero()), Some((OWNED, Some(Position::at(7)))));
}

#[test]
fn nothing_is_taken_between_a_drop_and_the_start_of_reading_again() {
    let mut buffer = reading(1);
    buffer.set_apart(&zero());
    buffer.give(&zero(), PositionEpoch(1), Position::at(50), true);
    buffer.rejoin(&zero(), OWNED);
    assert!(!buffer.push(waiting(50)) && buffer.take().is_none() && buffer.bytes(&zero()) == 0);
    buffer.set_apart(&zero());
    buffer.start(&zero(), PositionEpoch(2), Position::at(40));
    assert!(buffer.give(&zero(), PositionEpoch(2), Position::at(45), true));
    assert_eq!(processed(&buffer), [40]);
}

#[test]
fn neither_a_poll_nor_a_stream_says_that_the_other_is_done() {
    let mut buffer = given();
    buffer.set_apart(&zero());
    buffer.give(&zero(), PositionEpoch(1), Position::at(70), true);
    buffer.processed_apart(&zero(), OWNED);
    assert_eq!(processed(&buffer), [50], "50 to 59 are a poll's");
    buffer.give(&zero(), PositionEpoch(1), Position::at(80), true);
    buffer.begin_poll();
    assert_eq!(processed(&buffer), [70], "70 to 79 are the stream's");
}
