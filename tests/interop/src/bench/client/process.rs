//! The processes of a run: the broker that serves, the client that is measured, and what the kernel
//! says of the client.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::server::ServerArguments;
use crate::places::Places;

/// A serving process.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    stdin: ChildStdin,
    /// The nodes' addresses, separated by commas.
    pub(super) bootstrap: String,
    /// The bytes of one batch.
    pub(super) batch_bytes: u64,
}

impl Server {
    pub(super) fn start(arguments: &ServerArguments, places: &Places) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bench-server").args([
            format!("--nodes={}", arguments.nodes),
            format!("--idle-nodes={}", arguments.idle_nodes),
            format!("--partitions={}", arguments.partitions),
            format!("--value-bytes={}", arguments.shape.value_bytes),
            format!("--batch-records={}", arguments.shape.batch_records),
            format!("--codec={}", arguments.shape.codec.name()),
        ]);
        let mut process = Process::start(command.stdin(Stdio::piped()), "bench-server", places)?;
        let stdin = process.child.stdin.take().context("stdin is piped")?;
        let told = process.line()?;
        let (bootstrap, bytes) = told.split_once(' ').context("the server told no address")?;
        Ok(Self { stdin, bootstrap: bootstrap.to_owned(), batch_bytes: bytes.parse()?, process })
    }

    /// Returns how many bytes of records were sent so far.
    pub(super) fn sent_bytes(&mut self) -> Result<u64> {
        writeln!(self.stdin)?;
        Ok(self.process.line()?.parse()?)
    }
}

/// What was found of one client in one round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    /// The client's CPU, user and system, per record.
    pub(super) nanoseconds: f64,
    pub(super) records_per_second: f64,
    /// How many times the bytes of the records read were sent, or of those written, as they lie in the
    /// bench's own batch, received.
    pub(super) fetched: f64,
    /// The most memory held, in bytes.
    pub(super) resident: f64,
    /// From the start of the process to its first record, in seconds.
    pub(super) first: f64,
    /// The CPU used until then, in seconds.
    pub(super) first_cpu: f64,
}

impl Figures {
    pub(super) fn to_json(self) -> Value {
        json!({
            "nanoseconds": self.nanoseconds,
            "records_per_second": self.records_per_second,
            "fetched": self.fetched,
            "resident": self.resident,
            "first": self.first,
            "first_cpu": self.first_cpu,
        })
    }
}

/// Runs a client for `warm_up` and then `time`, and measures the latter. Each record takes
/// `record_bytes` on the wire.
pub(super) fn measure(
    command: &mut Command,
    name: &str,
    places: &Places,
    server: &mut Server,
    record_bytes: f64,
    warm_up: Duration,
    time: Duration,
) -> Result<Figures> {
    let started = Instant::now();
    let mut process = Process::start(command.stdin(Stdio::null()), name, places)?;
    process.line()?;
    let (first, first_cpu) = (started.elapsed().as_secs_f64(), process.scheduled_seconds()?);
    let from = process.mark_after(warm_up, server)?;
    let to = process.mark_after(time, server)?;
    let records = (to.records - from.records) as f64;
    ensure!(records > 0.0, "`{name}` got nothing done in {time:?}");
    Ok(Figures {
        nanoseconds: (to.cpu - from.cpu) * 1e9 / records,
        records_per_second: records / (to.at - from.at).as_secs_f64(),
        fetched: (to.sent - from.sent) as f64 / (records * record_bytes),
        resident: process.resident_peak()?,
        first,
        first_cpu,
    })
}

/// A moment of a run.
struct Mark {
    at: Instant,
    records: u64,
    cpu: f64,
    sent: u64,
}

#[derive(Debug)]
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
}

impl Process {
    fn start(command: &mut Command, name: &str, places: &Places) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(places.log(name)?)
            .spawn()
            .with_context(|| format!("`{name}` could not be started"))?;
        let lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        Ok(Self { child, lines, name: name.to_owned() })
    }

    fn line(&mut self) -> Result<String> {
        match self.lines.next() {
            Some(line) => Ok(line?),
            None => bail!("`{}` ended; its log is in target/interop", self.name),
        }
    }

    /// Lets the process run for `time`, and returns where it is then by its own account.
    fn mark_after(&mut self, time: Duration, server: &mut Server) -> Result<Mark> {
        let deadline = Instant::now() + time;
        loop {
            let line = self.line()?;
            let at = Instant::now();
            if at >= deadline {
                let cpu = self.cpu_seconds()?;
                let sent = server.sent_bytes()?;
                let count = line.split_whitespace().next().context("an empty line")?;
                return Ok(Mark { at, records: count.parse()?, cpu, sent });
            }
        }
    }

    /// Returns the seconds of CPU the process has used, in user and kernel mode.
    fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold spaces; the 12th and 13th fields behind it are ticks.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> Result<u64> { Ok(fields.next().context("a short stat")?.parse()?) };
        Ok((ticks()? + ticks()?) as f64 / TICKS_PER_SECOND)
    }

    /// Returns the same of the threads that live, in the scheduler's nanoseconds: for short times.
    fn scheduled_seconds(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end meanwhile.
            let Ok(told) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let first = told.split_whitespace().next().context("an empty schedstat")?;
            nanoseconds += first.parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    /// Returns the most bytes the process has held in memory.
    fn resident_peak(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.context("/proc/PID/status has no VmHWM")?.parse()?;
        Ok(kilobytes * 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Linux counts in hundredths of a second for programs, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
