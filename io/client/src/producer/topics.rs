//! What the producer knows of topics when it places a record.

use std::sync::Arc;

use kohort_client_core::backoff::Jitter;
use kohort_client_core::metadata::{self, MetadataView};
use kohort_client_core::producer::partitioner::{TopicPartitioner, TopicPartitions};
use kohort_client_core::producer::{Accumulator, TopicSlot};
use tokio::time::Instant;

use super::{Partitioner, ProducerRecord, SendError};
use crate::cluster::{Cluster, ClusterError};
use crate::config::ProducerConfig;
use crate::net::NetError;

/// The topics that were sent to.
#[derive(Debug)]
pub(super) struct TopicTable {
    /// By their names.
    topics: Vec<Topic>,
    /// The place of the topic that was asked for last: mostly that of the next record as well.
    last: usize,
    batch_size: usize,
    ignore_keys: bool,
    random: Jitter,
    /// The application's choice, if it has one.
    custom: Option<Box<dyn Partitioner>>,
    /// Whether records without a key avoid the longer queues.
    adaptive: bool,
    /// Topics that were told of queues of different lengths.
    uneven: Vec<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// Its place in the accumulator.
    pub(super) slot: TopicSlot,
    partitions: i32,
    /// The partitions that have a leader.
    available: Vec<i32>,
    batch_size: usize,
    partitioner: TopicPartitioner,
}

/// Where a record goes.
pub(super) enum Placement {
    /// Where its key, its sender or the application's partitioner says.
    Chosen(i32),
    /// Where the batch for records without a place is filled: what it adds has to be noted.
    Current(i32),
    /// There is no such partition; the application's partitioner says so.
    Wrong(i32),
    /// It names a partition that is not known (yet).
    Unknown,
}

impl TopicTable {
    pub(super) fn new(
        config: &ProducerConfig,
        seed: u64,
        custom: Option<Box<dyn Partitioner>>,
    ) -> Self {
        Self {
            custom,
            adaptive: config.partitioner_adaptive,
            uneven: Vec::new(),
            topics: Vec::new(),
            last: 0,
            batch_size: config.batch_size.get(),
            ignore_keys: config.partitioner_ignore_keys,
            random: Jitter::seeded(seed),
        }
    }

    /// Decides where a record goes; `None` if its topic is not known.
    pub(super) fn place(
        &mut self,
        record: &ProducerRecord<'_>,
    ) -> Option<(Placement, &mut Topic, &mut Jitter)> {
        let last = self.topics.get(self.last);
        if last.is_none_or(|topic| *topic.name != *record.topic) {
            self.last = place_of(&self.topics, record.topic).ok()?;
        }
        let topic = &mut self.topics[self.last];
        let custom = self.custom.as_deref_mut();
        let placement = topic.place(record, custom, self.ignore_keys, &mut self.random);
        Some((placement, topic, &mut self.random))
    }

    /// Takes over how many batches wait for each partition, and which partitions are passed over because
    /// their leader takes none (KIP-794).
    pub(super) fn note_queues<C: Clone>(
        &mut self,
        accumulator: &Accumulator<C>,
        leader: impl Fn(&str, i32) -> Option<i32>,
    ) {
        if !self.adaptive {
            return;
        }
        for name in self.uneven.drain(..) {
            if let Ok(at) = place_of(&self.topics, &name) {
                let topic = &mut self.topics[at];
                topic.partitioner.set_queue_lengths(&[], topic.partitions);
            }
        }
        accumulator.queue_lengths(leader, |name, length| {
            let Ok(at) = place_of(&self.topics, name) else { return };
            let topic = &mut self.topics[at];
            let queues = topic.available.iter().filter_map(|it| Some((*it, length(*it)?)));
            let queues: Vec<_> = queues.collect();
            topic.partitioner.set_queue_lengths(&queues, topic.partitions);
            self.uneven.push(topic.name.clone());
        });
    }

    /// Takes over a new picture of the cluster.
    pub(super) fn update<C: Clone>(
        &mut self,
        view: &MetadataView,
        accumulator: &mut Accumulator<C>,
    ) {
        for known in view.topics() {
            let at = match place_of(&self.topics, &known.name) {
                Ok(at) => {
                    self.topics[at].update(known);
                    continue;
                }
                Err(at) => at,
            };
            let mut topic = Topic {
                slot: accumulator.slot(&known.name),
                name: known.name.clone(),
                partitions: 0,
                available: Vec::new(),
                batch_size: self.batch_size,
                partitioner: TopicPartitioner::new(self.batch_size, self.ignore_keys),
            };
            topic.update(known);
            self.topics.insert(at, topic);
        }
        // A deleted topic is asked for anew by the next record.
        self.topics.retain(|topic| view.topic(&topic.name).is_some());
    }
}

/// Returns where a topic is, or where it belongs.
fn place_of(topics: &[Topic], name: &str) -> Result<usize, usize> {
    topics.binary_search_by(|topic| (*topic.name).cmp(name))
}

impl Topic {
    fn place(
        &mut self,
        record: &ProducerRecord<'_>,
        custom: Option<&mut (dyn Partitioner + 'static)>,
        ignore_keys: bool,
        random: &mut Jitter,
    ) -> Placement {
        if let Some(partition) = record.partition {
            let known = (0..self.partitions).contains(&partition);
            return if known { Placement::Chosen(partition) } else { Placement::Unknown };
        }
        if self.partitions == 0 {
            return Placement::Unknown;
        }
        let view = TopicPartitions { partition_count: self.partitions, available: &self.available };
        let chosen = custom.and_then(|it| it.partition(&self.name, record.key, record.value, view));
        match chosen {
            Some(partition) if (0..self.partitions).contains(&partition) => {
                Placement::Chosen(partition)
            }
            Some(partition) => Placement::Wrong(partition),
            None => {
                let partition = self.partitioner.partition(record.key, view, random);
                let keyed = record.key.is_some() && !ignore_keys;
                if keyed { Placement::Chosen(partition) } else { Placement::Current(partition) }
            }
        }
    }

    /// Returns how many partitions it has.
    pub(super) fn partitions(&self) -> usize {
        self.partitions as usize
    }

    /// Notes what a record without a partition of its own has added, and whether its batch is full
    /// now: then the next one goes elsewhere, before it opens a batch it would leave nearly empty.
    pub(super) fn appended(&mut self, bytes: usize, full: bool, random: &mut Jitter) {
        let view = TopicPartitions { partition_count: self.partitions, available: &self.available };
        let bytes = if full { self.batch_size } else { bytes };
        self.partitioner.appended(bytes, full, view, random);
    }

    fn update(&mut self, known: &metadata::TopicView) {
        self.partitions = i32::try_from(known.partitions.len()).unwrap_or(i32::MAX);
        let led = known.partitions.iter().filter(|it| it.leader >= 0).map(|it| it.index);
        self.available = led.collect();
    }
}

/// Follows a topic and waits until it, and the partition asked for, is known. One that cannot be
/// found is no longer followed: it must not be asked for ever after.
pub(super) async fn wait_for_topic(
    cluster: Cluster,
    topic: Arc<str>,
    partition: Option<i32>,
    deadline: Instant,
) -> Result<Arc<MetadataView>, SendError> {
    let found = find_topic(&cluster, topic.clone(), partition, deadline).await;
    if matches!(found, Err(SendError::UnknownTopic { .. })) {
        cluster.unfollow_topic(&topic);
    }
    found
}

async fn find_topic(
    cluster: &Cluster,
    topic: Arc<str>,
    partition: Option<i32>,
    deadline: Instant,
) -> Result<Arc<MetadataView>, SendError> {
    let mut views = cluster.subscribe();
    cluster.follow_topics([&topic]);
    let mut last = None;
    // What keeps the cluster away comes first: an older answer tells nothing then.
    let why = |last: Option<ClusterError>| {
        cluster.trouble().or(last).unwrap_or_else(|| cluster.why_no_answer())
    };
    let mut asked = false;
    loop {
        let view = views.borrow_and_update().clone();
        if let Some(known) = view.topic(&topic).filter(|known| !known.partitions.is_empty()) {
            let partitions = known.partitions.len();
            match partition {
                Some(wanted) if usize::try_from(wanted).is_ok_and(|it| it < partitions) => {
                    return Ok(view);
                }
                None => return Ok(view),
                // It may have been added since: the answer to one more question decides.
                Some(partition) if asked => {
                    return Err(SendError::UnknownPartition { topic, partition, partitions });
                }
                Some(_) => {}
            }
        }
        if let Some(code) = cluster.topic_error(&topic) {
            let what = format!("topic `{topic}`");
            let refused = ClusterError::Refused { what, code, message: None };
            if !code.is_retriable() {
                return Err(SendError::UnknownTopic { topic, reason: refused });
            }
            last = Some(refused);
        }
        let next = async {
            if partition.is_some() && !asked {
                cluster.refresh().await.map(drop)
            } else {
                // The cluster keeps asking about topics that are not settled.
                tokio::select! {
                    changed = views.changed() => changed.map_err(|_| NetError::DriverGone.into()),
                    refusal = cluster.refused() => Err(refusal),
                }
            }
        };
        match tokio::time::timeout_at(deadline, next).await {
            Err(_) => return Err(SendError::UnknownTopic { topic, reason: why(last) }),
            Ok(Ok(())) => asked = true,
            Ok(Err(reason)) if reason.is_refusal() => {
                return Err(SendError::UnknownTopic { topic, reason });
            }
            Ok(Err(error)) => {
                last = Some(error);
                // The refresher tries again by itself; its next picture wakes us.
                if tokio::time::timeout_at(deadline, views.changed()).await.is_err() {
                    return Err(SendError::UnknownTopic { topic, reason: why(last) });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kohort_client_core::metadata::MetadataScope;
    use kohort_protocol::messages::metadata::{
        MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
    };

    use super::super::shared::accumulator_config;
    use super::*;

    fn view_of(names: &[&str]) -> MetadataView {
        let topic = |name: &&str| MetadataResponseTopic {
            name: Some((*name).to_owned()),
            partitions: vec![MetadataResponsePartition::default()],
            ..MetadataResponseTopic::default()
        };
        let topics = names.iter().map(topic).collect();
        let answer = MetadataResponse { topics, ..MetadataResponse::default() };
        MetadataView::default().merge(&answer, 9, MetadataScope::AllTopics).0
    }

    #[test]
    fn a_topic_is_found_whichever_was_asked_for_before_and_whatever_came_and_went() {
        let config = ProducerConfig::default();
        let mut accumulator = Accumulator::<()>::new(accumulator_config(&config, 7));
        let mut table = TopicTable::new(&config, 7, None);
        let placed = |table: &mut TopicTable, name: &str| {
            let record = ProducerRecord::to(name).partition(0);
            table.place(&record).map(|(_, topic, _)| topic.name.to_string())
        };
        for names in [&["b", "d"][..], &["a", "b", "c", "d"], &["a", "c"], &["c"], &[]] {
            table.update(&view_of(names), &mut accumulator);
            for name in ["b", "b", "d", "a", "b", "c", "c", "d"] {
                let known = names.contains(&name).then(|| name.to_owned());
                assert_eq!(placed(&mut table, name), known, "`{name}` of {names:?}");
            }
        }
    }
}
