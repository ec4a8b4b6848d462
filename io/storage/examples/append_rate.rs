//! Measures appends to a real folder: rate, and CPU of the process, per record and per append.
//!
//! `cargo run --release -p kohort-storage --example append_rate -- DIR [page-cache]`
#![allow(clippy::print_stdout, reason = "a program that prints")]
#![allow(clippy::unwrap_used, reason = "a measurement that fails may stop")]

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kohort_protocol::Uuid;
use kohort_protocol::compression::Compressor;
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};
use kohort_storage::{
    AppendError, AppendOrigin, FlushMode, Isolation, LogDir, LogDirConfig, PartitionConfig,
    PartitionId, PartitionLog,
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("a folder to write to");
    let mut config = LogDirConfig::new(&path);
    if arguments.next().as_deref() == Some("page-cache") {
        config.flush = FlushMode::PageCache;
    }
    let started = Instant::now();
    let (dir, report) = LogDir::open(config).unwrap();
    println!("opened in {:?}: {report:?}", started.elapsed());
    let partitions: Vec<_> = (0..12)
        .map(|index| {
            let id = PartitionId { topic_id: Uuid([1; 16]), topic: "bench".into(), index };
            dir.create_partition(id, PartitionConfig::default()).unwrap()
        })
        .collect();
    let seconds = Duration::from_secs(4);
    // Not counted: the log's files grow to their full size here.
    run("warm-up      ", &dir, &partitions, &batch(600, 100), 600, 64, seconds);
    run("100 B x 600  ", &dir, &partitions, &batch(600, 100), 600, 64, seconds);
    run("1 KB x 100   ", &dir, &partitions, &batch(100, 1000), 100, 64, seconds);
    run("1 KB x 1, 32 ", &dir, &partitions, &batch(1, 1000), 1, 32, seconds);
    run("1 KB x 1, 1  ", &dir, &partitions, &batch(1, 1000), 1, 1, seconds);
    read(&partitions);
    let started = Instant::now();
    dir.shutdown().unwrap();
    println!("closed in {:?}", started.elapsed());
}

/// Appends round robin with so many in flight, for so long.
fn run(
    name: &str,
    dir: &LogDir,
    partitions: &[Arc<PartitionLog>],
    batch: &Bytes,
    records: u64,
    in_flight: usize,
    duration: Duration,
) {
    let (sender, receiver) = channel();
    let cpu = cpu_seconds();
    let started = Instant::now();
    let (mut sent, mut done, mut refused) = (0_u64, 0_u64, 0_u64);
    let mut latencies = Vec::new();
    while started.elapsed() < duration {
        while sent - done < in_flight as u64 {
            let sender = sender.clone();
            let at = Instant::now();
            let partition = &partitions[sent as usize % partitions.len()];
            let append = partition.append(now(), batch.clone(), AppendOrigin::Client, move |r| {
                r.unwrap();
                sender.send(at.elapsed()).unwrap();
            });
            match append {
                Ok(_) => sent += 1,
                Err(AppendError::QueueFull) => {
                    refused += 1;
                    let (room, wait) = channel();
                    dir.when_room(move || room.send(()).unwrap());
                    wait.recv().unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        latencies.push(receiver.recv().unwrap());
        done += 1;
    }
    while done < sent {
        latencies.push(receiver.recv().unwrap());
        done += 1;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    latencies.sort();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    println!(
        "{name} {:>9.0} records/s {:>7.1} MB/s {:>8.0} appends/s  CPU {:>7.1} ns/record {:>6.2} \
         us/append {:>5.2} s/GB  p50 {:?} p99 {:?} max {:?} refused {refused}",
        (done * records) as f64 / elapsed,
        (done * batch.len() as u64) as f64 / elapsed / 1e6,
        done as f64 / elapsed,
        cpu / (done * records) as f64 * 1e9,
        cpu / done as f64 * 1e6,
        cpu / (done * batch.len() as u64) as f64 * 1e9,
        at(0.5),
        at(0.99),
        at(1.0),
    );
}

/// Reads everything back from segments.
fn read(partitions: &[Arc<PartitionLog>]) {
    let cpu = cpu_seconds();
    let started = Instant::now();
    let mut bytes = 0;
    for partition in partitions {
        let mut offset = 0;
        while offset < partition.high_watermark() && bytes < 4 << 30 {
            let found = partition.read(offset, 1 << 20, true, Isolation::ReadUncommitted).unwrap();
            bytes += found.records.len();
            for batch in kohort_protocol::records::batches(&found.records) {
                offset = batch.unwrap().header().next_offset();
            }
        }
    }
    let cpu = cpu_seconds() - cpu;
    println!(
        "read {:.1} MB at {:.0} MB/s, CPU {:.2} s/GB",
        bytes as f64 / 1e6,
        bytes as f64 / 1e6 / started.elapsed().as_secs_f64(),
        cpu / bytes as f64 * 1e9
    );
}

fn batch(records: usize, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    let value = vec![b'x'; bytes];
    for _ in 0..records {
        builder
            .append(&NewRecord { timestamp: now(), value: Some(&value), ..NewRecord::default() })
            .unwrap();
    }
    builder.build(&BatchOptions::default(), &mut Compressor::none())
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

/// User and system time of the process, from the kernel's ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(") ").next().unwrap();
    let fields: Vec<&str> = after.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
