//! What a broker does with a record that comes, and how it goes out: limits, times, codecs, fetches.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::hub::Client;

use super::{Check, Scene};

pub(super) const CHECKS: &[Check] = &[
    ("a_record_over_max_message_bytes_is_refused", largest_message),
    ("a_timestamp_out_of_its_bounds_is_refused", timestamp_bounds),
    ("log_append_time_is_the_brokers_clock", log_append_time),
    ("offsets_are_found_by_time", offsets_by_time),
    ("min_insync_replicas_above_the_replicas_refuses_nothing", too_few_replicas),
    ("records_are_stored_with_the_codec_of_the_topic", recompression),
    ("a_batch_over_max_partition_fetch_bytes_is_read", small_fetches),
    ("a_fetch_session_of_200_partitions_brings_every_record", many_partitions),
    ("a_property_is_described_with_its_synonyms", synonyms),
    ("a_producer_over_its_quota_is_throttled", quota),
];

fn largest_message(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("largest");
    scene.create(&topic, 1, json!({ "max.message.bytes": "2000" }))?;
    let sizes = |scene: &mut Scene<'_>| -> Result<Vec<bool>> {
        let mut taken = Vec::new();
        for size in [1500, 2500] {
            let sent = scene.send(&topic, &[(None, "k", json!(size))])?;
            taken.push(sent[0] != json!(MESSAGE_TOO_LARGE));
        }
        Ok(taken)
    };
    ensure!(sizes(scene)? == [true, false], "1500 bytes of 2000 are fine, 2500 are not");
    let wider = json!({ "topic": topic, "configs": { "max.message.bytes": "3000" } });
    scene.expect("configs.alter", wider, json!({}))?;
    let key = json!({ "topic": topic, "key": "max.message.bytes" });
    scene.call("configs.describe", key)?;
    // Kafka's broker hears of it a moment after it is acknowledged.
    let mut tries = 0;
    while sizes(scene)? != [true, true] {
        tries += 1;
        ensure!(tries < 20, "2500 bytes are refused though 3000 are allowed");
    }
    Ok(())
}

fn timestamp_bounds(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("bounds");
    let configs = json!({
        "message.timestamp.before.max.ms": "600000", "message.timestamp.after.max.ms": "600000",
    });
    scene.create(&topic, 1, configs)?;
    let hour_ago = scene.world.base_timestamp;
    let now = hour_ago + HOUR;
    for (time, taken) in [(now, true), (hour_ago, false), (now + HOUR, false)] {
        let sent = scene.send(&topic, &[(Some(time), "k", json!("v"))])?;
        ensure!(
            (sent[0] != json!(INVALID_TIMESTAMP)) == taken,
            "{time}, where now is about {now}, became {sent:?}"
        );
    }
    Ok(())
}

fn log_append_time(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("append-time");
    scene.create(&topic, 1, json!({ "message.timestamp.type": "LogAppendTime" }))?;
    let hour_ago = scene.world.base_timestamp;
    scene.send(&topic, &[(Some(hour_ago), "a", json!("1")), (Some(hour_ago), "b", json!("2"))])?;
    let all = json!({ "topic": topic, "partition": 0, "from": 0 });
    let answer = scene.call("records.read", all)?;
    let rows = answer["records"].as_array().context("a read has records")?;
    ensure!(rows.len() == 2, "{rows:?}");
    for row in rows {
        let time = row[1].as_u64().context("a record has a time")?;
        ensure!(time > hour_ago + HOUR / 2, "{row} has its producer's time");
        ensure!(row[2] == "LogAppendTime", "{row} has another type of time");
    }
    Ok(())
}

fn offsets_by_time(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("by-time");
    scene.create(&topic, 1, json!({}))?;
    let base = scene.world.base_timestamp;
    let at = |seconds: u64| base + seconds * 1000;
    let times = [at(10), at(30), at(20), at(30), at(25)];
    for time in times {
        scene.send(&topic, &[(Some(time), "k", json!("v"))])?;
    }
    let hour = [at(9), at(10), at(11), at(25), at(30)];
    let place = |at: Value| json!({ "topic": topic, "partition": 0, "at": at });
    for (time, offset) in hour.into_iter().zip([0, 0, 1, 1, 1]) {
        let found = json!({ "offset": offset, "timestamp": times[offset] });
        scene.expect("offsets.list", place(json!(time)), found)?;
    }
    let ends = [("earliest", 0, json!(-1)), ("latest", 5, json!(-1)), ("max", 1, json!(times[1]))];
    for (name, offset, time) in ends {
        let found = json!({ "offset": offset, "timestamp": time });
        scene.expect("offsets.list", place(json!(name)), found)?;
    }
    Ok(())
}

/// A partition with one replica has all in sync, whatever number is asked for.
fn too_few_replicas(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("too-few");
    scene.create(&topic, 1, json!({ "min.insync.replicas": "2" }))?;
    for (offset, acks) in ["all", "1"].into_iter().enumerate() {
        let settings = json!({ "acks": acks, "retries": "0", "enable.idempotence": "false" });
        let sent = scene.send_with(&topic, settings, &[json!([0, null, "k", "v"])])?;
        ensure!(sent[0][0] == offset, "with acks={acks} the record became {sent:?}");
    }
    Ok(())
}

/// Each producer's codec, to topics of each codec: batches are stored with the topic's.
fn recompression(scene: &mut Scene<'_>) -> Result<()> {
    let inspector = scene.world.hub.driver(Client::FranzGo)?;
    for stored in ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let topic = scene.name(&format!("stored-{stored}"));
        scene.create(&topic, CODECS.len() as u64, json!({ "compression.type": stored }))?;
        for (partition, sent) in CODECS.iter().enumerate() {
            let settings = json!({ "compression.type": sent, "linger.ms": "20" });
            let value = |n: u64| json!([partition, null, "key", 101 + n]);
            let rows = [value(0), value(1), value(2)];
            scene.send_with(&topic, settings, &rows)?;
            let place = json!({ "topic": topic, "partition": partition, "from": 0 });
            let read = scene.call("records.read", place.clone())?;
            let values: Vec<&Value> =
                read["records"].as_array().into_iter().flatten().map(|row| &row[4]).collect();
            ensure!(values == [101, 102, 103], "{sent} to {stored} is read as {read}");
            let found = scene.call_by(inspector, "records.batches", place)?;
            let codecs = found["codecs"].as_array().context("batches have codecs")?;
            let expected = match stored {
                "producer" => sent,
                "uncompressed" => "none",
                codec => codec,
            };
            ensure!(
                !codecs.is_empty() && codecs.iter().all(|codec| codec == expected),
                "{sent} to {stored} is stored as {codecs:?}"
            );
        }
    }
    Ok(())
}

fn small_fetches(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("small-fetches");
    scene.create(&topic, 1, json!({}))?;
    let sizes = [30_000, 200, 50_000, 300, 20_000];
    for size in sizes {
        scene.send(&topic, &[(None, "k", json!(size))])?;
    }
    let fields = json!({
        "topic": topic, "partition": 0, "from": 0, "settings": { "max.partition.fetch.bytes": "1000" },
    });
    let answer = scene.call("records.read", fields)?;
    let found: Vec<&Value> =
        answer["records"].as_array().into_iter().flatten().map(|row| &row[4]).collect();
    ensure!(found == sizes, "records of {sizes:?} bytes are read as {found:?}");
    Ok(())
}

/// A member reads 200 partitions through one session while records come to some of them, then to
/// others.
fn many_partitions(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("session");
    scene.create(&topic, 200, json!({}))?;
    let member = json!({ "member": topic, "group": topic, "topic": topic });
    scene.call("member.start", member.clone())?;
    scene.world.hub.wait("the member owns all", crate::groups::JOIN_TIMEOUT, |hub| {
        hub.members.get(&topic).is_some_and(|view| view.owned.len() == 200)
    })?;
    let mut written = 0;
    for step in [200, 50, 7, 3] {
        let partitions: Vec<u64> = (0..200).step_by(step).collect();
        let rows: Vec<Value> =
            partitions.iter().map(|index| json!([index, null, "k", "v"])).collect();
        scene.send_with(&topic, json!({}), &rows)?;
        written += rows.len();
        scene.world.hub.wait("every record is read", crate::groups::JOIN_TIMEOUT, |hub| {
            hub.members.get(&topic).is_some_and(|view| view.records.len() >= written)
        })?;
    }
    scene.call("member.stop", member)?;
    let read = scene.world.hub.member(&topic).records.len();
    ensure!(read == written, "{written} records were read as {read}");
    Ok(())
}

fn synonyms(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("synonyms");
    scene.create(&topic, 1, json!({ "max.message.bytes": "5000" }))?;
    for (key, value, own) in
        [("max.message.bytes", "5000", true), ("index.interval.bytes", "4096", false)]
    {
        let mut names = vec![];
        if own {
            names.push(json!([key, value, TOPIC]));
        }
        names.push(match key {
            "max.message.bytes" => json!(["message.max.bytes", "1048588", DEFAULT]),
            _ => json!(["log.index.interval.bytes", "4096", DEFAULT]),
        });
        let source = if own { TOPIC } else { DEFAULT };
        scene.expect(
            "configs.describe",
            json!({ "topic": topic, "key": key }),
            json!({ "value": value, "source": source, "synonyms": names }),
        )?;
    }
    Ok(())
}

fn quota(scene: &mut Scene<'_>) -> Result<()> {
    let admin = scene.world.hub.driver(Client::Java)?;
    let topic = scene.name("quota");
    scene.create(&topic, 1, json!({}))?;
    let quota =
        |rate: Option<u64>| json!({ "client": topic, "key": "producer_byte_rate", "rate": rate });
    let set = scene.call_by(admin, "quota.set", quota(Some(50_000)))?;
    ensure!(set == json!({}), "the quota was refused: {set}");
    // Each send is about four times what a second allows; Kafka hears of the quota a moment later.
    let fields = json!({
        "topic": topic,
        "settings": { "client.id": topic },
        "records": [[0, null, "k", 100_000], [0, null, "k", 100_000]],
    });
    let mut throttled = false;
    for _ in 0..5 {
        throttled = throttled || scene.call("records.send", fields.clone())?["throttled"] == true;
    }
    let unset = scene.call_by(admin, "quota.set", quota(None))?;
    ensure!(unset == json!({}), "the quota was kept: {unset}");
    ensure!(throttled, "no answer asked the producer for patience");
    Ok(())
}

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const HOUR: u64 = 3_600_000;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
/// The numbers of a property's sources on the wire.
const TOPIC: i8 = 1;
const DEFAULT: i8 = 5;
