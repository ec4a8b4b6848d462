//! A peer's lengths are never believed: memory stays in proportion to the bytes that came.

use bytes::Bytes;
use kohort_protocol::messages::{DescribeGroupsRequest, MetadataRequest};
use kohort_protocol::testing::{Dice, subjects};
use kohort_protocol::{DecodeErrorKind, Message, Reader};

/// Every way a length can lie, in either style.
const LIES: [&[u8]; 6] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xfe],
    &[0x80, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x08],
];

#[test]
fn a_lie_at_any_place_of_any_message_costs_no_memory() {
    for subject in subjects() {
        for version in subject.versions.iter() {
            let bytes = subject.sample(&mut Dice::new(7), version).bytes;
            for place in 0..bytes.len().min(150) {
                for lie in LIES {
                    let mut hostile = bytes.to_vec();
                    hostile.splice(place.., lie.iter().copied());
                    hostile.extend_from_slice(&bytes[place..]);
                    let hostile = Bytes::from(hostile);
                    let used = allocation_counter::measure(|| {
                        let _ = subject.recode(&hostile, version);
                    });
                    let limit = 16 * 1024 + 200 * hostile.len() as u64;
                    assert!(
                        used.bytes_max <= limit,
                        "{} v{version}: {} bytes of memory for {} bytes with {lie:x?} at {place}",
                        subject.name,
                        used.bytes_max,
                        hostile.len(),
                    );
                }
            }
        }
    }
}

#[test]
fn an_array_longer_than_the_frame_is_refused_before_its_elements_are_read() {
    let bytes = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
    let used = allocation_counter::measure(|| {
        let error = MetadataRequest::decode(&mut Reader::new(&bytes), 0).expect_err("too long");
        assert_eq!(error.field, "MetadataRequest.topics");
        assert_eq!(
            error.kind,
            DecodeErrorKind::BadLength { length: i64::from(i32::MAX), remaining: 2 },
        );
    });
    assert_eq!(used.count_total, 0);
}

#[test]
fn a_frame_full_of_empty_strings_is_refused_before_it_takes_a_multiple_of_its_size() {
    const COUNT: i32 = 4_000_000;
    let mut frame = COUNT.to_be_bytes().to_vec();
    frame.resize(4 + COUNT as usize * 2, 0);
    let bytes = Bytes::from(frame);
    let used = allocation_counter::measure(|| {
        let error = DescribeGroupsRequest::decode(&mut Reader::new(&bytes), 0).expect_err("many");
        assert_eq!(error.kind, DecodeErrorKind::TooManyElements(COUNT as usize));
    });
    assert_eq!(used.count_total, 0);
}
