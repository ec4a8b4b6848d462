//! `cargo xtask test`: the steps a change must pass, cheapest first. Nothing is skipped silently:
//! each step prints its name and its time, and the first that fails ends the run.
//!
//! Builds are what costs time on a small machine, so there are three kinds and no more: clippy's
//! metadata, the dev profile (unit tests, harnesses) and one release build of the binary `kohort`,
//! which the suites with real clients run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Workspace, run};
use crate::{peers, tools};

/// Prints the steps.
pub(crate) fn list() {
    for step in STEPS {
        println!("{:<8} {}", step.name, step.what);
    }
}

/// Runs all steps, or only the named ones, in the order of [`STEPS`].
fn run_steps(workspace: &Workspace, chosen: &[&Step]) -> Result<()> {
    let started = Instant::now();
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for step in chosen {
        println!("== {}: {}", step.name, step.what);
        let step_started = Instant::now();
        (step.run)(workspace).with_context(|| {
            format!("step `{0}` failed; alone: `cargo xtask test --only {0}`", step.name)
        })?;
        times.push((step.name, step_started.elapsed()));
        println!("== {}: passed in {:.1} s", step.name, step_started.elapsed().as_secs_f64());
    }
    println!();
    for (name, time) in &times {
        println!("{name:<8} {:>7.1} s", time.as_secs_f64());
    }
    println!("{:<8} {:>7.1} s", "all", started.elapsed().as_secs_f64());
    println!("{} passed, 0 failed", times.len());
    Ok(())
}

/// Runs `cargo xtask test [--only STEP]…`.
pub(crate) fn run_chosen(workspace: &Workspace, only: &[String]) -> Result<()> {
    for name in only {
        if !STEPS.iter().any(|step| step.name == name) {
            let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            bail!("no step is called `{name}`; the steps are {}", names.join(", "));
        }
    }
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| only.is_empty() || only.iter().any(|name| name == step.name))
        .collect();
    run_steps(workspace, &chosen)
}

/// Runs `cargo xtask bench`: builds, installs what the bench needs and hands over to the interop
/// program, optimised since it makes the load.
pub(crate) fn bench(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    match arguments.first().map(String::as_str) {
        Some("broker" | "groups") => peers::install_kafka(workspace)?,
        Some("latency") => {}
        Some("client") => {
            peers::install_rivals(workspace)?;
            return run_interop(workspace, &["--release"], "bench", arguments);
        }
        _ => peers::install(workspace)?,
    }
    build(workspace)?;
    run_interop(workspace, &["--release"], "bench", arguments)
}

/// Runs a soak: of the broker alone, or with the clients and Kafka.
pub(crate) fn soak(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if let Some("expulsions" | "nodes") = arguments.first().map(String::as_str) {
        peers::install(workspace)?;
    }
    build(workspace)?;
    run_interop(workspace, &["--release"], "soak", arguments)
}

/// One step of `cargo xtask test`.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

const STEPS: &[Step] = &[
    Step { name: "tools", what: "the tools the peers need are here", run: |_| tools::check() },
    Step { name: "fmt", what: "rustfmt has nothing to change", run: fmt },
    Step { name: "tidy", what: "the house rules hold", run: tidy },
    Step { name: "clippy", what: "no warning in any target", run: clippy },
    Step { name: "test", what: "unit tests, scenarios and doctests", run: test },
    Step { name: "doc", what: "the API documentation builds without a warning", run: doc },
    Step { name: "peers", what: "Kafka's real clients are installed", run: peers::install },
    Step { name: "oracle", what: "our bytes against Kafka's own classes", run: oracle },
    Step { name: "build", what: "the binary as a user gets it", run: build },
    Step { name: "interop", what: "real clients and Kafka's tools on our broker", run: interop },
    Step {
        name: "differential",
        what: "the same groups on Kafka and on our broker",
        run: differential,
    },
    Step { name: "client", what: "our client and command line on Apache Kafka", run: client },
    Step { name: "sigkill", what: "the broker killed 20 times under load", run: sigkill },
];

fn fmt(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(&["fmt", "--all", "--check"]))
}

fn tidy(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(&["test", "--quiet", "--package", "kohort-tidy"]))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let arguments =
        ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    run(&mut workspace.cargo(&arguments))
}

fn test(workspace: &Workspace) -> Result<()> {
    let arguments = [
        "test",
        "--quiet",
        "--workspace",
        "--exclude=kohort-tidy",
        "--exclude=kohort-oracle",
        "--no-fail-fast",
    ];
    run(&mut workspace.cargo(&arguments))
}

fn doc(workspace: &Workspace) -> Result<()> {
    let arguments = ["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"];
    run(workspace.cargo(&arguments).env("RUSTDOCFLAGS", "--deny warnings"))
}

fn oracle(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo(&["test", "--quiet", "--package", "kohort-oracle"]);
    run(cargo.env("KOHORT_PEERS", workspace.peers()))
}

fn build(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(&["build", "--quiet", "--release", "--package", "kohort-cli"]))
}

fn interop(workspace: &Workspace) -> Result<()> {
    interop_program(workspace, "test", &[])
}

fn differential(workspace: &Workspace) -> Result<()> {
    interop_program(workspace, "differential", &[])
}

fn client(workspace: &Workspace) -> Result<()> {
    interop_program(workspace, "client", &[])
}

fn sigkill(workspace: &Workspace) -> Result<()> {
    interop_program(workspace, "sigkill", &[])
}

fn interop_program(workspace: &Workspace, command: &str, arguments: &[String]) -> Result<()> {
    run_interop(workspace, &[], command, arguments)
}

fn run_interop(
    workspace: &Workspace,
    profile: &[&str],
    command: &str,
    arguments: &[String],
) -> Result<()> {
    let mut cargo = workspace.cargo(&["run", "--quiet", "--package", "kohort-interop"]);
    cargo
        .args(profile)
        .args(["--", command])
        .args(arguments)
        .env("KOHORT_PEERS", workspace.peers())
        .env("KOHORT_BINARY", workspace.target.join("release/kohort"));
    run(&mut cargo)
}
