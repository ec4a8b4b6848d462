//! Committed offsets without members: groups that nobody joins, what may accompany an offset, expiry.

use anyhow::Result;
use serde_json::json;

use crate::hub::Client;

use super::{Check, Scene};

pub(super) const CHECKS: &[Check] =
    &[("a_group_without_members_keeps_offsets_and_4096_bytes_with_each", simple_group)];

/// Only franz-go can be made to speak as clients did that named a time to keep an offset.
pub(super) const ONLY_FRANZ_GO: &[Check] =
    &[("an_offset_with_a_short_retention_expires_and_others_stay", expiry)];

fn simple_group(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("simple");
    let group = topic.clone();
    scene.create(&topic, 2, json!({}))?;
    let commit = |partition: u32, offset: u64, metadata: serde_json::Value| {
        json!({
            "group": group,
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "metadata": metadata,
        })
    };
    scene.await_answer("offsets.commit", commit(0, 7, json!("a note")), json!({}))?;
    // confluent-kafka sends the zero that ends a text in C.
    let longest = if scene.client == Client::Librdkafka { 4095 } else { 4096 };
    scene.expect("offsets.commit", commit(1, 8, json!(longest)), json!({}))?;
    let refused = json!({ "code": METADATA_TOO_LARGE });
    scene.expect("offsets.commit", commit(1, 9, json!(longest + 1)), refused)?;
    let rows = json!([[topic, 0, 7, "a note"], [topic, 1, 8, longest]]);
    scene.expect("offsets.committed", json!({ "group": group }), json!({ "offsets": rows }))
}

fn expiry(scene: &mut Scene<'_>) -> Result<()> {
    let topic = scene.name("expiry");
    let group = topic.clone();
    scene.create(&topic, 2, json!({}))?;
    let keep = |partition: u32, offset: u64, keep_ms: i64| {
        json!({
            "group": group,
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "keep_ms": keep_ms,
        })
    };
    scene.await_answer("offsets.keep", keep(1, 4, -1), json!({}))?;
    scene.expect("offsets.keep", keep(0, 3, 1), json!({}))?;
    let left = json!({ "offsets": [[topic, 1, 4, ""]] });
    scene.await_answer("offsets.committed", json!({ "group": group }), left)
}

const METADATA_TOO_LARGE: i16 = 12;
