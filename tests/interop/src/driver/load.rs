//! A producer at work until told to stop: the n-th record's value is n, in decimal.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use kohort::producer::{Delivery, Producer, ProducerRecord};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Command, STALL, Work, say};

/// Starts a producer at the client's defaults.
pub(super) fn start(bootstrap: &str, command: &Command) -> Result<Work<u64>> {
    let load = Load {
        name: command.load.clone(),
        topic: command.topic.clone(),
        partitions: command.partitions as u64,
        pause: command.pause_ms.map_or(PAUSE, Duration::from_millis),
        producer: Producer::builder().set("bootstrap.servers", bootstrap).build()?,
        in_flight: VecDeque::new(),
        acked: Vec::new(),
        told: Instant::now(),
    };
    let (stop, stopped) = oneshot::channel();
    Ok(Work { stop, ended: tokio::spawn(load.work(stopped)) })
}

struct Load {
    name: String,
    topic: String,
    partitions: u64,
    pause: Duration,
    producer: Producer,
    in_flight: VecDeque<(u64, Delivery)>,
    acked: Vec<(i32, i64, u64)>,
    told: Instant,
}

impl Load {
    async fn work(mut self, mut stop: oneshot::Receiver<()>) -> u64 {
        let mut sent = 0;
        let mut pace = tokio::time::interval(self.pause);
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => break,
                Some(outcome) = next(&mut self.in_flight) => self.take_in(outcome),
                _ = pace.tick(), if self.in_flight.len() < IN_FLIGHT => {
                    let value = sent.to_string();
                    let partition = (sent % self.partitions) as i32;
                    let record = ProducerRecord::to(&self.topic).value(&value).partition(partition);
                    match self.producer.send(record).await {
                        Ok(delivery) => self.in_flight.push_back((sent, delivery)),
                        Err(error) => self.fail(sent, &error),
                    }
                    sent += 1;
                }
            }
            if self.told.elapsed() > REPORT {
                self.report();
            }
        }
        self.producer.flush().await;
        while let Some(outcome) = next(&mut self.in_flight).await {
            self.take_in(outcome);
        }
        self.report();
        if let Err(error) = self.producer.close(STALL).await {
            self.fail(sent, &error);
        }
        sent
    }

    fn take_in(&mut self, (number, outcome): (u64, Outcome)) {
        match outcome {
            Ok(written) => self.acked.push((written.partition, written.offset, number)),
            Err(error) => self.fail(number, &error),
        }
    }

    fn fail(&self, number: u64, error: &impl std::fmt::Display) {
        let error = error.to_string();
        say(&json!({ "event": "failed", "load": self.name, "seq": number, "error": error }));
    }

    fn report(&mut self) {
        self.told = Instant::now();
        let acked = std::mem::take(&mut self.acked);
        say(&json!({ "event": "acked", "load": self.name, "records": acked }));
    }
}

type Outcome = Result<kohort::producer::RecordMetadata, kohort::producer::SendError>;

/// Waits for the oldest delivery; `None` if there is none. Cancel-safe: it stays in the queue until
/// it is over.
async fn next(in_flight: &mut VecDeque<(u64, Delivery)>) -> Option<(u64, Outcome)> {
    let (number, delivery) = in_flight.front_mut()?;
    let outcome = (*number, delivery.await);
    in_flight.pop_front();
    Some(outcome)
}

/// How many records wait for their acknowledgement at once, and how long after one the next is sent.
const IN_FLIGHT: usize = 200;
const PAUSE: Duration = Duration::from_micros(500);
const REPORT: Duration = Duration::from_millis(20);
