//! Sets of partitions by topic id.

use kohort_protocol::Uuid;

/// A partition by its topic's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic.
    pub topic: Uuid,
    /// The partition, counted from 0.
    pub index: i32,
}

/// Partitions in order, each once.
///
/// A flat list: members have few partitions and lists of thousands are only ever walked from end to
/// end, so a tree would do nothing better, and a list takes a third of its memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionSet(Vec<PartitionId>);

impl PartitionSet {
    /// Returns the partitions in order.
    pub fn iter(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.0.iter().copied()
    }

    /// Returns whether the partition is in the set.
    pub fn contains(&self, partition: PartitionId) -> bool {
        self.0.binary_search(&partition).is_ok()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of partitions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns each topic with its partitions.
    pub fn by_topic(&self) -> impl Iterator<Item = (Uuid, Vec<i32>)> + '_ {
        self.0
            .chunk_by(|one, other| one.topic == other.topic)
            .map(|chunk| (chunk[0].topic, chunk.iter().map(|partition| partition.index).collect()))
    }
}

impl FromIterator<PartitionId> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = PartitionId>>(partitions: I) -> Self {
        let mut list: Vec<_> = partitions.into_iter().collect();
        if !list.is_sorted_by(|one, other| one < other) {
            list.sort_unstable();
            list.dedup();
        }
        list.shrink_to_fit();
        Self(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_in_order_and_has_each_partition_once() {
        let partition = |topic, index| PartitionId { topic: Uuid([topic; 16]), index };
        let set: PartitionSet =
            [partition(2, 0), partition(1, 3), partition(2, 0), partition(1, 1)]
                .into_iter()
                .collect();
        let expected = [partition(1, 1), partition(1, 3), partition(2, 0)];
        assert_eq!(set.iter().collect::<Vec<_>>(), expected);
        let by_topic: Vec<_> = set.by_topic().collect();
        assert_eq!(by_topic, [(Uuid([1; 16]), vec![1, 3]), (Uuid([2; 16]), vec![0])]);
        assert!(set.contains(partition(1, 3)) && !set.contains(partition(1, 2)));
    }
}
