//! Topics whose records in the metadata log were lost, made again from the partitions that are there.
//!
//! A partition's folder tells its topic's name and id and its index, which is all that a topic's own
//! records say: so it gets them anew under the id it had, and offsets that groups committed still fit.
//! What only the metadata log told is lost: properties, quotas, users' credentials.

use super::load::Replayed;
use super::record::{MetadataRecord, Resource, ResourceKind};
use crate::config::BrokerConfig;
use crate::group_events::events_topic;
use crate::groups::offsets_topic;
use crate::random;
use kohort_protocol::Uuid;
use std::collections::BTreeMap;

/// A partition that the data folder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundPartition {
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) index: i32,
    pub(crate) holds_records: bool,
    /// The highest id of a producer that it remembers.
    pub(crate) producer_id: Option<i64>,
}

/// A topic that was made again, or of which partitions were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemadeTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it has now.
    pub partitions: i32,
}

/// What is to be added to the metadata.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Remade {
    pub(crate) records: Vec<MetadataRecord>,
    pub(crate) topics: Vec<RemadeTopic>,
    /// Partitions with records of a topic whose name another topic has now.
    pub(crate) homeless: Vec<(Uuid, i32)>,
    pub(crate) new_cluster_id: bool,
}

/// Decides what to add, so that every partition found is one of a topic again.
///
/// A partition without records is passed over as long as no metadata was lost: then its creation was cut
/// short. So is one whose topic is on record as removed.
pub(crate) fn remake(
    replayed: &Replayed,
    found: &[FoundPartition],
    config: &BrokerConfig,
) -> Remade {
    let mut remade = Remade::default();
    let lost = !replayed.is_whole();
    let state = &replayed.state;
    if state.cluster_id.is_none() && !found.is_empty() {
        remade.new_cluster_id = true;
        remade.records.push(MetadataRecord::ClusterId(random::uuid()));
    }
    let mut names: BTreeMap<&str, Uuid> =
        state.topics.iter().map(|(name, topic)| (name.as_str(), topic.id)).collect();
    for (id, partitions) in by_topic(found) {
        let wanted = |partition: &&FoundPartition| partition.holds_records || lost;
        let wanted: Vec<&FoundPartition> = partitions.into_iter().filter(wanted).collect();
        let Some(last) = wanted.iter().max_by_key(|partition| partition.index) else { continue };
        if replayed.removed.contains(&id) {
            continue;
        }
        let name = last.topic.as_str();
        if *names.entry(name).or_insert(id) != id {
            let kept = wanted.iter().filter(|partition| partition.holds_records);
            remade.homeless.extend(kept.map(|partition| (id, partition.index)));
            continue;
        }
        let known = state.topics.get(name).map_or(0, |topic| topic.leader_epochs.len() as i32);
        if known > last.index {
            continue;
        }
        if !state.topics.contains_key(name) {
            remade.records.push(MetadataRecord::Topic { name: name.to_owned(), id });
            remade.records.extend(own_properties(name, config));
        }
        // Partitions between those found had nothing, and are made empty.
        remade.records.extend((known..=last.index).map(|index| MetadataRecord::Partition {
            topic_id: id,
            index,
            leader: config.node_id,
            leader_epoch: 0,
        }));
        let partitions = last.index + 1;
        remade.topics.push(RemadeTopic { name: name.to_owned(), partitions });
    }
    // Ids that were given out must not be given out again.
    let highest = found.iter().filter_map(|partition| partition.producer_id).max();
    if let Some(next) =
        highest.map(|id| id + 1).filter(|next| lost && *next > state.next_producer_id)
    {
        remade.records.push(MetadataRecord::ProducerIds { broker: config.node_id, next });
    }
    remade
}

fn by_topic(found: &[FoundPartition]) -> BTreeMap<Uuid, Vec<&FoundPartition>> {
    let mut topics: BTreeMap<Uuid, Vec<&FoundPartition>> = BTreeMap::new();
    for partition in found {
        topics.entry(partition.topic_id).or_default().push(partition);
    }
    topics
}

/// Returns the properties that the broker's own topics are made with: without them they would be
/// cleaned as others are, and committed offsets go after a week.
fn own_properties(name: &str, config: &BrokerConfig) -> Vec<MetadataRecord> {
    let own = [offsets_topic(config), events_topic()];
    let configs = own.into_iter().filter(|topic| topic.name == name).flat_map(|own| own.configs);
    configs
        .map(|(property, value)| MetadataRecord::Config {
            resource: Resource { kind: ResourceKind::Topic, name: name.to_owned() },
            name: property,
            value,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn found(topic: &str, id: u8, index: i32, holds_records: bool) -> FoundPartition {
        let (topic, topic_id) = (topic.to_owned(), Uuid([id; 16]));
        FoundPartition { topic, topic_id, index, holds_records, producer_id: Some(6) }
    }

    /// Metadata that knows the topic `known` with one partition.
    fn replayed(lost: u64) -> Replayed {
        let mut replayed = Replayed::default();
        let topic_id = Uuid([1; 16]);
        for record in [
            MetadataRecord::ClusterId(Uuid([9; 16])),
            MetadataRecord::Topic { name: "known".to_owned(), id: topic_id },
            MetadataRecord::Partition { topic_id, index: 0, leader: 1, leader_epoch: 0 },
            MetadataRecord::RemoveTopic { id: Uuid([5; 16]) },
        ] {
            replayed.take(&record);
        }
        replayed.lost += lost;
        replayed
    }

    fn check(replayed: &Replayed, partitions: &[FoundPartition]) -> Remade {
        remake(replayed, partitions, &Settings::default().typed())
    }

    fn partition(id: u8, index: i32) -> MetadataRecord {
        let topic_id = Uuid([id; 16]);
        MetadataRecord::Partition { topic_id, index, leader: 1, leader_epoch: 0 }
    }

    #[test]
    fn topics_that_only_their_folders_tell_of_get_their_ids_and_all_partitions_back() {
        let partitions =
            [found("known", 1, 0, true), found("lost", 2, 2, true), found("lost", 2, 0, false)];
        let remade = check(&replayed(1), &partitions);
        let id = Uuid([2; 16]);
        let records = [
            MetadataRecord::Topic { name: "lost".to_owned(), id },
            partition(2, 0),
            partition(2, 1),
            partition(2, 2),
            MetadataRecord::ProducerIds { broker: 1, next: 7 },
        ];
        assert_eq!(remade.records, records);
        assert_eq!(remade.topics, [RemadeTopic { name: "lost".to_owned(), partitions: 3 }]);
    }

    #[test]
    fn without_loss_only_partitions_with_records_are_brought_back() {
        let partitions = [
            found("cut-short", 3, 0, false),
            found("known", 1, 1, true),
            found("stray", 4, 0, true),
        ];
        let remade = check(&replayed(0), &partitions);
        let stray = MetadataRecord::Topic { name: "stray".to_owned(), id: Uuid([4; 16]) };
        assert_eq!(remade.records, [partition(1, 1), stray, partition(4, 0)]);
    }

    #[test]
    fn what_was_removed_stays_removed_and_a_name_that_is_taken_is_not_given_twice() {
        let partitions = [found("removed", 5, 0, true), found("known", 6, 0, true)];
        let remade = check(&replayed(0), &partitions);
        assert_eq!(remade, Remade { homeless: vec![(Uuid([6; 16]), 0)], ..Remade::default() });
    }

    #[test]
    fn topic_of_committed_offsets_is_compacted_again() {
        let remade = check(&replayed(1), &[found("__consumer_offsets", 7, 0, true)]);
        let compacts = |record: &MetadataRecord| {
            matches!(record, MetadataRecord::Config { name, value: Some(value), .. }
                if name == "cleanup.policy" && value == "compact")
        };
        assert!(remade.records.iter().any(compacts), "{:?}", remade.records);
    }

    #[test]
    fn lost_cluster_id_is_replaced_unless_there_is_nothing_at_all() {
        assert_eq!(check(&Replayed::default(), &[]), Remade::default());
        assert!(check(&Replayed::default(), &[found("t", 1, 0, false)]).new_cluster_id);
    }
}
