//! krafka.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use krafka::consumer::AutoOffsetReset;
use krafka::{Compression, Kafka, Record};
use tokio::task::unconstrained;

use crate::{Outcome, Progress, SENDS_BETWEEN_LOOKS};

pub async fn read(bootstrap: &str, partitions: i32, settings: &[(&str, &str)]) -> Outcome {
    let kafka = Kafka::builder(bootstrap).connect().await?;
    let mut consumer = kafka.consumer_without_group().auto_offset_reset(AutoOffsetReset::Earliest);
    for (name, value) in settings {
        consumer = match *name {
            "fetch.min.bytes" => consumer.fetch_min_bytes(value.parse()?),
            "max.poll.records" => consumer.max_poll_records(value.parse()?),
            "max.buffered.records" => consumer.max_buffered_records(value.parse()?),
            other => return Err(format!("krafka is not told `{other}` here").into()),
        };
    }
    let consumer = consumer.build().await?;
    consumer.assign("bench", (0..partitions).collect()).await?;
    let mut progress = Progress::default();
    loop {
        let records = consumer.poll(Duration::from_secs(1)).await?;
        let bytes: usize = records.iter().map(|it| it.value.as_ref().map_or(0, Bytes::len)).sum();
        progress.add(records.len() as u64, bytes as u64);
    }
}

pub async fn write(bootstrap: &str, values: &[Bytes], settings: &[(&str, &str)]) -> Outcome {
    let kafka = Kafka::builder(bootstrap).connect().await?;
    let mut producer = kafka.producer();
    for (name, value) in settings {
        producer = match (*name, *value) {
            ("compression.type", "lz4") => producer.compression(Compression::Lz4),
            ("compression.type", "none") => producer.compression(Compression::None),
            ("batch.size", bytes) => producer.batch_size(bytes.parse()?),
            ("linger.ms", time) => producer.linger(Duration::from_millis(time.parse()?)),
            ("buffer.memory", bytes) => producer.buffer_memory(bytes.parse()?),
            (name, value) => return Err(format!("krafka is not told `{name}={value}` here").into()),
        };
    }
    let producer = producer.build().await?;
    let mut progress = Progress::default();
    let mut pending = VecDeque::new();
    let mut values = values.iter().cycle();
    let size = values.clone().next().map_or(0, Bytes::len);
    loop {
        for value in values.by_ref().take(SENDS_BETWEEN_LOOKS) {
            let acknowledged = producer.enqueue(Record::new("bench", value.clone())).await?;
            pending.push_back(Box::pin(unconstrained(acknowledged)));
        }
        let mut written = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(front) = pending.front_mut() {
            let Poll::Ready(outcome) = Pin::new(front).poll(&mut cx) else { break };
            drop(outcome?);
            written += 1;
            pending.pop_front();
        }
        progress.add(written, written * size as u64);
    }
}
