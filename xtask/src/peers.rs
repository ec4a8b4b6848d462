//! Installs the peers of the interop suite into `target/peers`: Kafka's jars (broker, tools, Java
//! clients) by Maven, librdkafka by pip in a virtual environment, franz-go by the Go toolchain; then
//! builds the driver program of each.
//!
//! Versions are pinned by committed files. A peer is installed again only when one of the files that
//! make it changed: `stamp` in its folder holds the text of those files as of the last good install.
//! Mirrors and proxies are the machine's business: nothing here sets a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::process::{Workspace, run_logged, with_retries};
use crate::tools;

/// Installs Apache Kafka alone, for a bench that needs no client.
pub(crate) fn install_kafka(workspace: &Workspace) -> Result<()> {
    let sources = workspace.root.join("tests/interop/java");
    let jars = jars(workspace, &sources)?;
    jars.bring_up_to_date(|folder| java_libraries(&sources, folder))
}

fn jars(workspace: &Workspace, sources: &Path) -> Result<Peer> {
    Peer::new("Java libraries", workspace.peers().join("java"), &[sources.join("pom.xml")])
}

/// Installs every peer that is missing or out of date.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    tools::check()?;
    let sources = workspace.root.join("tests/interop");
    let peers = workspace.peers();
    let jars = jars(workspace, &sources.join("java"))?;
    let java = Peer::new(
        "Java driver",
        peers.join("java-driver"),
        &[
            sources.join("java/pom.xml"),
            sources.join("java/Driver.java"),
            sources.join("java/Features.java"),
            sources.join("java/Flows.java"),
        ],
    )?;
    let requirements = sources.join("python/requirements.txt");
    let python = Peer::new("librdkafka", peers.join("python"), &[requirements])?;
    let go = Peer::new(
        "franz-go",
        peers.join("go"),
        &[
            sources.join("go/go.mod"),
            sources.join("go/go.sum"),
            sources.join("go/main.go"),
            sources.join("go/features.go"),
        ],
    )?;
    jars.bring_up_to_date(|folder| java_libraries(&sources.join("java"), folder))?;
    java.bring_up_to_date(|folder| java_driver(&sources.join("java"), &jars.folder, folder))?;
    python.bring_up_to_date(|folder| python_environment(&sources.join("python"), folder))?;
    go.bring_up_to_date(|folder| go_driver(&sources.join("go"), folder))
}

/// One thing to install: its folder and the text of the files that decide what is in it.
struct Peer {
    name: &'static str,
    folder: PathBuf,
    stamp: String,
}

impl Peer {
    fn new(name: &'static str, folder: PathBuf, inputs: &[PathBuf]) -> Result<Self> {
        let mut stamp = String::new();
        for input in inputs {
            let text = fs::read_to_string(input)
                .with_context(|| format!("cannot read {}", input.display()))?;
            stamp.push_str(&text);
        }
        Ok(Self { name, folder, stamp })
    }

    fn bring_up_to_date(&self, install: impl Fn(&Path) -> Result<()>) -> Result<()> {
        let stamp = self.folder.join("stamp");
        if fs::read_to_string(&stamp).is_ok_and(|text| text == self.stamp) {
            println!("   {}: up to date", self.name);
            return Ok(());
        }
        let started = Instant::now();
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot empty {}", self.folder.display()))?;
        }
        fs::create_dir_all(&self.folder)?;
        with_retries(self.name, || install(&self.folder))?;
        fs::write(&stamp, &self.stamp)?;
        println!("   {}: installed in {:.1} s", self.name, started.elapsed().as_secs_f64());
        Ok(())
    }
}

fn java_libraries(sources: &Path, folder: &Path) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(sources.join("pom.xml"))
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", folder.join("libs").display()));
    run_logged(&mut maven, &folder.join("mvn.log"))
}

fn java_driver(sources: &Path, libraries: &Path, folder: &Path) -> Result<()> {
    let mut javac = Command::new("javac");
    javac
        .args(["-Xlint:all", "-Werror", "--release", "17", "-cp"])
        .arg(libraries.join("libs/*"))
        .arg("-d")
        .arg(folder.join("classes"))
        .args(["Driver.java", "Features.java", "Flows.java"].map(|source| sources.join(source)));
    run_logged(&mut javac, &folder.join("javac.log"))
}

fn python_environment(sources: &Path, folder: &Path) -> Result<()> {
    let environment = folder.join("venv");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&environment);
    run_logged(&mut venv, &folder.join("venv.log"))?;
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--only-binary", ":all:", "--requirement"])
        .arg(sources.join("requirements.txt"));
    run_logged(&mut pip, &folder.join("pip.log"))
}

fn go_driver(sources: &Path, folder: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(sources).args(["build", "-o"]).arg(folder.join("driver")).arg(".");
    run_logged(&mut go, &folder.join("go.log"))
}
