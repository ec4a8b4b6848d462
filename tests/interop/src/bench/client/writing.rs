//! Our producer: as fast as it takes records, each acknowledgement counted.

use std::collections::VecDeque;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use kohort::producer::{Deliveries, Delivery, Producer, ProducerRecord};

use super::log::text;
use super::progress::Progress;
use super::server::TOPIC;
use crate::places::Places;

/// What to write, and how.
#[derive(Debug, Args)]
pub(crate) struct WriterArguments {
    /// The nodes' addresses, separated by commas.
    bootstrap: String,
    /// The values, one after the other.
    values: PathBuf,
    /// The bytes of each value.
    value_bytes: usize,
    /// Look at the delivery of each record by itself, rather than of each batch.
    #[arg(long)]
    each: bool,
    /// Properties of our client, as name=value.
    settings: Vec<String>,
}

/// Writes the values every producer sends into a file, and returns its path.
pub(super) fn values_file(value_bytes: usize, places: &Places) -> Result<PathBuf> {
    let path = places.logs.join(format!("bench-values-{value_bytes}"));
    let values: Vec<u8> = (0..VALUES).flat_map(|index| text(index, value_bytes)).collect();
    fs::write(&path, values).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Writes until the process is killed.
pub(super) fn run(arguments: &WriterArguments) -> Result<()> {
    let file = fs::read(Path::new(&arguments.values))?;
    ensure!(arguments.value_bytes > 0, "a value has at least one byte");
    let values: Vec<&[u8]> = file.chunks_exact(arguments.value_bytes).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut builder = Producer::builder().set("bootstrap.servers", &arguments.bootstrap);
        for setting in &arguments.settings {
            let (name, value) = setting.split_once('=').context("a setting is name=value")?;
            builder = builder.set(name, value);
        }
        let producer = builder.build()?;
        let mut pending = if arguments.each {
            Pending::Each(VecDeque::new())
        } else {
            Pending::Batches(Deliveries::new())
        };
        let mut progress = Progress::new();
        let mut values = values.iter().cycle();
        loop {
            for value in values.by_ref().take(SENDS_BETWEEN_LOOKS) {
                let delivery = producer.send(ProducerRecord::to(TOPIC).value(*value)).await?;
                match &mut pending {
                    Pending::Each(deliveries) => deliveries.push_back(delivery),
                    Pending::Batches(deliveries) => deliveries.add(delivery),
                }
            }
            let written = pending.written()?;
            progress.add(written, written * arguments.value_bytes as u64)?;
        }
    })
}

enum Pending {
    Each(VecDeque<Delivery>),
    Batches(Deliveries),
}

impl Pending {
    /// Returns how many records were acknowledged since it was asked before.
    fn written(&mut self) -> Result<u64> {
        let mut written = 0;
        match self {
            Self::Each(deliveries) => {
                let mut cx = Context::from_waker(Waker::noop());
                while let Some(delivery) = deliveries.front_mut() {
                    let Poll::Ready(outcome) = Pin::new(delivery).poll(&mut cx) else { break };
                    outcome?;
                    written += 1;
                    deliveries.pop_front();
                }
            }
            Self::Batches(deliveries) => {
                while let Some(batch) = deliveries.ended() {
                    written += u64::from(batch?.records);
                }
            }
        }
        Ok(written)
    }
}

/// Enough that a codec finds in a batch what it finds in a log.
const VALUES: usize = 1000;

/// How many records are sent before anybody looks at what became of them.
const SENDS_BETWEEN_LOOKS: usize = 256;
