//! What comes about in time or on another thread: the end of a session, the end of the time to give
//! partitions up, and patterns of topics.
//!
//! How many heartbeats that takes differs from run to run. So each broker is asked until it has come to a
//! state, and the states are compared, not the ways there: with their epochs where each side goes the same
//! steps, without where Kafka resolves a pattern in an epoch of its own.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::IncrementalAlterConfigsRequest;
use kohort_protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use serde_json::{Value, json};

use super::classic::Classic;
use super::member::{Beat, Member};
use super::side::Side;

/// What is lived here.
pub(super) const STATES: [&str; 5] =
    ["sessions", "revocations", "classic sessions", "strangers", "patterns"];

/// Lives of which only the states are compared.
pub(super) struct States<'a> {
    sides: &'a mut [Side; 2],
    answers: usize,
}

/// A group with its members as one side knows them.
struct Group {
    name: &'static str,
    members: Vec<Member>,
    /// The pattern of each member.
    patterns: Vec<Option<String>>,
    rebalance_timeout_ms: i32,
}

impl<'a> States<'a> {
    pub(super) fn new(sides: &'a mut [Side; 2]) -> Self {
        Self { sides, answers: 0 }
    }

    /// Returns how many answers were compared.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// Lives one of [`STATES`].
    pub(super) fn live(&mut self, kind: &str) -> Result<()> {
        match kind {
            "sessions" => self.sessions_end(),
            "revocations" => self.revocations_end(),
            "classic sessions" => self.classic_sessions_end(),
            "strangers" => self.strangers_join(),
            _ => self.patterns(),
        }
    }

    /// A silent member is out of the group after its session, and is told so when it comes back.
    fn sessions_end(&mut self) -> Result<()> {
        self.compare("a silent member", |side| {
            shorten_sessions(side, "sessions")?;
            let mut group = Group::of("sessions", 2, &["apples", "berries"]);
            group.until(side, &[0, 1], |it| it.is_settled(2))?;
            group.until(side, &[0], |it| it.is_settled(1))?;
            let described = side.describe(group.name)?;
            let back = group.beat(side, 1)?;
            group.leave(side)?;
            Ok(json!([described, back]))
        })
    }

    /// Who does not give its partitions up in time is out of the group, however lively it is.
    fn revocations_end(&mut self) -> Result<()> {
        self.compare("a member that gives nothing up", |side| {
            let mut group = Group::of("revocations", 2, &["apples", "berries"]);
            group.rebalance_timeout_ms = REBALANCE_MS;
            group.until(side, &[0], |it| it.is_settled(1))?;
            // From now on it says nothing of what it owns.
            group.members[0].owned.clear();
            group.silent(side, 0)?;
            let deadline = Instant::now() + PATIENCE;
            let mut refused = Value::Null;
            while refused.is_null() {
                group.until(side, &[1], |_| true)?;
                let answer = group.silent(side, 0)?;
                if answer["error"] != "NONE" {
                    refused = answer;
                }
                ensure!(Instant::now() < deadline, "it stays: {}", side.describe(group.name)?);
            }
            group.until(side, &[1], |it| it.is_settled(1))?;
            let described = side.describe(group.name)?;
            group.leave(side)?;
            Ok(json!([refused["error"], described]))
        })
    }

    /// A silent classic member in a group of the new protocol has its own session.
    fn classic_sessions_end(&mut self) -> Result<()> {
        self.compare("a silent classic member", |side| {
            let mut group = Group::of("classic-sessions", 1, &["apples"]);
            group.until(side, &[0], |it| it.is_settled(1))?;
            let mut classic = Classic::new('w');
            classic.session_ms = SESSION_MS;
            classic.wants(vec!["apples".to_owned()]);
            let (joined, classic) = classic.join(side, group.name)?;
            let (synced, _) = classic.sync(side, group.name, 0)?;
            group.until(side, &[0], |it| it.members == 1 && it.is_settled(1))?;
            let described = side.describe(group.name)?;
            let (back, _) = classic.beat(side, group.name, 0)?;
            group.leave(side)?;
            Ok(json!([joined["error"], synced["error"], described, back]))
        })
    }

    /// A classic member comes under an id that the group does not know: as one that was put out and claims
    /// what it had, and with empty hands.
    fn strangers_join(&mut self) -> Result<()> {
        self.compare("a classic member that the group does not know", |side| {
            let mut group = Group::of("strangers", 1, &["apples"]);
            group.until(side, &[0], |it| it.is_settled(1))?;
            let claiming = Classic::join_as(side, group.name, STRANGER, &[("apples", 0)])?;
            // Kafka lets it in, ours does not: see the list of what is meant to differ.
            let known = [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID];
            ensure!(known.contains(&claiming), "who claims something is told {claiming}");
            if claiming.is_ok() {
                Classic::leave_as(side, group.name, STRANGER)?;
            }
            let with_nothing = Classic::join_as(side, group.name, STRANGER, &[])?;
            let left = Classic::leave_as(side, group.name, STRANGER)?;
            group.leave(side)?;
            Ok(json!([with_nothing.to_string(), left.to_string()]))
        })
    }

    /// Patterns, by themselves and beside names, that change, and whose topics come and go.
    fn patterns(&mut self) -> Result<()> {
        const NEW: &str = "coconuts";
        self.compare("patterns of topics", |side| {
            let mut told = Vec::new();
            let mut group = Group::of("patterns", 2, &[]);
            group.patterns = vec![Some("(app|ber).*".to_owned()), Some("c.*s".to_owned())];
            group.members[1].topics = vec!["apples".to_owned()];
            let mut reach = |group: &mut Group, side: &mut Side, count: usize| -> Result<()> {
                group.until(side, &[0, 1], |it| it.is_settled(2) && it.assigned == count)?;
                told.push(without_epochs(side.describe(group.name)?));
                Ok(())
            };
            reach(&mut group, side, 4 + 3 + 7)?;
            // Anchored: this matches nothing.
            group.patterns[1] = Some("c".to_owned());
            reach(&mut group, side, 4 + 3)?;
            group.patterns[0] = Some("[bc].*".to_owned());
            reach(&mut group, side, 4 + 3 + 7)?;
            side.create_topic(NEW, 2)?;
            reach(&mut group, side, 4 + 3 + 7 + 2)?;
            side.delete_topic(NEW)?;
            reach(&mut group, side, 4 + 3 + 7)?;
            // Both say the same.
            group.patterns[1] = Some("[bc].*".to_owned());
            group.members[1].topics = Vec::new();
            reach(&mut group, side, 3 + 7)?;
            // A member that names topics alone again.
            group.patterns[0] = Some(String::new());
            group.members[0].topics = vec!["apples".to_owned()];
            reach(&mut group, side, 4 + 3 + 7)?;
            for wrong in ["(", "[z-a]", "a**", "(?=a)", "\\1"] {
                group.patterns[0] = Some(wrong.to_owned());
                told.push(json!([wrong, group.beat(side, 0)?["error"]]));
            }
            group.leave(side)?;
            Ok(json!(told))
        })
    }

    /// Has both sides live it, Kafka first, and compares what came of it.
    fn compare(
        &mut self,
        what: &str,
        mut live: impl FnMut(&mut Side) -> Result<Value>,
    ) -> Result<()> {
        let [theirs, ours] = &mut *self.sides;
        theirs.classic_ids.clear();
        ours.classic_ids.clear();
        let (theirs, ours) = (live(theirs)?, live(ours)?);
        self.answers += 1;
        if theirs != ours {
            bail!("  {what}\n      Kafka  {theirs}\n      kohort {ours}");
        }
        Ok(())
    }
}

impl Group {
    fn of(name: &'static str, members: u8, topics: &[&str]) -> Self {
        let member = |letter: u8| Member {
            id: char::from(letter).to_string(),
            assignor: Some("range"),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..Member::default()
        };
        Self {
            name,
            members: (b'a'..b'a' + members).map(member).collect(),
            patterns: vec![None; usize::from(members)],
            rebalance_timeout_ms: 60_000,
        }
    }

    /// Has members heartbeat, and do as they are told, until the group is as it should be.
    fn until(
        &mut self,
        side: &mut Side,
        who: &[usize],
        done: impl Fn(&Described) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for one in who {
                let answer = self.beat(side, *one)?;
                ensure!(answer["error"] == "NONE", "{} is refused: {answer}", self.name);
            }
            let described = side.describe(self.name)?;
            if done(&Described::of(&described)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} does not come to it: {described}", self.name);
            thread::sleep(PAUSE);
        }
    }

    /// A heartbeat that tells everything, and reports what was given up and taken.
    fn beat(&mut self, side: &mut Side, who: usize) -> Result<Value> {
        let member = &self.members[who];
        let beat = Beat {
            group: self.name.to_owned(),
            member: member.id.clone(),
            epoch: member.epoch,
            timeout: self.rebalance_timeout_ms,
            topics: Some(member.topics.clone()),
            regex: self.patterns[who].clone(),
            assignor: member.assignor.map(str::to_owned),
            owned: Some(member.owned.clone()),
            ..Beat::default()
        };
        self.send(side, who, &beat)
    }

    /// A heartbeat that tells nothing.
    fn silent(&mut self, side: &mut Side, who: usize) -> Result<Value> {
        let member = &self.members[who];
        let beat = Beat {
            group: self.name.to_owned(),
            member: member.id.clone(),
            epoch: member.epoch,
            timeout: -1,
            ..Beat::default()
        };
        let (answer, _) = side.beat(&beat, 1)?;
        Ok(answer)
    }

    fn send(&mut self, side: &mut Side, who: usize, beat: &Beat) -> Result<Value> {
        let (answer, learnt) = side.beat(beat, 1)?;
        let member = &mut self.members[who];
        if learnt.error == ErrorCode::NONE && learnt.epoch > 0 {
            member.joined = true;
            member.epoch = learnt.epoch;
            if let Some(assignment) = learnt.assignment {
                member.assigned = assignment;
                member.settle();
            }
        }
        Ok(answer)
    }

    fn leave(&mut self, side: &mut Side) -> Result<()> {
        for member in &self.members {
            let beat = Beat {
                group: self.name.to_owned(),
                member: member.id.clone(),
                epoch: -1,
                timeout: -1,
                ..Beat::default()
            };
            side.beat(&beat, 1)?;
        }
        Ok(())
    }
}

/// What matters of a description.
struct Described {
    stable: bool,
    members: usize,
    /// How many partitions are assigned in all.
    assigned: usize,
    /// Whether everybody has what it is to have.
    reconciled: bool,
}

impl Described {
    fn of(described: &Value) -> Self {
        let group = &described["consumer"];
        let members = group["members"].as_array().map_or(&[][..], Vec::as_slice);
        let assigned = |member: &Value| member["assigned"].as_array().map_or(0, Vec::len);
        Self {
            stable: group["state"] == "Stable",
            members: members.len(),
            assigned: members.iter().map(assigned).sum(),
            reconciled: members.iter().all(|it| it["assigned"] == it["target"]),
        }
    }

    fn is_settled(&self, members: usize) -> bool {
        self.stable && self.reconciled && self.members == members && self.assigned > 0
    }
}

/// Gives a group the shortest session that leaves a busy machine time.
fn shorten_sessions(side: &mut Side, group: &str) -> Result<()> {
    let config = |name: &str, value: i32| AlterableConfig {
        name: name.to_owned(),
        config_operation: 0,
        value: Some(value.to_string()),
    };
    let resource = AlterConfigsResource {
        resource_type: GROUP_RESOURCE,
        resource_name: side.group(group),
        configs: vec![config("consumer.session.timeout.ms", SESSION_MS)],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = side.link.call(&request, 1)?;
    let error = answer.responses.first().map_or(ErrorCode::NONE, |it| it.error_code);
    ensure!(error.is_ok(), "the session's length is not taken: {error}");
    Ok(())
}

/// Leaves epochs out of a description.
fn without_epochs(mut described: Value) -> Value {
    let leave_out: BTreeSet<&str> = BTreeSet::from(["epoch", "target epoch"]);
    let strip = |value: &mut Value| {
        if let Some(object) = value.as_object_mut() {
            object.retain(|name, _| !leave_out.contains(name.as_str()));
        }
    };
    strip(&mut described["consumer"]);
    if let Some(members) = described["consumer"]["members"].as_array_mut() {
        members.iter_mut().for_each(strip);
    }
    described
}

const STRANGER: &str = "stranger";
const SESSION_MS: i32 = 6_000;
const REBALANCE_MS: i32 = 3_000;
const GROUP_RESOURCE: i8 = 32;
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
