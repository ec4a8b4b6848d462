//! `bench availability`: how long partitions go unserved while members join, leave and restart.
//!
//! The members are processes of each client, the drivers of the test suites: they tell of every record
//! and commit behind it. Twelve partitions are fed every six milliseconds. What is measured is the longest
//! time between two records of a partition, as they arrive here: those that change hands apart from
//! those that stay. Members of the next round are running processes before they are told to join, so
//! that the start of a JVM is not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::broker::{Broker, Kind, Properties};
use crate::hub::{Client, DriverId, Hub};
use crate::places::Places;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The brokers (repeatable).
    #[arg(long, value_enum, default_values_t = [Kind::Kafka, Kind::Kohort])]
    broker: Vec<Kind>,
    /// The clients whose members are compared (repeatable).
    #[arg(long, value_enum, default_values_t = [Client::Kohort, Client::Java, Client::FranzGo])]
    client: Vec<Client>,
    /// The protocols (repeatable): `cooperative` is the classic one with the cooperative-sticky assignor.
    #[arg(long, default_values_t = ["cooperative".to_owned(), "consumer".to_owned()])]
    protocol: Vec<String>,
    /// Leave out what restarts the broker.
    #[arg(long)]
    no_restart: bool,
}

/// Runs every combination and prints a line for each event.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let places = Places::find()?;
    println!("seconds; `unserved`: all silences above 0.1 s, summed over the partitions");
    println!("| broker | client | protocol | event | moved: longest | kept: longest | unserved |");
    println!("|---|---|---|---|---|---|---|");
    for kind in &arguments.broker {
        for client in &arguments.client {
            for protocol in &arguments.protocol {
                let mut run = Run::start(*kind, *client, protocol, &places)?;
                let outcome = run.all(!arguments.no_restart);
                outcome.with_context(|| run.title.clone())?;
            }
        }
    }
    Ok(())
}

/// One broker, one client, one protocol.
struct Run {
    title: String,
    broker: Broker,
    hub: Hub,
    client: Client,
    protocol: String,
    load: DriverId,
    members: Vec<(DriverId, String)>,
    started: usize,
}

impl Run {
    fn start(kind: Kind, client: Client, protocol: &str, places: &Places) -> Result<Self> {
        let broker = Broker::start_with(kind, places, PROPERTIES)?;
        let mut hub = Hub::new(places, broker.address());
        let load = hub.start_driver(Client::Kohort)?;
        hub.create(load, TOPIC, PARTITIONS)?;
        let feed = json!({ "cmd": "load.start", "load": "feed", "topic": TOPIC, "partitions": PARTITIONS });
        hub.call(load, feed)?;
        let title = format!("| {} | {} | {protocol} |", kind.name(), client.name());
        let protocol = protocol.to_owned();
        let members = Vec::new();
        Ok(Self { title, broker, hub, client, protocol, load, members, started: 0 })
    }

    fn all(&mut self, restart: bool) -> Result<()> {
        for _ in 0..2 {
            self.join()?;
        }
        self.settle(2)?;

        let next = self.hub.start_driver(self.client)?;
        self.hub.listen(WARM_UP);
        let before = self.owners();
        self.watch();
        self.join_in(next)?;
        self.settle(3)?;
        self.report("join", &before);

        let before = self.owners();
        self.watch();
        self.leave(2)?;
        self.settle(2)?;
        self.report("leave", &before);

        self.join()?;
        self.settle(3)?;
        let mut next = Vec::new();
        for _ in 0..3 {
            next.push(self.hub.start_driver(self.client)?);
        }
        self.hub.listen(WARM_UP);
        let before = self.owners();
        self.watch();
        for driver in next {
            self.leave(0)?;
            self.join_in(driver)?;
            self.settle(3)?;
        }
        self.report("rolling restart of three", &before);
        if restart {
            self.restart_broker()?;
        }
        let stop = json!({ "cmd": "load.stop", "load": "feed" });
        self.hub.call(self.load, stop)?;
        Ok(())
    }

    /// The broker is killed and started again: nobody moves, and reading goes on.
    fn restart_broker(&mut self) -> Result<()> {
        let before = self.owners();
        let again_before = self.read_again();
        self.broker.kill()?;
        self.hub.listen(DOWN);
        self.broker.launch()?;
        self.watch();
        let answered = Instant::now();
        let all = PARTITIONS as usize;
        self.hub.wait("all are served again", PATIENCE, |hub| hub.arrivals.longest.len() == all)?;
        let served = answered.elapsed();
        self.settle(3)?;
        let again = self.read_again() - again_before;
        let moved =
            self.owners().iter().filter(|(it, owner)| before.get(it) != Some(owner)).count();
        println!(
            "{} broker killed and restarted | all served {:.2} after it answered | {moved} moved | \
             {again} read again |",
            self.title,
            served.as_secs_f64()
        );
        Ok(())
    }

    /// Returns how many records were read more than once.
    fn read_again(&self) -> usize {
        let all = self.hub.members.values().flat_map(|member| &member.records);
        let total = all.clone().count();
        total - all.collect::<BTreeSet<_>>().len()
    }

    fn join(&mut self) -> Result<()> {
        let driver = self.hub.start_driver(self.client)?;
        self.join_in(driver)
    }

    fn join_in(&mut self, driver: DriverId) -> Result<()> {
        self.started += 1;
        let name = format!("m{}", self.started);
        let mut command =
            json!({ "cmd": "member.start", "member": name, "group": TOPIC, "topic": TOPIC });
        match &*self.protocol {
            "cooperative" => command["strategy"] = json!("cooperative-sticky"),
            protocol => command["settings"] = json!({ "group.protocol": protocol }),
        }
        self.hub.call(driver, command)?;
        self.members.push((driver, name));
        Ok(())
    }

    fn leave(&mut self, index: usize) -> Result<()> {
        let (driver, name) = self.members.remove(index);
        self.hub.call(driver, json!({ "cmd": "member.stop", "member": name }))?;
        self.hub.member(&name).owned.clear();
        Ok(())
    }

    /// Waits until so many members have equal shares and everything has been served for a while.
    fn settle(&mut self, members: usize) -> Result<()> {
        let share = PARTITIONS as usize / members;
        let names: Vec<String> = self.members.iter().map(|(_, name)| name.clone()).collect();
        self.hub.wait("the shares are equal", PATIENCE, |hub| {
            let owned = |name: &String| hub.members.get(name).map_or(0, |it| it.owned.len());
            names.iter().all(|name| owned(name) == share)
        })?;
        self.hub.listen(SETTLED);
        Ok(())
    }

    fn watch(&mut self) {
        self.hub.arrivals.restart(0..PARTITIONS as i64);
    }

    fn owners(&self) -> BTreeMap<i64, String> {
        let mut owners = BTreeMap::new();
        for (_, name) in &self.members {
            let owned = self.hub.members.get(name).map(|member| member.owned.clone());
            owners.extend(owned.into_iter().flatten().map(|it| (it, name.clone())));
        }
        owners
    }

    fn report(&self, event: &str, before: &BTreeMap<i64, String>) {
        let after = self.owners();
        let longest = |moved: bool| {
            let longest = self.hub.arrivals.longest.iter();
            longest
                .filter(|(it, _)| (before.get(it) != after.get(it)) == moved)
                .map(|(_, silence)| silence.as_secs_f64())
                .fold(None, |longest: Option<f64>, it| Some(longest.unwrap_or(0.0).max(it)))
                .map_or("-".to_owned(), |it| format!("{it:.2}"))
        };
        let unserved = self.hub.arrivals.unserved.as_secs_f64();
        println!(
            "{} {event} | {} | {} | {unserved:.1} |",
            self.title,
            longest(true),
            longest(false)
        );
    }
}

const TOPIC: &str = "fed";
const PARTITIONS: u64 = 12;
/// Kafka's and ours at their defaults, but for the wait for a new group's first members.
const PROPERTIES: Properties = &[("group.initial.rebalance.delay.ms", "0")];
/// A JVM that was just started is given this before it is told to join.
const WARM_UP: Duration = Duration::from_secs(2);
const SETTLED: Duration = Duration::from_secs(2);
const DOWN: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(90);
