//! One group shard at work: the shell around the pure [`GroupShard`].
//!
//! ```text
//! calls ─► handle ─► Outcome ─► replay at once ─► one batch ─► log ─► durable ─► replies
//! timers, topics ─┘                                └── replies of later outcomes wait too ──┘
//! ```
//!
//! A call is decided at the shard's [desk], mostly by the connection that brings it; everything else comes to
//! the task. Calls that wait in its queue are decided one after another and appended as one batch: the more
//! there is to do, the less each costs. Several batches may be on their way to the disk; replies leave in
//! order, once the batch they depend on is durable. A batch that fails takes the shard with it: what
//! waits is refused, and a new shard is [loaded](loading) from the log, or from a snapshot and what follows it.

mod announce;
mod batch;
mod desk;
mod load;
mod loading;
mod message;
mod refusal;
mod serving;
mod shared;
mod snapshots;
mod timer;

use crate::clock::Clock;
use crate::cluster::metadata::Metadata;
use crate::config::{LiveConfig, group_config};
use crate::metrics::Metrics;
use crate::partition::Partition;
use crate::quiet::{Gate, Quiet};
use crate::stopping::stopped;
use kohort_coordinator::{GroupShard, Shard, error_for_failed_append};
use kohort_protocol::ErrorCode;
use refusal::refuse_queued;
use serving::{Means, Round, Serving, Told};
use snapshots::{Snapshots, Step};
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use timer::Timer;
use tokio::sync::{mpsc, watch};

pub(crate) use desk::{Desk, ShardName};
pub use load::ShardLoad;
pub(crate) use message::{Decided, PendingAnswer, Queued, ShardCall, ShardMessage, Survey};
pub(crate) use shared::SharedByShards;
pub(crate) use snapshots::Turns;

/// Calls decided before their records are appended as one batch.
const CALLS_PER_BATCH: usize = 256;

/// The task of one shard.
pub(crate) struct ShardTask {
    desk: Arc<Desk>,
    partition: Arc<Partition>,
    config: Arc<LiveConfig>,
    clock: Arc<Clock>,
    metadata: Arc<Metadata>,
    metrics: Arc<Metrics>,
    to_task: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
    snapshots: Snapshots,
    shared: Arc<SharedByShards>,
    /// How many members of the consumer groups of the shard that was the others know of.
    counted_members: usize,
}

/// Why serving ended.
enum End {
    /// The broker stops.
    Stopping,
    /// An append failed.
    Failed(ErrorCode),
    /// A connection panicked at the desk, which ends the broker.
    Panicked,
}

/// What the task has to do.
enum Event {
    Told(Told),
    Asked(Survey),
    TopicsChanged,
    TimerRang,
    Snapshot(Step),
    Called(Queued),
}

impl ShardTask {
    pub(crate) fn new(
        desk: Arc<Desk>,
        partition: Arc<Partition>,
        config: Arc<LiveConfig>,
        clock: Arc<Clock>,
        metadata: Arc<Metadata>,
        metrics: Arc<Metrics>,
        shared: Arc<SharedByShards>,
    ) -> Self {
        let snapshots = Snapshots::new(Arc::clone(&partition), shared.turns.clone(), 0, 0);
        let (to_task, told) = mpsc::unbounded_channel();
        Self {
            desk,
            partition,
            config,
            clock,
            metadata,
            metrics,
            to_task,
            told,
            snapshots,
            shared,
            counted_members: 0,
        }
    }

    /// Loads and serves until the broker stops.
    pub(crate) async fn run(
        mut self,
        mut calls: mpsc::Receiver<Queued>,
        mut surveys: mpsc::Receiver<Survey>,
        mut stopping: watch::Receiver<bool>,
    ) {
        loop {
            let Some(loaded) = self.load(&mut calls, &mut surveys, &mut stopping).await else {
                refuse_queued(&mut calls);
                return;
            };
            let end = self.serve(loaded, &mut calls, &mut surveys, &mut stopping).await;
            let Some(mut serving) = self.desk.close() else { return };
            match end {
                End::Stopping => {
                    self.settle(&mut serving).await;
                    serving.refuse_all(ErrorCode::NOT_COORDINATOR);
                    refuse_queued(&mut calls);
                    let is_stored = serving.failed().is_none();
                    if is_stored && self.shared.orderly.load(Ordering::Relaxed) {
                        self.note_appended(&mut serving);
                        let now = self.clock.wall();
                        self.snapshots.finish(now, serving.shard(), serving.end()).await;
                    }
                    return;
                }
                End::Failed(code) => {
                    serving.refuse_all(error_for_failed_append(code));
                    // What is still on its way must be decided before the log is read again.
                    while serving.has_batches_in_flight() {
                        let _ = self.next_written().await;
                        serving.skip_written();
                    }
                    self.counted_members = serving.counted_members();
                    self.snapshots.abandon().await;
                }
                End::Panicked => return,
            }
        }
    }

    async fn serve(
        &mut self,
        (shard, end): (GroupShard, i64),
        calls: &mut mpsc::Receiver<Queued>,
        surveys: &mut mpsc::Receiver<Survey>,
        stopping: &mut watch::Receiver<bool>,
    ) -> End {
        let mut changed = Quiet::new(next_change(self.metadata.changes.subscribe()));
        let mut stopped = Quiet::new(stopped(stopping));
        let (mut at_calls, mut at_surveys, mut at_told) =
            (Gate::default(), Gate::default(), Gate::default());
        self.begin(shard, end);
        let desk = Arc::clone(&self.desk);
        let mut timer = Timer::default();
        loop {
            let may_append = {
                let Some(mut turn) = desk.turn() else { return End::Panicked };
                let serving = turn.serving();
                if let Some(code) = serving.failed() {
                    return End::Failed(code);
                }
                serving.task_came(timer.set(serving.shard().poll_timeout(), &self.clock));
                serving.may_append()
            };
            // All branches are cancel-safe: they take something out of a channel or nothing. Topics
            // and timers come before calls, which never end on a busy broker: a commit must know
            // the topic that was just created, and a session must end when its time is over.
            let event = tokio::select! {
                biased;
                () = &mut stopped => return End::Stopping,
                Some(told) = poll_fn(|context| {
                    at_told.poll(context, |inner| self.told.poll_recv(inner))
                }) => Event::Told(told),
                Some(survey) = poll_fn(|context| {
                    at_surveys.poll(context, |inner| surveys.poll_recv(inner))
                }) => Event::Asked(survey),
                changes = &mut changed, if may_append => {
                    changed.set(next_change(changes));
                    Event::TopicsChanged
                }
                () = timer.rings(), if may_append => Event::TimerRang,
                step = self.snapshots.step() => Event::Snapshot(step),
                Some(call) = poll_fn(|context| {
                    at_calls.poll(context, |inner| calls.poll_recv(inner))
                }), if may_append => Event::Called(call),
            };
            let Some(mut turn) = desk.turn() else { return End::Panicked };
            let serving = turn.serving();
            self.see_to(event, serving, &mut timer, calls);
            self.note_appended(serving);
            self.snapshots.begin_if_due(&self.clock, serving.end());
        }
    }

    /// Opens the desk with a shard that was loaded.
    fn begin(&self, shard: GroupShard, end: i64) {
        let means = Means {
            partition: Arc::clone(&self.partition),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            shared: Arc::clone(&self.shared),
            changes: self.metadata.changes.subscribe(),
            to_task: self.to_task.clone(),
            counted_members: self.counted_members,
        };
        let mut serving = Serving::new(shard, end, means);
        let mut round = Round::default();
        serving.handle_loaded(&mut round);
        self.learn_topics(&mut serving, &mut round);
        serving.commit(round);
        self.desk.open(serving);
    }

    fn see_to(
        &mut self,
        event: Event,
        serving: &mut Serving,
        timer: &mut Timer,
        calls: &mut mpsc::Receiver<Queued>,
    ) {
        let mut round = Round::default();
        match event {
            Event::Told(Told::Written(result)) => return serving.written(result),
            Event::Told(Told::Changed) => return,
            // Nothing changes by it, so nothing follows.
            Event::Asked(Survey { after, offsets_max, reply }) => {
                let _ = reply.send(serving.shard().survey(after.as_deref(), offsets_max));
                return;
            }
            Event::Snapshot(Step::Gather) => {
                return self.snapshots.gather(serving.shard(), serving.end());
            }
            Event::Snapshot(Step::Ended(result)) => return self.snapshots.end(result),
            Event::TopicsChanged => self.learn_topics(serving, &mut round),
            Event::TimerRang => {
                let now = serving.time();
                while !round.is_full()
                    && let Some(due) = serving.due(now)
                    && timer.patience.may_act(due, now)
                {
                    serving.handle_timeout(&mut round, now);
                }
                if serving.shard().poll_timeout().is_none_or(|due| due > now) {
                    timer.patience.done();
                }
            }
            Event::Called(first) => {
                let now = serving.time();
                let (mut next, mut count) = (Some(first), 0);
                while let Some(Queued { message, place }) = next {
                    match message {
                        ShardMessage::Call(call) => serving.decide_queued(&mut round, now, *call),
                        ShardMessage::ConnectionClosed(connection) => {
                            serving.handle_connection_closed(&mut round, now, connection);
                        }
                    }
                    drop(place);
                    count += 1;
                    let takes_more = count < CALLS_PER_BATCH && !round.is_full();
                    next = if takes_more { calls.try_recv().ok() } else { None };
                }
            }
        }
        serving.commit(round);
    }

    fn learn_topics(&self, serving: &mut Serving, round: &mut Round) {
        serving.learn(round, group_config(&self.config), || self.metadata.image());
    }

    fn note_appended(&mut self, serving: &mut Serving) {
        let appended = serving.take_appended();
        self.snapshots.note_appended(appended.bytes, appended.continuous);
    }

    /// Waits for the batches in flight.
    async fn settle(&mut self, serving: &mut Serving) {
        while serving.has_batches_in_flight() {
            match self.next_written().await {
                Some(result) => serving.written(result),
                None => return,
            }
        }
    }

    async fn next_written(&mut self) -> Option<Result<(), ErrorCode>> {
        loop {
            if let Told::Written(result) = self.told.recv().await? {
                return Some(result);
            }
        }
    }
}

/// Waits until the topics have changed.
async fn next_change(mut changes: watch::Receiver<u64>) -> watch::Receiver<u64> {
    if changes.changed().await.is_err() {
        // Nobody is left to change them.
        pending::<()>().await;
    }
    changes
}
