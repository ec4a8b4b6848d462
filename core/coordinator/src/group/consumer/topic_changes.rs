//! Which topics changed, and how those were called that are gone: a group keeps its partitions by the ids of their
//! topics, and a rebalance is told by names.
//!
//! It is soft state: after a restart, topics that went before have no names any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_protocol::Uuid;

use crate::metadata::MetadataImage;

/// The topics that changed since the group last looked, and the names of those that went.
#[derive(Debug, Default)]
pub(super) struct TopicChanges {
    changed: BTreeSet<Arc<str>>,
    /// Kept until nobody has a partition of them.
    gone: BTreeMap<Uuid, Arc<str>>,
}

impl TopicChanges {
    /// Takes in that these topics are not as they were in the older image. Only partitions of the group's own can
    /// be in somebody's hands.
    pub(super) fn note(
        &mut self,
        old: &MetadataImage,
        new: &MetadataImage,
        changed: &BTreeSet<Arc<str>>,
        is_ours: impl Fn(&str) -> bool,
    ) {
        self.changed.extend(changed.iter().cloned());
        let gone = changed.iter().filter(|name| is_ours(name)).filter_map(|name| old.topic(name));
        let gone = gone.filter(|topic| new.topic_by_id(topic.id).is_none());
        self.gone.extend(gone.map(|topic| (topic.id, topic.name.clone())));
    }

    /// Returns those of the topics that changed, and how many more did than are worth telling.
    pub(super) fn those_in(&self, topics: &BTreeSet<Arc<str>>) -> (Vec<Arc<str>>, usize) {
        let mut changed: Vec<_> = self.changed.intersection(topics).cloned().collect();
        let omitted = changed.len().saturating_sub(TOLD_MAX);
        changed.truncate(TOLD_MAX);
        (changed, omitted)
    }

    /// Drops what changed without being anything to the group.
    pub(super) fn forget_changed(&mut self) {
        self.changed.clear();
    }

    /// Drops the names of topics that are gone: nobody has a partition of them, or it is told.
    pub(super) fn forget_gone(&mut self) {
        self.gone.clear();
    }

    /// Returns the name of a topic that is there or was lately.
    pub(super) fn name<'a>(
        &'a self,
        image: &'a MetadataImage,
        topic: Uuid,
    ) -> Option<&'a Arc<str>> {
        let there = image.topic_by_id(topic).map(|topic| &topic.name);
        there.or_else(|| self.gone.get(&topic))
    }
}

/// How many names a cause tells. A pattern may match ten thousand topics, and all of them may go at once.
const TOLD_MAX: usize = 32;
