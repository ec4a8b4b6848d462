//! Kafka's real clients and tools against our broker, and against Apache Kafka itself.
//!
//! Every test here passes on Kafka 4.3 first (`--broker kafka`): that shows the test is right. Then it
//! must pass on ours. The clients run at their defaults except for what a test is about.
//!
//! A program rather than a `#[test]` harness: the tests share one broker and one driver process per
//! client, run one after another in a chosen order, and leave no process behind. It prints what
//! `cargo test` prints. README.md in this folder has the protocol of the drivers.
#![allow(clippy::print_stdout, reason = "the results are told on stdout")]

mod bench;
mod broker;
mod client;
mod compatibility;
mod connect;
mod consumer_protocol;
mod cooperative;
mod differential;
mod driver;
mod expectations;
mod features;
mod groups;
mod hub;
mod ledger;
mod mixed;
mod nodes;
mod older;
mod places;
mod records;
mod restart;
mod sample;
mod security;
mod soak;
mod streams;
mod suite;
mod three_nodes;
mod tools;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::bench::client::{ReaderArguments, ServerArguments, WriterArguments};
use crate::broker::Kind;
use crate::hub::Client;
use crate::places::Places;
use crate::soak::SoakArguments;

#[derive(Parser)]
#[command(name = "kohort-interop", about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the clients and the tools against the broker under test.
    Test(TestArguments),
    /// Kill the broker under load, again and again.
    Sigkill(SigkillArguments),
    /// Run the tests of our own client and of the command line against Apache Kafka.
    Client,
    /// Run the tests of our client on three nodes of Apache Kafka.
    Nodes,
    /// Run the tests of our client's TLS and SASL against Apache Kafka.
    Security,
    /// Run the tests of our own client and of the command line against Apache Kafka 2.8.
    Older,
    /// Compare what Apache Kafka and our broker answer to the same groups, field by field.
    Differential {
        /// The broker that is compared with Kafka; Kafka itself to check the test.
        #[arg(long, value_enum, env = "KOHORT_INTEROP_BROKER", default_value = "kohort")]
        broker: Kind,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many seeds.
        #[arg(long, default_value_t = 40)]
        lives: u64,
    },
    /// Measure our broker and Apache Kafka, in turn.
    #[command(subcommand)]
    Bench(Bench),
    /// Watch the broker's memory under a load of everything at once.
    Soak(SoakArguments),
    /// Be the driver of our own client, for another process of this program.
    #[command(hide = true)]
    Driver {
        /// The broker to talk to, as `host:port`.
        bootstrap: String,
    },
    /// Serve a log to the clients of `bench client`.
    #[command(hide = true)]
    BenchServer(ServerArguments),
    /// Be a client of `bench client`.
    #[command(hide = true)]
    BenchReader(ReaderArguments),
    /// Be a producer of `bench client`.
    #[command(hide = true)]
    BenchWriter(WriterArguments),
}

#[derive(Args)]
struct TestArguments {
    /// The broker under test.
    #[arg(long, value_enum, env = "KOHORT_INTEROP_BROKER", default_value = "kohort")]
    broker: Kind,
    /// Run only tests whose name contains one of these words.
    filter: Vec<String>,
}

#[derive(Args)]
struct SigkillArguments {
    /// The broker under test.
    #[arg(long, value_enum, env = "KOHORT_INTEROP_BROKER", default_value = "kohort")]
    broker: Kind,
    /// The client that produces and consumes meanwhile (repeatable).
    #[arg(long, value_enum, default_values_t = Client::ALL)]
    client: Vec<Client>,
    /// How often the broker is killed.
    #[arg(long, default_value_t = 20)]
    kills: usize,
}

fn main() -> ExitCode {
    match carry_out(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything passed.
fn carry_out(command: Command) -> anyhow::Result<bool> {
    if let Command::Bench(bench) = command {
        bench::run(bench)?;
        return Ok(true);
    }
    match &command {
        Command::Soak(arguments) => return soak::run(arguments),
        Command::BenchServer(arguments) => return bench::client::serve(*arguments).map(|()| true),
        Command::BenchReader(arguments) => return bench::client::read(arguments).map(|()| true),
        Command::BenchWriter(arguments) => return bench::client::write(arguments).map(|()| true),
        _ => {}
    }
    if let Command::Differential { broker, seed, lives } = command {
        return differential::run(&Places::find_kafka()?, broker, seed..seed + lives);
    }
    let places = Places::find()?;
    match command {
        Command::Bench(_)
        | Command::Soak(_)
        | Command::BenchServer(_)
        | Command::BenchReader(_)
        | Command::BenchWriter(_)
        | Command::Differential { .. } => Ok(true),
        Command::Driver { bootstrap } => {
            driver::run(&bootstrap)?;
            Ok(true)
        }
        Command::Test(arguments) => {
            if arguments.filter.is_empty() {
                return suite::run_all(&places, arguments.broker);
            }
            let tests = suite::chosen(&arguments.filter);
            suite::run(&places, arguments.broker, &tests)
        }
        Command::Client => client::run(&places),
        Command::Security => security::run(&places),
        Command::Nodes => three_nodes::run(&places),
        Command::Older => older::run(&places),
        Command::Sigkill(arguments) => {
            let tests = restart::kill_tests(&arguments.client, arguments.kills);
            suite::run(&places, arguments.broker, &tests)
        }
    }
}
