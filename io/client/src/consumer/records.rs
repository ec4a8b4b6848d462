//! What a poll hands out: records where they lie, without an allocation for any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kohort_client_core::consumer::TopicPartition;
use kohort_client_core::consumer::reader::OpenBatch;
use kohort_protocol::records::{BatchHeader, Headers, RecordIter, TimestampType};

use super::credits::Hold;

/// The records of one poll. They keep the memory they lie in; dropping them gives it back.
///
/// ```no_run
/// # fn f(records: &kohort::consumer::Records) {
/// for record in records {
///     println!("{}-{} @{}: {:?}", record.topic, record.partition, record.offset, record.value);
/// }
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Records {
    pub(super) parts: Vec<Part>,
    pub(super) count: usize,
    pub(super) read_to_end: Arc<AtomicBool>,
    /// Tells their reader that they are still there.
    pub(super) _lease: Option<Arc<()>>,
}

/// Batches of one partition, in order.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) partition: TopicPartition,
    pub(super) batches: Vec<OpenBatch<Hold>>,
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Unix milliseconds: when it was made, or when the broker appended it.
    pub timestamp: i64,
    /// Which of the two.
    pub timestamp_type: TimestampType,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
    /// The epoch of the leader that appended it, or -1.
    pub leader_epoch: i32,
}

/// One record that owns its data. Those of a batch share one copy of it, so whoever keeps a few records
/// for long should copy out what is wanted of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Unix milliseconds.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// The epoch of the leader that appended it, or -1.
    pub leader_epoch: i32,
}

impl Records {
    /// Returns how many records there are.
    ///
    /// It is an upper bound in the rare case that the first batch begins before the position, as
    /// after a seek into its middle.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none: the poll timed out.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Walks over all records, partition by partition.
    pub fn iter(&self) -> Iter<'_> {
        Iter::over(&self.parts, Some(&self.read_to_end))
    }

    /// Returns the partitions that have records.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.parts.iter().map(|part| &part.partition)
    }

    /// Walks over the records of one partition.
    pub fn of_partition(&self, partition: &TopicPartition) -> Iter<'_> {
        let at = self.parts.iter().position(|part| part.partition == *partition);
        let parts = at.map_or(&[][..], |at| &self.parts[at..=at]);
        Iter::over(parts, None)
    }

    /// Walks over the batches: for what is done once for many records.
    pub fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        self.parts.iter().flat_map(|part| {
            part.batches.iter().map(|open| Batch { partition: &part.partition, open })
        })
    }

    /// Copies all records out: batch by batch, not record by record.
    pub fn to_owned_records(&self) -> Vec<OwnedRecord> {
        let mut owned = Vec::with_capacity(self.count);
        for part in &self.parts {
            for open in &part.batches {
                let copy = open.detached(Hold::copy);
                let walk = Walk::of(&part.partition, &copy);
                owned.extend(walk.map(|record| {
                    record.with(&part.partition.topic, |bytes| copy.slice_ref(bytes))
                }));
            }
        }
        owned
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Record<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// One batch of a poll, as its producer made it.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    partition: &'a TopicPartition,
    open: &'a OpenBatch<Hold>,
}

impl<'a> Batch<'a> {
    /// Returns the partition.
    pub fn partition(&self) -> &'a TopicPartition {
        self.partition
    }

    /// Returns how many records there are; an upper bound in a batch that begins before the position.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns what the producer and the broker say of the batch.
    pub fn header(&self) -> &'a BatchHeader {
        self.open.header()
    }

    /// Walks over the records.
    pub fn iter(&self) -> Iter<'a> {
        Iter {
            batches: std::slice::from_ref(self.open).iter(),
            partition: Some(self.partition),
            ..Iter::over(&[], None)
        }
    }
}

impl<'a> IntoIterator for &Batch<'a> {
    type Item = Record<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for Batch<'a> {
    type Item = Record<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Walks over the records of a poll.
#[derive(Debug)]
pub struct Iter<'a> {
    /// The batch at hand. Everything else is looked at only between batches.
    walk: Option<Walk<'a>>,
    batches: std::slice::Iter<'a, OpenBatch<Hold>>,
    partition: Option<&'a TopicPartition>,
    parts: std::slice::Iter<'a, Part>,
    /// Where to leave word that the walk came to its end.
    read_to_end: Option<&'a AtomicBool>,
}

#[derive(Debug)]
struct Walk<'a> {
    records: RecordIter<'a>,
    first_offset: i64,
    topic: &'a str,
    partition: i32,
    timestamp_type: TimestampType,
    leader_epoch: i32,
}

impl<'a> Iter<'a> {
    fn over(parts: &'a [Part], read_to_end: Option<&'a AtomicBool>) -> Self {
        Self { walk: None, batches: [].iter(), partition: None, parts: parts.iter(), read_to_end }
    }

    /// Goes on to the next batch; false after the last one.
    fn advance(&mut self) -> bool {
        loop {
            if let (Some(partition), Some(open)) = (self.partition, self.batches.next()) {
                self.walk = Some(Walk::of(partition, open));
                return true;
            }
            let Some(part) = self.parts.next() else {
                self.walk = None;
                if let Some(done) = self.read_to_end.take() {
                    done.store(true, Ordering::Relaxed);
                }
                return false;
            };
            self.partition = Some(&part.partition);
            self.batches = part.batches.iter();
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            if let Some(walk) = &mut self.walk
                && let Some(record) = walk.next()
            {
                return Some(record);
            }
            if !self.advance() {
                return None;
            }
        }
    }
}

impl<'a> Walk<'a> {
    fn of<H>(partition: &'a TopicPartition, open: &'a OpenBatch<H>) -> Self {
        Self {
            records: open.records(),
            first_offset: open.first_offset(),
            topic: &partition.topic,
            partition: partition.partition,
            timestamp_type: open.header().timestamp_type(),
            leader_epoch: open.header().partition_leader_epoch,
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        while let Some(Ok(view)) = self.records.next() {
            if view.offset >= self.first_offset {
                return Some(Record {
                    topic: self.topic,
                    partition: self.partition,
                    offset: view.offset,
                    timestamp: view.timestamp,
                    timestamp_type: self.timestamp_type,
                    key: view.key,
                    value: view.value,
                    headers: view.headers,
                    leader_epoch: self.leader_epoch,
                });
            }
        }
        None
    }
}

impl Record<'_> {
    /// Returns the partition.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }

    /// Copies the record out.
    pub fn to_owned_record(&self) -> OwnedRecord {
        self.with(&Arc::from(self.topic), Bytes::copy_from_slice)
    }

    #[inline]
    fn with(&self, topic: &Arc<str>, own: impl Fn(&[u8]) -> Bytes) -> OwnedRecord {
        OwnedRecord {
            topic: topic.clone(),
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(&own),
            value: self.value.map(&own),
            headers: self
                .headers
                .iter()
                .map(|header| (header.key_text().into_owned(), header.value.map(&own)))
                .collect(),
            leader_epoch: self.leader_epoch,
        }
    }
}
