//! `docs/broker-configuration.md` is made from the property tables; this test holds it to them.
//! `UPDATE_DOCS=1 cargo test -p kohort-broker --test configuration` writes it anew.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::{Display, Write as _};
use std::fs;

use kohort_broker::config::{
    APPLIED_PROPERTIES, Effect, INERT_PROPERTIES, Kind, Property, TOPIC_PROPERTIES, TopicProperty,
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/broker-configuration.md");

#[test]
fn the_document_of_the_brokers_configuration_is_up_to_date() {
    let made = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PATH, &made).unwrap();
    }
    let found = fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        found == made,
        "docs/broker-configuration.md is not up to date; UPDATE_DOCS=1 rewrites it"
    );
}

fn document() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n## Broker\n\n");
    out.push_str(
        "| name | type | default | range | alterable | meaning |\n|---|---|---|---|---|---|\n",
    );
    for property in APPLIED_PROPERTIES.iter().filter(|property| !property.effect.is_inert()) {
        let alterable = if property.effect == Effect::Live { "yes" } else { "no" };
        let Property { doc, .. } = property;
        row(&mut out, &[&name(property), &alterable, doc]);
    }
    out.push_str("\n## Topics\n\n");
    out.push_str("Where the topic says nothing, the broker's property counts if it is set; all can be altered.\n\n");
    out.push_str("| name | type | default | range | broker's property | meaning |\n|---|---|---|---|---|---|\n");
    for property in TOPIC_PROPERTIES.iter().filter(|property| !property.effect.is_inert()) {
        let TopicProperty { synonyms, doc, .. } = property;
        let synonyms: Vec<String> = synonyms.iter().map(|(name, _)| code(name)).collect();
        row(&mut out, &[&topic_name(property), &synonyms.join(", "), doc]);
    }
    out.push_str("\n## Groups\n\n");
    out.push_str(GROUPS);
    out.push_str("\n## Without effect\n\n");
    out.push_str(WITHOUT_EFFECT);
    out.push_str("| name | type | default | range | meaning |\n|---|---|---|---|---|\n");
    for property in APPLIED_PROPERTIES.iter().filter(|property| property.effect.is_inert()) {
        row(&mut out, &[&name(property), &property.doc]);
    }
    out.push_str("\nOf topics, these have no effect:\n\n");
    out.push_str("| name | type | default | range | meaning |\n|---|---|---|---|---|\n");
    for property in TOPIC_PROPERTIES.iter().filter(|property| property.effect.is_inert()) {
        row(&mut out, &[&topic_name(property), &property.doc]);
    }
    out.push_str("\n## Kafka's other properties\n\n");
    out.push_str(OTHERS);
    out.push_str("| name | type | default | range |\n|---|---|---|---|\n");
    for property in INERT_PROPERTIES {
        row(&mut out, &[&name(property)]);
    }
    out
}

const INTRODUCTION: &str = "\
# Broker configuration

Made from the broker's own tables, `io/broker/src/config`; do not edit. Properties go by Kafka's names, with Kafka 4.3's
types, ranges and defaults. Set them in a file, which may be a Kafka broker's own, with `kohort broker --config server.properties`,
or with `--set NAME=VALUE`, which wins over the file; those that are alterable also while the broker runs, with
IncrementalAlterConfigs (`kafka-configs`). A name that is in no table is refused with the nearest one that is, and a value out
of range with the range. What is set and has no effect is named in one line at start.

The file is one of Java's properties files: `name=value`, `name:value` or `name value` a line, `#` or `!` before a comment, a
backslash at the end to go on in the next line, `\\uXXXX` for a character; read as UTF-8 if it is that, else as Latin-1.

Of two names for one thing, the finer one counts: `log.dirs` over `log.dir`, `log.retention.ms` over `.minutes` over `.hours`,
`log.roll.ms` over `log.roll.hours`. `node.id` and `broker.id` stand for each other and must agree,
also with what the data folder's metadata says.

Of `listeners`, those in `controller.listener.names` are passed over; the others must speak PLAINTEXT, by their name or by
`listener.security.protocol.map`, and all of them are served. A listener that speaks SSL or SASL is refused: neither is served.
A client is told the address in `advertised.listeners` for the listener it came by, else that listener's own address, and
where that is every address, the one it came by.
";

const WITHOUT_EFFECT: &str = "\
These are checked, kept and described, and change nothing. A broker that is started with one says so.

";

const OTHERS: &str = "\
They concern replication, the controller quorum, tiered storage, security, the JVM, or protocols that are not served. A Kafka
broker's own file may set them: they are checked by type, described as Kafka describes them, and change nothing here. So are
names that begin with `listener.name.`, `config.providers.`, `rsm.config.` or `rlmm.config.`, those that Kafka 4 has dropped,
`zookeeper.*` among them, what an authorizer reads, `super.users` and `allow.everyone.if.no.acl.found`, and Kafka's switches for
what is not released, `unstable.api.versions.enable` and `unstable.feature.versions.enable`.

";

const GROUPS: &str = "\
A group may have properties of its own, which IncrementalAlterConfigs sets on a resource of type GROUP (`kafka-configs --group`).
What it does not say is the broker's. A value beyond the broker's bounds is refused; if a restart changes the bounds, the
nearest value within them is in force. Those that begin with `share.` or `streams.` are checked and kept, and change nothing.

| name | broker's property | bounds |
|---|---|---|
| `consumer.session.timeout.ms` | `group.consumer.session.timeout.ms` | `group.consumer.min.session.timeout.ms`, `group.consumer.max.session.timeout.ms` |
| `consumer.heartbeat.interval.ms` | `group.consumer.heartbeat.interval.ms` | `group.consumer.min.heartbeat.interval.ms`, `group.consumer.max.heartbeat.interval.ms` |
| `consumer.assignment.interval.ms` | `group.consumer.assignment.interval.ms` | `group.consumer.min.assignment.interval.ms`, `group.consumer.max.assignment.interval.ms` |
";

/// Writes a table's row.
fn row(out: &mut String, cells: &[&dyn Display]) {
    for cell in cells {
        write!(out, "| {cell} ").unwrap();
    }
    out.push_str("|\n");
}

/// The first four cells: name, type, default, range.
fn name(property: &Property) -> String {
    cells(property.name, property.kind, property.default)
}

fn topic_name(property: &TopicProperty) -> String {
    cells(property.name, property.kind, Some(property.default))
}

fn cells(name: &str, kind: Kind, default: Option<&str>) -> String {
    let default = match default {
        None => "null".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => code(text),
    };
    let (kind, range) = kind_and_range(kind);
    format!("{} | {kind} | {default} | {range}", code(name))
}

fn kind_and_range(kind: Kind) -> (&'static str, String) {
    match kind {
        Kind::Bool => ("boolean", String::new()),
        Kind::Short(low, high) => ("16-bit integer", range(low, high, i64::from(i16::MAX))),
        Kind::Int(low, high) => ("32-bit integer", range(low, high, i64::from(i32::MAX))),
        Kind::Long(low, high) => ("64-bit integer", range(low, high, i64::MAX)),
        Kind::Double(f64::MIN, f64::MAX) => ("number", String::new()),
        Kind::Double(low, high) => ("number", format!("{low} to {high}")),
        Kind::Text => ("text", String::new()),
        Kind::OneOf(allowed) => ("word", words(allowed)),
        Kind::List(allowed) => ("list", words(allowed)),
        Kind::AddressLimits => ("ADDRESS:LIMIT list", String::new()),
        Kind::Class => ("Java class", String::new()),
        Kind::Password => ("secret", String::new()),
    }
}

/// A bound at the end of the type says nothing.
fn range(low: i64, high: i64, most: i64) -> String {
    match (low <= -most, high == most) {
        (true, true) => String::new(),
        (true, false) => format!("at most {high}"),
        (false, true) => format!("at least {low}"),
        (false, false) => format!("{low} to {high}"),
    }
}

fn words(words: &[&str]) -> String {
    words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", ")
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}
