//! Kafka Streams, at least once: one application that counts words through a repartition topic and a
//! changelog and joins a table, stopped, started without its state, shared by two instances, and
//! left without a broker for a while. Each word's counts come out in order, none twice.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hub::{Client, DriverId};
use crate::suite::{Test, World};

/// Returns the test.
pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("streams::counts_survive_lost_state_a_second_instance_and_a_restart", |world| {
        let driver = world.hub.driver(Client::Java)?;
        let folder = TempDir::new()?;
        Application { world, driver, folder, lines: Vec::new() }.live()
    })]
}

struct Application<'a> {
    world: &'a mut World,
    driver: DriverId,
    /// The state of the instances, a folder for each.
    folder: TempDir,
    lines: Vec<String>,
}

impl Application<'_> {
    fn live(mut self) -> Result<()> {
        for (topic, partitions) in [("labels", 2), ("lines", 2), ("counts", 1)] {
            self.world.hub.create(self.driver, &format!("{NAME}-{topic}"), partitions)?;
        }
        let labels: Vec<Value> =
            LABELS.iter().map(|(word, label)| json!([null, null, word, label])).collect();
        self.send("labels", &labels)?;
        self.write(40)?;
        self.start("a")?;
        self.await_counts().context("one instance")?;
        self.check_internal_topics()?;

        // Its state is gone with its memory: the changelog has it.
        self.stop("a")?;
        self.write(40)?;
        self.start("a")?;
        self.await_counts().context("the instance again, without its state")?;

        self.start("b")?;
        self.await_tasks(&["a", "b"]).context("a second instance")?;
        self.write(40)?;
        self.await_counts().context("two instances")?;

        // What is not committed is counted again when its task is given up: that is at least once.
        self.await_commits()?;
        self.world.broker.stop()?;
        self.world.broker.launch()?;
        self.write(40)?;
        self.await_counts().context("after a restart of the broker")?;

        self.stop("a")?;
        self.write(40)?;
        self.await_counts().context("the second instance has it all")?;
        self.stop("b")
    }

    /// Writes some more lines of a fixed text.
    fn write(&mut self, count: usize) -> Result<()> {
        let first = self.lines.len();
        for number in first..first + count {
            let word = |step: usize| WORDS[(number * step + number / 7) % WORDS.len()];
            self.lines.push(format!("{} {} {}", word(1), word(3), word(5)));
        }
        let rows: Vec<Value> =
            self.lines[first..].iter().map(|line| json!([null, null, null, line])).collect();
        self.send("lines", &rows)
    }

    fn send(&mut self, topic: &str, rows: &[Value]) -> Result<()> {
        let command = json!({
            "cmd": "records.send", "topic": format!("{NAME}-{topic}"), "records": rows,
        });
        let answer = self.world.hub.call(self.driver, command)?;
        let results = answer["results"].as_array().context("a send has results")?;
        ensure!(results.iter().all(Value::is_array), "{topic} became {results:?}");
        Ok(())
    }

    fn start(&mut self, instance: &str) -> Result<()> {
        let folder = self.folder.path().join(instance);
        let command = json!({
            "cmd": "streams.start",
            "instance": instance,
            "application": NAME,
            "folder": folder.display().to_string(),
        });
        self.world.hub.call(self.driver, command)?;
        Ok(())
    }

    fn stop(&mut self, instance: &str) -> Result<()> {
        let command = json!({ "cmd": "streams.stop", "instance": instance });
        self.world.hub.call(self.driver, command)?;
        Ok(())
    }

    /// Waits until each instance runs and has tasks of its own.
    fn await_tasks(&mut self, instances: &[&str]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut told = Vec::new();
            for instance in instances {
                let command = json!({ "cmd": "streams.tasks", "instance": instance });
                told.push(self.world.hub.call(self.driver, command)?);
            }
            if told.iter().all(|one| one["state"] == "RUNNING" && one["active"] != 0) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the instances tell {told:?}");
            thread::sleep(PAUSE);
        }
    }

    /// Waits until the output is what the lines make, word by word.
    fn await_counts(&mut self) -> Result<()> {
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for word in self.lines.iter().flat_map(|line| line.split(' ')) {
            let label =
                LABELS.iter().find(|(of, _)| *of == word).map_or("null", |(_, label)| label);
            let counts = expected.entry(word.to_owned()).or_default();
            counts.push(format!("{} {label}", counts.len() + 1));
        }
        let words: usize = expected.values().map(Vec::len).sum();
        let command = json!({
            "cmd": "records.read", "topic": format!("{NAME}-counts"), "partition": 0, "from": 0,
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.world.hub.call_until_answered(self.driver, &command)?;
            let rows = answer["records"].as_array().context("a read has records")?;
            if rows.len() >= words {
                let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
                for row in rows {
                    let text = |index: usize| row[index].as_str().unwrap_or_default().to_owned();
                    found.entry(text(3)).or_default().push(text(4));
                }
                ensure!(found == expected, "found {found:?}\n  expected {expected:?}");
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} of {words} counts came", rows.len());
            thread::sleep(PAUSE);
        }
    }

    /// Waits until the offsets behind all lines and all their words are committed.
    fn await_commits(&mut self) -> Result<()> {
        let lines = self.lines.len() as i64;
        let expected = [("lines", lines), ("words-repartition", 3 * lines)];
        let command = json!({ "cmd": "offsets.committed", "group": NAME });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.world.hub.call(self.driver, command.clone())?;
            let rows = answer["offsets"].as_array().context("a group has offsets")?;
            let committed = |topic: &str| -> i64 {
                let of_topic = rows.iter().filter(|row| row[0] == format!("{NAME}-{topic}"));
                of_topic.filter_map(|row| row[2].as_i64()).sum()
            };
            if expected.iter().all(|(topic, end)| committed(topic) == *end) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "of {expected:?} is committed {rows:?}");
            thread::sleep(PAUSE);
        }
    }

    /// The changelog is compacted; what is done of the repartition topic is deleted.
    fn check_internal_topics(&mut self) -> Result<()> {
        for (topic, policy) in [("counts-changelog", "compact"), ("words-repartition", "delete")] {
            let command = json!({
                "cmd": "configs.describe",
                "topic": format!("{NAME}-{topic}"),
                "key": "cleanup.policy",
            });
            let found = self.world.hub.call(self.driver, command)?;
            ensure!(found["value"] == policy, "{topic} has {found}");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut places = [0, 0];
            for (place, at) in places.iter_mut().zip(["earliest", "latest"]) {
                for partition in 0..2 {
                    let command = json!({
                        "cmd": "offsets.list",
                        "topic": format!("{NAME}-words-repartition"),
                        "partition": partition,
                        "at": at,
                    });
                    let found = self.world.hub.call(self.driver, command)?;
                    *place += found["offset"].as_i64().context("an offset")?;
                }
            }
            if places[0] == places[1] && places[0] > 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the repartition topic still has {places:?}");
            thread::sleep(PAUSE);
        }
    }
}

const NAME: &str = "streams";
const WORDS: [&str; 7] = ["oak", "elm", "ash", "fir", "yew", "box", "may"];
const LABELS: [(&str, &str); 4] =
    [("oak", "red"), ("elm", "gold"), ("fir", "green"), ("may", "white")];
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
