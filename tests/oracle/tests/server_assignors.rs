//! The coordinator's assignors against Kafka's classes: the same groups, the same targets.
//!
//! A random group lives through random changes; each new target is Kafka's as well as ours, and the
//! one both go on from.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_assignor::server::{GroupAssignment, GroupSpec, PartitionSet, by_name};
use kohort_oracle::AssignorOracle;
use kohort_protocol::Uuid;
use kohort_protocol::testing::Dice;
use serde_json::{Value, json};

const SEEDS: std::ops::Range<u64> = 0..60;
const CHANGES: usize = 25;
/// Few enough for their ids to be walked in order in Kafka's smallest hash table.
const TOPICS: usize = 15;

#[test]
fn the_assignors_give_what_kafka_s_give() {
    let mut oracle = AssignorOracle::start().unwrap_or_else(|error| panic!("{error:#}"));
    for seed in SEEDS {
        for name in ["uniform", "range"] {
            for alike in [true, false] {
                live(&mut oracle, name, alike, seed);
            }
        }
    }
}

fn live(oracle: &mut AssignorOracle, name: &str, alike: bool, seed: u64) {
    let assignor = by_name(name).unwrap();
    let mut life = Life::new(Dice::new(seed), alike);
    for step in 0..CHANGES {
        life.change();
        let ours = assignor.assign(&life.group, &life.topics).unwrap();
        let question = life.question(name);
        let theirs = oracle.assign(&question).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(
            answer(&ours),
            complete(theirs, &ours),
            "{name} seed {seed} step {step}: {question}"
        );
        for (member, partitions) in ours.members {
            life.group.members.get_mut(&member).unwrap().target = partitions;
        }
    }
}

struct Life {
    dice: Dice,
    alike: bool,
    topics: BTreeMap<Uuid, i32>,
    group: GroupSpec,
    common: Arc<BTreeSet<Uuid>>,
}

impl Life {
    fn new(mut dice: Dice, alike: bool) -> Self {
        let size = [3, 12, 40][dice.below(3)];
        let topics = (1..=TOPICS).map(|topic| (id(topic), dice.below(size) as i32 + 1)).collect();
        let mut life =
            Self { dice, alike, topics, group: GroupSpec::default(), common: Arc::default() };
        life.common = life.some_topics();
        let members = life.dice.below(20);
        for _ in 0..members {
            life.join();
        }
        life
    }

    fn change(&mut self) {
        match self.dice.below(10) {
            0..4 => self.join(),
            4..7 => {
                if let Some(member) = self.a_member() {
                    self.group.members.remove(&member);
                }
            }
            7..9 => self.resubscribe(),
            _ => {
                let topic = id(self.dice.below(TOPICS) + 1);
                let by = self.dice.below(7) as i32;
                *self.topics.get_mut(&topic).unwrap() += by;
            }
        }
    }

    fn join(&mut self) {
        let topics = if self.alike { self.common.clone() } else { self.some_topics() };
        let member = format!("m{:03}", self.dice.below(1000));
        let instance = self.dice.one_in(4).then(|| format!("i{:05}", self.dice.below(100_000)));
        let member = self.group.members.entry(member.into()).or_default();
        member.topics = topics;
        member.instance_id = instance.map(Arc::from);
    }

    fn resubscribe(&mut self) {
        let topics = self.some_topics();
        if self.alike {
            self.common = topics.clone();
            for member in self.group.members.values_mut() {
                member.topics = topics.clone();
            }
        } else if let Some(member) = self.a_member() {
            self.group.members.get_mut(&member).unwrap().topics = topics;
        }
    }

    fn a_member(&mut self) -> Option<Arc<str>> {
        let count = self.group.members.len();
        (count > 0).then(|| self.group.members.keys().nth(self.dice.below(count)).unwrap().clone())
    }

    fn some_topics(&mut self) -> Arc<BTreeSet<Uuid>> {
        let share = 1 + self.dice.below(5);
        Arc::new((1..=TOPICS).filter(|_| self.dice.one_in(share)).map(id).collect())
    }

    fn question(&self, assignor: &str) -> Value {
        let topics: BTreeMap<String, i32> =
            self.topics.iter().map(|(id, count)| (number(*id).to_string(), *count)).collect();
        let members: Vec<Value> = self
            .group
            .members
            .iter()
            .map(|(id, member)| {
                json!({
                    "id": **id,
                    "instance": member.instance_id.as_deref(),
                    "topics": member.topics.iter().map(|id| number(*id)).collect::<Vec<_>>(),
                    "target": by_number(&member.target),
                })
            })
            .collect();
        // Whether all want the same is told by their topics, as the coordinator tells it.
        let mut wanted = self.group.members.values().map(|member| &member.topics);
        let first = wanted.next();
        let alike = wanted.all(|topics| Some(topics) == first);
        json!({ "assignor": assignor, "alike": alike, "topics": topics, "members": members })
    }
}

fn id(topic: usize) -> Uuid {
    Uuid((topic as u128).to_be_bytes())
}

fn number(id: Uuid) -> u64 {
    u128::from_be_bytes(id.0) as u64
}

fn by_number(partitions: &PartitionSet) -> Value {
    let topics =
        partitions.by_topic().map(|(id, partitions)| (number(id).to_string(), json!(partitions)));
    Value::Object(topics.collect())
}

fn answer(target: &GroupAssignment) -> Value {
    let members = target.members.iter().map(|(id, of)| (id.to_string(), by_number(of)));
    Value::Object(members.collect())
}

/// Kafka leaves members out when nobody wants anything; its coordinator takes them to have nothing.
fn complete(mut theirs: Value, ours: &GroupAssignment) -> Value {
    let members = theirs.as_object_mut().unwrap();
    for id in ours.members.keys() {
        members.entry(id.to_string()).or_insert_with(|| json!({}));
    }
    theirs
}
