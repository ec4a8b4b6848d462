//! A coordinator's log, what compaction leaves of it, and what is read out of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use kohort_coordinator::{GroupConfig, GroupRecord, GroupShard, Shard};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Keys and values, in their order.
pub(crate) type Log = Vec<(Bytes, Option<Bytes>)>;

/// Returns what runs so many cases, the same every time.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Returns the shard that a log makes.
pub(crate) fn rebuild<'a>(
    log: impl IntoIterator<Item = &'a (Bytes, Option<Bytes>)>,
    seed: u64,
) -> GroupShard {
    let mut shard = GroupShard::new(GroupConfig::default(), seed);
    for (key, value) in log {
        shard.replay(&GroupRecord::decode(key, value.as_ref()).unwrap());
    }
    shard
}

/// Checks that the log makes the shard at hand, and so does what two of the compactions leave of it that may
/// have happened by now.
pub(crate) fn check_replay(log: &Log, live: &GroupShard, seed: usize) {
    let live = live.hard_state();
    assert_eq!(rebuild(log, 0).hard_state(), live, "replay differs from live");
    let cuts = [(log.len(), true), (log.len() * (1 + seed % 7) / 8, seed.is_multiple_of(2))];
    for (cut, drop_tombstones) in cuts {
        let compacted = compact(log, cut, drop_tombstones);
        assert_eq!(rebuild(compacted, 0).hard_state(), live, "a compacted log differs");
    }
}

/// Returns what a compaction up to `cut` leaves of a log.
fn compact(
    log: &Log,
    cut: usize,
    drop_tombstones: bool,
) -> impl Iterator<Item = &(Bytes, Option<Bytes>)> {
    let mut last: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for (at, (key, _)) in log[..cut].iter().enumerate() {
        last.insert(key, at);
    }
    log.iter().enumerate().filter_map(move |(at, record)| {
        let kept = at >= cut || (last[&record.0] == at && (record.1.is_some() || !drop_tombstones));
        kept.then_some(record)
    })
}
