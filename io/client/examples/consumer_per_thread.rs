//! One consumer for each thread: the plainest way to use more than one core. Each is a member of the
//! group and has its own partitions; a thread that is slow holds up nobody else.
//!
//! `cargo run --example consumer_per_thread -- GROUP TOPIC THREADS`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use kohort::consumer::Consumer;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().context("GROUP is missing")?;
    let topic = arguments.next().context("TOPIC is missing")?;
    let threads: usize = arguments.next().context("THREADS is missing")?.parse()?;
    thread::scope(|scope| {
        let (group, topic) = (&group, &topic);
        let running: Vec<_> =
            (0..threads).map(|number| scope.spawn(move || consume(number, group, topic))).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn consume(number: usize, group: &str, topic: &str) -> anyhow::Result<()> {
    let servers = std::env::var("BOOTSTRAP_SERVERS").unwrap_or("localhost:9092".into());
    let consumer = Consumer::builder()
        .bootstrap_servers(&servers)
        .group_id(group)
        .set("auto.offset.reset", "earliest")
        .build()?;
    consumer.subscribe([topic])?;
    // The consumer has its own thread for the network; this runtime only waits for it.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    loop {
        let records = runtime.block_on(consumer.poll(Duration::from_secs(1)))?;
        for record in &records {
            let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            println!("thread {number}: {}-{}: {value}", record.topic, record.partition);
        }
    }
}
