//! The one writer of the cluster's metadata.
//!
//! A task owns the metadata log and takes commands one at a time: decide (see [`decide`]), make the
//! new partitions' logs, append the records, wait until they are durable, apply them, answer. A
//! crash between making a log and the record leaves an empty log nobody knows, which the next start
//! removes; a crash after the record leaves a log to make, which the next start makes. So the
//! metadata log alone says what exists.
//!
//! [`decide`]: super::decide

use super::api_error::ApiError;
use super::command::{Command, ConfigEdit, ControllerHandle, CreatedTopic, Growth, Results};
use super::decide::{self, NewTopic};
use super::decide_configs;
use super::metadata::Metadata;
use super::record::{MetadataRecord, Resource, ResourceKind};
use super::state::ClusterState;
use super::topics::{OFFSETS_TOPIC, Topic};
use crate::clock::Clock;
use crate::config::{LiveConfig, TopicConfig};
use crate::metrics::Metrics;
use crate::partition::{Partition, cleaner_config, log_config};
use crate::random;
use crate::vital::Vital;
use bytes::Bytes;
use kohort_log::validator::AppendOrigin;
use kohort_protocol::compression::Compressor;
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};
use kohort_protocol::{ErrorCode, Uuid};
use kohort_storage::{LogDir, PartitionId, PartitionLog};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

/// How many producer ids are taken from the log at a time, as in Kafka.
pub(crate) const PRODUCER_ID_BLOCK: i64 = 1000;
/// How many topics or partitions are gone through before others have a turn on the same thread.
const TURN: usize = 64;

/// The controller's own things.
pub(crate) struct Controller {
    pub(crate) node_id: i32,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) log_dir: Arc<LogDir>,
    pub(crate) log: Arc<PartitionLog>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Controller {
    /// Starts the controller's task.
    pub(crate) fn start(self, vital: &Vital) -> ControllerHandle {
        let (handle, commands) = ControllerHandle::channel();
        vital.spawn("the controller's task", self.run(commands));
        handle
    }

    async fn run(self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Create { topics, validate_only, reply } => {
                    let _ = reply.send(self.create(&topics, validate_only).await);
                }
                Command::Delete { ids, reply } => {
                    let enabled = self.config.typed().delete_topic_enable;
                    let decided = ids
                        .into_iter()
                        .map(|id| decide::delete_topic(&self.metadata.state.read(), enabled, id))
                        .collect();
                    let _ = reply.send(self.commit_all(decided, false).await);
                }
                Command::Grow { growths, validate_only, reply } => {
                    let _ = reply
                        .send(self.commit_all(self.decide_growth(&growths), validate_only).await);
                }
                Command::Configure { edits, validate_only, reply } => {
                    let _ =
                        reply.send(self.commit_all(self.decide_edits(&edits), validate_only).await);
                }
                Command::Decide { decide, validate_only, reply } => {
                    let decided = decide(&self.metadata.state.read());
                    let _ = reply.send(self.commit_all(decided, validate_only).await);
                }
                Command::ProducerIds { reply } => {
                    let _ = reply.send(self.producer_ids().await);
                }
            }
        }
    }

    async fn create(&self, topics: &[NewTopic], validate_only: bool) -> Results<CreatedTopic> {
        let settings = self.config.settings();
        if let Err(refusal) = decide::check_partitions_in_all(&settings, topics) {
            return topics.iter().map(|_| Err(refusal.clone())).collect();
        }
        if let Err(full) = self.check_room() {
            return topics.iter().map(|_| Err(full.clone())).collect();
        }
        let mut created = Vec::with_capacity(topics.len());
        let mut decided = Vec::with_capacity(topics.len());
        for (turn, topic) in topics.iter().enumerate() {
            others_first(turn).await;
            let id = random::topic_id();
            let records = decide::create_topic(
                &self.metadata.state.read(),
                &settings,
                self.node_id,
                topic,
                id,
            );
            created.push(records.as_ref().ok().map(|records| described(id, records)));
            decided.push(records);
        }
        let results = self.commit_all(decided, validate_only).await;
        let created = created.into_iter().zip(results);
        created
            .map(|(created, result)| {
                result.map(|()| created.expect("what was committed was decided"))
            })
            .collect()
    }

    /// On a full disk the room that is left is for what frees some, such as the deletion of topics.
    fn check_room(&self) -> Result<(), ApiError> {
        if !self.log_dir.is_disk_full() {
            return Ok(());
        }
        let message = "the disk is full: nothing can be created until space is freed";
        Err(ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, message))
    }

    fn decide_growth(&self, growths: &[Growth]) -> Results<Vec<MetadataRecord>> {
        if let Err(full) = self.check_room() {
            return growths.iter().map(|_| Err(full.clone())).collect();
        }
        let state = self.metadata.state.read();
        let grow = |growth: &Growth| {
            let assignments = growth.assignments.as_deref();
            decide::add_partitions(&state, self.node_id, &growth.topic, growth.count, assignments)
        };
        growths.iter().map(grow).collect()
    }

    fn decide_edits(&self, edits: &[(Resource, ConfigEdit)]) -> Results<Vec<MetadataRecord>> {
        let state = self.metadata.state.read();
        let settings = self.config.settings();
        let edit = |(resource, edit): &(Resource, ConfigEdit)| match edit {
            ConfigEdit::Incremental(changes) => {
                decide_configs::alter_configs(&state, &settings, resource, changes)
            }
            ConfigEdit::Replace(values) => {
                decide_configs::replace_configs(&state, &settings, resource, values)
            }
        };
        edits.iter().map(edit).collect()
    }

    async fn producer_ids(&self) -> Result<Range<i64>, ApiError> {
        let first = self.metadata.state.read().next_producer_id;
        let next = first + PRODUCER_ID_BLOCK;
        self.commit(&[MetadataRecord::ProducerIds { broker: self.node_id, next }]).await?;
        Ok(first..next)
    }

    /// Commits what was decided for several things as one batch, and tells each how it went.
    async fn commit_all(
        &self,
        decided: Results<Vec<MetadataRecord>>,
        validate_only: bool,
    ) -> Results<()> {
        let accepted = decided.iter().filter_map(|records| records.as_ref().ok());
        let committed = match decide::check_record_count(accepted.clone().map(Vec::len).sum()) {
            Err(refusal) => return decided.iter().map(|_| Err(refusal.clone())).collect(),
            Ok(()) if validate_only => Ok(()),
            Ok(()) => {
                let records: Vec<MetadataRecord> = accepted.flatten().cloned().collect();
                self.commit(&records).await
            }
        };
        decided.into_iter().map(|records| records.and_then(|_| committed.clone())).collect()
    }

    async fn commit(&self, records: &[MetadataRecord]) -> Result<(), ApiError> {
        if records.is_empty() {
            return Ok(());
        }
        let prepared = self.prepare(records).await?;
        if let Err(failure) = append(&self.log, self.clock.wall(), records).await {
            error!(error = %failure.message.as_deref().unwrap_or_default(), "metadata could not be written");
            for log in prepared.keys() {
                let _ = self.log_dir.delete_partition(log.0, log.1, drop);
            }
            return Err(failure);
        }
        {
            let mut state = self.metadata.state.write();
            for record in records {
                state.apply(record);
            }
        }
        self.publish(records, prepared).await;
        Ok(())
    }

    /// Makes the logs of the partitions that `records` bring into being.
    async fn prepare(
        &self,
        records: &[MetadataRecord],
    ) -> Result<BTreeMap<(Uuid, i32), Arc<PartitionLog>>, ApiError> {
        // A new topic's name and configuration are in the records that come with it.
        let mut fresh = ClusterState::default();
        for record in records {
            fresh.apply(record);
        }
        let mut topic: Option<(Uuid, String, TopicConfig)> = None;
        let mut prepared = BTreeMap::new();
        for record in records {
            let MetadataRecord::Partition { topic_id, index, .. } = record else {
                continue;
            };
            others_first(prepared.len()).await;
            let (_, name, config) = match topic.take() {
                Some(same) if same.0 == *topic_id => topic.insert(same),
                _ => topic.insert(self.of_topic(*topic_id, &fresh)),
            };
            let made = make_log(&self.log_dir, *topic_id, name, *index, config);
            match made {
                Ok(log) => drop(prepared.insert((*topic_id, *index), log)),
                Err(error) => {
                    for (topic_id, index) in prepared.keys() {
                        let _ = self.log_dir.delete_partition(*topic_id, *index, drop);
                    }
                    let message = format!("The partition's log could not be made: {error}");
                    return Err(ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, message));
                }
            }
        }
        Ok(prepared)
    }

    /// Returns a topic's name and configuration, be it there already or among those to be made.
    fn of_topic(&self, id: Uuid, fresh: &ClusterState) -> (Uuid, String, TopicConfig) {
        let current = self.metadata.state.read();
        let (name, state) = match fresh.topic_name(id) {
            Some(name) => (name, fresh),
            None => (current.topic_name(id).unwrap_or_default(), &*current),
        };
        (id, name.to_owned(), topic_config(state, name, &self.config))
    }

    /// Brings what is in service in line with records that are durable and applied.
    async fn publish(
        &self,
        records: &[MetadataRecord],
        mut prepared: BTreeMap<(Uuid, i32), Arc<PartitionLog>>,
    ) {
        let mut touched = BTreeSet::new();
        let mut brokers_changed = false;
        let mut topics_changed = false;
        let mut groups_changed = false;
        let mut quotas_changed = false;
        for record in records {
            match record {
                MetadataRecord::Topic { name, id } => {
                    topics_changed = true;
                    info!(topic = %name, %id, "topic created");
                }
                MetadataRecord::Partition { topic_id, .. } => {
                    topics_changed = true;
                    touched.insert(*topic_id);
                }
                MetadataRecord::Config { resource, .. } => match resource.kind {
                    ResourceKind::Topic => {
                        touched.extend(
                            self.metadata.topics.named(&resource.name).map(|topic| topic.id),
                        );
                    }
                    ResourceKind::Broker => brokers_changed = true,
                    ResourceKind::Group => groups_changed = true,
                },
                MetadataRecord::RemoveTopic { id } => {
                    topics_changed = true;
                    touched.remove(id);
                    self.retire(*id);
                }
                MetadataRecord::ClientQuota { .. } => quotas_changed = true,
                MetadataRecord::ProducerIds { .. }
                | MetadataRecord::ClusterId(_)
                | MetadataRecord::Scram { .. } => {}
            }
        }
        if quotas_changed {
            self.metadata.quotas.replace(self.metadata.state.read().quotas.clone());
        }
        if brokers_changed {
            apply_broker_configs(
                &self.metadata.state.read(),
                self.node_id,
                &self.config,
                &self.log_dir,
            );
            touched.extend(self.metadata.topics.all().iter().map(|topic| topic.id));
        }
        for (turn, id) in touched.into_iter().enumerate() {
            others_first(turn).await;
            self.refresh(id, &mut prepared);
        }
        // Coordinators look at the configuration when they look at the topics.
        if topics_changed || groups_changed || brokers_changed {
            self.metadata.changes.send_modify(|count| *count += 1);
        }
    }

    /// Puts a topic into service as the metadata now has it.
    fn refresh(&self, id: Uuid, prepared: &mut BTreeMap<(Uuid, i32), Arc<PartitionLog>>) {
        let state = self.metadata.state.read();
        let Some(name) = state.topic_name(id) else { return };
        let config = topic_config(&state, name, &self.config);
        let old = self.metadata.topics.with_id(id);
        let old_partitions = old.iter().flat_map(|topic| &topic.partitions);
        let mut partitions: Vec<Arc<Partition>> = old_partitions.cloned().collect();
        for partition in &partitions {
            partition.log.set_config(log_config(&config));
        }
        for index in partitions.len() as i32..state.topics[name].leader_epochs.len() as i32 {
            let log = prepared.remove(&(id, index)).expect("a new partition's log was made before");
            partitions.push(Arc::new(Partition::new(id, index, log)));
        }
        let name = old.map_or_else(|| Arc::from(name), |topic| Arc::clone(&topic.name));
        self.metadata.topics.put(Topic { name, id, config: Arc::new(config), partitions });
    }

    fn retire(&self, id: Uuid) {
        let Some(topic) = self.metadata.topics.remove(id) else { return };
        info!(topic = %topic.name, %id, "topic deleted");
        self.metrics.topic_is_gone(&topic);
        for partition in &topic.partitions {
            // Whoever waits for it learns that it is gone.
            partition.waiters.wake();
            if let Err(error) = self.log_dir.delete_partition(id, partition.index, drop) {
                error!(topic = %topic.name, partition = partition.index, %error, "a deleted topic's log could not be removed");
            }
        }
    }
}

/// Lets other connections have a turn now and then, while a long command is worked through.
async fn others_first(done: usize) {
    if done % TURN == TURN - 1 {
        tokio::task::yield_now().await;
    }
}

/// Returns a topic's configuration in force. The offsets topic has defaults of its own.
pub(super) fn topic_config(state: &ClusterState, name: &str, config: &LiveConfig) -> TopicConfig {
    let mut topic = state.topic_config(name, &config.settings());
    let own = state.config(ResourceKind::Topic, name);
    if name == OFFSETS_TOPIC && !own.contains_key("segment.bytes") {
        topic.segment_bytes = config.typed().offsets_topic_segment_bytes;
    }
    topic
}

/// Makes or finds the log of a partition.
pub(super) fn make_log(
    log_dir: &LogDir,
    topic_id: Uuid,
    topic: &str,
    index: i32,
    config: &TopicConfig,
) -> Result<Arc<PartitionLog>, kohort_storage::StorageError> {
    if let Some(log) = log_dir.partition(topic_id, index) {
        log.set_config(log_config(config));
        return Ok(log);
    }
    let id = PartitionId { topic_id, topic: topic.into(), index };
    log_dir.create_partition(id, log_config(config))
}

/// Takes the brokers' altered properties over into the configuration in force.
pub(super) fn apply_broker_configs(
    state: &ClusterState,
    node_id: i32,
    config: &LiveConfig,
    log_dir: &LogDir,
) {
    config.alter(true, state.config(ResourceKind::Broker, ""));
    config.alter(false, state.config(ResourceKind::Broker, &node_id.to_string()));
    log_dir.set_cleaner_config(cleaner_config(&config.typed()));
}

/// Appends records as one batch and waits until they are durable.
pub(super) async fn append(
    log: &PartitionLog,
    now: i64,
    records: &[MetadataRecord],
) -> Result<(), ApiError> {
    let failed = |message: String| ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, message);
    let batch = batch_of(now, records).map_err(failed)?;
    let (done, durable) = oneshot::channel();
    log.append(now, batch, AppendOrigin::Coordinator, move |result| drop(done.send(result)))
        .map_err(|error| failed(error.to_string()))?;
    match durable.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("the log was closed".to_owned())),
    }
}

/// Makes a batch of these records.
pub(crate) fn batch_of(now: i64, records: &[MetadataRecord]) -> Result<Bytes, String> {
    let mut builder = BatchBuilder::new();
    for record in records {
        let value = record.encode().map_err(|error| error.to_string())?;
        let record = NewRecord { timestamp: now, value: Some(&value), ..NewRecord::default() };
        builder.append(&record).map_err(|error| error.to_string())?;
    }
    Ok(builder.build(&BatchOptions::default(), &mut Compressor::none()))
}

fn described(id: Uuid, records: &[MetadataRecord]) -> CreatedTopic {
    let mut created = CreatedTopic { id, partitions: 0, own_config: BTreeMap::new() };
    for record in records {
        match record {
            MetadataRecord::Partition { .. } => created.partitions += 1,
            MetadataRecord::Config { name, value: Some(value), .. } => {
                created.own_config.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    created
}
