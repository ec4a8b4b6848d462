//! The group coordinator's shards: which there are, and the way to them.
//!
//! A shard is one task per partition of `__consumer_offsets`, and a desk where connections have their calls decided
//! (see [`shard_task`](crate::shard_task)).
//! Those whose partition holds anything start with the broker, so that sessions of members that are
//! gone run out; the others start with their first request.

use crate::caller::{Caller, Known};
use crate::clock::Clock;
use crate::cluster::command::ControllerHandle;
use crate::cluster::decide::NewTopic;
use crate::cluster::metadata::Metadata;
use crate::cluster::topics::{OFFSETS_TOPIC, Topic};
use crate::config::{BrokerConfig, LiveConfig};
use crate::group_events::GroupEvents;
use crate::metrics::Metrics;
use crate::partition::Partition;
use crate::shard_task::{
    Decided, Desk, PendingAnswer, Queued, ShardCall, ShardLoad, ShardMessage, ShardName, ShardTask,
    SharedByShards, Survey,
};
use crate::vital::Vital;
use kohort_coordinator::{
    Closing, GroupCall, GroupRequest, GroupResponse, RequestContext, SurveyedGroup, partition_for,
    split,
};
use kohort_protocol::ErrorCode;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, warn};

/// Requests waiting for one shard. When it is full, the connections that bring more wait.
const SHARD_QUEUE: usize = 1024;
/// How long a stopping broker waits for its shards.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The way to every shard.
#[derive(Debug)]
pub(crate) struct Groups {
    config: Arc<LiveConfig>,
    clock: Arc<Clock>,
    metadata: Arc<Metadata>,
    metrics: Arc<Metrics>,
    vital: Vital,
    stopping: watch::Receiver<bool>,
    shared: Arc<SharedByShards>,
    /// Read for each request, written when a shard starts.
    shards: RwLock<BTreeMap<i32, Shard>>,
    /// Whether it was told that the topic could not be created.
    refused: AtomicBool,
}

/// One shard at work.
#[derive(Debug)]
struct Shard {
    way: Way,
    surveys: mpsc::Sender<Survey>,
    task: JoinHandle<()>,
}

/// The way to one shard: its desk, and the queue of its task.
#[derive(Debug, Clone)]
struct Way {
    desk: Arc<Desk>,
    calls: mpsc::Sender<Queued>,
}

impl Way {
    fn try_send(
        &self,
        message: impl Into<ShardMessage>,
    ) -> Result<(), mpsc::error::TrySendError<Queued>> {
        self.calls.try_send(self.desk.queue(message))
    }

    /// Waits for room.
    async fn send(&self, queued: Queued) {
        if let Err(unsent) = self.calls.send(queued).await {
            unsent.0.refuse(ErrorCode::NOT_COORDINATOR);
        }
    }
}

/// The way to ask one shard what there is in it.
#[derive(Debug)]
pub(crate) struct Surveys(mpsc::Sender<Survey>);

impl Surveys {
    /// Returns the groups after `after`; nothing if the shard is loading or gone. Waits for the
    /// shard, so it belongs on a thread that may.
    pub(crate) fn ask(
        &self,
        after: Option<Arc<str>>,
        offsets_max: usize,
    ) -> Option<Vec<SurveyedGroup>> {
        let (reply, answer) = oneshot::channel();
        self.0.blocking_send(Survey { after, offsets_max, reply }).ok()?;
        answer.blocking_recv().ok()
    }
}

/// The answers of the shards that a request was sent to.
#[derive(Debug)]
pub(crate) enum Answers {
    /// Of the only one, as nearly every request is about one group: here already.
    Now(GroupResponse),
    /// Of the only one, to come.
    One(PendingAnswer),
    /// Of as many as it concerns, maybe none.
    Several(Vec<PendingAnswer>),
}

/// A request that is not with its shards yet, because a queue was full.
#[derive(Debug)]
pub(crate) struct Unsent {
    sent: Vec<PendingAnswer>,
    rest: Vec<(i32, Box<ShardCall>, PendingAnswer)>,
}

/// Returns what committed offsets' topic is made with.
pub(crate) fn offsets_topic(config: &BrokerConfig) -> NewTopic {
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
    ];
    NewTopic {
        partitions: config.offsets_topic_num_partitions,
        configs: configs.into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect(),
        ..NewTopic::with_defaults(OFFSETS_TOPIC)
    }
}

impl Groups {
    /// Starts the shards that have something to load.
    pub(crate) fn start(
        config: Arc<LiveConfig>,
        clock: Arc<Clock>,
        metadata: Arc<Metadata>,
        metrics: Arc<Metrics>,
        events: Option<Arc<GroupEvents>>,
        vital: Vital,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let groups = Self {
            config,
            clock,
            metadata,
            metrics,
            vital,
            stopping,
            shared: Arc::new(SharedByShards::new(events)),
            shards: RwLock::default(),
            refused: AtomicBool::new(false),
        };
        let topic = groups.topic();
        for partition in topic.iter().flat_map(|topic| &topic.partitions) {
            if partition.log.log_end_offset() > partition.log.log_start_offset() {
                groups.shard(partition);
            }
        }
        groups
    }

    /// Returns the topic of committed offsets, if it exists.
    pub(crate) fn topic(&self) -> Option<Arc<Topic>> {
        self.metadata.topics.named(OFFSETS_TOPIC)
    }

    /// Creates the topic of committed offsets if need be.
    pub(crate) async fn ensure_topic(
        &self,
        controller: &ControllerHandle,
        topic: NewTopic,
    ) -> ErrorCode {
        let created = controller.create(vec![topic], false).await;
        let failure = created.iter().find_map(|created| created.as_ref().err());
        match failure {
            Some(failure) if self.topic().is_none() => {
                let reason = failure.message.as_deref().unwrap_or_default();
                // Clients ask again several times a second.
                if !self.refused.swap(true, Ordering::Relaxed) {
                    error!(
                        topic = OFFSETS_TOPIC,
                        reason, "the topic that groups need could not be created"
                    );
                }
                ErrorCode::COORDINATOR_NOT_AVAILABLE
            }
            _ => ErrorCode::NONE,
        }
    }

    /// Hands a request to the shards of its groups, without waiting. `topic` is that of committed
    /// offsets; without it nobody is asked.
    pub(crate) fn try_send_all(
        &self,
        topic: Option<&Topic>,
        caller: &Caller,
        context: RequestContext,
        request: GroupRequest,
    ) -> Result<Answers, Unsent> {
        let Some(topic) = topic else { return Ok(Answers::Several(Vec::new())) };
        let partitions = topic.partitions.len() as i32;
        if let Some(group) = request.only_group() {
            let index = partition_for(group, partitions);
            let shows = request.speaks_for_a_member()
                && caller.speaks_to(index, request.begins_a_membership());
            return self.try_send_one(topic, index, GroupCall { context, request }, shows);
        }
        // ListGroups asks every shard; those without a log have no groups.
        let listing = matches!(request, GroupRequest::ListGroups(_));
        let holds_groups = |index: i32| {
            let log = topic.partition(index).map(|partition| &partition.log);
            log.is_some_and(|log| log.log_end_offset() > log.log_start_offset())
                || self.shards.read().contains_key(&index)
        };
        let (mut sent, mut rest) = (Vec::new(), Vec::new());
        for (index, request) in split(request, partitions) {
            if listing && !holds_groups(index) {
                continue;
            }
            let call = GroupCall { context: context.clone(), request };
            let (call, answer) = ShardCall::new(call, false);
            match self.try_send(topic, index, call) {
                None => sent.push(answer),
                Some(call) => rest.push((index, call, answer)),
            }
        }
        if rest.is_empty() { Ok(Answers::Several(sent)) } else { Err(Unsent { sent, rest }) }
    }

    /// Has a call decided at its shard's desk, or hands it to the shard's task.
    fn try_send_one(
        &self,
        topic: &Topic,
        index: i32,
        call: GroupCall,
        shows: bool,
    ) -> Result<Answers, Unsent> {
        if let Some(desk) = self.shards.read().get(&index).and_then(|shard| shard.way.desk.free()) {
            return Ok(match desk.decide(call, shows) {
                Decided::Now(response) => Answers::Now(response),
                Decided::Later(answer) => Answers::One(answer),
            });
        }
        let (call, answer) = ShardCall::new(call, shows);
        match self.try_send(topic, index, call) {
            None => Ok(Answers::One(answer)),
            Some(call) => Err(Unsent { sent: Vec::new(), rest: vec![(index, call, answer)] }),
        }
    }

    /// Hands a call to a shard, or gives it back if its queue is full.
    fn try_send(&self, topic: &Topic, index: i32, call: Box<ShardCall>) -> Option<Box<ShardCall>> {
        let shards = self.shards.read();
        let sent = if let Some(shard) = shards.get(&index) {
            shard.way.try_send(call)
        } else {
            drop(shards);
            let Some(partition) = topic.partition(index) else {
                call.refuse(ErrorCode::NOT_COORDINATOR);
                return None;
            };
            self.shard(partition).try_send(call)
        };
        match sent {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(message)) => message.into_call(),
            Err(mpsc::error::TrySendError::Closed(message)) => {
                message.refuse(ErrorCode::NOT_COORDINATOR);
                None
            }
        }
    }

    /// Hands a request to the shards of its groups, waiting for room.
    pub(crate) async fn send_all(
        &self,
        caller: &Caller,
        context: RequestContext,
        request: GroupRequest,
    ) -> Answers {
        match self.try_send_all(self.topic().as_deref(), caller, context, request) {
            Ok(answers) => answers,
            Err(unsent) => self.send_rest(unsent).await,
        }
    }

    /// Waits for room for what could not be handed over.
    pub(crate) async fn send_rest(&self, unsent: Unsent) -> Answers {
        let Unsent { mut sent, rest } = unsent;
        for (index, call, answer) in rest {
            let topic = self.topic();
            match topic.and_then(|topic| self.way_to(&topic, index)) {
                Some(way) => way.send(way.desk.queue(call)).await,
                None => call.refuse(ErrorCode::NOT_COORDINATOR),
            }
            sent.push(answer);
        }
        Answers::Several(sent)
    }

    /// Takes in whose a connection is, by the first name its client gives.
    pub(crate) fn known<'a>(&self, caller: &'a Caller, client_id: Option<&str>) -> &'a Known {
        caller.known_as(client_id, |known| {
            let (id, now) = (client_id.unwrap_or_default(), self.clock.steady());
            self.shared.clients.lock().opened(now, caller.connection, id, &known.host);
        })
    }

    /// Takes in that a connection is over, and tells the shards whose members spoke over it if a process
    /// may have died with it.
    pub(crate) fn connection_closed(&self, caller: &Caller, closing: Closing) {
        if caller.known().is_none() {
            return;
        }
        let ended =
            self.shared.clients.lock().closed(self.clock.steady(), caller.connection, closing);
        // A broker that stops ends its connections itself, and those it has not yet ended do not matter.
        if *self.stopping.borrow() {
            return;
        }
        for connection in ended {
            // Of a connection that was reset before, it is no longer known where it was heard.
            let heard = |shard| connection != caller.connection || caller.spoke_to(shard);
            let shards = self.shards.read();
            let told = shards.iter().filter(|(index, _)| heard(**index));
            for (_, shard) in told {
                let message = ShardMessage::ConnectionClosed(connection);
                if let Err(mpsc::error::TrySendError::Full(queued)) = shard.way.try_send(message) {
                    // After what is queued, as the connection's own last request was.
                    let way = shard.way.clone();
                    tokio::spawn(async move { way.send(queued).await });
                }
            }
        }
    }

    /// Returns the ways to ask each shard what there is in it.
    pub(crate) fn surveys(&self) -> Vec<Surveys> {
        self.shards.read().values().map(|shard| Surveys(shard.surveys.clone())).collect()
    }

    fn way_to(&self, topic: &Topic, index: i32) -> Option<Way> {
        if let Some(shard) = self.shards.read().get(&index) {
            return Some(shard.way.clone());
        }
        Some(self.shard(topic.partition(index)?))
    }

    /// Returns the shard of a partition, starting it if need be.
    fn shard(&self, partition: &Arc<Partition>) -> Way {
        let mut shards = self.shards.write();
        shards
            .entry(partition.index)
            .or_insert_with(|| {
                let name = ShardName(partition.index);
                let desk = Arc::new(Desk::new(name, self.vital.clone()));
                let (sender, calls) = mpsc::channel(SHARD_QUEUE);
                let (surveys, surveyed) = mpsc::channel(1);
                let task = ShardTask::new(
                    Arc::clone(&desk),
                    Arc::clone(partition),
                    Arc::clone(&self.config),
                    Arc::clone(&self.clock),
                    Arc::clone(&self.metadata),
                    Arc::clone(&self.metrics),
                    Arc::clone(&self.shared),
                );
                let task = task.run(calls, surveyed, self.stopping.clone());
                let task = self.vital.spawn(name, task);
                Shard { way: Way { desk, calls: sender }, surveys, task }
            })
            .way
            .clone()
    }

    /// Lets the shards write down their state when they are stopped.
    pub(crate) fn stop_orderly(&self) {
        self.shared.stop_orderly();
    }

    /// Waits until the shards, which have been told to stop, are done, but not for ever.
    pub(crate) async fn stopped(&self) {
        let shards = std::mem::take(&mut *self.shards.write());
        let all = async {
            for shard in shards.into_values() {
                // A task that panicked is done, too.
                let _ = shard.task.await;
            }
        };
        if timeout(STOP_PATIENCE, all).await.is_err() {
            warn!(
                "group coordinators were not done in time; the next start reads more of their log"
            );
        }
    }

    /// Returns what loading each shard took.
    pub(crate) fn loads(&self) -> Vec<ShardLoad> {
        self.shared.loads()
    }
}
