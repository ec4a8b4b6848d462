//! One committed offset, and those of one topic, as they are kept in memory.

use std::sync::Arc;

use kohort_protocol::Uuid;

use super::room_for_one_more;
use crate::group::committed_offset::CommittedOffset;
use crate::shard::Timestamp;

/// A committed offset in 48 bytes: what few of them have is kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredOffset {
    pub(crate) partition: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    pub(crate) commit_timestamp: Timestamp,
    pub(crate) topic_id: Uuid,
    extra: Option<Box<Extra>>,
}

/// What a client may add to an offset and seldom does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extra {
    metadata: Option<Box<str>>,
    expire_timestamp: Option<Timestamp>,
}

impl StoredOffset {
    #[inline]
    pub(crate) fn new(partition: i32, offset: &CommittedOffset) -> Self {
        let CommittedOffset { metadata, expire_timestamp, .. } = offset;
        let plain = metadata.is_none() && expire_timestamp.is_none();
        let extra = || Extra { metadata: metadata.clone(), expire_timestamp: *expire_timestamp };
        Self {
            partition,
            leader_epoch: offset.leader_epoch,
            offset: offset.offset,
            commit_timestamp: offset.commit_timestamp,
            topic_id: offset.topic_id,
            extra: (!plain).then(|| Box::new(extra())),
        }
    }

    /// Returns the client's own text.
    pub(crate) fn metadata(&self) -> Option<&str> {
        self.extra.as_ref()?.metadata.as_deref()
    }

    /// Returns when it expires, if it says so itself.
    pub(crate) fn expire_timestamp(&self) -> Option<Timestamp> {
        self.extra.as_ref()?.expire_timestamp
    }

    /// Returns it as the log keeps it.
    pub(crate) fn to_committed(&self) -> CommittedOffset {
        CommittedOffset {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata().map(Box::from),
            commit_timestamp: self.commit_timestamp,
            expire_timestamp: self.expire_timestamp(),
            topic_id: self.topic_id,
        }
    }
}

/// The committed offsets of one topic, in the order of the partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicOffsets {
    name: Arc<str>,
    offsets: Vec<StoredOffset>,
}

impl TopicOffsets {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, offsets: Vec::new() }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(crate) fn get(&self, partition: i32) -> Option<&StoredOffset> {
        self.find(partition).ok().map(|at| &self.offsets[at])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &StoredOffset> {
        self.offsets.iter()
    }

    /// Returns the offsets from after a partition on, or all.
    pub(super) fn after(&self, last: Option<i32>) -> impl Iterator<Item = &StoredOffset> {
        let from = last.map_or(0, |last| self.find(last).map_or_else(|at| at, |at| at + 1));
        self.offsets[from..].iter()
    }

    #[inline]
    pub(super) fn put(&mut self, offset: StoredOffset) {
        match self.find(offset.partition) {
            Ok(at) => self.offsets[at] = offset,
            Err(at) => {
                let (length, capacity) = (self.offsets.len(), self.offsets.capacity());
                self.offsets.reserve_exact(room_for_one_more(length, capacity));
                self.offsets.insert(at, offset);
            }
        }
    }

    pub(super) fn remove(&mut self, partition: i32) {
        if let Ok(at) = self.find(partition) {
            self.offsets.remove(at);
        }
    }

    #[inline]
    fn find(&self, partition: i32) -> Result<usize, usize> {
        // Partitions mostly have offsets from 0 on, so each is where its number says.
        let expected = usize::try_from(partition).ok();
        if let Some(at) = expected
            && self.offsets.get(at).is_some_and(|offset| offset.partition == partition)
        {
            return Ok(at);
        }
        self.offsets.binary_search_by_key(&partition, |offset| offset.partition)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.offsets.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_takes_48_bytes() {
        assert_eq!(size_of::<StoredOffset>(), 48);
    }
}
