//! `docs/compatibility.md`: which client and which tool was seen to work with what, on Kafka and on
//! ours. A run with `UPDATE_DOCS=1` writes the cells of its tests and its broker, a whole run without
//! compares. So the table holds what runs showed and nothing else; a test below compares its rows
//! with the suite's list, without running anything.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::broker::Kind;
use crate::suite::Test;

/// The rows of the document: what each test showed on each broker, by the test's name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// The versions of the clients and tools, by subject.
    versions: BTreeMap<String, String>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    test: String,
    on_kafka: String,
    on_ours: String,
}

impl Table {
    /// Reads the document; one that is not there is empty.
    pub(crate) fn read(sources: &Path) -> Result<Self> {
        match fs::read_to_string(path(sources)?) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(_) => Ok(Self::default()),
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut table = Self::default();
        let mut subject = "";
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                let (name, version) = heading.split_once(": ").unwrap_or((heading, ""));
                table.versions.insert(name.to_owned(), version.to_owned());
                subject = name;
            }
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if let ["", what, on_kafka, on_ours, ""] = cells[..]
                && what != "what"
                && !what.starts_with('-')
            {
                table.rows.push(Row {
                    test: format!("{subject}::{}", what.replace(' ', "_")),
                    on_kafka: on_kafka.to_owned(),
                    on_ours: on_ours.to_owned(),
                });
            }
        }
        table
    }

    /// Returns the table that a run leaves: a row for each test of the suite, with what the run
    /// showed on its broker, and what is known from before of the rest.
    pub(crate) fn after_run(
        &self,
        kind: Kind,
        suite: &[Test],
        outcomes: &BTreeMap<String, String>,
        versions: BTreeMap<String, String>,
    ) -> Self {
        let row = |test: &Test| {
            let known = self.rows.iter().find(|row| row.test == test.name()).cloned();
            let mut row = known.unwrap_or_else(|| Row {
                test: test.name().to_owned(),
                on_kafka: NOT_RUN.to_owned(),
                on_ours: NOT_RUN.to_owned(),
            });
            if let Some(outcome) = outcomes.get(test.name()) {
                match kind {
                    Kind::Kafka => row.on_kafka.clone_from(outcome),
                    Kind::Kohort => row.on_ours.clone_from(outcome),
                }
            }
            row
        };
        Self { versions, rows: suite.iter().map(row).collect() }
    }

    /// Writes the document.
    pub(crate) fn write(&self, sources: &Path) -> Result<()> {
        let path = path(sources)?;
        fs::write(&path, self.render()).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn render(&self) -> String {
        let mut text = HEAD.to_owned();
        for (subject, version) in &self.versions {
            let _ = write!(text, "\n## {subject}: {version}\n\n{COLUMNS}");
            for row in &self.rows {
                let (of, what) = row.test.split_once("::").unwrap_or(("", &row.test));
                if of == subject {
                    let what = what.replace('_', " ");
                    let _ = writeln!(text, "| {what} | {} | {} |", row.on_kafka, row.on_ours);
                }
            }
        }
        text
    }

    /// Fails with the first claim of the document that a run did not show. `not run` claims nothing.
    pub(crate) fn check(&self, found: &Self) -> Result<()> {
        let next = "a run with `UPDATE_DOCS=1` writes docs/compatibility.md";
        for (documented, shown) in self.rows.iter().zip(&found.rows) {
            let holds = |claim: &str, seen: &str| claim == NOT_RUN || claim == seen;
            ensure!(
                documented.test == shown.test
                    && holds(&documented.on_kafka, &shown.on_kafka)
                    && holds(&documented.on_ours, &shown.on_ours),
                "documented {documented:?}, shown {shown:?}: {next}"
            );
        }
        ensure!(
            self.rows.len() == found.rows.len() && self.versions == found.versions,
            "docs/compatibility.md has other tests or versions than this run: {next}"
        );
        Ok(())
    }
}

fn path(sources: &Path) -> Result<PathBuf> {
    let root = sources.ancestors().nth(2).context("no workspace above tests/interop")?;
    Ok(root.join("docs/compatibility.md"))
}

/// What stands for a broker on which a test was not run yet.
const NOT_RUN: &str = "not run";
const HEAD: &str = "\
# What works with Kohort

Written by the suite in `tests/interop`, one row for each of its tests, with what its last run showed on Apache Kafka 4.3.0
and on Kohort; do not edit. A test that fails on Kafka is wrong. \"fails\" tells what Kohort lacks.
";
const COLUMNS: &str = "| what | Apache Kafka | Kohort |\n|---|---|---|\n";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::suite;

    fn document() -> Table {
        Table::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn the_document_has_a_row_for_each_test_of_the_suite() {
        let documented: Vec<String> = document().rows.into_iter().map(|row| row.test).collect();
        let mut listed: Vec<String> =
            suite::chosen(&[]).iter().map(|test| test.name().to_owned()).collect();
        // The document has them by subject, in the suite's order.
        listed.sort_by_key(|name| name.split("::").next().unwrap().to_owned());
        assert_eq!(documented, listed, "a run with `UPDATE_DOCS=1` writes the document");
    }

    #[test]
    fn everything_passes_on_kafka_and_each_failure_on_ours_is_an_expected_one() {
        for Row { test, on_kafka, on_ours } in document().rows {
            let holds = |claim: &str, expected: &str| claim == NOT_RUN || claim == expected;
            assert!(holds(&on_kafka, "passed"), "{test}");
            let expected = crate::expectations::reason_to_fail(Kind::Kohort, &test)
                .map_or("passed".to_owned(), |reason| format!("fails: {reason}"));
            assert!(holds(&on_ours, &expected), "{test}: {on_ours}, expected {expected}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let versions = BTreeMap::from([("java".to_owned(), "1.2".to_owned())]);
        let suite = [Test::new("java::it_works", |_| Ok(()))];
        let outcomes = BTreeMap::from([("java::it_works".to_owned(), "passed".to_owned())]);
        let table = Table::default().after_run(Kind::Kafka, &suite, &outcomes, versions);
        assert_eq!(Table::parse(&table.render()), table);
        assert_eq!(table.rows[0].on_ours, NOT_RUN);
    }
}
