//! `cargo xtask bench latency`: a record's way from our producer through our broker to our consumer,
//! beside the same way taken by bare sockets.
//!
//! One record of 100 bytes at a time, 1 000 a second, linger 0, one partition. The bare side sends the
//! same requests over two sockets from one thread, as [`steady`] does for brokers; what lies between it
//! and ours is what the client adds: its own threads on both sides, and its bookkeeping. Times count
//! from when a record was to be sent, and both take turns on one broker.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use kohort::consumer::{Consumer, TopicPartition};
use kohort::producer::{Producer, ProducerRecord};

use super::latency::Latencies;
use super::steady;
use super::target::{Column, Target};
use super::wire::{create_topic, delete_topic, produce_requests};
use crate::places::Places;

#[derive(Debug, Args)]
pub(crate) struct LatencyArguments {
    /// How often each side is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many seconds each measurement lasts.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Records a second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// The broker in the middle.
    #[arg(long, value_enum, default_value = "kohort")]
    broker: Column,
}

/// Runs the bench.
pub(super) fn run(arguments: &LatencyArguments) -> Result<()> {
    let places = match arguments.broker {
        Column::Kohort => Places::find_broker()?,
        Column::Kafka | Column::KafkaFlush => Places::find_kafka()?,
    };
    let time = Duration::try_from_secs_f64(arguments.seconds).context("a bad time")?;
    ensure!(arguments.rounds > 0 && arguments.rate > 0, "nothing to measure");
    let target = Target::start(arguments.broker, &places)?;
    println!("{:<24}{:>10}{:>10}{:>10}", "read after, ms", "p50", "p99", "p99.9");
    let mut medians = [Vec::new(), Vec::new()];
    for round in 0..=arguments.rounds {
        for (side, name) in ["bare sockets", "kohort"].into_iter().enumerate() {
            let topic = format!("way-{round}-{side}");
            create_topic(&mut target.link()?, &topic)?;
            let mut read = if side == 0 {
                let frames = produce_requests(&topic, 1, VALUE_BYTES)?;
                let mut links = target.links(2)?;
                steady::run(&mut links, &topic, &frames[..1], arguments.rate, time)?.read
            } else {
                through_our_client(&target.broker.address(), &topic, arguments.rate, time)?
            };
            delete_topic(&mut target.link()?, &topic)?;
            // The first round finds everything cold.
            if round > 0 {
                let [p50, p99, p999] = read.percentiles([0.5, 0.99, 0.999]);
                println!("{name:<24}{p50:>10.3}{p99:>10.3}{p999:>10.3}");
                medians[side].push(p50);
            }
        }
    }
    let [bare, ours] = medians.map(|mut each| {
        each.sort_by(f64::total_cmp);
        each[each.len() / 2]
    });
    let added = (ours - bare) * 1e3;
    let verdict = if added <= ADDED_MOST { "" } else { "  MISSED" };
    println!("added by the client at p50: {added:.0} us, goal <= {ADDED_MOST}{verdict}");
    Ok(())
}

/// Sends records through our producer and returns how long after they were due our consumer had them.
fn through_our_client(
    bootstrap: &str,
    topic: &str,
    rate: u32,
    time: Duration,
) -> Result<Latencies> {
    let count = u64::from(rate) * time.as_millis() as u64 / 1000;
    let interval = Duration::from_secs(1) / rate;
    let runtime = || tokio::runtime::Builder::new_current_thread().build();
    let consumer = Consumer::builder().bootstrap_servers(bootstrap);
    let consumer = consumer.set("auto.offset.reset", "earliest").build()?;
    let reading = runtime()?;
    reading.block_on(consumer.assign([TopicPartition::new(topic, 0)]))?;
    let producer = Producer::builder().set("bootstrap.servers", bootstrap).set("linger.ms", "0");
    let producer = producer.build()?;
    let sending = runtime()?;
    // The first of them finds the topic, the producer id and the connections.
    for _ in 0..WARM_UP {
        let record = ProducerRecord::to(topic).partition(0).value(&[0; VALUE_BYTES]);
        sending.block_on(async { anyhow::Ok(producer.send(record).await?.await?) })?;
    }
    let started = Instant::now();
    let nanoseconds = move |at: Instant| (at - started).as_nanos() as u64;
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<()> {
            rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
            let mut value = [0; VALUE_BYTES];
            let mut due = started + interval;
            for _ in 0..count {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                value[..8].copy_from_slice(&nanoseconds(due).to_be_bytes());
                let record = ProducerRecord::to(topic).partition(0).value(&value);
                sending.block_on(producer.send(record))?;
                due += interval;
            }
            Ok(())
        });
        let mut read = Latencies::default();
        reading.block_on(async {
            while read.count() < count {
                for record in &consumer.batches(Duration::from_secs(10)).await? {
                    let due = record.value.and_then(|value| value.first_chunk());
                    let due = u64::from_be_bytes(*due.context("a short value")?);
                    if due > 0 {
                        let late = nanoseconds(Instant::now()).saturating_sub(due);
                        read.add(Duration::from_nanos(late));
                    }
                }
            }
            anyhow::Ok(())
        })?;
        sender.join().map_err(|_| anyhow!("the sending thread panicked"))??;
        Ok(read)
    })
}

const VALUE_BYTES: usize = 100;
const WARM_UP: usize = 100;
/// The goal, in microseconds.
const ADDED_MOST: f64 = 100.0;
