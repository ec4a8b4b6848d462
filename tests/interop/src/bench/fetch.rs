//! A reader of all partitions of a topic, as the load generator has it: it looks at the headers of
//! batches alone.

use anyhow::{Result, bail};
use bytes::Bytes;
use kohort_protocol::messages::FetchResponse;
use kohort_protocol::records::{BatchHeader, LOG_OVERHEAD_BYTES};

use super::closed::Load;
use super::link::decode;
use super::wire::{FETCH, fetch_request};

/// Where a reader is.
#[derive(Debug)]
pub(crate) struct Cursor {
    topic: String,
    next: Vec<i64>,
}

impl Cursor {
    pub(crate) fn new(topic: &str, partitions: usize) -> Self {
        Self { topic: topic.to_owned(), next: vec![0; partitions] }
    }

    pub(crate) fn request(&self) -> Result<Bytes> {
        fetch_request(&self.topic, &self.next)
    }

    /// Moves on behind what an answer brought, and tells `seen` of each partition's new offsets.
    pub(crate) fn take(
        &mut self,
        frame: &Bytes,
        mut seen: impl FnMut(usize, std::ops::Range<i64>),
    ) -> Result<()> {
        let answer: FetchResponse = decode(frame, FETCH)?;
        if !answer.error_code.is_ok() {
            bail!("a fetch failed: {}", answer.error_code);
        }
        for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            if !partition.error_code.is_ok() {
                bail!("a fetch of a partition failed: {}", partition.error_code);
            }
            let index = partition.partition_index as usize;
            let from = self.next[index];
            let mut rest = partition.records.as_deref().unwrap_or_default();
            while let Ok(header) = BatchHeader::parse(rest) {
                // The last batch of an answer may be cut off.
                let Some(behind) = rest.get(LOG_OVERHEAD_BYTES + header.batch_length as usize..)
                else {
                    break;
                };
                rest = behind;
                self.next[index] = header.base_offset + i64::from(header.last_offset_delta) + 1;
            }
            if self.next[index] > from {
                seen(index, from..self.next[index]);
            }
        }
        Ok(())
    }
}

/// Readers of the same topic, one per link, that begin anew when they have read it all.
#[derive(Debug)]
pub(crate) struct Readers {
    cursors: Vec<Cursor>,
    ends: Vec<i64>,
    pub(crate) records: u64,
}

impl Readers {
    pub(crate) fn new(topic: &str, links: usize, ends: Vec<i64>) -> Self {
        let cursors = (0..links).map(|_| Cursor::new(topic, ends.len())).collect();
        Self { cursors, ends, records: 0 }
    }
}

impl Load for Readers {
    fn request(&mut self, link: usize) -> Result<Bytes> {
        let cursor = &mut self.cursors[link];
        if cursor.next.iter().zip(&self.ends).all(|(next, end)| next >= end) {
            cursor.next.fill(0);
        }
        cursor.request()
    }

    fn answer(&mut self, link: usize, frame: &Bytes) -> Result<()> {
        let records = &mut self.records;
        self.cursors[link].take(frame, |_, offsets| {
            *records += (offsets.end - offsets.start) as u64;
        })
    }
}
