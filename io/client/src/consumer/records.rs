//! What a poll hands out: records where they lie, without an allocation for any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kohort_client_core::consumer::TopicPartition;
use kohort_client_core::consumer::reader::OpenBatch;
use kohort_protocol::records::{Headers, RecordIter, TimestampType};

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

/// One record that owns its data.
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
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
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
        Iter { parts: self.parts.iter(), open: None, read_to_end: Some(&self.read_to_end) }
    }

    /// Returns the partitions that have records.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.parts.iter().map(|part| &part.partition)
    }

    /// Walks over the records of one partition.
    pub fn of_partition(&self, partition: &TopicPartition) -> Iter<'_> {
        let at = self.parts.iter().position(|part| part.partition == *partition);
        let parts = at.map_or(&[][..], |at| &self.parts[at..=at]);
        Iter { parts: parts.iter(), open: None, read_to_end: None }
    }

    /// Copies all records out.
    pub fn to_owned_records(&self) -> Vec<OwnedRecord> {
        let mut owned = Vec::with_capacity(self.count);
        for part in &self.parts {
            let records =
                Iter { parts: std::slice::from_ref(part).iter(), open: None, read_to_end: None };
            owned.extend(records.map(|record| record.with_topic(&part.partition.topic)));
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

/// Walks over the records of a poll.
#[derive(Debug)]
pub struct Iter<'a> {
    parts: std::slice::Iter<'a, Part>,
    open: Option<OpenPart<'a>>,
    /// Where to leave word that the walk came to its end.
    read_to_end: Option<&'a AtomicBool>,
}

#[derive(Debug)]
struct OpenPart<'a> {
    part: &'a Part,
    batches: std::slice::Iter<'a, OpenBatch<Hold>>,
    batch: Option<OpenedBatch<'a>>,
}

#[derive(Debug)]
struct OpenedBatch<'a> {
    records: RecordIter<'a>,
    first_offset: i64,
    timestamp_type: TimestampType,
    leader_epoch: i32,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(record) = open.next() {
                    return Some(record);
                }
                self.open = None;
            }
            let Some(part) = self.parts.next() else {
                if let Some(done) = self.read_to_end.take() {
                    done.store(true, Ordering::Relaxed);
                }
                return None;
            };
            self.open = Some(OpenPart { part, batches: part.batches.iter(), batch: None });
        }
    }
}

impl<'a> OpenPart<'a> {
    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            if let Some(batch) = &mut self.batch {
                while let Some(Ok(view)) = batch.records.next() {
                    if view.offset >= batch.first_offset {
                        return Some(Record {
                            topic: &self.part.partition.topic,
                            partition: self.part.partition.partition,
                            offset: view.offset,
                            timestamp: view.timestamp,
                            timestamp_type: batch.timestamp_type,
                            key: view.key,
                            value: view.value,
                            headers: view.headers,
                            leader_epoch: batch.leader_epoch,
                        });
                    }
                }
            }
            let next = self.batches.next()?;
            self.batch = Some(OpenedBatch {
                records: next.records(),
                first_offset: next.first_offset(),
                timestamp_type: next.header().timestamp_type(),
                leader_epoch: next.header().partition_leader_epoch,
            });
        }
    }
}

impl Record<'_> {
    /// Returns the partition.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }

    /// Copies the record out.
    pub fn to_owned_record(&self) -> OwnedRecord {
        self.with_topic(&Arc::from(self.topic))
    }

    fn with_topic(&self, topic: &Arc<str>) -> OwnedRecord {
        OwnedRecord {
            topic: topic.clone(),
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: self
                .headers
                .iter()
                .map(|header| (header.key_text().into_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
            leader_epoch: self.leader_epoch,
        }
    }
}
