//! `cargo xtask soak nodes`: our client on three nodes of Apache Kafka, while everything changes.
//!
//! Two groups, one of each protocol, read what a producer writes all the while; all three are ours.
//! Two processes have two members of each group, of which one after another leaves and joins again; a third
//! process is killed and started anew. The nodes are stopped or killed in turn and come back, and
//! partitions are added. What is checked: whatever was acknowledged is read by both groups, nothing is
//! read again that a group had committed, and the memory of the processes that live all the while
//! stays where it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use kohort::admin::Admin;
use kohort::config::{AdminConfig, Properties as _};
use serde_json::json;
use tokio::runtime::Runtime;

use super::dice::Dice;
use super::watch::{Sample, Watch, slope};
use crate::hub::{Client, DriverId, Hub};
use crate::nodes::Nodes;
use crate::places::Places;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How long it lasts.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// What is done to whom; another one every time if it is not given.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs it; returns whether everything was as it should be.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    println!("{:.1} minutes, seed {seed}", arguments.minutes);
    let mut run = Run::start(&Places::find()?, Dice::new(seed))?;
    run.live(time)?;
    run.end()
}

struct Run {
    dice: Dice,
    begun: Instant,
    // Dropped in this order: drivers first.
    hub: Hub,
    nodes: Nodes,
    runtime: Runtime,
    admin: Admin,
    /// Processes that live all the while.
    standing: Vec<DriverId>,
    /// Members of standing processes, with their process.
    members: Vec<(DriverId, Name)>,
    doomed: Option<DriverId>,
    feeder: DriverId,
    feeds: usize,
    partitions: u64,
    /// The node that is away, since when.
    away: Option<(i32, Instant)>,
    next_node: i32,
    watches: BTreeMap<&'static str, (Watch, Vec<Sample>)>,
    done: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    member: String,
    protocol: &'static str,
}

impl Run {
    fn start(places: &Places, dice: Dice) -> Result<Self> {
        let nodes = Nodes::start_with(places, PROPERTIES)?;
        let servers = nodes.servers();
        let mut hub = Hub::new(places, servers.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = [("bootstrap.servers", &*servers), ("client.id", "overseer")];
        let admin = Admin::new(AdminConfig::from_pairs(settings)?)?;
        let feeder = hub.start_driver(Client::Kohort)?;
        let standing = vec![hub.start_driver(Client::Kohort)?, hub.start_driver(Client::Kohort)?];
        let watch = |id| (Watch::new(hub.pid(id)), Vec::new());
        let watches = BTreeMap::from([
            ("producer", watch(feeder)),
            ("consumers 1", watch(standing[0])),
            ("consumers 2", watch(standing[1])),
        ]);
        let mut run = Self {
            dice,
            begun: Instant::now(),
            hub,
            nodes,
            runtime,
            admin,
            standing,
            members: Vec::new(),
            doomed: None,
            feeder,
            feeds: 0,
            partitions: PARTITIONS,
            away: None,
            next_node: 1,
            watches,
            done: BTreeMap::new(),
        };
        run.create()?;
        for (index, driver) in run.standing.clone().into_iter().enumerate() {
            for protocol in PROTOCOLS {
                for number in 0..2 {
                    let member = format!("{protocol}-{}{number}", index + 1);
                    let name = Name { member, protocol };
                    run.join(driver, &name)?;
                    run.members.push((driver, name));
                }
            }
        }
        run.feed()?;
        Ok(run)
    }

    fn create(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let topic = kohort::admin::NewTopic::new(TOPIC)
                .partitions(self.partitions as i32)
                .replication_factor(3);
            match self.runtime.block_on(self.admin.create_topic(topic)) {
                Ok(_) => return Ok(()),
                Err(error) if error.to_string().contains("TOPIC_ALREADY_EXISTS") => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                // Not all nodes are known to the controller yet.
                Err(_) => self.hub.listen(LOOK),
            }
        }
    }

    fn join(&mut self, driver: DriverId, name: &Name) -> Result<()> {
        let mut command = json!({
            "cmd": "member.start",
            "member": name.member,
            "group": name.protocol,
            "topic": TOPIC,
            "settings": {
                "group.protocol": name.protocol,
                "metadata.max.age.ms": "5000",
            },
        });
        if name.protocol == "classic" {
            command["strategy"] = json!("cooperative-sticky");
            command["session_ms"] = json!(SESSION_MS);
        }
        self.hub.book(&name.member, name.protocol);
        self.hub.call(driver, command)?;
        Ok(())
    }

    /// Writes to all the partitions there are.
    fn feed(&mut self) -> Result<()> {
        if self.feeds > 0 {
            let stop = json!({ "cmd": "load.stop", "load": self.feed_name() });
            self.hub.call(self.feeder, stop)?;
        }
        self.feeds += 1;
        let start = json!({
            "cmd": "load.start",
            "load": self.feed_name(),
            "topic": TOPIC,
            "partitions": self.partitions,
            "pause_ms": FEED_MS,
        });
        self.hub.call(self.feeder, start)?;
        Ok(())
    }

    fn feed_name(&self) -> String {
        format!("feed-{}", self.feeds)
    }

    fn live(&mut self, time: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut next = [NODE_EVERY, CHURN_EVERY, KILL_EVERY].map(|every| begun + every / 2);
        let mut grown = 0;
        let mut reported = 0;
        self.sample()?;
        self.report("start");
        let mut sampled = begun;
        while begun.elapsed() < time {
            self.hub.listen(LOOK);
            let now = Instant::now();
            if now > next[0] {
                next[0] = now + NODE_EVERY;
                self.turn_node()?;
            }
            if now > next[1] {
                next[1] = now + CHURN_EVERY;
                self.leave_and_join()?;
            }
            if now > next[2] {
                next[2] = now + KILL_EVERY;
                self.kill_or_start()?;
            }
            let part = begun.elapsed().as_secs_f64() / time.as_secs_f64();
            // In the first half, so that memory is compared at one size; and with all nodes there, or the
            // topic could not grow.
            let due = (part * 2.0 * GROWTHS as f64) as usize;
            if due.min(GROWTHS) > grown && self.away.is_none() {
                grown += 1;
                self.add_partitions()?;
            }
            if sampled.elapsed() > SAMPLE_EVERY {
                sampled = Instant::now();
                self.sample()?;
            }
            if (part * 10.0) as usize > reported {
                reported += 1;
                self.report(&format!("{:.0} %", part * 100.0));
            }
            let wrong = self.wrong();
            ensure!(wrong.is_empty(), "after {:.1} minutes: {wrong:#?}", self.minutes());
        }
        Ok(())
    }

    fn minutes(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() / 60.0
    }

    fn did(&mut self, what: String) {
        *self.done.entry(what).or_default() += 1;
    }

    /// Stops or kills the next node, or has the one that is away come back.
    fn turn_node(&mut self) -> Result<()> {
        if let Some((node, _)) = self.away.take() {
            self.nodes.restart(node)?;
            self.did("node came back".to_owned());
            return Ok(());
        }
        let node = self.next_node;
        self.next_node = node % 3 + 1;
        if self.dice.below(2) == 0 {
            self.nodes.stop(node)?;
            self.did("node stopped".to_owned());
        } else {
            self.nodes.kill(node)?;
            self.did("node killed".to_owned());
        }
        self.away = Some((node, Instant::now()));
        Ok(())
    }

    fn leave_and_join(&mut self) -> Result<()> {
        let (driver, name) = self.dice.choose(&self.members).clone();
        self.hub.call(driver, json!({ "cmd": "member.stop", "member": name.member }))?;
        self.hub.member(&name.member).owned.clear();
        self.join(driver, &name)?;
        self.did("member left and joined".to_owned());
        Ok(())
    }

    fn kill_or_start(&mut self) -> Result<()> {
        if let Some(doomed) = self.doomed.take() {
            self.hub.kill(doomed)?;
            self.did("process killed".to_owned());
            return Ok(());
        }
        let driver = self.hub.start_driver(Client::Kohort)?;
        for protocol in PROTOCOLS {
            let member = format!("{protocol}-doomed");
            self.hub.member(&member).owned.clear();
            self.join(driver, &Name { member, protocol })?;
        }
        self.doomed = Some(driver);
        Ok(())
    }

    fn add_partitions(&mut self) -> Result<()> {
        self.partitions += ADDED;
        let count = self.partitions as i32;
        self.runtime
            .block_on(self.admin.create_partitions_of(TOPIC, count))
            .with_context(|| format!("the topic gets {count} partitions"))?;
        self.did("partitions added".to_owned());
        self.feed()
    }

    fn sample(&mut self) -> Result<()> {
        let minutes = self.minutes();
        for (watch, samples) in self.watches.values_mut() {
            let mut sample = watch.look()?;
            sample.minutes = minutes;
            samples.push(sample);
        }
        Ok(())
    }

    fn report(&self, when: &str) {
        let memory: Vec<String> = self
            .watches
            .iter()
            .filter_map(|(name, (_, samples))| Some((name, samples.last()?)))
            .map(|(name, it)| {
                format!("{name} {:.1} MB, {} descriptors", it.resident / 1e6, it.descriptors)
            })
            .collect();
        let again: Vec<String> = self
            .hub
            .ledgers
            .iter()
            .map(|(group, ledger)| format!("{group} {}", ledger.again))
            .collect();
        let acked: usize = self.hub.loads.values().map(|load| load.acked.len()).sum();
        println!(
            "{when} ({:.1} min): {acked} records; again, uncommitted: {}; {}; {:?}",
            self.minutes(),
            again.join(", "),
            memory.join("; "),
            self.done,
        );
    }

    /// Returns what must never happen.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (group, ledger) in &self.hub.ledgers {
            wrong.extend(ledger.went_back.iter().map(|text| format!("{group}: {text}")));
        }
        for (name, load) in &self.hub.loads {
            wrong.extend(load.problems.iter().map(|problem| format!("{name}: {problem}")));
        }
        for (name, member) in &self.hub.members {
            let failed = member.problems.iter().filter(|it| it.contains("\"failed\""));
            wrong.extend(failed.map(|problem| format!("{name}: {problem}")));
        }
        wrong
    }

    /// Has everybody read to the end, and judges.
    fn end(&mut self) -> Result<bool> {
        if let Some((node, _)) = self.away.take() {
            self.nodes.restart(node)?;
        }
        let stop = json!({ "cmd": "load.stop", "load": self.feed_name() });
        self.hub.call(self.feeder, stop)?;
        let written: Vec<_> =
            self.hub.loads.values().flat_map(|load| load.acked.iter().copied()).collect();
        let lacking = |hub: &Hub| {
            hub.ledgers.iter().find_map(|(group, ledger)| {
                let (partition, offset) = ledger.lacks(&written)?;
                Some(format!("{group} lacks {partition} @{offset}"))
            })
        };
        let _ = self.hub.wait("all is read", PATIENCE, |hub| lacking(hub).is_none());
        let mut wrong = self.wrong();
        wrong.extend(lacking(&self.hub));
        self.sample()?;
        self.report("end");
        for (name, (_, samples)) in &self.watches {
            wrong.extend(grows(name, samples));
        }
        for text in &wrong {
            println!("WRONG: {text}");
        }
        let verdict = if wrong.is_empty() { "passed" } else { "FAILED" };
        println!("{} records read by {} groups: {verdict}", written.len(), self.hub.ledgers.len());
        Ok(wrong.is_empty())
    }
}

/// Tells if the memory of the second half rises.
fn grows(name: &str, samples: &[Sample]) -> Option<String> {
    let half = &samples[samples.len() / 2..];
    let points: Vec<(f64, f64)> = half.iter().map(|it| (it.minutes, it.resident)).collect();
    let (first, last) = (half.first()?, half.last()?);
    let minutes = last.minutes - first.minutes;
    if half.len() < 4 {
        return None;
    }
    let slope = slope(&points);
    let peak = samples.iter().map(|it| it.resident).fold(0.0, f64::max);
    println!(
        "{name}: {:+.3} MB a minute over the last {minutes:.1} minutes, at most {:.1} MB",
        slope / 1e6,
        peak / 1e6
    );
    let allowed = (first.resident * GROWTH_MAX).max(GROWTH_FREE);
    (slope * minutes > allowed).then(|| format!("the memory of {name} grows"))
}

const TOPIC: &str = "churned";
const PROTOCOLS: [&str; 2] = ["classic", "consumer"];
const PARTITIONS: u64 = 6;
const ADDED: u64 = 2;
/// How often partitions are added in all.
const GROWTHS: usize = 6;
const FEED_MS: u64 = 5;
/// Killed members are to be noticed several times in a run.
const SESSION_MS: u64 = 10_000;
const PROPERTIES: &str = "group.consumer.min.session.timeout.ms=10000\n\
                          group.consumer.session.timeout.ms=10000\n";
const NODE_EVERY: Duration = Duration::from_secs(25);
const CHURN_EVERY: Duration = Duration::from_secs(17);
const KILL_EVERY: Duration = Duration::from_secs(41);
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(90);
/// How much the memory of the second half may rise: as a part of it, or this much whatever that is.
const GROWTH_MAX: f64 = 0.1;
const GROWTH_FREE: f64 = 3e6;
