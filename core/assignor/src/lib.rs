//! Who gets which partitions: Kafka's assignors as pure functions.
//!
//! Groups of the new protocol are divided by the coordinator: see [`server`]. What follows is of
//! classic groups, whose members divide the partitions among themselves.
//!
//! The leader of a classic group receives every member's subscription, calls
//! [`Assignor::assign`] and sends each member its part. Nothing here knows of requests or time, and
//! the same input gives the same output on every machine.
//!
//! | assignor | gives | moves on a rebalance |
//! |---|---|---|
//! | [`RangeAssignor`] | neighbouring partitions, the same of each topic to the same member | whatever falls out |
//! | [`RoundRobinAssignor`] | one after the other over all topics | whatever falls out |
//! | [`StickyAssignor`] | as even as possible | as little as possible |
//! | [`CooperativeStickyAssignor`] | as even as possible | as little as possible, in two steps without stopping the rest |
//!
//! Follows KIP-54 (sticky), KIP-429 (cooperative), KIP-792 (generations in subscriptions) and
//! KIP-881 (racks, by the range assignor and the sticky ones).

pub mod consumer_protocol;
mod cooperative_sticky;
mod range;
mod round_robin;
pub mod server;
mod sticky;
mod sticky_core;
mod topics;

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
pub use consumer_protocol::{Assignment, MemberSubscription};
pub use cooperative_sticky::CooperativeStickyAssignor;
pub use kohort_protocol::TopicPartition;
pub use range::RangeAssignor;
pub use round_robin::RoundRobinAssignor;
pub use sticky::StickyAssignor;
pub use topics::{ClusterTopics, TopicLayout};

/// A member's id, as the coordinator gave it out.
pub type MemberId = String;

/// How members behave while a group rebalances (KIP-429).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RebalanceProtocol {
    /// Every member gives up everything before it joins again.
    Eager,
    /// Members keep what they own and give up only what moves; what moves reaches its new owner in
    /// a second rebalance.
    Cooperative,
}

/// A way to divide partitions among the members of a classic group.
pub trait Assignor: Debug + Send + Sync {
    /// Returns the name members agree on in JoinGroup.
    fn name(&self) -> &str;

    /// Returns the rebalance protocols this supports, the preferred one first.
    fn protocols(&self) -> &[RebalanceProtocol];

    /// Returns what a member adds to its subscription for the leader's copy of this assignor.
    fn subscription_user_data(&self) -> Option<Bytes> {
        None
    }

    /// Divides the partitions of all subscribed topics that `topics` knows.
    ///
    /// The result has an entry for every member, empty or not.
    fn assign(
        &self,
        topics: &ClusterTopics,
        members: &BTreeMap<MemberId, MemberSubscription>,
    ) -> BTreeMap<MemberId, Assignment>;

    /// Tells what this member got, and in which generation.
    fn on_assignment(&mut self, assignment: &Assignment, generation_id: i32) {
        let _ = (assignment, generation_id);
    }
}

/// Returns the assignor of Kafka with this name, if there is one.
///
/// ```
/// let assignor = kohort_assignor::by_name("cooperative-sticky").expect("it is one of Kafka's");
/// assert_eq!(assignor.name(), "cooperative-sticky");
/// ```
pub fn by_name(name: &str) -> Option<Box<dyn Assignor>> {
    match name {
        RangeAssignor::NAME => Some(Box::new(RangeAssignor)),
        RoundRobinAssignor::NAME => Some(Box::new(RoundRobinAssignor)),
        StickyAssignor::NAME => Some(Box::<StickyAssignor>::default()),
        CooperativeStickyAssignor::NAME => Some(Box::<CooperativeStickyAssignor>::default()),
        _ => None,
    }
}

/// Returns member ids in the order range and round-robin serve them: static members first, by
/// instance id, so that a restarted one is served where it was before, then the others by member id.
fn in_service_order(members: &BTreeMap<MemberId, MemberSubscription>) -> Vec<&MemberId> {
    let mut order: Vec<_> = members
        .iter()
        .map(|(id, member)| {
            let instance = member.group_instance_id.as_deref();
            (instance.is_none(), instance, id)
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, id)| id).collect()
}
