//! `docs/client-configuration.md` is made from the property tables; this test holds it to them.
//! `UPDATE_DOCS=1 cargo test -p kohort --test configuration` writes it anew.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::Write as _;
use std::fs;

use kohort::config::{AdminConfig, ConsumerConfig, ProducerConfig, Properties, Property};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/client-configuration.md");

#[test]
fn the_document_of_the_clients_configuration_is_up_to_date() {
    let made = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PATH, &made).unwrap();
    }
    let found = fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        found == made,
        "docs/client-configuration.md is not up to date; UPDATE_DOCS=1 rewrites it"
    );
}

const INTRODUCTION: &str = "\
# Client configuration

Made from the client's own tables, `io/client/src/config/tables.rs`; do not edit. Properties go by Kafka's names, with Kafka 4.3's
defaults and ranges; where ours differ, the entry says so. Durations are milliseconds or have a unit (`ms`, `s`, `m` or `min`, `h`,
`d`: `10s`). Sizes are bytes or have one, which goes by 1024 however it is spelled: `64KiB` is `64k` and `64KB`, `1MB` is `1MiB`. Ranges
are in milliseconds and bytes. What a typed setter is given is held to the same range when a client is built; `Duration::MAX` is for
ever and accepted everywhere. Set them on a builder, from a file, from the environment, or with `kohort … -X NAME=VALUE`. A name that is
in no table is refused with the nearest one that is, and one of Java's or librdkafka's that has no equivalent, or another name, with
what to do in its place. Files and environments may serve several clients: what is of another role is passed over there.
";

fn document() -> String {
    let mut out = String::from(INTRODUCTION);
    // What all roles have is what the administrator's client shares with the consumer.
    let shared: Vec<&Property> =
        AdminConfig::table().filter(|it| ConsumerConfig::table().any(|also| also == *it)).collect();
    let own = |table: Vec<&'static Property>| {
        table.into_iter().filter(|it| !shared.contains(it)).collect::<Vec<_>>()
    };
    section(&mut out, "Every client", &shared);
    section(&mut out, "Consumer", &own(ConsumerConfig::table().collect()));
    section(&mut out, "Producer", &own(ProducerConfig::table().collect()));
    section(&mut out, "Admin", &own(AdminConfig::table().collect()));
    setters(&mut out);
    out
}

fn section(out: &mut String, title: &str, properties: &[&Property]) {
    write!(out, "\n## {title}\n\n| name | type | default | range | meaning |\n").unwrap();
    out.push_str("|---|---|---|---|---|\n");
    for Property { name, kind, default, range, doc, .. } in properties {
        let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
        let range = range.map_or_else(String::new, |(low, high)| match high {
            HIGHEST => format!("at least {low}"),
            high => format!("{low} to {high}"),
        });
        writeln!(out, "| `{name}` | {kind} | {default} | {range} | {doc} |").unwrap();
    }
}

/// The typed setters that nobody would guess.
fn setters(out: &mut String) {
    out.push_str(SETTERS);
    let own = ProducerConfig::table().filter(|it| ConsumerConfig::table().all(|also| also != *it));
    for Property { name, setter, .. } in ConsumerConfig::table().chain(own) {
        let guess = name.trim_end_matches(".ms").replace('.', "_");
        if guess != *setter {
            writeln!(out, "| `{name}` | `{setter}` |").unwrap();
        }
    }
}

const SETTERS: &str = "
## Typed setters

In Rust the properties are methods and fields of `ConsumerConfig`, `ProducerConfig` and `AdminConfig`, those that every client has
of their `common`: `linger.ms` is `linger`, `batch.size` is `batch_size`, without the `ms` since the type says so. These are named otherwise:

| property | typed setter |
|---|---|
";

/// The end of Kafka's integers, which says nothing.
const HIGHEST: i64 = i32::MAX as i64;
