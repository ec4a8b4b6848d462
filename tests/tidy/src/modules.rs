//! Which module uses which, by the `use` lines of their files.
//!
//! Paths that are written out where they are used do not count, and neither does what only tests use. A
//! name that a module hands on (`pub use`) counts for the module it comes from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// A module's path below its crate: nothing for the crate itself.
pub type Module = Vec<String>;

/// The modules of one crate.
#[derive(Debug, Default)]
pub struct Modules {
    uses: BTreeMap<Module, Vec<Use>>,
}

/// One name of a `use` line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) path: Vec<String>,
    pub(crate) name: String,
    pub(crate) handed_on: bool,
}

impl Modules {
    /// Takes in a file of the crate, named relative to its `src`.
    pub fn add(&mut self, file: &Path, text: &str) {
        self.uses.insert(module_of(file), uses(text));
    }

    /// Returns, for each module that uses itself by way of others, the shortest such way.
    pub fn circles(&self) -> Vec<String> {
        let edges: BTreeMap<&Module, BTreeSet<Module>> =
            self.uses.keys().map(|module| (module, self.used_by(module))).collect();
        let mut found = BTreeMap::new();
        for module in self.uses.keys() {
            if let Some(way) = way_back(module, &edges) {
                let members: BTreeSet<Module> = way.iter().cloned().collect();
                found.entry(members).or_insert(way);
            }
        }
        let name = |module: &Module| {
            if module.is_empty() { "the crate".to_owned() } else { module.join("::") }
        };
        found
            .into_values()
            .map(|way| way.iter().map(name).collect::<Vec<_>>().join(" -> "))
            .collect()
    }

    fn used_by(&self, module: &Module) -> BTreeSet<Module> {
        let used = self.uses[module].iter().filter(|one| !one.handed_on);
        let mut used: BTreeSet<_> = used.filter_map(|one| self.home(module, &one.path)).collect();
        used.remove(module);
        used
    }

    /// Returns the module that defines what `path` names in `module`, if it is of this crate.
    fn home(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut at = match path.first()?.as_str() {
            "crate" => Module::new(),
            "self" | "super" => module.clone(),
            first if self.uses.contains_key(&child(module, first)) => module.clone(),
            _ => return None,
        };
        for (index, step) in path.iter().enumerate() {
            match step.as_str() {
                "crate" | "self" => {}
                "super" => {
                    at.pop()?;
                }
                step if self.uses.contains_key(&child(&at, step)) => at.push(step.to_owned()),
                step => {
                    let handed =
                        self.uses[&at].iter().find(|one| one.handed_on && one.name == step);
                    let Some(handed) = handed else { break };
                    let rest = path[index + 1..].iter().cloned();
                    let path: Vec<_> = handed.path.iter().cloned().chain(rest).collect();
                    return self.home(&at, &path);
                }
            }
        }
        Some(at)
    }
}

fn child(module: &Module, name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn module_of(file: &Path) -> Module {
    let path: PathBuf = file.with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Returns the shortest way from a module over those it uses to itself.
fn way_back(from: &Module, edges: &BTreeMap<&Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let mut before: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut open = VecDeque::from([from]);
    while let Some(at) = open.pop_front() {
        for next in edges.get(at)? {
            if next == from {
                let mut way = vec![from.clone(), at.clone()];
                let mut last = at;
                while last != from {
                    last = before[last];
                    way.push(last.clone());
                }
                way.dedup();
                way.reverse();
                return Some(way);
            }
            if let std::collections::btree_map::Entry::Vacant(place) = before.entry(next) {
                place.insert(at);
                open.push_back(next);
            }
        }
    }
    None
}

/// Returns what the `use` lines of a file name, without its tests.
pub(crate) fn uses(text: &str) -> Vec<Use> {
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    let mut uses = Vec::new();
    let mut rest = code;
    while let Some((line, after)) = rest.split_once('\n') {
        let visible = line.strip_prefix("pub").map(|rest| {
            let rest = rest
                .strip_prefix('(')
                .and_then(|rest| rest.split_once(')'))
                .map_or(rest, |it| it.1);
            rest.trim_start()
        });
        let statement = visible.unwrap_or(line).strip_prefix("use ");
        let Some(statement) = statement else {
            rest = after;
            continue;
        };
        let start = rest.len() - after.len() - 1 - statement.len();
        let Some(end) = rest[start..].find(';') else { break };
        let mut tokens = tokens(&rest[start..start + end]).into();
        flatten(&mut tokens, &mut Vec::new(), visible.is_some(), &mut uses);
        rest = &rest[start + end + 1..];
    }
    uses
}

fn tokens(statement: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for c in statement.chars() {
        if c.is_alphanumeric() || matches!(c, '_' | '*') {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if matches!(c, '{' | '}' | ',') {
            tokens.push(c.to_string());
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    tokens
}

/// Takes one tree of names, up to the comma or brace that ends it.
fn flatten(
    tokens: &mut VecDeque<String>,
    prefix: &mut Vec<String>,
    handed_on: bool,
    uses: &mut Vec<Use>,
) {
    let depth = prefix.len();
    let mut alias = None;
    let mut group = false;
    while let Some(token) = tokens.front() {
        match token.as_str() {
            "," | "}" => break,
            "{" => {
                group = true;
                tokens.pop_front();
                while let Some(next) = tokens.front() {
                    match next.as_str() {
                        "}" => {
                            tokens.pop_front();
                            break;
                        }
                        "," => {
                            tokens.pop_front();
                        }
                        _ => flatten(tokens, prefix, handed_on, uses),
                    }
                }
            }
            "as" => {
                tokens.pop_front();
                alias = tokens.pop_front();
            }
            _ => prefix.extend(tokens.pop_front()),
        }
    }
    if !group {
        let name = alias.or_else(|| prefix.last().cloned()).unwrap_or_default();
        uses.push(Use { path: prefix.clone(), name, handed_on });
    }
    prefix.truncate(depth);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let mut modules = Modules::default();
        for (file, text) in files {
            modules.add(Path::new(file), text);
        }
        modules.circles()
    }

    #[test]
    fn a_circle_is_found_however_the_names_are_written() {
        let found = circles(&[
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a.rs", "use crate::{\n    b::{self, B as Other},\n};\n"),
            ("b/mod.rs", "pub(crate) use self::deep::B;\nmod deep;\n"),
            ("b/deep.rs", "use std::fmt;\nuse super::super::c::C;\n"),
            ("c.rs", "use super::a::A;\n"),
        ]);
        assert_eq!(found, ["a -> b::deep -> c -> a"]);
    }

    #[test]
    fn what_is_handed_on_or_only_tested_is_no_use() {
        let found = circles(&[
            ("lib.rs", "pub use a::A;\nmod a;\nmod b;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use std::fmt;\n\n#[cfg(test)]\nmod tests {\n    use crate::A;\n}\n"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_name_of_the_crate_counts_for_the_module_it_comes_from() {
        let found = circles(&[
            ("lib.rs", "pub use a::A;\nmod a;\nmod b;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use crate::A;\n"),
        ]);
        assert_eq!(found, ["a -> b -> a"]);
    }
}
