//! The floor of a heartbeat: a message of its size that is sent back as it came, at the pace and over as many
//! connections as the members of the other cases have. What a heartbeat takes above that is the broker's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::classic::HEARTBEAT;
use super::{block_on, unless_one_fails};
use crate::bench::target::Column;
use crate::places::Places;

/// Returns the microseconds of CPU that an echo takes at the pace of classic members, and at that of a group of the
/// new protocol; nothing beside Kafka's name, since no broker takes part.
pub(super) fn echoes(column: Column, _: &Places) -> Result<Vec<f64>> {
    if column == Column::Kafka {
        return Ok(Vec::new());
    }
    [HEARTBEAT, CONSUMER_HEARTBEAT].into_iter().map(cpu_per_echo).collect()
}

/// One thread answers, as it does in the broker on two processors.
fn cpu_per_echo(interval: Duration) -> Result<f64> {
    let (told, address) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let echoes = Arc::new(AtomicU64::new(0));
    let counted = echoes.clone();
    let answering = thread::spawn(move || -> Result<f64> {
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let _ = told.send(listener.local_addr()?);
            let mut connections = JoinSet::new();
            for _ in 0..MEMBERS {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                connections.spawn(answer(stream));
            }
            sleep(REST).await;
            let (cpu, before) = (cpu(), counted.load(Ordering::Relaxed));
            sleep(STEADY).await;
            let used = self::cpu() - cpu;
            let _ = stop.send(());
            Ok(used / (counted.load(Ordering::Relaxed) - before) as f64 * 1e6)
        })
    });
    block_on(async {
        let address = address.await.context("nobody listens")?;
        let mut members = JoinSet::new();
        for number in 0..MEMBERS {
            let first_rest = interval.mul_f64(f64::from(number + 1) / f64::from(MEMBERS));
            members.spawn(ask(address, first_rest, interval, echoes.clone()));
        }
        let stopped = async { stopped.await.context("the answering side failed") };
        unless_one_fails(&mut members, stopped).await
    })?;
    answering.join().ok().context("the answering side panicked")?
}

async fn answer(mut stream: TcpStream) {
    let mut message = [0; MESSAGE];
    while stream.read_exact(&mut message).await.is_ok() && stream.write_all(&message).await.is_ok()
    {
    }
}

async fn ask(
    address: SocketAddr,
    first_rest: Duration,
    interval: Duration,
    echoes: Arc<AtomicU64>,
) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    let mut rest = first_rest;
    loop {
        sleep(rest).await;
        rest = interval;
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
        echoes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the seconds of CPU this thread has used.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

const MEMBERS: u32 = 1_000;
/// What a thousand members of the new protocol are told (`docs/groups.md`).
const CONSUMER_HEARTBEAT: Duration = Duration::from_millis(500);
const MESSAGE: usize = 100;
const REST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(12);
