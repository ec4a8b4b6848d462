//! The cluster's metadata: what follows from replaying the metadata log, and nothing else.
//!
//! [`ClusterState::apply`] is the only writer, live and at start alike. The other methods look.

use super::record::{MetadataRecord, Resource, ResourceKind};
use super::scram_credential::{ScramCredential, ScramMechanism};
use crate::config::{Settings, TopicConfig};
use crate::quota::rules::QuotaRules;
use kohort_protocol::Uuid;
use std::collections::{BTreeMap, BTreeSet};

/// Topics, properties, producer ids, quotas, credentials and the cluster's id.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ClusterState {
    pub(crate) cluster_id: Option<Uuid>,
    pub(crate) topics: BTreeMap<String, TopicState>,
    pub(crate) configs: BTreeMap<Resource, BTreeMap<String, String>>,
    pub(crate) next_producer_id: i64,
    pub(crate) quotas: QuotaRules,
    pub(crate) scram: BTreeMap<(String, ScramMechanism), ScramCredential>,
    /// Which broker it is the metadata of, once a record has told.
    pub(crate) node_id: Option<i32>,
    names: BTreeMap<Uuid, String>,
    /// Topics with a '.' or '_' in their names, by how their metrics are named.
    by_metrics: BTreeMap<String, BTreeSet<String>>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicState {
    pub(crate) id: Uuid,
    /// The leader epoch of each partition, in the order of their indexes.
    pub(crate) leader_epochs: Vec<i32>,
}

impl ClusterState {
    /// Takes one record in.
    pub(crate) fn apply(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::ClusterId(id) => self.cluster_id = Some(*id),
            MetadataRecord::Topic { name, id } => {
                let topic = TopicState { id: *id, leader_epochs: Vec::new() };
                self.topics.insert(name.clone(), topic);
                self.names.insert(*id, name.clone());
                if let Some(metrics) = name_in_metrics(name) {
                    self.by_metrics.entry(metrics).or_default().insert(name.clone());
                }
            }
            MetadataRecord::Partition { topic_id, index, leader, leader_epoch } => {
                self.node_id = Some(*leader);
                let name = self.names.get(topic_id);
                let Some(topic) = name.and_then(|name| self.topics.get_mut(name)) else { return };
                match topic.leader_epochs.get_mut(*index as usize) {
                    Some(epoch) => *epoch = *leader_epoch,
                    None => topic.leader_epochs.push(*leader_epoch),
                }
            }
            MetadataRecord::Config { resource, name, value } => match value {
                Some(value) => {
                    let values = self.configs.entry(resource.clone()).or_default();
                    values.insert(name.clone(), value.clone());
                }
                None => {
                    if let Some(values) = self.configs.get_mut(resource) {
                        values.remove(name);
                        if values.is_empty() {
                            self.configs.remove(resource);
                        }
                    }
                }
            },
            MetadataRecord::RemoveTopic { id } => {
                if let Some(name) = self.names.remove(id) {
                    self.topics.remove(&name);
                    if let Some(metrics) = name_in_metrics(&name)
                        && let Some(names) = self.by_metrics.get_mut(&metrics)
                    {
                        names.remove(&name);
                        if names.is_empty() {
                            self.by_metrics.remove(&metrics);
                        }
                    }
                    self.configs.remove(&Resource { kind: ResourceKind::Topic, name });
                }
            }
            MetadataRecord::ClientQuota { entity, key, value } => {
                let quotas = self.quotas.entry(entity.clone()).or_default();
                match value {
                    Some(value) => drop(quotas.insert(key.clone(), *value)),
                    None => drop(quotas.remove(key)),
                }
                if quotas.is_empty() {
                    self.quotas.remove(entity);
                }
            }
            MetadataRecord::Scram { user, mechanism, credential } => {
                let key = (user.clone(), *mechanism);
                match credential {
                    Some(credential) => drop(self.scram.insert(key, credential.clone())),
                    None => drop(self.scram.remove(&key)),
                }
            }
            MetadataRecord::ProducerIds { next, .. } => {
                self.next_producer_id = self.next_producer_id.max(*next);
            }
        }
    }

    /// Returns the name of the topic with that id.
    pub(crate) fn topic_name(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// Returns a topic whose metrics have the names that those of a topic of that name would have.
    pub(crate) fn topic_with_the_metrics_of(&self, name: &str) -> Option<&str> {
        self.by_metrics.get(&name_in_metrics(name)?)?.first().map(String::as_str)
    }

    /// Returns the properties set for a resource.
    pub(crate) fn config(&self, kind: ResourceKind, name: &str) -> BTreeMap<String, String> {
        let resource = Resource { kind, name: name.to_owned() };
        self.configs.get(&resource).cloned().unwrap_or_default()
    }

    /// Returns a topic's configuration in force.
    pub(crate) fn topic_config(&self, name: &str, broker: &Settings) -> TopicConfig {
        TopicConfig::new(&self.config(ResourceKind::Topic, name), broker)
    }
}

/// Kafka's metric names make no difference between '.' and '_', so neither may two topics.
fn name_in_metrics(topic: &str) -> Option<String> {
    topic.contains(['.', '_']).then(|| topic.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, id: u8) -> [MetadataRecord; 2] {
        let id = Uuid([id; 16]);
        [
            MetadataRecord::Topic { name: name.to_owned(), id },
            MetadataRecord::Partition { topic_id: id, index: 0, leader: 1, leader_epoch: 0 },
        ]
    }

    #[test]
    fn a_topic_that_is_removed_takes_its_properties_along() {
        let mut state = ClusterState::default();
        for record in &topic("a.b", 1) {
            state.apply(record);
        }
        assert_eq!(state.topic_with_the_metrics_of("a_b"), Some("a.b"));
        let resource = Resource { kind: ResourceKind::Topic, name: "a.b".to_owned() };
        state.apply(&MetadataRecord::Config {
            resource,
            name: "retention.ms".to_owned(),
            value: Some("5".to_owned()),
        });
        assert_eq!(state.config(ResourceKind::Topic, "a.b").len(), 1);
        state.apply(&MetadataRecord::RemoveTopic { id: Uuid([1; 16]) });
        let nothing = ClusterState { node_id: Some(1), ..ClusterState::default() };
        assert_eq!(state, nothing, "but whose metadata it is");
        for record in &topic("a.b", 2) {
            state.apply(record);
        }
        assert!(state.config(ResourceKind::Topic, "a.b").is_empty());
    }

    #[test]
    fn producer_ids_never_go_back() {
        let mut state = ClusterState::default();
        state.apply(&MetadataRecord::ProducerIds { broker: 1, next: 2000 });
        state.apply(&MetadataRecord::ProducerIds { broker: 1, next: 1000 });
        assert_eq!(state.next_producer_id, 2000);
    }
}
