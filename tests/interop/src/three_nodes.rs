//! Our client on three nodes of Apache Kafka whose leaders, coordinator and topics change under it.
//!
//! Two groups, one of each protocol, with two members each, read what a producer writes all the while.
//! After every event each group has to read everything that was acknowledged. What is read is held
//! against what the group had committed at that moment: a record that was committed may never be
//! read again, and so no two members may ever have one partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kohort::TopicPartition;
use kohort::admin::{Admin, NewTopic};
use kohort::cluster::{Cluster, ClusterOptions};
use kohort::config::{AdminConfig, Properties};
use kohort::consumer::Consumer;
use kohort::net::Driver;
use kohort::producer::{Producer, ProducerRecord};
use kohort_protocol::messages::elect_leaders::ElectLeadersRequest;
use std::sync::Mutex;
use tokio::task::JoinHandle;

use crate::nodes::Nodes;
use crate::places::Places;

/// Starts the nodes once and runs every scenario; returns whether all passed.
pub(crate) fn run(places: &Places) -> Result<bool> {
    let started = Instant::now();
    let mut nodes = Nodes::start(places)?;
    println!("three nodes of kafka are up after {:.1} s", started.elapsed().as_secs_f64());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let world = World::start(&nodes).await?;
        world.live(&mut nodes).await
    });
    let seconds = started.elapsed().as_secs_f64();
    match &outcome {
        Ok(()) => println!("three nodes: passed, {seconds:.1} s"),
        Err(error) => println!("three nodes: FAILED after {seconds:.1} s: {error:#}"),
    }
    Ok(outcome.is_ok())
}

/// What was written and is to be read.
struct World {
    servers: String,
    admin: Admin,
    /// What brokers acknowledged: for each partition, which offsets.
    acked: Arc<Mutex<BTreeMap<TopicPartition, BTreeSet<i64>>>>,
    writing: Arc<AtomicBool>,
    writer: JoinHandle<Result<()>>,
    groups: Vec<Group>,
}

/// A group and what its members read.
struct Group {
    name: &'static str,
    seen: Arc<Mutex<Seen>>,
    members: Vec<Member>,
}

struct Member {
    consumer: Arc<Consumer>,
    stop: Arc<AtomicBool>,
    work: JoinHandle<Result<()>>,
}

/// What a group has read and committed.
#[derive(Default)]
struct Seen {
    read: BTreeMap<TopicPartition, BTreeSet<i64>>,
    committed: BTreeMap<TopicPartition, i64>,
    /// Records that were read a second time, without having been committed.
    again: usize,
    /// What must never happen.
    wrong: Vec<String>,
}

impl World {
    async fn start(nodes: &Nodes) -> Result<Self> {
        let servers = nodes.servers();
        let config = AdminConfig::from_pairs([("bootstrap.servers", &*servers)])?;
        let admin = Admin::new(config)?;
        // All three have to be known to the controller before a topic can have three replicas.
        let topic = || NewTopic::new(TOPIC).partitions(PARTITIONS).replication_factor(3);
        eventually("the topic is created", || async { create(&admin, topic()).await }).await?;
        let acked = Arc::new(Mutex::new(BTreeMap::new()));
        let writing = Arc::new(AtomicBool::new(true));
        let writer = tokio::spawn(write(servers.clone(), acked.clone(), writing.clone()));
        let mut groups = Vec::new();
        for name in ["classic", "consumer"] {
            let seen = Arc::new(Mutex::new(Seen::default()));
            let members =
                (0..2).map(|_| Member::start(&servers, name, &seen)).collect::<Result<Vec<_>>>()?;
            groups.push(Group { name, seen, members });
        }
        Ok(Self { servers, admin, acked, writing, writer, groups })
    }

    async fn live(mut self, nodes: &mut Nodes) -> Result<()> {
        self.step("both groups read").await?;

        // A node that stops properly hands its partitions over first (KIP-951 names the new leaders).
        nodes.stop(1)?;
        self.step("node 1 stopped").await?;
        nodes.restart(1)?;
        self.lead_as_preferred().await?;
        self.step("node 1 came back and leads again").await?;

        // The coordinator of a group is killed: it and the leaders it had are elsewhere by then.
        let coordinator = self.groups[1].members[0].consumer.health().await?.coordinator;
        let coordinator = coordinator.context("the group has a coordinator")?;
        nodes.kill(coordinator)?;
        self.step(&format!("node {coordinator}, a coordinator, killed")).await?;
        nodes.restart(coordinator)?;
        self.lead_as_preferred().await?;
        self.step(&format!("node {coordinator} came back")).await?;

        self.admin.create_partitions_of(TOPIC, PARTITIONS + 2).await?;
        for added in PARTITIONS..PARTITIONS + 2 {
            write_some(&self.servers, TOPIC, added, &self.acked).await?;
        }
        self.step("two partitions added").await?;

        // One member of each group leaves and another one comes, all the while.
        for group in &mut self.groups {
            let leaver = group.members.remove(0);
            leaver.stop().await?;
            group.members.push(Member::start(&self.servers, group.name, &group.seen)?);
        }
        self.step("a member left and another one came").await?;

        self.created_anew().await?;
        self.fetches_in_its_rack(nodes).await?;

        self.writing.store(false, Ordering::SeqCst);
        (&mut self.writer).await??;
        self.step("the end").await?;
        for group in &mut self.groups {
            for member in group.members.drain(..) {
                member.stop().await?;
            }
        }
        Ok(())
    }

    /// Waits until all groups have read what is acknowledged by now, and checks what they read.
    async fn step(&self, what: &str) -> Result<()> {
        let started = Instant::now();
        let target = lock(&self.acked).clone();
        // Something has to come after the event, too.
        let count = |acked: &BTreeMap<TopicPartition, BTreeSet<i64>>| {
            acked.values().map(BTreeSet::len).sum::<usize>()
        };
        let before = count(&target);
        let writing = self.writing.load(Ordering::SeqCst);
        let deadline = Instant::now() + PATIENCE;
        let target = loop {
            let now = lock(&self.acked).clone();
            if !writing || count(&now) >= before + FRESH {
                break now;
            }
            ensure!(!self.writer.is_finished(), "{what}: the writer ended");
            ensure!(Instant::now() < deadline, "{what}: nothing more is acknowledged");
            tokio::time::sleep(LOOK).await;
        };
        for group in &self.groups {
            loop {
                let lacks = {
                    let seen = lock(&group.seen);
                    ensure!(seen.wrong.is_empty(), "{what}: {}: {:?}", group.name, seen.wrong);
                    let lacks = |(partition, offsets): (&TopicPartition, &BTreeSet<i64>)| {
                        let read = seen.read.get(partition);
                        let lacks = |it: &&i64| !read.is_some_and(|read| read.contains(it));
                        offsets.iter().find(lacks).map(|it| (partition.clone(), *it))
                    };
                    target.iter().find_map(lacks)
                };
                let Some((partition, offset)) = lacks else { break };
                for member in &group.members {
                    ensure!(!member.work.is_finished(), "{what}: a member of {} ended", group.name);
                }
                if Instant::now() > deadline {
                    let mut health = Vec::new();
                    for member in &group.members {
                        health.push(member.consumer.health().await);
                    }
                    bail!("{what}: {} lacks {partition} @{offset}; {health:#?}", group.name);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        let again: Vec<_> =
            self.groups.iter().map(|it| format!("{} {}", it.name, lock(&it.seen).again)).collect();
        println!(
            "   {what}: {} records, all read {:.1} s later; again, uncommitted: {}",
            count(&target),
            started.elapsed().as_secs_f64(),
            again.join(", ")
        );
        Ok(())
    }

    /// Has every partition led by its preferred replica again: all leaders move at once.
    async fn lead_as_preferred(&self) -> Result<()> {
        let config = AdminConfig::from_pairs([("bootstrap.servers", &*self.servers)])?;
        let driver = Driver::start("elect")?;
        let cluster = Cluster::start(&driver, &config.common, ClusterOptions::default())?;
        let work = async move {
            let elect = || async {
                let connection = cluster.any_connection().await?;
                let request = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
                let answer = connection.send(&request).await?;
                ensure!(answer.error_code.is_ok(), "{}", answer.error_code);
                let results = answer.replica_election_results.iter();
                let failed = results.flat_map(|it| &it.partition_result).find(|it| {
                    it.error_code == kohort_protocol::ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE
                });
                ensure!(failed.is_none(), "{failed:?}");
                Ok(())
            };
            eventually("the preferred replicas lead", elect).await
        };
        driver.run(work).await?
    }

    /// A topic is deleted and created again while it is read: the new one is read from its start,
    /// whatever the old one's offsets were.
    async fn created_anew(&self) -> Result<()> {
        let topic = || NewTopic::new(ANEW).partitions(1).replication_factor(3);
        self.admin.create_topic(topic()).await?;
        for protocol in ["classic", "consumer"] {
            // Each round begins with a topic of ten records.
            let first = Arc::new(Mutex::new(BTreeMap::new()));
            write_some(&self.servers, ANEW, 0, &first).await?;
            let group = format!("anew-{protocol}");
            let consumer = builder(&self.servers, &group, protocol)
                .set("metadata.max.age.ms", "500")
                .build()?;
            consumer.subscribe([ANEW])?;
            read(&consumer, SOME as usize).await.context("the topic before")?;
            consumer.commit_sync().await?;
            self.admin.delete_topics(vec![ANEW.to_owned()]).await?;
            eventually("the topic is created anew", || async {
                create(&self.admin, topic()).await
            })
            .await?;
            let second = Arc::new(Mutex::new(BTreeMap::new()));
            write_some(&self.servers, ANEW, 0, &second).await?;
            let offsets = read(&consumer, SOME as usize)
                .await
                .with_context(|| format!("{protocol}: the topic after"))?;
            ensure!(offsets == (0..SOME).collect::<Vec<_>>(), "{protocol}: {offsets:?}");
            ensure!(consumer.close(PATIENCE).await.is_ok(), "{protocol}: closed in time");
            println!("   {protocol}: a topic created anew is read from its start");
            self.admin.delete_topics(vec![ANEW.to_owned()]).await?;
            eventually("the topic is there for the next", || async {
                create(&self.admin, topic()).await
            })
            .await?;
        }
        Ok(())
    }

    /// A consumer in a rack reads from the replica there (KIP-392), and from others when that is gone.
    async fn fetches_in_its_rack(&self, nodes: &mut Nodes) -> Result<()> {
        let mut topics = self.admin.describe_topics(vec![TOPIC.to_owned()]).await?;
        let topic = topics.remove(TOPIC).context("the topic is described")??;
        let leader = topic.partitions[0].leader;
        let node = if leader == 1 { 2 } else { 1 };
        let consumer = Consumer::builder()
            .bootstrap_servers(&self.servers)
            .set("client.rack", &format!("r{node}"))
            .set("auto.offset.reset", "earliest")
            .set("metadata.max.age.ms", "2000")
            .build()?;
        let partition = TopicPartition::new(TOPIC, 0);
        consumer.assign([partition.clone()]).await?;
        let mut read = BTreeSet::new();
        let deadline = Instant::now() + PATIENCE;
        // The first answer names the replica; all that comes later comes from there.
        loop {
            let records = consumer.poll(POLL).await?;
            read.extend(records.iter().map(|record| record.offset));
            let fetched = consumer.metrics().await?.counters.fetched;
            if fetched.get(&node).is_some_and(|from| from.bytes > 0) {
                break;
            }
            ensure!(Instant::now() < deadline, "nothing is read from node {node}: {fetched:?}");
        }
        nodes.kill(node)?;
        let target = lock(&self.acked).get(&partition).cloned().unwrap_or_default();
        let mut target = target.into_iter().max().unwrap_or_default();
        target += i64::try_from(FRESH)? / i64::from(PARTITIONS);
        while !read.contains(&target) {
            let records = consumer.poll(POLL).await?;
            read.extend(records.iter().map(|record| record.offset));
            ensure!(
                Instant::now() < deadline,
                "the follower is dead: {target} is not read: {:#?}",
                consumer.health().await
            );
        }
        let all: BTreeSet<i64> = (0..=target).collect();
        ensure!(all.is_subset(&read), "some were left out: {:?}", all.difference(&read).next());
        ensure!(consumer.close(PATIENCE).await.is_ok(), "closed in time");
        println!("   a follower in the rack is read from, and others once it is dead");
        nodes.restart(node)?;
        self.step(&format!("node {node} killed and back")).await
    }
}

impl Member {
    fn start(servers: &str, protocol: &str, seen: &Arc<Mutex<Seen>>) -> Result<Self> {
        let consumer = Arc::new(builder(servers, protocol, protocol).build()?);
        consumer.subscribe([TOPIC])?;
        let stop = Arc::new(AtomicBool::new(false));
        let work = tokio::spawn(consume(consumer.clone(), seen.clone(), stop.clone()));
        Ok(Self { consumer, stop, work })
    }

    async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        self.work.await??;
        let consumer = Arc::into_inner(self.consumer).context("nobody else has it")?;
        ensure!(consumer.close(PATIENCE).await.is_ok(), "a member closes in time");
        Ok(())
    }
}

fn builder(servers: &str, group: &str, protocol: &str) -> kohort::consumer::ConsumerBuilder {
    let member = Consumer::builder().bootstrap_servers(servers).group_id(group);
    let member = match protocol {
        // There the broker says how often, and divides.
        "consumer" => member,
        _ => member
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("heartbeat.interval.ms", "1000"),
    };
    member
        .set("group.protocol", protocol)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("metadata.max.age.ms", "5000")
}

/// Reads, notes, commits.
async fn consume(
    consumer: Arc<Consumer>,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let records = match consumer.poll(POLL).await {
            Ok(records) => records,
            Err(error) if error.is_retriable() => continue,
            Err(error) => bail!(error),
        };
        let mut ends: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        {
            let mut seen = lock(&seen);
            for record in &records {
                let partition = TopicPartition::new(record.topic, record.partition);
                let committed = seen.committed.get(&partition).copied().unwrap_or(0);
                if record.offset < committed {
                    let wrong =
                        format!("{partition} @{} after commit of {committed}", record.offset);
                    seen.wrong.push(wrong);
                }
                ends.insert(partition.clone(), record.offset + 1);
                if !seen.read.entry(partition).or_default().insert(record.offset) {
                    seen.again += 1;
                }
            }
        }
        if ends.is_empty() {
            continue;
        }
        // One that fails is no error here: what it did not reach is read again, and counted.
        if consumer.commit_sync().await.is_ok() {
            let mut seen = lock(&seen);
            for (partition, end) in ends {
                let committed = seen.committed.entry(partition.clone()).or_default();
                if end < *committed {
                    let wrong = format!("{partition}: commit of {end} after {committed}");
                    seen.wrong.push(wrong);
                } else {
                    *committed = end;
                }
            }
        }
    }
    Ok(())
}

/// Writes to all partitions in turn until told to stop, and notes what is acknowledged.
async fn write(
    servers: String,
    acked: Arc<Mutex<BTreeMap<TopicPartition, BTreeSet<i64>>>>,
    writing: Arc<AtomicBool>,
) -> Result<()> {
    let producer = Producer::builder().set("bootstrap.servers", &servers).build()?;
    let open = Arc::new(AtomicUsize::new(0));
    let failed = Arc::new(Mutex::new(None));
    for count in 0_u64.. {
        if !writing.load(Ordering::SeqCst) {
            break;
        }
        let value = count.to_string();
        let partition = (count % PARTITIONS as u64) as i32;
        let record = ProducerRecord::to(TOPIC).value(&value).partition(partition);
        let delivery = producer.send(record).await?;
        if let Some(error) = lock(&failed).take() {
            bail!("a record was not written: {error}");
        }
        let (acked, open, failed) = (acked.clone(), open.clone(), failed.clone());
        open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            match delivery.await {
                Ok(sent) => {
                    let partition = TopicPartition::new(&*sent.topic, sent.partition);
                    lock(&acked).entry(partition).or_default().insert(sent.offset);
                }
                Err(error) => *lock(&failed) = Some(error),
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
        tokio::time::sleep(FEED).await;
    }
    producer.flush().await;
    while open.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Writes some records to one partition.
async fn write_some(
    servers: &str,
    topic: &str,
    partition: i32,
    acked: &Mutex<BTreeMap<TopicPartition, BTreeSet<i64>>>,
) -> Result<()> {
    let producer = Producer::builder().set("bootstrap.servers", servers).build()?;
    for count in 0..SOME {
        let value = count.to_string();
        let sent = eventually("a record is written", || async {
            let record = ProducerRecord::to(topic).value(&value).partition(partition);
            Ok(producer.send(record).await?.await?)
        })
        .await?;
        let partition = TopicPartition::new(topic, partition);
        lock(acked).entry(partition).or_default().insert(sent.offset);
    }
    producer.close(PATIENCE).await?;
    Ok(())
}

/// Reads that many records and returns their offsets.
async fn read(consumer: &Consumer, count: usize) -> Result<Vec<i64>> {
    let deadline = Instant::now() + PATIENCE;
    let mut offsets = Vec::new();
    while offsets.len() < count {
        match consumer.poll(POLL).await {
            Ok(records) => offsets.extend(records.iter().map(|record| record.offset)),
            // A topic that is being created anew is refused for a moment.
            Err(error) if error.is_retriable() => {}
            Err(error) => bail!(error),
        }
        ensure!(
            Instant::now() < deadline,
            "{} of {count} are read: {:#?}",
            offsets.len(),
            consumer.health().await
        );
    }
    Ok(offsets)
}

/// Creates a topic. One whose creation was reported as failed may come to exist all the same.
async fn create(admin: &Admin, topic: NewTopic) -> Result<()> {
    match admin.create_topic(topic).await {
        Err(error) if !error.to_string().contains("TOPIC_ALREADY_EXISTS") => {
            println!("   {error}");
            bail!(error)
        }
        _ => Ok(()),
    }
}

/// Tries until it works.
async fn eventually<T, F: Future<Output = Result<T>>>(
    what: &str,
    attempt: impl Fn() -> F,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => return Err(error.context(what.to_owned())),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

const TOPIC: &str = "changing";
const ANEW: &str = "anew";
const PARTITIONS: i32 = 6;
/// How many records have to be written and read after each event.
const FRESH: usize = 120;
const SOME: i64 = 10;
const FEED: Duration = Duration::from_millis(5);
const POLL: Duration = Duration::from_millis(100);
/// Between two looks at what changes by itself.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);
