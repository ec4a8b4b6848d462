//! What a coordinator needs to know of the cluster's topics: names, ids, partition counts.

use std::collections::BTreeMap;
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

/// All topics of the cluster at one moment. Cloning it is cheap.
///
/// The image is complete: a topic that is not in it does not exist. Coordinators derive deletions
/// from that, so a deletion whose consequences were lost in a crash is made good by the next image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataImage(Arc<Topics>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Topics {
    by_name: BTreeMap<Arc<str>, TopicImage>,
    names: BTreeMap<Uuid, Arc<str>>,
}

impl MetadataImage {
    /// Returns the topic of that name.
    pub fn topic(&self, name: &str) -> Option<&TopicImage> {
        self.0.by_name.get(name)
    }

    /// Returns the topic with that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&TopicImage> {
        self.topic(self.0.names.get(&id)?)
    }

    /// Returns all topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &TopicImage> {
        self.0.by_name.values()
    }
}

impl FromIterator<TopicImage> for MetadataImage {
    fn from_iter<I: IntoIterator<Item = TopicImage>>(topics: I) -> Self {
        let by_name: BTreeMap<_, _> =
            topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        let names = by_name.values().map(|topic| (topic.id, topic.name.clone())).collect();
        Self(Arc::new(Topics { by_name, names }))
    }
}
