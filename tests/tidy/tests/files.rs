//! Rules about the text of sources and documents.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Component, Path, PathBuf};

use kohort_tidy::{files, text};

/// A file that needs more than this holds more than one idea.
const LINES_MAX: usize = 800;

/// What the root folder may hold: a newcomer's first screen, and nothing a run leaves behind.
const ROOT_ENTRIES: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "NOTICE",
    "README.md",
    "benches",
    "clippy.toml",
    "core",
    "docs",
    "examples",
    "fuzz",
    "io",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "sim",
    "tests",
    "xtask",
];

#[test]
fn no_source_file_is_longer_than_one_idea() {
    let long: Vec<String> = rust_files()
        .map(|file| (text(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, file)| format!("{} has {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "split by concept, none over {LINES_MAX}:\n{}", long.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = rust_files()
        .filter(|file| !text(file).unwrap().trim_start().starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "these do not open with `//!`:\n{}", silent.join("\n"));
}

#[test]
fn nothing_is_left_to_be_written() {
    // Put together here so that this file does not find itself.
    let markers = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
    let mut problems = Vec::new();
    for file in rust_files() {
        for (number, line) in text(&file).unwrap().lines().enumerate() {
            if markers.iter().any(|marker| line.contains(marker)) {
                problems.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_decision_says_context_decision_and_consequence() {
    let mut problems = Vec::new();
    for file in files().unwrap() {
        let markdown = file.extension().is_some_and(|extension| extension == "md");
        if !file.starts_with("docs/decisions") || !markdown || file.ends_with("README.md") {
            continue;
        }
        let record = text(&file).unwrap();
        for heading in ["## Context", "## Decision", "## Consequence"] {
            if !record.lines().any(|line| line.starts_with(heading)) {
                problems.push(format!("{} has no `{heading}`", file.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn decisions_are_numbered_once() {
    let mut numbers: Vec<String> = files()
        .unwrap()
        .iter()
        .filter(|file| file.starts_with("docs/decisions"))
        .filter_map(|file| Some(file.file_name()?.to_str()?.get(..4)?.to_owned()))
        .collect();
    let all = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), all, "two decisions have one number: {numbers:?}");
}

#[test]
fn the_index_of_decisions_has_each_under_its_title() {
    let index = text(Path::new("docs/decisions/README.md")).unwrap();
    let listed: Vec<&str> = index.lines().filter(|line| line.starts_with("- [")).collect();
    let mut records = files().unwrap();
    records.retain(|file| file.starts_with("docs/decisions") && !file.ends_with("README.md"));
    records.sort();
    let due: Vec<String> = records
        .iter()
        .map(|file| {
            let record = text(file).unwrap();
            let heading = record.lines().next().unwrap().trim_start_matches("# ");
            let (number, title) = heading.split_once([':', '.']).unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            format!("- [{}]({name}):{title}", number.trim_start_matches('0'))
        })
        .collect();
    assert_eq!(listed, due, "docs/decisions/README.md lists the decisions, one a line");
}

/// Links from one document to another, and paths in backticks that begin with one of our folders.
#[test]
fn every_path_a_document_names_exists() {
    let known = files().unwrap();
    let exists = |path: &Path| known.iter().any(|file| file.starts_with(path));
    let mut problems = Vec::new();
    for document in known.iter().filter(|file| file.extension().is_some_and(|it| it == "md")) {
        let content = text(document).unwrap();
        let folder = document.parent().unwrap();
        let links = content.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links = links.filter(|link| !link.contains("://")).map(|link| (folder, link));
        let paths = content.split('`').skip(1).step_by(2).filter(|word| is_our_path(word));
        let paths = paths.map(|path| (Path::new(""), path));
        for (from, path) in links.chain(paths) {
            let path = path.split('#').next().unwrap().trim_end_matches('/');
            // A decision may be named by its number alone.
            let numbered = path.starts_with("docs/decisions/")
                && known.iter().any(|file| file.to_str().unwrap().starts_with(path));
            if !numbered && !path.is_empty() && !exists(&plain(&from.join(path))) {
                problems.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(problems.is_empty(), "these do not exist:\n{}", problems.join("\n"));
}

fn is_our_path(word: &str) -> bool {
    let mut parts = word.split('/');
    let ours = parts.next().is_some_and(|first| {
        ["core", "docs", "examples", "io", "tests", "xtask", ".ci"].contains(&first)
    });
    let written_out =
        |part: &str| part.chars().all(|it| it.is_ascii_alphanumeric() || "._-".contains(it));
    ours && word.contains('/') && parts.all(written_out)
}

/// Takes `..` out of a path.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[test]
fn the_root_folder_holds_only_what_belongs_there() {
    let strays: Vec<String> = files()
        .unwrap()
        .iter()
        .filter_map(|file| file.components().next())
        .map(|first| first.as_os_str().to_string_lossy().into_owned())
        .filter(|first| !ROOT_ENTRIES.contains(&first.as_str()))
        .collect();
    assert!(strays.is_empty(), "not in the list of the root folder: {}", strays.join(", "));
}

#[test]
fn the_documents_of_the_root_are_there() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        text(Path::new(document)).unwrap();
    }
}

fn rust_files() -> impl Iterator<Item = PathBuf> {
    files()
        .unwrap()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
}
