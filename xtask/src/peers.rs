//! Installs the peers of the interop suite into `target/peers`: Kafka's jars (broker, tools, Java
//! clients) and those of an old Kafka by Maven, librdkafka by pip in a virtual environment, franz-go by the Go toolchain; then
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
    jars(workspace, &sources)?.bring_up_to_date()
}

fn jars(workspace: &Workspace, sources: &Path) -> Result<Peer> {
    let (folder, pom) = (workspace.peers().join("java"), sources.join("pom.xml"));
    let sources = sources.to_path_buf();
    Peer::new("Java libraries", folder, &[pom], move |folder| java_libraries(&sources, folder))
}

/// Installs every peer of the interop suite that is missing or out of date.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    tools::check()?;
    for peer in suite(workspace)? {
        peer.bring_up_to_date()?;
    }
    Ok(())
}

/// Installs what `bench client` compares us with, as far as this machine can: what it cannot is told,
/// and left out of the comparison.
pub(crate) fn install_rivals(workspace: &Workspace) -> Result<()> {
    let mut peers = suite(workspace)?;
    let sources = workspace.root.join("tests/interop");
    let python = workspace.peers().join("python");
    let programs = C_SOURCES.map(|(source, program)| (sources.join(source), program));
    let mut inputs = programs.clone().map(|(source, _)| source).to_vec();
    inputs.push(sources.join("python/requirements.txt"));
    peers.push(Peer::new(
        "programs over librdkafka",
        workspace.peers().join("c"),
        &inputs,
        move |to| programs.iter().try_for_each(|it| c_program(&it.0, it.1, &python, to)),
    )?);
    let rivals = sources.join("rivals");
    let inputs = RIVALS_SOURCES.map(|source| rivals.join(source));
    peers.push(Peer::new("krafka and kacrab", workspace.peers().join("rivals"), &inputs, {
        move |to| rust_rivals(&rivals, to)
    })?);
    for peer in peers {
        if let Err(error) = peer.bring_up_to_date() {
            println!("   {}: left out: {error:#}", peer.name);
        }
    }
    Ok(())
}

/// What the interop suite talks to.
fn suite(workspace: &Workspace) -> Result<Vec<Peer>> {
    let sources = workspace.root.join("tests/interop");
    let peers = workspace.peers();
    let (java, python, go) = (sources.join("java"), sources.join("python"), sources.join("go"));
    let jars = jars(workspace, &java)?;
    let old = sources.join("java-old");
    let mut java_inputs = vec![java.join("pom.xml")];
    java_inputs.extend(JAVA_SOURCES.map(|source| java.join(source)));
    let requirements = python.join("requirements.txt");
    let go_inputs = ["go.mod", "go.sum", "main.go", "features.go", "bench.go", "bench_writer.go"];
    let libraries = jars.folder.clone();
    Ok(vec![
        jars,
        Peer::new("Apache Kafka 2.8", peers.join("java-old"), &[old.join("pom.xml")], move |to| {
            java_libraries(&old, to)
        })?,
        Peer::new("Java driver", peers.join("java-driver"), &java_inputs, move |folder| {
            java_driver(&java, &libraries, folder)
        })?,
        Peer::new("librdkafka", peers.join("python"), &[requirements], move |folder| {
            python_environment(&python, folder)
        })?,
        Peer::new("franz-go", peers.join("go"), &go_inputs.map(|it| go.join(it)), move |folder| {
            go_driver(&go, folder)
        })?,
    ])
}

/// One thing to install: its folder, the text of the files that decide what is in it, and how.
struct Peer {
    name: &'static str,
    folder: PathBuf,
    stamp: String,
    install: Install,
}

/// Puts something into a folder.
type Install = Box<dyn Fn(&Path) -> Result<()>>;

impl Peer {
    fn new(
        name: &'static str,
        folder: PathBuf,
        inputs: &[PathBuf],
        install: impl Fn(&Path) -> Result<()> + 'static,
    ) -> Result<Self> {
        let mut stamp = String::new();
        for input in inputs {
            let text = fs::read_to_string(input)
                .with_context(|| format!("cannot read {}", input.display()))?;
            stamp.push_str(&text);
        }
        Ok(Self { name, folder, stamp, install: Box::new(install) })
    }

    fn bring_up_to_date(&self) -> Result<()> {
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
        with_retries(self.name, || (self.install)(&self.folder))?;
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
        .args(JAVA_SOURCES.map(|source| sources.join(source)));
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

fn c_program(source: &Path, program: &str, python: &Path, folder: &Path) -> Result<()> {
    let library = librdkafka(python).context("the wheel of confluent-kafka has no librdkafka")?;
    let found_in = library.parent().context("a file is in a folder")?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(folder.join(program));
    cc.arg(source).arg(&library).arg(format!("-Wl,-rpath,{}", found_in.display()));
    run_logged(&mut cc, &folder.join("cc.log"))
}

/// Builds the clients written in Rust, apart from our workspace and its lock file.
fn rust_rivals(sources: &Path, folder: &Path) -> Result<()> {
    let built = folder.join("built");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--manifest-path"]);
    cargo.arg(sources.join("Cargo.toml")).arg("--target-dir").arg(&built);
    run_logged(&mut cargo, &folder.join("cargo.log"))?;
    fs::copy(built.join("release/kohort-rivals"), folder.join("rivals"))?;
    Ok(fs::remove_dir_all(&built)?)
}

/// Finds the library, which the wheel has in a folder of its own under a name with a checksum in it.
fn librdkafka(python: &Path) -> Option<PathBuf> {
    let below = |folder: &Path, start: &str| {
        let names = fs::read_dir(folder).ok()?.flatten().map(|it| it.file_name());
        let name = names.into_iter().find(|name| name.to_string_lossy().starts_with(start))?;
        Some(folder.join(name))
    };
    let packages = below(&python.join("venv/lib"), "python3")?.join("site-packages");
    below(&packages.join("confluent_kafka.libs"), "librdkafka")
}

/// What Java's driver and its part in `bench client` are made of.
const JAVA_SOURCES: [&str; 5] =
    ["Driver.java", "Features.java", "Flows.java", "BenchReader.java", "BenchWriter.java"];

/// What the clients written in Rust are made of.
const RIVALS_SOURCES: [&str; 5] =
    ["Cargo.toml", "Cargo.lock", "src/main.rs", "src/kacrab_client.rs", "src/krafka_client.rs"];

/// librdkafka's part in `bench client`, and the programs made of it.
const C_SOURCES: [(&str, &str); 2] =
    [("c/bench_reader.c", "bench-reader"), ("c/bench_writer.c", "bench-writer")];
