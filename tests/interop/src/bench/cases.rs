//! The cases: what is loaded how, and what is wanted of it. All topics have 12 partitions, all writes
//! ask for all acknowledgements, nothing is compressed. A GB is 10⁹ bytes of values.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;

use super::closed::{self, Repeated, Run};
use super::fetch::Readers;
use super::steady;
use super::table::Goal::{AtLeast, AtMost, Less, More, Times};
use super::table::Measure;
use super::target::{Target, sync_disks};
use super::wire::{
    PARTITIONS, await_coordinator, check_committed, check_produced, commit_request, create_topic,
    delete_topic, end_offsets, produce_requests,
};

/// A load that is put on each broker in turn.
pub(crate) struct Case {
    /// What `--case` finds it by.
    pub(crate) word: &'static str,
    pub(crate) measures: &'static [Measure],
    /// Makes ready on one broker.
    pub(crate) prepare: fn(&Target) -> Result<Box<dyn Trial>>,
}

/// A case on one broker.
pub(crate) trait Trial {
    /// Loads the broker for about `time`; returns a value for each of the case's measures.
    fn run(&mut self, target: &Target, time: Duration) -> Result<Vec<f64>>;
}

/// Every case under load, in the order of the table.
pub(crate) const CASES: &[Case] = &[
    Case {
        word: "produce-1k",
        measures: &[
            Measure::new("produce 1 KB, batches of 100 KB", "CPU s/GB", Times(4.0, 1.2)),
            Measure::new("produce 1 KB", "MB/s", More),
        ],
        prepare: |_| Ok(Box::new(Produce { name: "produce-1k", records: 96, size: 1024, runs: 0 })),
    },
    Case {
        word: "produce-100",
        measures: &[
            Measure::new("produce 100 B, batches of 64 KB", "CPU ns/record", Times(4.0, 150.0)),
            Measure::new("produce 100 B", "million records/s", AtLeast(3.0)),
        ],
        prepare: |_| {
            Ok(Box::new(Produce { name: "produce-100", records: 600, size: 100, runs: 0 }))
        },
    },
    Case {
        word: "consume-1k",
        measures: &[
            Measure::new("consume 1 KB", "CPU s/GB", Times(2.0, 0.33)),
            Measure::new("consume 1 KB", "MB/s", More),
        ],
        prepare: |target| Consume::prepare(target, "consume-1k", 96, 1024, 1),
    },
    Case {
        word: "consume-1k-groups",
        measures: &[
            Measure::new("consume 1 KB, three groups", "CPU s/GB", Times(2.0, 0.28)),
            Measure::new("consume 1 KB, three groups", "MB/s", More),
        ],
        prepare: |target| Consume::prepare(target, "consume-1k-groups", 96, 1024, 3),
    },
    Case {
        word: "consume-100",
        measures: &[
            Measure::new("consume 100 B", "CPU ns/record", Times(2.0, 50.0)),
            Measure::new("consume 100 B", "million records/s", More),
        ],
        prepare: |target| Consume::prepare(target, "consume-100", 600, 100, 1),
    },
    Case {
        word: "single",
        measures: &[
            Measure::new("one record a request, 32 under way", "CPU us/ack", Times(4.0, 15.0)),
            Measure::new("one record a request", "acks/s", AtLeast(60_000.0)),
            Measure::new("one record a request, p99", "ms", AtMost(3.0)),
        ],
        prepare: |_| Ok(Box::new(Single { runs: 0 })),
    },
    Case {
        word: "commits",
        measures: &[
            Measure::new("commits, 100 groups x 12", "CPU us/commit", Times(9.0, 12.0)),
            Measure::new("commits", "commits/s", AtLeast(60_000.0)),
            Measure::new("commits, p99", "ms", Less),
        ],
        prepare: |target| Ok(Box::new(Commits::prepare(target)?)),
    },
    Case {
        word: "steady-1000",
        measures: &[
            Measure::new("1 000/s of 1 KB", "CPU us/record", AtMost(150.0)),
            Measure::new("1 000/s, ack p50", "ms", AtMost(0.5)),
            Measure::new("1 000/s, ack p99", "ms", AtMost(2.0)),
            Measure::new("1 000/s, ack p99.9", "ms", AtMost(4.0)),
            Measure::new("1 000/s, end to end p50", "ms", Less),
            Measure::new("1 000/s, end to end p99", "ms", Less),
            Measure::new("1 000/s, end to end p99.9", "ms", Less),
        ],
        prepare: |_| Ok(Box::new(Steady { rate: 1_000, runs: 0 })),
    },
    Case {
        word: "steady-10000",
        measures: &[
            Measure::new("10 000/s of 1 KB", "CPU us/record", AtMost(40.0)),
            Measure::new("10 000/s, ack p50", "ms", Less),
            Measure::new("10 000/s, ack p99", "ms", AtMost(5.0)),
            Measure::new("10 000/s, ack p99.9", "ms", Less),
            Measure::new("10 000/s, end to end p50", "ms", Less),
            Measure::new("10 000/s, end to end p99", "ms", AtMost(5.0)),
            Measure::new("10 000/s, end to end p99.9", "ms", Less),
        ],
        prepare: |_| Ok(Box::new(Steady { rate: 10_000, runs: 0 })),
    },
];

/// Large batches, one a request, as librdkafka sends them.
struct Produce {
    name: &'static str,
    records: usize,
    size: usize,
    runs: u32,
}

impl Trial for Produce {
    fn run(&mut self, target: &Target, time: Duration) -> Result<Vec<f64>> {
        self.runs += 1;
        let topic = format!("{}-{}", self.name, self.runs);
        let (run, cpu) = on_new_topic(
            target,
            &topic,
            |frames| {
                let mut links = target.links(PRODUCERS)?;
                let mut load = Repeated::new(frames, links.len(), check_produced);
                closed::run(&mut links, PRODUCER_DEPTH, &mut load, time)
            },
            self.records,
            self.size,
        )?;
        let records = (run.answers * self.records as u64) as f64;
        Ok(bulk(records, self.size, run.seconds, cpu))
    }
}

/// What the table tells of bulk: of large records per byte, of small ones per record.
fn bulk(records: f64, size: usize, seconds: f64, cpu: f64) -> Vec<f64> {
    if size >= 1024 {
        let gigabytes = records * size as f64 / 1e9;
        vec![cpu / gigabytes, gigabytes * 1e3 / seconds]
    } else {
        vec![cpu * 1e9 / records, records / 1e6 / seconds]
    }
}

/// Runs a load on a topic of its own, which is deleted afterwards.
fn on_new_topic<T>(
    target: &Target,
    topic: &str,
    load: impl FnOnce(&[Bytes]) -> Result<T>,
    records: usize,
    size: usize,
) -> Result<(T, f64)> {
    let mut link = target.link()?;
    create_topic(&mut link, topic)?;
    let frames = produce_requests(topic, records, size)?;
    sync_disks()?;
    let found = target.cost(|| load(&frames))?;
    delete_topic(&mut link, topic)?;
    Ok(found)
}

/// Writes `bytes` of values into a new topic.
pub(crate) fn fill(
    target: &Target,
    topic: &str,
    records: usize,
    size: usize,
    bytes: usize,
) -> Result<()> {
    create_topic(&mut target.link()?, topic)?;
    let frames = produce_requests(topic, records, size)?;
    let mut links = target.links(PRODUCERS)?;
    let requests = bytes / (records * size);
    let mut load = Repeated::new(&frames, links.len(), check_produced).at_most(requests as u64);
    closed::run(&mut links, PRODUCER_DEPTH, &mut load, Duration::MAX)?;
    Ok(())
}

/// Readers of what was written some time before.
struct Consume {
    topic: &'static str,
    size: usize,
    readers: usize,
    ends: Vec<i64>,
}

impl Consume {
    fn prepare(
        target: &Target,
        topic: &'static str,
        records: usize,
        size: usize,
        readers: usize,
    ) -> Result<Box<dyn Trial>> {
        fill(target, topic, records, size, CONSUMED_BYTES)?;
        sync_disks()?;
        let (ends, _) = end_offsets(&mut target.link()?, topic)?;
        Ok(Box::new(Self { topic, size, readers, ends }))
    }
}

impl Trial for Consume {
    fn run(&mut self, target: &Target, time: Duration) -> Result<Vec<f64>> {
        let mut links = target.links(self.readers)?;
        let mut load = Readers::new(self.topic, self.readers, self.ends.clone());
        let (run, cpu) = target.cost(|| closed::run(&mut links, 1, &mut load, time))?;
        Ok(bulk(load.records as f64, self.size, run.seconds, cpu))
    }
}

/// One record a request.
struct Single {
    runs: u32,
}

impl Trial for Single {
    fn run(&mut self, target: &Target, time: Duration) -> Result<Vec<f64>> {
        self.runs += 1;
        let topic = format!("single-{}", self.runs);
        let (run, cpu) = on_new_topic(
            target,
            &topic,
            |frames| {
                let mut links = target.links(SINGLE_LINKS)?;
                let mut load = Repeated::new(frames, links.len(), check_produced);
                closed::run(&mut links, SINGLE_DEPTH, &mut load, time)
            },
            1,
            100,
        )?;
        Ok(requests(run, cpu))
    }
}

/// What the table tells of single requests.
fn requests(mut run: Run, cpu: f64) -> Vec<f64> {
    let [p99] = run.latencies.percentiles([0.99]);
    vec![cpu * 1e6 / run.answers as f64, run.answers as f64 / run.seconds, p99]
}

/// Groups without members that commit all partitions of a topic.
struct Commits {
    frames: Vec<Bytes>,
}

impl Commits {
    fn prepare(target: &Target) -> Result<Self> {
        let mut link = target.link()?;
        create_topic(&mut link, "commits")?;
        let mut frames = Vec::new();
        for group in 0..GROUPS {
            let group = format!("group-{group}");
            await_coordinator(&mut link, &group, "commits")?;
            frames.push(commit_request(&group, "commits", PARTITIONS)?);
        }
        Ok(Self { frames })
    }
}

impl Trial for Commits {
    fn run(&mut self, target: &Target, time: Duration) -> Result<Vec<f64>> {
        sync_disks()?;
        let mut links = target.links(GROUPS)?;
        let mut load = Repeated::new(&self.frames, GROUPS, check_committed);
        let (run, cpu) = target.cost(|| closed::run(&mut links, 1, &mut load, time))?;
        Ok(requests(run, cpu))
    }
}

/// Records that leave at their time, each in its own request, and a reader.
struct Steady {
    rate: u32,
    runs: u32,
}

impl Trial for Steady {
    fn run(&mut self, target: &Target, time: Duration) -> Result<Vec<f64>> {
        self.runs += 1;
        let topic = format!("steady-{}-{}", self.rate, self.runs);
        let (mut times, cpu) = on_new_topic(
            target,
            &topic,
            |frames| {
                let mut links = target.links(STEADY_PRODUCERS + 1)?;
                steady::run(&mut links, &topic, frames, self.rate, time)
            },
            1,
            1024,
        )?;
        let mut values = vec![cpu * 1e6 / times.read.count() as f64];
        values.extend(times.acknowledged.percentiles(PERCENTILES));
        values.extend(times.read.percentiles(PERCENTILES));
        Ok(values)
    }
}

/// As many as keep two cores busy; Kafka takes up one request of a connection at a time.
const PRODUCERS: usize = 4;
const PRODUCER_DEPTH: usize = 4;
const SINGLE_LINKS: usize = 8;
const SINGLE_DEPTH: usize = 4;
const GROUPS: usize = 100;
const STEADY_PRODUCERS: usize = 4;
const CONSUMED_BYTES: usize = 1_000_000_000;
const PERCENTILES: [f64; 3] = [0.5, 0.99, 0.999];
