//! What a client knows of the cluster, and how an answer changes it.
//!
//! [`MetadataView`] is an immutable picture that any number of readers share; [`MetadataView::merge`]
//! returns the next picture. The rules that make it safe to act on:
//!
//! 1. A partition's leader epoch never goes back while the topic keeps its id: an answer from a
//!    broker that lags behind keeps the leader already known (KIP-320).
//! 2. A new topic id is a new topic: its epochs start over (KIP-516). Where topics have no ids, they
//!    start over once the leader known has denied being it ([`MetadataView::with_leader`]).
//! 3. A topic an answer does not mention keeps its place, unless the answer was for all topics.
//! 4. An answer without brokers changes nothing: a broker that starts says so for a moment.
//! 5. What is wrong with a topic stays known until an answer describes it or it is not wanted any more.
//! 6. An epoch that cannot be relied on is none, and an answer without one is taken as it is: brokers
//!    before 2.4 tell an old epoch for as long as a reassignment runs, and then refuse whoever names it
//!    (KAFKA-9212).

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
    /// The leader's epoch, or -1 where none is known that can be relied on.
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
    /// Returns the picture after `response`, which came in this version, and the errors it carried.
    pub fn merge(
        &self,
        response: &MetadataResponse,
        version: i16,
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
            let reliable = version >= RELIABLE_EPOCHS_FROM;
            let view = topic_of(topic, reliable, self.topics.get(name).map(Arc::as_ref));
            errors.leaderless |= view.partitions.iter().any(|partition| partition.leader < 0);
            next.insert(Arc::new(view));
        }
        (next, errors)
    }

    /// Returns the picture with one partition's leader changed, as a Produce or Fetch answer told
    /// it (KIP-951); the same picture if the epoch is not newer.
    #[must_use]
    pub fn with_leader(&self, topic: &str, partition: i32, leader: i32, epoch: i32) -> Self {
        self.with_partition(topic, partition, |_, known| {
            (epoch > known.leader_epoch).then_some((leader, epoch))
        })
    }

    /// Returns the picture after `node` was asked as a partition's leader and said that it is not. If it
    /// is the one known and the topic has no id, its epoch is forgotten, so that the next answer decides.
    ///
    /// A topic that was deleted and created again starts its epochs at 0, and no id tells it from an
    /// answer of a broker that lags behind: a client that did not ask meanwhile would keep the old leader
    /// for ever. A broker that lags is believed only where the leader known is of no use anyway; to
    /// believe what is only said often enough would let one that is cut off send us to an old leader,
    /// which loses what it takes with `acks=1`.
    #[must_use]
    pub fn with_denial(&self, topic: &str, partition: i32, node: i32) -> Self {
        self.with_partition(topic, partition, |topic, known| {
            let forgotten =
                topic.id == Uuid::ZERO && known.leader == node && known.leader_epoch >= 0;
            forgotten.then_some((node, NO_EPOCH))
        })
    }

    /// Returns the picture with the leader and epoch that `change` gives a partition, if any.
    fn with_partition(
        &self,
        topic: &str,
        partition: i32,
        change: impl FnOnce(&TopicView, &PartitionView) -> Option<(i32, i32)>,
    ) -> Self {
        let mut next = self.clone();
        let Some(view) = next.topics.get_mut(topic) else { return next };
        let changed = view.partition(partition).and_then(|known| change(view, known));
        let Some((leader, epoch)) = changed else { return next };
        let view = Arc::make_mut(view);
        if let Some(known) = partition_mut(&mut view.partitions, partition) {
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

    /// Whether a topic is known and has no such partition.
    pub fn lacks(&self, topic: &str, partition: i32) -> bool {
        self.topic(topic).is_some() && self.partition(topic, partition).is_none()
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

/// Whether a leader that answers `error` says that it is not the leader, or not the one it was taken for:
/// it does not know the topic, or has not got to the epoch that it was asked under.
pub fn denies_leadership(error: ErrorCode) -> bool {
    let others = [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::UNKNOWN_LEADER_EPOCH];
    is_unknown(error) || others.contains(&error)
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

fn topic_of(topic: &MetadataResponseTopic, reliable: bool, known: Option<&TopicView>) -> TopicView {
    let same_topic = known.filter(|known| known.id == topic.topic_id);
    let mut partitions: Vec<PartitionView> = topic
        .partitions
        .iter()
        .map(|answer| {
            let known = same_topic.and_then(|topic| topic.partition(answer.partition_index));
            partition_of(answer, reliable, known)
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
    reliable: bool,
    known: Option<&PartitionView>,
) -> PartitionView {
    let leader_epoch = if reliable { answer.leader_epoch } else { NO_EPOCH };
    // Without an epoch there is nothing to compare: such an answer would never be taken again.
    let newer = |known: &&PartitionView| leader_epoch >= 0 && known.leader_epoch > leader_epoch;
    if let Some(known) = known.filter(newer) {
        return known.clone();
    }
    PartitionView {
        index: answer.partition_index,
        leader: answer.leader_id,
        leader_epoch,
        replicas: answer.replica_nodes.clone(),
        in_sync_replicas: answer.isr_nodes.clone(),
        offline_replicas: answer.offline_replicas.clone(),
    }
}

fn partition_mut(partitions: &mut [PartitionView], index: i32) -> Option<&mut PartitionView> {
    partitions.get_mut(usize::try_from(index).ok()?)
}

/// No leader epoch.
const NO_EPOCH: i32 = -1;
/// The first version of a Metadata answer whose leader epochs hold while partitions are reassigned.
const RELIABLE_EPOCHS_FROM: i16 = 9;

#[cfg(test)]
mod tests;
