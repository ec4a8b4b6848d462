//! Runs the tests one after another on one broker and prints what `cargo test` prints.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::broker::{Broker, Kind};
use crate::hub::Hub;
use crate::places::Places;
use crate::tools::Pair;
use crate::{cooperative, groups, mixed, records, restart, tools};

/// What a test works with: the broker under test and the drivers that talk to it.
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) places: Places,
    pub(crate) broker: Broker,
    pub(crate) hub: Hub,
    /// The time of the first sample record: an hour ago, so that no default retention touches it.
    pub(crate) base_timestamp: u64,
    /// Two more brokers, for the tools: started by the first test that needs them.
    pub(crate) pair: Option<Pair>,
}

impl World {
    /// Starts a broker and no driver yet.
    pub(crate) fn start(places: &Places, kind: Kind) -> Result<Self> {
        let broker = Broker::start(kind, places)?;
        let hub = Hub::new(places, broker.address());
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let base_timestamp = now.as_millis() as u64 - 3_600_000;
        Ok(Self { kind, places: places.clone(), broker, hub, base_timestamp, pair: None })
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
}

/// Returns the tests whose name contains one of the words of the filter; all if there are none.
pub(crate) fn chosen(filter: &[String]) -> Vec<Test> {
    [
        records::tests(),
        groups::tests(),
        mixed::tests(),
        cooperative::tests(),
        restart::tests(),
        tools::tests(),
    ]
    .into_iter()
    .flatten()
    .filter(|test| filter.is_empty() || filter.iter().any(|word| test.name.contains(word)))
    .collect()
}

/// Runs tests on a fresh broker; returns whether all passed.
pub(crate) fn run(places: &Places, kind: Kind, tests: &[Test]) -> Result<bool> {
    println!("running {} tests against {}", tests.len(), kind.name());
    let started = Instant::now();
    let mut world = World::start(places, kind)?;
    let mut failures = Vec::new();
    for test in tests {
        let test_started = Instant::now();
        let outcome = (test.run)(&mut world);
        let seconds = test_started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("test {} ... ok ({seconds:.1} s)", test.name),
            Err(error) => {
                println!("test {} ... FAILED ({seconds:.1} s)", test.name);
                failures.push((&test.name, error));
            }
        }
    }
    for (name, error) in &failures {
        println!("\n---- {name} ----\n{error:#}");
    }
    let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; finished in {:.1}s; logs are in {}",
        tests.len() - failures.len(),
        failures.len(),
        started.elapsed().as_secs_f64(),
        places.logs.display()
    );
    Ok(failures.is_empty())
}
