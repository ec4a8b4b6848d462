//! Rules about crates: who may use whom, whose code we take, and which lints apply.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::path::Path;

use kohort_tidy::{Graph, Package, text};

/// Each crate of the two layers with the crates of ours it may use, as in ARCHITECTURE.md. A crate
/// that is not listed here and not in [`FREE_FOLDERS`] fails the test: give it a place first.
const EDGES: &[(&str, &[&str])] = &[
    ("kohort-protocol", &[]),
    ("kohort-assignor", &["kohort-protocol"]),
    ("kohort-coordinator", &["kohort-protocol", "kohort-assignor"]),
    ("kohort-client-core", &["kohort-protocol", "kohort-assignor"]),
    ("kohort-log", &["kohort-protocol"]),
    ("kohort-storage", &["kohort-log", "kohort-protocol"]),
    ("kohort-broker", &["kohort-coordinator", "kohort-storage", "kohort-log", "kohort-protocol"]),
    ("kohort", &["kohort-client-core", "kohort-assignor", "kohort-protocol"]),
    ("kohort-cli", &["kohort", "kohort-broker", "kohort-protocol"]),
];

/// Where crates live that are never published and may use anything.
const FREE_FOLDERS: &[&str] = &["xtask", "sim", "tests", "fuzz", "benches", "examples"];

/// What a crate under `core/` must not reach, however indirectly: it has no runtime and no sockets.
const BANNED_IN_CORE: &[&str] = &["tokio", "mio", "socket2", "async-std", "futures-executor"];

/// The licences whose terms an Apache-2.0 program can carry.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn crates_depend_only_along_the_layer_edges() {
    let graph = Graph::load().unwrap();
    let ours: BTreeSet<&str> = graph.members().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in graph.members().filter(|package| !is_free(package)) {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            problems.push(format!("`{}` has no entry in the table of edges", package.name));
            continue;
        };
        for index in &package.dependencies {
            let name = graph.packages[*index].name.as_str();
            if ours.contains(name) && !allowed.contains(&name) {
                problems.push(format!("`{}` must not depend on `{name}`", package.name));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn core_crates_reach_no_runtime() {
    let graph = Graph::load().unwrap();
    let mut problems = Vec::new();
    for package in graph.members().filter(|package| folder(package).starts_with("core")) {
        let reach = graph.reach(package);
        for banned in BANNED_IN_CORE.iter().filter(|banned| reach.contains(*banned)) {
            problems.push(format!("`{}` reaches `{banned}`", package.name));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_package_has_a_licence_we_can_carry() {
    let graph = Graph::load().unwrap();
    let mut problems = Vec::new();
    for package in &graph.packages {
        match &package.license {
            Some(expression) if permits(expression) => {}
            Some(expression) => problems.push(format!("`{}` is {expression}", package.name)),
            None => problems.push(format!("`{}` names no licence", package.name)),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_package_is_ours_or_from_crates_io() {
    let graph = Graph::load().unwrap();
    let foreign: Vec<String> = graph
        .packages
        .iter()
        .filter(|package| package.folder.is_none())
        .filter(|package| package.source.as_deref() != Some(CRATES_IO))
        .map(|package| format!("`{}` comes from {:?}", package.name, package.source))
        .collect();
    assert!(foreign.is_empty(), "{}", foreign.join("\n"));
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    // With them comes `unsafe_code = "forbid"`, which no attribute can take back.
    let workspace = text(Path::new("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""), "unsafe code is no longer forbidden");
    let graph = Graph::load().unwrap();
    let lax: Vec<&str> = graph
        .members()
        .filter(|package| {
            let manifest = text(&folder(package).join("Cargo.toml")).unwrap();
            !manifest.contains("[lints]\nworkspace = true")
        })
        .map(|package| package.name.as_str())
        .collect();
    assert!(lax.is_empty(), "without `lints.workspace = true`: {}", lax.join(", "));
}

#[test]
fn every_free_crate_is_kept_from_the_registry() {
    let graph = Graph::load().unwrap();
    let publishable: Vec<&str> = graph
        .members()
        .filter(|package| is_free(package))
        .filter(|package| {
            let manifest = text(&folder(package).join("Cargo.toml")).unwrap();
            !manifest.contains("publish = false")
        })
        .map(|package| package.name.as_str())
        .collect();
    assert!(publishable.is_empty(), "without `publish = false`: {}", publishable.join(", "));
}

#[test]
fn architecture_names_every_crate_of_the_two_layers() {
    let document = text(Path::new("ARCHITECTURE.md")).unwrap();
    let graph = Graph::load().unwrap();
    let unnamed: Vec<&str> = graph
        .members()
        .filter(|package| !is_free(package))
        .map(|package| package.name.as_str())
        .filter(|name| !document.contains(&format!("`{name}`")))
        .collect();
    assert!(unnamed.is_empty(), "ARCHITECTURE.md does not name {}", unnamed.join(", "));
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    assert!(permits("MIT"));
    assert!(permits("MIT/Apache-2.0"));
    assert!(permits("GPL-2.0 OR MIT"));
    assert!(permits("(MIT OR GPL-2.0) AND Unicode-3.0"));
    assert!(permits("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
    assert!(!permits("GPL-2.0"));
    assert!(!permits("MIT AND GPL-2.0"));
    assert!(!permits("(MIT AND GPL-2.0) OR MPL-2.0"));
}

fn is_free(package: &Package) -> bool {
    let first = folder(package).components().next();
    first.is_some_and(|first| FREE_FOLDERS.iter().any(|free| first.as_os_str() == *free))
}

fn folder(package: &Package) -> &Path {
    package.folder.as_deref().expect("a member of the workspace has a folder")
}

/// Returns whether a licence expression can be met with [`LICENCES`] alone.
fn permits(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let answer = any_of(&mut rest);
    assert!(rest.is_empty(), "`{expression}` is not a licence expression");
    answer
}

fn any_of(words: &mut &[&str]) -> bool {
    let mut answer = all_of(words);
    while let Some((&"OR", rest)) = words.split_first() {
        *words = rest;
        answer |= all_of(words);
    }
    answer
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut answer = one(words);
    while let Some((&"AND", rest)) = words.split_first() {
        *words = rest;
        answer &= one(words);
    }
    answer
}

fn one(words: &mut &[&str]) -> bool {
    let Some((&first, rest)) = words.split_first() else { return false };
    *words = rest;
    if first == "(" {
        let answer = any_of(words);
        *words = words.get(1..).unwrap_or_default();
        return answer;
    }
    // An exception (`WITH …`) only adds permissions.
    if words.first() == Some(&"WITH") {
        *words = words.get(2..).unwrap_or_default();
    }
    LICENCES.contains(&first)
}

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
