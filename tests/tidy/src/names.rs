//! Which names of other crates the public signatures of a file mention, by their text.
//!
//! A name that nobody outside can write, because the crate it comes from is our own affair, is one that
//! nobody can match on or pass to a function of their own. What `pub` says is believed: the lint
//! `unreachable_pub` sees to it that nothing else is public.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Use, uses};

/// What one file says of names that come from other crates.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Those its public signatures mention, as paths.
    pub mentioned: BTreeSet<String>,
    /// Those it hands on.
    pub handed_on: BTreeSet<String>,
}

impl Names {
    /// Reads a file. `foreign` tells the crates that count.
    pub fn of(text: &str, foreign: impl Fn(&str) -> bool) -> Self {
        let foreign = |one: &Use| one.path.first().is_some_and(|first| foreign(first));
        let word = |one: &Use| !["_", "self"].contains(&one.name.as_str());
        let (handed, used): (Vec<Use>, Vec<Use>) = uses(text)
            .into_iter()
            .filter(|one| foreign(one) && word(one))
            .partition(|one| one.handed_on);
        let path = |one: &Use| one.path.join("::");
        let used: BTreeMap<&str, String> =
            used.iter().map(|one| (one.name.as_str(), path(one))).collect();
        let mentioned = signatures(text)
            .iter()
            .flat_map(|signature| words(signature))
            .filter_map(|word| used.get(word).cloned())
            .collect();
        Self { mentioned, handed_on: handed.iter().map(path).collect() }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Returns what is public in a file: functions without their bodies, structs without their own fields, and
/// whole enums and traits.
fn signatures(text: &str) -> Vec<String> {
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    let lines: Vec<&str> =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(item) = line.trim_start().strip_prefix("pub ") else { continue };
        let indented = line.len() - line.trim_start().len();
        let to_the_end_of = |stops: &dyn Fn(&str) -> bool| {
            let rest = &lines[number..];
            let length = rest.iter().position(|line| stops(line)).map_or(rest.len(), |at| at + 1);
            rest[..length].join(" ")
        };
        let closes = |line: &str| line.trim_end() == format!("{:indented$}}}", "");
        match words(item).find(|word| !matches!(*word, "const" | "async")) {
            Some("use" | "mod") => {}
            Some("enum" | "trait") => {
                let stops = |it: &str| closes(it) || it.trim_end().ends_with("{}");
                found.push(to_the_end_of(&stops));
            }
            Some("fn" | "static" | "type") => found.push(to_the_end_of(&|it| {
                it.trim_end().ends_with([';', '{', '}']) || it.contains(" { ")
            })),
            // The head of a struct, and each public field, is a line of its own.
            _ => found.push(to_the_end_of(&|it| it.trim_end().ends_with([';', '{', '}', ',']))),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_signatures_are_told_from_what_is_behind_them() {
        let text = "use ours::{A, B as C, D, E, F, G, H, self};\n\
            pub use ours::deep::K;\n\
            use theirs::T;\n\
            /// D and E\n\
            pub struct S {\n    pub a: A,\n    d: D,\n}\n\
            pub enum N {\n    V {\n        /// H\n        why: C,\n    },\n}\n\
            impl S {\n    pub fn f<\'a>(\n        &self,\n        f: F,\n    ) -> T {\n        D::new()\n    }\n\
            \n    fn own(e: E) {}\n}\n\
            pub trait R {\n    fn g(&self) -> G;\n}\n\
            \n#[cfg(test)]\nmod tests {\n    pub fn h(h: H) {}\n}\n";
        let names = Names::of(text, |from| from == "ours");
        let mentioned: Vec<&str> = names.mentioned.iter().map(String::as_str).collect();
        assert_eq!(mentioned, ["ours::A", "ours::B", "ours::F", "ours::G"]);
        assert_eq!(names.handed_on.into_iter().collect::<Vec<_>>(), ["ours::deep::K"]);
    }
}
