//! The life of a consumer group, once with each client: members join, leave cleanly and die; each
//! record is read exactly once throughout; a new member goes on exactly where the group stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::hub::{Client, DriverId, Hub, numbers};
use crate::records::produce;
use crate::sample::Samples;
use crate::suite::{Test, World};

/// Returns a test for each client.
pub(crate) fn tests() -> Vec<Test> {
    let name = |client: Client| {
        format!("{}::a_group_of_three_survives_join_leave_kill_and_resume", client.name())
    };
    let test = |client: Client| {
        let doomed = json!({ "session_ms": SHORT_SESSION });
        Test::new(name(client), move |world| {
            Group::new(world, client, client.name())?.live(&doomed)
        })
    };
    Client::ALL.into_iter().map(test).collect()
}

/// A group under test and how much its topic holds by now.
pub(crate) struct Group<'a> {
    pub(crate) hub: &'a mut Hub,
    /// The client that creates the topic, writes, and asks what is committed.
    client: Client,
    driver: DriverId,
    topic: String,
    samples: Samples,
    produced: u64,
    /// What the command to start a member has more.
    more: Value,
}

impl<'a> Group<'a> {
    /// Creates a topic, which the group is named after.
    pub(crate) fn new(world: &'a mut World, client: Client, name: &str) -> Result<Self> {
        let samples = Samples {
            seed: 7,
            count: BATCH,
            partitions: PARTITIONS,
            base_timestamp: world.base_timestamp,
        };
        let hub = &mut world.hub;
        let driver = hub.driver(client)?;
        let topic = format!("group-{name}");
        hub.create(driver, &topic, PARTITIONS)?;
        Ok(Self { hub, client, driver, topic, samples, produced: 0, more: json!({}) })
    }

    /// Has members start with these fields as well.
    pub(crate) fn with(mut self, more: Value) -> Self {
        self.more = more;
        self
    }

    /// Lives; the member that is to be killed starts with the fields in `doomed`.
    pub(crate) fn live(mut self, doomed_fields: &Value) -> Result<()> {
        // One member takes all, two share, three share.
        self.produce()?;
        self.start(self.driver, "a", None)?;
        self.await_shares(&[("a", 6)], JOIN_TIMEOUT).context("the first member joins")?;
        self.await_commits()?;
        self.start(self.driver, "b", None)?;
        self.await_shares(&[("a", 3), ("b", 3)], JOIN_TIMEOUT).context("a second joins")?;
        let doomed = self.hub.start_driver(self.client)?;
        self.start_with(doomed, "c", doomed_fields)?;
        let shares = [("a", 2), ("b", 2), ("c", 2)];
        self.await_shares(&shares, JOIN_TIMEOUT).context("a third joins")?;
        self.produce()?;
        self.await_commits()?;

        // A clean leave is acted on at once: the session of `b` would last for 45 seconds.
        self.stop(self.driver, "b")?;
        self.await_shares(&[("a", 3), ("b", 0), ("c", 3)], LEAVE_TIMEOUT)
            .context("the second leaves")?;
        self.produce()?;
        self.await_commits()?;

        // A killed member says nothing: its partitions go to `a` when its session ends.
        self.kill(doomed, "c")?;
        self.await_shares(&[("a", 6), ("b", 0), ("c", 0)], TAKE_OVER_TIMEOUT)
            .context("the third is killed")?;
        self.produce()?;
        self.await_commits()?;

        // The whole group goes away; what it committed stays.
        self.stop(self.driver, "a")?;
        let offset = self.check_committed()?;

        // A new member reads what came since, and nothing else.
        self.produce()?;
        self.start(self.driver, "d", None)?;
        self.await_commits().context("a new member resumes")?;
        self.stop(self.driver, "d")?;
        let name = self.name("d");
        let first = self.hub.member(&name).records.iter().map(|(_, offset)| *offset).min();
        ensure!(first == Some(offset), "the new member began at {first:?}, not at {offset}");
        self.check_read_exactly_once()
    }

    /// Checks that every partition is committed to its end, which is returned.
    pub(crate) fn check_committed(&mut self) -> Result<i64> {
        let offset = (self.produced / PARTITIONS) as i64;
        let committed = json!({
            "cmd": "committed",
            "group": self.topic,
            "topic": self.topic,
            "partitions": PARTITIONS,
        });
        let answer = self.hub.call(self.driver, committed)?;
        let found: Vec<i64> = numbers(&answer["offsets"]).collect();
        ensure!(found == [offset; PARTITIONS as usize], "committed {found:?}, expected {offset}");
        Ok(offset)
    }

    /// Returns the name by which the hub knows a member.
    pub(crate) fn name(&self, member: &str) -> String {
        format!("{}-{member}", self.topic)
    }

    /// Writes the next records, evenly over the partitions.
    pub(crate) fn produce(&mut self) -> Result<()> {
        let command = produce(&self.topic, &self.samples, self.produced, "none");
        self.hub.call(self.driver, command)?;
        self.produced += BATCH;
        Ok(())
    }

    /// Starts a member in a driver.
    pub(crate) fn start(
        &mut self,
        driver: DriverId,
        member: &str,
        session_ms: Option<u64>,
    ) -> Result<()> {
        let fields = session_ms.map_or(json!({}), |session| json!({ "session_ms": session }));
        self.start_with(driver, member, &fields)
    }

    /// Starts a member in a driver, with more fields.
    pub(crate) fn start_with(
        &mut self,
        driver: DriverId,
        member: &str,
        fields: &Value,
    ) -> Result<()> {
        let mut command = json!({
            "cmd": "member.start",
            "member": self.name(member),
            "group": self.topic,
            "topic": self.topic,
        });
        for more in [&self.more, fields] {
            for (field, value) in more.as_object().into_iter().flatten() {
                command[field] = value.clone();
            }
        }
        self.hub.call(driver, command)?;
        Ok(())
    }

    /// Has a member leave cleanly.
    pub(crate) fn stop(&mut self, driver: DriverId, member: &str) -> Result<()> {
        let stop = json!({ "cmd": "member.stop", "member": self.name(member) });
        self.hub.call(driver, stop)?;
        Ok(())
    }

    /// Kills the driver of a member, which takes nothing back and owns nothing any more.
    pub(crate) fn kill(&mut self, driver: DriverId, member: &str) -> Result<()> {
        self.hub.kill(driver)?;
        let dead = self.name(member);
        self.hub.member(&dead).owned.clear();
        Ok(())
    }

    /// Waits until each named member owns that many partitions, and all together own each once.
    pub(crate) fn await_shares(
        &mut self,
        shares: &[(&str, usize)],
        timeout: Duration,
    ) -> Result<()> {
        let wanted: Vec<(String, usize)> =
            shares.iter().map(|(member, share)| (self.name(member), *share)).collect();
        self.hub.wait(&format!("the shares are {shares:?}"), timeout, |hub| {
            let mut all: BTreeSet<i64> = BTreeSet::new();
            let mut as_wanted = true;
            for (name, share) in &wanted {
                let owned = hub.members.get(name).map(|member| member.owned.clone());
                let owned = owned.unwrap_or_default();
                as_wanted &= owned.len() == *share;
                all.extend(owned);
            }
            as_wanted && all.len() == PARTITIONS as usize
        })
    }

    /// Waits until the members have committed up to the end of every partition.
    pub(crate) fn await_commits(&mut self) -> Result<()> {
        let end = (self.produced / PARTITIONS) as i64;
        let prefix = self.name("");
        self.hub.wait(&format!("every partition is committed to {end}"), COMMIT_TIMEOUT, |hub| {
            let mut committed: BTreeMap<i64, i64> = BTreeMap::new();
            for (_, member) in hub.members.iter().filter(|(name, _)| name.starts_with(&prefix)) {
                for (partition, offset) in &member.committed {
                    let highest = committed.entry(*partition).or_default();
                    *highest = (*highest).max(*offset);
                }
            }
            committed.len() == PARTITIONS as usize && committed.values().all(|found| *found == end)
        })
    }

    /// Checks that each record was read by one member, once.
    pub(crate) fn check_read_exactly_once(&self) -> Result<()> {
        let prefix = self.name("");
        let mut read: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        for (name, member) in &self.hub.members {
            if name.starts_with(&prefix) {
                ensure!(member.problems.is_empty(), "{name} met {:?}", member.problems);
                for record in &member.records {
                    *read.entry(*record).or_default() += 1;
                }
            }
        }
        let twice: Vec<_> = read.iter().filter(|(_, times)| **times > 1).collect();
        ensure!(twice.is_empty(), "read more than once: {twice:?}");
        ensure!(
            read.len() as u64 == self.produced,
            "{} of {} records were read",
            read.len(),
            self.produced
        );
        Ok(())
    }
}

const PARTITIONS: u64 = 6;
/// Records per phase: a multiple of the partitions.
const BATCH: u64 = 300;
/// Kafka waits three seconds for more members when a group is new; members hear of a rebalance by
/// their heartbeat every three seconds.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Well under the 45 seconds after which a member that says nothing is given up.
pub(crate) const LEAVE_TIMEOUT: Duration = Duration::from_secs(30);
/// The session of the member that is killed, in milliseconds: Kafka's least.
pub(crate) const SHORT_SESSION: u64 = 6_000;
pub(crate) const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(30);
