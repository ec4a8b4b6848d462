//! Why a group rebalances, from the first cause on: what both protocols note, and what one hands to the other
//! when the group changes its protocol while it rebalances.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::{CauseKind, Rebalance, RebalanceCause};
use super::who::Roll;
use crate::shard::Timestamp;

/// The causes of a rebalance that has not ended.
#[derive(Debug, Clone)]
pub(crate) struct Causes {
    pub(crate) noted: Vec<RebalanceCause>,
    pub(crate) omitted: usize,
    /// When the first one appeared.
    pub(crate) started: Timestamp,
}

/// A topic's name and a partition.
pub(crate) type Place = (Arc<str>, i32);

/// Partitions that had an owner and have none now: whose they were, and until when.
pub(crate) type Orphans = BTreeMap<Place, (Arc<str>, Timestamp)>;

/// What a group that changes its protocol takes along of the rebalance under way.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Why it rebalances, if it does already.
    pub(crate) causes: Option<Causes>,
    /// The members before.
    pub(crate) members_before: Vec<Arc<str>>,
    /// Who those are, and the ones that came since.
    pub(crate) roll: Roll,
    /// What nobody has.
    pub(crate) orphans: Orphans,
    /// Whether a part of it is told already.
    pub(crate) continues: bool,
}

impl Causes {
    pub(crate) fn new(started: Timestamp) -> Self {
        Self { noted: Vec::new(), omitted: 0, started }
    }

    /// Tells whether nothing happened but that static members came back, which by itself asks nobody to
    /// rebalance.
    pub(crate) fn are_of_a_take_over(&self) -> bool {
        let came_back =
            |it: &RebalanceCause| matches!(it.kind, CauseKind::StaticMemberReplaced { .. });
        let goes_with_it =
            |it: &RebalanceCause| matches!(it.kind, CauseKind::ProtocolChanged { .. });
        self.noted.iter().any(came_back)
            && self.noted.iter().all(|it| came_back(it) || goes_with_it(it))
    }

    /// Adds one, or counts it if there are too many.
    pub(crate) fn add(&mut self, at: Timestamp, kind: CauseKind) {
        if self.noted.len() < Rebalance::MAX_CAUSES {
            self.noted.push(RebalanceCause { at, kind });
        } else {
            self.omitted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_beyond_the_limit_are_counted_only() {
        let mut causes = Causes::new(0);
        for at in 0..Rebalance::MAX_CAUSES as Timestamp + 2 {
            causes.add(at, CauseKind::OverCapacity { members: 1 });
        }
        assert_eq!((causes.noted.len(), causes.omitted), (Rebalance::MAX_CAUSES, 2));
    }
}
