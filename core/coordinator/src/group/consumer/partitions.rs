//! What a member owns: partitions in order, each with an epoch. What members report and are to have are
//! the assignors' own sets, of the same shape.

use kohort_assignor::server::PartitionId;
use kohort_protocol::Uuid;

/// Partitions in order, each once, with the epoch in which the owner was given it (KIP-1251).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedPartitions(Vec<(PartitionId, i32)>);

impl OwnedPartitions {
    /// Returns the partitions in order, each with its epoch.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, i32)> + '_ {
        self.0.iter().copied()
    }

    /// Returns the partitions in order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.0.iter().map(|(partition, _)| *partition)
    }

    /// Returns in which epoch the partition was given, if it is there.
    pub fn epoch(&self, partition: PartitionId) -> Option<i32> {
        let found = self.0.binary_search_by_key(&partition, |(partition, _)| *partition);
        found.ok().map(|at| self.0[at].1)
    }

    /// Tells whether the partition is there.
    pub fn contains(&self, partition: PartitionId) -> bool {
        self.epoch(partition).is_some()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of partitions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns each topic with its partitions and their epochs.
    pub fn by_topic(&self) -> impl Iterator<Item = (Uuid, Vec<i32>, Vec<i32>)> + '_ {
        self.0.chunk_by(|one, other| one.0.topic == other.0.topic).map(|chunk| {
            let (indexes, epochs) =
                chunk.iter().map(|(partition, epoch)| (partition.index, *epoch)).unzip();
            (chunk[0].0.topic, indexes, epochs)
        })
    }

    /// Returns the same partitions as if given in `epoch`.
    #[must_use]
    pub fn with_epoch(&self, epoch: i32) -> Self {
        Self(self.0.iter().map(|(partition, _)| (*partition, epoch)).collect())
    }
}

impl FromIterator<(PartitionId, i32)> for OwnedPartitions {
    /// Of a partition named twice the first counts.
    fn from_iter<I: IntoIterator<Item = (PartitionId, i32)>>(partitions: I) -> Self {
        let mut list: Vec<_> = partitions.into_iter().collect();
        if !list.is_sorted_by(|one, other| one.0 < other.0) {
            list.sort_by_key(|(partition, _)| *partition);
            list.dedup_by_key(|(partition, _)| *partition);
        }
        list.shrink_to_fit();
        Self(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: u8, index: i32) -> PartitionId {
        PartitionId { topic: Uuid([topic; 16]), index }
    }

    #[test]
    fn owned_partitions_keep_their_epochs() {
        let owned: OwnedPartitions =
            [(partition(1, 2), 7), (partition(1, 0), 5)].into_iter().collect();
        assert_eq!(owned.epoch(partition(1, 2)), Some(7));
        assert_eq!(owned.epoch(partition(1, 1)), None);
        let by_topic: Vec<_> = owned.by_topic().collect();
        assert_eq!(by_topic, [(Uuid([1; 16]), vec![0, 2], vec![5, 7])]);
    }
}
