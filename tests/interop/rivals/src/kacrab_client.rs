//! kacrab.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use kacrab::common::TopicPartition;
use kacrab::consumer::Consumer;
use kacrab::producer::{Producer, ProducerError, ProducerRecord};
use tokio::task::unconstrained;

use crate::{Outcome, Progress, SENDS_BETWEEN_LOOKS};

pub async fn read(bootstrap: &str, partitions: i32, settings: &[(&str, &str)]) -> Outcome {
    let always = [
        ("bootstrap.servers", bootstrap),
        ("group.id", "bench"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
    ];
    let properties = always.iter().chain(settings).copied();
    let mut consumer = Consumer::from_map(properties).await?;
    let topic = || "bench".to_owned();
    let all: Vec<_> =
        (0..partitions).map(|partition| TopicPartition { topic: topic(), partition }).collect();
    consumer.assign(all.clone())?;
    // Without the groups' requests, which the bench's broker does not serve, it has nowhere else to
    // begin.
    for partition in &all {
        consumer.seek(partition, 0)?;
    }
    let mut progress = Progress::default();
    loop {
        let (mut records, mut bytes) = (0, 0);
        for record in &consumer.poll(Duration::from_secs(1)).await? {
            records += 1;
            bytes += record.value.as_ref().map_or(0, Bytes::len) as u64;
        }
        progress.add(records, bytes);
    }
}

pub async fn write(bootstrap: &str, values: &[Bytes], settings: &[(&str, &str)]) -> Outcome {
    let properties = [("bootstrap.servers", bootstrap)].into_iter().chain(settings.iter().copied());
    let producer = Producer::from_map(properties).await?;
    let topic: Arc<str> = Arc::from("bench");
    let mut progress = Progress::default();
    let mut pending = VecDeque::new();
    let mut values = values.iter().cycle();
    let size = values.clone().next().map_or(0, Bytes::len);
    loop {
        let mut written = 0;
        for value in values.by_ref().take(SENDS_BETWEEN_LOOKS) {
            // Its `send` does not wait: who is refused waits for the oldest record.
            loop {
                let record = ProducerRecord::topic_value(topic.clone(), value.clone());
                match producer.send(record) {
                    Ok(acknowledged) => {
                        pending.push_back(Box::pin(unconstrained(acknowledged)));
                        break;
                    }
                    Err(ProducerError::Backpressure) => match pending.pop_front() {
                        Some(oldest) => {
                            oldest.await?;
                            written += 1;
                        }
                        None => tokio::task::yield_now().await,
                    },
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // What it does in the background it does on this thread.
        tokio::task::yield_now().await;
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
