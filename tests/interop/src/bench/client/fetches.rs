//! Answers to Fetch, sessions included (KIP-227): pieces that point into the one batch, with a first
//! offset of its own before each.

use std::io::IoSlice;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use kohort_protocol::messages::FetchRequest;
use kohort_protocol::messages::fetch::FetchTopic;
use kohort_protocol::{ErrorCode, Message, Reader, Writer};

use super::log::Template;
use super::server::{Cluster, TOPIC, TOPIC_ID};

/// What a connection's client reads. Kafka keeps sessions apart from connections; no client takes one
/// along to another connection, so here each has its own.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The epoch the next request has; 0 without a session.
    epoch: i32,
    /// In the order they are served in: whoever was sent records goes to the end.
    partitions: Vec<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    partition: i32,
    offset: i64,
    bytes_max: i32,
}

impl Session {
    pub(super) fn answer(
        &mut self,
        cluster: &Cluster,
        node: usize,
        reader: &mut Reader<'_>,
        version: i16,
        id: i32,
    ) -> Result<Answer> {
        let request = FetchRequest::decode(reader, version)?;
        let mut sessionless = Self::default();
        let keeps = request.session_epoch != -1;
        let session = if keeps { &mut *self } else { &mut sessionless };
        match request.session_epoch {
            0 | -1 => session.partitions.clear(),
            epoch if epoch != session.epoch || request.session_id != SESSION_ID => {
                return Ok(Answer::empty(id, ErrorCode::INVALID_FETCH_SESSION_EPOCH, 0));
            }
            _ => {}
        }
        session.epoch = request.session_epoch + 1;
        session.take(&request);
        for reading in &session.partitions {
            if cluster.leader(reading.partition) != node {
                bail!("partition {} is not led by node {node}", reading.partition);
            }
        }
        let full = request.session_epoch <= 0;
        let session_id = if keeps { SESSION_ID } else { 0 };
        if !session.partitions.iter().any(|it| it.offset < cluster.end(it.partition)) {
            thread::sleep(Duration::from_millis(request.max_wait_ms.max(0) as u64));
            if !full {
                return Ok(Answer::empty(id, ErrorCode::NONE, session_id));
            }
        }
        let mut answer = Answer::begin(id, ErrorCode::NONE, session_id);
        session.fill(cluster, request.max_bytes.max(0) as usize, full, version, &mut answer);
        answer.end();
        Ok(answer)
    }

    fn take(&mut self, request: &FetchRequest) {
        for topic in &request.forgotten_topics_data {
            self.partitions.retain(|it| !topic.partitions.contains(&it.partition));
        }
        for wanted in request.topics.iter().flat_map(|topic: &FetchTopic| &topic.partitions) {
            let reading = Reading {
                partition: wanted.partition,
                offset: wanted.fetch_offset,
                bytes_max: wanted.partition_max_bytes,
            };
            let known = self.partitions.iter_mut().find(|it| it.partition == wanted.partition);
            match known {
                Some(known) => *known = reading,
                None => self.partitions.push(reading),
            }
        }
    }

    /// Adds partitions in turn until the answer is full, and in a full answer those without records.
    fn fill(
        &mut self,
        cluster: &Cluster,
        bytes_max: usize,
        full: bool,
        version: i16,
        answer: &mut Answer,
    ) {
        let batch = cluster.template.batch.len();
        let records = cluster.template.records;
        let mut found = Vec::new();
        let mut left = bytes_max;
        for (at, reading) in self.partitions.iter().enumerate() {
            let end = cluster.end(reading.partition);
            let mut batches = 0;
            if reading.offset < end && (left > 0 || found.is_empty()) {
                let wanted = left.min(reading.bytes_max.max(0) as usize) / batch;
                batches = if left == bytes_max { wanted.max(1) } else { wanted };
                left = left.saturating_sub(batches * batch);
            }
            if full || batches > 0 {
                found.push((at, batches));
            }
        }
        answer.begin_topic(version, found.len());
        for (at, batches) in &found {
            let reading = &self.partitions[*at];
            // A client may begin in the middle of a batch.
            let first = reading.offset - reading.offset % records;
            let end = cluster.end(reading.partition);
            answer.partition(reading.partition, end, first, *batches, &cluster.template);
        }
        answer.end_topic();
        let served = |at: usize| found.iter().any(|(it, batches)| *it == at && *batches > 0);
        let (last, first): (Vec<_>, Vec<_>) =
            self.partitions.iter().copied().enumerate().partition(|(at, _)| served(*at));
        self.partitions = first.into_iter().chain(last).map(|(_, reading)| reading).collect();
    }
}

/// An answer whose batches are not copied.
#[derive(Debug)]
pub(super) struct Answer {
    /// All of the answer but its length and what the batches have behind their first offsets.
    own: Writer,
    /// Where in `own` the rest of a batch goes.
    batches: Vec<usize>,
    batch_bytes: usize,
    length: [u8; 4],
}

impl Answer {
    fn empty(id: i32, error: ErrorCode, session_id: i32) -> Self {
        let mut answer = Self::begin(id, error, session_id);
        answer.own.put_uvarint(1);
        answer.end();
        answer
    }

    /// Begins with what precedes the topics; all served versions are flexible ones.
    fn begin(id: i32, error: ErrorCode, session_id: i32) -> Self {
        let mut own = Writer::with_capacity(4096);
        own.set_flexible(true);
        own.put_i32(id);
        own.put_uvarint(0);
        own.put_i32(0);
        own.put_i16(error.0);
        own.put_i32(session_id);
        Self { own, batches: Vec::new(), batch_bytes: 0, length: [0; 4] }
    }

    fn begin_topic(&mut self, version: i16, partitions: usize) {
        self.own.put_uvarint(2);
        if version >= TOPIC_IDS_FROM {
            self.own.put_slice(&TOPIC_ID.0);
        } else {
            self.own.put_uvarint(TOPIC.len() as u32 + 1);
            self.own.put_slice(TOPIC.as_bytes());
        }
        self.own.put_uvarint(partitions as u32 + 1);
    }

    /// Adds a partition with batches from `first` on.
    fn partition(
        &mut self,
        partition: i32,
        end: i64,
        first: i64,
        batches: usize,
        template: &Template,
    ) {
        self.own.put_i32(partition);
        self.own.put_i16(ErrorCode::NONE.0);
        self.own.put_i64(end);
        self.own.put_i64(end);
        self.own.put_i64(0);
        // No aborted transactions, no replica nearer than this.
        self.own.put_uvarint(0);
        self.own.put_i32(-1);
        self.batch_bytes = template.batch.len();
        self.own.put_uvarint((batches * self.batch_bytes) as u32 + 1);
        for index in 0..batches as i64 {
            self.own.put_i64(first + index * template.records);
            self.batches.push(self.own.len());
        }
        self.own.put_uvarint(0);
    }

    fn end_topic(&mut self) {
        self.own.put_uvarint(0);
    }

    fn end(&mut self) {
        self.own.put_uvarint(0);
        let rest = self.batch_bytes.saturating_sub(OFFSET_BYTES);
        self.length = ((self.own.len() + self.batches.len() * rest) as u32).to_be_bytes();
    }

    /// Returns what to send, in order.
    pub(super) fn pieces<'a>(&'a self, batch: &'a Bytes) -> Vec<IoSlice<'a>> {
        let mut pieces = Vec::with_capacity(2 * self.batches.len() + 2);
        pieces.push(IoSlice::new(&self.length));
        let mut from = 0;
        for at in &self.batches {
            pieces.push(IoSlice::new(&self.own.as_slice()[from..*at]));
            pieces.push(IoSlice::new(&batch[OFFSET_BYTES..]));
            from = *at;
        }
        pieces.push(IoSlice::new(&self.own.as_slice()[from..]));
        pieces
    }

    /// Returns how many bytes of records there are.
    pub(super) fn record_bytes(&self) -> u64 {
        (self.batches.len() * self.batch_bytes) as u64
    }
}

/// The first version served: those before have another coding.
pub(super) const FLEXIBLE_FROM: i16 = 12;
/// The first version with topic ids in place of names.
const TOPIC_IDS_FROM: i16 = 13;
/// A batch's first offset, the only part that differs from batch to batch.
const OFFSET_BYTES: usize = 8;
/// The one session of a connection.
const SESSION_ID: i32 = 1;
