//! Rules about what the files of a crate use of each other.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use kohort_tidy::modules::Modules;
use kohort_tidy::{files, text};

/// Where nothing may go round: in every crate that the product is made of.
const WITHOUT_CIRCLES: &[&str] = &[
    "core/assignor",
    "core/client",
    "core/coordinator",
    "core/log",
    "core/protocol",
    "io/broker",
    "io/cli",
    "io/client",
    "io/storage",
];

#[test]
fn files_do_not_use_each_other_in_circles() {
    let mut crates: BTreeMap<PathBuf, Modules> = BTreeMap::new();
    for file in files().unwrap() {
        let source = WITHOUT_CIRCLES.iter().map(|one| PathBuf::from(one).join("src"));
        let Some(source) = source.into_iter().find(|source| file.starts_with(source)) else {
            continue;
        };
        if file.extension().is_some_and(|extension| extension == "rs") {
            let text = text(&file).unwrap();
            let file = file.strip_prefix(&source).unwrap();
            crates.entry(source.clone()).or_default().add(file, &text);
        }
    }
    assert_eq!(crates.len(), WITHOUT_CIRCLES.len(), "a crate is somewhere else");
    let circles: Vec<String> = crates
        .iter()
        .flat_map(|(source, modules)| {
            let told = |circle| format!("{}: {circle}", source.display());
            modules.circles().into_iter().map(told).collect::<Vec<_>>()
        })
        .collect();
    let advice = "move what both need into a file below them";
    assert!(circles.is_empty(), "{advice}:\n{}", circles.join("\n"));
}
