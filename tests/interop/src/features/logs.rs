//! What leaves a log, and when: compaction, retention, DeleteRecords, a topic made anew.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Check, Scene};

pub(super) const CHECKS: &[Check] = &[
    ("readers_of_a_compacted_topic_see_the_last_of_each_key", compaction),
    ("compacted_records_are_gone_for_good_when_their_tombstone_is", tombstones),
    ("records_past_retention_ms_are_gone", retention_by_time),
    ("segments_past_retention_bytes_are_gone", retention_by_size),
    ("deleted_records_are_below_the_start", delete_records),
    ("a_topic_made_anew_under_its_name_is_empty", made_anew),
];

fn compaction(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("compaction");
    let configs = json!({
        "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01",
    });
    scene.create(&topic, 1, configs)?;
    for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
        scene.send(&topic, &[(None, key, json!(value.to_string()))])?;
    }
    scene.send(&topic, &[(None, "b", Value::Null)])?;
    // The segment at hand is never compacted: an append after its time closes it.
    thread::sleep(SEGMENT_TIME);
    scene.send(&topic, &[(None, "d", json!("6"))])?;
    let left =
        [json!([2, "a", "3"]), json!([3, "c", "4"]), json!([4, "b", null]), json!([5, "d", "6"])];
    scene.await_records(&topic, &left)?;
    let end = json!({ "topic": topic, "partition": 0, "at": "latest" });
    scene.expect("offsets.list", end, json!({ "offset": 6, "timestamp": -1 }))
}

fn tombstones(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("tombstones");
    let configs = json!({
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": "0",
    });
    scene.create(&topic, 1, configs)?;
    scene.send(&topic, &[(None, "a", json!("1"))])?;
    scene.send(&topic, &[(None, "a", Value::Null)])?;
    // One pass keeps a tombstone and notes until when, a later one takes it away: something new
    // must become cleanable in between. The last record stays: a log's end is not moved back.
    for round in 0..MANY_ROUNDS {
        thread::sleep(SEGMENT_TIME);
        scene.send(&topic, &[(None, "b", json!(round.to_string()))])?;
        let left = scene.read(&topic)?;
        if left.iter().all(|row| row[1] == "b") {
            return Ok(());
        }
    }
    let left = scene.read(&topic)?;
    ensure!(left.iter().all(|row| row[1] == "b"), "{topic} still holds {left:?}");
    Ok(())
}

fn retention_by_time(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("retention-ms");
    scene.create(&topic, 1, json!({ "retention.ms": "600000" }))?;
    // Records of an hour ago are too old for ten minutes.
    let old = scene.world.base_timestamp;
    scene.send(&topic, &[(Some(old), "a", json!("1")), (Some(old), "b", json!("2"))])?;
    let start = json!({ "topic": topic, "partition": 0, "at": "earliest" });
    scene.await_answer("offsets.list", start, json!({ "offset": 2, "timestamp": -1 }))?;
    scene.send(&topic, &[(None, "c", json!("3"))])?;
    scene.await_records(&topic, &[json!([2, "c", "3"])])
}

fn retention_by_size(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("retention-bytes");
    let configs = json!({ "segment.bytes": "1048576", "retention.bytes": "1048576" });
    scene.create(&topic, 1, configs)?;
    for _ in 0..6 {
        scene.send(&topic, &[(None, "k", json!(600_000))])?;
    }
    // One record to a segment: two of the closed ones and the one at hand are enough to keep.
    let start = json!({ "topic": topic, "partition": 0, "at": "earliest" });
    scene.await_answer("offsets.list", start, json!({ "offset": 4, "timestamp": -1 }))?;
    scene.await_records(&topic, &[json!([4, "k", 600_000]), json!([5, "k", 600_000])])
}

fn delete_records(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("delete-records");
    scene.create(&topic, 1, json!({}))?;
    for value in 0..5 {
        scene.send(&topic, &[(None, "k", json!(value.to_string()))])?;
    }
    let before = |offset: i64| json!({ "topic": topic, "partition": 0, "before": offset });
    scene.expect("records.delete", before(3), json!({ "low": 3 }))?;
    // A start does not go back; the end is no record.
    scene.expect("records.delete", before(1), json!({ "low": 3 }))?;
    scene.expect("records.delete", before(6), json!({ "code": OFFSET_OUT_OF_RANGE }))?;
    let start = json!({ "topic": topic, "partition": 0, "at": "earliest" });
    scene.expect("offsets.list", start.clone(), json!({ "offset": 3, "timestamp": -1 }))?;
    // A reader that asks for less is sent to the start.
    scene.await_records(&topic, &[json!([3, "k", "3"]), json!([4, "k", "4"])])?;
    scene.expect("records.delete", before(5), json!({ "low": 5 }))?;
    scene.expect("offsets.list", start, json!({ "offset": 5, "timestamp": -1 }))?;
    scene.await_records(&topic, &[])?;
    let sent = scene.send(&topic, &[(None, "k", json!("5"))])?;
    ensure!(sent[0][0] == 5, "the record after was written as {sent:?}");
    Ok(())
}

fn made_anew(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("made-anew");
    let group = topic.clone();
    scene.create(&topic, 2, json!({ "retention.ms": "600000000" }))?;
    scene.send(&topic, &[(None, "a", json!("1")), (None, "b", json!("2"))])?;
    let commit = json!({
        "group": group, "topic": topic, "partition": 0, "offset": 2, "metadata": "",
    });
    scene.await_answer("offsets.commit", commit, json!({}))?;
    scene.expect("topic.delete", json!({ "topic": topic }), json!({}))?;
    scene.await_answer("topic.delete", json!({ "topic": topic }), json!({ "code": UNKNOWN }))?;
    // What was committed of a topic goes with it.
    scene.await_answer("offsets.committed", json!({ "group": group }), json!({ "offsets": [] }))?;
    scene.create(&topic, 1, json!({}))?;
    scene.await_records(&topic, &[])?;
    let sent = scene.send(&topic, &[(None, "c", json!("3"))]).context("to the new one")?;
    ensure!(sent[0][0] == 0, "the first record was written as {sent:?}");
    scene.await_records(&topic, &[json!([0, "c", "3"])])?;
    let key = json!({ "topic": topic, "key": "retention.ms" });
    let value = scene.call("configs.describe", key)?["value"].clone();
    ensure!(value == "604800000", "the new topic has the old one's retention: {value}");
    Ok(())
}

/// Longer than `segment.ms` of the topics above.
const SEGMENT_TIME: Duration = Duration::from_millis(150);
const MANY_ROUNDS: usize = 60;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN: i16 = 3;
