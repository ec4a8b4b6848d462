//! A broker that is measured, and what the kernel says of its process.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::link::Link;
use crate::broker::{Broker, Kind, Properties};
use crate::places::Places;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Column {
    /// Ours, which syncs before it acknowledges.
    Kohort,
    /// Apache Kafka at its default, which does not.
    Kafka,
    /// Apache Kafka that syncs every batch: as durable as ours.
    KafkaFlush,
}

impl Column {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kohort => "kohort",
            Self::Kafka => "kafka",
            Self::KafkaFlush => "flushing",
        }
    }

    /// Prepares a broker that is not running yet.
    pub(crate) fn prepare(self, places: &Places) -> Result<Broker> {
        let (kind, properties): (Kind, Properties) = match self {
            Self::Kohort => (Kind::Kohort, &[]),
            Self::Kafka => (Kind::Kafka, KAFKA),
            Self::KafkaFlush => (Kind::Kafka, KAFKA_FLUSH),
        };
        Broker::prepare_full_size(kind, places, properties)
    }

    /// Tells whether a compiler must see the load before it is measured.
    pub(crate) fn warms_up(self) -> bool {
        self != Self::Kohort
    }
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) column: Column,
    pub(crate) broker: Broker,
}

impl Target {
    pub(crate) fn start(column: Column, places: &Places) -> Result<Self> {
        let mut broker = column.prepare(places)?;
        broker.launch()?;
        Ok(Self { column, broker })
    }

    pub(crate) fn links(&self, count: usize) -> Result<Vec<Link>> {
        (0..count).map(|_| self.link()).collect()
    }

    pub(crate) fn link(&self) -> Result<Link> {
        Link::connect(&self.broker.address())
    }

    /// Runs a load and returns, besides its result, the seconds of CPU the broker used for it: until
    /// it rests again, since what is written behind the acknowledgements belongs to them.
    pub(crate) fn cost<T>(&self, load: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        self.await_rest()?;
        let before = self.cpu_seconds()?;
        let result = load()?;
        self.await_rest()?;
        Ok((result, self.cpu_seconds()? - before))
    }

    /// Returns the seconds of CPU the broker has used, in user and kernel mode.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.broker.pid()?))?;
        // The name, in parentheses, may hold spaces; the 12th and 13th fields behind it are ticks.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> Result<u64> { Ok(fields.next().context("a short stat")?.parse()?) };
        Ok((ticks()? + ticks()?) as f64 / TICKS_PER_SECOND)
    }

    /// Returns the bytes the process holds in memory.
    pub(crate) fn resident_bytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.broker.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.context("/proc/PID/status has no VmRSS")?.parse()?;
        Ok(kilobytes * 1024.0)
    }

    /// Returns the bytes in use: what is resident, but of a JVM, whose heap is as large as it was told
    /// to be, what a collection leaves in it.
    pub(crate) fn used_bytes(&self) -> Result<f64> {
        if self.column == Column::Kohort {
            return self.resident_bytes();
        }
        self.jcmd("GC.run")?;
        let heap = self.jcmd("GC.heap_info")?;
        let used = heap.split("used ").nth(1).and_then(|rest| rest.split('K').next());
        let kilobytes: f64 = used.context("jcmd does not tell what is used")?.parse()?;
        Ok(kilobytes * 1024.0)
    }

    fn jcmd(&self, what: &str) -> Result<String> {
        let output = Command::new("jcmd").args([&self.broker.pid()?.to_string(), what]).output()?;
        ensure!(output.status.success(), "`jcmd {what}` ended with {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until the broker does next to nothing, with patience.
    fn await_rest(&self) -> Result<()> {
        // Ours writes segments half a second after the records.
        thread::sleep(REST_MIN);
        let deadline = Instant::now() + REST_PATIENCE;
        let mut before = self.cpu_seconds()?;
        while Instant::now() < deadline {
            thread::sleep(REST_WINDOW);
            let now = self.cpu_seconds()?;
            if now - before <= REST_WINDOW.as_secs_f64() * REST_SHARE {
                return Ok(());
            }
            before = now;
        }
        Ok(())
    }
}

/// Has the system write what it holds, so that one broker's pages are not written at the expense of
/// the other's measurement.
pub(crate) fn sync_disks() -> Result<()> {
    ensure!(Command::new("sync").status()?.success(), "`sync` failed");
    Ok(())
}

/// Deleted topics go soon, so that a long run does not fill the disk.
const KAFKA: Properties = &[("log.segment.delete.delay.ms", "1000")];
const KAFKA_FLUSH: Properties =
    &[("log.segment.delete.delay.ms", "1000"), ("log.flush.interval.messages", "1")];
/// Linux counts in hundredths of a second for programs, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
const REST_MIN: Duration = Duration::from_millis(600);
const REST_WINDOW: Duration = Duration::from_millis(200);
/// A broker at rest uses less than this share of a core: Kafka some 4 %.
const REST_SHARE: f64 = 0.1;
const REST_PATIENCE: Duration = Duration::from_secs(3);
