//! Neighbouring partitions of each topic to each member.
//!
//! With p partitions and m subscribers, the first p mod m of them get one partition more than the
//! rest. Subscribers are served in the same order for every topic, so topics with equal partitions
//! and equal subscribers are co-partitioned: partition 3 of each goes to the same member. What
//! members have already is not looked at; only the order is lasting, and that for static members.

use std::collections::BTreeMap;

use super::{
    AssignError, GroupAssignment, GroupSpec, MemberSpec, ServerAssignor, Topic, Topics, collect,
};

/// Kafka's `range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeAssignor;

impl RangeAssignor {
    /// The name members ask for it by.
    pub const NAME: &str = "range";
}

impl ServerAssignor for RangeAssignor {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn assign(
        &self,
        group: &GroupSpec,
        topics: &dyn Topics,
    ) -> Result<GroupAssignment, AssignError> {
        let mut subscribers: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for (place, member) in in_service_order(group) {
            for topic in &*member.topics {
                subscribers.entry(*topic).or_default().push(place);
            }
        }
        let mut given = Vec::with_capacity(subscribers.len());
        for (id, subscribers) in subscribers {
            let mut topic = Topic::new(id, topics)?;
            give_ranges(&mut topic.owners, &subscribers);
            given.push(topic);
        }
        Ok(collect(group, &given))
    }
}

/// Returns the members and their places in the group: static ones first, by instance id, so that a
/// restarted one is served where it was before, then the others by member id.
fn in_service_order(group: &GroupSpec) -> Vec<(u32, &MemberSpec)> {
    let mut order: Vec<_> = (0..).zip(group.members.values()).collect();
    order.sort_by_key(|(place, member)| {
        (member.instance_id.is_none(), member.instance_id.as_deref(), *place)
    });
    order
}

fn give_ranges(owners: &mut [Option<u32>], subscribers: &[u32]) {
    let (quota, extras) = (owners.len() / subscribers.len(), owners.len() % subscribers.len());
    let mut left = owners;
    for (turn, subscriber) in subscribers.iter().enumerate() {
        let (range, rest) = left.split_at_mut(quota + usize::from(turn < extras));
        range.fill(Some(*subscriber));
        left = rest;
    }
}
