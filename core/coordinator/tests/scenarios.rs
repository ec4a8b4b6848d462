//! Runs the scenarios: each file states one rule of the group coordinator and shows it at work.
//!
//! A file begins with the rule and its source as comments. Then come inputs, one a line, each
//! followed by its complete output, indented. See `scenario/parse.rs` for the inputs. After every
//! line a second shard is built from the log alone, and must be equal in its hard state.
//!
//! `UPDATE_SCENARIOS=1 cargo test -p kohort-coordinator` writes the outputs anew; read the diff.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test; the scenarios are files, and one variable rewrites them"
)]

mod scenario;

use std::fmt::Write as _;
use std::path::PathBuf;

use scenario::World;

#[test]
fn every_scenario_holds() {
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let mut failures = String::new();
    for file in files() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let actual = run(&name, &text);
        if actual == text {
            continue;
        }
        if update {
            std::fs::write(&file, actual).unwrap();
        } else {
            let _ = writeln!(failures, "{name}:\n{}", diff(&text, &actual));
        }
    }
    assert!(failures.is_empty(), "\n{failures}(UPDATE_SCENARIOS=1 rewrites the outputs)");
}

#[test]
fn every_scenario_begins_with_its_rule_and_its_source() {
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("# ")).collect();
        let sourced = header.iter().any(|line| line.starts_with("# Source: "));
        assert!(sourced && header.len() > 1, "{}", file.display());
    }
}

/// Runs the inputs of a scenario and returns it with the outputs they have.
fn run(name: &str, text: &str) -> String {
    let mut world = World::new();
    let mut actual = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("  ") {
            continue;
        }
        actual.push_str(line);
        actual.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let output = world.run(line).unwrap_or_else(|problem| {
            panic!("{name}.txt:{}: {problem} in `{line}`", number + 1);
        });
        for line in output {
            let _ = writeln!(actual, "  {line}");
        }
        world.check_replay();
    }
    world.finish();
    actual
}

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Shows the lines between the first and the last difference, with the input they belong to.
fn diff(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) =
        (expected.lines().collect(), actual.lines().collect());
    let pairs = expected.iter().zip(&actual);
    let same_start = pairs.take_while(|(one, other)| one == other).count();
    let (rest, actual_rest) = (&expected[same_start..], &actual[same_start..]);
    let pairs = rest.iter().rev().zip(actual_rest.iter().rev());
    let same_end = pairs.take_while(|(one, other)| one == other).count();
    let input = expected[..same_start].iter().rposition(|line| !line.starts_with("  "));
    let mut text = String::new();
    for line in &expected[input.unwrap_or(0)..same_start] {
        let _ = writeln!(text, "    {line}");
    }
    for line in &rest[..rest.len() - same_end] {
        let _ = writeln!(text, "  - {line}");
    }
    for line in &actual_rest[..actual_rest.len() - same_end] {
        let _ = writeln!(text, "  + {line}");
    }
    text
}
