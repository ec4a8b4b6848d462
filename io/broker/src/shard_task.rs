//! One group shard at work: the shell around the pure [`GroupShard`].
//!
//! ```text
//! calls ─► handle ─► Outcome ─► replay at once ─► one batch ─► log ─► durable ─► replies
//! timers, topics ─┘                                └── replies of later outcomes wait too ──┘
//! ```
//!
//! Calls that arrive together are decided one after another and appended as one batch: the more there
//! is to do, the less each costs. Several batches may be on their way to the disk; replies leave in
//! order, once the batch they depend on is durable. A batch that fails takes the shard with it: what
//! waits is refused, and a new shard is [loaded](loading) from the log, or from a snapshot and what follows it.

mod announce;
mod batch;
mod load;
mod loading;
mod message;
mod refusal;
mod shared;
mod snapshots;
mod timer;

use crate::clock::{Clock, Timestamp};
use crate::cluster::metadata::Metadata;
use crate::config::{LiveConfig, group_config};
use crate::metrics::Metrics;
use crate::partition::Partition;
use crate::quiet::{Gate, Quiet};
use crate::stopping::stopped;
use announce::announce;
use batch::BatchWriter;
use kohort_coordinator::{
    CauseKind, GroupCall, GroupEffect, GroupOutcome, GroupRecord, GroupResponse, GroupShard,
    RebalanceCause, ReplyTo, Shard, error_for_failed_append,
};
use kohort_log::validator::AppendOrigin;
use kohort_protocol::ErrorCode;
use refusal::refuse_queued;
use snapshots::{Snapshots, Step};
use std::collections::{BTreeMap, VecDeque};
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use timer::Timer;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

pub use load::ShardLoad;
pub(crate) use message::{ShardCall, ShardMessage, Survey};
pub(crate) use shared::SharedByShards;
pub(crate) use snapshots::Turns;

/// Calls decided before their records are appended as one batch.
const CALLS_PER_BATCH: usize = 256;
/// Records after which a batch takes no further call. A call adds what it must, so a batch may be
/// larger by one commit; it stays far below the largest batch a log takes.
const RECORDS_PER_BATCH: usize = 1024;
/// Batches on their way to the disk. While one is written the next ones gather; more would only
/// hold more replies back.
const BATCHES_IN_FLIGHT: usize = 4;

/// Replies and effects that leave when the batch they depend on is durable.
#[derive(Debug, Default)]
struct Held {
    replies: Vec<(ReplyTo, GroupResponse)>,
    effects: Vec<GroupEffect>,
}

/// The task of one shard.
pub(crate) struct ShardTask {
    partition: Arc<Partition>,
    config: Arc<LiveConfig>,
    clock: Arc<Clock>,
    metadata: Arc<Metadata>,
    metrics: Arc<Metrics>,
    callers: BTreeMap<u64, oneshot::Sender<GroupResponse>>,
    next_caller: u64,
    /// What each batch in flight holds back, the oldest first.
    held: VecDeque<Held>,
    appended: mpsc::UnboundedSender<Result<(), ErrorCode>>,
    completions: mpsc::UnboundedReceiver<Result<(), ErrorCode>>,
    batches: BatchWriter,
    /// The end of the log as the shard knows it.
    end: i64,
    snapshots: Snapshots,
    shared: Arc<SharedByShards>,
    /// How many members of its consumer groups the others know of.
    counted_members: usize,
}

/// Why serving ended.
enum End {
    /// The broker stops.
    Stopping,
    /// An append failed.
    Failed(ErrorCode),
}

impl ShardTask {
    pub(crate) fn new(
        partition: Arc<Partition>,
        config: Arc<LiveConfig>,
        clock: Arc<Clock>,
        metadata: Arc<Metadata>,
        metrics: Arc<Metrics>,
        shared: Arc<SharedByShards>,
    ) -> Self {
        let snapshots = Snapshots::new(Arc::clone(&partition), shared.turns.clone(), 0, 0);
        // Unbounded in type only: there are at most as many as batches in flight.
        let (appended, completions) = mpsc::unbounded_channel();
        Self {
            partition,
            config,
            clock,
            metadata,
            metrics,
            callers: BTreeMap::new(),
            next_caller: 0,
            held: VecDeque::new(),
            appended,
            completions,
            batches: BatchWriter::default(),
            end: 0,
            snapshots,
            shared,
            counted_members: 0,
        }
    }

    /// Loads and serves until the broker stops.
    pub(crate) async fn run(
        mut self,
        mut calls: mpsc::Receiver<ShardMessage>,
        mut surveys: mpsc::Receiver<Survey>,
        mut stopping: watch::Receiver<bool>,
    ) {
        loop {
            let Some(mut shard) = self.load(&mut calls, &mut surveys, &mut stopping).await else {
                refuse_queued(&mut calls);
                return;
            };
            match self.serve(&mut shard, &mut calls, &mut surveys, &mut stopping).await {
                End::Stopping => {
                    self.settle().await;
                    self.refuse_all(&mut shard, ErrorCode::NOT_COORDINATOR);
                    refuse_queued(&mut calls);
                    if self.shared.orderly.load(Ordering::Relaxed) {
                        self.snapshots.finish(self.clock.wall(), &shard, self.end).await;
                    }
                    return;
                }
                End::Failed(code) => {
                    self.refuse_all(&mut shard, error_for_failed_append(code));
                    // What is still on its way must be decided before the log is read again.
                    while !self.held.is_empty() {
                        let _ = self.completions.recv().await;
                        self.held.pop_front();
                    }
                    self.snapshots.abandon().await;
                }
            }
        }
    }

    async fn serve(
        &mut self,
        shard: &mut GroupShard,
        calls: &mut mpsc::Receiver<ShardMessage>,
        surveys: &mut mpsc::Receiver<Survey>,
        stopping: &mut watch::Receiver<bool>,
    ) -> End {
        let mut changed = Quiet::new(next_change(self.metadata.changes.subscribe()));
        let mut stopped = Quiet::new(stopped(stopping));
        let (mut at_calls, mut at_surveys, mut at_completions) =
            (Gate::default(), Gate::default(), Gate::default());
        let now = self.time(shard);
        let mut round = Round::default();
        self.take(&mut round, shard, |shard| shard.handle_loaded(now));
        self.learn_topics(shard, &mut round);
        if let Err(code) = self.commit(round) {
            return End::Failed(code);
        }
        let mut timer = Timer::default();
        loop {
            timer.set(shard.poll_timeout(), &self.clock);
            self.count_members(shard);
            let may_append = self.held.len() < BATCHES_IN_FLIGHT;
            let mut round = Round::default();
            // All branches are cancel-safe: they take something out of a channel or nothing. Topics
            // and timers come before calls, which never end on a busy broker: a commit must know
            // the topic that was just created, and a session must end when its time is over.
            tokio::select! {
                biased;
                () = &mut stopped => return End::Stopping,
                Some(completed) = poll_fn(|context| {
                    at_completions.poll(context, |inner| self.completions.poll_recv(inner))
                }) => match completed {
                    Ok(()) => {
                        let held = self.held.pop_front().expect("each batch in flight holds something");
                        self.release(held);
                    }
                    Err(code) => {
                        // The failed one itself; those after it are settled by the caller.
                        let held = self.held.front_mut().expect("each batch in flight holds something");
                        let replies = std::mem::take(&mut held.replies);
                        held.effects.clear();
                        self.fail(replies, code);
                        self.held.pop_front();
                        return End::Failed(code);
                    }
                },
                // Nothing changes by it, so nothing follows.
                Some(Survey { after, offsets_max, reply }) = poll_fn(|context| {
                    at_surveys.poll(context, |inner| surveys.poll_recv(inner))
                }) => {
                    let _ = reply.send(shard.survey(after.as_deref(), offsets_max));
                    continue;
                }
                changes = &mut changed, if may_append => {
                    changed.set(next_change(changes));
                    self.learn_topics(shard, &mut round);
                }
                () = timer.rings(), if may_append => {
                    let now = self.time(shard);
                    while round.count < RECORDS_PER_BATCH
                        && let Some(due) = shard.poll_timeout().filter(|due| *due <= now)
                        && timer.patience.may_act(due, now)
                    {
                        self.take(&mut round, shard, |shard| shard.handle_timeout(now));
                    }
                    if shard.poll_timeout().is_none_or(|due| due > now) {
                        timer.patience.done();
                    }
                }
                step = self.snapshots.step() => match step {
                    Step::Gather => self.snapshots.gather(shard, self.end),
                    Step::Ended(result) => self.snapshots.end(result),
                },
                Some(call) = poll_fn(|context| {
                    at_calls.poll(context, |inner| calls.poll_recv(inner))
                }), if may_append => {
                    let now = self.time(shard);
                    self.decide(shard, &mut round, now, call);
                    for _ in 1..CALLS_PER_BATCH {
                        if round.count >= RECORDS_PER_BATCH {
                            break;
                        }
                        let Ok(call) = calls.try_recv() else { break };
                        self.decide(shard, &mut round, now, call);
                    }
                }
            }
            if let Err(code) = self.commit(round) {
                return End::Failed(code);
            }
            self.snapshots.begin_if_due(&self.clock, self.end);
        }
    }

    /// Tells the other shards how many members this one has, and asks for theirs.
    fn count_members(&mut self, shard: &mut GroupShard) {
        let members = shard.consumer_members();
        shard.note_members_elsewhere(self.shared.count_members(self.counted_members, members));
        self.counted_members = members;
    }

    fn decide(
        &mut self,
        shard: &mut GroupShard,
        round: &mut Round,
        now: Timestamp,
        message: ShardMessage,
    ) {
        let call = match message {
            ShardMessage::Call(call) => call,
            ShardMessage::ConnectionClosed(connection) => {
                self.take(round, shard, |shard| shard.handle_connection_closed(now, connection));
                return;
            }
        };
        let ShardCall { call, reply, shows } = *call;
        let from = ReplyTo(self.next_caller);
        self.next_caller += 1;
        self.callers.insert(from.0, reply);
        let shown = shows.then(|| {
            let GroupCall { context, request } = &call;
            let member = request.member_id().to_owned();
            (context.connection, member, request.begins_a_membership())
        });
        self.take(round, shard, |shard| shard.handle(now, from, call));
        // After the shard has heard it: a connection must not stop being a sign of its member before
        // the member is back.
        if let Some((connection, member, begins)) = shown {
            let mut clients = self.shared.clients.lock();
            if begins {
                clients.began(now, connection, &member);
            } else {
                clients.spoke(connection, &member);
            }
        }
    }

    /// Runs one handler, and answers at once what it asks back.
    fn take(
        &self,
        round: &mut Round,
        shard: &mut GroupShard,
        handler: impl FnOnce(&mut GroupShard) -> GroupOutcome,
    ) {
        let mut outcome = handler(shard);
        let questions: Vec<_> = outcome
            .effects
            .extract_if(.., |effect| matches!(effect, GroupEffect::SeekSigns { .. }))
            .collect();
        round.take(shard, outcome);
        for question in questions {
            let GroupEffect::SeekSigns { group, member, client_id, client_host, since } = question
            else {
                continue;
            };
            let now = self.clock.steady();
            let clients = self.shared.clients.lock();
            let signs = clients.signs(now, &member, &client_id, &client_host, since);
            drop(clients);
            let outcome = shard.handle_signs(now, &group, &member, signs);
            round.take(shard, outcome);
        }
    }

    fn learn_topics(&self, shard: &mut GroupShard, round: &mut Round) {
        shard.set_config(group_config(&self.config));
        let image = self.metadata.image();
        let now = self.time(shard);
        self.take(round, shard, |shard| shard.handle_metadata(now, &image));
    }

    /// Returns the time that the shard goes by, and tells it how far the time of day is from that.
    fn time(&self, shard: &mut GroupShard) -> Timestamp {
        let (now, ahead) = self.clock.steady_and_ahead();
        shard.note_wall_ahead(ahead);
        now
    }

    /// Appends a round's records, and holds its replies until they and all before them are durable.
    fn commit(&mut self, round: Round) -> Result<(), ErrorCode> {
        let Round { records, held, .. } = round;
        if records.is_empty() {
            match self.held.back_mut() {
                None => self.release(held),
                Some(last) => {
                    last.replies.extend(held.replies);
                    last.effects.extend(held.effects);
                }
            }
            return Ok(());
        }
        match self.append(&records) {
            Ok(()) => {
                let is_commit =
                    |record: &&GroupRecord| matches!(record, GroupRecord::OffsetCommit { .. });
                let commits: usize = records.iter().filter(is_commit).map(GroupRecord::count).sum();
                self.metrics.groups.commits.add(commits as u64);
                self.held.push_back(held);
                Ok(())
            }
            Err(code) => {
                self.fail(held.replies, code);
                Err(code)
            }
        }
    }

    fn append(&mut self, records: &[GroupRecord]) -> Result<(), ErrorCode> {
        let now = self.clock.wall();
        let batch = self.batches.batch(now, records)?;
        let bytes = batch.len();
        let appended = self.appended.clone();
        let done = move |result: Result<(), kohort_storage::StorageError>| {
            let _ = appended.send(result.map_err(|error| error.code()));
        };
        let log = &self.partition.log;
        let info = log.append(now, batch, AppendOrigin::Coordinator, done).map_err(|error| {
            error!(partition = self.partition.index, %error, "a group coordinator could not append; its requests are refused and it is loaded again");
            error.code()
        })?;
        self.snapshots.note_appended(bytes, info.base_offset == self.end);
        self.end = info.last_offset + 1;
        Ok(())
    }

    fn release(&mut self, held: Held) {
        for effect in &held.effects {
            self.count(effect);
            if let Some(events) = &self.shared.events {
                events.happened(effect);
            }
        }
        for (to, response) in held.replies {
            self.answer(to, response);
        }
        held.effects.iter().for_each(announce);
    }

    fn count(&self, effect: &GroupEffect) {
        if let GroupEffect::Rebalance(rebalance) = effect {
            let expired =
                |cause: &&RebalanceCause| matches!(cause.kind, CauseKind::MemberExpired { .. });
            let expired = rebalance.causes.iter().filter(expired).count();
            // Of one that is told in parts what only ends it is no other.
            let is_one =
                (!rebalance.continues || !rebalance.causes.is_empty()) && !rebalance.is_take_over;
            self.metrics.groups.rebalances.add(u64::from(is_one));
            self.metrics.groups.expired_members.add(expired as u64);
            let disconnected = |cause: &&RebalanceCause| {
                matches!(cause.kind, CauseKind::MemberDisconnected { .. })
            };
            let disconnected = rebalance.causes.iter().filter(disconnected).count();
            self.metrics.groups.disconnected_members.add(disconnected as u64);
        }
    }

    fn fail(&mut self, replies: Vec<(ReplyTo, GroupResponse)>, code: ErrorCode) {
        let code = error_for_failed_append(code);
        for (to, response) in replies {
            self.answer(to, response.into_failed(code));
        }
    }

    fn answer(&mut self, to: ReplyTo, response: GroupResponse) {
        if let Some(caller) = self.callers.remove(&to.0) {
            // Whoever asked may be gone.
            let _ = caller.send(response);
        }
    }

    /// Waits for the batches in flight.
    async fn settle(&mut self) {
        while let Some(held) = self.held.pop_front() {
            match self.completions.recv().await {
                Some(Ok(())) => self.release(held),
                Some(Err(code)) => self.fail(held.replies, code),
                None => return,
            }
        }
    }

    /// Refuses everything that waits, inside the shard and out.
    fn refuse_all(&mut self, shard: &mut GroupShard, code: ErrorCode) {
        let mut replies = Vec::new();
        for held in &mut self.held {
            held.effects.clear();
            replies.append(&mut held.replies);
        }
        for (to, response) in replies {
            self.answer(to, response.into_failed(code));
        }
        for (to, response) in shard.resign(code) {
            self.answer(to, response);
        }
        // Every request is answered exactly once; dropping what might be left answers it too.
        self.callers.clear();
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

/// What several outcomes come to.
#[derive(Debug, Default)]
struct Round {
    records: Vec<GroupRecord>,
    /// How many records of the log they are.
    count: usize,
    held: Held,
}

impl Round {
    /// Replays an outcome's records at once and adds it.
    fn take(&mut self, shard: &mut GroupShard, outcome: GroupOutcome) {
        for record in &outcome.records {
            shard.replay(record);
            self.count += record.count();
        }
        append(&mut self.records, outcome.records);
        append(&mut self.held.replies, outcome.replies);
        append(&mut self.held.effects, outcome.effects);
    }
}

/// Adds `more`, or takes it over as it is: mostly a round is one outcome.
fn append<T>(list: &mut Vec<T>, mut more: Vec<T>) {
    if list.is_empty() {
        *list = more;
    } else {
        list.append(&mut more);
    }
}
