//! `kohort`: Kafka's consumer groups in one binary.
//!
//! stdout is data, stderr is words. Exit status: 0 done, 1 failed, 2 the command line was wrong.

mod commands;
mod datetime;
mod demo;
mod format;
mod groups;
mod log_writer;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Kafka's consumer groups: a durable broker, and tools for any Kafka cluster.
#[derive(Debug, Parser)]
#[command(name = "kohort", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker until SIGTERM or Ctrl-C
    Broker(commands::broker::Args),
    /// Create, list, describe, alter and delete topics
    Topic(commands::topic::Args),
    /// Send lines from stdin as records
    Produce(commands::produce::Args),
    /// Write records to stdout as they arrive
    Consume(commands::consume::Args),
    /// List, describe, reset and delete consumer groups
    Group(commands::group::Args),
    /// Verify, dump and repair the data folder of a broker that does not run
    Log(commands::log::Args),
    /// Watch a consumer group at work on a broker of its own, and lose a member
    Demo(demo::Args),
    /// A member of the demo's group
    #[command(hide = true)]
    DemoMember(demo::member::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Broker(args) => commands::broker::run(args),
        Command::Topic(args) => commands::topic::run(args),
        Command::Produce(args) => commands::produce::run(args),
        Command::Consume(args) => commands::consume::run(args),
        Command::Group(args) => commands::group::run(args),
        Command::Log(args) => commands::log::run(args),
        Command::Demo(args) => demo::run(args),
        Command::DemoMember(args) => demo::member::run(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kohort: {}", output::words_of(&error));
            ExitCode::FAILURE
        }
    }
}
