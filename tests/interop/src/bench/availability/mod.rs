//! `bench availability`: how long partitions go unserved while members join, leave, restart and die, and
//! while the broker does.
//!
//! The members are processes of each client, the drivers of the test suites, and commit as they do by
//! default: by themselves, now and then. Twelve partitions are fed every six milliseconds. What is measured
//! is the longest time between two records of a partition, as they arrive here: those that change hands
//! apart from those that stay. Members of the next round are running processes before they are told to join,
//! so that the start of a JVM is not counted. A reader outside the group tells how long the records themselves
//! were missing, because the broker or the machine paused. Beside that, what was read more than once is counted, and of
//! that what had been committed before.

mod goals;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::broker::{Broker, Kind, Properties};
use crate::hub::{CONTROL, Client, DriverId, Hub, numbers};
use crate::places::Places;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The brokers (repeatable).
    #[arg(long, value_enum, default_values_t = [Kind::Kafka, Kind::Kohort])]
    broker: Vec<Kind>,
    /// The clients whose members are compared (repeatable).
    #[arg(long, value_enum, default_values_t = [Client::Kohort, Client::Java, Client::Librdkafka, Client::FranzGo])]
    client: Vec<Client>,
    /// The protocols (repeatable): `cooperative` is the classic one with the cooperative-sticky assignor.
    #[arg(long, default_values_t = ["cooperative".to_owned(), "consumer".to_owned()])]
    protocol: Vec<String>,
    /// How often members join, leave, restart and die; if not given, five times on our broker and once on
    /// Kafka, where a death costs 45 seconds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Leave out what restarts the broker.
    #[arg(long)]
    no_restart: bool,
    /// Have members commit behind every batch, instead of by themselves.
    #[arg(long)]
    commit_each: bool,
}

/// Runs every combination and prints a line for each event.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let places = Places::find()?;
    let started = Instant::now();
    println!(
        "seconds; `unserved`: all silences above 0.1 s, summed over the partitions, in one round; \
         `again`: records read more than once, and of these such as were committed before the event"
    );
    println!(
        "| broker | client | protocol | event | moved: p50, p99, longest | kept: longest | control: longest | \
         unserved | again, committed | goal |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for kind in &arguments.broker {
        let rounds = arguments.rounds.unwrap_or(if *kind == Kind::Kohort { 5 } else { 1 });
        for client in &arguments.client {
            for protocol in &arguments.protocol {
                let mut run = Run::start(*kind, *client, protocol, &places)?;
                run.commit_each = arguments.commit_each;
                let outcome = run.all(rounds, !arguments.no_restart);
                outcome.with_context(|| run.title())?;
            }
        }
    }
    println!("{:.1} minutes in all", started.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

/// One broker, one client, one protocol.
struct Run {
    kind: Kind,
    broker: Broker,
    hub: Hub,
    client: Client,
    protocol: String,
    commit_each: bool,
    load: DriverId,
    members: Vec<(DriverId, String)>,
    started: usize,
    /// What was seen of each event, in the order they happened first.
    seen: Vec<(&'static str, Seen)>,
}

/// What was seen of one kind of event, in all rounds.
#[derive(Debug, Default)]
struct Seen {
    /// How long each partition that moved was silent.
    moved: Vec<f64>,
    /// The longest silence of those that stayed.
    kept: Option<f64>,
    /// The longest silence outside the group.
    control: f64,
    /// The sum of silences, of the worst round.
    unserved: f64,
    again: usize,
    went_back: usize,
}

/// What is known before an event.
struct Before {
    owners: BTreeMap<i64, String>,
    again: usize,
    went_back: usize,
}

impl Run {
    fn start(kind: Kind, client: Client, protocol: &str, places: &Places) -> Result<Self> {
        let broker = Broker::start_with(kind, places, PROPERTIES)?;
        let mut hub = Hub::new(places, broker.address());
        let load = hub.start_driver(Client::Kohort)?;
        hub.create(load, TOPIC, PARTITIONS)?;
        let feed = json!({ "cmd": "load.start", "load": "feed", "topic": TOPIC, "partitions": PARTITIONS });
        hub.call(load, feed)?;
        let control =
            json!({ "cmd": "member.start", "member": CONTROL, "group": CONTROL, "topic": TOPIC });
        hub.call(load, control)?;
        Ok(Self {
            kind,
            broker,
            hub,
            client,
            protocol: protocol.to_owned(),
            commit_each: false,
            load,
            members: Vec::new(),
            started: 0,
            seen: Vec::new(),
        })
    }

    fn title(&self) -> String {
        format!("| {} | {} | {} |", self.kind.name(), self.client.name(), self.protocol)
    }

    fn all(&mut self, rounds: usize, restart: bool) -> Result<()> {
        for _ in 0..2 {
            self.join()?;
        }
        self.settle(2)?;
        for _ in 0..rounds {
            self.round()?;
        }
        for (event, seen) in &self.seen {
            println!("{} {event} {}", self.title(), self.row(event, seen));
        }
        if restart {
            self.join()?;
            self.settle(3)?;
            self.restart_broker()?;
        }
        let stop = json!({ "cmd": "load.stop", "load": "feed" });
        self.hub.call(self.load, stop)?;
        Ok(())
    }

    /// From two members to three and back, in every way there is.
    fn round(&mut self) -> Result<()> {
        let next = self.hub.start_driver(self.client)?;
        self.hub.listen(WARM_UP);
        let before = self.watch()?;
        self.join_in(next)?;
        self.settle(3)?;
        self.note("join", &before);

        let before = self.watch()?;
        self.leave(2)?;
        self.settle(2)?;
        self.note("leave", &before);

        self.join()?;
        self.settle(3)?;
        let mut next = Vec::new();
        for _ in 0..3 {
            next.push(self.hub.start_driver(self.client)?);
        }
        self.hub.listen(WARM_UP);
        let before = self.watch()?;
        for driver in next {
            self.leave(0)?;
            self.join_in(driver)?;
            self.settle(3)?;
        }
        self.note("rolling restart of three", &before);

        let before = self.watch()?;
        let (driver, name) = self.members.remove(0);
        self.hub.kill(driver)?;
        self.hub.member(&name).owned.clear();
        self.settle(2)?;
        self.note("SIGKILL of one of three", &before);
        self.start_again_at_once()
    }

    /// A member is killed, and its process started again at once under the same client id, as a supervisor does.
    fn start_again_at_once(&mut self) -> Result<()> {
        self.join()?;
        self.settle(3)?;
        let mut before = self.watch()?;
        let (driver, name) = self.members.remove(0);
        self.hub.kill(driver)?;
        self.hub.member(&name).owned.clear();
        // What it has afterwards is another member's, though the name is the same.
        before.owners.retain(|_, owner| *owner != name);
        let driver = self.hub.start_driver(self.client)?;
        self.join_as(driver, name)?;
        self.settle(3)?;
        self.note("SIGKILL and started again", &before);
        self.leave(2)?;
        self.settle(2)
    }

    /// The broker is killed and started again: nobody moves, and reading goes on.
    fn restart_broker(&mut self) -> Result<()> {
        let before = self.watch()?;
        self.broker.kill()?;
        self.hub.listen(DOWN);
        let began = Instant::now();
        self.broker.launch()?;
        let answered = began.elapsed();
        self.hub.arrivals.restart(0..PARTITIONS as i64);
        let began = Instant::now();
        self.hub.wait("one is served again", PATIENCE, |hub| !hub.arrivals.longest.is_empty())?;
        let first = began.elapsed();
        let all = PARTITIONS as usize;
        self.hub.wait("all are served again", PATIENCE, |hub| hub.arrivals.longest.len() == all)?;
        let served = began.elapsed();
        self.settle(3)?;
        let owners = self.owners();
        let moved =
            owners.iter().filter(|(it, owner)| before.owners.get(it) != Some(owner)).count();
        let (again, went_back) = self.read_again();
        println!(
            "{} broker killed and started | answered {:.2} after its start, first record {:.2} and all \
             served {:.2} after that | {moved} moved | - | - | {}, {} | {} |",
            self.title(),
            answered.as_secs_f64(),
            first.as_secs_f64(),
            served.as_secs_f64(),
            again - before.again,
            went_back - before.went_back,
            goals::restart(self.kind, self.client),
        );
        Ok(())
    }

    /// Returns how many records were read more than once, and how many of them after they had been committed.
    fn read_again(&self) -> (usize, usize) {
        let ledger = self.hub.ledgers.get(TOPIC);
        ledger.map_or((0, 0), |it| (it.again + it.went_back.len(), it.went_back.len()))
    }

    fn join(&mut self) -> Result<()> {
        let driver = self.hub.start_driver(self.client)?;
        self.join_in(driver)
    }

    fn join_in(&mut self, driver: DriverId) -> Result<()> {
        self.started += 1;
        self.join_as(driver, format!("m{}", self.started))
    }

    /// Joins under a name, which is the client id as well.
    fn join_as(&mut self, driver: DriverId, name: String) -> Result<()> {
        let mut settings = json!({});
        match (&*self.protocol, self.client) {
            // It is franz-go's default.
            ("cooperative", Client::FranzGo) => {}
            ("cooperative", Client::Java) => settings[STRATEGY] = json!(JAVA_STRATEGY),
            ("cooperative", Client::Librdkafka) => settings[STRATEGY] = json!("cooperative-sticky"),
            ("cooperative", Client::Kohort) => {
                settings[STRATEGY] = json!("cooperative-sticky");
                settings["group.protocol"] = json!("classic");
            }
            (protocol, _) => settings["group.protocol"] = json!(protocol),
        }
        if !self.commit_each {
            settings["enable.auto.commit"] = json!("true");
        }
        let command = json!({
            "cmd": "member.start",
            "member": name,
            "group": TOPIC,
            "topic": TOPIC,
            "settings": settings,
        });
        self.hub.book(&name, TOPIC);
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

    /// Counts from now on. What is committed by now may not be read again.
    fn watch(&mut self) -> Result<Before> {
        let committed = json!({
            "cmd": "committed",
            "group": TOPIC,
            "topic": TOPIC,
            "partitions": PARTITIONS,
        });
        let answer = self.hub.call(self.load, committed)?;
        if let Some(ledger) = self.hub.ledgers.get_mut(TOPIC) {
            (0..).zip(numbers(&answer["offsets"])).for_each(|(it, to)| ledger.committed(it, to));
        }
        self.hub.arrivals.restart(0..PARTITIONS as i64);
        self.hub.control.restart(0..PARTITIONS as i64);
        let (again, went_back) = self.read_again();
        Ok(Before { owners: self.owners(), again, went_back })
    }

    fn owners(&self) -> BTreeMap<i64, String> {
        let mut owners = BTreeMap::new();
        for (_, name) in &self.members {
            let owned = self.hub.members.get(name).map(|member| member.owned.clone());
            owners.extend(owned.into_iter().flatten().map(|it| (it, name.clone())));
        }
        owners
    }

    /// Notes what came of an event.
    fn note(&mut self, event: &'static str, before: &Before) {
        let after = self.owners();
        let (again, went_back) = self.read_again();
        let index = self.seen.iter().position(|(it, _)| *it == event).unwrap_or(self.seen.len());
        if index == self.seen.len() {
            self.seen.push((event, Seen::default()));
        }
        let seen = &mut self.seen[index].1;
        for (partition, silence) in &self.hub.arrivals.longest {
            let silence = silence.as_secs_f64();
            if before.owners.get(partition) == after.get(partition) {
                seen.kept = Some(seen.kept.unwrap_or_default().max(silence));
            } else {
                seen.moved.push(silence);
            }
        }
        let control = self.hub.control.longest.values().max();
        seen.control = seen.control.max(control.map_or(0.0, Duration::as_secs_f64));
        seen.unserved = seen.unserved.max(self.hub.arrivals.unserved.as_secs_f64());
        seen.again += again - before.again;
        seen.went_back += went_back - before.went_back;
    }

    fn row(&self, event: &str, seen: &Seen) -> String {
        let mut moved = seen.moved.clone();
        moved.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = moved.len().checked_sub(1)?;
            moved.get((last as f64 * share).ceil() as usize)
        };
        let text = |time: Option<&f64>| time.map_or("-".to_owned(), |it| format!("{it:.2}"));
        let moved = [0.5, 0.99, 1.0].map(|share| text(at(share))).join(", ");
        format!(
            "| {moved} | {} | {:.2} | {:.1} | {}, {} | {} |",
            text(seen.kept.as_ref()),
            seen.control,
            seen.unserved,
            seen.again,
            seen.went_back,
            goals::of(self.kind, self.client, &self.protocol, event),
        )
    }
}

const TOPIC: &str = "fed";
const STRATEGY: &str = "partition.assignment.strategy";
const JAVA_STRATEGY: &str = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
const PARTITIONS: u64 = 12;
/// Kafka's and ours at their defaults, but for the wait for a new group's first members.
const PROPERTIES: Properties = &[("group.initial.rebalance.delay.ms", "0")];
/// A JVM that was just started is given this before it is told to join.
const WARM_UP: Duration = Duration::from_secs(2);
const SETTLED: Duration = Duration::from_secs(2);
const DOWN: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(90);
