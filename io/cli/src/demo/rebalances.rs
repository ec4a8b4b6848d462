//! Rebalances as the broker tells them: its log, one JSON object a line, read as it grows.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;

use crate::groups::member_id::client_ids;
use crate::groups::story::members;

/// Follows the broker's log for the rebalances of one group.
#[derive(Debug)]
pub(crate) struct RebalanceLog {
    path: PathBuf,
    group: String,
    position: u64,
    /// The beginning of a line whose end is not written yet.
    partial: String,
}

/// One line of the broker's log, as far as it matters here.
#[derive(Debug, Deserialize)]
struct LogLine {
    #[serde(default)]
    message: String,
    #[serde(default)]
    group: String,
    generation: Option<i64>,
    members: Option<u64>,
    cause: Option<String>,
    took_ms: Option<u64>,
}

impl RebalanceLog {
    pub(crate) fn new(path: PathBuf, group: &str) -> Self {
        Self { path, group: group.to_owned(), position: 0, partial: String::new() }
    }

    /// Returns a sentence for each rebalance that ended since the last call.
    pub(crate) fn news(&mut self) -> Vec<String> {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.position))?;
            file.read_to_string(&mut text)
        });
        // A log that cannot be read costs the sentences, not the demo.
        self.position += read.unwrap_or(0) as u64;
        self.partial.push_str(&text);
        let Some(end) = self.partial.rfind('\n') else { return Vec::new() };
        let complete: String = self.partial.drain(..=end).collect();
        complete.lines().filter_map(|line| sentence(line, &self.group)).collect()
    }
}

fn sentence(line: &str, group: &str) -> Option<String> {
    let line: LogLine = serde_json::from_str(line).ok()?;
    if line.message != REBALANCED || line.group != group {
        return None;
    }
    Some(format!(
        "rebalance: generation {} of {}, because {}; took {:.2} s",
        line.generation?,
        members(line.members? as usize),
        client_ids(&line.cause?),
        line.took_ms? as f64 / 1e3
    ))
}

/// The broker's message for a rebalance that ended.
const REBALANCED: &str = "group rebalanced";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebalance_of_the_group_becomes_a_sentence() {
        let line = r#"{"level":"INFO","message":"group rebalanced","group":"delays","generation":2,
            "members":4,"cause":"member member-4 joined","took_ms":1234}"#;
        assert_eq!(
            sentence(line, "delays").unwrap(),
            "rebalance: generation 2 of 4 members, because member member-4 joined; took 1.23 s"
        );
        assert_eq!(sentence(line, "other"), None);
        assert_eq!(sentence("not json", "delays"), None);
    }
}
