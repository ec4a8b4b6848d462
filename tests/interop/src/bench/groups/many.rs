//! Many classic groups: what ten thousand take of memory, how many heartbeats half a core serves, and what
//! members notice of a broker that is killed and started again.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kohort_protocol::ErrorCode;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, sleep_until, timeout};

use super::classic::Synced;
use super::peer::Peer;
use super::{block_on, classic, large, unless_one_fails, warm};
use crate::bench::target::{Column, Target};
use crate::places::Places;

/// Returns the KiB of memory a group of three takes, and how many heartbeats a second cost half a core.
pub(super) fn many(column: Column, places: &Places) -> Result<Vec<f64>> {
    let target = Target::start(column, places)?;
    let address = target.broker.address();
    block_on(async {
        large::create_topic(&address, "topic", 1).await?;
        warm::classic(&target).await?;
        // Every partition of the coordinator is in use before the count begins.
        let first = settle(&address, "first", 200, 1, 50).await?;
        let before = at_rest(&target).await?;
        let settled = settle(&address, "group", MANY, 3, CONNECTIONS).await?;
        let memory = (at_rest(&target).await? - before) / MANY as f64 / 1024.0;
        let rate = LocalSet::new().run_until(sustained(&target, settled)).await?;
        drop(first);
        Ok(vec![memory, rate])
    })
}

/// Returns the seconds from the start of a broker that was killed until all members' heartbeats have
/// been answered well, each over a new connection, and how many were not.
pub(super) fn restart(column: Column, places: &Places) -> Result<Vec<f64>> {
    let mut target = Target::start(column, places)?;
    let address = target.broker.address();
    let settled = block_on(async {
        large::create_topic(&address, "topic", 1).await?;
        warm::classic(&target).await?;
        settle(&address, "group", 10, 100, 10).await
    })?;
    // Their connections last until the broker is gone, or it would miss the members.
    target.broker.kill()?;
    let members: Vec<_> = settled.into_iter().flat_map(|(_, members)| members).collect();
    let started = Instant::now();
    target.broker.launch()?;
    block_on(async {
        let mut work = JoinSet::new();
        for member in members {
            let address = address.clone();
            work.spawn(async move { heartbeat_again(&address, &member).await });
        }
        let (mut refused, mut peers) = (0, Vec::new());
        while let Some(done) = work.join_next().await {
            let (peer, code) = done??;
            refused += i32::from(!code.is_ok());
            peers.push(peer);
        }
        Ok(vec![started.elapsed().as_secs_f64(), f64::from(refused)])
    })
}

/// Heartbeats until the coordinator is there; returns what it says then, and the connection.
async fn heartbeat_again(address: &str, member: &classic::Member) -> Result<(Peer, ErrorCode)> {
    let mut peer = Peer::connect(address, "many".to_owned()).await?;
    let mut pause = Duration::from_millis(1);
    loop {
        let code = peer.call(&member.heartbeat(), 4).await?.error_code;
        if !code.is_retriable() || code == ErrorCode::REBALANCE_IN_PROGRESS {
            return Ok((peer, code));
        }
        sleep(pause).await;
        // As clients do; the first tries are for a broker that is nearly there.
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Brings members into groups, over a few connections that last; returns these with their members.
pub(super) async fn settle(
    address: &str,
    prefix: &'static str,
    groups: usize,
    each: usize,
    connections: usize,
) -> Result<Vec<(Peer, Vec<classic::Member>)>> {
    let mut work = JoinSet::new();
    for connection in 0..connections {
        let address = address.to_owned();
        work.spawn(async move {
            let mut lasting = Peer::connect(&address, "many".to_owned()).await?;
            let mut members = Vec::new();
            for group in (connection..groups).step_by(connections) {
                let name = format!("{prefix}-{group}").into();
                members.extend(one_group(&mut lasting, &address, name, each).await?);
            }
            anyhow::Ok((lasting, members))
        });
    }
    let mut settled = Vec::new();
    while let Some(done) = work.join_next().await {
        settled.push(done??);
    }
    Ok(settled)
}

/// Founds a group: its members join over connections of their own, which a join that waits blocks, and
/// speak over one once all are there.
async fn one_group(
    lasting: &mut Peer,
    address: &str,
    name: Arc<str>,
    each: usize,
) -> Result<Vec<classic::Member>> {
    let (synced, mut told) = mpsc::unbounded_channel();
    let (settle, settled) = watch::channel(false);
    let mut joining = JoinSet::new();
    for _ in 0..each {
        let (name, address) = (name.clone(), address.to_owned());
        let (synced, mut settled) = (synced.clone(), settled.clone());
        joining.spawn(async move {
            let mut peer = Peer::connect(&address, "many".to_owned()).await?;
            let mut member = classic::Member::patient(name);
            loop {
                member.join_until_synced(&mut peer).await?;
                let _ = synced.send(Synced { generation: member.generation, at: Instant::now() });
                // Somebody may have come too late for this generation.
                loop {
                    if timeout(LATE, settled.wait_for(|settled| *settled)).await.is_ok() {
                        return anyhow::Ok((peer, member));
                    }
                    if !peer.call(&member.heartbeat(), 4).await?.error_code.is_ok() {
                        break;
                    }
                }
            }
        });
    }
    drop(synced);
    unless_one_fails(&mut joining, classic::settled(&mut told, each, 0)).await?;
    settle.send_replace(true);
    let (mut members, mut peers) = (Vec::new(), Vec::new());
    while let Some(done) = joining.join_next().await {
        let (peer, member) = done??;
        members.push(member);
        peers.push(peer);
    }
    // Each is heard over the connection that lasts before its own one ends.
    for member in &members {
        let code = lasting.call(&member.heartbeat(), 4).await?.error_code;
        ensure!(code.is_ok(), "a group of {each} did not settle: {code}");
    }
    drop(peers);
    Ok(members)
}

/// Returns the bytes in use when nothing has happened for a while.
async fn at_rest(target: &Target) -> Result<f64> {
    if !target.column.warms_up() {
        sleep(FORGOTTEN).await;
    }
    target.used_bytes()
}

/// Heartbeats at a steady pace, each connection with one under way at most, and finds the pace at
/// which the broker uses half a core.
async fn sustained(target: &Target, settled: Vec<(Peer, Vec<classic::Member>)>) -> Result<f64> {
    let connections = settled.len() as f64;
    let first_rate = if target.column.warms_up() { 3_000.0 } else { 20_000.0 };
    let pace = Rc::new(Pace {
        interval: Cell::new(Duration::from_secs_f64(connections / first_rate)),
        beats: Cell::new(0),
        over: Cell::new(false),
    });
    let mut work = JoinSet::new();
    for (number, (peer, members)) in settled.into_iter().enumerate() {
        let phase = pace.interval.get().mul_f64(number as f64 / connections);
        work.spawn_local(keep_pace(peer, members, phase, pace.clone()));
    }
    for _ in 0..SEARCHES {
        let (rate, share) = observe(target, &pace, SEARCH).await?;
        let better = rate * (HALF / share.max(0.02)).clamp(0.3, 3.0);
        pace.interval.set(Duration::from_secs_f64(connections / better.max(100.0)));
    }
    let (rate, share) = observe(target, &pace, LOAD).await?;
    pace.over.set(true);
    while let Some(ended) = work.join_next().await {
        ended??;
    }
    // The last step is a small one.
    Ok(rate * HALF / share)
}

/// What paces all connections.
struct Pace {
    interval: Cell<Duration>,
    beats: Cell<u64>,
    over: Cell<bool>,
}

/// Returns the heartbeats a second and the share of a core the broker used meanwhile.
async fn observe(target: &Target, pace: &Pace, time: Duration) -> Result<(f64, f64)> {
    let (started, cpu, beats) = (Instant::now(), target.cpu_seconds()?, pace.beats.get());
    sleep(time).await;
    let (cpu, beats) = (target.cpu_seconds()? - cpu, (pace.beats.get() - beats) as f64);
    let elapsed = started.elapsed().as_secs_f64();
    ensure!(beats > 0.0, "no heartbeat was answered in {elapsed:.0} s");
    Ok((beats / elapsed, cpu / elapsed))
}

async fn keep_pace(
    mut peer: Peer,
    members: Vec<classic::Member>,
    phase: Duration,
    pace: Rc<Pace>,
) -> Result<()> {
    let mut due = tokio::time::Instant::now() + phase;
    for member in members.iter().cycle() {
        sleep_until(due).await;
        if pace.over.get() {
            break;
        }
        let code = peer.call(&member.heartbeat(), 4).await?.error_code;
        ensure!(code.is_ok(), "a heartbeat was answered with {code}");
        pace.beats.set(pace.beats.get() + 1);
        // What could not be sent in time is not made up for.
        due = tokio::time::Instant::now().max(due + pace.interval.get());
    }
    Ok(())
}

const MANY: usize = 10_000;
/// Connections that carry the heartbeats of all groups, a few at a time, as sockets of clients would.
const CONNECTIONS: usize = 1_000;
const HALF: f64 = 0.5;
const SEARCHES: usize = 5;
const SEARCH: Duration = Duration::from_secs(2);
const LOAD: Duration = Duration::from_secs(5);
/// After ten seconds without appends our broker lets go what it kept for readers close behind.
const FORGOTTEN: Duration = Duration::from_secs(11);
/// How often members look whether their group has gone on without all of them.
const LATE: Duration = Duration::from_millis(100);
