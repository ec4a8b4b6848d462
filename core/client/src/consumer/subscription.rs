//! Which topics are wanted, and whether what the group knows of them has changed.
//!
//! Topics are named, or a pattern is matched against all topics of each new picture of the cluster,
//! and what matches is subscribed to like names (so do Kafka's clients under the classic protocol).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::group_protocol::replica_racks;
use super::types::{TopicName, TopicPartition};
use crate::metadata::{MetadataView, PartitionView};

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

/// What an assignment was made for: when it changes, the leader joins again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssignedFor {
    topics: BTreeMap<TopicName, Counted>,
    by_rack: bool,
}

/// What is known of a topic's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Counted {
    /// So many were assigned, with replicas in these racks if racks count; `missed` says that the latest
    /// picture did not have the topic.
    Partitions { count: usize, racks: Vec<BTreeSet<Arc<str>>>, missed: bool },
    /// Nobody has told yet.
    Unseen,
}

impl Counted {
    fn of(topic: &str, view: &MetadataView, by_rack: bool) -> Self {
        let partitions = view.topic(topic).map_or(&[][..], |topic| &topic.partitions);
        let with_racks = if by_rack { partitions } else { &[] };
        let racks = with_racks.iter().map(|it| replica_racks(it, view)).collect();
        Self::Partitions { count: partitions.len(), racks, missed: false }
    }
}

impl AssignedFor {
    /// Takes these topics as they are seen; a topic that does not exist has no partitions. `by_rack` tells
    /// whether members are to read in their own racks (KIP-881).
    pub fn of(
        topics: impl IntoIterator<Item = TopicName>,
        view: &MetadataView,
        by_rack: bool,
    ) -> Self {
        let counted = |topic: TopicName| (topic.clone(), Counted::of(&topic, view, by_rack));
        Self { topics: topics.into_iter().map(counted).collect(), by_rack }
    }

    /// Takes topics whose assignment somebody else made, by what nobody told us: what is seen first
    /// has to be taken for it.
    pub fn unseen(topics: impl IntoIterator<Item = TopicName>, by_rack: bool) -> Self {
        let topics = topics.into_iter().map(|topic| (topic, Counted::Unseen));
        Self { topics: topics.collect(), by_rack }
    }

    /// Takes the same topics as they are seen now.
    pub fn renew(&mut self, view: &MetadataView) {
        *self = Self::of(std::mem::take(&mut self.topics).into_keys(), view, self.by_rack);
    }

    /// Takes topics that are seen for the first time.
    pub fn learn(&mut self, view: &MetadataView) {
        for (topic, counted) in &mut self.topics {
            if matches!(counted, Counted::Unseen) && view.topic(topic).is_some() {
                *counted = Counted::of(topic, view, self.by_rack);
            }
        }
    }

    /// Says what the first topic that differs in a new picture differs in. One that vanished may only be
    /// late in it: it has to be missing from two in a row.
    pub fn changed(&mut self, view: &MetadataView) -> Option<String> {
        let mut changed = None;
        for (topic, counted) in &mut self.topics {
            let Counted::Partitions { count, racks, missed } = counted else { continue };
            let seen = view.topic(topic);
            let gone = seen.is_none() && *count > 0 && view.says_gone(topic);
            if seen.is_some_and(|seen| seen.partitions.len() != *count) || (gone && *missed) {
                changed =
                    changed.or(Some(format!("the number of partitions of `{topic}` changed")));
            } else if seen.is_some_and(|seen| have_moved(racks, &seen.partitions, view)) {
                changed =
                    changed.or(Some(format!("the replicas of `{topic}` moved to other racks")));
            }
            *missed = gone;
        }
        changed
    }
}

/// Whether replicas are in other racks than before. A node that is down is not in the picture and tells no
/// rack; it is where it was.
fn have_moved(
    before: &[BTreeSet<Arc<str>>],
    partitions: &[PartitionView],
    view: &MetadataView,
) -> bool {
    let is_whole = |it: &PartitionView| it.replicas.iter().all(|node| view.broker(*node).is_some());
    let mut both = before.iter().zip(partitions);
    both.any(|(before, it)| is_whole(it) && replica_racks(it, view) != *before)
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
        let mut assigned = AssignedFor::of([TopicName::from("t")], &there, false);
        assert_eq!(assigned.changed(&gone), None);
        assert_eq!(assigned.changed(&there), None, "it was only late");
        assert_eq!(assigned.changed(&gone), None);
        assert_eq!(
            assigned.changed(&gone).as_deref(),
            Some("the number of partitions of `t` changed")
        );
        let mut without = AssignedFor::of([TopicName::from("t")], &gone, false);
        assert_eq!(without.changed(&gone), None);
        assert_eq!(without.changed(&gone), None, "it was assigned without it");
    }

    #[test]
    fn a_picture_that_does_not_speak_of_a_topic_says_nothing_about_it() {
        let there = see(&MetadataView::default(), ErrorCode::NONE);
        let mut assigned = AssignedFor::of([TopicName::from("t")], &there, false);
        let silent = there.retain_topics(|_| false);
        assert_eq!(assigned.changed(&silent), None);
        assert_eq!(assigned.changed(&silent), None);
    }
}
