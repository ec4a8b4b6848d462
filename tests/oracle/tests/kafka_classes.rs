//! Every message and version we serve against the class Kafka generates for it.
//!
//! For random values with nulls, empty arrays and unset tagged fields: Kafka's class reads our
//! bytes to the end, writes the same bytes again, and its JSON says what our value says; and from
//! the JSON of our value it makes the bytes we make.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use kohort_oracle::Oracle;
use kohort_protocol::testing::{Dice, Subject, subjects};
use serde_json::{Value, json};

const SEEDS: std::ops::RangeInclusive<u64> = 100..=111;

/// A drop in this number means that a message or version is no longer compared.
const COMPARED: usize = 519;

#[test]
fn kafka_reads_and_writes_the_same_bytes_and_means_the_same() {
    let mut oracle = Oracle::start().unwrap_or_else(|error| panic!("{error:#}"));
    let mut problems = Vec::new();
    let mut compared = 0;
    for subject in subjects() {
        for version in subject.versions.iter() {
            let problem = SEEDS
                .into_iter()
                .find_map(|seed| compare(&mut oracle, &subject, version, seed).err());
            problems.extend(problem);
            compared += 1;
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert_eq!(compared, COMPARED, "pairs of name and version");
}

#[test]
fn a_message_with_a_byte_changed_or_missing_is_noticed() {
    let mut oracle = Oracle::start().unwrap_or_else(|error| panic!("{error:#}"));
    let class = "org.apache.kafka.common.message.HeartbeatResponseData";
    let (bytes, json) = oracle.decode(class, 1, &[0, 0, 0, 5, 0, 27]).unwrap();
    assert_eq!(bytes[..], [0, 0, 0, 5, 0, 27]);
    assert_eq!(json, json!({"throttleTimeMs": 5, "errorCode": 27}));
    oracle.decode(class, 1, &[0, 0, 0, 5, 0]).unwrap_err();
    oracle.decode(class, 1, &[0, 0, 0, 5, 0, 27, 0]).unwrap_err();
    oracle.encode(class, 1, &json!({"throttleTimeMs": 5})).unwrap_err();
}

fn compare(oracle: &mut Oracle, subject: &Subject, version: i16, seed: u64) -> Result<(), String> {
    let sampled = subject.sample(&mut Dice::new(seed), version);
    let (class, their_version) = kafka_class(subject, version);
    let context = |what: &str| {
        format!("{} v{version} seed {seed}: {what}\n  {}", subject.name, sampled.debug)
    };

    let (bytes, json) = oracle
        .decode(&class, their_version, &sampled.bytes)
        .map_err(|error| context(&format!("{error:#}")))?;
    if bytes != sampled.bytes {
        return Err(context(&format!("they wrote {bytes:?}, we {:?}", sampled.bytes)));
    }
    let mut ours = sampled.json.clone();
    if has_records(subject) {
        measure_records(&mut ours);
    }
    // Kafka carries a tagged field of ours along without knowing it, and cannot make one.
    let has_own = take_own_fields(&mut ours);
    if json != ours {
        return Err(context(&format!("their value is\n  {json}, ours\n  {ours}")));
    }
    if has_own {
        return Ok(());
    }
    let bytes = oracle
        .encode(&class, their_version, &sampled.json)
        .map_err(|error| context(&format!("{error:#} of {}", sampled.json)))?;
    if bytes != sampled.bytes {
        return Err(context(&format!("of our JSON they made {bytes:?}, not {:?}", sampled.bytes)));
    }
    Ok(())
}

/// Finds Kafka's class. The keys of `__consumer_offsets` have one version per class there: the kind
/// of record is not part of the message.
fn kafka_class(subject: &Subject, version: i16) -> (String, i16) {
    let message = |name: &str| format!("org.apache.kafka.common.message.{name}");
    let record = |name: &str| format!("org.apache.kafka.coordinator.group.generated.{name}");
    match (subject.name, version) {
        ("OffsetCommitKey", 0) => (record("LegacyOffsetCommitKey"), 0),
        ("OffsetCommitKey" | "GroupMetadataKey", _) => (record(subject.name), 0),
        ("OffsetCommitValue" | "GroupMetadataValue", _) => (record(subject.name), version),
        (name, _) if is_consumer_group_record(name) => (record(name), 0),
        ("ConsumerProtocolSubscription" | "ConsumerProtocolAssignment", _) => {
            (message(subject.name), version)
        }
        _ => (message(&format!("{}Data", subject.name)), version),
    }
}

/// Tells the records of the new group protocol from its requests and responses.
fn is_consumer_group_record(name: &str) -> bool {
    name.starts_with("ConsumerGroup") && (name.ends_with("Key") || name.ends_with("Value"))
}

/// Removes the fields that only our messages have. Tells whether there were any.
fn take_own_fields(json: &mut Value) -> bool {
    let fields = json.as_object_mut();
    fields.is_some_and(|fields| OWN_FIELDS.iter().any(|own| fields.remove(*own).is_some()))
}

/// See `docs/decisions/0026-held-heartbeats.md`.
const OWN_FIELDS: [&str; 2] = ["holdMs", "holds"];

fn has_records(subject: &Subject) -> bool {
    matches!(subject.name, "ProduceRequest" | "FetchResponse")
}

/// Replaces record batches by their size, as Kafka's converters do.
fn measure_records(json: &mut Value) {
    match json {
        Value::Array(elements) => elements.iter_mut().for_each(measure_records),
        Value::Object(fields) => {
            if let Some(base64) = fields.get("records").and_then(Value::as_str) {
                let padding = base64.bytes().filter(|byte| *byte == b'=').count();
                let size = base64.len() / 4 * 3 - padding;
                fields.remove("records");
                fields.insert("recordsSizeInBytes".to_owned(), json!(size));
            }
            fields.values_mut().for_each(measure_records);
        }
        _ => {}
    }
}
