//! Our own client and command line against Apache Kafka: their integration tests with a Kafka at
//! `KOHORT_TEST_BOOTSTRAP`, then three nodes of it under a workload, then the tests of this program in which our client is one of the peers.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::broker::{Broker, Kind, Properties};
use crate::places::Places;
use crate::{older, security, suite, three_nodes};

/// Runs everything; returns whether all passed.
pub(crate) fn run(places: &Places) -> Result<bool> {
    let (broker, listener, proxy) = Broker::start_kafka_with_proxied_listener(places, PROPERTIES)?;
    let proxied = format!("{listener}:{proxy}");
    let mut passed = run_tests(
        places,
        "Kafka",
        TESTS,
        ONLY_ON_OURS,
        &[("KOHORT_TEST_BOOTSTRAP", &broker.address()), ("KOHORT_TEST_PROXIED", &proxied)],
    )?;
    drop(broker);
    passed &= security::run(places)?;
    passed &= three_nodes::run(places)?;
    passed &= older::run(places)?;
    let words = OUR_CLIENT.map(str::to_owned);
    Ok(suite::run(places, Kind::Kafka, &suite::chosen(&words))? && passed)
}

/// Runs integration tests with these variables set, but those that are left out; returns whether all
/// passed.
pub(crate) fn run_tests(
    places: &Places,
    broker: &str,
    packages: &[(&str, &[&str])],
    left_out: &[(&str, &str, &str)],
    variables: &[(&str, &str)],
) -> Result<bool> {
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo test --test NAME` does not build what these tests run.
    let build = ["build", "--quiet", "--package", "kohort", "--examples"];
    let built = cargo().args(build).current_dir(&places.sources).status();
    let mut passed = built.context("cargo could not be started")?.success();
    for (package, tests) in packages {
        let started = Instant::now();
        let mut cargo = cargo();
        cargo.args(["test", "--quiet", "--no-fail-fast", "--package", package]);
        cargo.args(tests.iter().flat_map(|test| ["--test", test])).arg("--");
        for (_, test, reason) in left_out.iter().filter(|(of, _, _)| of == package) {
            println!("left out of `{package}`: {test} {reason}");
            cargo.args(["--skip", test]);
        }
        let status = cargo
            .envs(variables.iter().copied())
            .current_dir(&places.sources)
            .status()
            .context("cargo could not be started")?;
        println!("`{package}` on {broker}: {status}, {:.1} s", started.elapsed().as_secs_f64());
        passed &= status.success();
    }
    Ok(passed)
}

/// What the tests give their own broker: see `io/client/tests/support/brokers.rs`. And on a busy machine the
/// node is not to lose its session with its own controller.
const PROPERTIES: Properties = &[
    ("broker.session.timeout.ms", "30000"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
];

/// The integration tests, by package.
const TESTS: &[(&str, &[&str])] = &[
    (
        "kohort",
        &[
            "connection",
            "producer",
            "admin",
            "consumer",
            "consumer_assignors",
            "consumer_endings",
            "consumer_protocol",
            "consumer_streams",
            "examples",
        ],
    ),
    ("kohort-cli", &["commands", "group_events"]),
];

/// The tests that need a broker of ours whatever they are given: package, name, why.
const ONLY_ON_OURS: &[(&str, &str, &str)] = &[
    (
        "kohort",
        "records_survive_a_restart_of_the_broker_once_and_in_order",
        "restarts a broker inside its own process; `kohort::a_restart_of_the_broker_loses_nothing` \
         below does so to Kafka",
    ),
    (
        "kohort-cli",
        "a_killed_member_is_told_with_what_it_left_behind",
        "starts a broker of its own: Kafka tells no causes, and waits for the session",
    ),
];

/// What the names of this program's tests of our client contain.
const OUR_CLIENT: [&str; 2] = ["kohort::", "mixed::"];
