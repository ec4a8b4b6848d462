//! Committed offsets: kept per group, topic and partition until they are deleted or expire.

mod commit;
mod delete;
mod expiry;
mod fetch;
mod stored;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::committed_offset::CommittedOffset;
use super::record::GroupRecord;

pub(crate) use commit::{commit, refuse_commit};
pub(crate) use delete::delete;
pub(crate) use expiry::{Sweep, TopicSweep};
pub(crate) use fetch::{fetch, refuse_fetch};
pub(crate) use stored::{StoredOffset, TopicOffsets};

/// The committed offsets of one group. Hard state: only replay writes it.
///
/// Most groups have few topics, and there are many groups. So this is a list in the order of the
/// topics' names, without room to spare: an empty place in a tree costs as much as a full one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupOffsets(Vec<TopicOffsets>);

impl GroupOffsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(TopicOffsets::len).sum()
    }

    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&StoredOffset> {
        self.topic(topic)?.get(partition)
    }

    pub(crate) fn topic(&self, topic: &str) -> Option<&TopicOffsets> {
        self.find(topic).ok().map(|at| &self.0[at])
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicOffsets> {
        self.0.iter()
    }

    /// Returns the offsets in order of topic and partition, from after one of them or from the first.
    pub(crate) fn after(
        &self,
        last: Option<(&str, i32)>,
    ) -> impl Iterator<Item = (&Arc<str>, &StoredOffset)> {
        let (from, within) = match last {
            None => (0, None),
            Some((topic, partition)) => match self.find(topic) {
                Ok(at) => (at, Some(partition)),
                Err(at) => (at, None),
            },
        };
        self.0[from..].iter().enumerate().flat_map(move |(number, topic)| {
            let last = within.filter(|_| number == 0);
            topic.after(last).map(move |offset| (topic.name(), offset))
        })
    }

    /// Returns a tombstone for every offset that `which` picks.
    pub(crate) fn tombstones<'a>(
        &'a self,
        group: &'a Arc<str>,
        which: impl Fn(&str, &StoredOffset) -> bool + 'a,
    ) -> impl Iterator<Item = GroupRecord> + 'a {
        self.after(None).filter(move |(topic, offset)| which(topic, offset)).map(
            |(topic, offset)| GroupRecord::OffsetCommitTombstone {
                group: group.clone(),
                topic: topic.clone(),
                partition: offset.partition,
            },
        )
    }

    /// Stores offsets of a topic. Called by replay only.
    pub(crate) fn put(
        &mut self,
        names: &mut TopicNames,
        topic: &Arc<str>,
        offsets: &[(i32, CommittedOffset)],
    ) {
        let at = self.find(topic).unwrap_or_else(|at| {
            self.0.reserve_exact(room_for_one_more(self.0.len(), self.0.capacity()));
            self.0.insert(at, TopicOffsets::new(names.intern(topic)));
            at
        });
        for (partition, offset) in offsets {
            self.0[at].put(StoredOffset::new(*partition, offset));
        }
    }

    /// Forgets an offset, if it is there. Called by replay only.
    pub(crate) fn remove(&mut self, topic: &str, partition: i32) {
        let Ok(at) = self.find(topic) else {
            return;
        };
        self.0[at].remove(partition);
        if self.0[at].is_empty() {
            self.0.remove(at);
        }
    }

    fn find(&self, topic: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|known| (**known.name()).cmp(topic))
    }
}

/// Returns how much a full list is to grow: by half, and not to four places at once, of which three
/// would stay empty in most groups.
fn room_for_one_more(length: usize, capacity: usize) -> usize {
    if length < capacity { 0 } else { length / 2 + 1 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::Uuid;
    use std::collections::BTreeMap;

    fn offset(offset: i64) -> CommittedOffset {
        CommittedOffset {
            offset,
            leader_epoch: 3,
            metadata: (offset % 3 == 0).then(|| "text".into()),
            commit_timestamp: 7,
            expire_timestamp: (offset % 4 == 0).then_some(9),
            topic_id: Uuid([1; 16]),
        }
    }

    /// Runs puts and removals beside a plain map and compares all that can be seen.
    #[test]
    fn offsets_are_kept_as_a_map_keeps_them() {
        let mut names = TopicNames::default();
        let mut offsets = GroupOffsets::default();
        let mut model: BTreeMap<(String, i32), CommittedOffset> = BTreeMap::new();
        let mut random = 1_u64;
        for number in 0..3000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let topic: Arc<str> = format!("t{}", (random >> 40) % 7).into();
            let partition = ((random >> 33) % 9) as i32;
            if (random >> 50).is_multiple_of(3) {
                offsets.remove(&topic, partition);
                model.remove(&(topic.to_string(), partition));
            } else {
                offsets.put(&mut names, &topic, &[(partition, offset(number))]);
                model.insert((topic.to_string(), partition), offset(number));
            }
            let read = |(topic, stored): (&Arc<str>, &StoredOffset)| {
                ((topic.to_string(), stored.partition), stored.to_committed())
            };
            assert_eq!(offsets.after(None).map(read).collect::<BTreeMap<_, _>>(), model);
            assert_eq!((offsets.len(), offsets.is_empty()), (model.len(), model.is_empty()));
            let last = (topic.to_string(), partition);
            let after: Vec<_> = offsets.after(Some((&topic, partition))).map(read).collect();
            let expected: Vec<_> = model
                .range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(after, expected);
        }
    }

    #[test]
    fn a_group_with_one_offset_has_room_for_one() {
        let mut offsets = GroupOffsets::default();
        offsets.put(&mut TopicNames::default(), &"t".into(), &[(0, offset(1))]);
        assert_eq!((offsets.0.capacity(), offsets.0[0].capacity()), (1, 1));
    }
}
