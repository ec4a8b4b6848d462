//! Neighbouring partitions of each topic to each member.
//!
//! With p partitions and m members, the first p mod m members get one partition more than the rest.
//! Members are served in the same order for every topic, so topics with equal partitions and equal
//! subscribers are co-partitioned: partition 3 of each goes to the same member.
//!
//! Where members and replicas tell their racks and not every rack has every partition, a first pass
//! gives each member partitions with a replica in its rack, within the same quotas; partitions
//! of co-partitioned topics still move together (KIP-881). What is left goes out as above.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use kohort_protocol::TopicPartition;

use crate::{
    Assignment, Assignor, ClusterTopics, MemberId, MemberSubscription, RebalanceProtocol,
    TopicLayout, in_service_order,
};

/// Kafka's `range`, its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeAssignor;

impl RangeAssignor {
    /// The name members agree on.
    pub const NAME: &str = "range";
}

impl Assignor for RangeAssignor {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn protocols(&self) -> &[RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn assign(
        &self,
        topics: &ClusterTopics,
        members: &BTreeMap<MemberId, MemberSubscription>,
    ) -> BTreeMap<MemberId, Assignment> {
        let order = in_service_order(members);
        let racks: Vec<Option<&str>> = order
            .iter()
            .map(|id| members[*id].rack_id.as_deref().filter(|rack| !rack.is_empty()))
            .collect();
        let mut subscribers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, id) in order.iter().enumerate() {
            for topic in members[*id].topics.iter().collect::<BTreeSet<_>>() {
                subscribers.entry(topic).or_default().push(place);
            }
        }
        let mut states: Vec<TopicState<'_>> = subscribers
            .into_iter()
            .filter_map(|(topic, subscribers)| {
                let (name, layout) = topics.get(topic)?;
                Some(TopicState::new(name, layout, subscribers, &racks))
            })
            .collect();

        if states.iter().any(|state| state.needs_racks) {
            assign_within_racks(&mut states, &racks);
        }
        for state in &mut states {
            state.assign_ranges(|_, _| true);
        }

        let mut parts = vec![Vec::new(); order.len()];
        for state in &states {
            for (partition, owner) in (0..).zip(&state.owners) {
                let owner = owner.expect("a topic with subscribers is given out whole");
                let place = state.subscribers[owner];
                parts[place].push(TopicPartition::new(state.name.clone(), partition));
            }
        }
        order
            .into_iter()
            .zip(parts)
            .map(|(id, partitions)| (id.clone(), Assignment::from(partitions)))
            .collect()
    }
}

/// A topic while it is given out. Subscribers are named by their place in the topic's own list.
struct TopicState<'a> {
    name: &'a Arc<str>,
    replica_racks: &'a [BTreeSet<Arc<str>>],
    subscribers: Vec<usize>,
    needs_racks: bool,
    owners: Vec<Option<usize>>,
    counts: Vec<usize>,
    quota: usize,
    /// How many members may still get one more than the quota.
    extras: usize,
}

impl<'a> TopicState<'a> {
    fn new(
        name: &'a Arc<str>,
        layout: &'a TopicLayout,
        subscribers: Vec<usize>,
        racks: &[Option<&str>],
    ) -> Self {
        let partitions = usize::try_from(layout.partition_count).unwrap_or(0);
        let member_racks: BTreeSet<&str> =
            subscribers.iter().filter_map(|place| racks[*place]).collect();
        Self {
            name,
            replica_racks: &layout.replica_racks,
            needs_racks: needs_racks(&member_racks, partitions, &layout.replica_racks),
            owners: vec![None; partitions],
            counts: vec![0; subscribers.len()],
            quota: partitions / subscribers.len(),
            extras: partitions % subscribers.len(),
            subscribers,
        }
    }

    /// Returns how many more partitions a subscriber may get.
    fn room(&self, subscriber: usize) -> usize {
        (self.quota + usize::from(self.extras > 0)).saturating_sub(self.counts[subscriber])
    }

    fn assign(&mut self, partition: usize, subscriber: usize) {
        self.owners[partition] = Some(subscriber);
        self.counts[subscriber] += 1;
        if self.counts[subscriber] > self.quota {
            self.extras -= 1;
        }
    }

    /// Gives each subscriber in turn the first free partitions it may have, up to its quota.
    fn assign_ranges(&mut self, may_have: impl Fn(usize, usize) -> bool) {
        let mut first_free = 0;
        for subscriber in 0..self.subscribers.len() {
            while self.owners.get(first_free).is_some_and(Option::is_some) {
                first_free += 1;
            }
            let mut room = self.room(subscriber);
            for partition in first_free..self.owners.len() {
                if room == 0 {
                    break;
                }
                if self.owners[partition].is_none() && may_have(subscriber, partition) {
                    self.assign(partition, subscriber);
                    room -= 1;
                }
            }
        }
    }
}

/// Racks matter when members are where replicas are, and not all replicas are everywhere.
fn needs_racks(
    member_racks: &BTreeSet<&str>,
    partitions: usize,
    replica_racks: &[BTreeSet<Arc<str>>],
) -> bool {
    let all: BTreeSet<&str> = replica_racks.iter().flatten().map(|rack| &**rack).collect();
    !member_racks.is_disjoint(&all)
        && (replica_racks.len() < partitions
            || replica_racks.iter().any(|racks| racks.len() != all.len()))
}

/// A member that does not tell its rack is at home everywhere.
fn is_near(rack: Option<&str>, replica_racks: &[BTreeSet<Arc<str>>], partition: usize) -> bool {
    rack.is_none_or(|rack| replica_racks.get(partition).is_some_and(|racks| racks.contains(rack)))
}

fn assign_within_racks(states: &mut [TopicState<'_>], racks: &[Option<&str>]) {
    let mut alike: BTreeMap<(Vec<usize>, usize), Vec<usize>> = BTreeMap::new();
    for (index, state) in states.iter().enumerate() {
        alike.entry((state.subscribers.clone(), state.owners.len())).or_default().push(index);
    }
    for ((subscribers, partitions), indexes) in alike {
        if let [index] = indexes[..] {
            let state = &mut states[index];
            if state.needs_racks {
                let replica_racks = state.replica_racks;
                state.assign_ranges(|subscriber, partition| {
                    is_near(racks[subscribers[subscriber]], replica_racks, partition)
                });
            }
        } else {
            assign_together(states, &indexes, &subscribers, partitions, racks);
        }
    }
}

/// Gives the same partition of all of `indexes`' topics to the first member that is near all of
/// them and has room.
fn assign_together(
    states: &mut [TopicState<'_>],
    indexes: &[usize],
    subscribers: &[usize],
    partitions: usize,
    racks: &[Option<&str>],
) {
    for partition in 0..partitions {
        let found = (0..subscribers.len()).find(|subscriber| {
            let rack = racks[subscribers[*subscriber]];
            indexes.iter().map(|index| &states[*index]).all(|state| {
                state.room(*subscriber) > 0 && is_near(rack, state.replica_racks, partition)
            })
        });
        if let Some(subscriber) = found {
            for index in indexes {
                states[*index].assign(partition, subscriber);
            }
        }
    }
}
