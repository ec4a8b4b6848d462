//! Measures our broker and Apache Kafka on this machine with the same load, in turn, round by round.
//!
//! The load generator is the franz-go driver, uncompressed, idempotent, acks from all. It shares the
//! machine's cores with the broker, so rates say what the pair can do; CPU per record, which the
//! kernel counts for the broker's process alone, says what the broker costs. Kafka is warmed first:
//! its compiler needs some seconds of load. Kafka acknowledges what is in the page cache, our broker
//! what is on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::broker::{Broker, Kind};
use crate::hub::{Client, DriverId, Hub};
use crate::places::Places;

/// What was measured of one broker, by the name of the measure; one value per round.
type Measures = BTreeMap<&'static str, Vec<f64>>;

/// Measures each broker in each round and prints the medians side by side.
pub(crate) fn run(places: &Places, kinds: &[Kind], rounds: usize, records: u64) -> Result<()> {
    ensure!(rounds > 0 && !kinds.is_empty(), "nothing to measure");
    let mut measures: Vec<Measures> = kinds.iter().map(|_| Measures::new()).collect();
    for round in 1..=rounds {
        for (kind, found) in kinds.iter().zip(&mut measures) {
            println!("round {round} of {rounds}: {}", kind.name());
            Round::start(places, *kind, found)?.measure(records)?;
        }
    }
    print_table(kinds, &measures);
    Ok(())
}

/// One start of one broker.
struct Round<'a> {
    kind: Kind,
    broker: Broker,
    hub: Hub,
    driver: DriverId,
    found: &'a mut Measures,
}

impl<'a> Round<'a> {
    fn start(places: &Places, kind: Kind, found: &'a mut Measures) -> Result<Self> {
        let mut broker = Broker::prepare_full_size(kind, places, &[])?;
        let start = broker.launch()?;
        found.entry(START).or_default().push(start.as_secs_f64() * 1e3);
        let mut hub = Hub::new(places, broker.address());
        let driver = hub.driver(Client::FranzGo)?;
        Ok(Self { kind, broker, hub, driver, found })
    }

    fn measure(mut self, records: u64) -> Result<()> {
        // What a start leaves to do is not idling.
        thread::sleep(SETTLE);
        let cpu_before = self.cpu_seconds()?;
        thread::sleep(IDLE);
        let idle = (self.cpu_seconds()? - cpu_before) / IDLE.as_secs_f64();
        self.note(IDLE_CPU, idle * 100.0);
        let resident = self.resident_megabytes()?;
        self.note(IDLE_MEMORY, resident);
        self.warm()?;
        for (size, names) in SIZES {
            self.rates(records, *size, names)?;
        }
        let resident = self.resident_megabytes()?;
        self.note(LOADED_MEMORY, resident);
        Ok(())
    }

    fn warm(&mut self) -> Result<()> {
        let time = if self.kind == Kind::Kafka { WARM_KAFKA } else { WARM_KOHORT };
        self.hub.create(self.driver, "warm", PARTITIONS)?;
        let started = Instant::now();
        let mut written = 0;
        while started.elapsed() < time {
            self.bench("bench.produce", "warm", WARM_RECORDS, 100)?;
            written += WARM_RECORDS;
            self.bench("bench.consume", "warm", written.min(WARM_RECORDS * 4), 100)?;
        }
        Ok(())
    }

    fn rates(&mut self, records: u64, size: u64, names: &[&'static str; 4]) -> Result<()> {
        let topic = format!("bench-{size}");
        self.hub.create(self.driver, &topic, PARTITIONS)?;
        for (command, names) in ["bench.produce", "bench.consume"].iter().zip(names.chunks(2)) {
            let before = self.cpu_seconds()?;
            let seconds = self.bench(command, &topic, records, size)?;
            let cpu = self.cpu_seconds()? - before;
            self.note(names[0], records as f64 / seconds / 1e3);
            self.note(names[1], cpu * 1e9 / records as f64);
        }
        Ok(())
    }

    fn bench(&mut self, command: &str, topic: &str, records: u64, size: u64) -> Result<f64> {
        let command = json!({
            "cmd": command,
            "topic": topic,
            "partitions": PARTITIONS,
            "count": records,
            "size": size,
        });
        let answer = self.hub.call(self.driver, command)?;
        answer["seconds"].as_f64().context("the driver told no time")
    }

    fn note(&mut self, name: &'static str, value: f64) {
        self.found.entry(name).or_default().push(value);
    }

    /// Returns the seconds of CPU the broker has used, in user and kernel mode.
    fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.broker.pid()?))?;
        // The name, in parentheses, may hold spaces; the 12th and 13th fields behind it are ticks.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> Result<u64> { Ok(fields.next().context("a short stat")?.parse()?) };
        Ok((ticks()? + ticks()?) as f64 / TICKS_PER_SECOND)
    }

    fn resident_megabytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.broker.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.context("/proc/PID/status has no VmRSS")?.parse()?;
        Ok(kilobytes / 1024.0)
    }
}

/// Prints a row per measure: the median of each broker, and how many times the first one's value
/// the second one's is.
fn print_table(kinds: &[Kind], measures: &[Measures]) {
    println!("\nmedians of the rounds; `times` divides the second broker by the first");
    let heads: Vec<String> = kinds.iter().map(|kind| format!("{:>12}", kind.name())).collect();
    println!("{:<36}{}{:>10}", "", heads.concat(), if kinds.len() == 2 { "times" } else { "" });
    for name in ROWS {
        let values: Vec<f64> = measures.iter().map(|found| median(&found[name])).collect();
        let cells: Vec<String> = values.iter().map(|value| format!("{value:>12.1}")).collect();
        let times = match values[..] {
            [ours, theirs] if ours > 0.0 => format!("{:>10.2}", theirs / ours),
            _ => String::new(),
        };
        println!("{name:<36}{}{times}", cells.concat());
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

const START: &str = "start to first answer, ms";
const IDLE_CPU: &str = "idle CPU over 10 s, % of a core";
const IDLE_MEMORY: &str = "idle resident, MB";
const LOADED_MEMORY: &str = "resident after load, MB";
/// The sizes of a record's value, and the measures of each: rate and CPU, written and read.
const SIZES: &[(u64, [&str; 4])] = &[
    (
        100,
        [
            "produce 100 B, thousand records/s",
            "produce 100 B, broker CPU ns/record",
            "consume 100 B, thousand records/s",
            "consume 100 B, broker CPU ns/record",
        ],
    ),
    (
        1024,
        [
            "produce 1 KB, thousand records/s",
            "produce 1 KB, broker CPU ns/record",
            "consume 1 KB, thousand records/s",
            "consume 1 KB, broker CPU ns/record",
        ],
    ),
];
const ROWS: [&str; 12] = [
    START,
    IDLE_MEMORY,
    IDLE_CPU,
    SIZES[0].1[0],
    SIZES[0].1[1],
    SIZES[0].1[2],
    SIZES[0].1[3],
    SIZES[1].1[0],
    SIZES[1].1[1],
    SIZES[1].1[2],
    SIZES[1].1[3],
    LOADED_MEMORY,
];
const PARTITIONS: u64 = 6;
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);
const WARM_KAFKA: Duration = Duration::from_secs(15);
const WARM_KOHORT: Duration = Duration::from_secs(3);
const WARM_RECORDS: u64 = 200_000;
/// Linux counts in hundredths of a second for programs, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
