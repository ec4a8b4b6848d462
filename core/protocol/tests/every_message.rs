//! Rules that hold for every message in every version.
//!
//! Values are random but seeded: a failure names the message, the version and the seed.

use bytes::Bytes;
use kohort_protocol::testing::{Dice, RecodeError, Subject, subjects};

const SEEDS: std::ops::Range<u64> = 0..12;

/// Calls `rule` for every message in every version with fresh dice.
fn check(mut rule: impl FnMut(&Subject, i16, &mut Dice)) {
    for subject in subjects() {
        for version in subject.versions.iter() {
            for seed in SEEDS {
                rule(&subject, version, &mut Dice::new(seed));
            }
        }
    }
}

#[test]
fn what_is_encoded_decodes_to_the_same_value() {
    check(|subject, version, dice| {
        // `sample` itself compares the decoded value with the one it encoded.
        let sampled = subject.sample(dice, version);
        assert_eq!(subject.recode(&sampled.bytes, version), Ok(sampled.bytes));
    });
}

#[test]
fn a_message_cut_short_anywhere_is_refused() {
    check(|subject, version, dice| {
        let bytes = subject.sample(dice, version).bytes;
        for length in 0..bytes.len().min(400) {
            let result = subject.recode(&bytes.slice(..length), version);
            let refused = matches!(result, Err(RecodeError::Decode(_)));
            assert!(refused, "{} v{version} cut to {length} of {}", subject.name, bytes.len());
        }
    });
}

#[test]
fn arbitrary_bytes_never_panic_and_what_they_give_can_be_sent() {
    check(|subject, version, dice| {
        let length = dice.below(200);
        let noise = Bytes::from(dice.bytes(length));
        expect_no_encode_error(subject, version, &noise);
        let mut damaged = subject.sample(dice, version).bytes.to_vec();
        for _ in 0..8 {
            if !damaged.is_empty() {
                let place = dice.below(damaged.len());
                damaged[place] = dice.roll() as u8;
                expect_no_encode_error(subject, version, &Bytes::from(damaged.clone()));
            }
        }
    });
}

fn expect_no_encode_error(subject: &Subject, version: i16, bytes: &Bytes) {
    let result = subject.recode(bytes, version);
    let sendable = !matches!(result, Err(RecodeError::Encode(_)));
    assert!(sendable, "{} v{version}: {result:?} from {bytes:?}", subject.name);
}
