//! Committed offsets: kept per group, topic and partition until they are deleted or expire.

mod commit;
mod delete;
mod expiry;
mod fetch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::record::{CommittedOffset, GroupRecord};

pub(crate) use commit::{commit, refuse_commit};
pub(crate) use delete::delete;
pub(crate) use expiry::{Sweep, TopicSweep};
pub(crate) use fetch::{fetch, refuse_fetch};

/// The committed offsets of one group. Hard state: only replay writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupOffsets(BTreeMap<Arc<str>, BTreeMap<i32, CommittedOffset>>);

impl GroupOffsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.0.get(topic)?.get(&partition)
    }

    pub(crate) fn topic(&self, topic: &str) -> Option<&BTreeMap<i32, CommittedOffset>> {
        self.0.get(topic)
    }

    pub(crate) fn topics(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<i32, CommittedOffset>)> {
        self.0.iter()
    }

    /// Returns a tombstone for every offset that `which` picks.
    pub(crate) fn tombstones<'a>(
        &'a self,
        group: &'a Arc<str>,
        which: impl Fn(&str, &CommittedOffset) -> bool + 'a,
    ) -> impl Iterator<Item = GroupRecord> + 'a {
        let offsets = self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, offset)| (topic, *partition, offset))
        });
        offsets.filter(move |(topic, _, offset)| which(topic, offset)).map(
            |(topic, partition, _)| GroupRecord::OffsetCommitTombstone {
                group: group.clone(),
                topic: topic.clone(),
                partition,
            },
        )
    }

    /// Stores an offset. Called by replay only.
    pub(crate) fn put(
        &mut self,
        names: &mut TopicNames,
        topic: &Arc<str>,
        partition: i32,
        offset: CommittedOffset,
    ) {
        if let Some(partitions) = self.0.get_mut(topic) {
            partitions.insert(partition, offset);
        } else {
            let partitions = BTreeMap::from([(partition, offset)]);
            self.0.insert(names.intern(topic), partitions);
        }
    }

    /// Forgets an offset, if it is there. Called by replay only.
    pub(crate) fn remove(&mut self, topic: &str, partition: i32) {
        let Some(partitions) = self.0.get_mut(topic) else {
            return;
        };
        partitions.remove(&partition);
        if partitions.is_empty() {
            self.0.remove(topic);
        }
    }
}

/// The topic names of a shard, each kept once however many groups use it.
#[derive(Debug, Default)]
pub(crate) struct TopicNames(BTreeSet<Arc<str>>);

impl TopicNames {
    fn intern(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        self.0.insert(name.clone());
        name.clone()
    }

    /// Drops the names nobody uses any more.
    pub(crate) fn forget_unused(&mut self) {
        self.0.retain(|name| Arc::strong_count(name) > 1);
    }
}
