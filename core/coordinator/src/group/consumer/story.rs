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
}

/// Where a partition was and where it is.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Who had it first, and since when it was free.
    pub(super) from: Option<(Arc<str>, Timestamp)>,
    pub(super) to: Option<Owner>,
}

impl Story {
    /// Returns the moves as they are told, and how many more there were.
    pub(super) fn told_moves(&mut self, image: &MetadataImage) -> (Vec<Move>, usize) {
        let told = |(partition, moved): (PartitionId, Moved)| {
            let topic = image.topic_by_id(partition.topic)?.name.clone();
            let Moved { from, to } = moved;
            let same = to
                .as_ref()
                .is_some_and(|to| from.as_ref().is_some_and(|(member, _)| *member == to.member));
            (!same).then(|| Move {
                topic,
                partition: partition.index,
                unserved_since: from.as_ref().map(|(_, since)| *since),
                from: from.map(|(member, _)| member),
                to,
            })
        };
        let moved = std::mem::take(&mut self.moved);
        let mut moves: Vec<_> = moved.into_iter().filter_map(told).collect();
        moves.sort_by_key(|one| one.to.is_none());
        let omitted = moves.len().saturating_sub(Rebalance::MAX_MOVES);
        moves.truncate(Rebalance::MAX_MOVES);
        (moves, omitted)
    }
}
