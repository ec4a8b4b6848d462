//! What a coordinator needs to know of the cluster: its topics by name and id with their partition
//! counts, and properties that groups have of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_protocol::Uuid;

/// One topic as a coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    /// The topic's name.
    pub name: Arc<str>,
    /// The topic's id. A topic created anew under an old name has another one.
    pub id: Uuid,
    /// How many partitions it has, numbered from 0.
    pub partitions: i32,
}

/// What a group's own properties say, where they say anything. They are within the broker's bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupProperties {
    /// After which silence a consumer group's member is put out.
    pub consumer_session_timeout_ms: Option<i32>,
    /// How often a consumer group's members are to say that they live.
    pub consumer_heartbeat_interval_ms: Option<i32>,
    /// How long at least lies between two assignments of a consumer group.
    pub consumer_assignment_interval_ms: Option<i32>,
}

/// All topics of the cluster at one moment, and all groups' properties. Cloning it is cheap.
///
/// The image is complete: a topic that is not in it does not exist. Coordinators derive deletions
/// from that, so a deletion whose consequences were lost in a crash is made good by the next image. Of
/// topics that were set aside nothing is deleted: they do not exist, and may again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataImage {
    topics: Arc<Topics>,
    groups: Arc<BTreeMap<Arc<str>, GroupProperties>>,
    set_aside: Arc<BTreeSet<Uuid>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Topics {
    by_name: BTreeMap<Arc<str>, TopicImage>,
    names: BTreeMap<Uuid, Arc<str>>,
}

impl MetadataImage {
    /// Returns the topic of that name.
    pub fn topic(&self, name: &str) -> Option<&TopicImage> {
        self.topics.by_name.get(name)
    }

    /// Returns the topic with that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&TopicImage> {
        self.topic(self.topics.names.get(&id)?)
    }

    /// Tells whether nobody will see a topic with that id again.
    pub(crate) fn is_gone(&self, id: Uuid) -> bool {
        self.topic_by_id(id).is_none() && !self.set_aside.contains(&id)
    }

    /// Returns all topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &TopicImage> {
        self.topics.by_name.values()
    }

    /// Returns the names of topics that are not the same in both images: there in one only, created
    /// anew, or grown.
    pub(crate) fn changed_topics(&self, other: &Self) -> BTreeSet<Arc<str>> {
        if Arc::ptr_eq(&self.topics, &other.topics) {
            return BTreeSet::new();
        }
        let differs = |one: &Self, other: &Self| {
            let topics = one.topics().filter(|topic| other.topic(&topic.name) != Some(topic));
            topics.map(|topic| topic.name.clone()).collect::<Vec<_>>()
        };
        differs(self, other).into_iter().chain(differs(other, self)).collect()
    }

    /// Returns the group's own properties.
    pub fn group(&self, group: &str) -> GroupProperties {
        self.groups.get(group).copied().unwrap_or_default()
    }

    /// Returns the image with these groups' properties in place of those it has.
    #[must_use]
    pub fn with_groups(
        self,
        groups: impl IntoIterator<Item = (Arc<str>, GroupProperties)>,
    ) -> Self {
        Self { groups: Arc::new(groups.into_iter().collect()), ..self }
    }

    /// Returns the image with these ids of topics that were lost from the cluster's metadata, and whose records
    /// are kept for the day they are brought back.
    #[must_use]
    pub fn with_set_aside(self, set_aside: Arc<BTreeSet<Uuid>>) -> Self {
        Self { set_aside, ..self }
    }
}

impl FromIterator<TopicImage> for MetadataImage {
    fn from_iter<I: IntoIterator<Item = TopicImage>>(topics: I) -> Self {
        let by_name: BTreeMap<_, _> =
            topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        let names = by_name.values().map(|topic| (topic.id, topic.name.clone())).collect();
        let topics = Arc::new(Topics { by_name, names });
        Self { topics, groups: Arc::default(), set_aside: Arc::default() }
    }
}
