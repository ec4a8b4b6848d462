//! Which members are near which partitions (KIP-881).
//!
//! Racks count only where they can make a difference: some member is in the rack of some replica, and
//! not every rack has every partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::numbers::{Member, Topic};
use crate::{ClusterTopics, MemberId, MemberSubscription};

/// See the [module](self).
pub(super) struct Racks<'a> {
    members: Vec<Option<&'a str>>,
    partitions: Vec<Option<&'a BTreeSet<Arc<str>>>>,
    /// How many members are near each partition.
    near: Vec<usize>,
}

impl<'a> Racks<'a> {
    /// Returns the racks, if they count.
    pub(super) fn of(
        cluster: &'a ClusterTopics,
        members: &'a BTreeMap<MemberId, MemberSubscription>,
        topics: &[Topic<'a>],
    ) -> Option<Self> {
        let members: Vec<Option<&str>> = members
            .values()
            .map(|member| member.rack_id.as_deref().filter(|rack| !rack.is_empty()))
            .collect();
        if members.iter().all(Option::is_none) {
            return None;
        }
        let mut partitions = Vec::new();
        for topic in topics {
            let layout = cluster.get(topic.name).map(|(_, layout)| layout);
            let racks = |index: usize| layout.and_then(|layout| layout.replica_racks.get(index));
            partitions.extend((0..topic.partitions).map(racks));
        }
        let all: BTreeSet<&str> =
            partitions.iter().flatten().flat_map(|racks| racks.iter()).map(|it| &**it).collect();
        let some_match = members.iter().flatten().any(|rack| all.contains(rack));
        let mut known = partitions.iter().map(|racks| racks.map_or(0, BTreeSet::len));
        let everywhere = known.all(|racks| racks == all.len());
        if !some_match || everywhere {
            return None;
        }
        let mut racks = Self { members, partitions, near: Vec::new() };
        racks.near = (0..racks.partitions.len())
            .map(|partition| {
                (0..racks.members.len()).filter(|it| racks.is_near(*it, partition)).count()
            })
            .collect();
        Some(racks)
    }

    /// Whether the member is in the rack of a replica.
    pub(super) fn is_near(&self, member: Member, partition: usize) -> bool {
        self.members[member]
            .is_some_and(|rack| self.partitions[partition].is_some_and(|it| it.contains(rack)))
    }

    /// Whether the member is in a rack without a replica.
    pub(super) fn is_far(&self, member: Member, partition: usize) -> bool {
        self.members[member].is_some() && !self.is_near(member, partition)
    }

    /// Returns how many members are near a partition.
    pub(super) fn near(&self, partition: usize) -> usize {
        self.near[partition]
    }
}
