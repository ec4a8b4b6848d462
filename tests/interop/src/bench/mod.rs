//! `cargo xtask bench`: our broker beside Apache Kafka on the same machine.
//!
//! `bench broker` loads both with the same bytes, made beforehand, from one thread that knows the
//! protocol and nothing else: so the load costs the machine little, and what the kernel counts for
//! the broker's process is the broker's. Both run all the while and are measured in turn, round by
//! round, case by case; Kafka, whose compiler must see a load first, is warmed in each case. Ours
//! syncs before it acknowledges, Kafka at its default does not.
//!
//! `bench franz-go` is the same comparison with a real client. `bench client` and `bench availability` compare clients
//! instead.

mod availability;
mod cases;
pub(crate) mod client;
mod closed;
mod fetch;
mod floors;
mod franz_go;
mod groups;
mod latency;
mod life;
pub(crate) mod link;
mod steady;
mod table;
mod target;
mod way;
mod wire;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::broker::Kind;
use crate::places::Places;
use cases::{CASES, Case};
use life::{LIFE_CASES, LifeCase};
use table::{Found, Line, Measure, head};
use target::{Column, Target};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Compare the brokers under a load of the raw protocol.
    Broker(BrokerArguments),
    /// Compare the brokers with a producer and a consumer of franz-go.
    FranzGo(FranzGoArguments),
    /// Compare how long clients leave partitions unserved while their group changes.
    Availability(availability::Arguments),
    /// Compare what groups cost the brokers: members that come, go and heartbeat.
    Groups(groups::GroupsArguments),
    /// Compare clients reading from a broker that only serves.
    Client(client::ClientArguments),
    /// Compare a record's way through our client and a broker with the same way over bare sockets.
    Latency(way::LatencyArguments),
}

#[derive(Debug, Args)]
pub(crate) struct BrokerArguments {
    /// Measure only cases whose name contains this (repeatable); `--list` tells the names.
    #[arg(long, value_name = "WORD")]
    case: Vec<String>,
    /// How often each broker is measured in each case.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A glance: one round, short loads, little warm-up.
    #[arg(long)]
    quick: bool,
    /// Measure only this broker (repeatable).
    #[arg(long, value_enum)]
    only: Vec<Column>,
    /// Measure also a Kafka that syncs every batch.
    #[arg(long)]
    kafka_flush: bool,
    /// How many seconds Kafka sees each load before it is measured.
    #[arg(long, default_value_t = 15.0)]
    warm_up: f64,
    /// How many seconds each load lasts.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Write what was found to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the names of the cases and measure nothing.
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FranzGoArguments {
    /// How often each broker is started and measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many records each measurement writes and reads.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Measure only these brokers.
    #[arg(long, value_enum, default_values_t = [Kind::Kohort, Kind::Kafka])]
    broker: Vec<Kind>,
}

/// Runs a bench.
pub(crate) fn run(bench: Bench) -> Result<()> {
    match bench {
        Bench::Broker(arguments) if arguments.list => {
            names().for_each(|name| println!("{name}"));
            Ok(())
        }
        Bench::Broker(arguments) => BrokerBench::new(Places::find_kafka()?, arguments)?.run(),
        Bench::Availability(arguments) => availability::run(&arguments),
        Bench::Groups(arguments) => groups::run(arguments),
        Bench::Client(arguments) => client::run(&arguments),
        Bench::Latency(arguments) => way::run(&arguments),
        Bench::FranzGo(arguments) => {
            let places = Places::find()?;
            franz_go::run(&places, &arguments.broker, arguments.rounds, arguments.records)
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    let load = CASES.iter().map(|case| case.word);
    load.chain(LIFE_CASES.iter().map(|case| case.word)).chain([FLOORS])
}

struct BrokerBench {
    places: Places,
    columns: Vec<Column>,
    words: Vec<String>,
    rounds: usize,
    time: Duration,
    warm_up: Duration,
    json: Option<PathBuf>,
    lines: Vec<Line>,
}

impl BrokerBench {
    fn new(places: Places, arguments: BrokerArguments) -> Result<Self> {
        let mut columns = vec![Column::Kohort, Column::Kafka];
        if arguments.kafka_flush {
            columns.push(Column::KafkaFlush);
        }
        if !arguments.only.is_empty() {
            columns = arguments.only;
        }
        for word in &arguments.case {
            if !names().any(|name| name.contains(word.as_str())) {
                bail!("no case is called `{word}`: {}", names().collect::<Vec<_>>().join(", "));
            }
        }
        ensure!(arguments.rounds > 0, "nothing to measure in no round");
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).context("a bad time");
        Ok(Self {
            places,
            columns,
            words: arguments.case,
            rounds: if arguments.quick { 1 } else { arguments.rounds },
            time: seconds(if arguments.quick { 1.5 } else { arguments.seconds })?,
            warm_up: seconds(if arguments.quick { 4.0 } else { arguments.warm_up })?,
            json: arguments.json,
            lines: Vec::new(),
        })
    }

    fn run(mut self) -> Result<()> {
        println!("{}", head(&self.columns));
        let cases: Vec<&Case> = CASES.iter().filter(|case| self.wants(case.word)).collect();
        if !cases.is_empty() {
            let starting = self.columns.iter().map(|column| Target::start(*column, &self.places));
            let targets = starting.collect::<Result<Vec<_>>>()?;
            for case in cases {
                self.load(case, &targets).with_context(|| format!("case `{}`", case.word))?;
            }
        }
        let cases: Vec<_> = LIFE_CASES.iter().filter(|case| self.wants(case.word)).collect();
        for case in cases {
            self.live(case).with_context(|| format!("case `{}`", case.word))?;
        }
        if self.wants(FLOORS) {
            floors::print()?;
        }
        if let Some(path) = &self.json {
            let lines: Vec<_> = self.lines.iter().map(Line::to_json).collect();
            let report = json!({ "rounds": self.rounds, "lines": lines });
            fs::write(path, format!("{report:#}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let missed = self.lines.iter().filter(|line| line.is_missed()).count();
        println!("\n{} lines, {missed} goals missed", self.lines.len());
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Measures a case on all brokers, in turn.
    fn load(&mut self, case: &Case, targets: &[Target]) -> Result<()> {
        let preparing = targets.iter().map(|target| (case.prepare)(target));
        let mut trials = preparing.collect::<Result<Vec<_>>>()?;
        for (target, trial) in targets.iter().zip(&mut trials) {
            let warm_up = if target.column.warms_up() { self.warm_up } else { WARM_UP_OURS };
            trial.run(target, warm_up)?;
        }
        let mut found = vec![Vec::new(); targets.len()];
        for _ in 0..self.rounds {
            for ((target, trial), found) in targets.iter().zip(&mut trials).zip(&mut found) {
                found.push(trial.run(target, self.time)?);
            }
        }
        self.note(case.measures, &found);
        Ok(())
    }

    fn live(&mut self, case: &LifeCase) -> Result<()> {
        let mut found = vec![Vec::new(); self.columns.len()];
        for _ in 0..self.rounds.min(LIFE_ROUNDS) {
            for (column, found) in self.columns.iter().zip(&mut found) {
                found.push((case.run)(*column, &self.places)?);
            }
        }
        self.note(case.measures, &found);
        Ok(())
    }

    /// Prints a case's lines; `found` has a row of values for each round of each column.
    fn note(&mut self, measures: &'static [Measure], found: &[Vec<Vec<f64>>]) {
        for (at, measure) in measures.iter().enumerate() {
            let of_column = |rounds: &Vec<Vec<f64>>| {
                Found(rounds.iter().filter_map(|values| values.get(at)).copied().collect())
            };
            let found = self.columns.iter().copied().zip(found.iter().map(of_column)).collect();
            let line = Line { measure, found };
            println!("{}", line.print());
            self.lines.push(line);
        }
    }
}

/// The case that measures the machine instead of a broker.
const FLOORS: &str = "floors";
/// Enough for files and connections to be there.
const WARM_UP_OURS: Duration = Duration::from_secs(2);
/// Starts and stops take long and vary little.
const LIFE_ROUNDS: usize = 2;
