//! Random logs, cleaned again and again with interruptions, against a model that forgets nothing.
//!
//! Every seed writes keys, tombstones and duplicates in batches of all codecs, runs rounds with maps
//! that are too small, breaks rounds off between two segments, and lets readers go through the log from
//! its start meanwhile. A failure names the seed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use bytes::Bytes;
use kohort_log::cleaner::{
    BatchFate, CleanPass, Cleanable, DirtyLog, IndexPass, Indexed, OffsetMap, RoundLimits,
    SegmentSummary, group_segments,
};
use kohort_log::producer_state::{ProducerStates, SequenceCheck};
use kohort_log::{PartitionConfig, Timestamp};
use kohort_protocol::compression::{Compression, Compressor, Decompressor};
use kohort_protocol::records::{
    BatchBuilder, BatchHeader, BatchOptions, BatchRef, NewRecord, TimestampType, batches,
    set_max_timestamp,
};

const SEEDS: u64 = 200;
const STEPS: u64 = 120;
const DELETE_RETENTION: i64 = 5000;

#[test]
fn cleaned_log_tells_every_reader_what_the_whole_log_would() {
    for seed in 0..SEEDS {
        let run = std::panic::catch_unwind(|| Run::new(seed).run());
        assert!(run.is_ok(), "failed with seed {seed}");
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Written {
    timestamp: Timestamp,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

struct Segment {
    base: i64,
    bytes: Vec<u8>,
}

/// Reads from the log's start to its end, a little at a time.
struct Reader {
    since: Timestamp,
    at: i64,
    seen: BTreeMap<Vec<u8>, Vec<u8>>,
}

struct Run {
    random: u64,
    now: Timestamp,
    config: PartitionConfig,
    segments: Vec<Segment>,
    next_offset: i64,
    cleaned_to: i64,
    written: BTreeMap<i64, Written>,
    producers: ProducerStates,
    next_sequence: BTreeMap<i64, i32>,
    readers: Vec<Reader>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut run = Run {
            random: seed,
            now: 1_000_000,
            config: PartitionConfig::default(),
            segments: vec![Segment { base: 0, bytes: Vec::new() }],
            next_offset: 0,
            cleaned_to: 0,
            written: BTreeMap::new(),
            producers: ProducerStates::default(),
            next_sequence: BTreeMap::new(),
            readers: Vec::new(),
        };
        run.config.segment_bytes = 300 + run.draw(2000) as u32;
        run.config.delete_retention_ms = DELETE_RETENTION;
        run
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.now += self.draw(400) as i64;
            match self.draw(8) {
                0..4 => self.append(),
                4 => self.clean(),
                5 => {
                    let at = Reader { since: self.now, at: 0, seen: BTreeMap::new() };
                    self.readers.push(at);
                }
                _ => self.read_on(),
            }
        }
        self.check();
        self.come_to_rest();
    }

    fn append(&mut self) {
        let mut builder = BatchBuilder::new();
        let mut written = Vec::new();
        for _ in 0..=self.draw(4) {
            let key = format!("key-{}", self.draw(12)).into_bytes();
            let length = self.draw(40) as usize;
            let value = (self.draw(4) > 0).then(|| vec![b'a' + (length % 26) as u8; length]);
            let timestamp = self.now - self.draw(50) as i64;
            let record = NewRecord {
                timestamp,
                key: Some(&key),
                value: value.as_deref(),
                ..NewRecord::default()
            };
            builder.append(&record).unwrap();
            written.push(Written { timestamp, key, value });
        }
        let producer = self.draw(4) as i64;
        let sequence = self.next_sequence.entry(producer).or_default();
        let options = match producer {
            0 => BatchOptions::default(),
            _ => BatchOptions {
                producer_id: producer,
                producer_epoch: 0,
                base_sequence: *sequence,
                ..BatchOptions::default()
            },
        };
        *sequence += written.len() as i32;
        let options = BatchOptions { base_offset: self.next_offset, ..options };
        let codec = Compression::ALL[self.draw(5) as usize];
        let mut compressor = Compressor::new(codec, None).unwrap();
        let mut batch = builder.build(&options, &mut compressor).to_vec();
        if self.draw(5) == 0 {
            set_max_timestamp(&mut batch, TimestampType::LogAppendTime, self.now);
            for record in &mut written {
                record.timestamp = self.now;
            }
        }
        let header = BatchHeader::parse(&batch).unwrap();
        if header.has_producer_id() {
            self.producers.update(&header, self.now);
        }
        self.written.extend((self.next_offset..).zip(written));
        let active = self.segments.last_mut().unwrap();
        let full = active.bytes.len() + batch.len() > self.config.segment_bytes as usize;
        if full && !active.bytes.is_empty() {
            self.segments.push(Segment { base: self.next_offset, bytes: batch });
        } else {
            active.bytes.extend(batch);
        }
        self.next_offset = header.next_offset();
    }

    fn summaries(&self) -> Vec<SegmentSummary> {
        let summary = |segment: &Segment| {
            let headers = || batches(&segment.bytes).map(|batch| *batch.unwrap().header());
            SegmentSummary {
                base_offset: segment.base,
                bytes: segment.bytes.len() as u64,
                max_timestamp: headers().map(|h| h.max_timestamp).max().unwrap_or(-1),
                first_timestamp: headers().next().map_or(-1, |h| h.max_timestamp),
            }
        };
        self.segments.iter().map(summary).collect()
    }

    /// Runs a round, or a part of one.
    fn clean(&mut self) {
        let summaries = self.summaries();
        let log = DirtyLog {
            segments: &summaries,
            log_start: 0,
            log_end: self.next_offset,
            last_stable_offset: self.next_offset,
            cleaned_to: self.cleaned_to,
        };
        let found = Cleanable::of(&log, &self.config, self.now);
        if found.cleanable_bytes == 0 {
            return;
        }
        let memory = if self.draw(3) == 0 { 0 } else { 1 << 16 };
        let seed = [self.draw(1 << 30), self.draw(1 << 30)];
        let mut index = IndexPass::new(OffsetMap::new(memory, seed), found.first_dirty);
        'index: for (at, segment) in self.segments.iter().enumerate() {
            if segment.base >= found.first_uncleanable {
                break;
            }
            let next = self.segments[at + 1].base;
            if next <= found.first_dirty {
                continue;
            }
            for batch in batches(&segment.bytes) {
                if index.batch(&batch.unwrap()).unwrap() == Indexed::Full {
                    break 'index;
                }
            }
            index.segment_ends(next);
        }
        let map = index.finish();
        let end = map.latest() + 1;
        assert!(end > found.first_dirty, "every round gets on");
        let count = summaries.iter().take_while(|segment| segment.base_offset < end).count();
        let group_end = self.segments[count].base;
        let groups = group_segments(&summaries[..count], self.config.segment_bytes, group_end);
        let limits = RoundLimits {
            now: self.now,
            delete_retention_ms: DELETE_RETENTION,
            end: found.first_uncleanable,
        };
        let mut pass = CleanPass::new(&map, limits, self.producers.last_batches());
        let stop_before = if self.draw(3) == 0 { self.draw(4) as usize } else { usize::MAX };
        let mut done = 0;
        for (number, count) in groups.into_iter().enumerate() {
            if number == stop_before {
                return;
            }
            let base = self.segments[done].base;
            let mut bytes = Vec::new();
            for segment in &self.segments[done..done + count] {
                for batch in batches(&segment.bytes) {
                    let batch = batch.unwrap();
                    match pass.batch(&batch).unwrap() {
                        BatchFate::Kept => bytes.extend_from_slice(batch.bytes()),
                        BatchFate::Rewritten(new) => bytes.extend_from_slice(&new),
                        BatchFate::Dropped => {}
                    }
                }
            }
            let cleaned = (!bytes.is_empty()).then_some(Segment { base, bytes });
            let left = usize::from(cleaned.is_some());
            self.segments.splice(done..done + count, cleaned);
            done += left;
        }
        self.cleaned_to = end;
        self.check();
    }

    /// All batches there are.
    fn batches(&self) -> impl Iterator<Item = BatchRef<'_>> {
        self.segments.iter().flat_map(|segment| batches(&segment.bytes)).map(Result::unwrap)
    }

    /// Lets each reader read some batches. One that arrives in time must know what the log's end says.
    fn read_on(&mut self) {
        for mut reader in std::mem::take(&mut self.readers) {
            let count = 1 + self.draw(20) as usize;
            let at = reader.at;
            let next = self.batches().filter(|batch| batch.header().last_offset() >= at);
            for batch in next.take(count) {
                reader.at = batch.header().next_offset();
                for (offset, record) in unpack(&batch) {
                    if offset < at {
                        continue;
                    }
                    match record.value {
                        Some(value) => reader.seen.insert(record.key, value),
                        None => reader.seen.remove(&record.key),
                    };
                }
            }
            if reader.at < self.next_offset {
                self.readers.push(reader);
            } else if self.now < reader.since + DELETE_RETENTION {
                assert_eq!(reader.seen, self.latest(), "a reader from {} on", reader.since);
            }
        }
    }

    /// The last value of each key that has one.
    fn latest(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut latest = BTreeMap::new();
        for record in self.written.values() {
            match &record.value {
                Some(value) => latest.insert(record.key.clone(), value.clone()),
                None => latest.remove(&record.key),
            };
        }
        latest
    }

    /// Holds the log against what was written.
    fn check(&self) {
        let mut states = ProducerStates::default();
        let mut seen = BTreeMap::new();
        let mut at = 0;
        for batch in self.batches() {
            batch.verify_crc().unwrap();
            let header = batch.header();
            assert!(header.base_offset >= at, "offsets ascend");
            at = header.next_offset();
            if header.has_producer_id() {
                states.update(header, self.now);
            }
            for (offset, record) in unpack(&batch) {
                assert_eq!(self.written.get(&offset), Some(&record), "offset {offset}");
                match record.value {
                    Some(value) => seen.insert(record.key, value),
                    None => seen.remove(&record.key),
                };
            }
        }
        assert_eq!(at, self.next_offset, "the end of the log is where it was");
        assert_eq!(seen, self.latest());
        for (&producer, &sequence) in &self.next_sequence {
            if producer > 0 {
                check_sequence(&states, producer, sequence);
            }
        }
        let spans = self.segments.windows(2).all(|pair| pair[0].base < pair[1].base);
        assert!(spans, "segments ascend");
    }

    /// With time enough, of each key one record is left below what was cleaned, and no tombstone but
    /// those the last round has just come to.
    fn come_to_rest(mut self) {
        for _ in 0..40 {
            self.now += 2 * DELETE_RETENTION;
            self.append();
            self.clean();
        }
        let mut count: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for batch in self.batches() {
            for (offset, record) in unpack(&batch) {
                if offset < self.cleaned_to {
                    *count.entry(record.key).or_default() += 1;
                }
            }
        }
        assert!(count.values().all(|&records| records == 1), "{count:?}");
    }
}

fn check_sequence(states: &ProducerStates, producer: i64, sequence: i32) {
    let next = |base_sequence| {
        let mut builder = BatchBuilder::new();
        builder.append(&NewRecord::default()).unwrap();
        let options = BatchOptions {
            producer_id: producer,
            producer_epoch: 0,
            base_sequence,
            ..BatchOptions::default()
        };
        let bytes: Bytes = builder.build(&options, &mut Compressor::none());
        BatchHeader::parse(&bytes).unwrap()
    };
    assert_eq!(states.check(&next(sequence), true), Ok(SequenceCheck::InSequence));
    if !states.is_empty() && sequence > 0 {
        assert!(states.check(&next(sequence + 1), true).is_err(), "a gap is noticed");
    }
}

fn unpack(batch: &BatchRef<'_>) -> Vec<(i64, Written)> {
    let mut buffer = Vec::new();
    let records = batch.records(&mut Decompressor::new(), &mut buffer, 1 << 20).unwrap();
    records
        .map(Result::unwrap)
        .map(|record| {
            let key = record.key.unwrap().to_vec();
            let value = record.value.map(<[u8]>::to_vec);
            (record.offset, Written { timestamp: record.timestamp, key, value })
        })
        .collect()
}
