//! What a client knows of the cluster, and how an answer changes it.
//!
//! [`MetadataView`] is an immutable picture that any number of readers share; [`MetadataView::merge`]
//! returns the next picture. The rules that make it safe to act on:
//!
//! 1. A partition's leader epoch never goes back while the topic keeps its id: an answer from a
//!    broker that lags behind keeps the leader already known (KIP-320).
//! 2. A new topic id is a new topic: its epochs start over (KIP-516).
//! 3. A topic an answer does not mention keeps its place, unless the answer was for all topics.
//! 4. An answer without brokers changes nothing: a broker that starts says so for a moment.
//! 5. What is wrong with a topic stays known until an answer describes it or it is not wanted any more.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_protocol::messages::metadata::{
    MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use kohort_protocol::{ErrorCode, Uuid};

/// A picture of the cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct MetadataView {
    /// Counts the pictures: a later one has a higher number.
    pub version: u64,
    /// The cluster's id, if it has said one.
    pub cluster_id: Option<String>,
    /// The node the cluster names as its controller, or -1.
    pub controller_id: i32,
    brokers: BTreeMap<i32, Broker>,
    /// Whether the latest answer was for every topic: only then a topic that is not here is nowhere.
    pub complete: bool,
    topics: BTreeMap<Arc<str>, Arc<TopicView>>,
    errors: BTreeMap<Arc<str>, ErrorCode>,
    names_by_id: BTreeMap<[u8; 16], Arc<str>>,
}

/// One broker and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broker {
    /// Its node id; a bootstrap address whose node is not yet known has a negative one.
    pub id: i32,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicView {
    /// Its name.
    pub name: Arc<str>,
    /// Its id, or [`Uuid::ZERO`] from a broker that tells none.
    pub id: Uuid,
    /// Whether the broker keeps its own state in it.
    pub internal: bool,
    /// Its partitions, by index without holes.
    pub partitions: Vec<PartitionView>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionView {
    /// Its number.
    pub index: i32,
    /// The node that leads it, or -1 while none does.
    pub leader: i32,
    /// The leader's epoch, or -1 from a broker that tells none.
    pub leader_epoch: i32,
    /// The nodes that hold a copy.
    pub replicas: Vec<i32>,
    /// The nodes whose copies are in sync.
    pub in_sync_replicas: Vec<i32>,
    /// The nodes whose copies are unavailable.
    pub offline_replicas: Vec<i32>,
}

/// What a client wants to know about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    /// Topics by name.
    Some(BTreeSet<Arc<str>>),
    /// Every topic there is: for patterns and lists.
    All,
}

/// What a request asked for, which decides what the answer may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataScope {
    /// Some topics: those not in the answer stay as they were.
    SomeTopics,
    /// Every topic: those not in the answer are gone.
    AllTopics,
}

/// What a merged answer says about the topics it could not describe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetadataErrors {
    /// Topics with an error of their own, by name.
    pub topics: Vec<(Arc<str>, ErrorCode)>,
    /// Whether some partition has no leader at present: worth asking again soon.
    pub leaderless: bool,
}

impl MetadataView {
    /// Returns the picture after `response`, and the errors it carried.
    pub fn merge(
        &self,
        response: &MetadataResponse,
        scope: MetadataScope,
    ) -> (MetadataView, MetadataErrors) {
        let mut errors = MetadataErrors::default();
        let mut next = self.clone();
        next.version += 1;
        if !response.brokers.is_empty() {
            next.brokers = brokers_of(response);
            next.controller_id = response.controller_id;
            next.cluster_id.clone_from(&response.cluster_id);
        }
        next.complete = scope == MetadataScope::AllTopics;
        if next.complete {
            next.topics.clear();
            next.errors.clear();
            next.names_by_id.clear();
        }
        for topic in &response.topics {
            let name = topic.name.as_deref().unwrap_or_default();
            if topic.error_code != ErrorCode::NONE {
                errors.topics.push((Arc::from(name), topic.error_code));
                if !may_return(topic.error_code) {
                    next.forget(name);
                } else if let Some(known) = self.topic(name) {
                    next.insert(known.clone());
                }
                next.errors.insert(Arc::from(name), topic.error_code);
                continue;
            }
            next.errors.remove(name);
            let view = topic_of(topic, self.topics.get(name).map(Arc::as_ref));
            errors.leaderless |= view.partitions.iter().any(|partition| partition.leader < 0);
            next.insert(Arc::new(view));
        }
        (next, errors)
    }

    /// Returns the picture with one partition's leader changed, as a Produce or Fetch answer told
    /// it (KIP-951); the same picture if the epoch is not newer.
    #[must_use]
    pub fn with_leader(&self, topic: &str, partition: i32, leader: i32, epoch: i32) -> Self {
        let mut next = self.clone();
        let Some(view) = next.topics.get_mut(topic) else { return next };
        let newer = |known: &PartitionView| epoch > known.leader_epoch;
        let view = Arc::make_mut(view);
        if let Some(known) = partition_mut(&mut view.partitions, partition).filter(|it| newer(it)) {
            known.leader = leader;
            known.leader_epoch = epoch;
            next.version += 1;
        }
        next
    }

    /// Returns the picture with brokers that an answer named added (KIP-951); those known keep their
    /// address, which metadata decides.
    #[must_use]
    pub fn with_brokers(&self, brokers: &[Broker]) -> Self {
        let mut next = self.clone();
        for broker in brokers {
            if let Entry::Vacant(place) = next.brokers.entry(broker.id) {
                place.insert(broker.clone());
                next.version = self.version + 1;
            }
        }
        next
    }

    /// Returns the picture without the topics that `keep` refuses.
    #[must_use]
    pub fn retain_topics(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut next = self.clone();
        next.complete = false;
        next.topics.retain(|name, _| keep(name));
        next.errors.retain(|name, _| keep(name));
        next.names_by_id.retain(|_, name| keep(name));
        next
    }

    /// Returns a picture that knows only addresses to start from; their ids are negative.
    pub fn bootstrap(addresses: impl IntoIterator<Item = (String, u16)>) -> Self {
        let brokers = (1..)
            .zip(addresses)
            .map(|(number, (host, port))| (-number, Broker { id: -number, host, port, rack: None }))
            .collect();
        Self { controller_id: -1, brokers, ..Self::default() }
    }

    /// Returns the brokers, by id.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// Returns the broker with this id.
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// Returns the topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<TopicView>> {
        self.topics.values()
    }

    /// Returns the topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicView>> {
        self.topics.get(name)
    }

    /// Returns the topic with this id; none has [`Uuid::ZERO`].
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicView>> {
        self.names_by_id.get(&id.0).and_then(|name| self.topics.get(name))
    }

    /// Returns the topics the latest answer about them could not describe, with why.
    pub fn topic_errors(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, ErrorCode)> {
        self.errors.iter().map(|(name, code)| (name, *code))
    }

    /// Returns why the latest answer about a topic could not describe it.
    pub fn topic_error(&self, name: &str) -> Option<ErrorCode> {
        self.errors.get(name).copied()
    }

    /// Whether the latest answer that could name a topic said that it does not exist.
    pub fn says_gone(&self, name: &str) -> bool {
        let refused = self.topic_error(name).is_some_and(is_unknown);
        !self.topics.contains_key(name) && (self.complete || refused)
    }

    /// Returns a partition of a topic.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionView> {
        self.topics.get(topic)?.partition(partition)
    }

    /// Returns the broker that leads a partition, if one does and its address is known.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<&Broker> {
        self.broker(self.partition(topic, partition)?.leader)
    }

    fn insert(&mut self, topic: Arc<TopicView>) {
        self.forget(&topic.name);
        if topic.id != Uuid::ZERO {
            self.names_by_id.insert(topic.id.0, topic.name.clone());
        }
        self.topics.insert(topic.name.clone(), topic);
    }

    fn forget(&mut self, name: &str) {
        if let Some(old) = self.topics.remove(name) {
            self.names_by_id.remove(&old.id.0);
        }
    }
}

impl TopicView {
    /// Returns the partition with this number.
    pub fn partition(&self, index: i32) -> Option<&PartitionView> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

impl Broker {
    /// Returns `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Whether a topic that answers `error` is expected to be as it was after a moment. An unknown one
/// is retriable for whoever just created it, but what is known of it is worth nothing.
fn may_return(error: ErrorCode) -> bool {
    error.is_retriable() && !is_unknown(error)
}

/// Whether an error says that a topic or a partition is not there.
pub(crate) fn is_unknown(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)
}

fn brokers_of(response: &MetadataResponse) -> BTreeMap<i32, Broker> {
    let broker = |node: &kohort_protocol::messages::metadata::MetadataResponseBroker| {
        let port = u16::try_from(node.port).ok()?;
        let (host, rack) = (node.host.clone(), node.rack.clone());
        Some((node.node_id, Broker { id: node.node_id, host, port, rack }))
    };
    response.brokers.iter().filter_map(broker).collect()
}

fn topic_of(topic: &MetadataResponseTopic, known: Option<&TopicView>) -> TopicView {
    let same_topic = known.filter(|known| known.id == topic.topic_id);
    let mut partitions: Vec<PartitionView> = topic
        .partitions
        .iter()
        .map(|answer| {
            let known = same_topic.and_then(|topic| topic.partition(answer.partition_index));
            partition_of(answer, known)
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    // A hole would shift every index after it: cut there and learn the rest next time.
    let whole = (0..).zip(&partitions).take_while(|(at, it)| *at == it.index).count();
    partitions.truncate(whole);
    TopicView {
        name: Arc::from(topic.name.as_deref().unwrap_or_default()),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    }
}

fn partition_of(
    answer: &MetadataResponsePartition,
    known: Option<&PartitionView>,
) -> PartitionView {
    if let Some(known) = known.filter(|known| known.leader_epoch > answer.leader_epoch) {
        return known.clone();
    }
    PartitionView {
        index: answer.partition_index,
        leader: answer.leader_id,
        leader_epoch: answer.leader_epoch,
        replicas: answer.replica_nodes.clone(),
        in_sync_replicas: answer.isr_nodes.clone(),
        offline_replicas: answer.offline_replicas.clone(),
    }
}

fn partition_mut(partitions: &mut [PartitionView], index: i32) -> Option<&mut PartitionView> {
    partitions.get_mut(usize::try_from(index).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::messages::metadata::MetadataResponseBroker;

    fn answer(topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
        let broker = |node_id| MetadataResponseBroker {
            node_id,
            host: format!("host-{node_id}"),
            port: 9092,
            ..MetadataResponseBroker::default()
        };
        MetadataResponse {
            brokers: vec![broker(1), broker(2)],
            controller_id: 1,
            cluster_id: Some("cluster".to_owned()),
            topics,
            ..MetadataResponse::default()
        }
    }

    fn topic(name: &str, id: u8, leaders: &[(i32, i32)]) -> MetadataResponseTopic {
        let partition =
            |(index, (leader_id, leader_epoch)): (i32, &(i32, i32))| MetadataResponsePartition {
                partition_index: index,
                leader_id: *leader_id,
                leader_epoch: *leader_epoch,
                ..MetadataResponsePartition::default()
            };
        MetadataResponseTopic {
            name: Some(name.to_owned()),
            topic_id: Uuid([id; 16]),
            partitions: (0..).zip(leaders).map(partition).collect(),
            ..MetadataResponseTopic::default()
        }
    }

    fn merge(view: &MetadataView, topics: Vec<MetadataResponseTopic>) -> MetadataView {
        view.merge(&answer(topics), MetadataScope::SomeTopics).0
    }

    fn leader(view: &MetadataView, partition: i32) -> (i32, i32) {
        let partition = view.partition("t", partition).expect("the partition is known");
        (partition.leader, partition.leader_epoch)
    }

    #[test]
    fn leader_epoch_never_goes_back_within_a_topic_id() {
        let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 5), (1, 5)])]);
        let view = merge(&view, vec![topic("t", 1, &[(2, 4), (2, 6)])]);
        assert_eq!((leader(&view, 0), leader(&view, 1)), ((1, 5), (2, 6)));
    }

    #[test]
    fn a_recreated_topic_starts_its_epochs_over() {
        let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 5)])]);
        let view = merge(&view, vec![topic("t", 2, &[(2, 0)])]);
        assert_eq!(leader(&view, 0), (2, 0));
        assert!(view.topic_by_id(Uuid([1; 16])).is_none());
        assert!(view.topic_by_id(Uuid([2; 16])).is_some());
    }

    #[test]
    fn only_an_answer_for_all_topics_removes_those_it_does_not_mention() {
        let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 0)])]);
        let some = merge(&view, vec![topic("u", 2, &[(1, 0)])]);
        assert!(some.topic("t").is_some() && some.topic("u").is_some());
        let all = some.merge(&answer(vec![topic("u", 2, &[(1, 0)])]), MetadataScope::AllTopics).0;
        assert!(all.topic("t").is_none() && all.topic("u").is_some());
    }

    #[test]
    fn a_retriable_topic_error_keeps_what_is_known_and_a_final_one_forgets_it() {
        let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 0)])]);
        let failed = |error_code| vec![MetadataResponseTopic { error_code, ..topic("t", 0, &[]) }];
        let kept = merge(&view, failed(ErrorCode::LEADER_NOT_AVAILABLE));
        assert!(kept.topic("t").is_some());
        assert_eq!(kept.topic_error("t"), Some(ErrorCode::LEADER_NOT_AVAILABLE));
        assert!(merge(&kept, vec![topic("t", 1, &[(1, 0)])]).topic_error("t").is_none());
        let all = answer(failed(ErrorCode::LEADER_NOT_AVAILABLE));
        assert!(view.merge(&all, MetadataScope::AllTopics).0.topic("t").is_some());
        for last in [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION] {
            let gone = merge(&view, failed(last));
            assert!(gone.topic("t").is_none());
        }
    }

    #[test]
    fn an_answer_without_brokers_keeps_the_known_ones() {
        let view = merge(&MetadataView::default(), vec![]);
        let empty = MetadataResponse::default();
        let (next, _) = view.merge(&empty, MetadataScope::SomeTopics);
        assert_eq!(next.brokers().count(), 2);
    }

    #[test]
    fn a_leader_told_by_an_answer_is_taken_only_with_a_newer_epoch() {
        let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 5)])]);
        assert_eq!(leader(&view.with_leader("t", 0, 2, 5), 0), (1, 5));
        assert_eq!(leader(&view.with_leader("t", 0, 2, 6), 0), (2, 6));
        assert_eq!(leader(&view.with_leader("t", 9, 2, 6), 0), (1, 5));
    }
}
