//! The coordinator's own assignors, for groups of the new protocol (KIP-848).
//!
//! The coordinator calls one of them when its group's epoch has gone up; what comes out is the
//! group's *target*: what each member shall have once everybody has given up what moves. Nothing
//! here knows how that is brought about.
//!
//! | assignor | gives | moves |
//! |---|---|---|
//! | [`UniformAssignor`] | as even as possible | as little as possible |
//! | [`RangeAssignor`] | neighbouring partitions, the same of each topic to the same member | whatever falls out |
//!
//! For the same group and topics both give what Apache Kafka's give, who walks its hash tables where
//! these walk in the order of ids. Racks are passed on for assignors of others: Kafka's use none
//! since 4.0, and so do these.

mod balance;
mod heterogeneous;
mod homogeneous;
mod partitions;
mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use kohort_protocol::Uuid;

pub use partitions::{PartitionId, PartitionSet};
pub use range::RangeAssignor;
pub use uniform::UniformAssignor;

/// A way to divide partitions among the members of a group of the new protocol.
pub trait ServerAssignor: Debug + Send + Sync {
    /// Returns the name members ask for it by.
    fn name(&self) -> &'static str;

    /// Divides the partitions of all subscribed topics. The same input gives the same output.
    fn assign(
        &self,
        group: &GroupSpec,
        topics: &dyn Topics,
    ) -> Result<GroupAssignment, AssignError>;
}

/// What an assignor may know of the cluster.
pub trait Topics {
    /// Returns how many partitions the topic has, or `None` if there is no such topic.
    fn partition_count(&self, topic: Uuid) -> Option<i32>;
}

impl Topics for BTreeMap<Uuid, i32> {
    fn partition_count(&self, topic: Uuid) -> Option<i32> {
        self.get(&topic).copied()
    }
}

/// A group that needs a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupSpec {
    /// Everyone in the group, by member id.
    pub members: BTreeMap<Arc<str>, MemberSpec>,
}

/// A member of a group that needs a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberSpec {
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The rack the member stands in.
    pub rack_id: Option<Arc<str>>,
    /// The topics the member subscribes to, those that exist. Members that want the same may share it.
    pub topics: Arc<BTreeSet<Uuid>>,
    /// The member's part of the target so far.
    pub target: Arc<PartitionSet>,
}

/// A group's target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupAssignment {
    /// What each member shall have. Everyone in the group is in it, and who keeps what it had shares
    /// it with the [`MemberSpec`].
    pub members: BTreeMap<Arc<str>, Arc<PartitionSet>>,
}

/// Why there is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignError {
    /// A member subscribes to a topic that does not exist.
    #[error("there is no topic with the id {0}")]
    UnknownTopic(Uuid),
}

/// Returns the assignor of Kafka with this name, if there is one.
///
/// ```
/// let assignor = kohort_assignor::server::by_name("uniform").expect("it is one of Kafka's");
/// assert_eq!(assignor.name(), "uniform");
/// ```
pub fn by_name(name: &str) -> Option<Arc<dyn ServerAssignor>> {
    match name {
        UniformAssignor::NAME => Some(Arc::new(UniformAssignor)),
        RangeAssignor::NAME => Some(Arc::new(RangeAssignor)),
        _ => None,
    }
}

impl GroupSpec {
    /// Says whether all members subscribe to the same topics.
    fn is_homogeneous(&self) -> bool {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return true };
        members.all(|member| {
            Arc::ptr_eq(&member.topics, &first.topics) || member.topics == first.topics
        })
    }
}

/// Returns the number of partitions of a topic that a member subscribes to.
fn partition_count(topics: &dyn Topics, topic: Uuid) -> Result<usize, AssignError> {
    let count = topics.partition_count(topic).ok_or(AssignError::UnknownTopic(topic))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// A topic while it is given out.
struct Topic {
    id: Uuid,
    /// The member that has each partition, by its place in the group.
    owners: Vec<Option<u32>>,
}

impl Topic {
    fn new(id: Uuid, topics: &dyn Topics) -> Result<Self, AssignError> {
        Ok(Self { id, owners: vec![None; partition_count(topics, id)?] })
    }

    /// Gives a partition to the member who has it in the target so far; returns its place. `None` is a
    /// partition that does not exist or that another member has as well: such a target is damaged,
    /// and the one who comes first keeps it.
    fn claim(&mut self, partition: i32, member: usize) -> Option<usize> {
        let place = usize::try_from(partition).ok()?;
        let owner = self.owners.get_mut(place)?;
        if owner.is_some() {
            return None;
        }
        *owner = Some(member as u32);
        Some(place)
    }
}

/// Puts a target together from the owners of topics, which are in the order of their ids. Members
/// whose part is what it was share it.
fn collect<'a>(group: &GroupSpec, topics: impl IntoIterator<Item = &'a Topic>) -> GroupAssignment {
    let mut parts = vec![Vec::new(); group.members.len()];
    for topic in topics {
        for (index, owner) in (0..).zip(&topic.owners) {
            if let Some(owner) = owner {
                parts[*owner as usize].push(PartitionId { topic: topic.id, index });
            }
        }
    }
    let members = group.members.iter().zip(parts).map(|((id, member), part)| {
        let part = if member.target.iter().eq(part.iter().copied()) {
            member.target.clone()
        } else {
            Arc::new(part.into_iter().collect())
        };
        (id.clone(), part)
    });
    GroupAssignment { members: members.collect() }
}
