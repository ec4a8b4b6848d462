//! Partitions dealt out one by one over all topics.
//!
//! A member that is not subscribed to a partition's topic is passed over and loses its turn, as with
//! Kafka's assignor, so groups of mixed subscriptions may come out uneven.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::TopicPartition;

use crate::{
    Assignment, Assignor, ClusterTopics, MemberId, MemberSubscription, RebalanceProtocol,
    in_service_order,
};

/// Kafka's `roundrobin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoundRobinAssignor;

impl RoundRobinAssignor {
    /// The name members agree on.
    pub const NAME: &str = "roundrobin";
}

impl Assignor for RoundRobinAssignor {
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
        let mut parts = vec![Vec::new(); order.len()];
        // For each topic which of the members, by their place in the order, subscribe to it.
        let mut subscribers: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (place, id) in order.iter().enumerate() {
            for topic in &members[*id].topics {
                subscribers.entry(topic).or_default().insert(place);
            }
        }
        let mut turn = 0;
        for (topic, subscribers) in subscribers {
            let Some((name, layout)) = topics.get(topic) else {
                continue;
            };
            for partition in 0..layout.partition_count {
                let next = subscribers.range(turn..).next().or(subscribers.first());
                let place = *next.expect("a topic is listed because somebody subscribes to it");
                parts[place].push(TopicPartition::new(name.clone(), partition));
                turn = (place + 1) % order.len();
            }
        }
        order
            .into_iter()
            .zip(parts)
            .map(|(id, partitions)| (id.clone(), Assignment::from(partitions)))
            .collect()
    }
}
