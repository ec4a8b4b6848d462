//! What a poll hands out: records where they lie, without an allocation for any of them.
//!
//! A consumer that closes commits the latest poll if it was read to its end, so walks leave word of that:
//! each part counts its batches that were walked to their end, in order, and the records count the parts
//! that have some left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use kohort_client_core::consumer::TopicPartition;
use kohort_client_core::consumer::reader::OpenBatch;
use kohort_protocol::records::{BatchHeader, Headers, RecordIter, TimestampType};

use super::credits::Hold;

/// The records of one poll. They keep the memory they lie in; dropping them gives it back.
///
/// They are *read to the end* when all of them were walked over in any of the ways there are, or in several
/// together: by [`iter`](Self::iter), by [`of_partition`](Self::of_partition) of each partition, by all
/// [`batches`](Self::batches), each walked over and in their order, or by
/// [`to_owned_records`](Self::to_owned_records). A walk has come to its end when its iterator has returned
/// `None`, as a `for` loop waits for and `take(n)` may not. See [`Consumer::close`](super::Consumer::close)
/// for what that means.
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
    /// How many of the parts were not walked to their end yet.
    pub(super) unread: Arc<AtomicUsize>,
    /// Tells their reader that they are still there.
    pub(super) _lease: Option<Arc<()>>,
}

/// Batches of one partition, in order.
#[derive(Debug)]
pub(super) struct Part {
    partition: TopicPartition,
    batches: Vec<OpenBatch<Hold>>,
    /// How many of the batches, from the first on, were walked to their end.
    walked: AtomicUsize,
}

impl Part {
    pub(super) fn new(partition: TopicPartition, batches: Vec<OpenBatch<Hold>>) -> Self {
        Self { partition, batches, walked: AtomicUsize::new(0) }
    }

    /// Takes that a batch was walked to its end.
    fn walked(&self, batch: usize, unread: &AtomicUsize) {
        let next =
            self.walked.compare_exchange(batch, batch + 1, Ordering::Relaxed, Ordering::Relaxed);
        if next.is_ok() && batch + 1 == self.batches.len() {
            unread.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes that all batches were.
    fn all_walked(&self, unread: &AtomicUsize) {
        let all = self.batches.len();
        if self.walked.swap(all, Ordering::Relaxed) < all {
            unread.fetch_sub(1, Ordering::Relaxed);
        }
    }
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
    /// Unix milliseconds: when it was made, or when the broker appended it.
    pub timestamp: i64,
    /// Which of the two.
    pub timestamp_type: TimestampType,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// The epoch of the leader that appended it, or -1.
    pub leader_epoch: i32,
}

impl OwnedRecord {
    /// Returns the partition.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

/// A record in either form, borrowed or owned: what [`Typed::decode`](crate::codec::Typed::decode) reads.
pub trait ConsumedRecord {
    /// Returns the topic.
    fn topic(&self) -> &str;
    /// Returns the partition's number.
    fn partition(&self) -> i32;
    /// Returns the offset.
    fn offset(&self) -> i64;
    /// Returns the key.
    fn key(&self) -> Option<&[u8]>;
    /// Returns the value; none is a tombstone.
    fn value(&self) -> Option<&[u8]>;
}

impl ConsumedRecord for Record<'_> {
    fn topic(&self) -> &str {
        self.topic
    }

    fn partition(&self) -> i32 {
        self.partition
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        self.key
    }

    fn value(&self) -> Option<&[u8]> {
        self.value
    }
}

impl ConsumedRecord for OwnedRecord {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn partition(&self) -> i32 {
        self.partition
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
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
        Iter::over(&self.parts, &self.unread)
    }

    /// Returns the partitions that have records.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.parts.iter().map(|part| &part.partition)
    }

    /// Walks over the records of one partition.
    pub fn of_partition(&self, partition: &TopicPartition) -> Iter<'_> {
        let at = self.parts.iter().position(|part| part.partition == *partition);
        let parts = at.map_or(&[][..], |at| &self.parts[at..=at]);
        Iter::over(parts, &self.unread)
    }

    /// Walks over the batches: for what is done once for many records.
    pub fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        let unread = &*self.unread;
        self.parts.iter().flat_map(move |part| {
            (0..part.batches.len()).map(move |index| Batch { part, index, unread })
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
            part.all_walked(&self.unread);
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
    part: &'a Part,
    index: usize,
    unread: &'a AtomicUsize,
}

impl<'a> Batch<'a> {
    /// Returns the partition.
    pub fn partition(&self) -> &'a TopicPartition {
        &self.part.partition
    }

    fn open(&self) -> &'a OpenBatch<Hold> {
        &self.part.batches[self.index]
    }

    /// Returns how many records there are; an upper bound in a batch that begins before the position.
    pub fn len(&self) -> usize {
        self.open().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.open().is_empty()
    }

    /// Returns what the producer and the broker say of the batch.
    pub fn header(&self) -> &'a BatchHeader {
        self.open().header()
    }

    /// Walks over the records.
    pub fn iter(&self) -> Iter<'a> {
        Iter {
            part: Some(self.part),
            next: self.index,
            end: self.index + 1,
            ..Iter::over(&[], self.unread)
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
    /// The part at hand, the place in it of the next batch, and where to stop.
    part: Option<&'a Part>,
    next: usize,
    end: usize,
    parts: std::slice::Iter<'a, Part>,
    /// Where to leave word that a part was walked to its end.
    unread: &'a AtomicUsize,
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
    fn over(parts: &'a [Part], unread: &'a AtomicUsize) -> Self {
        Self { walk: None, part: None, next: 0, end: 0, parts: parts.iter(), unread }
    }

    /// Goes on to the next batch; false after the last one.
    #[inline(never)]
    fn advance(&mut self) -> bool {
        if let (Some(_), Some(part)) = (self.walk.take(), self.part) {
            part.walked(self.next - 1, self.unread);
        }
        loop {
            if let Some(part) = self.part
                && self.next < self.end
            {
                self.walk = Some(Walk::of(&part.partition, &part.batches[self.next]));
                self.next += 1;
                return true;
            }
            let Some(part) = self.parts.next() else { return false };
            (self.part, self.next, self.end) = (Some(part), 0, part.batches.len());
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    // In the application's own loop no field is put together that it does not look at.
    #[allow(clippy::inline_always, reason = "see the protocol's `RecordIter::next`")]
    #[inline(always)]
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

    #[allow(clippy::inline_always, reason = "as for `Iter::next`")]
    #[inline(always)]
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
            timestamp_type: self.timestamp_type,
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
