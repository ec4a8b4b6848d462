//! The topics in service: names and ids on one side, partitions with their logs on the other.
//!
//! Written by the controller alone, after a change is durable; read by every handler.

use crate::config::TopicConfig;
use crate::partition::Partition;
use kohort_coordinator::{MetadataImage, TopicImage};
use kohort_protocol::Uuid;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The topic that committed offsets live in.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic that transactions live in.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// The topic that Kafka keeps the state of share groups in. Nothing is kept there here, and its name is
/// as reserved as in Kafka.
const SHARE_TOPIC: &str = "__share_group_state";

/// The topic that tells of every rebalance.
pub(crate) const EVENTS_TOPIC: &str = "__kohort_group_events";

/// A topic in service.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// Returns whether clients should leave the topic alone.
    pub(crate) fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// Returns the partition of that index.
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// Returns whether a topic of that name is the broker's own.
pub(crate) fn is_internal(name: &str) -> bool {
    [OFFSETS_TOPIC, TRANSACTIONS_TOPIC, SHARE_TOPIC, EVENTS_TOPIC].contains(&name)
}

/// All topics in service.
#[derive(Debug, Default)]
pub(crate) struct Topics(RwLock<Tables>);

#[derive(Debug, Default)]
struct Tables {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Topics {
    /// Returns the topic of that name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Topic>> {
        self.0.read().by_name.get(name).cloned()
    }

    /// Returns the topic with that id.
    pub(crate) fn with_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.0.read().by_id.get(&id).cloned()
    }

    /// Returns all topics in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.0.read().by_name.values().cloned().collect()
    }

    /// Returns what the group coordinator needs to know of them.
    pub(crate) fn image(&self) -> MetadataImage {
        let tables = self.0.read();
        tables
            .by_name
            .values()
            .map(|topic| TopicImage {
                name: Arc::clone(&topic.name),
                id: topic.id,
                partitions: topic.partitions.len() as i32,
            })
            .collect()
    }

    /// Puts a topic into service, or its new form in the place of the old.
    pub(super) fn put(&self, topic: Topic) {
        let topic = Arc::new(topic);
        let mut tables = self.0.write();
        tables.by_id.insert(topic.id, Arc::clone(&topic));
        tables.by_name.insert(Arc::clone(&topic.name), topic);
    }

    /// Takes a topic out of service.
    pub(super) fn remove(&self, id: Uuid) -> Option<Arc<Topic>> {
        let mut tables = self.0.write();
        let topic = tables.by_id.remove(&id)?;
        tables.by_name.remove(&topic.name);
        Some(topic)
    }
}
