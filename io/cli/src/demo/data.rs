//! The records the demo feeds: the committed flights, or the user's own file.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// 20 000 flights of early 2001; `examples/data/README.md` tells their origin.
const FLIGHTS: &str = include_str!("../../../../examples/data/flights.ndjson");

/// One record to produce.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) json: String,
}

/// The flights, keyed by the airport they leave from.
pub(crate) fn flights() -> anyhow::Result<Vec<Row>> {
    FLIGHTS.lines().enumerate().map(|(at, line)| row(at, line, "origin")).collect()
}

/// The user's own newline-delimited JSON, keyed by one of its fields.
pub(crate) fn from_file(path: &Path, key: &str) -> anyhow::Result<Vec<Row>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut rows = Vec::new();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if !line.trim().is_empty() {
            rows.push(row(at, &line, key).with_context(|| format!("in {}", path.display()))?);
        }
    }
    if rows.is_empty() {
        bail!("{} holds no records", path.display());
    }
    Ok(rows)
}

fn row(at: usize, line: &str, key: &str) -> anyhow::Result<Row> {
    let value: Value =
        serde_json::from_str(line).with_context(|| format!("line {} is not JSON", at + 1))?;
    match value.get(key) {
        Some(Value::String(text)) => Ok(Row { key: text.clone(), json: line.to_owned() }),
        Some(Value::Null) | None => bail!("line {} has no field `{key}` to use as its key", at + 1),
        Some(other) => Ok(Row { key: other.to_string(), json: line.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flight_has_its_origin_as_key() {
        let rows = flights().unwrap();
        assert_eq!(rows.len(), 20_000);
        assert_eq!(rows[0].key, "DTW");
    }

    #[test]
    fn a_line_without_the_key_is_named() {
        let error = row(4, r#"{"a":1}"#, "b").unwrap_err().to_string();
        assert_eq!(error, "line 5 has no field `b` to use as its key");
        assert_eq!(row(0, r#"{"a":1}"#, "a").unwrap().key, "1");
    }
}
