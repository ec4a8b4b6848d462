//! The house rules of this repository, as tests: what a reviewer would otherwise have to remember.
//!
//! The rules are in `tests/`, one file per subject: `crates.rs` for what `cargo metadata` knows
//! (layer edges, licences, sources, lints), `files.rs` for the text of sources and documents,
//! `circles.rs` for what files use of each other, `names.rs` for what a public signature may mention. This library only reads the repository for them.

pub mod modules;
pub mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("tests/tidy is two folders below the root").to_path_buf()
}

/// Returns every file of the repository that is committed or about to be, relative to the root.
pub fn files() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("`git ls-files` could not be started")?;
    if !output.status.success() {
        bail!("`git ls-files` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let files = listing.lines().map(PathBuf::from).filter(|file| root().join(file).is_file());
    Ok(files.collect())
}

/// Returns the text of a file named relative to the root.
pub fn text(file: &Path) -> Result<String> {
    std::fs::read_to_string(root().join(file)).with_context(|| format!("no {}", file.display()))
}

/// One package that the workspace is, or depends on.
#[derive(Debug)]
pub struct Package {
    /// Its name on the registry.
    pub name: String,
    /// Its folder relative to the root, when it is ours.
    pub folder: Option<PathBuf>,
    /// Its SPDX licence expression.
    pub license: Option<String>,
    /// Where cargo has it from; none for a package of this workspace.
    pub source: Option<String>,
    /// The packages it needs at run time, by their index in [`Graph::packages`].
    pub dependencies: BTreeSet<usize>,
}

/// What `cargo metadata` tells of the workspace and all it depends on.
#[derive(Debug)]
pub struct Graph {
    /// All packages; those of the workspace have a folder.
    pub packages: Vec<Package>,
}

impl Graph {
    /// Reads the graph with the lock file as it is.
    pub fn load() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(root())
            .args(["metadata", "--format-version=1"])
            .output()
            .context("`cargo metadata` could not be started")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let document: Value = serde_json::from_slice(&output.stdout)?;
        Self::parse(&document).context("`cargo metadata` has an unexpected form")
    }

    /// Returns the packages of this workspace.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.folder.is_some())
    }

    /// Returns the names of all packages that one package needs at run time, however indirectly.
    pub fn reach(&self, from: &Package) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = from.dependencies.iter().copied().collect();
        while let Some(index) = open.pop() {
            if seen.insert(index) {
                open.extend(&self.packages[index].dependencies);
            }
        }
        seen.into_iter().map(|index| self.packages[index].name.as_str()).collect()
    }

    fn parse(document: &Value) -> Option<Self> {
        let mut packages = Vec::new();
        let mut index_of = BTreeMap::new();
        for package in document["packages"].as_array()? {
            let source = package["source"].as_str().map(str::to_owned);
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let ours = manifest.parent()?.strip_prefix(root()).ok().map(Path::to_path_buf);
            index_of.insert(package["id"].as_str()?, packages.len());
            packages.push(Package {
                name: package["name"].as_str()?.to_owned(),
                folder: if source.is_none() { ours } else { None },
                license: package["license"].as_str().map(str::to_owned),
                source,
                dependencies: BTreeSet::new(),
            });
        }
        for node in document["resolve"]["nodes"].as_array()? {
            let from = *index_of.get(node["id"].as_str()?)?;
            for dependency in node["deps"].as_array()? {
                // A kind of null is a normal dependency; "dev" and "build" are left out.
                let kinds = dependency["dep_kinds"].as_array()?;
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    let to = *index_of.get(dependency["pkg"].as_str()?)?;
                    packages[from].dependencies.insert(to);
                }
            }
        }
        Some(Self { packages })
    }
}
