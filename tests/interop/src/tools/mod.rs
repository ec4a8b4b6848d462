//! Kafka's own tools on the broker under test: each run must print what it prints on Apache Kafka, to
//! the letter, and end with the same status.
//!
//! What that is stands in `tools/*.txt` beside this source, a file for each tool, and was written by
//! Kafka: `UPDATE_EXPECT=1` with Kafka as the broker under test rewrites what no longer matches. So
//! the suite on Kafka shows that the files are right, and the suite on ours needs no Kafka beside
//! it. All tools run in one JVM, on a broker that no other test touches: what lists everything
//! lists the same.

mod comparable;
mod script;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker::{Broker, Kind};
use crate::groups::JOIN_TIMEOUT;
use crate::hub::{Client, DRIVER_JVM, DriverId, Hub};
use crate::places::Places;
use crate::suite::{Test, World};

use comparable::Comparable;
use script::{Act, Printed, Run, Script};

/// Returns a test for each script.
pub(crate) fn tests() -> Vec<Test> {
    let test = |script: &'static str| {
        let name = format!("tools::{script}_says_what_it_says_on_kafka");
        Test::new(name, move |world| check(world, script))
    };
    SCRIPTS.iter().copied().map(test).collect()
}

/// A broker with a driver to run tools in.
pub(crate) struct Bench {
    places: Places,
    broker: Broker,
    hub: Hub,
    driver: DriverId,
    /// The files that scripts hand to tools.
    files: TempDir,
}

impl Bench {
    fn start(places: &Places, kind: Kind) -> Result<Self> {
        let broker = Broker::start_with(kind, places, PROPERTIES)?;
        let mut hub = Hub::new(places, broker.address());
        let driver = hub.driver(Client::Java)?;
        Ok(Self { places: places.clone(), broker, hub, driver, files: TempDir::new()? })
    }

    /// Carries out one step; a run of a tool returns what it printed.
    fn carry_out(&mut self, act: &Act) -> Result<Option<Printed>> {
        match act {
            Act::Note(_) => {}
            Act::Run(run) => return self.run(run).map(Some),
            Act::File { name, lines } => {
                fs::write(self.files.path().join(name), lines.join("\n") + "\n")?;
            }
            Act::Join { member, group, topic, partitions, new } => {
                let protocol = if *new { "consumer" } else { "classic" };
                let start = json!({
                    "cmd": "member.start", "member": member, "group": group, "topic": topic,
                    "settings": { "group.protocol": protocol },
                });
                self.hub.call(self.driver, start)?;
                self.await_share(member, *partitions)?;
            }
            Act::Owns { member, partitions } => self.await_share(member, *partitions)?,
            Act::Leave { member } => {
                let stop = json!({ "cmd": "member.stop", "member": member });
                self.hub.call(self.driver, stop)?;
            }
        }
        Ok(None)
    }

    fn await_share(&mut self, member: &str, partitions: usize) -> Result<()> {
        self.hub.wait("the member owns its share", JOIN_TIMEOUT, |hub| {
            hub.members.get(member).is_some_and(|view| view.owned.len() == partitions)
        })
    }

    fn run(&mut self, run: &Run) -> Result<Printed> {
        let address = self.broker.address();
        let class = CLASSES
            .iter()
            .find_map(|(tool, class)| (*tool == run.tool).then_some(*class))
            .with_context(|| format!("no class of `{}` is known", run.tool))?;
        let files = self.files.path().display().to_string();
        let mut arguments = vec!["--bootstrap-server".to_owned(), address.clone()];
        arguments.extend(run.arguments.iter().map(|word| word.replace(FILES, &files)));
        let mut stdin = run.stdin.join("\n");
        if !stdin.is_empty() {
            stdin.push('\n');
        }
        let answer = if NEED_A_PROCESS.contains(&run.tool.as_str()) {
            run_alone(&self.places, class, &arguments)?
        } else {
            let command =
                json!({ "cmd": "tool", "class": class, "args": arguments, "stdin": stdin });
            self.hub.call(self.driver, command)?
        };
        let comparable = Comparable {
            replaced: vec![
                (address, "BROKER-ADDRESS_"),
                (files, FILES),
                (self.broker.data().display().to_string(), "DATA"),
            ],
            sorted: run.arguments.iter().any(|word| UNORDERED.contains(&word.as_str())),
        };
        let lines = |field: &str| comparable.lines(answer[field].as_str().unwrap_or_default());
        Ok(Printed {
            stdout: lines("stdout"),
            stderr: lines("stderr"),
            status: answer["status"].as_i64().context("the driver told no status")?,
        })
    }
}

/// Runs a tool in a JVM of its own; answers as the driver does.
fn run_alone(places: &Places, class: &str, arguments: &[String]) -> Result<Value> {
    let mut process = Command::new("java")
        .args(DRIVER_JVM)
        .args(["-cp", &places.class_path(), class])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // What it prints fits into a pipe: it can end before anybody reads.
    let deadline = Instant::now() + ALONE_TIMEOUT;
    while process.try_wait()?.is_none() {
        if Instant::now() > deadline {
            process.kill()?;
            bail!("{class} did not end within {ALONE_TIMEOUT:?}");
        }
        thread::sleep(ALONE_PAUSE);
    }
    let output = process.wait_with_output()?;
    Ok(json!({
        "stdout": String::from_utf8_lossy(&output.stdout),
        "stderr": String::from_utf8_lossy(&output.stderr),
        "status": output.status.code(),
    }))
}

fn check(world: &mut World, name: &str) -> Result<()> {
    let path = path(&world.places, name);
    let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    let mut script = Script::parse(&text).with_context(|| format!("{}", path.display()))?;
    if world.tools.is_none() {
        world.tools = Some(Bench::start(&world.places, world.kind)?);
    }
    let bench = world.tools.as_mut().context("the bench was just started")?;
    let mut differences = Vec::new();
    for act in &mut script.acts {
        let mut printed = bench.carry_out(act).with_context(|| format!("in {name}.txt"))?;
        // Kafka acknowledges what its brokers hear of a moment later; ours must not.
        let deadline = Instant::now() + HEARSAY;
        while let (Act::Run(run), Some(found)) = (&*act, &printed)
            && world.kind == Kind::Kafka
            && run.arguments.iter().any(|word| word == "--describe")
            && !run.expected.matches(found)
            && Instant::now() < deadline
        {
            thread::sleep(HEARSAY_PAUSE);
            printed = bench.carry_out(act)?;
        }
        if let (Act::Run(run), Some(printed)) = (act, printed)
            && !run.expected.matches(&printed)
        {
            differences.push(format!(
                "{}\nexpected:\n{}found:\n{}",
                run.command(),
                run.expected,
                printed
            ));
            run.expected = printed;
        }
    }
    if std::env::var_os(UPDATE).is_some() {
        ensure!(world.kind == Kind::Kafka, "{UPDATE} takes what Kafka prints, nothing else");
        fs::write(&path, script.to_string())?;
        return Ok(());
    }
    if differences.is_empty() {
        return Ok(());
    }
    bail!("{} runs differ:\n{}", differences.len(), differences.join("\n"))
}

fn path(places: &Places, script: &str) -> PathBuf {
    places.sources.join("tools").join(format!("{script}.txt"))
}

/// The scripts, in the order they run: those that list whatever is there come first.
const SCRIPTS: &[&str] = &[
    "kafka_topics",
    "kafka_consumer_groups",
    "kafka_consumer_groups_of_the_new_protocol",
    "kafka_consumer_groups_of_both_protocols",
    "kafka_consumers_of_the_new_protocol",
    "kafka_console_producer_and_consumer",
    "kafka_get_offsets",
    "kafka_delete_records",
    "kafka_log_dirs",
    "kafka_configs",
    "kafka_configs_of_brokers",
    "kafka_configs_of_clients",
    "kafka_configs_of_groups",
    "kafka_acls",
    "kafka_broker_api_versions",
    "kafka_verifiable_producer_and_consumer",
    "kafka_perf_tools",
];
/// The tools by the names of their start scripts, with the class that each of these starts.
const CLASSES: &[(&str, &str)] = &[
    ("kafka-acls", "org.apache.kafka.tools.AclCommand"),
    ("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-consumer-perf-test", "org.apache.kafka.tools.ConsumerPerformance"),
    ("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
    ("kafka-e2e-latency", "org.apache.kafka.tools.EndToEndLatency"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    ("kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance"),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-verifiable-consumer", "org.apache.kafka.tools.VerifiableConsumer"),
    ("kafka-verifiable-producer", "org.apache.kafka.tools.VerifiableProducer"),
];
/// The tools that end their work in a hook of the JVM's own end.
const NEED_A_PROCESS: [&str; 1] = ["kafka-verifiable-producer"];
/// How long Kafka may take to show what it acknowledged.
const HEARSAY: Duration = Duration::from_secs(30);
const HEARSAY_PAUSE: Duration = Duration::from_millis(100);
const ALONE_TIMEOUT: Duration = Duration::from_secs(60);
const ALONE_PAUSE: Duration = Duration::from_millis(20);
/// What tells that a run prints things in no promised order.
const UNORDERED: [&str; 4] = ["--list", "--all-groups", "--all-topics", "--offset-json-file"];
/// Stands for the folder of a script's files in its arguments, and in what is printed.
const FILES: &str = "{files}";
const UPDATE: &str = "UPDATE_EXPECT";
/// A tool that joins a group does so alone: it need not wait for more members.
const PROPERTIES: &[(&str, &str)] = &[("group.initial.rebalance.delay.ms", "0")];
