//! The floor: the least a reader can do. One fetch is in flight per node, the answer's checksums are
//! verified and its records walked where they lie, in a buffer that is used again. Everything a client
//! is for is missing: groups, errors, time-outs, more than one thread.

use anyhow::{Result, bail};
use bytes::Bytes;
use kohort_protocol::frame::encode_request;
use kohort_protocol::messages::fetch::{FetchPartition, FetchTopic};
use kohort_protocol::messages::{FetchRequest, FetchResponse, MetadataRequest, MetadataResponse};
use kohort_protocol::records::{BatchHeader, RecordIter, batches};

use super::super::link::{CLIENT, Link, decode, wait};
use super::progress::Progress;
use super::server::{TOPIC, TOPIC_ID};

/// Reads until the process is killed.
pub(super) fn run(bootstrap: &str) -> Result<()> {
    let first = bootstrap.split(',').next().unwrap_or(bootstrap);
    let metadata: MetadataResponse =
        Link::connect(first)?.call(&MetadataRequest::default(), METADATA)?;
    let (mut links, mut cursors) = (Vec::new(), Vec::new());
    for node in &metadata.brokers {
        let led = metadata.topics.iter().flat_map(|topic| &topic.partitions);
        let led = led.filter(|it| it.leader_id == node.node_id).map(|it| (it.partition_index, 0));
        links.push(Link::connect(&format!("{}:{}", node.host, node.port))?);
        cursors.push(Cursor { next: led.collect() });
    }
    for (link, cursor) in links.iter_mut().zip(&cursors) {
        link.send(cursor.request()?);
        link.flush()?;
    }
    let mut progress = Progress::new();
    loop {
        wait(&mut links, None)?;
        for (link, cursor) in links.iter_mut().zip(&mut cursors) {
            link.flush()?;
            if !link.receive()? {
                continue;
            }
            let taken = link.next_answer(|frame| cursor.take(frame, &mut progress));
            if let Some(taken) = taken {
                taken?;
                link.send(cursor.request()?);
                link.flush()?;
            }
        }
    }
}

struct Cursor {
    /// The next offset of each partition, in the order they are asked for.
    next: Vec<(i32, i64)>,
}

impl Cursor {
    fn request(&self) -> Result<Bytes> {
        let partitions = self.next.iter().map(|(partition, fetch_offset)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            partition_max_bytes: PARTITION_BYTES,
            ..FetchPartition::default()
        });
        let topic = FetchTopic {
            topic: TOPIC.to_owned(),
            topic_id: TOPIC_ID,
            partitions: partitions.collect(),
        };
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: ANSWER_BYTES,
            topics: vec![topic],
            ..FetchRequest::default()
        };
        Ok(encode_request(&request, FETCH, 0, Some(CLIENT))?)
    }

    fn take(&mut self, frame: &Bytes, progress: &mut Progress) -> Result<()> {
        let answer: FetchResponse = decode(frame, FETCH)?;
        for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            if !answer.error_code.is_ok() || !partition.error_code.is_ok() {
                bail!("a fetch failed: {} {}", answer.error_code, partition.error_code);
            }
            let (mut records, mut bytes) = (0, 0);
            let mut end = None;
            for batch in batches(partition.records.as_deref().unwrap_or_default()) {
                let batch = batch?;
                batch.verify_crc()?;
                end = Some(batch.header().next_offset());
                if batch.header().compression()?.id() == 0 {
                    let (count, size) = walk(batch.header(), batch.payload())?;
                    records += count;
                    bytes += size;
                } else {
                    records += batch.header().record_count as u64;
                }
            }
            if let Some(end) = end {
                let at = self.next.iter().position(|it| it.0 == partition.partition_index);
                // Who was served goes to the end, as brokers have it in a session.
                let at = at.expect("only what was asked for is answered");
                self.next.remove(at);
                self.next.push((partition.partition_index, end));
            }
            progress.add(records, bytes)?;
        }
        Ok(())
    }
}

fn walk(header: &BatchHeader, records: &[u8]) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for record in RecordIter::new(header, records) {
        count += 1;
        bytes += record?.value.map_or(0, <[u8]>::len) as u64;
    }
    Ok((count, bytes))
}

/// What Kafka's consumer asks for at its defaults.
const PARTITION_BYTES: i32 = 1 << 20;
const ANSWER_BYTES: i32 = 50 << 20;
const METADATA: i16 = 12;
const FETCH: i16 = 16;
