//! Rules about the names that the client's users meet.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use kohort_tidy::names::Names;
use kohort_tidy::{files, text};

/// The crate that is used as a library, and its files.
const CLIENT: &str = "io/client/src";

#[test]
fn whatever_a_signature_of_the_client_mentions_can_be_named_by_its_users() {
    let mut mentioned: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    let last = |path: &str| path.rsplit("::").next().unwrap_or_default().to_owned();
    for file in files().unwrap().into_iter().filter(|file| file.starts_with(CLIENT)) {
        let names = Names::of(&text(&file).unwrap(), |from| from.starts_with("kohort_"));
        named.extend(names.handed_on.iter().map(|path| last(path)));
        for path in names.mentioned {
            mentioned.entry(path).or_default().insert(file.clone());
        }
    }
    assert!(mentioned.len() > 10, "the client's signatures are written in another way");
    let unnameable: Vec<String> = mentioned
        .into_iter()
        .filter(|(path, _)| !named.contains(&last(path)))
        .map(|(path, files)| format!("{path} ({files:?})"))
        .collect();
    assert!(unnameable.is_empty(), "`pub use` these in the client:\n{}", unnameable.join("\n"));
}
