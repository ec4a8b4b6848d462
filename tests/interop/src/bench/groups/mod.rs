//! `bench groups`: what groups cost, beside Apache Kafka in the same run.
//!
//! A thousand members are a thousand connections of one thread, each with a task that says what a client
//! at its defaults says and nothing else; so what is measured is how long the coordinator takes to bring
//! them together, and what that costs its process. Classic members heartbeat every three seconds,
//! members of the new protocol as often as they are told.

mod classic;
mod consumer;
mod peer;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::CreateTopicsRequest;
use kohort_protocol::messages::create_topics::CreatableTopic;
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::peer::{PATIENCE, Peer};
use super::table::Goal::{AtLeast, AtMost};
use super::table::{Found, Line, Measure, head};
use super::target::{Column, Target};
use crate::places::Places;

#[derive(Debug, Args)]
pub(crate) struct GroupsArguments {
    /// Measure only cases whose name contains this (repeatable).
    #[arg(long, value_name = "WORD")]
    case: Vec<String>,
    /// Measure only this broker (repeatable).
    #[arg(long, value_enum, default_values_t = [Column::Kohort, Column::Kafka])]
    only: Vec<Column>,
    /// How often each case is measured.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

struct Case {
    word: &'static str,
    measures: &'static [Measure],
    run: fn(&Target) -> Result<Vec<f64>>,
}

const CASES: &[Case] = &[
    Case {
        word: "consumer-1000",
        measures: &[
            Measure::new("consumer, 1000 members join: settled", "s", AtMost(1.5)),
            Measure::new("one leaves: settled", "s", AtMost(0.5)),
        ],
        run: |target| block_on(consumers(target, 1_000)),
    },
    Case {
        word: "consumer-300",
        measures: &[
            Measure::new("consumer, 300 members join: settled", "s", AtMost(0.5)),
            Measure::new("one leaves: settled", "s", AtMost(0.3)),
        ],
        run: |target| block_on(consumers(target, 300)),
    },
    Case {
        word: "classic-1000",
        measures: CLASSIC_1000,
        run: |target| block_on(classics(target, 1_000)),
    },
    Case {
        word: "classic-300",
        measures: &[
            Measure::new("classic, 300 members join: stable", "s", AtMost(0.6)),
            Measure::new("generations that took", "", AtMost(2.0)),
            Measure::new("one leaves: stable", "s", AtMost(3.5)),
        ],
        run: |target| block_on(classics(target, 300)),
    },
    Case {
        word: "many",
        measures: &[
            Measure::new("10 000 groups of 3: memory per group", "KiB", AtMost(20.0)),
            Measure::new("heartbeats at half a core", "1/s", AtLeast(25_000.0)),
        ],
        run: |target| block_on(many(target)),
    },
    Case {
        word: "restart",
        measures: &[
            Measure::new("10 groups of 100, SIGKILL: all heartbeats well", "s", AtMost(0.3)),
            Measure::new("members that had to join again", "", AtMost(0.0)),
        ],
        run: |_| unreachable!("it stops and starts its broker"),
    },
];

const CLASSIC_1000: &[Measure] = &[
    Measure::new("classic, 1000 members join: stable", "s", AtMost(1.5)),
    Measure::new("generations that took", "", AtMost(2.0)),
    Measure::new("one leaves: stable", "s", AtMost(3.5)),
    Measure::new("CPU per heartbeat at 333/s, idle work included", "us", AtMost(15.0)),
];

/// Runs the bench.
pub(super) fn run(arguments: GroupsArguments) -> Result<()> {
    let places = Places::find_kafka()?;
    ensure!(arguments.rounds > 0, "nothing to measure in no round");
    println!("{}", head(&arguments.only));
    let wants = |case: &&Case| {
        arguments.case.is_empty() || arguments.case.iter().any(|word| case.word.contains(&**word))
    };
    let mut missed = 0;
    for case in CASES.iter().filter(wants) {
        let mut found = vec![Vec::new(); arguments.only.len()];
        for _ in 0..arguments.rounds {
            for (column, found) in arguments.only.iter().zip(&mut found) {
                // A new one each time: what groups leave behind is the next case's to carry otherwise.
                let mut target = Target::start(*column, &places)?;
                let values =
                    if case.word == "restart" { restart(&mut target) } else { (case.run)(&target) };
                let place = || format!("case `{}` on {}", case.word, column.name());
                found.push(values.with_context(place)?);
            }
        }
        for (at, measure) in case.measures.iter().enumerate() {
            let values = |rounds: &Vec<Vec<f64>>| {
                Found(rounds.iter().filter_map(|values| values.get(at)).copied().collect())
            };
            let columns = arguments.only.iter().copied();
            let line = Line { measure, found: columns.zip(found.iter().map(values)).collect() };
            println!("{}", line.print());
            missed += usize::from(line.is_missed());
        }
    }
    println!("\n{missed} goals missed");
    Ok(())
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Connects that many members before the clock starts.
async fn peers(address: &str, count: usize) -> Result<Vec<Peer>> {
    let mut peers = Vec::with_capacity(count);
    for number in 0..count {
        peers.push(Peer::connect(address, format!("member-{number}")).await?);
    }
    Ok(peers)
}

async fn create_topic(address: &str, name: &str, partitions: i32) -> Result<()> {
    let mut admin = Peer::connect(address, "admin".to_owned()).await?;
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 60_000,
        ..CreateTopicsRequest::default()
    };
    let created = admin.call(&request, 7).await?;
    ensure!(created.topics[0].error_code.is_ok(), "{created:?}");
    // The coordinator must be there before the clock starts: Kafka makes its topic of fifty partitions.
    let mut member = classic::Member { group: "first".into(), id: String::new(), generation: -1 };
    while !member.join(&mut admin).await? {}
    member.leave(&mut admin).await
}

async fn consumers(target: &Target, count: usize) -> Result<Vec<f64>> {
    let address = target.broker.address();
    create_topic(&address, "topic", count as i32).await?;
    let peers = peers(&address, count).await?;
    let (owns, mut owned) = mpsc::unbounded_channel();
    let (leave, leaving) = watch::channel(0);
    let (group, topic) = ("group".into(), "topic".into());
    let shared = consumer::Shared { group, topic, owns, leaving };
    let mut members = JoinSet::new();
    let started = Instant::now();
    for (number, peer) in peers.into_iter().enumerate() {
        members.spawn(consumer::run(peer, number, shared.clone()));
    }
    drop(shared);
    let mut has = vec![BTreeSet::new(); count];
    let settled = consumer::settled(&mut owned, &mut has, 0, count).await?;
    let joining = settled - started;
    // What they still have to say to each other is not the next measurement's.
    sleep(REST).await;
    let started = Instant::now();
    leave.send_replace(1);
    let settled = consumer::settled(&mut owned, &mut has, 1, count).await?;
    Ok(vec![joining.as_secs_f64(), (settled - started).as_secs_f64()])
}

async fn classics(target: &Target, count: usize) -> Result<Vec<f64>> {
    let address = target.broker.address();
    create_topic(&address, "topic", 100).await?;
    let peers = peers(&address, count).await?;
    let (synced, mut told) = mpsc::unbounded_channel();
    let (leave, leaving) = watch::channel(0);
    let rejoined = Arc::new(AtomicI32::new(0));
    let shared = classic::Shared { group: "group".into(), synced, rejoined, leaving };
    let mut members = JoinSet::new();
    let started = Instant::now();
    for (number, peer) in peers.into_iter().enumerate() {
        members.spawn(classic::run(peer, number, shared.clone()));
    }
    drop(shared);
    let (settled, generations) = classic::settled(&mut told, count, 0).await?;
    let joining = settled - started;
    sleep(REST).await;
    let before = target.cpu_seconds()?;
    sleep(STEADY).await;
    let cpu = target.cpu_seconds()? - before;
    let heartbeats = count as f64 * STEADY.as_secs_f64() / classic::HEARTBEAT.as_secs_f64();
    let started = Instant::now();
    leave.send_replace(1);
    let (settled, _) = classic::settled(&mut told, count - 1, generations).await?;
    Ok(vec![
        joining.as_secs_f64(),
        f64::from(generations),
        (settled - started).as_secs_f64(),
        cpu / heartbeats * 1e6,
    ])
}

/// Brings members into groups, three to each, over a few connections; returns them with their peers.
async fn settle(
    address: &str,
    groups: usize,
    each: usize,
    connections: usize,
) -> Result<Vec<(Peer, Vec<classic::Member>)>> {
    let mut work = JoinSet::new();
    for connection in 0..connections {
        let address = address.to_owned();
        work.spawn(async move {
            let mut first = Peer::connect(&address, "many".to_owned()).await?;
            let mut members = Vec::new();
            for group in (connection..groups).step_by(connections) {
                members.extend(one_group(&mut first, &address, group, each).await?);
            }
            anyhow::Ok((first, members))
        });
    }
    let mut settled = Vec::new();
    while let Some(done) = work.join_next().await {
        settled.push(done??);
    }
    Ok(settled)
}

/// Founds a group with all its members in one generation: they join over connections of their own, which
/// a join that waits blocks, and then speak over one.
async fn one_group(
    first: &mut Peer,
    address: &str,
    group: usize,
    each: usize,
) -> Result<Vec<classic::Member>> {
    let name: Arc<str> = format!("group-{group}").into();
    let mut joining = JoinSet::new();
    for _ in 0..each {
        let (name, address) = (name.clone(), address.to_owned());
        joining.spawn(async move {
            let mut peer = Peer::connect(&address, "many".to_owned()).await?;
            let mut member = classic::Member { group: name, id: String::new(), generation: -1 };
            while !member.join(&mut peer).await? {}
            anyhow::Ok((peer, member))
        });
    }
    let (mut members, mut peers) = (Vec::new(), Vec::new());
    while let Some(done) = joining.join_next().await {
        let (peer, member) = done??;
        members.push(member);
        peers.push(peer);
    }
    // Each is heard over the connection that lasts before its own one ends.
    for member in &mut members {
        let code = first.call(&member.heartbeat(), 4).await?.error_code;
        ensure!(code.is_ok(), "a group of {each} did not settle at once: {code}");
    }
    drop(peers);
    Ok(members)
}

async fn many(target: &Target) -> Result<Vec<f64>> {
    let address = target.broker.address();
    create_topic(&address, "topic", 1).await?;
    settle(&address, 200, 1, 50).await?;
    sleep(FORGOTTEN).await;
    let before = target.used_bytes()?;
    let settled = timeout(PATIENCE * 5, settle(&address, MANY, 3, 100)).await??;
    sleep(FORGOTTEN).await;
    let memory = (target.used_bytes()? - before) / MANY as f64 / 1024.0;
    let cpu = target.cpu_seconds()?;
    let started = Instant::now();
    let mut work = JoinSet::new();
    for (mut peer, members) in settled {
        work.spawn(async move {
            let mut count = 0_u64;
            while started.elapsed() < LOAD {
                for chunk in members.chunks(DEPTH) {
                    for member in chunk {
                        peer.send(&member.heartbeat(), 4).await?;
                    }
                    for _ in chunk {
                        let answer =
                            peer.receive::<kohort_protocol::messages::HeartbeatRequest>(4).await?;
                        ensure!(answer.error_code.is_ok(), "{}", answer.error_code);
                        count += 1;
                    }
                }
            }
            anyhow::Ok(count)
        });
    }
    let mut heartbeats = 0;
    while let Some(done) = work.join_next().await {
        heartbeats += done??;
    }
    let cpu = target.cpu_seconds()? - cpu;
    Ok(vec![memory, heartbeats as f64 / cpu * 0.5])
}

fn restart(target: &mut Target) -> Result<Vec<f64>> {
    let address = target.broker.address();
    let members = block_on(async {
        create_topic(&address, "topic", 1).await?;
        let settled = settle(&address, 10, 100, 10).await?;
        Ok(settled.into_iter().flat_map(|(_, members)| members).collect::<Vec<_>>())
    })?;
    target.broker.kill()?;
    let started = Instant::now();
    target.broker.launch()?;
    block_on(async {
        let mut rejoins = 0;
        let mut peer = Peer::connect(&address, "again".to_owned()).await?;
        for member in &members {
            loop {
                let code = peer.call(&member.heartbeat(), 4).await?.error_code;
                match code {
                    ErrorCode::NONE => break,
                    code if code.is_retriable() => sleep(Duration::from_millis(1)).await,
                    _ => {
                        rejoins += 1;
                        break;
                    }
                }
            }
        }
        Ok(vec![started.elapsed().as_secs_f64(), f64::from(rejoins)])
    })
}

const REST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(15);
const MANY: usize = 10_000;
const DEPTH: usize = 16;
const LOAD: Duration = Duration::from_secs(5);
/// After ten seconds without appends our broker lets go what it kept for readers close behind.
const FORGOTTEN: Duration = Duration::from_secs(11);
