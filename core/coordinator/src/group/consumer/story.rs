//! The story of a rebalance, from its first cause until every member has what it is to have.
//!
//! It is soft state: after a restart the rest of a rebalance goes untold.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_assignor::server::PartitionId;

use crate::group::causes::Causes;
use crate::group::event::{Move, Owner, Rebalance};
use crate::metadata::MetadataImage;
use crate::shard::Timestamp;

/// A rebalance that has not ended, as it will be told when it has.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) causes: Causes,
    /// When the last target assignment was made.
    pub(super) assigned: Timestamp,
    pub(super) members_before: Vec<Arc<str>>,
    /// The partitions that went out of somebody's hands, or came into them.
    pub(super) moved: BTreeMap<PartitionId, Moved>,
    /// Those that were given to somebody just now.
    pub(super) given: Vec<PartitionId>,
}

/// Where a partition was and where it is.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Who had it first, and since when it was free.
    pub(super) from: Option<(Arc<str>, Timestamp)>,
    pub(super) to: Option<Owner>,
}

impl Story {
    /// Returns what was given just now and somebody had before.
    pub(super) fn take_given(&mut self, image: &MetadataImage) -> Vec<Move> {
        let given = std::mem::take(&mut self.given).into_iter();
        let moved = given.filter_map(|place| self.moved.get(&place)?.told(place, image));
        moved.filter(|moved| moved.from.is_some()).take(Rebalance::MAX_MOVES).collect()
    }

    /// Returns the moves as they are told, and how many more there were.
    pub(super) fn told_moves(&mut self, image: &MetadataImage) -> (Vec<Move>, usize) {
        let moved = std::mem::take(&mut self.moved).into_iter();
        let mut moves: Vec<_> =
            moved.filter_map(|(partition, moved)| moved.told(partition, image)).collect();
        moves.sort_by_key(|one| one.to.is_none());
        let omitted = moves.len().saturating_sub(Rebalance::MAX_MOVES);
        moves.truncate(Rebalance::MAX_MOVES);
        (moves, omitted)
    }
}

impl Moved {
    /// Returns the move as it is told; `None` if the partition is where it was, or its topic is gone.
    fn told(&self, partition: PartitionId, image: &MetadataImage) -> Option<Move> {
        let topic = image.topic_by_id(partition.topic)?.name.clone();
        let (from, unserved_since) = self.from.clone().unzip();
        let same = self.to.as_ref().is_some_and(|to| from.as_ref() == Some(&to.member));
        let to = self.to.clone();
        (!same).then_some(Move { topic, partition: partition.index, from, to, unserved_since })
    }
}
