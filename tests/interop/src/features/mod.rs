//! What a topic's properties, the admin requests and the groups' fine print do, seen by each client:
//! each test is the same commands to three clients, with whole answers.

mod groups;
mod logs;
mod records;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::hub::{Client, DriverId};
use crate::suite::{Test, World};

/// Returns the tests: each for each client, or for the one client that has what it takes.
pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (what, check) in [logs::CHECKS, records::CHECKS, groups::CHECKS].concat() {
        for client in CLIENTS {
            tests.push(test(client, what, check));
        }
    }
    tests.extend(groups::ONLY_FRANZ_GO.iter().map(|(what, run)| test(Client::FranzGo, what, *run)));
    tests
}

/// A test: what it shows, and how.
type Check = (&'static str, fn(&mut Scene<'_>) -> Result<()>);

fn test(client: Client, what: &str, check: fn(&mut Scene<'_>) -> Result<()>) -> Test {
    Test::new(format!("{}::{what}", client.name()), move |world| {
        let driver = world.hub.driver(client)?;
        check(&mut Scene { world, client, driver })
    })
}

/// One client on the broker under test.
struct Scene<'a> {
    world: &'a mut World,
    client: Client,
    driver: DriverId,
}

impl Scene<'_> {
    /// Returns a name that no other test uses.
    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.client.name())
    }

    /// Has the client carry out a command with these fields.
    fn call(&mut self, command: &str, fields: Value) -> Result<Value> {
        self.call_by(self.driver, command, fields)
    }

    fn call_by(&mut self, driver: DriverId, command: &str, mut fields: Value) -> Result<Value> {
        fields["cmd"] = json!(command);
        self.world.hub.call(driver, fields)
    }

    /// Has the client carry out a command and compares its whole answer.
    fn expect(&mut self, command: &str, fields: Value, answer: Value) -> Result<()> {
        let found = self.call(command, fields.clone())?;
        ensure!(found == answer, "{command} {fields}\n  answered {found}\n  expected {answer}");
        Ok(())
    }

    /// Repeats a command until its whole answer is this one: it tells of what the broker does in
    /// its own time.
    fn await_answer(&mut self, command: &str, fields: Value, answer: Value) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.call(command, fields.clone())?;
            if found == answer {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{command} {fields}\n  still answers {found}\n  expected {answer}");
            }
            thread::sleep(PAUSE);
        }
    }

    /// Creates a topic with properties, and waits until its partitions have leaders.
    fn create(&mut self, topic: &str, partitions: u64, configs: Value) -> Result<()> {
        let fields = json!({ "topic": topic, "partitions": partitions, "configs": configs });
        self.expect("topic.create", fields, json!({}))?;
        let read = json!({ "cmd": "consume", "topic": topic, "partitions": partitions });
        self.world.hub.call_until_answered(self.driver, &read)?;
        Ok(())
    }

    /// Writes records to partition 0, each as timestamp, key and value; returns what each became.
    fn send(&mut self, topic: &str, records: &[(Option<u64>, &str, Value)]) -> Result<Vec<Value>> {
        let rows: Vec<Value> =
            records.iter().map(|(time, key, value)| json!([0, time, key, value])).collect();
        self.send_with(topic, json!({}), &rows)
    }

    /// Writes records, each as partition, timestamp, key and value, with a producer's properties.
    fn send_with(&mut self, topic: &str, settings: Value, rows: &[Value]) -> Result<Vec<Value>> {
        let fields = json!({ "topic": topic, "settings": settings, "records": rows });
        let answer = self.call("records.send", fields)?;
        let results = answer["results"].as_array().context("a send has results")?;
        ensure!(results.len() == rows.len(), "{} records became {results:?}", rows.len());
        Ok(results.clone())
    }

    /// Returns what partition 0 holds: offset, key and value of each record.
    fn read(&mut self, topic: &str) -> Result<Vec<Value>> {
        let fields = json!({ "topic": topic, "partition": 0, "from": 0 });
        let answer = self.call("records.read", fields)?;
        let rows = answer["records"].as_array().context("a read has records")?;
        Ok(rows.iter().map(|row| json!([row[0], row[3], row[4]])).collect())
    }

    fn await_records(&mut self, topic: &str, expected: &[Value]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.read(topic)?;
            if found == expected {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{topic} still holds {found:?}\n  expected {expected:?}");
            }
            thread::sleep(PAUSE);
        }
    }
}

/// The clients whose drivers have these commands.
const CLIENTS: [Client; 3] = [Client::Java, Client::Librdkafka, Client::FranzGo];
/// Retention and compaction run some times a second here.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
