//! `cargo xtask bench client`: what a client costs the machine that runs it.
//!
//! Every client reads the same log from the same serving process ([`server`]), or writes the same records
//! to it, one after the other, round by round, each in a process of its own. The figure is the CPU of that process per record,
//! after it has warmed up, and beside it what a reader must cost at the least ([`floor`]): machines
//! and their moods differ, the multiples of the floor in the same run do not.

mod answers;
mod cases;
mod fetches;
mod floor;
mod log;
mod ours;
mod process;
mod progress;
mod readers;
mod server;
mod settings;
mod writing;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;

use super::table::Found;
use crate::places::Places;
use cases::{CASES, Case};
use process::{Figures, Server, measure};
pub(crate) use readers::ReaderArguments;
use readers::{Client, Load};
pub(crate) use server::ServerArguments;
pub(crate) use writing::WriterArguments;

#[derive(Debug, Args)]
pub(crate) struct ClientArguments {
    /// Measure only cases whose name contains this (repeatable); `--list` tells the names.
    #[arg(long, value_name = "WORD")]
    case: Vec<String>,
    /// Measure only this client (repeatable).
    #[arg(long, value_enum)]
    only: Vec<Client>,
    /// How often each client is measured in each case.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many seconds each measurement lasts.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// A glance: one round of one second, little warm-up.
    #[arg(long)]
    quick: bool,
    /// Write what was found to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the names of the cases and measure nothing.
    #[arg(long)]
    list: bool,
}

/// Serves until stdin ends: for another process of this program.
pub(crate) fn serve(arguments: ServerArguments) -> Result<()> {
    server::run(arguments)
}

/// Reads until killed: for another process of this program.
pub(crate) fn read(arguments: &ReaderArguments) -> Result<()> {
    readers::run(arguments)
}

/// Writes until killed: for another process of this program.
pub(crate) fn write(arguments: &WriterArguments) -> Result<()> {
    writing::run(arguments)
}

/// Runs the bench.
pub(super) fn run(arguments: &ClientArguments) -> Result<()> {
    if arguments.list {
        for case in CASES {
            println!("{}", case.word);
        }
        return Ok(());
    }
    for word in &arguments.case {
        if !CASES.iter().any(|case| case.word.contains(word.as_str())) {
            let names: Vec<_> = CASES.iter().map(|case| case.word).collect();
            bail!("no case is called `{word}`: {}", names.join(", "));
        }
    }
    let rounds = if arguments.quick { 1 } else { arguments.rounds };
    ensure!(rounds > 0, "nothing to measure in no round");
    let seconds = if arguments.quick { 1.0 } else { arguments.seconds };
    let time = Duration::try_from_secs_f64(seconds).context("a bad time")?;
    let places = Places::find_broker()?;
    let chosen = arguments.only.as_slice();
    let mut clients = Vec::new();
    for client in Client::ALL {
        if !chosen.is_empty() && !chosen.contains(&client) {
            continue;
        }
        match client.missing(&places) {
            None => clients.push(client),
            Some(why) => println!("{} is left out: {why}", client.name(false)),
        }
    }
    let mut reports = Vec::new();
    let mut missed = 0;
    let wanted = |case: &&Case| {
        let words = &arguments.case;
        words.is_empty() || words.iter().any(|word| case.word.contains(word.as_str()))
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let mut described = Vec::new();
    for (writes, doing) in [(false, "reading"), (true, "writing")] {
        if cases.iter().any(|case| case.writes == writes) {
            println!("\n{doing} with");
            for client in &clients {
                let line = client.described(writes, &places);
                println!("{line}");
                described.push(format!("{doing}: {line}"));
            }
        }
    }
    for case in cases {
        let found = run_case(case, &clients, rounds, time, arguments.quick, &places)
            .with_context(|| format!("case `{}`", case.word))?;
        missed += case.print(&found);
        reports.push(case.to_json(&found));
    }
    if let Some(path) = &arguments.json {
        let report = json!({
            "rounds": rounds,
            "seconds": seconds,
            "clients": described,
            "cases": reports,
        });
        fs::write(path, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("\n{missed} goals missed");
    Ok(())
}

/// A client with what was found in each round.
type Rounds = (Client, Vec<Figures>);

fn run_case(
    case: &Case,
    clients: &[Client],
    rounds: usize,
    time: Duration,
    quick: bool,
    places: &Places,
) -> Result<Vec<Rounds>> {
    let clients = clients.iter().filter(|client| case.takes(**client));
    let mut found: Vec<Rounds> = clients.map(|client| (*client, Vec::new())).collect();
    let mut server = Server::start(&case.server, places)?;
    let load = if case.writes {
        let values = writing::values_file(case.server.shape.value_bytes, places)?;
        Load::Writing(case.server.shape, values)
    } else {
        Load::Reading(case.server.partitions)
    };
    let record_bytes = server.batch_bytes as f64 / case.server.shape.batch_records as f64;
    for _ in 0..rounds {
        for (client, figures) in &mut found {
            let mut command = client.command(places, &server.bootstrap, &load)?;
            let warm_up = client.warm_up(quick);
            let name = format!("bench-{}", client.name(case.writes).replace(' ', "-"));
            let measured =
                measure(&mut command, &name, places, &mut server, record_bytes, warm_up, time);
            match measured {
                Ok(measured) => figures.push(measured),
                // A rival that cannot read this log is told so, and does not end the run.
                Err(error) if client.is_rival() => {
                    println!("{} fails: {error:#}", client.name(case.writes));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// Returns the median of one figure.
fn median(rounds: &[Figures], figure: fn(&Figures) -> f64) -> f64 {
    Found(rounds.iter().map(figure).collect()).median()
}
