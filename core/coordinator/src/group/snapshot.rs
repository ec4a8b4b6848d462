//! What the log of a shard comes to, as records: to be replayed in place of the log.
//!
//! The shard need not stand still while it is written down. Of every key the last record decides, so
//! a snapshot taken slice by slice is right once the log is replayed over it from where it stood when
//! the first slice was taken: what was written down too early is overwritten, what was missed is added,
//! what went away in between goes again.

use std::ops::Bound;
use std::sync::Arc;

use super::record::GroupRecord;
use super::shard::GroupShard;

/// How far a snapshot has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// The group that was written down last, and of its offsets the last one. Whatever comes first by
    /// these names is done, be it there or not.
    last: Option<(Arc<str>, Option<OffsetKey>)>,
}

/// The topic and partition of a committed offset.
type OffsetKey = (Arc<str>, i32);

impl GroupShard {
    /// Returns records that make an empty shard equal to this one in [`GroupShard::hard_state`].
    pub fn snapshot(&self) -> Vec<GroupRecord> {
        let (records, rest) = self.snapshot_slice(&SnapshotPosition::default(), usize::MAX);
        assert!(rest.is_none(), "there is no limit");
        records
    }

    /// Returns the next records of a snapshot and, unless that is the end, from where to go on.
    ///
    /// There are about `records` of them, where a group counts as many as it has members.
    pub fn snapshot_slice(
        &self,
        from: &SnapshotPosition,
        records: usize,
    ) -> (Vec<GroupRecord>, Option<SnapshotPosition>) {
        let mut slice = Vec::new();
        let mut weight = 0;
        let start = match &from.last {
            Some((group, _)) => Bound::Included(group.clone()),
            None => Bound::Unbounded,
        };
        for (id, entry) in self.groups.range::<Arc<str>, _>((start, Bound::Unbounded)) {
            let resumed = from.last.as_ref().filter(|(group, _)| group == id);
            let position = |offset| SnapshotPosition { last: Some((id.clone(), offset)) };
            if let Some(consumer) = entry.group.consumer().filter(|_| resumed.is_none()) {
                let before = slice.len();
                let records = consumer.state().snapshot();
                let record = |record| GroupRecord::Consumer { group: id.clone(), record };
                slice.extend(records.map(record));
                weight += slice.len() - before;
            }
            let persisted = entry.group.persisted();
            if let Some(value) = persisted.filter(|_| resumed.is_none()) {
                weight += value.members.len() + 1;
                let (group, value) = (id.clone(), value.clone());
                slice.push(GroupRecord::GroupMetadata { group, value });
            }
            let last = resumed.and_then(|(_, offset)| offset.as_ref());
            if weight >= records {
                return (slice, Some(position(last.cloned())));
            }
            let last = last.map(|(topic, partition)| (&**topic, *partition));
            for (topic, offset) in entry.offsets.after(last) {
                weight += 1;
                let committed = (offset.partition, offset.to_committed());
                match slice.last_mut() {
                    Some(GroupRecord::OffsetCommit { group, topic: last, offsets })
                        if group == id && last == topic =>
                    {
                        offsets.push(committed);
                    }
                    _ => slice.push(GroupRecord::OffsetCommit {
                        group: id.clone(),
                        topic: topic.clone(),
                        offsets: vec![committed],
                    }),
                }
                if weight >= records {
                    return (slice, Some(position(Some((topic.clone(), offset.partition)))));
                }
            }
        }
        (slice, None)
    }
}
