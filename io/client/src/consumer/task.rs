//! The network side of a consumer: carries out what the machine decides, on the client's own
//! thread, so that heartbeats go out whatever the application does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kohort_client_core::consumer::committer::{CommitFailure, CommitTicket};
use kohort_client_core::consumer::membership::GroupMembershipOperation;
use kohort_client_core::consumer::{ConsumerMachine, RequestId, TopicPartition};
use kohort_client_core::metadata::{Broker, MetadataView};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::command::{Command, CommitDone, SeekTo, Status};
use super::error::{CloseError, CommitError, PollError};
use super::events::RebalanceEvent;
use super::requests::{Reply, Requests};
use super::shared::{Clock, Shared};
use crate::clock::ms;
use crate::cluster::Cluster;
use crate::net::{Driver, Follower, after};

mod acting;
mod revoking;

pub(super) struct Task {
    pub(super) machine: ConsumerMachine,
    pub(super) shared: Arc<Shared>,
    pub(super) cluster: Cluster,
    pub(super) requests: Requests,
    pub(super) command_sender: mpsc::WeakUnboundedSender<Command>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) replies: mpsc::UnboundedReceiver<Reply>,
    pub(super) view: watch::Receiver<Arc<MetadataView>>,
    pub(super) listener: Option<mpsc::Sender<RebalanceEvent>>,
    pub(super) commits: BTreeMap<CommitTicket, CommitDone>,
    pub(super) coordinator: Option<Broker>,
    /// The revocation that polls or a listener have finished with, and streams have not.
    pub(super) awaiting_streams: Option<RequestId>,
    pub(super) closing: Option<Closing>,
    pub(super) closed: bool,
    /// Whether the consumer's handle is gone: there are no more commands.
    pub(super) dropped: bool,
    /// Keeps the thread until the goodbye is said.
    pub(super) driver: Driver,
    pub(super) follower: Follower,
}

pub(super) struct Closing {
    deadline: Instant,
    /// How long it was given until then.
    timeout: Duration,
    done: Vec<oneshot::Sender<Result<(), CloseError>>>,
}

impl Task {
    /// Runs until the consumer is closed, or dropped and its goodbye said.
    pub(super) async fn run(mut self) {
        let _end = End { shared: self.shared.clone(), driver: self.driver.clone() };
        let clock = self.shared.clock();
        self.new_view(clock);
        loop {
            self.follower.look(&self.shared.whereabouts, clock.now());
            self.settle(clock);
            if self.closed {
                break;
            }
            let due = self.machine.poll_timeout(clock.now(), &*self.shared);
            let wait = due.map_or(IDLE_WAIT, |due| clock.until(due)).min(IDLE_WAIT);
            let close_by = self.closing.as_ref().map(|closing| closing.deadline);
            let wake = Instant::now() + wait;
            // Every branch is cancel-safe: receiving from channels, a permit, a sleep. Answers come
            // first: there are only as many as requests, while an application may have commands
            // without end, and heartbeats wait for their answers.
            tokio::select! {
                biased;
                reply = self.replies.recv() => {
                    if let Some(reply) = reply {
                        self.reply(clock, reply);
                    }
                }
                command = self.commands.recv(), if !self.dropped => {
                    if let Some(command) = command {
                        self.command(clock, command);
                    } else {
                        self.dropped = true;
                        self.start_closing(clock, GroupMembershipOperation::Default, CLOSE_ON_DROP, None);
                    }
                }
                changed = self.view.changed() => {
                    if changed.is_ok() {
                        self.new_view(clock);
                    }
                }
                () = self.shared.credits.wake.notified() => {}
                () = tokio::time::sleep_until(close_by.map_or(wake, |by| by.min(wake))) => {}
            }
            if self.closing.as_ref().is_some_and(|closing| Instant::now() >= closing.deadline) {
                self.closed = true;
            }
        }
        self.end();
    }

    /// Lets the machine decide until it has nothing more to do.
    fn settle(&mut self, clock: Clock) {
        for _ in 0..ROUNDS_MAX {
            let taken = self.shared.credits.begin_look();
            let actions = self.machine.advance(clock.now(), &*self.shared);
            self.shared.credits.set_reserved(self.machine.reserved_bytes());
            self.shared.credits.hold_back(taken, self.machine.wants());
            if actions.is_empty() {
                break;
            }
            self.execute(clock, actions, None);
        }
    }

    fn command(&mut self, clock: Clock, command: Command) {
        let now = clock.now();
        if self.closing.is_some() && command.begins_something() {
            // Whoever waits is told that the consumer is closed.
            return;
        }
        match command {
            Command::Subscribe(topics, done) => {
                self.shared.begin_subscription();
                let unsubscribes = topics.is_empty();
                let actions = self.machine.handle_subscribe(now, topics);
                self.execute(clock, actions, None);
                if unsubscribes {
                    // There may be no further poll for the group to wait for.
                    self.finish_given(clock);
                    self.shared.unsubscribed.store(true, Ordering::SeqCst);
                }
                if let Some(done) = done {
                    let _ = done.send(());
                }
            }
            Command::SubscribePattern(pattern) => {
                self.shared.begin_subscription();
                let actions = self.machine.handle_subscribe_pattern(now, pattern);
                self.execute(clock, actions, None);
            }
            Command::SubscribeRegex(regex) => {
                self.shared.begin_subscription();
                let actions = self.machine.handle_subscribe_regex(now, regex);
                self.execute(clock, actions, None);
            }
            Command::Assign(partitions, done) => {
                self.shared.begin_anew();
                let actions = self.machine.handle_assign(now, partitions, &*self.shared);
                self.execute(clock, actions, None);
                // Whatever was to be given back is.
                self.shared.revocation.lock().take();
                let _ = done.send(());
            }
            Command::Seek(partition, to, done) => {
                let owned = match to {
                    SeekTo::Position(position) => {
                        let actions = self.machine.handle_seek(now, &partition, position);
                        let owned = actions.is_some();
                        self.execute(clock, actions.unwrap_or_default(), None);
                        owned
                    }
                    SeekTo::Time(time) => {
                        let owned = self.machine.handle_seek_to_time(&partition, time);
                        if owned {
                            self.shared.buffer.lock().suspend(&partition);
                        }
                        owned
                    }
                };
                let _ = done.send(owned);
            }
            Command::Pause(partitions, paused, done) => {
                let _ = done.send(self.pause(&partitions, paused));
            }
            Command::Commit { offsets, timeout, done } => {
                let timeout = timeout.map(ms);
                let ticket = self.machine.handle_commit(now, offsets, timeout);
                self.commits.insert(ticket, done);
                self.shared.commits_sent.fetch_sub(1, Ordering::SeqCst);
            }
            Command::Listen(listener) => self.listener = Some(listener),
            Command::GiveBack(ticket) => self.given_back(clock, ticket),
            Command::Apart(partition, epoch, apart) => self.apart(clock, &partition, epoch, apart),
            Command::Back => {
                let actions = self.machine.handle_poll(now);
                self.execute(clock, actions, None);
            }
            Command::Rejoin(reason) => {
                let actions = self.machine.handle_rejoin(now, &reason);
                self.execute(clock, actions, None);
            }
            Command::Status(done) => {
                let _ = done.send(Status {
                    partitions: self.machine.status(now, &*self.shared),
                    topics: self.machine.subscription().topics(),
                    topic_errors: self.machine.topic_errors(),
                    member: self.machine.identity(),
                    coordinator: self.machine.coordinator(),
                    used_bytes: self.shared.credits.used(),
                    group_refusal: self.machine.group_refusal().cloned().map(PollError::Group),
                    stalled: self.machine.stalled(now),
                    counters: self.machine.counters().0.clone(),
                    stalls: self.machine.counters().1.clone(),
                });
            }
            #[cfg(test)]
            Command::Panic => panic!("a mistake of ours"),
            Command::Close { operation, timeout, done } => {
                self.start_closing(clock, operation, timeout, Some(done));
            }
        }
    }

    fn reply(&mut self, clock: Clock, reply: Reply) {
        let now = clock.now();
        let mut hold = None;
        let actions = match reply {
            Reply::Coordinator(id, found) => {
                let node = match found {
                    Ok(broker) => {
                        let node = broker.id;
                        self.coordinator = Some(broker);
                        Ok(node)
                    }
                    Err(code) => Err(code),
                };
                self.machine.handle_coordinator(now, id, node)
            }
            Reply::Group(id, answer) => self.machine.handle_group(now, id, answer),
            Reply::Commit(id, answer) => self.machine.handle_committed(now, id, answer),
            Reply::Offsets(id, answer) => self.machine.handle_offsets(now, id, answer),
            Reply::Listed(id, answer) => self.machine.handle_listed(now, id, answer),
            Reply::EpochEnds(id, answer) => {
                self.machine.handle_epoch_ends(now, id, answer, &*self.shared)
            }
            Reply::Fetched { node, id, answer } => {
                let bytes = answer.as_ref().map_or(0, |answer| {
                    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
                    partitions.map(|it| it.records.as_ref().map_or(0, bytes::Bytes::len)).sum()
                });
                hold = Some(self.shared.credits.take(bytes));
                self.follower.count(bytes);
                self.machine.handle_fetched(now, node, id, answer, &*self.shared)
            }
            Reply::SessionsClosed => {
                self.machine.handle_sessions_closed();
                Vec::new()
            }
            // It is not known which: nothing could be relied on from here.
            Reply::Panicked => panic!("a request of the consumer's panicked"),
            Reply::GroupTopics { id, members } => {
                self.new_view(clock);
                self.machine.handle_group_topics(now, id, members)
            }
        };
        self.execute(clock, actions, hold.as_ref());
    }

    fn new_view(&mut self, clock: Clock) {
        let view = self.view.borrow_and_update().clone();
        let actions = self.machine.handle_metadata(clock.now(), view);
        self.execute(clock, actions, None);
    }

    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) -> Result<(), TopicPartition> {
        let mut buffer = self.shared.buffer.lock();
        if let Some(foreign) = partitions.iter().find(|it| buffer.given(it).is_none()) {
            return Err(foreign.clone());
        }
        for partition in partitions {
            if !self.machine.handle_pause(partition, paused) {
                continue;
            }
            let apart = buffer.is_apart(partition).then_some(partition);
            if buffer.set_paused(partition, paused) {
                self.shared.wake_reader(apart);
            }
            if paused {
                self.keep_alone(&mut buffer, partition);
            }
        }
        Ok(())
    }

    fn start_closing(
        &mut self,
        clock: Clock,
        operation: GroupMembershipOperation,
        timeout: Duration,
        done: Option<oneshot::Sender<Result<(), CloseError>>>,
    ) {
        let deadline = after(Instant::now(), timeout);
        if let Some(closing) = &mut self.closing {
            if deadline < closing.deadline {
                (closing.deadline, closing.timeout) = (deadline, timeout);
            }
            closing.done.extend(done);
            return;
        }
        self.closing = Some(Closing { deadline, timeout, done: done.into_iter().collect() });
        self.shared.close(false);
        self.finish_given(clock);
        let now = clock.now();
        // Some of the time is kept for leaving.
        let time = ms(timeout);
        let commit_by = now + time - (time / 4).min(LEAVE_TIME_MS);
        let actions = self.machine.handle_close(now, operation, commit_by, &*self.shared);
        self.execute(clock, actions, None);
    }

    fn end(self) {
        let lost = self.machine.lost_at_the_end();
        let late = self.closing.as_ref().filter(|closing| Instant::now() >= closing.deadline);
        let outcome = if !lost.is_empty() {
            let why =
                |(it, why): &(TopicPartition, CommitFailure)| (it.clone(), why.clone().into());
            let failures = lost.iter().map(why).collect();
            Err(CloseError::Commit(CommitError::Partitions { failures }))
        } else if let Some(closing) = late {
            Err(CloseError::TimedOut { timeout: closing.timeout })
        } else {
            Ok(())
        };
        // There is one end.
        let _ = self.shared.close_outcome.set(outcome.clone());
        for done in self.closing.into_iter().flat_map(|closing| closing.done) {
            let _ = done.send(outcome.clone());
        }
    }
}

/// Ends what waits for the task when that ends, in whichever way: a panic of ours must not leave polls and
/// streams waiting for ever.
struct End {
    shared: Arc<Shared>,
    driver: Driver,
}

impl Drop for End {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            tracing::error!("the consumer's task panicked: the consumer is closed");
        }
        self.shared.close(failed);
        self.driver.stop();
    }
}

/// How long a dropped consumer's goodbye may take.
const CLOSE_ON_DROP: Duration = Duration::from_secs(5);
/// How long leaving may take that was closed in time, a quarter of that time at the most.
const LEAVE_TIME_MS: i64 = 1_000;
/// How long the task sleeps at most with nothing due.
const IDLE_WAIT: Duration = Duration::from_secs(60);
/// How often the machine may act on its own actions before events are looked at again.
const ROUNDS_MAX: usize = 16;

#[cfg(test)]
mod tests;
