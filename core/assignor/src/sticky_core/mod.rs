//! What the two sticky assignors share: who owned what, and the new division.
//!
//! Members and partitions are numbered (members by id, partitions by topic and index), so that the
//! work is done on arrays. If all members subscribe to the same topics, [`even`] gives each its
//! quota in one pass; otherwise [`uneven`] moves partitions from fuller to emptier members.

mod chain;
mod even;
mod numbers;
mod racks;
mod uneven;

use std::collections::BTreeMap;

use kohort_protocol::TopicPartition;

use self::numbers::{Member, Topic};
use self::racks::Racks;
use crate::{Assignment, ClusterTopics, MemberId, MemberSubscription};

/// What a member says it owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) partitions: Vec<TopicPartition>,
    pub(crate) generation_id: i32,
}

impl Default for Claims {
    fn default() -> Self {
        Self { partitions: Vec::new(), generation_id: NO_GENERATION }
    }
}

/// The generation of a member that was never in one, or is too old to say.
pub(crate) const NO_GENERATION: i32 = -1;

/// For each partition its new owner; `None` only if nobody subscribes or it is withheld.
pub(crate) type Owners = Vec<Option<Member>>;

/// Who owned a partition before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Previous {
    Nobody,
    /// One member, by the newest claim.
    Owner(Member),
    /// Several members claim it in the same generation.
    Disputed,
}

/// A group to be served.
pub(crate) struct Problem<'a> {
    members: Vec<&'a MemberId>,
    /// By name.
    topics: Vec<Topic<'a>>,
    partition_count: usize,
    previous: Vec<Previous>,
    racks: Option<Racks<'a>>,
}

impl<'a> Problem<'a> {
    /// Numbers everything. `claims` are the members' in the members' order.
    pub(crate) fn new(
        cluster: &'a ClusterTopics,
        members: &'a BTreeMap<MemberId, MemberSubscription>,
        claims: &[Claims],
    ) -> Self {
        let mut subscribers: BTreeMap<&str, Vec<Member>> = BTreeMap::new();
        for (number, member) in members.values().enumerate() {
            for topic in &member.topics {
                let subscribers = subscribers.entry(topic).or_default();
                if subscribers.last() != Some(&number) {
                    subscribers.push(number);
                }
            }
        }
        let mut partition_count = 0;
        let topics: Vec<Topic<'_>> = subscribers
            .into_iter()
            .filter_map(|(topic, subscribers)| {
                let (name, layout) = cluster.get(topic)?;
                let partitions = usize::try_from(layout.partition_count).unwrap_or(0);
                let start = partition_count;
                partition_count += partitions;
                Some(Topic { name, start, partitions, subscribers })
            })
            .collect();
        let racks = Racks::of(cluster, members, &topics);
        let mut problem = Self {
            racks,
            members: members.keys().collect(),
            topics,
            partition_count,
            previous: Vec::new(),
        };
        problem.previous = problem.settle(claims);
        problem
    }

    /// Divides all partitions.
    pub(crate) fn solve(&self) -> Owners {
        if self.members.is_empty() {
            return vec![None; self.partition_count];
        }
        let all_alike =
            self.topics.iter().all(|topic| topic.subscribers.len() == self.members.len());
        if all_alike { even::solve(self) } else { uneven::solve(self) }
    }

    /// Takes back every partition that somebody other than its new owner still owns.
    pub(crate) fn withhold_what_moves(&self, owners: &mut Owners) {
        for (owner, previous) in owners.iter_mut().zip(&self.previous) {
            let moves = match previous {
                Previous::Nobody => false,
                Previous::Owner(before) => *owner != Some(*before),
                Previous::Disputed => true,
            };
            if moves {
                *owner = None;
            }
        }
    }

    /// Turns numbers into names.
    pub(crate) fn assignments(&self, owners: &Owners) -> BTreeMap<MemberId, Assignment> {
        let mut parts = vec![Vec::new(); self.members.len()];
        for topic in &self.topics {
            for (partition, owner) in (0..).zip(&owners[topic.start..][..topic.partitions]) {
                if let Some(owner) = owner {
                    parts[*owner].push(TopicPartition::new(topic.name.clone(), partition));
                }
            }
        }
        self.members
            .iter()
            .zip(parts)
            .map(|(id, partitions)| ((*id).clone(), Assignment::from(partitions)))
            .collect()
    }

    /// Finds each partition's previous owner: the newest generation's claim.
    fn settle(&self, claims: &[Claims]) -> Vec<Previous> {
        let mut previous = vec![Previous::Nobody; self.partition_count];
        let mut generations = vec![NO_GENERATION; self.partition_count];
        for (member, claims) in claims.iter().enumerate() {
            let generation = claims.generation_id;
            for claim in &claims.partitions {
                let Some(number) = self.number_of(claim) else {
                    continue;
                };
                let newest = match previous[number] {
                    Previous::Nobody => Previous::Owner(member),
                    _ if generation > generations[number] => Previous::Owner(member),
                    _ if generation < generations[number] => continue,
                    Previous::Owner(other) if other == member => continue,
                    Previous::Owner(_) | Previous::Disputed => Previous::Disputed,
                };
                previous[number] = newest;
                generations[number] = generation;
            }
        }
        previous
    }

    /// Returns a partition's number; `None` if it no longer exists or nobody wants it.
    fn number_of(&self, partition: &TopicPartition) -> Option<usize> {
        let at =
            self.topics.binary_search_by(|topic| topic.name.as_ref().cmp(&partition.topic)).ok()?;
        let topic = &self.topics[at];
        let index = usize::try_from(partition.partition).ok()?;
        (index < topic.partitions).then_some(topic.start + index)
    }
}
