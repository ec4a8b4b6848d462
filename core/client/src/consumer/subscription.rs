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

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::None
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
pub struct AssignedFor(BTreeMap<TopicName, Counted>);

/// What is known of a topic's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// So many were assigned; `missed` says that the latest picture did not have the topic.
    Partitions { count: usize, missed: bool },
    /// Nobody has told yet.
    Unseen,
}

impl AssignedFor {
    /// Takes the counts of these topics; a topic that does not exist has none.
    pub fn of(topics: impl IntoIterator<Item = TopicName>, view: &MetadataView) -> Self {
        let count = |topic: &str| view.topic(topic).map_or(0, |topic| topic.partitions.len());
        let counted = |topic: &str| Counted::Partitions { count: count(topic), missed: false };
        Self(topics.into_iter().map(|topic| (topic.clone(), counted(&topic))).collect())
    }

    /// Takes topics whose assignment somebody else made, by counts nobody told us: those seen first
    /// have to be taken for them.
    pub fn unseen(topics: impl IntoIterator<Item = TopicName>) -> Self {
        Self(topics.into_iter().map(|topic| (topic, Counted::Unseen)).collect())
    }

    /// Takes the counts of topics that are seen for the first time.
    pub fn learn(&mut self, view: &MetadataView) {
        for (topic, counted) in &mut self.0 {
            if let (Counted::Unseen, Some(seen)) = (*counted, view.topic(topic)) {
                *counted = Counted::Partitions { count: seen.partitions.len(), missed: false };
            }
        }
    }

    /// Names the first topic whose count differs in a new picture. One that vanished may only be late in
    /// it: it has to be missing from two in a row.
    pub fn changed(&mut self, view: &MetadataView) -> Option<&TopicName> {
        let mut changed = None;
        for (topic, counted) in &mut self.0 {
            let Counted::Partitions { count, missed } = counted else { continue };
            let seen = view.topic(topic).map(|seen| seen.partitions.len());
            let gone = seen.is_none() && *count > 0 && view.says_gone(topic);
            if seen.is_some_and(|seen| seen != *count) || (gone && *missed) {
                changed = changed.or(Some(topic));
            }
            *missed = gone;
        }
        changed
    }

    /// Returns the topics.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.0.keys()
    }
}

#[cfg(test)]
mod tests {
    use kohort_protocol::ErrorCode;
    use kohort_protocol::messages::metadata::{
        MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
    };

    use super::*;
    use crate::metadata::MetadataScope;

    /// Returns the picture after one of `t` that says this of it.
    fn see(view: &MetadataView, error_code: ErrorCode) -> MetadataView {
        let partitions = match error_code {
            ErrorCode::NONE => vec![MetadataResponsePartition::default()],
            _ => Vec::new(),
        };
        let name = Some("t".to_owned());
        let topic = MetadataResponseTopic { name, error_code, partitions, ..Default::default() };
        let answer = MetadataResponse { topics: vec![topic], ..Default::default() };
        view.merge(&answer, 13, MetadataScope::SomeTopics).0
    }

    #[test]
    fn a_topic_is_gone_once_two_pictures_in_a_row_say_so() {
        let there = see(&MetadataView::default(), ErrorCode::NONE);
        let gone = see(&there, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let mut assigned = AssignedFor::of([TopicName::from("t")], &there);
        assert_eq!(assigned.changed(&gone), None);
        assert_eq!(assigned.changed(&there), None, "it was only late");
        assert_eq!(assigned.changed(&gone), None);
        assert_eq!(assigned.changed(&gone).map(|it| &**it), Some("t"));
        let mut without = AssignedFor::of([TopicName::from("t")], &gone);
        assert_eq!(without.changed(&gone), None);
        assert_eq!(without.changed(&gone), None, "it was assigned without it");
    }

    #[test]
    fn a_picture_that_does_not_speak_of_a_topic_says_nothing_about_it() {
        let there = see(&MetadataView::default(), ErrorCode::NONE);
        let mut assigned = AssignedFor::of([TopicName::from("t")], &there);
        let silent = there.retain_topics(|_| false);
        assert_eq!(assigned.changed(&silent), None);
        assert_eq!(assigned.changed(&silent), None);
    }
}
