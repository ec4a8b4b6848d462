//! One large group: all join, all rest, one leaves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kohort_protocol::messages::CreateTopicsRequest;
use kohort_protocol::messages::create_topics::CreatableTopic;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::peer::Peer;
use super::{block_on, classic, consumer, unless_one_fails, warm};
use crate::bench::link::Link;
use crate::bench::target::{Column, Target};
use crate::bench::wire::await_coordinator;
use crate::places::Places;

/// Members of a consumer group: returns the seconds until all have their share, those until they have
/// again after one left, and what heartbeats cost between that.
pub(super) fn consumers(column: Column, places: &Places, count: usize) -> Result<Vec<f64>> {
    let target = Target::start(column, places)?;
    block_on(measure_consumers(&target, count))
}

/// Members of a classic group: the same, with the generations that the first took.
pub(super) fn classics(column: Column, places: &Places, count: usize) -> Result<Vec<f64>> {
    let target = Target::start(column, places)?;
    block_on(measure_classics(&target, count))
}

async fn measure_consumers(target: &Target, count: usize) -> Result<Vec<f64>> {
    let address = target.broker.address();
    create_topic(&address, "topic", count as i32).await?;
    warm::consumer(target).await?;
    let peers = peers(&address, count).await?;
    let (owns, mut owned) = mpsc::unbounded_channel();
    let (leave, leaving) = watch::channel(0);
    let (group, topic) = ("group".into(), "topic".into());
    let beats = Arc::new(AtomicU64::new(0));
    let shared = consumer::Shared { group, topic, owns, leaving, beats: beats.clone() };
    let mut members = JoinSet::new();
    let started = Instant::now();
    for (number, peer) in peers.into_iter().enumerate() {
        members.spawn(consumer::run(peer, number, shared.clone()));
    }
    drop(shared);
    let mut has = vec![BTreeSet::new(); count];
    let settled = consumer::settled(&mut owned, &mut has, 0, count);
    let joining = unless_one_fails(&mut members, settled).await? - started;
    // What they still have to say to each other is not the next measurement's.
    sleep(REST).await;
    let (cpu, rate) = steady(target, &beats).await?;
    let started = Instant::now();
    leave.send_replace(1);
    let settled = consumer::settled(&mut owned, &mut has, 1, count);
    let leaving = unless_one_fails(&mut members, settled).await? - started;
    Ok(vec![joining.as_secs_f64(), leaving.as_secs_f64(), cpu, rate])
}

async fn measure_classics(target: &Target, count: usize) -> Result<Vec<f64>> {
    let address = target.broker.address();
    create_topic(&address, "topic", 100).await?;
    warm::classic(target).await?;
    let peers = peers(&address, count).await?;
    let (synced, mut told) = mpsc::unbounded_channel();
    let (leave, leaving) = watch::channel(0);
    let beats = Arc::new(AtomicU64::new(0));
    let shared = classic::Shared { group: "group".into(), synced, leaving, beats: beats.clone() };
    let mut members = JoinSet::new();
    let started = Instant::now();
    for (number, peer) in peers.into_iter().enumerate() {
        let first_rest = classic::HEARTBEAT.mul_f64((number + 1) as f64 / count as f64);
        members.spawn(classic::run(peer, number, first_rest, shared.clone()));
    }
    drop(shared);
    let settled = classic::settled(&mut told, count, 0);
    let (settled, generations) = unless_one_fails(&mut members, settled).await?;
    let joining = settled - started;
    sleep(REST).await;
    let (cpu, _) = steady(target, &beats).await?;
    let started = Instant::now();
    leave.send_replace(1);
    let settled = classic::settled(&mut told, count - 1, generations);
    let (settled, _) = unless_one_fails(&mut members, settled).await?;
    let leaving = settled - started;
    Ok(vec![joining.as_secs_f64(), f64::from(generations), leaving.as_secs_f64(), cpu])
}

/// Returns the microseconds of CPU a heartbeat costs the broker, and how many there are in a second.
async fn steady(target: &Target, beats: &AtomicU64) -> Result<(f64, f64)> {
    let count = |since: u64| (beats.load(Ordering::Relaxed) - since) as f64;
    let (cpu, before) = (target.cpu_seconds()?, beats.load(Ordering::Relaxed));
    sleep(STEADY).await;
    let (cpu, beats) = (target.cpu_seconds()? - cpu, count(before));
    Ok((cpu / beats * 1e6, beats / STEADY.as_secs_f64()))
}

/// Connects that many members before the clock starts.
async fn peers(address: &str, count: usize) -> Result<Vec<Peer>> {
    let mut peers = Vec::with_capacity(count);
    for number in 0..count {
        peers.push(Peer::connect(address, format!("member-{number}")).await?);
    }
    Ok(peers)
}

/// Creates a topic, and sees to it that the coordinator is there before the clock starts: Kafka makes its
/// topic of fifty partitions when somebody asks for a coordinator, and not before.
pub(super) async fn create_topic(address: &str, name: &str, partitions: i32) -> Result<()> {
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
    let group = "first";
    await_coordinator(&mut Link::connect(address)?, group, name)?;
    let mut member = classic::Member::new(group.into());
    member.join_until_synced(&mut admin).await?;
    member.leave(&mut admin).await
}

const REST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(12);
