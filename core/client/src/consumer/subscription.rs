//! Which topics are wanted, and whether what the group knows of them has changed.
//!
//! Topics are named, or a pattern is matched against all topics of each new picture of the cluster,
//! and what matches is subscribed to like names (so do Kafka's clients under the classic protocol).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

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
    /// Whichever topics match, the latest picture of the cluster having these.
    Pattern(Pattern, BTreeSet<TopicName>),
    /// Whichever topics the coordinator finds to match.
    Regex(Regex),
    /// These partitions, and no group has a say.
    Partitions(BTreeSet<TopicPartition>),
}

impl Subscription {
    /// Returns the names of all topics involved.
    pub fn topics(&self) -> BTreeSet<TopicName> {
        match self {
            Self::None | Self::Regex(_) => BTreeSet::new(),
            Self::Topics(topics) | Self::Pattern(_, topics) => topics.clone(),
            Self::Partitions(partitions) => partitions.iter().map(|it| it.topic.clone()).collect(),
        }
    }

    /// Whether partitions are assigned by hand.
    pub fn is_manual(&self) -> bool {
        matches!(self, Self::Partitions(_))
    }
}

/// An expression for the coordinator, in the syntax of RE2 (KIP-848).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regex {
    /// The expression, as the coordinator gets it.
    pub text: Arc<str>,
    /// The same for a client that has to match by itself, if it can read the expression.
    pub here: Option<Pattern>,
}

/// Says which topics are meant.
#[derive(Clone)]
pub struct Pattern {
    /// How the application wrote it.
    pub text: Arc<str>,
    /// Whether the broker's own topics are left out although they match.
    pub exclude_internal: bool,
    /// Whether a topic of this name is meant.
    pub matches: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl Pattern {
    /// Returns the topics that match.
    pub fn resolve(&self, view: &MetadataView) -> BTreeSet<TopicName> {
        view.topics()
            .filter(|topic| !(topic.internal && self.exclude_internal))
            .filter(|topic| (self.matches)(&topic.name))
            .map(|topic| topic.name.clone())
            .collect()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.exclude_internal == other.exclude_internal
    }
}

impl Eq for Pattern {}

/// The partition counts an assignment was made for: when they change, the leader joins again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssignedFor(BTreeMap<TopicName, Option<usize>>);

impl AssignedFor {
    /// Takes the counts of these topics; a topic that does not exist has none.
    pub fn of(topics: impl IntoIterator<Item = TopicName>, view: &MetadataView) -> Self {
        let count = |topic: &str| view.topic(topic).map_or(0, |topic| topic.partitions.len());
        Self(topics.into_iter().map(|topic| (topic.clone(), Some(count(&topic)))).collect())
    }

    /// Takes topics whose assignment somebody else made, by counts nobody told us: those seen first
    /// have to be taken for them.
    pub fn unseen(topics: impl IntoIterator<Item = TopicName>) -> Self {
        Self(topics.into_iter().map(|topic| (topic, None)).collect())
    }

    /// Takes the counts of topics that are seen for the first time.
    pub fn learn(&mut self, view: &MetadataView) {
        for (topic, count) in &mut self.0 {
            *count = count.or_else(|| Some(view.topic(topic)?.partitions.len()));
        }
    }

    /// Names the first topic whose count differs by now.
    pub fn changed(&self, view: &MetadataView) -> Option<&TopicName> {
        let differs = |(topic, count): &(&TopicName, &Option<usize>)| {
            // A topic that vanished from one picture may only be late in it: only what is seen counts.
            let seen = view.topic(topic).map(|seen| seen.partitions.len());
            seen.is_some_and(|seen| count.is_some_and(|count| seen != count))
        };
        self.0.iter().find(differs).map(|(topic, _)| topic)
    }

    /// Returns the topics.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.0.keys()
    }
}
