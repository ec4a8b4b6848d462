//! What a broker costs before and after its work: starting, resting, stopping, and the memory of what
//! it keeps. Each round takes a broker of its own.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::cases::fill;
use super::closed::{self, Repeated};
use super::table::Goal::{AtMost, Less};
use super::table::Measure;
use super::target::{Column, Target};
use super::wire::{await_coordinator, check_committed, commit_request, create_topic};
use crate::places::Places;

/// A case that starts and stops brokers itself.
pub(crate) struct LifeCase {
    pub(crate) word: &'static str,
    pub(crate) measures: &'static [Measure],
    pub(crate) run: fn(Column, &Places) -> Result<Vec<f64>>,
}

pub(crate) const LIFE_CASES: &[LifeCase] = &[
    LifeCase {
        word: "life",
        measures: &[
            Measure::new("first answer after start", "ms", AtMost(30.0)),
            Measure::new("idle resident memory", "MB", AtMost(15.0)),
            Measure::new("CPU in 10 idle seconds", "s", AtMost(IDLE_TICK)),
            Measure::new("first answer after SIGKILL, 1 GB of log", "ms", AtMost(1_000.0)),
            Measure::new("resident memory then", "MB", Less),
            Measure::new("SIGTERM to exit", "ms", AtMost(200.0)),
        ],
        run: life,
    },
    LifeCase {
        word: "groups",
        measures: &[Measure::new(
            "memory per group of one committed partition",
            "KiB",
            AtMost(1.0),
        )],
        run: groups,
    },
];

fn life(column: Column, places: &Places) -> Result<Vec<f64>> {
    let mut broker = column.prepare(places)?;
    let start = broker.launch()?;
    let mut target = Target { column, broker };
    // What a start leaves to do is not idling.
    thread::sleep(SETTLE);
    let before = target.cpu_seconds()?;
    thread::sleep(IDLE);
    let idle = target.cpu_seconds()? - before;
    let resident = target.resident_bytes()?;
    fill(&target, "filled", 96, 1024, KILLED_BYTES)?;
    target.broker.kill()?;
    let restart = target.broker.launch()?;
    let resident_then = target.resident_bytes()?;
    let stopping = Instant::now();
    target.broker.stop()?;
    let stop = stopping.elapsed();
    Ok(vec![
        milliseconds(start),
        resident / 1e6,
        idle,
        milliseconds(restart),
        resident_then / 1e6,
        milliseconds(stop),
    ])
}

fn groups(column: Column, places: &Places) -> Result<Vec<f64>> {
    let target = Target::start(column, places)?;
    let mut link = target.link()?;
    create_topic(&mut link, "topic")?;
    // Every partition of the coordinator is in use before the count begins.
    for group in 0..FIRST_GROUPS {
        await_coordinator(&mut link, &format!("first-{group}"), "topic")?;
    }
    thread::sleep(FORGOTTEN);
    let before = target.used_bytes()?;
    let frames = (0..GROUPS).map(|group| commit_request(&format!("group-{group}"), "topic", 1));
    let frames = frames.collect::<Result<Vec<_>>>()?;
    let mut load = Repeated::new(&frames, 1, check_committed).at_most(GROUPS as u64);
    closed::run(std::slice::from_mut(&mut link), DEPTH, &mut load, Duration::MAX)?;
    thread::sleep(FORGOTTEN);
    let each = (target.used_bytes()? - before) / GROUPS as f64;
    Ok(vec![each / 1024.0])
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Nothing; but the kernel counts in ticks, and a thread that ends may be seen with one.
const IDLE_TICK: f64 = 0.01;
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);
const KILLED_BYTES: usize = 1_000_000_000;
const FIRST_GROUPS: usize = 500;
const GROUPS: usize = 20_000;
const DEPTH: usize = 32;
/// After ten seconds without appends our broker lets go what it kept for readers close behind.
const FORGOTTEN: Duration = Duration::from_secs(11);
