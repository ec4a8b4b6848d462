//! The consumer: a member of a group, or a reader of chosen partitions.
//!
//! ```no_run
//! use std::time::Duration;
//! use kohort::consumer::Consumer;
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let consumer = Consumer::builder()
//!     .bootstrap_servers("localhost:9092")
//!     .group_id("billing")
//!     .set("auto.offset.reset", "earliest")
//!     .set("enable.auto.commit", "false")
//!     .build()?;
//! consumer.subscribe(["orders"])?;
//! loop {
//!     let records = consumer.poll(Duration::from_secs(1)).await?;
//!     for record in &records {
//!         println!("{}-{} @{}: {:?}", record.topic, record.partition, record.offset, record.value);
//!     }
//!     consumer.commit_sync().await?;
//! }
//! # }
//! ```
//!
//! ```text
//!  the application's runtime             │ the consumer's own thread
//!                                        │
//!  Consumer ── commands ─────────────────┼─► task ── events, time ──► ConsumerMachine
//!     ▲                                  │     ▲ │                        (decides)
//!     │ poll: takes, checks, decompresses│     │ └── requests ─► brokers
//!     └──────── buffer, budget ◄─────────┼─────┘     (fetch, coordinator: own connections)
//! ```
//!
//! - Heartbeats, commits and fetches go on while the application, or its whole runtime, is busy. Only
//!   `max.poll.interval.ms` limits for how long.
//! - Everything is cancel-safe: a dropped `poll` has taken nothing; a dropped commit still happens.
//! - Several tasks may share a consumer. Records of one partition then go to whoever polls, so the
//!   order of processing is theirs to keep; with a [`PartitionStream`] each, it is kept for them.
//! - Memory is bounded by one budget of bytes; dropping [`Records`] is what returns them.

mod builder;
mod command;
mod commits;
mod credits;
mod error;
mod events;
mod lookup;
mod pattern;
mod records;
mod requests;
mod shared;
mod signals;
mod spare;
mod steering;
mod streams;
mod task;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use builder::ConsumerBuilder;
pub use commits::Commit;
pub use error::{CloseError, CommitError, CommitRefusal, ConsumerError, PollError};
pub use events::{RebalanceEvent, RebalanceEvents, RevocationGuard};
pub use kohort_client_core::consumer::fetcher::FetchStatus;
pub use kohort_client_core::consumer::machine::{Counters, Fetched};
pub use kohort_client_core::consumer::membership::{
    GroupMembershipOperation, LostReason, MembershipError,
};
use kohort_client_core::consumer::reader::{Limit, Reader, ReaderConfig};
pub use kohort_client_core::consumer::stalls::{Stall, StallCounters};
use kohort_client_core::consumer::{AssignmentEpoch, Regex};
pub use kohort_client_core::consumer::{OffsetAndMetadata, Position, TopicPartition};
pub use kohort_client_core::metadata::PartitionView;
use kohort_client_core::panics::caught;
use kohort_protocol::{ApiKey, ErrorCode};
pub use lookup::OffsetAndTimestamp;
use parking_lot::Mutex;
pub use records::{Batch, ConsumedRecord, Iter, OwnedRecord, Record, Records};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Cluster, ClusterError, Heard};
use crate::net::{Driver, Throttled, unbound};
use command::Command;
use commits::{Commits, Offset};
use credits::Unpacking;
use events::EVENTS_WAITING_MAX;
use records::Part;
use shared::Shared;
pub use signals::StreamEnd;
use streams::BATCHES;
pub use streams::{PartitionStream, StreamError};

/// See the [module](self).
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    driver: Driver,
    cluster: Cluster,
    reader: Mutex<Reader>,
    commits: Commits,
    settings: Settings,
    /// The refusals of the cluster that polls were told.
    heard: Heard,
}

/// What the application's side needs of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) group_id: Option<Arc<str>>,
    pub(crate) max_poll_records: usize,
    pub(crate) api_timeout: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) read_committed: bool,
    pub(crate) exclude_internal_topics: bool,
    /// Whether no coordinator can match expressions: the group is a classic one.
    pub(crate) matches_here: bool,
    pub(crate) reader: ReaderConfig,
}

/// How to close a consumer.
#[derive(Debug, Clone, Copy)]
pub struct CloseOptions {
    /// How long it may take to commit and to say goodbye.
    pub timeout: Duration,
    /// Whether to leave the group or to remain in it, for a quick restart. The partitions of a member that remains
    /// are read by nobody until it is back or its session ends. On Kohort that counts on a static member
    /// (`group.instance.id`): a dynamic one that says nothing cannot be told from one that died, and is removed
    /// soon after its connection has closed (`group.disconnect.grace.ms`).
    pub operation: GroupMembershipOperation,
}

impl Default for CloseOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), operation: GroupMembershipOperation::Default }
    }
}

/// What each owned partition is doing, and where the member stands.
#[derive(Debug, Clone)]
pub struct Health {
    /// What each partition is doing, or why it is not being fetched.
    pub partitions: BTreeMap<TopicPartition, FetchStatus>,
    /// The topics wanted that the cluster cannot or will not describe, with why: one that does not
    /// exist (yet) is asked for again and again, without a word from [`Consumer::poll`].
    pub topics: BTreeMap<Arc<str>, ErrorCode>,
    /// Why no server can be reached, while none can: nobody listens there, or the cluster refuses this
    /// client (a wrong password, a certificate that is not trusted, a listener that speaks something
    /// else). [`Consumer::poll`] fails with a refusal, and with what looks like one and lasts; for the rest it goes on waiting.
    pub cluster: Option<ClusterError>,
    /// Why the group does not have this consumer, if it refused it.
    pub group: Option<PollError>,
    /// The member's id and generation, while it has one.
    pub member: Option<(String, i32)>,
    /// The coordinator's node, while it is known.
    pub coordinator: Option<i32>,
    /// Which brokers, by address, read nothing from this client just now and for how long, because it
    /// exceeds a quota.
    pub throttled: BTreeMap<Arc<str>, Duration>,
    /// How many bytes are in memory.
    pub buffered_bytes: i64,
    /// Which partitions have waited for some seconds: neither fetched nor buffered nor paused.
    pub stalled: Vec<Stall>,
}

/// What a consumer has counted since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerMetrics {
    /// Rebalances, commits, what each broker sent.
    pub counters: Counters,
    /// How often and for how long partitions stalled, and why.
    pub stalls: StallCounters,
    /// How often and for how long brokers throttled this client, because of a quota: `Fetch` is Kafka's
    /// `fetch-throttle-time`.
    pub throttled: BTreeMap<ApiKey, Throttled>,
}

impl Consumer {
    /// Starts a configuration.
    pub fn builder() -> ConsumerBuilder {
        ConsumerBuilder::default()
    }

    /// Joins the group for these topics, in place of whatever was subscribed or assigned before.
    /// Joining goes on in the background; no topics leave the group.
    pub fn subscribe<T: AsRef<str>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), ConsumerError> {
        if self.settings.group_id.is_none() {
            return Err(ConsumerError::NoGroup);
        }
        let topics: BTreeSet<_> =
            topics.into_iter().map(|topic| Arc::from(topic.as_ref())).collect();
        self.want(!topics.is_empty());
        self.send(Command::Subscribe(topics, None))
    }

    /// Joins the group for whichever topics match a regular expression, now and later, in place of
    /// whatever was subscribed or assigned before. The whole name has to match; new topics are noticed
    /// within `metadata.max.age.ms`. The broker's own topics match only without
    /// `exclude.internal.topics`. While no topic matches, the consumer is outside the group.
    ///
    /// ```no_run
    /// # fn f(consumer: &kohort::consumer::Consumer) -> Result<(), kohort::consumer::ConsumerError> {
    /// consumer.subscribe_pattern(r"orders-(eu|us)-\d+")?;
    /// # Ok(()) }
    /// ```
    pub fn subscribe_pattern(&self, pattern: &str) -> Result<(), ConsumerError> {
        if self.settings.group_id.is_none() {
            return Err(ConsumerError::NoGroup);
        }
        let pattern = pattern::compile(pattern, self.settings.exclude_internal_topics)?;
        self.want(true);
        self.send(Command::SubscribePattern(pattern))
    }

    /// Joins the group for whichever topics match a regular expression of RE2's syntax, now and later, in
    /// place of whatever was subscribed or assigned before. The coordinator matches it, as soon as it hears
    /// of new topics (`group.protocol=consumer`); in a classic group this is
    /// [`subscribe_pattern`](Self::subscribe_pattern).
    pub fn subscribe_regex(&self, regex: &str) -> Result<(), ConsumerError> {
        if self.settings.group_id.is_none() {
            return Err(ConsumerError::NoGroup);
        }
        let here = pattern::compile(regex, self.settings.exclude_internal_topics);
        let here = match here {
            Err(error) if self.settings.matches_here => return Err(error),
            here => here.ok(),
        };
        self.want(true);
        self.send(Command::SubscribeRegex(Regex { text: regex.into(), here }))
    }

    /// Returns the topics subscribed to or assigned from: of a pattern, those that match by now;
    /// none of an expression that the coordinator matches.
    pub async fn subscription(&self) -> Result<BTreeSet<Arc<str>>, ConsumerError> {
        Ok(self.ask(Command::Status).await?.topics)
    }

    /// Leaves the group, or drops the assigned partitions. Once it returns, nothing is assigned and nothing
    /// more is polled. The goodbye follows in the background: what was processed is committed first if auto
    /// commit is on, and a [`RevocationGuard`] or a [`PartitionStream`] that is still there may commit what
    /// it has until it is dropped.
    pub async fn unsubscribe(&self) -> Result<(), ConsumerError> {
        if self.settings.group_id.is_some() {
            self.want(false);
            return self.ask(|done| Command::Subscribe(BTreeSet::new(), Some(done))).await;
        }
        self.assign([]).await
    }

    /// Reads these partitions, with no group sharing them out. With a `group.id`, reading starts at
    /// its committed offsets, and commits work. Partitions assigned before go on where they are.
    pub async fn assign(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<(), ConsumerError> {
        let partitions: BTreeSet<_> = partitions.into_iter().collect();
        self.want(!partitions.is_empty());
        self.ask(|done| Command::Assign(partitions, done)).await
    }

    /// Waits up to `timeout` for records and returns what is there, at most `max.poll.records`;
    /// none when the time is up.
    ///
    /// Polling again says that the records of earlier polls are processed: auto commit goes by that.
    /// A member that does not poll for `max.poll.interval.ms` leaves its group, and returns with the
    /// next poll. Cancel-safe.
    ///
    /// # Errors
    /// [`PollError::NotSubscribed`] at once if nothing is subscribed to or assigned.
    pub async fn poll(&self, timeout: Duration) -> Result<Records, PollError> {
        self.poll_up_to(Limit::records(self.settings.max_poll_records), timeout).await
    }

    /// Polls for whole batches: `max.poll.records` does not limit them, and the answer has at least
    /// one batch and about a quarter of a megabyte. The least costly way to read; see
    /// [`Records::batches`].
    pub async fn batches(&self, timeout: Duration) -> Result<Records, PollError> {
        self.poll_up_to(BATCHES, timeout).await
    }

    async fn poll_up_to(&self, limit: Limit, timeout: Duration) -> Result<Records, PollError> {
        let mut deadline = Instant::now().checked_add(timeout);
        let _polling = self.shared.polling();
        self.begin_poll();
        if let Some(why) = self.shared.nothing_to_come() {
            return Err(why);
        }
        loop {
            let ready = self.shared.ready.notified();
            tokio::pin!(ready);
            // From here on no wake-up is missed, although nobody waits yet.
            ready.as_mut().enable();
            let room = self.shared.credits.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Some(records) = self.take(limit)? {
                return Ok(records);
            }
            let lasting = self.shared.lasting_fault();
            if lasting.is_some() && deadline.is_none() {
                deadline = Some(Instant::now() + TOLD_AGAIN_AFTER);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let refusal = self.cluster.unheard_refusal(&self.heard).map(PollError::from);
                return refusal.or(lasting).map_or_else(|| Ok(Records::default()), Err);
            }
            let timer = async {
                match left {
                    Some(left) => drop(self.driver.sleep(left).await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut ready => {}
                () = &mut room => {}
                () = timer => {}
                refusal = self.cluster.refused_anew(&self.heard) => return Err(refusal.into()),
            }
        }
    }

    /// Takes a partition out of the polls, to be read apart: by another task or thread, say.
    pub fn stream(&self, partition: &TopicPartition) -> Result<PartitionStream, ConsumerError> {
        let stream = self.take_apart(partition);
        stream.ok_or_else(|| ConsumerError::NotAssigned { partition: partition.clone() })
    }

    /// Waits for a partition that no stream has yet and takes it out of the polls. Called again and
    /// again, it gives a stream for each partition that is assigned, now and later. Cancel-safe.
    ///
    /// # Errors
    /// What [`poll`](Self::poll) tells of the group, of topics and of the cluster; what is wrong with a
    /// partition is told by its stream. [`PollError::NotSubscribed`] as from [`poll`](Self::poll). Whoever of several calls and polls comes first hears it.
    pub async fn next_stream(&self) -> Result<PartitionStream, PollError> {
        if let Some(why) = self.shared.nothing_to_come() {
            return Err(why);
        }
        let _waiting = self.shared.streams.wait();
        let mut tell_at = None;
        loop {
            let owned = self.shared.streams.owned.notified();
            tokio::pin!(owned);
            // From here on no wake-up is missed, although nobody waits yet.
            owned.as_mut().enable();
            if let Some(end) = self.shared.ended() {
                return Err(end);
            }
            let free = self.shared.buffer.lock().first_not_apart().cloned();
            if let Some(partition) = free {
                if let Some(stream) = self.take_apart(&partition) {
                    return Ok(stream);
                }
                continue;
            }
            if let Some(fault) = self.shared.take_common_fault() {
                return Err(fault);
            }
            if let Some(lasting) = self.shared.lasting_fault()
                && Instant::now()
                    >= *tell_at.get_or_insert_with(|| Instant::now() + TOLD_AGAIN_AFTER)
            {
                return Err(lasting);
            }
            let tell = async {
                match tell_at {
                    Some(at) => {
                        let left = at.saturating_duration_since(Instant::now());
                        drop(self.driver.sleep(left).await);
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = owned => {}
                () = tell => {}
                refusal = self.cluster.refused_anew(&self.heard) => return Err(refusal.into()),
            }
        }
    }

    fn take_apart(&self, partition: &TopicPartition) -> Option<PartitionStream> {
        let (commits, commands) = (self.commits.clone(), self.commands.downgrade());
        let reader = Reader::new(self.settings.reader);
        let cluster = self.cluster.clone();
        PartitionStream::take(&self.shared, partition, commits, commands, cluster, reader)
    }

    /// Commits what was given so far and waits until it is done: every record of the latest poll
    /// counts as processed.
    pub async fn commit_sync(&self) -> Result<(), CommitError> {
        self.commits.commit(self.given(), None).await
    }

    /// Commits these offsets and waits until it is done. An offset is the next one to read. It may lie
    /// before what was committed already: what is asked for is committed, and whoever reads there next goes back.
    pub async fn commit_offsets_sync(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<(), CommitError> {
        self.commits.commit(self.with_epochs(offsets), None).await
    }

    /// Commits what was given so far. The commit happens whether or not its future is awaited, and
    /// commits complete in the order they were made.
    pub fn commit_async(&self) -> Commit {
        self.commits.commit(self.given(), None)
    }

    /// Commits these offsets; see [`commit_async`](Self::commit_async).
    pub fn commit_offsets_async(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Commit {
        self.commits.commit(self.with_epochs(offsets), None)
    }

    /// Commits what was given so far and calls `callback` with the outcome, in the order of the
    /// commits. It runs on the consumer's thread, so it must not block. One that panics is logged as an
    /// error, and the consumer goes on.
    pub fn commit_with(&self, callback: impl FnOnce(Result<(), CommitError>) + Send + 'static) {
        self.commits.start(self.given(), None, |outcome| {
            if let Err(said) = caught(|| unbound(|| callback(outcome))) {
                tracing::error!(said, "the callback of a commit panicked");
            }
        });
    }

    /// Starts to receive what happens to the partitions, in place of an earlier receiver. From here on
    /// a revocation waits for its guard to be dropped, not for the next poll.
    ///
    /// So a receiver that is kept has to be read: a guard that lies in it unread holds up the whole group, until
    /// `max.poll.interval.ms` is over and the partitions are lost. Drop the receiver to listen no more.
    pub fn rebalance_events(&self) -> Result<RebalanceEvents, ConsumerError> {
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        self.send(Command::Listen(sender))?;
        Ok(RebalanceEvents { receiver })
    }

    /// Asks the group for a rebalance.
    pub fn enforce_rebalance(&self, reason: &str) -> Result<(), ConsumerError> {
        self.send(Command::Rejoin(reason.to_owned()))
    }

    /// Says what each partition is doing, or why it is not.
    pub async fn health(&self) -> Result<Health, ConsumerError> {
        let status = self.ask(Command::Status).await?;
        Ok(Health {
            partitions: status.partitions,
            topics: status.topic_errors,
            cluster: self.cluster.trouble(),
            group: status.group_refusal,
            member: status.member,
            coordinator: status.coordinator,
            throttled: self.cluster.throttles().now(),
            buffered_bytes: status.used_bytes,
            stalled: status.stalled,
        })
    }

    /// Returns what was counted since the consumer was built.
    pub async fn metrics(&self) -> Result<ConsumerMetrics, ConsumerError> {
        let status = self.ask(Command::Status).await?;
        Ok(ConsumerMetrics {
            counters: status.counters,
            stalls: status.stalls,
            throttled: self.cluster.throttles().by_api(),
        })
    }

    /// Commits if auto commit is on, leaves the group (a static member does not) and ends. What was given by earlier polls counts
    /// as processed, and the latest poll's [`Records`] do if all of them were read to the end, in whichever
    /// way; if only some were, none of that poll do. A part of `timeout` is kept for leaving.
    /// Whoever shares the consumer is told so, and another call returns the same. Dropping the future does
    /// not stop it.
    ///
    /// # Errors
    /// [`CloseError`]: something was not committed, or `timeout` was too short. The consumer is closed all
    /// the same.
    pub async fn close(&self, timeout: Duration) -> Result<(), CloseError> {
        self.close_with(CloseOptions { timeout, ..CloseOptions::default() }).await
    }

    /// Closes as [`close`](Self::close) does, with more to choose.
    pub async fn close_with(&self, options: CloseOptions) -> Result<(), CloseError> {
        let CloseOptions { timeout, operation } = options;
        let (done, closed) = oneshot::channel();
        // Without a task to take it, it is closed already.
        let _ = self.commands.send(Command::Close { operation, timeout, done });
        let before = || self.shared.close_outcome.get().cloned().unwrap_or(Err(CloseError::Failed));
        closed.await.unwrap_or_else(|_| before())
    }

    /// Says that the records of earlier polls are processed, and what waited for that.
    fn begin_poll(&self) {
        self.shared.whereabouts.note();
        self.shared.buffer.lock().begin_poll();
        let waiting = self.shared.revocation.lock().take();
        if let Some(ticket) = waiting {
            self.shared.buffer.lock().give_back(|_| true);
            let _ = self.commands.send(Command::GiveBack(ticket));
        }
        if self.shared.away.swap(false, Ordering::SeqCst) {
            let _ = self.commands.send(Command::Back);
        }
    }

    /// Takes what is there, without waiting.
    fn take(&self, limit: Limit) -> Result<Option<Records>, PollError> {
        if let Some(end) = self.shared.ended() {
            return Err(end);
        }
        let mut reader = self.reader.lock();
        let mut parts: Vec<Part> = Vec::new();
        let (mut count, mut bytes, mut taken) = (0, 0, 0);
        let mut broken = None;
        let unpacking = Unpacking::new(&self.shared.credits, self.shared.may_exceed());
        while count < limit.records && bytes < limit.bytes {
            let Some(chunk) = self.shared.buffer.lock().take() else { break };
            let (partition, epoch) =
                (chunk.delivery.partition.clone(), chunk.delivery.position_epoch);
            let room = Limit { records: limit.records - count, bytes: limit.bytes - bytes };
            taken += chunk.delivery.records.len() as i64;
            let opened = reader.open(chunk, room, &unpacking);
            let mut buffer = self.shared.buffer.lock();
            let has_records = opened.records > 0;
            taken -= opened.rest.as_ref().map_or(0, |rest| rest.delivery.records.len() as i64);
            if !buffer.give(&partition, epoch, opened.position, has_records) {
                continue;
            }
            match opened.rest {
                Some(rest) if opened.error.is_some() => buffer.put_back_last(rest),
                Some(rest) => buffer.put_back(rest),
                None => {}
            }
            drop(buffer);
            if has_records {
                count += opened.records;
                bytes += opened.bytes;
                parts.push(Part::new(partition, opened.batches));
            }
            if let Some(error) = opened.error {
                broken = Some(error);
                break;
            }
            if opened.no_room {
                break;
            }
        }
        drop(reader);
        self.shared.credits.took(taken);
        if !parts.is_empty() {
            let unread = Arc::new(AtomicUsize::new(parts.len()));
            *self.shared.unread.lock() = unread.clone();
            let lease = Some(self.shared.lease.clone());
            return Ok(Some(Records { parts, count, unread, _lease: lease }));
        }
        self.shared.credits.look_again();
        match broken.map(PollError::Corrupt).or_else(|| self.shared.take_fault()) {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    fn given(&self) -> Vec<Offset> {
        let given = self.shared.buffer.lock().all_given();
        let offset = |(partition, epoch, position): (TopicPartition, AssignmentEpoch, Position)| {
            let offset = OffsetAndMetadata {
                offset: position.offset,
                leader_epoch: position.leader_epoch,
                metadata: String::new(),
            };
            (partition, offset, Some(epoch))
        };
        given.into_iter().map(offset).collect()
    }

    fn with_epochs(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Vec<Offset> {
        let buffer = self.shared.buffer.lock();
        let with_epoch = |(partition, offset): (TopicPartition, OffsetAndMetadata)| {
            let epoch = buffer.given(&partition).map(|(epoch, _)| epoch);
            (partition, offset, epoch)
        };
        offsets.into_iter().map(with_epoch).collect()
    }

    /// Notes whether anything is to be read from here on: what is asked next has to know, although the
    /// task has not heard of it yet.
    fn want(&self, anything: bool) {
        self.shared.wanted.store(anything, Ordering::SeqCst);
    }

    fn send(&self, command: Command) -> Result<(), ConsumerError> {
        if self.shared.ended().is_some() {
            return Err(self.closed());
        }
        self.commands.send(command).map_err(|_| self.closed())
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ConsumerError> {
        let (done, answer) = oneshot::channel();
        self.send(command(done))?;
        answer.await.map_err(|_| self.closed())
    }

    /// Why the task takes no commands.
    fn closed(&self) -> ConsumerError {
        match self.shared.ended() {
            Some(PollError::Failed) => ConsumerError::Failed,
            _ => ConsumerError::Closed,
        }
    }
}

/// How long whoever sets no time waits until what ended the membership is told again: the longest back-off
/// between two attempts, if there were any.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);
