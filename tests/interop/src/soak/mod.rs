//! `cargo xtask soak`: 10 000 partitions, 10 000 groups and 2 000 connections at once, for as long as
//! is asked, with everything coming and going; does the broker's memory stay where it is?
//!
//! First each thing is set up alone and the growth of the process is divided by their number: that is
//! the memory of one partition, group or connection. Then all kinds of load run together while the
//! process is watched from outside. The verdict is over the second half of that time: a straight line
//! through the resident memory may not rise by more than [`GROWTH_MAX`] of what there was or
//! [`GROWTH_FREE`], whichever is more, and descriptors and threads may not rise at all to speak of.

mod client;
mod dice;
mod expulsions;
mod load;
mod nodes;
mod watch;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::sleep;

use crate::places::{Places, free_port};
use client::Client;
use load::{Load, Scale};
use watch::{Sample, Watch};

/// How much the memory of the second half may rise, as a part of it.
const GROWTH_MAX: f64 = 0.05;
/// How many bytes it may rise whatever that part is: buffers of the broker breathe by this much.
const GROWTH_FREE: f64 = 12e6;
/// How many descriptors and threads may be more at the end than in the middle: what is open in passing.
const HANDLES_FREE: f64 = 64.0;
/// How long a change is given to settle before memory is read.
const SETTLE: Duration = Duration::from_secs(3);
/// How often the process is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SoakArguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// How long the load lasts.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// A tenth of everything.
    #[arg(long)]
    quick: bool,
}

/// Other things that take their time.
#[derive(Debug, Subcommand)]
enum Other {
    /// Do to connections and processes whatever does not kill: is anybody expelled from a group?
    Expulsions(expulsions::Arguments),
    /// Our client on three nodes of Apache Kafka that stop and die, while members come, go and die.
    Nodes(nodes::Arguments),
}

/// Runs it; returns whether the broker's memory stayed where it was.
pub(crate) fn run(arguments: &SoakArguments) -> Result<bool> {
    match &arguments.other {
        Some(Other::Expulsions(arguments)) => return expulsions::run(arguments),
        Some(Other::Nodes(arguments)) => return nodes::run(arguments),
        None => {}
    }
    raise_open_files_limit()?;
    let scale = if arguments.quick { Scale::TENTH } else { Scale::FULL };
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(soak(scale, time))
}

/// This process has a connection for each of the broker's.
fn raise_open_files_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

/// The broker, killed when this is dropped.
struct Broker {
    process: Child,
    address: SocketAddr,
    metrics: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start() -> Result<Broker> {
    let places = Places::find_broker()?;
    let folder = tempfile::Builder::new().prefix("kohort-soak-").tempdir()?;
    let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let mut process = Command::new(places.binary())
        .args(["broker", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .args(["--set", &format!("metrics.listener={metrics}")])
        .args(["--set", "group.initial.rebalance.delay.ms=0"])
        .args(["--set", "log.segment.bytes=1048576"])
        .args(["--set", "log.retention.bytes=4194304"])
        .args(["--set", "log.retention.check.interval.ms=10000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(places.log("soak-broker")?)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(process.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
    let address = line.trim().strip_prefix("kohort broker ready on ").context("no broker")?;
    Ok(Broker { process, address: address.parse()?, metrics, _folder: folder })
}

async fn soak(scale: Scale, time: Duration) -> Result<bool> {
    let broker = start()?;
    let watch = Watch::new(broker.process.id());
    let mut units = Units { watch: &watch, last: watch.look()?.resident };
    println!("idle: {:.1} MB resident", units.last / 1e6);
    let load = Arc::new(Load::new(broker.address, scale));
    let mut client = Client::connect(broker.address).await?;
    load.create_topics(&mut client).await?;
    units.grown("partition, empty", scale.partitions()).await?;
    load.fill_partitions(&mut client).await?;
    units.grown("partition, once written to", scale.partitions()).await?;
    load.commit_for_groups(&mut client).await?;
    units.grown("group, with one committed offset", scale.groups).await?;
    let idle = load.open_idle().await?;
    units.grown("connection, idle", scale.connections).await?;

    println!("load for {:.1} minutes", time.as_secs_f64() / 60.0);
    load.begin(idle);
    let samples = observe(&load, &watch, broker.metrics, time).await?;
    load.check()?;
    verdict(&samples)
}

/// Divides what the process grew by.
struct Units<'a> {
    watch: &'a Watch,
    last: f64,
}

impl Units<'_> {
    async fn grown(&mut self, what: &str, count: usize) -> Result<()> {
        sleep(SETTLE).await;
        let resident = self.watch.look()?.resident;
        let each = (resident - self.last) / count as f64;
        println!("{count} x {what}: {:.1} MB resident, {:.2} KB each", resident / 1e6, each / 1e3);
        self.last = resident;
        Ok(())
    }
}

async fn observe(
    load: &Load,
    watch: &Watch,
    metrics: SocketAddr,
    time: Duration,
) -> Result<Vec<Sample>> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    let mut told = begun;
    println!(
        "  min      MB  fds  thr  CPU%  ack p50 ms  p99 ms  scrape ms      KB  produced  \
         committed  connections  rebalances  topics"
    );
    while begun.elapsed() < time {
        sleep(SAMPLE_EVERY).await;
        let mut sample = watch.look()?;
        sample.minutes = begun.elapsed().as_secs_f64() / 60.0;
        samples.push(sample);
        if told.elapsed() >= Duration::from_secs(30).min(time / 10) {
            told = Instant::now();
            let (p50, p99) = load.take_acks();
            let (scrape, bytes) = watch::scrape(metrics).await?;
            println!(
                "{:5.1} {:7.1} {:4.0} {:4.0} {:5.0} {p50:11.2} {p99:7.2} {:10.0} {:7.0} {}",
                sample.minutes,
                sample.resident / 1e6,
                sample.descriptors,
                sample.threads,
                watch.cpu_since_last(&sample),
                scrape.as_secs_f64() * 1e3,
                bytes as f64 / 1e3,
                load.counts(),
            );
        }
    }
    Ok(samples)
}

/// Looks at the second half.
fn verdict(samples: &[Sample]) -> Result<bool> {
    let half = &samples[samples.len() / 2..];
    ensure!(half.len() >= 4, "too short to tell: at least a minute is needed");
    let minutes = half[half.len() - 1].minutes - half[0].minutes;
    let mut steady = true;
    let mut judge = |what: &str,
                     unit: &str,
                     scale: f64,
                     value: fn(&Sample) -> f64,
                     free: f64,
                     part: f64| {
        let points: Vec<(f64, f64)> = half.iter().map(|s| (s.minutes, value(s))).collect();
        let mean = points.iter().map(|(_, value)| value).sum::<f64>() / points.len() as f64;
        let slope = watch::slope(&points);
        let bound = free.max(mean * part);
        let passed = slope * minutes <= bound;
        println!(
            "{what}: mean {:.1} {unit}, {:+.3} {unit} a minute over the last {minutes:.1} minutes; at most {:.3} is allowed: {}",
            mean / scale,
            slope / scale,
            bound / minutes / scale,
            if passed { "ok" } else { "GROWS" }
        );
        steady &= passed;
    };
    judge("memory", "MB", 1e6, |sample| sample.resident, GROWTH_FREE, GROWTH_MAX);
    judge("descriptors", "fds", 1.0, |sample| sample.descriptors, HANDLES_FREE, 0.0);
    judge("threads", "threads", 1.0, |sample| sample.threads, HANDLES_FREE, 0.0);
    Ok(steady)
}

/// Reads a file of `/proc`.
fn proc_file(pid: u32, name: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{name}")).context("the broker is gone")
}
