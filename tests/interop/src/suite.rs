//! Runs the tests one after another on one broker and prints what `cargo test` prints.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::json;

use crate::broker::{Broker, Kind, Properties};
use crate::compatibility::Table;
use crate::expectations::reason_to_fail;
use crate::hub::{Client, Hub};
use crate::places::Places;
use crate::tools::Bench;
use crate::{
    connect, consumer_protocol, cooperative, features, groups, mixed, records, restart, streams,
    tools,
};

/// What a test works with: the broker under test and the drivers that talk to it.
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) places: Places,
    pub(crate) broker: Broker,
    pub(crate) hub: Hub,
    /// The time of the first sample record: an hour ago, so that no default retention touches it.
    pub(crate) base_timestamp: u64,
    /// One more broker, for the tools: started by the first test that needs it.
    pub(crate) tools: Option<Bench>,
}

impl World {
    /// Starts a broker and no driver yet.
    pub(crate) fn start(places: &Places, kind: Kind) -> Result<Self> {
        let broker = Broker::start_with(kind, places, PROPERTIES)?;
        let hub = Hub::new(places, broker.address());
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let base_timestamp = now.as_millis() as u64 - 3_600_000;
        Ok(Self { kind, places: places.clone(), broker, hub, base_timestamp, tools: None })
    }
}

/// One test: a name that is a sentence, and what it does.
pub(crate) struct Test {
    name: String,
    run: Box<Body>,
}

type Body = dyn Fn(&mut World) -> Result<()>;

impl Test {
    /// Returns a test.
    pub(crate) fn new(
        name: impl Into<String>,
        run: impl Fn(&mut World) -> Result<()> + 'static,
    ) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Returns the name: the client or the tool it is about, `::`, and a sentence.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Returns the tests whose name contains one of the words of the filter; all if there are none.
pub(crate) fn chosen(filter: &[String]) -> Vec<Test> {
    [
        records::tests(),
        groups::tests(),
        mixed::tests(),
        cooperative::tests(),
        consumer_protocol::tests(),
        features::tests(),
        restart::tests(),
        tools::tests(),
        connect::tests(),
        streams::tests(),
    ]
    .into_iter()
    .flatten()
    .filter(|test| filter.is_empty() || filter.iter().any(|word| test.name().contains(word)))
    .collect()
}

/// Runs tests on a fresh broker; returns whether all did what is expected of them.
pub(crate) fn run(places: &Places, kind: Kind, tests: &[Test]) -> Result<bool> {
    let mut run = Run::start(places, kind, tests.len())?;
    for test in tests {
        run.one(test);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let documented = Table::read(&places.sources)?;
        run.shown(&documented)?.write(&places.sources)?;
    }
    Ok(run.tell(places))
}

/// Runs the whole suite and compares `docs/compatibility.md` with what was shown.
pub(crate) fn run_all(places: &Places, kind: Kind) -> Result<bool> {
    let tests = chosen(&[]);
    let mut run = Run::start(places, kind, tests.len())?;
    for test in &tests {
        run.one(test);
    }
    let documented = Table::read(&places.sources)?;
    let shown = run.shown(&documented)?;
    let passed = run.tell(places);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        shown.write(&places.sources)?;
    } else if passed {
        documented.check(&shown)?;
    }
    Ok(passed)
}

/// A run: the world, and what its tests showed so far.
struct Run {
    world: World,
    started: Instant,
    /// The name of each test with `passed`, or with `fails: ` and why that was expected.
    outcomes: BTreeMap<String, String>,
    failures: Vec<(String, String)>,
}

impl Run {
    fn start(places: &Places, kind: Kind, tests: usize) -> Result<Self> {
        println!("running {tests} tests against {}", kind.name());
        let started = Instant::now();
        let world = World::start(places, kind)?;
        Ok(Self { world, started, outcomes: BTreeMap::new(), failures: Vec::new() })
    }

    fn one(&mut self, test: &Test) {
        let started = Instant::now();
        let outcome = (test.run)(&mut self.world);
        let seconds = started.elapsed().as_secs_f64();
        let expected = reason_to_fail(self.world.kind, &test.name);
        let word = match (outcome, expected) {
            (Ok(()), None) => {
                self.outcomes.insert(test.name.clone(), "passed".to_owned());
                "ok"
            }
            (Err(_), Some(reason)) => {
                self.outcomes.insert(test.name.clone(), format!("fails: {reason}"));
                "failed as expected"
            }
            (Ok(()), Some(reason)) => {
                let told = format!("it passes: take it out of expectations.rs ({reason})");
                self.failures.push((test.name.clone(), told));
                "PASSED UNEXPECTEDLY"
            }
            (Err(error), None) => {
                self.failures.push((test.name.clone(), format!("{error:#}")));
                "FAILED"
            }
        };
        println!("test {} ... {word} ({seconds:.1} s)", test.name);
    }

    /// Returns the document after this run.
    fn shown(&mut self, documented: &Table) -> Result<Table> {
        let versions = self.versions()?;
        let table = documented.after_run(self.world.kind, &chosen(&[]), &self.outcomes, versions);
        Ok(Table::parse(&table.render()))
    }

    /// Asks the clients for their versions; returns them by the subjects of the tests.
    fn versions(&mut self) -> Result<BTreeMap<String, String>> {
        let mut versions = BTreeMap::new();
        for client in Client::ALL {
            let driver = self.world.hub.driver(client)?;
            let answer = self.world.hub.call(driver, json!({ "cmd": "version" }))?;
            let version = answer["version"].as_str().context("the driver told no version")?;
            versions.insert(client.name().to_owned(), version.to_owned());
        }
        let java = versions[Client::Java.name()].clone();
        for test in chosen(&[]) {
            let subject = test.name().split("::").next().unwrap_or_default();
            versions.entry(subject.to_owned()).or_insert_with(|| java.clone());
        }
        Ok(versions)
    }

    /// Prints the end of the run; returns whether it passed.
    fn tell(&self, places: &Places) -> bool {
        for (name, error) in &self.failures {
            println!("\n---- {name} ----\n{error}");
        }
        let verdict = if self.failures.is_empty() { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {verdict}. {} as expected; {} failed; finished in {:.1}s; logs are in {}",
            self.outcomes.len(),
            self.failures.len(),
            self.started.elapsed().as_secs_f64(),
            places.logs.display()
        );
        self.failures.is_empty()
    }
}

/// What the broker does now and then, it does here some times a second; and a new group waits for more
/// members for half a second instead of three. Under the new group protocol the broker says how often
/// members are heard of, and how long they may be silent.
const PROPERTIES: Properties = &[
    ("group.consumer.heartbeat.interval.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.initial.rebalance.delay.ms", "500"),
    ("log.initial.task.delay.ms", "100"),
    ("log.retention.check.interval.ms", "300"),
    ("log.cleaner.backoff.ms", "100"),
    ("offsets.retention.check.interval.ms", "300"),
];
