//! What a member of a consumer group works on, and what it was told to.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::Uuid;
use kohort_protocol::messages::ConsumerGroupHeartbeatResponse;
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequestTopicPartitions;

/// A partition.
pub(crate) type Place = (Uuid, i32);

/// A member's partitions, by its own account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holdings {
    /// What it works on.
    pub(crate) owned: BTreeSet<Place>,
    /// What it was told to have, until it does.
    told: Option<BTreeSet<Place>>,
    /// Whether it says next time what it owns, because that changed.
    pub(crate) changed: bool,
}

impl Holdings {
    /// Takes in an answer that is no error.
    pub(crate) fn hear(&mut self, response: &ConsumerGroupHeartbeatResponse) {
        self.changed = false;
        if let Some(assignment) = &response.assignment {
            let topics = assignment.topic_partitions.iter();
            let places = topics
                .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index)));
            self.told = Some(places.collect());
        }
    }

    /// Returns what it reports to own: also what it was told to take and has not taken yet, since it may
    /// do so at any moment. A client that leaves that out can be taken to have given it up.
    pub(crate) fn reported(&self) -> Vec<ConsumerGroupHeartbeatRequestTopicPartitions> {
        let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        let places: BTreeSet<_> = self.owned.iter().chain(self.told.iter().flatten()).collect();
        for (topic, index) in places {
            topics.entry(*topic).or_default().push(*index);
        }
        let topic = |(topic_id, partitions)| ConsumerGroupHeartbeatRequestTopicPartitions {
            topic_id,
            partitions,
        };
        topics.into_iter().map(topic).collect()
    }

    /// Lets go of what it is to let go of, and takes what it was given.
    pub(crate) fn reconcile(&mut self) {
        if let Some(told) = self.told.take() {
            // Said even if it is what it had: it may have been told more in between, and then less.
            self.changed = true;
            self.owned = told;
        }
    }
}
