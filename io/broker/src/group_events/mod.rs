//! Every rebalance, told in a topic that any consumer may read.
//!
//! ```text
//!  shards ── rebalance told ───► ┌──────┐
//!         ── partitions given ─► │ task │ ── JSON records ──► __kohort_group_events
//!  Fetch ── partition begun ───► └──────┘
//! ```
//!
//! The topic has one partition, so events have one order, and is bounded by retention as others are.
//! Nobody waits for an event: when the queue is full, or the log takes none, it is dropped and counted.

mod bounds;
mod schema;

use crate::clock::{Clock, Timestamp};
use crate::cluster::command::ControllerHandle;
use crate::cluster::decide::NewTopic;
use crate::cluster::metadata::Metadata;
use crate::cluster::topics::EVENTS_TOPIC;
use crate::stopping::stopped;
use kohort_coordinator::{Given, GroupEffect, Handover, Handovers, Rebalance};
use kohort_log::validator::AppendOrigin;
use kohort_protocol::compression::Compressor;
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::warn;

pub use schema::{
    CauseEvent, GroupEvent, HandoverEvent, MemberEvent, MovedPartition, RebalanceEvent,
    RevocationEvent, RevokedPartition, SCHEMA_VERSION, ServedPartition, SlowestMember,
};

/// Events that wait to be written. A rebalance of every group of a large broker fits.
const QUEUE: usize = 16_384;
/// Events written as one batch.
const BATCH: usize = 256;
/// How long the topic keeps what it is told, unless its properties are altered.
const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How much it keeps of that.
const RETENTION_BYTES: i64 = 256 * 1024 * 1024;
/// The size of its segments: retention takes whole ones.
const SEGMENT_BYTES: i64 = 16 * 1024 * 1024;

/// Where events are told.
#[derive(Debug)]
pub(crate) struct GroupEvents {
    told: mpsc::Sender<Told>,
    /// How many moves of partitions wait in the queue, and one more while somebody's first fetch is waited for:
    /// then, and only then, Fetch tells what it reads. A member may fetch what it was given before the task has
    /// heard of it, but not before that counts here.
    awaits_fetches: AtomicUsize,
}

#[derive(Debug)]
enum Told {
    Rebalance(Box<Rebalance>),
    Given(Box<Given>),
    Fetched { at: Timestamp, topic: Arc<str>, partition: i32, client_id: String, host: String },
}

/// The task that writes them, before it runs.
#[derive(Debug)]
pub(crate) struct Writer {
    events: Arc<GroupEvents>,
    queue: mpsc::Receiver<Told>,
    clock: Arc<Clock>,
    metadata: Arc<Metadata>,
    controller: ControllerHandle,
    handovers: Handovers,
    /// Whether that counts among what awaits fetches.
    awaits_fetches: bool,
}

impl GroupEvents {
    /// Returns the place to tell, and what is told there.
    pub(crate) fn new() -> (Arc<Self>, EventQueue) {
        let (told, queue) = mpsc::channel(QUEUE);
        (Arc::new(Self { told, awaits_fetches: AtomicUsize::new(0) }), EventQueue(queue))
    }

    /// Tells what happened to a group. To be called before the members hear of it: from then on they may fetch.
    pub(crate) fn happened(&self, effect: &GroupEffect) {
        let told = match effect {
            GroupEffect::Rebalance(rebalance) => Told::Rebalance(rebalance.clone()),
            GroupEffect::Given(given) => Told::Given(given.clone()),
            _ => return,
        };
        self.awaits_fetches.fetch_add(1, Ordering::Relaxed);
        if let Err(unsent) = self.told.try_send(told) {
            self.awaits_fetches.fetch_sub(1, Ordering::Relaxed);
            if let Told::Rebalance(rebalance) = unsent.into_inner() {
                warn!(group = &*rebalance.group, "a rebalance is not told: too many wait to be");
            }
        }
    }

    /// Tells whether fetches are to be told.
    pub(crate) fn awaits_fetches(&self) -> bool {
        self.awaits_fetches.load(Ordering::Relaxed) > 0
    }

    /// Tells that a client begins to read a partition.
    pub(crate) fn fetched(
        &self,
        at: Timestamp,
        topic: &Arc<str>,
        partition: i32,
        client_id: &str,
        host: String,
    ) {
        let (topic, client_id) = (Arc::clone(topic), client_id.to_owned());
        // One that is lost is found unserved.
        let _ = self.told.try_send(Told::Fetched { at, topic, partition, client_id, host });
    }
}

/// What waits to be written.
#[derive(Debug)]
pub(crate) struct EventQueue(mpsc::Receiver<Told>);

impl Writer {
    pub(crate) fn new(
        events: Arc<GroupEvents>,
        queue: EventQueue,
        clock: Arc<Clock>,
        metadata: Arc<Metadata>,
        controller: ControllerHandle,
    ) -> Self {
        let handovers = Handovers::default();
        let (queue, awaits_fetches) = (queue.0, false);
        Self { events, queue, clock, metadata, controller, handovers, awaits_fetches }
    }

    /// Writes events until the broker stops.
    pub(crate) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        loop {
            let mut told = Vec::new();
            // All are cancel-safe: what is received is received whole.
            tokio::select! {
                received = self.queue.recv_many(&mut told, BATCH) => if received == 0 { return },
                () = timeout(&self.clock, self.handovers.poll_timeout()) => {}
                () = stopped(&mut stopping) => return,
            }
            let moves = told.iter().filter(|told| !matches!(told, Told::Fetched { .. })).count();
            let events = self.take_in(told);
            self.count_awaited(moves);
            if !events.is_empty() {
                self.write(events).await;
            }
        }
    }

    /// Takes in that so many moves were taken out of the queue.
    fn count_awaited(&mut self, moves: usize) {
        let before = moves + usize::from(self.awaits_fetches);
        self.awaits_fetches = self.handovers.awaits_fetches();
        let counted = &self.events.awaits_fetches;
        // It must not seem for a moment that nobody waits.
        counted.fetch_add(usize::from(self.awaits_fetches), Ordering::Relaxed);
        counted.fetch_sub(before, Ordering::Relaxed);
    }

    fn take_in(&mut self, told: Vec<Told>) -> Vec<GroupEvent> {
        let (now, ahead) = self.clock.steady_and_ahead();
        let mut events = Vec::new();
        let handover = |it: Handover| {
            GroupEvent::Handover(HandoverEvent::new(now + ahead, &it.moved_by(ahead)))
        };
        for told in told {
            match told {
                Told::Rebalance(rebalance) => {
                    events.extend(self.handovers.rebalanced(&rebalance).map(handover));
                    events.push(GroupEvent::from(&rebalance.moved_by(ahead)));
                }
                Told::Given(given) => self.handovers.given(&given),
                Told::Fetched { at, topic, partition, client_id, host } => {
                    let over = self.handovers.fetched(at, &topic, partition, &client_id, &host);
                    events.extend(over.into_iter().map(handover));
                }
            }
        }
        events.extend(self.handovers.handle_timeout(now).into_iter().map(handover));
        events
    }

    async fn write(&self, events: Vec<GroupEvent>) {
        let Some(topic) = self.topic().await else {
            warn!(events = events.len(), "rebalances are not told: their topic cannot be made");
            return;
        };
        let Some(partition) = topic.partition(0) else { return };
        let now = self.clock.wall();
        for events in bounds::batches(events.into_iter().map(bounds::fit)) {
            let mut builder = BatchBuilder::new();
            for (group, value) in &events {
                let record = NewRecord {
                    timestamp: now,
                    key: Some(group.as_bytes()),
                    value: Some(value),
                    ..NewRecord::default()
                };
                if builder.append(&record).is_err() {
                    break;
                }
            }
            let batch = builder.build(&BatchOptions::default(), &mut Compressor::none());
            if let Err(error) = partition.log.append(now, batch, AppendOrigin::Coordinator, |_| {})
            {
                let events = events.len();
                warn!(%error, events, "rebalances are not told: their log takes nothing");
            }
        }
    }

    /// Returns the topic of events, making it if need be.
    async fn topic(&self) -> Option<Arc<crate::cluster::topics::Topic>> {
        if let Some(topic) = self.metadata.topics.named(EVENTS_TOPIC) {
            return Some(topic);
        }
        let created = self.controller.create(vec![events_topic()], false).await;
        if let Some(failure) = created.iter().find_map(|created| created.as_ref().err()) {
            let reason = failure.message.as_deref().unwrap_or_default();
            warn!(topic = EVENTS_TOPIC, reason, "the topic of events could not be created");
        }
        self.metadata.topics.named(EVENTS_TOPIC)
    }
}

/// Returns what the topic of rebalances is made with.
pub(crate) fn events_topic() -> NewTopic {
    let configs = [
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", RETENTION_MS.to_string()),
        ("retention.bytes", RETENTION_BYTES.to_string()),
        ("segment.bytes", SEGMENT_BYTES.to_string()),
    ];
    NewTopic {
        partitions: 1,
        configs: configs.into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect(),
        ..NewTopic::with_defaults(EVENTS_TOPIC)
    }
}

async fn timeout(clock: &Clock, due: Option<Timestamp>) {
    match due {
        Some(due) => {
            sleep(Duration::from_millis(u64::try_from(due - clock.steady()).unwrap_or(0))).await;
        }
        None => pending().await,
    }
}
