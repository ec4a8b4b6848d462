//! Which offsets to commit, and when each commit of the application is done.
//!
//! One OffsetCommit is in flight at a time. What is asked for meanwhile is merged, the latest offset
//! of each partition winning, and leaves with the next one: commits can neither overtake each other
//! nor pile up. They complete in the order they were asked for.
//!
//! A commit belongs to the ownership it was made in. When the generation changes while it waits, it
//! is sent again under the new one, without the partitions that are no longer owned or were lost and
//! won again: those fail with [`CommitFailure::NotOwned`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use kohort_protocol::{ErrorCode, Uuid};

use super::membership::GroupIdentity;
use super::types::{
    AssignmentEpoch, Counter, OffsetAndMetadata, RequestId, Retry, Timestamp, TopicName,
    TopicPartition,
};
use crate::metadata::is_unknown;

/// Names one commit of the application until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitTicket(pub u64);

/// Why an offset was not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitFailure {
    /// The partition is not owned any more, or not in the ownership the commit was made in.
    NotOwned,
    /// The coordinator refused it for good.
    Refused(ErrorCode),
    /// It was not committed before the deadline; it may or may not have reached the coordinator.
    TimedOut {
        /// What the last attempt met, if it got an answer.
        last: Option<ErrorCode>,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum CommitAction {
    /// Send to the coordinator; answer with `handle_response` or `handle_failure`.
    Send {
        /// The number the answer carries.
        id: RequestId,
        /// The coordinator.
        coordinator: i32,
        /// What to send.
        request: OffsetCommitRequest,
    },
    /// A commit is done: the partitions that failed, and why.
    Done {
        /// Which commit.
        ticket: CommitTicket,
        /// Empty when everything is committed.
        failures: Vec<(TopicPartition, CommitFailure)>,
    },
    /// The node asked is not the coordinator.
    CoordinatorLost(i32),
    /// The coordinator said something about our membership.
    MembershipError {
        /// The generation the commit was sent with.
        generation: i32,
        /// What it said.
        code: ErrorCode,
    },
    /// The coordinator does not know a topic that the picture of the cluster has: one of them is late.
    TopicUnknown,
}

/// What the rest of the consumer knows that decides whether and how commits are sent.
pub struct CommitContext<'a> {
    /// The coordinator, if known.
    pub coordinator: Option<i32>,
    /// Who commits: `None` while the member has no generation.
    pub identity: Option<GroupIdentity>,
    /// Whether the coordinator takes commits in this phase of the rebalance.
    pub accepted_now: bool,
    /// Whether a new generation comes while partitions are being given back, as the epochs of the consumer
    /// protocol do; a classic member's comes only after that.
    pub renewed_while_revoking: bool,
    /// Whether partitions are assigned by hand: such commits have no generation.
    pub manual: bool,
    /// Whether nothing is assigned or subscribed to: such commits have no generation either.
    pub outside: bool,
    /// The present ownership of a partition.
    pub epoch: &'a dyn Fn(&TopicPartition) -> Option<AssignmentEpoch>,
    /// Whether a partition is being given back.
    pub revoking: &'a dyn Fn(&TopicPartition) -> bool,
    /// Whether the picture of the cluster does not have a partition.
    pub unknown: &'a dyn Fn(&TopicPartition) -> bool,
    /// The id of a topic, if known.
    pub topic_id: &'a dyn Fn(&str) -> Option<Uuid>,
}

impl CommitContext<'_> {
    fn has_no_membership(&self) -> bool {
        self.manual || self.outside
    }

    fn generation(&self) -> i32 {
        self.identity.as_ref().map_or(NO_GENERATION, |it| it.generation)
    }
}

impl fmt::Debug for CommitContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitContext")
            .field("coordinator", &self.coordinator)
            .field("identity", &self.identity)
            .field("accepted_now", &self.accepted_now)
            .field("renewed_while_revoking", &self.renewed_while_revoking)
            .field("manual", &self.manual)
            .finish_non_exhaustive()
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Committer {
    group_id: String,
    ids: Counter,
    tickets: VecDeque<Waiting>,
    next_ticket: Counter,
    pending: BTreeMap<TopicPartition, Entry>,
    in_flight: Option<Flight>,
    retry: Retry,
    retry_at: Timestamp,
    /// The generation that was refused: nothing is sent until there is another one.
    refused_generation: Option<i32>,
    last_error: Option<ErrorCode>,
}

#[derive(Debug)]
struct Waiting {
    ticket: CommitTicket,
    partitions: BTreeSet<TopicPartition>,
    failures: Vec<(TopicPartition, CommitFailure)>,
    deadline: Timestamp,
}

#[derive(Debug, Clone)]
struct Entry {
    offset: OffsetAndMetadata,
    epoch: Option<AssignmentEpoch>,
    /// The latest commit that asked for this partition; it settles all earlier ones.
    ticket: CommitTicket,
}

#[derive(Debug)]
struct Flight {
    id: RequestId,
    coordinator: i32,
    generation: i32,
    sent: BTreeMap<TopicPartition, Entry>,
    /// The topics whose id went along: an answer may name them by that alone.
    names: Vec<(Uuid, TopicName)>,
}

const NO_GENERATION: i32 = -1;

impl Committer {
    /// Starts with nothing to commit.
    pub fn new(
        group_id: String,
        retry_backoff_ms: i64,
        retry_backoff_max_ms: i64,
        seed: u64,
    ) -> Self {
        Self {
            group_id,
            ids: Counter::default(),
            tickets: VecDeque::new(),
            next_ticket: Counter::default(),
            pending: BTreeMap::new(),
            in_flight: None,
            retry: Retry::new(retry_backoff_ms, retry_backoff_max_ms, seed),
            retry_at: 0,
            refused_generation: None,
            last_error: None,
        }
    }

    /// Asks for offsets to be committed before `deadline`; `Done` follows for the ticket returned.
    pub fn commit(
        &mut self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata, Option<AssignmentEpoch>)>,
        deadline: Timestamp,
    ) -> CommitTicket {
        let ticket = CommitTicket(self.next_ticket.advance());
        let mut partitions = BTreeSet::new();
        for (partition, offset, epoch) in offsets {
            partitions.insert(partition.clone());
            self.pending.insert(partition, Entry { offset, epoch, ticket });
        }
        self.tickets.push_back(Waiting { ticket, partitions, failures: Vec::new(), deadline });
        ticket
    }

    /// Whether a commit of one of these partitions is still under way.
    pub fn is_committing(&self, mut partitions: impl Iterator<Item = TopicPartition>) -> bool {
        partitions.any(|it| self.tickets.iter().any(|ticket| ticket.partitions.contains(&it)))
    }

    /// Gives up at `deadline` what is not committed by then.
    pub fn hurry(&mut self, deadline: Timestamp) {
        for ticket in &mut self.tickets {
            ticket.deadline = ticket.deadline.min(deadline);
        }
    }

    /// Fails what waits to be sent: the coordinator will not be found, however often it is looked for.
    pub fn refuse(&mut self, code: ErrorCode) {
        for (partition, entry) in std::mem::take(&mut self.pending) {
            self.settle(&partition, entry.ticket, Some(CommitFailure::Refused(code)));
        }
    }

    /// Whether nobody waits for a commit. One may be under way all the same, which was given up: of its answer
    /// nobody would hear.
    pub fn is_idle(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Sends what can be sent and completes what is done or too late.
    pub fn advance(&mut self, now: Timestamp, context: &CommitContext<'_>) -> Vec<CommitAction> {
        let mut actions = Vec::new();
        self.drop_disowned(context);
        self.expire(now);
        self.complete(&mut actions);
        let generation = context.generation();
        if self.refused_generation.is_some_and(|refused| refused != generation) {
            self.refused_generation = None;
            self.retry_at = now;
        }
        let ready = self.in_flight.is_none()
            && !self.pending.is_empty()
            && now >= self.retry_at
            && self.refused_generation.is_none()
            && (context.has_no_membership()
                || (context.identity.is_some() && context.accepted_now));
        if let (true, Some(coordinator)) = (ready, context.coordinator) {
            actions.push(self.send(coordinator, generation, context));
        }
        actions
    }

    /// Takes the coordinator's answer.
    pub fn handle_response(
        &mut self,
        now: Timestamp,
        id: RequestId,
        response: OffsetCommitResponse,
        context: &CommitContext<'_>,
    ) -> Vec<CommitAction> {
        let mut actions = Vec::new();
        let Some(mut flight) = self.in_flight.take_if(|flight| flight.id == id) else {
            return actions;
        };
        let generation = context.generation();
        let mut membership_error = None;
        let mut again = false;
        for topic in response.topics {
            let by_id = flight.names.iter().find(|(id, _)| *id == topic.topic_id);
            let name = by_id.map_or_else(|| topic.name.as_str().into(), |(_, name)| name.clone());
            for answer in topic.partitions {
                let partition =
                    TopicPartition { topic: name.clone(), partition: answer.partition_index };
                let Some(entry) = flight.sent.remove(&partition) else { continue };
                let code = answer.error_code;
                match judge(code) {
                    // Without a membership there is no other generation to wait for: the group has
                    // members, and they alone may commit.
                    Verdict::Membership if context.has_no_membership() => {
                        self.settle(&partition, entry.ticket, Some(CommitFailure::Refused(code)));
                    }
                    Verdict::Done => self.settle(&partition, entry.ticket, None),
                    Verdict::Refused => {
                        self.settle(&partition, entry.ticket, Some(CommitFailure::Refused(code)));
                    }
                    // Both agree: it was deleted, and will not be there however often it is tried.
                    Verdict::Unknown if (context.unknown)(&partition) => {
                        self.settle(&partition, entry.ticket, Some(CommitFailure::Refused(code)));
                    }
                    verdict => {
                        again = true;
                        self.last_error = Some(code);
                        match verdict {
                            Verdict::NotCoordinator => {
                                actions.push(CommitAction::CoordinatorLost(flight.coordinator));
                            }
                            Verdict::Membership => membership_error = Some(code),
                            Verdict::Unknown => actions.push(CommitAction::TopicUnknown),
                            _ => {}
                        }
                        // What is being given back cannot wait for the next generation, which
                        // itself waits for it, unless that is there already.
                        if verdict == Verdict::Membership
                            && flight.generation == generation
                            && !context.renewed_while_revoking
                            && (context.revoking)(&partition)
                        {
                            self.settle(
                                &partition,
                                entry.ticket,
                                Some(CommitFailure::Refused(code)),
                            );
                        } else {
                            self.pending.entry(partition).or_insert(entry);
                        }
                    }
                }
            }
        }
        // A partition the answer leaves out is sent again.
        again |= !flight.sent.is_empty();
        for (partition, entry) in flight.sent {
            self.pending.entry(partition).or_insert(entry);
        }
        if again {
            self.retry_at = now + self.retry.next_ms();
        } else {
            self.retry.reset();
        }
        if let Some(code) = membership_error {
            self.refused_generation = Some(flight.generation);
            actions.push(CommitAction::MembershipError { generation: flight.generation, code });
        }
        actions.dedup();
        self.complete(&mut actions);
        actions
    }

    /// Takes that the coordinator did not answer.
    pub fn handle_failure(&mut self, now: Timestamp, id: RequestId) -> Vec<CommitAction> {
        let Some(flight) = self.in_flight.take_if(|flight| flight.id == id) else {
            return Vec::new();
        };
        for (partition, entry) in flight.sent {
            self.pending.entry(partition).or_insert(entry);
        }
        self.retry_at = now + self.retry.next_ms();
        vec![CommitAction::CoordinatorLost(flight.coordinator)]
    }

    /// Returns when [`advance`](Self::advance) may have something to do without an event.
    pub fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let deadline = self.tickets.iter().map(|ticket| ticket.deadline).min();
        let retry = (!self.pending.is_empty() && self.retry_at > now).then_some(self.retry_at);
        deadline.into_iter().chain(retry).min()
    }

    fn send(
        &mut self,
        coordinator: i32,
        generation: i32,
        context: &CommitContext<'_>,
    ) -> CommitAction {
        let sent = std::mem::take(&mut self.pending);
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        let mut names = Vec::new();
        for (partition, entry) in &sent {
            let wanted = OffsetCommitRequestPartition {
                partition_index: partition.partition,
                committed_offset: entry.offset.offset,
                committed_leader_epoch: entry.offset.leader_epoch.unwrap_or(-1),
                committed_metadata: Some(entry.offset.metadata.clone()),
            };
            match topics.last_mut() {
                Some(topic) if *topic.name == *partition.topic => topic.partitions.push(wanted),
                _ => {
                    let topic_id =
                        (context.topic_id)(&partition.topic).filter(|id| *id != Uuid::ZERO);
                    names.extend(topic_id.map(|id| (id, partition.topic.clone())));
                    topics.push(OffsetCommitRequestTopic {
                        name: partition.topic.to_string(),
                        topic_id: topic_id.unwrap_or(Uuid::ZERO),
                        partitions: vec![wanted],
                    });
                }
            }
        }
        let identity = context.identity.clone();
        let id = RequestId(self.ids.advance());
        self.in_flight = Some(Flight { id, coordinator, generation, sent, names });
        let request = OffsetCommitRequest {
            group_id: self.group_id.clone(),
            generation_id_or_member_epoch: generation,
            member_id: identity.as_ref().map(|it| it.member_id.clone()).unwrap_or_default(),
            group_instance_id: identity.and_then(|it| it.group_instance_id),
            topics,
            ..OffsetCommitRequest::default()
        };
        CommitAction::Send { id, coordinator, request }
    }

    fn drop_disowned(&mut self, context: &CommitContext<'_>) {
        if context.manual {
            return;
        }
        let disowned: Vec<_> = self
            .pending
            .iter()
            .filter(|(partition, entry)| {
                let unowned = entry.epoch.is_none() && !context.outside;
                unowned || (context.epoch)(partition) != entry.epoch
            })
            .map(|(partition, entry)| (partition.clone(), entry.ticket))
            .collect();
        for (partition, ticket) in disowned {
            self.pending.remove(&partition);
            self.settle(&partition, ticket, Some(CommitFailure::NotOwned));
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let last = self.last_error;
        let mut settled = Vec::new();
        for ticket in self.tickets.iter_mut().filter(|ticket| now >= ticket.deadline) {
            for partition in std::mem::take(&mut ticket.partitions) {
                ticket.failures.push((partition.clone(), CommitFailure::TimedOut { last }));
                settled.push((partition, ticket.ticket));
            }
        }
        for (partition, ticket) in settled {
            // A later commit of the same partition goes on.
            if self.pending.get(&partition).is_some_and(|entry| entry.ticket <= ticket) {
                self.pending.remove(&partition);
            }
        }
    }

    /// Records the outcome for every commit up to `ticket` that waits for the partition.
    fn settle(
        &mut self,
        partition: &TopicPartition,
        ticket: CommitTicket,
        failure: Option<CommitFailure>,
    ) {
        for waiting in self.tickets.iter_mut().take_while(|it| it.ticket <= ticket) {
            if waiting.partitions.remove(partition)
                && let Some(failure) = &failure
            {
                waiting.failures.push((partition.clone(), failure.clone()));
            }
        }
    }

    fn pop_done(&mut self) -> Option<Waiting> {
        self.tickets
            .front()
            .is_some_and(|ticket| ticket.partitions.is_empty())
            .then(|| self.tickets.pop_front())?
    }

    fn complete(&mut self, actions: &mut Vec<CommitAction>) {
        while let Some(done) = self.pop_done() {
            actions.push(CommitAction::Done { ticket: done.ticket, failures: done.failures });
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Done,
    Again,
    NotCoordinator,
    Membership,
    /// The topic or the partition is not there, which may be because it was just made.
    Unknown,
    Refused,
}

fn judge(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::NONE => Verdict::Done,
        ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
            Verdict::NotCoordinator
        }
        ErrorCode::REBALANCE_IN_PROGRESS
        | ErrorCode::ILLEGAL_GENERATION
        | ErrorCode::UNKNOWN_MEMBER_ID
        | ErrorCode::STALE_MEMBER_EPOCH
        | ErrorCode::FENCED_MEMBER_EPOCH
        | ErrorCode::FENCED_INSTANCE_ID => Verdict::Membership,
        code if is_unknown(code) => Verdict::Unknown,
        code if code.is_retriable() => Verdict::Again,
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests;
