//! The broker goes away and comes back while a producer and a group are at work: once by SIGTERM for
//! each client, and twenty times by SIGKILL.
//!
//! What must hold, whatever happened to the broker:
//! - every acknowledged record is there, where it was acknowledged, and once;
//! - an idempotent producer's records are in order, none twice;
//! - no committed offset goes back;
//! - the group goes on: its member is never fenced (which a group made anew would do to it) and
//!   reads nothing again that it had committed.
//!
//! A rebalance is no fault: Java's client forgets the topics it knew when no broker is to be had
//! (`metadata.recovery.strategy`), takes that for a change and asks for a rebalance. franz-go calls its partitions lost whenever a heartbeat fails, also for want of a connection,
//! so its losses tell nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::broker::Kind;
use crate::hub::{Client, DriverId, numbers, triples};
use crate::suite::{Test, World};

/// Returns a test for each client.
pub(crate) fn tests() -> Vec<Test> {
    let name = |client: Client| format!("{}::a_restart_of_the_broker_loses_nothing", client.name());
    let test = |client| {
        Test::new(name(client), move |world| {
            Trial::new(world, client, "restart", json!({}))?.run(1, Blow::Stop).map(|_| ())
        })
    };
    Client::ALL.into_iter().map(test).collect()
}

/// Returns the suite that kills the broker, a test for each of the clients.
pub(crate) fn kill_tests(clients: &[Client], kills: usize) -> Vec<Test> {
    let test = |client: &Client| {
        let client = *client;
        let name = format!("{}::{kills}_sigkills_under_load_lose_nothing", client.name());
        let run = move |world: &mut World| {
            Trial::new(world, client, "sigkill", json!({}))?.run(kills, Blow::Kill).map(|_| ())
        };
        Test::new(name, run)
    };
    clients.iter().map(test).collect()
}

/// Kills the broker while members of the new protocol are at work: they go on in the epoch they were in,
/// and are assigned nothing anew.
pub(crate) fn kill_under_the_new_protocol(world: &mut World, client: Client) -> Result<()> {
    let settings = json!({ "group.protocol": "consumer" });
    let anew = Trial::new(world, client, "resume", settings)?.run(2, Blow::Kill)?;
    ensure!(anew == 0, "partitions were assigned anew {anew} times");
    Ok(())
}

/// How the broker is made to go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Stop,
    Kill,
}

/// A producer and a group of one member, at work on a topic of their own.
struct Trial<'a> {
    world: &'a mut World,
    client: Client,
    driver: DriverId,
    name: String,
    /// The member's properties.
    settings: Value,
}

impl<'a> Trial<'a> {
    fn new(world: &'a mut World, client: Client, what: &str, settings: Value) -> Result<Self> {
        let driver = world.hub.driver(client)?;
        let name = format!("{what}-{}", client.name());
        Ok(Self { world, client, driver, name, settings })
    }

    /// Returns how often the member was assigned partitions after it was at work.
    fn run(mut self, rounds: usize, blow: Blow) -> Result<usize> {
        let name = self.name.clone();
        self.world.hub.create(self.driver, &name, PARTITIONS as u64)?;
        self.call(json!({
            "cmd": "member.start", "member": name, "group": name, "topic": name,
            "settings": self.settings,
        }))?;
        self.call(json!({
            "cmd": "load.start", "load": name, "topic": name, "partitions": PARTITIONS,
        }))?;
        self.await_progress().context("before the first round")?;
        let assignments = self.world.hub.member(&name).assignments;
        for round in 1..=rounds {
            self.round(blow).with_context(|| format!("round {round} of {rounds}"))?;
        }
        self.await_progress().context("after the last round")?;
        let sent = self.call(json!({ "cmd": "load.stop", "load": name }))?["sent"].clone();
        let log = self.read_log()?;
        self.check_log(&log, sent.as_u64().context("the driver told how many it sent")?)?;
        self.await_end_of_log(&log)?;
        self.check_group(&log)?;
        self.call(json!({ "cmd": "member.stop", "member": name }))?;
        Ok(self.world.hub.member(&name).assignments - assignments)
    }

    /// Lets the work go on, takes the broker away, brings it back, compares what was committed.
    fn round(&mut self, blow: Blow) -> Result<()> {
        self.await_progress()?;
        match blow {
            Blow::Kill => self.world.broker.kill()?,
            Blow::Stop => {
                let status = self.world.broker.stop()?;
                // The JVM ends with 143 on SIGTERM, whatever Kafka does.
                let clean = status.success() || self.world.kind == Kind::Kafka;
                ensure!(clean, "the broker ended with {status} on SIGTERM");
            }
        }
        // Whatever was answered before the blow has arrived after a moment.
        self.world.hub.listen(SETTLE);
        let before = self.world.hub.member(&self.name).committed.clone();
        self.world.broker.launch()?;
        let name = &self.name;
        let committed = json!({
            "cmd": "committed", "group": name, "topic": name, "partitions": PARTITIONS,
        });
        let answer = self.world.hub.call_until_answered(self.driver, &committed)?;
        for (partition, after) in (0..).zip(numbers(&answer["offsets"])) {
            let before = before.get(&partition).copied().unwrap_or(-1);
            ensure!(
                after >= before,
                "the committed offset of partition {partition} went from {before} back to {after}"
            );
        }
        Ok(())
    }

    /// Waits for more acknowledged records and for a commit behind one of them.
    fn await_progress(&mut self) -> Result<()> {
        let name = self.name.clone();
        let acked_before = self.world.hub.loads.get(&name).map_or(0, |load| load.acked.len());
        let committed_before = total(&self.world.hub.member(&name).committed);
        self.world.hub.wait("more is acknowledged and committed", PROGRESS_TIMEOUT, |hub| {
            let acked = hub.loads.get(&name).map_or(0, |load| load.acked.len());
            let committed = hub.members.get(&name).map_or(0, |member| total(&member.committed));
            acked >= acked_before + ACKS_PER_ROUND && committed > committed_before
        })
    }

    /// Reads the whole topic: partition, offset and sequence number of each record.
    fn read_log(&mut self) -> Result<BTreeMap<(i64, i64), i64>> {
        let answer = self.call(json!({
            "cmd": "consume", "topic": self.name, "partitions": PARTITIONS, "values": true,
        }))?;
        let mut log = BTreeMap::new();
        for (partition, offset, sequence) in triples(&answer["records"]) {
            let before = log.insert((partition, offset), sequence);
            ensure!(before.is_none(), "offset {offset} of partition {partition} was read twice");
        }
        Ok(log)
    }

    fn check_log(&self, log: &BTreeMap<(i64, i64), i64>, sent: u64) -> Result<()> {
        let load = self.world.hub.loads.get(&self.name).context("the load told nothing")?;
        ensure!(load.problems.is_empty(), "the producer met {:?}", load.problems);
        ensure!(load.acked.len() as u64 == sent, "{} of {sent} were acked", load.acked.len());
        let lost: Vec<_> = load
            .acked
            .iter()
            .filter(|(partition, offset, seq)| log.get(&(*partition, *offset)) != Some(seq))
            .collect();
        ensure!(
            lost.is_empty(),
            "{} acked records are not where they were acked, the first {:?}",
            lost.len(),
            lost.first()
        );
        let distinct: BTreeSet<i64> = log.values().copied().collect();
        ensure!(
            distinct.len() == log.len(),
            "{} records are there twice",
            log.len() - distinct.len()
        );
        for partition in 0..PARTITIONS {
            let rows = || log.range((partition, 0)..(partition + 1, 0));
            ensure!(
                rows().map(|(_, sequence)| sequence).is_sorted(),
                "the records of partition {partition} are out of order"
            );
            ensure!(
                rows().zip(0..).all(|(((_, offset), _), index)| *offset == index),
                "partition {partition} has a gap in its offsets"
            );
        }
        Ok(())
    }

    /// Waits until the member has read and committed everything.
    fn await_end_of_log(&mut self, log: &BTreeMap<(i64, i64), i64>) -> Result<()> {
        let records = log.len() as i64;
        let name = self.name.clone();
        self.world.hub.wait("everything is committed", PROGRESS_TIMEOUT, |hub| {
            hub.members.get(&name).is_some_and(|member| total(&member.committed) == records)
        })
    }

    fn check_group(&mut self, log: &BTreeMap<(i64, i64), i64>) -> Result<()> {
        let member = self.world.hub.member(&self.name);
        let read: BTreeSet<(i64, i64)> = member.records.iter().copied().collect();
        let missed = log.keys().filter(|place| !read.contains(place)).count();
        ensure!(missed == 0, "the group never read {missed} records");
        ensure!(member.went_back.is_empty(), "read again though committed: {:?}", member.went_back);
        ensure!(
            member.losses == 0 || self.client == Client::FranzGo,
            "the member was fenced {} times",
            member.losses
        );
        let rebalances = member.assignments - 1;
        println!(
            "     {}: {} acked, {} read, of these {} again, {rebalances} rebalances",
            self.name,
            log.len(),
            member.records.len(),
            member.records.len() - read.len()
        );
        Ok(())
    }

    fn call(&mut self, command: Value) -> Result<Value> {
        self.world.hub.call(self.driver, command)
    }
}

fn total(offsets: &BTreeMap<i64, i64>) -> i64 {
    offsets.values().sum()
}

const PARTITIONS: i64 = 3;
const ACKS_PER_ROUND: usize = 400;
const SETTLE: Duration = Duration::from_millis(200);
/// A client backs off for a while before it tries a broker again that was away.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
