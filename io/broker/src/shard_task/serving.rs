//! What a shard is made of while it serves: the pure [`GroupShard`], who waits for its answers, and the batches
//! on their way to the disk. Whoever has the desk calls it.

use super::announce::announce;
use super::batch::BatchWriter;
use super::message::{Decided, PendingAnswer, ShardCall};
use super::shared::SharedByShards;
use crate::clock::{Clock, Timestamp};
use crate::metrics::Metrics;
use crate::partition::Partition;
use kohort_coordinator::{
    CauseKind, ConnectionId, GroupCall, GroupConfig, GroupEffect, GroupOutcome, GroupRecord,
    GroupResponse, GroupShard, MetadataImage, RebalanceCause, ReplyTo, Shard,
    error_for_failed_append,
};
use kohort_log::validator::AppendOrigin;
use kohort_protocol::ErrorCode;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

/// Records after which a batch takes no further call. A call adds what it must, so a batch may be
/// larger by one commit; it stays far below the largest batch a log takes.
const RECORDS_PER_BATCH: usize = 1024;
/// Batches on their way to the disk. While one is written the next ones gather; more would only
/// hold more replies back. There is one more if the task had begun when a connection sent the last one.
const BATCHES_IN_FLIGHT: usize = 4;

/// What the task is told.
#[derive(Debug)]
pub(super) enum Told {
    /// The oldest batch in flight is durable, or never will be.
    Written(Result<(), ErrorCode>),
    /// A connection has changed something that the task has to see to.
    Changed,
}

/// Replies and effects that leave when the batch they depend on is durable.
#[derive(Debug, Default)]
struct Held {
    replies: Vec<(ReplyTo, GroupResponse)>,
    effects: Vec<GroupEffect>,
}

/// What was appended since the task asked last.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) bytes: usize,
    /// Each batch continued the log as the shard knows it.
    pub(super) continuous: bool,
}

impl Default for Appended {
    fn default() -> Self {
        Self { bytes: 0, continuous: true }
    }
}

/// A shard that serves.
#[derive(Debug)]
pub(super) struct Serving {
    shard: GroupShard,
    partition: Arc<Partition>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    shared: Arc<SharedByShards>,
    /// The metadata's changes, as far as the shard has learned them.
    changes: watch::Receiver<u64>,
    callers: BTreeMap<u64, oneshot::Sender<GroupResponse>>,
    next_caller: u64,
    /// What each batch in flight holds back, the oldest first.
    held: VecDeque<Held>,
    /// Unbounded in type only: it holds as much as there are batches in flight, and one call.
    to_task: mpsc::UnboundedSender<Told>,
    /// The task was called and has not come yet.
    called: bool,
    /// When the task looks at the deadlines by itself.
    watched: Option<Timestamp>,
    batches: BatchWriter,
    /// The end of the log as the shard knows it.
    end: i64,
    appended: Appended,
    /// Why an append failed, after which nothing is decided any more.
    failed: Option<ErrorCode>,
    /// How many members of its consumer groups the others know of.
    counted_members: usize,
}

/// What a shard is given to serve with.
pub(super) struct Means {
    pub(super) partition: Arc<Partition>,
    pub(super) clock: Arc<Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shared: Arc<SharedByShards>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) to_task: mpsc::UnboundedSender<Told>,
    pub(super) counted_members: usize,
}

impl Serving {
    /// Begins with a shard that was loaded up to `end`.
    pub(super) fn new(shard: GroupShard, end: i64, means: Means) -> Self {
        let Means { partition, clock, metrics, shared, changes, to_task, counted_members } = means;
        Self {
            shard,
            partition,
            clock,
            metrics,
            shared,
            changes,
            callers: BTreeMap::new(),
            next_caller: 0,
            held: VecDeque::new(),
            to_task,
            called: false,
            watched: None,
            batches: BatchWriter::default(),
            end,
            appended: Appended::default(),
            failed: None,
            counted_members,
        }
    }

    pub(super) fn shard(&self) -> &GroupShard {
        &self.shard
    }

    pub(super) fn end(&self) -> i64 {
        self.end
    }

    pub(super) fn failed(&self) -> Option<ErrorCode> {
        self.failed
    }

    pub(super) fn counted_members(&self) -> usize {
        self.counted_members
    }

    pub(super) fn may_append(&self) -> bool {
        self.held.len() < BATCHES_IN_FLIGHT
    }

    pub(super) fn has_batches_in_flight(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn take_appended(&mut self) -> Appended {
        std::mem::take(&mut self.appended)
    }

    /// Takes in that the task has come, and when it comes by itself.
    pub(super) fn task_came(&mut self, watched: Option<Timestamp>) {
        self.called = false;
        self.watched = watched;
    }

    /// Calls the task, which is then to look at everything.
    pub(super) fn call_task(&mut self) {
        if !self.called {
            self.called = true;
            let _ = self.to_task.send(Told::Changed);
        }
    }

    /// Returns the time that the shard goes by, and tells it how far the time of day is from that.
    pub(super) fn time(&mut self) -> Timestamp {
        let (now, ahead) = self.clock.steady_and_ahead();
        self.shard.note_wall_ahead(ahead);
        now
    }

    /// Returns the time if a connection may have its call decided before all else.
    pub(super) fn free_at(&mut self) -> Option<Timestamp> {
        // A commit must know the topic that was just created.
        let knows_topics = || !self.changes.has_changed().unwrap_or(false);
        if self.failed.is_some() || !self.may_append() || !knows_topics() {
            return None;
        }
        let now = self.time();
        // A session must end when its time is over.
        self.shard.poll_timeout().is_none_or(|due| due > now).then_some(now)
    }

    /// Decides a call on its connection's own thread.
    pub(super) fn decide_now(&mut self, now: Timestamp, call: GroupCall, shows: bool) -> Decided {
        let mut round = Round::default();
        let from = self.next_caller();
        self.decide(&mut round, now, from, call, shows);
        let decided = if let Some(response) = self.answered(&mut round, from) {
            Decided::Now(response)
        } else {
            let (reply, answer) = PendingAnswer::new();
            self.callers.insert(from.0, reply);
            Decided::Later(answer)
        };
        self.commit(round);
        let is_before = |due| self.watched.is_none_or(|watched| due < watched);
        if self.failed.is_some() || self.shard.poll_timeout().is_some_and(is_before) {
            self.call_task();
        }
        decided
    }

    /// Takes the answer to a call out of its round, if it depends on nothing that is not durable.
    fn answered(&self, round: &mut Round, to: ReplyTo) -> Option<GroupResponse> {
        if !round.records.is_empty() || !self.held.is_empty() {
            return None;
        }
        let replies = &mut round.held.replies;
        let at = replies.iter().position(|(other, _)| *other == to)?;
        Some(replies.remove(at).1)
    }

    /// Decides a call that was queued.
    pub(super) fn decide_queued(&mut self, round: &mut Round, now: Timestamp, call: ShardCall) {
        if let Some(code) = self.failed {
            return call.refuse(error_for_failed_append(code));
        }
        let ShardCall { call, reply, shows } = call;
        let from = self.next_caller();
        self.callers.insert(from.0, reply);
        self.decide(round, now, from, call, shows);
    }

    fn next_caller(&mut self) -> ReplyTo {
        self.next_caller += 1;
        ReplyTo(self.next_caller)
    }

    fn decide(
        &mut self,
        round: &mut Round,
        now: Timestamp,
        from: ReplyTo,
        call: GroupCall,
        shows: bool,
    ) {
        let shown = shows.then(|| {
            let GroupCall { context, request } = &call;
            let member = request.member_id().to_owned();
            (context.connection, member, request.begins_a_membership())
        });
        self.take(round, |shard| shard.handle(now, from, call));
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

    pub(super) fn handle_loaded(&mut self, round: &mut Round) {
        let now = self.time();
        self.take(round, |shard| shard.handle_loaded(now));
    }

    pub(super) fn handle_connection_closed(
        &mut self,
        round: &mut Round,
        now: Timestamp,
        connection: ConnectionId,
    ) {
        self.take(round, |shard| shard.handle_connection_closed(now, connection));
    }

    /// Returns the first deadline if it is due.
    pub(super) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        self.shard.poll_timeout().filter(|due| *due <= now && self.failed.is_none())
    }

    /// Handles the first deadline that is due.
    pub(super) fn handle_timeout(&mut self, round: &mut Round, now: Timestamp) {
        self.take(round, |shard| shard.handle_timeout(now));
    }

    /// Takes in the metadata as it is now.
    pub(super) fn learn(
        &mut self,
        round: &mut Round,
        config: GroupConfig,
        image: impl FnOnce() -> MetadataImage,
    ) {
        // First: what changes while the image is made is a change still to be learned.
        self.changes.mark_unchanged();
        self.shard.set_config(config);
        let image = image();
        let now = self.time();
        self.take(round, |shard| shard.handle_metadata(now, &image));
    }

    /// Runs one handler, and answers at once what it asks back. After an append that failed the shard knows
    /// what its log does not hold, and nothing may follow from that.
    fn take(&mut self, round: &mut Round, handler: impl FnOnce(&mut GroupShard) -> GroupOutcome) {
        if self.failed.is_some() {
            return;
        }
        let mut outcome = handler(&mut self.shard);
        let questions: Vec<_> = outcome
            .effects
            .extract_if(.., |effect| matches!(effect, GroupEffect::SeekSigns { .. }))
            .collect();
        round.take(&mut self.shard, outcome);
        for question in questions {
            let GroupEffect::SeekSigns { group, member, client_id, client_host, since } = question
            else {
                continue;
            };
            let now = self.clock.steady();
            let clients = self.shared.clients.lock();
            let signs = clients.signs(now, &member, &client_id, &client_host, since);
            drop(clients);
            let outcome = self.shard.handle_signs(now, &group, &member, signs);
            round.take(&mut self.shard, outcome);
        }
    }

    /// Appends a round's records, and holds its replies until they and all before them are durable.
    pub(super) fn commit(&mut self, round: Round) {
        self.count_members();
        let Round { records, held, .. } = round;
        if records.is_empty() {
            match self.held.back_mut() {
                None => self.release(held),
                Some(last) => {
                    last.replies.extend(held.replies);
                    last.effects.extend(held.effects);
                }
            }
            return;
        }
        match self.append(&records) {
            Ok(()) => {
                let is_commit =
                    |record: &&GroupRecord| matches!(record, GroupRecord::OffsetCommit { .. });
                let commits: usize = records.iter().filter(is_commit).map(GroupRecord::count).sum();
                self.metrics.groups.commits.add(commits as u64);
                self.held.push_back(held);
            }
            Err(code) => {
                self.fail(held.replies, code);
                self.failed = Some(code);
            }
        }
    }

    /// Tells the other shards how many members this one has, and asks for theirs.
    fn count_members(&mut self) {
        let members = self.shard.consumer_members();
        let elsewhere = self.shared.count_members(self.counted_members, members);
        self.shard.note_members_elsewhere(elsewhere);
        self.counted_members = members;
    }

    fn append(&mut self, records: &[GroupRecord]) -> Result<(), ErrorCode> {
        let now = self.clock.wall();
        let batch = self.batches.batch(now, records)?;
        let bytes = batch.len();
        let to_task = self.to_task.clone();
        let done = move |result: Result<(), kohort_storage::StorageError>| {
            let _ = to_task.send(Told::Written(result.map_err(|error| error.code())));
        };
        let log = &self.partition.log;
        let info = log.append(now, batch, AppendOrigin::Coordinator, done).map_err(|error| {
            error!(partition = self.partition.index, %error, "a group coordinator could not append; its requests are refused and it is loaded again");
            error.code()
        })?;
        self.appended.bytes += bytes;
        self.appended.continuous &= info.base_offset == self.end;
        self.end = info.last_offset + 1;
        Ok(())
    }

    /// Takes in what became of the oldest batch in flight. Those after one that failed are left for
    /// [`skip_written`](Self::skip_written).
    pub(super) fn written(&mut self, result: Result<(), ErrorCode>) {
        let held = self.held.pop_front().expect("each batch in flight holds something");
        match result {
            Ok(()) => self.release(held),
            Err(code) => {
                self.fail(held.replies, code);
                self.failed = Some(code);
            }
        }
    }

    /// Takes in that the oldest batch in flight was decided, whatever became of it.
    pub(super) fn skip_written(&mut self) {
        self.held.pop_front();
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

    /// Refuses everything that waits, inside the shard and out.
    pub(super) fn refuse_all(&mut self, code: ErrorCode) {
        let mut replies = Vec::new();
        for held in &mut self.held {
            held.effects.clear();
            replies.append(&mut held.replies);
        }
        for (to, response) in replies {
            self.answer(to, response.into_failed(code));
        }
        for (to, response) in self.shard.resign(code) {
            self.answer(to, response);
        }
        // Every request is answered exactly once; dropping what might be left answers it too.
        self.callers.clear();
    }
}

/// What several outcomes come to.
#[derive(Debug, Default)]
pub(super) struct Round {
    records: Vec<GroupRecord>,
    /// How many records of the log they are.
    count: usize,
    held: Held,
}

impl Round {
    /// Tells whether it takes no further call.
    pub(super) fn is_full(&self) -> bool {
        self.count >= RECORDS_PER_BATCH
    }

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
