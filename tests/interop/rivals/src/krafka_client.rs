//! krafka, at its defaults.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use krafka::consumer::AutoOffsetReset;
use krafka::{Compression, Kafka, Record};

use crate::{Outcome, Progress, SENDS_BETWEEN_LOOKS};

pub async fn read(bootstrap: &str, partitions: i32) -> Outcome {
    let kafka = Kafka::builder(bootstrap).connect().await?;
    let consumer = kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .await?;
    consumer.assign("bench", (0..partitions).collect()).await?;
    let mut progress = Progress::default();
    loop {
        let records = consumer.poll(Duration::from_secs(1)).await?;
        let bytes: usize = records.iter().map(|it| it.value.as_ref().map_or(0, Bytes::len)).sum();
        progress.add(records.len() as u64, bytes as u64);
    }
}

pub async fn write(bootstrap: &str, values: &[Bytes], codec: &str) -> Outcome {
    let kafka = Kafka::builder(bootstrap).connect().await?;
    let codec = if codec == "lz4" { Compression::Lz4 } else { Compression::None };
    let producer = kafka.producer().compression(codec).build().await?;
    let mut progress = Progress::default();
    let mut pending = VecDeque::new();
    let mut values = values.iter().cycle();
    let size = values.clone().next().map_or(0, Bytes::len);
    loop {
        for value in values.by_ref().take(SENDS_BETWEEN_LOOKS) {
            let acknowledged = producer.enqueue(Record::new("bench", value.clone())).await?;
            pending.push_back(Box::pin(acknowledged));
        }
        let mut written = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(front) = pending.front_mut() {
            let Poll::Ready(outcome) = Pin::new(front).poll(&mut cx) else { break };
            outcome?;
            written += 1;
            pending.pop_front();
        }
        progress.add(written, written * size as u64);
    }
}
