//! Records of a compacted partition, and what a reader of all of them learns.

use std::collections::BTreeMap;

use bytes::Bytes;
use kohort_protocol::compression::Compression;
use kohort_protocol::records::BatchOptions;

use super::seeds::Random;
use super::{Found, keyed_batch};

/// Keys and values, none for a tombstone.
pub type Records = Vec<(String, Option<Vec<u8>>)>;

/// Draws a few records of few keys, with values below that many bytes.
pub fn draw_records(random: &mut Random, bytes: u64) -> Records {
    (0..=random.draw(4))
        .map(|_| {
            let key = format!("key-{}", random.draw(10));
            let length = random.draw(bytes) as usize;
            (key, (random.draw(4) > 0).then(|| vec![b'v'; length]))
        })
        .collect()
}

/// Builds a batch of these records by the idempotent producer 1.
pub fn batch(records: &Records, sequence: i32, timestamp: i64, codec: Compression) -> Bytes {
    let refs: Vec<(&str, Option<&[u8]>)> =
        records.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    let options = BatchOptions {
        producer_id: 1,
        producer_epoch: 0,
        base_sequence: sequence,
        ..BatchOptions::default()
    };
    keyed_batch(&refs, &options, timestamp, codec)
}

/// Returns the records of such a batch as they are read if it is appended at `offset`.
pub fn found(records: &Records, offset: i64, timestamp: i64) -> impl Iterator<Item = Found> {
    (0..).zip(records).map(move |(at, (key, value))| Found {
        offset: offset + at,
        timestamp: timestamp + at,
        key: key.clone().into_bytes(),
        value: value.clone(),
    })
}

/// Returns the last record of each key, but of those that were deleted.
pub fn latest<'a>(records: impl Iterator<Item = &'a Found>) -> BTreeMap<&'a [u8], &'a Found> {
    let mut latest = BTreeMap::new();
    for record in records {
        match record.value {
            Some(_) => latest.insert(&record.key[..], record),
            None => latest.remove(&record.key[..]),
        };
    }
    latest
}
