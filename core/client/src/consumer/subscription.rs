//! Which topics are wanted, and whether what the group knows of them has changed.
//!
//! Topics are named. A pattern (the next kind) is resolved against the cluster's topics by whoever
//! holds the matcher, and its matches are set here like names.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{TopicName, TopicPartition};
use crate::metadata::MetadataView;

/// What the application asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Subscription {
    /// Nothing.
    #[default]
    None,
    /// Whole topics, whose partitions the group shares out.
    Topics(BTreeSet<TopicName>),
    /// These partitions, and no group has a say.
    Partitions(BTreeSet<TopicPartition>),
}

impl Subscription {
    /// Returns the names of all topics involved.
    pub fn topics(&self) -> BTreeSet<TopicName> {
        match self {
            Self::None => BTreeSet::new(),
            Self::Topics(topics) => topics.clone(),
            Self::Partitions(partitions) => partitions.iter().map(|it| it.topic.clone()).collect(),
        }
    }

    /// Whether partitions are assigned by hand.
    pub fn is_manual(&self) -> bool {
        matches!(self, Self::Partitions(_))
    }
}

/// The partition counts an assignment was made for: when they change, the leader joins again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssignedFor(BTreeMap<TopicName, usize>);

impl AssignedFor {
    /// Takes the counts of these topics; a topic that does not exist has none.
    pub fn of(topics: impl IntoIterator<Item = TopicName>, view: &MetadataView) -> Self {
        let count = |topic: &str| view.topic(topic).map_or(0, |topic| topic.partitions.len());
        Self(topics.into_iter().map(|topic| (topic.clone(), count(&topic))).collect())
    }

    /// Names the first topic whose count differs by now.
    pub fn changed(&self, view: &MetadataView) -> Option<&TopicName> {
        let differs = |(topic, count): &(&TopicName, &usize)| {
            // A topic that vanished from one picture may only be late in it: only what is seen counts.
            view.topic(topic).is_some_and(|seen| seen.partitions.len() != **count)
        };
        self.0.iter().find(differs).map(|(topic, _)| topic)
    }

    /// Returns the topics.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.0.keys()
    }
}
