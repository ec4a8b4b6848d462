//! Who is in the groups, by the broker's own account: what it tells of rebalances, and its descriptions.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use kohort::TopicPartition;
use kohort::admin::{Admin, CommittedOffset, CommittedOffsets};
use kohort::config::{AdminConfig, Properties as _};
use kohort::consumer::Consumer;
use serde_json::Value;
use tokio::runtime::Runtime;

/// Looks at the groups from outside, over connections that nothing is done to.
pub(crate) struct Audit {
    runtime: Runtime,
    admin: Admin,
    bootstrap: String,
    /// Reads what is told of rebalances, once there is such a topic.
    events: Option<Consumer>,
    groups: Vec<String>,
    /// The client id of every member there ever was.
    names: BTreeMap<String, String>,
    /// Members that may go: client id and how often.
    leavers: BTreeMap<String, usize>,
    /// How many of those the broker gave up, since it did not hear that they left.
    pub(crate) lost_leaves: usize,
    /// How many rebalances there were.
    pub(crate) rebalances: usize,
    /// The first group that was not as it should be when they were described last.
    pub(crate) unsettled: String,
    /// Who was expelled.
    pub(crate) found: Vec<String>,
}

impl Audit {
    pub(crate) fn new(bootstrap: &str, groups: Vec<String>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = [("bootstrap.servers", bootstrap), ("client.id", WATCHER)];
        let admin = Admin::new(AdminConfig::from_pairs(settings)?)?;
        Ok(Self {
            runtime,
            admin,
            bootstrap: bootstrap.to_owned(),
            events: None,
            groups,
            names: BTreeMap::new(),
            leavers: BTreeMap::new(),
            lost_leaves: 0,
            rebalances: 0,
            unsettled: String::new(),
            found: Vec::new(),
        })
    }

    /// Commits for each group, which has no members yet, that it begins with the first record.
    pub(crate) fn commit_beginnings(&self, topic: &str, partitions: u64) -> Result<()> {
        let first = CommittedOffset { offset: 0, leader_epoch: None, metadata: String::new() };
        let partitions = (0..partitions as i32).map(|index| TopicPartition::new(topic, index));
        let offsets: CommittedOffsets = partitions.map(|it| (it, first.clone())).collect();
        for group in &self.groups {
            let commit = self.admin.alter_group_offsets(group, offsets.clone());
            self.runtime.block_on(commit)?.into_values().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// Tells that a member with this client id is going to leave.
    pub(crate) fn excuse(&mut self, client_id: &str) {
        *self.leavers.entry(client_id.to_owned()).or_default() += 1;
    }

    /// Describes the groups. Returns whether each is stable and has as many members as it should.
    pub(crate) fn describe(&mut self, expected: &BTreeMap<String, usize>) -> Result<bool> {
        let described = self.runtime.block_on(self.admin.describe_groups(self.groups.clone()))?;
        self.unsettled.clear();
        for (name, group) in described {
            let Ok(group) = group else {
                self.unsettled = name;
                continue;
            };
            let expected = expected.get(&name).copied().unwrap_or_default();
            if group.state != "Stable" || group.members.len() != expected {
                self.unsettled = format!("{expected} members, {group:#?}");
            }
            let names = group.members.into_iter().map(|it| (it.member_id, it.client_id));
            self.names.extend(names);
        }
        Ok(self.unsettled.is_empty())
    }

    /// Takes in what has been told of rebalances since this was called last.
    pub(crate) fn take_in(&mut self) -> Result<()> {
        let events = match self.events.take() {
            Some(events) => events,
            None => self.open()?,
        };
        let mut told = Vec::new();
        loop {
            // A lost connection is no news.
            let Ok(records) = self.runtime.block_on(events.poll(POLL)) else { break };
            if records.is_empty() {
                break;
            }
            for record in &records {
                told.extend(record.value.and_then(|it| serde_json::from_slice::<Value>(it).ok()));
            }
        }
        self.events = Some(events);
        for event in told.iter().filter(|event| event["event"] == "rebalance") {
            self.rebalances += 1;
            self.judge(event);
        }
        Ok(())
    }

    fn open(&self) -> Result<Consumer> {
        let consumer = Consumer::builder()
            .bootstrap_servers(&self.bootstrap)
            .set("client.id", WATCHER)
            .set("auto.offset.reset", "earliest")
            .build()?;
        let topic = TopicPartition::new("__kohort_group_events", 0);
        self.runtime.block_on(consumer.assign([topic]))?;
        Ok(consumer)
    }

    fn judge(&mut self, event: &Value) {
        for cause in event["causes"].as_array().into_iter().flatten() {
            let what = cause["what"].as_str().unwrap_or_default();
            let expelled = EXPULSIONS.contains(&what);
            if !expelled && !DEPARTURES.contains(&what) {
                continue;
            }
            let member = cause["member"].as_str().unwrap_or_default();
            let name = self.name(member);
            if name.starts_with(DOOMED) {
                continue;
            }
            // A leave over a connection that is struck just then may never arrive: the broker sees the connection
            // close, and gives the member up, which is right. Each leaver goes once, either way.
            if let Some(count) = self.leavers.get_mut(&name).filter(|it| **it > 0) {
                *count -= 1;
                self.lost_leaves += usize::from(expelled);
                continue;
            }
            self.found.push(format!(
                "{}: {what}: client `{name}`, member {member}, at {} ({})",
                event["group"].as_str().unwrap_or_default(),
                cause["at_ms"],
                cause["text"].as_str().unwrap_or_default(),
            ));
        }
    }

    /// Returns a member's client id. A classic member's id begins with it, before a dash and a UUID.
    fn name(&self, member: &str) -> String {
        let known = self.names.get(member).cloned();
        let begun = member.len().checked_sub(UUID + 1).and_then(|end| member.get(..end));
        known.or_else(|| begun.map(str::to_owned)).unwrap_or_default()
    }
}

/// The client id of what looks on: nothing is done to its connections.
pub(crate) const WATCHER: &str = "watcher";
/// What the client ids of members that will be killed begin with.
pub(crate) const DOOMED: &str = "doomed";

/// What nobody asked for.
const EXPULSIONS: [&str; 5] =
    ["expired", "disconnected", "did-not-rejoin", "did-not-sync", "did-not-revoke"];
/// What a member does itself, when told to or when it thinks that it has to.
const DEPARTURES: [&str; 2] = ["left", "removed"];
const POLL: Duration = Duration::from_millis(20);
const UUID: usize = 36;
