//! `cargo xtask bench latency`: a record's way from our producer through our broker to our consumer,
//! beside the same way taken by bare sockets.
//!
//! One record of 100 bytes at a time, 1 000 a second, linger 0, one partition. The bare side is a ping-pong:
//! one thread writes a produce request to one socket, and waits until the answer to a fetch request has the
//! record on another; what lies between it and ours is what the client adds: its own threads on both sides,
//! and its bookkeeping.
//!
//! Both count from when their thread wakes up for a record: how late the machine's timer is, is nobody's of the
//! two. Ours sends on time whatever becomes of the records before, and of a record that is overdue, since
//! sending the one before took too long, the time counts from when it was due. A ping-pong cannot do that: after
//! a pause of the machine it would send what is overdue one request at a time, while a producer batches it, and
//! the median of a loaded machine would be that of a queue. So it leaves out what is overdue.
//!
//! Both take turns on one broker, in short rounds, and each round is compared with the one beside it: the
//! machine's mood then matters little, and the spread of the differences tells how much.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use kohort::consumer::{Consumer, TopicPartition};
use kohort::producer::{Producer, ProducerRecord};

use super::fetch::Cursor;
use super::latency::Latencies;
use super::link::{Link, wait};
use super::target::{Column, Target};
use super::wire::{check_produced, create_topic, delete_topic, produce_requests};
use crate::places::Places;

#[derive(Debug, Args)]
pub(crate) struct LatencyArguments {
    /// How often each side is measured.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How many seconds each measurement lasts.
    #[arg(long, default_value_t = 1.0)]
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
    let mut differences = Vec::new();
    for round in 0..=arguments.rounds {
        let mut medians = [0.0; 2];
        for (side, name) in ["bare ping-pong", "kohort"].into_iter().enumerate() {
            let topic = format!("way-{round}-{side}");
            create_topic(&mut target.link()?, &topic)?;
            let mut read = if side == 0 {
                let frame = produce_requests(&topic, 1, VALUE_BYTES)?.swap_remove(0);
                let links = [target.link()?, target.link()?];
                ping_pong(links, &topic, &frame, arguments.rate, time)?
            } else {
                through_our_client(&target.broker.address(), &topic, arguments.rate, time)?
            };
            delete_topic(&mut target.link()?, &topic)?;
            let [p50, p99, p999] = read.percentiles([0.5, 0.99, 0.999]);
            medians[side] = p50;
            // The first round finds everything cold.
            if round > 0 {
                println!("{name:<24}{p50:>10.3}{p99:>10.3}{p999:>10.3}");
            }
        }
        if round > 0 {
            differences.push((medians[1] - medians[0]) * 1e3);
        }
    }
    differences.sort_by(f64::total_cmp);
    let at = |share: f64| differences[(share * (differences.len() - 1) as f64).round() as usize];
    let [low, median, high] = [0.25, 0.5, 0.75].map(at);
    println!(
        "added by the client at p50: {median:.0} us ({low:.0} to {high:.0} in the middle half of the rounds), \
         goal <= {ADDED_MOST}: {}",
        verdict(low, median, high)
    );
    Ok(())
}

/// Judges the quartiles of what was added: only differences that agree say something.
fn verdict(low: f64, median: f64, high: f64) -> &'static str {
    if median < -ADDED_MOST {
        // We cannot be quicker than the bare sockets: whatever this is, it is not the client.
        "UNDECIDED, the bare side is held up"
    } else if high <= ADDED_MOST {
        "ok"
    } else if low > ADDED_MOST {
        "MISSED"
    } else {
        "UNDECIDED, the rounds do not agree"
    }
}

/// Writes a record and waits until it is read, again and again, and returns how long each took. What is
/// overdue by then is left out.
fn ping_pong(
    mut links: [Link; 2],
    topic: &str,
    frame: &Bytes,
    rate: u32,
    time: Duration,
) -> Result<Latencies> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let interval = Duration::from_secs(1) / rate;
    let mut cursor = Cursor::new(topic, 1);
    let mut read = Latencies::default();
    links[READER].send(cursor.request()?);
    links[READER].flush()?;
    let end = Instant::now() + time;
    let mut due = Instant::now() + interval;
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        links[WRITER].send(frame.clone());
        links[WRITER].flush()?;
        let (mut written, mut seen) = (false, false);
        while !(written && seen) {
            wait(&mut links, Some(PATIENCE))?;
            ensure!(sent.elapsed() < PATIENCE, "a record was not there after {PATIENCE:?}");
            for link in &mut links {
                link.receive()?;
            }
            if let Some(checked) = links[WRITER].next_answer(check_produced) {
                checked?;
                written = true;
            }
            let taken = links[READER].next_answer(|answer| {
                cursor.take(answer, |_, _| {
                    read.add(sent.elapsed());
                    seen = true;
                })
            });
            if let Some(taken) = taken {
                taken?;
                links[READER].send(cursor.request()?);
                links[READER].flush()?;
            }
        }
        due = (due + interval).max(Instant::now());
    }
    Ok(read)
}

/// Sends records through our producer and returns how long after its thread woke up for them, or after they
/// were due if it was late, our consumer had them.
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
                let early = due.saturating_duration_since(Instant::now());
                thread::sleep(early);
                let from = if early.is_zero() { due } else { Instant::now() };
                value[..8].copy_from_slice(&nanoseconds(from).to_be_bytes());
                let record = ProducerRecord::to(topic).partition(0).value(&value);
                drop(sending.block_on(producer.send(record))?);
                due += interval;
            }
            Ok(())
        });
        let mut read = Latencies::default();
        reading.block_on(async {
            while read.count() < count {
                for record in &consumer.batches(Duration::from_secs(10)).await? {
                    let from = record.value.and_then(|value| value.first_chunk());
                    let from = u64::from_be_bytes(*from.context("a short value")?);
                    if from > 0 {
                        let took = nanoseconds(Instant::now()).saturating_sub(from);
                        read.add(Duration::from_nanos(took));
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
const WRITER: usize = 0;
const READER: usize = 1;
const PATIENCE: Duration = Duration::from_secs(10);
/// The goal, in microseconds.
const ADDED_MOST: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn a_verdict_needs_rounds_that_agree() {
        assert_eq!(verdict(20.0, 50.0, 90.0), "ok");
        assert_eq!(verdict(120.0, 150.0, 190.0), "MISSED");
        assert!(verdict(20.0, 50.0, 190.0).starts_with("UNDECIDED"));
        assert!(verdict(-9000.0, -8000.0, -7000.0).starts_with("UNDECIDED"));
    }
}
