//! The broker's process, seen from outside.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::proc_file;

/// The process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Since the load began.
    pub(crate) minutes: f64,
    pub(crate) resident: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    cpu_seconds: f64,
    at: Option<Instant>,
}

/// Looks at one process.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: u32,
    last: Cell<Sample>,
}

impl Watch {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid, last: Cell::default() }
    }

    pub(crate) fn look(&self) -> Result<Sample> {
        let stat = proc_file(self.pid, "stat")?;
        let (_, fields) = stat.rsplit_once(')').context("no stat")?;
        let fields: Vec<f64> =
            fields.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Ok(Sample {
            minutes: 0.0,
            resident: fields[21] * rustix::param::page_size() as f64,
            descriptors: fs::read_dir(format!("/proc/{}/fd", self.pid))?.count() as f64,
            threads: fields[17],
            cpu_seconds: (fields[11] + fields[12]) / ticks,
            at: Some(Instant::now()),
        })
    }

    /// Returns the share of one processor since this was called last.
    pub(crate) fn cpu_since_last(&self, sample: &Sample) -> f64 {
        let last = self.last.replace(*sample);
        let (Some(from), Some(to)) = (last.at, sample.at) else { return 0.0 };
        (sample.cpu_seconds - last.cpu_seconds) / (to - from).as_secs_f64() * 100.0
    }
}

/// Returns how long a scrape took and how large it was.
pub(crate) async fn scrape(address: SocketAddr) -> Result<(Duration, usize)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "a scrape was refused");
    Ok((begun.elapsed(), answer.len()))
}

/// Returns the slope of the straight line that is nearest to the points.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|(x, _)| *x), mean(|(_, y)| *y));
    let both: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let width: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    both / width
}
