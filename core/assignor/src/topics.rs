//! What an assignor needs to know of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The topics that exist, with their partitions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterTopics {
    topics: BTreeMap<Arc<str>, TopicLayout>,
}

/// A topic's partitions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicLayout {
    /// How many partitions there are.
    pub partition_count: i32,
    /// For each partition the racks of its replicas; shorter or empty where racks are not known.
    pub replica_racks: Vec<BTreeSet<Arc<str>>>,
}

impl ClusterTopics {
    /// Creates an empty cluster.
    pub const fn new() -> Self {
        Self { topics: BTreeMap::new() }
    }

    /// Adds or replaces a topic whose racks are not known.
    pub fn insert(&mut self, topic: impl Into<Arc<str>>, partition_count: i32) {
        self.insert_layout(topic, TopicLayout { partition_count, replica_racks: Vec::new() });
    }

    /// Adds or replaces a topic.
    pub fn insert_layout(&mut self, topic: impl Into<Arc<str>>, layout: TopicLayout) {
        self.topics.insert(topic.into(), layout);
    }

    /// Returns a topic under the name as it is shared here.
    pub fn get(&self, topic: &str) -> Option<(&Arc<str>, &TopicLayout)> {
        self.topics.get_key_value(topic)
    }
}

impl<T: Into<Arc<str>>> FromIterator<(T, i32)> for ClusterTopics {
    fn from_iter<I: IntoIterator<Item = (T, i32)>>(topics: I) -> Self {
        let mut cluster = Self::new();
        for (topic, partition_count) in topics {
            cluster.insert(topic, partition_count);
        }
        cluster
    }
}
