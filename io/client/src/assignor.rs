//! Dividing a classic group's partitions in a way of one's own.
//!
//! An [`Assignor`] is registered with [`ConsumerBuilder::assignor`](crate::consumer::ConsumerBuilder::assignor)
//! beside Kafka's, which `partition.assignment.strategy` names. The group's members agree on one that
//! all of them support, by its name; the member that leads the group calls [`Assignor::assign`] with
//! what each member said of itself, and each member hears what it got by [`Assignor::on_assignment`].
//! One that panics ends the membership: [`Consumer::poll`](crate::consumer::Consumer::poll) tells what it said.
//!
//! ```
//! use std::collections::BTreeMap;
//! use kohort::TopicPartition;
//! use kohort::assignor::{
//!     Assignment, Assignor, ClusterTopics, MemberId, MemberSubscription, RebalanceProtocol,
//! };
//!
//! /// Gives everything to the member whose id comes first: one works, the others stand by.
//! #[derive(Debug)]
//! struct StandBy;
//!
//! impl Assignor for StandBy {
//!     fn name(&self) -> &str {
//!         "stand-by"
//!     }
//!
//!     fn protocols(&self) -> &[RebalanceProtocol] {
//!         &[RebalanceProtocol::Eager]
//!     }
//!
//!     fn assign(
//!         &self,
//!         topics: &ClusterTopics,
//!         members: &BTreeMap<MemberId, MemberSubscription>,
//!     ) -> BTreeMap<MemberId, Assignment> {
//!         let mut shares: BTreeMap<_, _> =
//!             members.keys().map(|member| (member.clone(), Assignment::default())).collect();
//!         if let Some((member, subscription)) = members.iter().next() {
//!             let share = shares.get_mut(member).expect("each member has an entry");
//!             for (topic, layout) in subscription.topics.iter().filter_map(|it| topics.get(it)) {
//!                 let all = 0..layout.partition_count;
//!                 share.partitions.extend(all.map(|it| TopicPartition::new(topic.clone(), it)));
//!             }
//!         }
//!         shares
//!     }
//! }
//!
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let consumer = kohort::consumer::Consumer::builder()
//!     .bootstrap_servers("localhost:9092")
//!     .group_id("billing")
//!     .assignor(StandBy)
//!     .build()?;
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
pub use kohort_assignor::{
    Assignment, Assignor, ClusterTopics, CooperativeStickyAssignor, MemberId, MemberSubscription,
    RangeAssignor, RebalanceProtocol, RoundRobinAssignor, StickyAssignor, TopicLayout, by_name,
};

use crate::net::unbound;

/// An application's assignor, run on the client's thread. What it is called and can do is asked once, on
/// the application's.
#[derive(Debug)]
pub(crate) struct Unbound<A> {
    assignor: A,
    name: String,
    protocols: Vec<RebalanceProtocol>,
}

impl<A: Assignor> Unbound<A> {
    pub(crate) fn new(assignor: A) -> Self {
        let (name, protocols) = (assignor.name().to_owned(), assignor.protocols().to_vec());
        Self { assignor, name, protocols }
    }
}

impl<A: Assignor> Assignor for Unbound<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn protocols(&self) -> &[RebalanceProtocol] {
        &self.protocols
    }

    fn subscription_user_data(&self) -> Option<Bytes> {
        unbound(|| self.assignor.subscription_user_data())
    }

    fn assign(
        &self,
        topics: &ClusterTopics,
        members: &BTreeMap<MemberId, MemberSubscription>,
    ) -> BTreeMap<MemberId, Assignment> {
        unbound(|| self.assignor.assign(topics, members))
    }

    fn on_assignment(&mut self, assignment: &Assignment, generation_id: i32) {
        unbound(|| self.assignor.on_assignment(assignment, generation_id));
    }
}
