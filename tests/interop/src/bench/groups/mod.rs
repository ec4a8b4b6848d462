//! `bench groups`: what groups cost, beside Apache Kafka in the same run.
//!
//! A thousand members are a thousand connections of one thread, each with a task that says what a client
//! at its defaults says and nothing else; so what is measured is how long the coordinator takes to bring
//! them together, and what that costs its process. Classic members heartbeat every three seconds,
//! members of the new protocol as often as they are told.
//!
//! Each case has a broker of its own at its defaults, one after the other: what groups leave behind is the
//! next case's to carry otherwise. Kafka sees joins and heartbeats for some seconds before ([`warm`]). A
//! case that fails or takes too long costs its line, and the run its success, but not the other cases.
//! How long partitions go unserved is measured with real clients: `bench availability`.

mod assignor;
mod classic;
mod consumer;
mod echo;
mod large;
mod many;
mod peer;
mod warm;

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::table::Goal::{AtLeast, AtMost, Less};
use super::table::{Found, Line, Measure, head};
use super::target::Column;
use crate::places::Places;

#[derive(Debug, Args)]
pub(crate) struct GroupsArguments {
    /// Measure only cases whose name begins with this (repeatable); `--list` tells the names.
    #[arg(long, value_name = "WORD")]
    case: Vec<String>,
    /// Measure only this broker (repeatable).
    #[arg(long, value_enum, default_values_t = [Column::Kohort, Column::Kafka])]
    only: Vec<Column>,
    /// How often each case is measured.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Print the names of the cases and measure nothing.
    #[arg(long)]
    list: bool,
}

/// What is measured in one go.
struct Case {
    word: &'static str,
    measures: &'static [Measure],
    /// Measures on a broker of its own; a value that is missing or no number is not shown.
    run: fn(Column, &Places) -> Result<Vec<f64>>,
}

const CASES: &[Case] = &[
    Case {
        word: "consumer-1000",
        measures: &[
            Measure::new("consumer, 1000 members join: settled", "s", AtMost(1.5)),
            Measure::new("one leaves: settled", "s", AtMost(0.5)),
            Measure::new("CPU per heartbeat, idle work included", "us", AtMost(15.0)),
            Measure::new("heartbeats a second", "1/s", Less),
        ],
        run: |column, places| large::consumers(column, places, 1_000),
    },
    Case {
        word: "consumer-300",
        measures: &[
            Measure::new("consumer, 300 members join: settled", "s", AtMost(0.5)),
            Measure::new("one leaves: settled", "s", AtMost(0.3)),
        ],
        run: |column, places| large::consumers(column, places, 300),
    },
    Case {
        word: "classic-1000",
        measures: &[
            Measure::new("classic, 1000 members join: stable", "s", AtMost(1.5)),
            Measure::new("generations that took", "", AtMost(2.0)),
            Measure::new("one leaves: stable", "s", AtMost(3.5)),
            Measure::new("CPU per heartbeat, idle work included", "us", AtMost(15.0)),
        ],
        run: |column, places| large::classics(column, places, 1_000),
    },
    Case {
        word: "classic-300",
        measures: &[
            Measure::new("classic, 300 members join: stable", "s", AtMost(0.6)),
            Measure::new("generations that took", "", AtMost(2.0)),
            Measure::new("one leaves: stable", "s", AtMost(3.5)),
        ],
        run: |column, places| large::classics(column, places, 300),
    },
    Case {
        word: "echo-1000",
        measures: &[
            Measure::new("CPU of a bare echo, 1000 classic members' pace", "us", Less),
            Measure::new("and at that of 1000 of the new protocol", "us", Less),
        ],
        run: echo::echoes,
    },
    Case {
        word: "assignor",
        measures: &[
            Measure::new("uniform, 1000 x 10 000 x 50: one leaves", "ms", AtMost(20.0)),
            Measure::new("partitions moved needlessly", "", AtMost(0.0)),
        ],
        run: assignor::one_leaves,
    },
    Case {
        word: "many",
        measures: &[
            Measure::new("10 000 groups of 3: memory per group", "KiB", AtMost(20.0)),
            Measure::new("heartbeats at half a core", "1/s", AtLeast(25_000.0)),
        ],
        run: many::many,
    },
    Case {
        word: "restart",
        measures: &[
            Measure::new("10 groups of 100, SIGKILL: all heartbeats well", "s", AtMost(0.3)),
            Measure::new("members that had to join again", "", AtMost(0.0)),
        ],
        run: many::restart,
    },
];

/// Runs the bench.
pub(super) fn run(arguments: GroupsArguments) -> Result<()> {
    let GroupsArguments { case: words, only: columns, rounds, list } = arguments;
    if list {
        for case in CASES {
            println!("{}", case.word);
        }
        return Ok(());
    }
    let wants =
        |case: &&Case| words.is_empty() || words.iter().any(|word| case.word.starts_with(&**word));
    let cases: Vec<&Case> = CASES.iter().filter(wants).collect();
    ensure!(rounds > 0 && !cases.is_empty(), "nothing to measure");
    let places = Places::find_kafka()?;
    raise_descriptors()?;
    println!("{}", head(&columns));
    let started = Instant::now();
    let (mut missed, mut failed) = (0, 0);
    for case in cases {
        let mut found = vec![Vec::new(); columns.len()];
        for _ in 0..rounds {
            for (column, found) in columns.iter().zip(&mut found) {
                match (case.run)(*column, &places) {
                    Ok(values) => found.push(values),
                    Err(error) => {
                        eprintln!("case `{}` on {} failed: {error:#}", case.word, column.name());
                        failed += 1;
                    }
                }
            }
        }
        for (at, measure) in case.measures.iter().enumerate() {
            let values = |rounds: &Vec<Vec<f64>>| {
                let values = rounds.iter().filter_map(|values| values.get(at)).copied();
                Found(values.filter(|value| value.is_finite()).collect())
            };
            let columns = columns.iter().copied();
            let line = Line { measure, found: columns.zip(found.iter().map(values)).collect() };
            println!("{}", line.print());
            missed += usize::from(line.is_missed());
        }
    }
    println!("\n{missed} goals missed; it took {:.0} s", started.elapsed().as_secs_f64());
    ensure!(failed == 0, "{failed} measurements failed");
    Ok(())
}

/// Sees to it that this process, and the brokers it starts, may have thousands of connections.
fn raise_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < DESCRIPTORS) {
        bail!("a process may have {maximum} open files, and {DESCRIPTORS} are needed: `ulimit -n`");
    }
    Ok(())
}

/// Runs what one case does on one broker, within its time.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let bounded = async { timeout(CASE_PATIENCE, future).await.context("it takes too long")? };
    runtime.block_on(bounded)
}

/// Waits for what is measured, or for the first member that fails.
async fn unless_one_fails<T, E: 'static>(
    members: &mut JoinSet<Result<E>>,
    measured: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::pin!(measured);
    loop {
        // Both are cancel-safe: the one is never dropped before its end, the other takes nothing out.
        tokio::select! {
            biased;
            found = &mut measured => return found,
            Some(ended) = members.join_next() => {
                ended?.context("a member")?;
            }
        }
    }
}

/// Ten thousand groups are founded a thousand at a time, by three members each.
const DESCRIPTORS: u64 = 6_000;
const CASE_PATIENCE: Duration = Duration::from_secs(240);
