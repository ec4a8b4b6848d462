//! Kohort's one command for everything that is not building: `cargo xtask test` proves a change,
//! `cargo xtask peers` installs Kafka's real clients for the interop suite, `cargo xtask bench`
//! compares our broker with Apache Kafka on this machine.
//!
//! An xtask rather than `make` or `just`, since cargo is all that a contributor has for certain.
#![allow(clippy::print_stdout, reason = "what a task does is told on stdout")]

mod peers;
mod process;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check a change must pass, in order; stops at the first that fails.
    Test {
        /// Run only these steps (repeatable): see the list that `--list` prints.
        #[arg(long, value_name = "STEP")]
        only: Vec<String>,
        /// Print the steps and what each does, and run nothing.
        #[arg(long)]
        list: bool,
    },
    /// Install Kafka's clients, tools and broker into `target/peers`, at pinned versions.
    Peers,
    /// Watch the broker's memory for an hour with 10 000 partitions, 10 000 groups and 2 000
    /// connections, everything coming and going; fails if it grows. Or `soak expulsions`: an hour of
    /// broken connections and pauses; fails if a member that lives is expelled from its group. Or `soak nodes`:
    /// half an hour of our client on three nodes of Apache Kafka that stop and die.
    Soak {
        /// `--minutes N`; `--quick` for a tenth of everything; `--seed N` for the other two.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Compare our broker with Apache Kafka 4.3 on this machine: `bench broker` (a quarter of an
    /// hour; `--quick` for a glance) or `bench franz-go`. Or our client with others: `bench client`,
    /// `bench availability` for how long partitions go unserved.
    /// Or what groups cost both brokers: `bench groups` (eight minutes).
    Bench {
        /// Which bench, and its arguments, such as `broker --case single`; `broker --help` tells all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match carry_out(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(task: Task) -> anyhow::Result<()> {
    let workspace = process::Workspace::find()?;
    match task {
        Task::Test { list: true, .. } => {
            test::list();
            Ok(())
        }
        Task::Test { only, .. } => test::run_chosen(&workspace, &only),
        Task::Peers => peers::install(&workspace),
        Task::Soak { arguments } => test::soak(&workspace, &arguments),
        Task::Bench { arguments } => test::bench(&workspace, &arguments),
    }
}
