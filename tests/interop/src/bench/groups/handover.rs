//! How long partitions go unserved while members of a group come and go, with real clients at their
//! defaults, on a broker at its.
//!
//! Members are processes, the drivers of the test suites. Twelve partitions are fed a record every six
//! milliseconds each, and every record is told of here as it is read, and committed. The longest time
//! between two records of a partition around a change is one value, so six milliseconds and the way here are
//! in each. A partition that changed hands counts as moved, any other as retained.
//!
//! Members that are to join are running processes before they are told to. Kafka is measured once around:
//! a member that is killed there is missed for the rest of its session.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::bench::latency::Latencies;
use crate::bench::target::Column;
use crate::broker::{Broker, Kind};
use crate::hub::{Client, DriverId, Hub};
use crate::places::Places;

/// The protocol of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The classic one, with the cooperative-sticky assignor.
    Cooperative,
    /// KIP-848's.
    Consumer,
}

/// Returns, in milliseconds: the 99th percentile of what moved, the longest of what did not, the 99th
/// percentile of what a killed member had; and for our client how long after a broker is started again
/// the first record comes.
pub(super) fn run(
    column: Column,
    places: &Places,
    client: Client,
    protocol: Protocol,
) -> Result<Vec<f64>> {
    let ours = column == Column::Kohort;
    let kind = if ours { Kind::Kohort } else { Kind::Kafka };
    let broker = Broker::start_with(kind, places, &[])?;
    let mut group = Group::start(broker, places, client, protocol)?;
    group.watch();
    for _ in 0..2 {
        let driver = group.hub.start_driver(client)?;
        group.join(driver)?;
    }
    group.settle()?;
    for _ in 0..if ours { ROUNDS } else { 1 } {
        group.grow_and_shrink()?;
        if ours {
            group.grow_and_lose_one()?;
        }
    }
    group.restart_members()?;
    let [moved] = group.moved.percentiles([0.99]);
    let [retained] = group.retained.percentiles([1.0]);
    let [lost] = group.lost.percentiles([0.99]);
    let mut values = vec![moved, retained, lost];
    if client == Client::Kohort {
        values.push(group.restart_broker()?);
    }
    Ok(values)
}

struct Group {
    broker: Broker,
    hub: Hub,
    client: Client,
    protocol: Protocol,
    members: Vec<(DriverId, String)>,
    started: usize,
    moved: Latencies,
    retained: Latencies,
    lost: Latencies,
}

impl Group {
    fn start(broker: Broker, places: &Places, client: Client, protocol: Protocol) -> Result<Self> {
        let mut hub = Hub::new(places, broker.address());
        let feed = hub.start_driver(Client::Kohort)?;
        hub.create(feed, TOPIC, PARTITIONS)?;
        let command =
            json!({ "cmd": "load.start", "load": TOPIC, "topic": TOPIC, "partitions": PARTITIONS });
        hub.call(feed, command)?;
        Ok(Self {
            broker,
            hub,
            client,
            protocol,
            members: Vec::new(),
            started: 0,
            moved: Latencies::default(),
            retained: Latencies::default(),
            lost: Latencies::default(),
        })
    }

    /// A third member joins, and one of the first leaves.
    fn grow_and_shrink(&mut self) -> Result<()> {
        let driver = self.running_driver()?;
        self.observe(|group| group.join(driver))?;
        self.observe(|group| group.leave(0))
    }

    /// A third member joins, and is killed.
    fn grow_and_lose_one(&mut self) -> Result<()> {
        let driver = self.running_driver()?;
        self.observe(|group| group.join(driver))?;
        let before = self.owners();
        self.watch();
        let killed = self.members.pop();
        if let Some((driver, name)) = killed {
            self.hub.kill(driver)?;
            self.hub.member(&name).owned.clear();
        }
        self.settle()?;
        let after = self.owners();
        for (partition, silence) in &self.hub.arrivals.longest {
            if before.get(partition) != after.get(partition) {
                self.lost.add(*silence);
            }
        }
        Ok(())
    }

    /// All members are replaced, each as soon as the one before is settled.
    fn restart_members(&mut self) -> Result<()> {
        let starting = self.members.iter().map(|_| self.hub.start_driver(self.client));
        let drivers = starting.collect::<Result<Vec<_>>>()?;
        self.hub.listen(self.warm_up());
        for driver in drivers {
            self.observe(|group| {
                group.leave(0)?;
                group.join(driver)
            })?;
        }
        Ok(())
    }

    /// Kills the broker, starts it again, and returns the milliseconds until the first record.
    fn restart_broker(&mut self) -> Result<f64> {
        self.broker.kill()?;
        // What was read before is told of before.
        self.hub.listen(WAY);
        let started = Instant::now();
        self.watch();
        self.broker.launch()?;
        self.hub.wait("a record is read", PATIENCE, |hub| !hub.arrivals.longest.is_empty())?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }

    /// Starts a process that will be a member.
    fn running_driver(&mut self) -> Result<DriverId> {
        let driver = self.hub.start_driver(self.client)?;
        self.hub.listen(self.warm_up());
        Ok(driver)
    }

    fn warm_up(&self) -> Duration {
        if self.client == Client::Kohort { WARM_UP } else { WARM_UP_OTHERS }
    }

    /// Counts what a change of the group does to its partitions.
    fn observe(&mut self, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let before = self.owners();
        self.watch();
        change(self)?;
        self.settle()?;
        let after = self.owners();
        for (partition, silence) in &self.hub.arrivals.longest {
            if before.get(partition) == after.get(partition) {
                self.retained.add(*silence);
            } else {
                self.moved.add(*silence);
            }
        }
        Ok(())
    }

    fn join(&mut self, driver: DriverId) -> Result<()> {
        self.started += 1;
        let name = format!("m{}", self.started);
        let mut command =
            json!({ "cmd": "member.start", "member": name, "group": TOPIC, "topic": TOPIC });
        match self.protocol {
            Protocol::Cooperative => command["strategy"] = json!("cooperative-sticky"),
            Protocol::Consumer => command["settings"] = json!({ "group.protocol": "consumer" }),
        }
        self.hub.call(driver, command)?;
        self.members.push((driver, name));
        Ok(())
    }

    fn leave(&mut self, index: usize) -> Result<()> {
        let (driver, name) = self.members.remove(index);
        self.hub.call(driver, json!({ "cmd": "member.stop", "member": name }))?;
        self.hub.member(&name).owned.clear();
        self.hub.kill(driver)
    }

    /// Waits until all members have equal shares, and every partition is read from.
    fn settle(&mut self) -> Result<()> {
        let share = PARTITIONS as usize / self.members.len();
        let names: Vec<String> = self.members.iter().map(|(_, name)| name.clone()).collect();
        self.hub.wait("the shares are equal", PATIENCE, |hub| {
            let owned = |name: &String| hub.members.get(name).map_or(0, |it| it.owned.len());
            names.iter().all(|name| owned(name) == share)
        })?;
        let settled = Instant::now();
        let all = PARTITIONS as usize;
        self.hub.wait("all partitions are read", PATIENCE, |hub| {
            hub.arrivals.heard_since(settled) == all
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
}

const TOPIC: &str = "fed";
const PARTITIONS: u64 = 12;
/// How often a member joins, leaves, joins and is killed.
const ROUNDS: usize = 4;
/// What a process that was just started is given before it is told to join.
const WARM_UP: Duration = Duration::from_millis(200);
/// The same for a JVM or an interpreter.
const WARM_UP_OTHERS: Duration = Duration::from_millis(1_500);
/// After the last change a silence may still follow.
const SETTLED: Duration = Duration::from_millis(500);
const WAY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
