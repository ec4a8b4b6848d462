//! What is done to the broker: everything that comes and goes, at once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::compression::Compressor;
use kohort_protocol::messages::create_topics::CreatableTopic;
use kohort_protocol::messages::delete_topics::DeleteTopicState;
use kohort_protocol::messages::fetch::{FetchPartition, FetchTopic};
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::leave_group::MemberIdentity;
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, ProduceRequest, SyncGroupRequest,
};
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};
use tokio::time::sleep;

use super::client::Client;
use super::dice::Dice;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    topics: usize,
    pub(crate) groups: usize,
    pub(crate) connections: usize,
}

/// Partitions of each topic.
const PARTITIONS: usize = 100;

impl Scale {
    pub(crate) const FULL: Self = Self { topics: 100, groups: 10_000, connections: 2_000 };
    pub(crate) const TENTH: Self = Self { topics: 10, groups: 1_000, connections: 200 };

    pub(crate) fn partitions(self) -> usize {
        self.topics * PARTITIONS
    }
}

/// The load, and what it has done so far.
#[derive(Debug)]
pub(crate) struct Load {
    address: SocketAddr,
    scale: Scale,
    batch: Bytes,
    produced: AtomicU64,
    committed: AtomicU64,
    opened: AtomicU64,
    rebalanced: AtomicU64,
    topics_made: AtomicU64,
    acks: Mutex<Vec<Duration>>,
    failure: Mutex<Option<String>>,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, scale: Scale) -> Self {
        Self {
            address,
            scale,
            batch: batch(4, 1000),
            produced: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            rebalanced: AtomicU64::new(0),
            topics_made: AtomicU64::new(0),
            acks: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    pub(crate) async fn create_topics(&self, client: &mut Client) -> Result<()> {
        for topic in 0..self.scale.topics {
            create(client, &name(topic), PARTITIONS).await?;
        }
        Ok(())
    }

    /// Writes one record to every partition.
    pub(crate) async fn fill_partitions(&self, client: &mut Client) -> Result<()> {
        let small = batch(1, 100);
        for topic in 0..self.scale.topics {
            let partitions = 0..PARTITIONS as i32;
            produce(client, &name(topic), partitions, &small).await?;
        }
        Ok(())
    }

    pub(crate) async fn commit_for_groups(&self, client: &mut Client) -> Result<()> {
        for group in 0..self.scale.groups {
            let topic = name(group % self.scale.topics);
            commit(client, &group_name(group), &topic, (group % PARTITIONS) as i32, 0).await?;
        }
        Ok(())
    }

    pub(crate) async fn open_idle(&self) -> Result<Vec<Client>> {
        let mut idle = Vec::with_capacity(self.scale.connections);
        for _ in 0..self.scale.connections {
            idle.push(self.greet().await?);
        }
        Ok(idle)
    }

    /// Opens a connection and makes a first request on it.
    async fn greet(&self) -> Result<Client> {
        let mut client = Client::connect(self.address).await?;
        client.call(&ApiVersionsRequest::default(), 0).await?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(client)
    }

    /// Starts all of it. It goes on for as long as the runtime lives.
    pub(crate) fn begin(self: &Arc<Self>, idle: Vec<Client>) {
        self.spawn(Self::keep_turning_over(Arc::clone(self), idle));
        self.spawn(Self::probe(Arc::clone(self)));
        self.spawn(Self::make_and_delete_topics(Arc::clone(self)));
        for seed in 1..=8 {
            self.spawn(Self::keep_producing(Arc::clone(self), seed));
            self.spawn(Self::keep_consuming(Arc::clone(self), seed));
            self.spawn(Self::keep_committing(Arc::clone(self), seed));
            self.spawn(Self::keep_joining(Arc::clone(self), seed));
        }
        for seed in 1..=16 {
            self.spawn(Self::read_slowly(Arc::clone(self), seed));
            self.spawn(Self::stall(Arc::clone(self), seed));
        }
    }

    fn spawn(self: &Arc<Self>, work: impl Future<Output = Result<()>> + Send + 'static) {
        let load = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = work.await {
                let mut failure = load.failure.lock().expect("nobody panics with it");
                failure.get_or_insert_with(|| format!("{error:#}"));
            }
        });
    }

    /// Fails if any part of the load did.
    pub(crate) fn check(&self) -> Result<()> {
        let failure = self.failure.lock().expect("nobody panics with it").clone();
        ensure!(failure.is_none(), "the load failed: {}", failure.unwrap_or_default());
        Ok(())
    }

    /// Uses the idle connections now and then, and replaces them one by one.
    async fn keep_turning_over(self: Arc<Self>, mut idle: Vec<Client>) -> Result<()> {
        let mut dice = Dice::new(77);
        loop {
            for _ in 0..5 {
                let at = dice.below(idle.len());
                idle[at].call(&ApiVersionsRequest::default(), 0).await?;
            }
            let at = dice.below(idle.len());
            idle[at] = self.greet().await?;
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// One record at a time, to a topic of its own: how long does an ack take?
    async fn probe(self: Arc<Self>) -> Result<()> {
        let mut client = Client::connect(self.address).await?;
        create(&mut client, "probe", 1).await?;
        let one = batch(1, 100);
        loop {
            let begun = Instant::now();
            produce(&mut client, "probe", 0..1, &one).await?;
            self.acks.lock().expect("nobody panics with it").push(begun.elapsed());
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn make_and_delete_topics(self: Arc<Self>) -> Result<()> {
        let mut client = Client::connect(self.address).await?;
        loop {
            let number = self.topics_made.fetch_add(1, Ordering::Relaxed);
            let topic = format!("passing-{number}");
            create(&mut client, &topic, 4).await?;
            produce(&mut client, &topic, 0..4, &self.batch).await?;
            commit(&mut client, &group_name(0), &topic, 0, 1).await?;
            sleep(Duration::from_millis(500)).await;
            let request = DeleteTopicsRequest {
                topics: vec![DeleteTopicState { name: Some(topic), ..DeleteTopicState::default() }],
                ..DeleteTopicsRequest::default()
            };
            let response = client.call(&request, 6).await?;
            ensure!(response.responses[0].error_code.is_ok(), "{response:?}");
        }
    }

    async fn keep_producing(self: Arc<Self>, seed: u64) -> Result<()> {
        let mut dice = Dice::new(seed);
        let mut client = Client::connect(self.address).await?;
        loop {
            let topic = name(dice.below(self.scale.topics));
            let partition = dice.below(PARTITIONS) as i32;
            produce(&mut client, &topic, partition..partition + 1, &self.batch).await?;
            self.produced.fetch_add(4, Ordering::Relaxed);
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn keep_consuming(self: Arc<Self>, seed: u64) -> Result<()> {
        let mut dice = Dice::new(seed * 31);
        let mut client = Client::connect(self.address).await?;
        loop {
            let request = fetch(&name(dice.below(self.scale.topics)), 100);
            client.call(&request, 12).await?;
        }
    }

    async fn keep_committing(self: Arc<Self>, seed: u64) -> Result<()> {
        let mut dice = Dice::new(seed * 17);
        let mut client = Client::connect(self.address).await?;
        loop {
            let group = dice.below(self.scale.groups);
            let topic = name(group % self.scale.topics);
            let offset = dice.below(1000) as i64;
            let partition = (group % PARTITIONS) as i32;
            commit(&mut client, &group_name(group), &topic, partition, offset).await?;
            self.committed.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// A member that joins, works for a moment, and leaves; every third just goes.
    async fn keep_joining(self: Arc<Self>, seed: u64) -> Result<()> {
        for round in 0_u64.. {
            let mut client = Client::connect(self.address).await?;
            let group = format!("turning-{seed}-{}", round % 20);
            member(&mut client, &group, !round.is_multiple_of(3)).await?;
            self.rebalanced.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Asks for much and takes a byte at a time, then goes.
    async fn read_slowly(self: Arc<Self>, seed: u64) -> Result<()> {
        let mut dice = Dice::new(seed * 7);
        loop {
            let mut client = Client::connect(self.address).await?;
            client.send(&fetch(&name(dice.below(self.scale.topics)), 0), 12).await?;
            for _ in 0..200 {
                client.read_a_little().await?;
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Asks again and again, reads nothing, and goes after a while.
    async fn stall(self: Arc<Self>, seed: u64) -> Result<()> {
        let mut dice = Dice::new(seed * 3);
        loop {
            let mut client = Client::connect(self.address).await?;
            let request = fetch(&name(dice.below(self.scale.topics)), 0);
            for _ in 0..20 {
                client.send(&request, 12).await?;
            }
            sleep(Duration::from_secs(30)).await;
        }
    }

    /// Returns p50 and p99 of the acks since this was asked last, in ms.
    pub(crate) fn take_acks(&self) -> (f64, f64) {
        let mut acks = std::mem::take(&mut *self.acks.lock().expect("nobody panics with it"));
        acks.sort_unstable();
        let at = |share: f64| {
            let place = (acks.len() as f64 * share) as usize;
            acks.get(place.min(acks.len().saturating_sub(1)))
                .map_or(0.0, |ack| ack.as_secs_f64() * 1e3)
        };
        (at(0.5), at(0.99))
    }

    /// Returns what was done so far.
    pub(crate) fn counts(&self) -> impl fmt::Display {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{:9} {:10} {:12} {:11} {:7}",
            of(&self.produced),
            of(&self.committed),
            of(&self.opened),
            of(&self.rebalanced),
            of(&self.topics_made)
        )
    }
}

fn name(topic: usize) -> String {
    format!("soak-{topic}")
}

fn group_name(group: usize) -> String {
    format!("group-{group}")
}

fn batch(records: usize, bytes: usize) -> Bytes {
    let value = vec![b'x'; bytes];
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        let record =
            NewRecord { timestamp: 1_700_000_000_000, value: Some(&value), ..NewRecord::default() };
        builder.append(&record).expect("a few small records fit");
    }
    builder.build(&BatchOptions::default(), &mut Compressor::none())
}

async fn create(client: &mut Client, topic: &str, partitions: usize) -> Result<()> {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: topic.to_owned(),
            num_partitions: partitions as i32,
            replication_factor: -1,
            ..CreatableTopic::default()
        }],
        ..CreateTopicsRequest::default()
    };
    let response = client.call(&request, 7).await?;
    ensure!(response.topics[0].error_code.is_ok(), "{response:?}");
    Ok(())
}

async fn produce(
    client: &mut Client,
    topic: &str,
    partitions: std::ops::Range<i32>,
    batch: &Bytes,
) -> Result<()> {
    let data = |index| PartitionProduceData { index, records: Some(batch.clone()) };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: partitions.map(data).collect(),
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let response = client.call(&request, 12).await?;
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    ensure!(partitions.all(|it| it.error_code.is_ok()), "{response:?}");
    Ok(())
}

async fn commit(
    client: &mut Client,
    group: &str,
    topic: &str,
    partition_index: i32,
    committed_offset: i64,
) -> Result<()> {
    let partition = OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        ..OffsetCommitRequestPartition::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![partition],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let response = client.call(&request, 8).await?;
    ensure!(response.topics[0].partitions[0].error_code.is_ok(), "{response:?}");
    Ok(())
}

/// A Fetch from the start of ten partitions.
fn fetch(topic: &str, max_wait_ms: i32) -> FetchRequest {
    let partitions = (0..10).map(|partition| FetchPartition {
        partition,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    });
    FetchRequest {
        max_wait_ms,
        min_bytes: 1 << 20,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: partitions.collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

async fn member(client: &mut Client, group: &str, leaves: bool) -> Result<()> {
    let mut join = JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 6_000,
        protocol_type: "soak".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "any".to_owned(),
            ..JoinGroupRequestProtocol::default()
        }],
        ..JoinGroupRequest::default()
    };
    let mut joined = client.call(&join, 5).await?;
    if joined.error_code == ErrorCode::MEMBER_ID_REQUIRED {
        join.member_id.clone_from(&joined.member_id);
        joined = client.call(&join, 5).await?;
    }
    ensure!(joined.error_code.is_ok(), "{joined:?}");
    let assignments = joined.members.iter().map(|member| SyncGroupRequestAssignment {
        member_id: member.member_id.clone(),
        ..SyncGroupRequestAssignment::default()
    });
    let sync = SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: assignments.collect(),
        ..SyncGroupRequest::default()
    };
    let synced = client.call(&sync, 3).await?;
    ensure!(synced.error_code.is_ok(), "{synced:?}");
    let heartbeat = HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..HeartbeatRequest::default()
    };
    ensure!(client.call(&heartbeat, 3).await?.error_code.is_ok(), "a heartbeat failed");
    if leaves {
        let leave = LeaveGroupRequest {
            group_id: group.to_owned(),
            members: vec![MemberIdentity {
                member_id: joined.member_id,
                ..MemberIdentity::default()
            }],
            ..LeaveGroupRequest::default()
        };
        ensure!(client.call(&leave, 3).await?.error_code.is_ok(), "a leave failed");
    }
    Ok(())
}
