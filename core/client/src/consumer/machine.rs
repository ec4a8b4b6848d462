//! The whole consumer: joins the parts and keeps their order.
//!
//! ```text
//!  events: answers, failures, metadata, the application's calls, time
//!     │
//!     ▼                    ┌── membership ── assigned, revoke, lost ──┐
//!  ConsumerMachine ────────┼── positions  ◄───────────────────────────┘
//!     │                    ├── fetcher    ◄── positions, metadata, budget
//!     ▼                    └── committer  ◄── membership's identity, positions' epochs
//!  actions: requests, what may be delivered, what the application is told
//! ```
//!
//! After each event the shell carries out the actions and calls [`ConsumerMachine::advance`], which
//! decides what to send next. A revocation passes three stations: the application gives the
//! partitions back, what it processed is committed, the group goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_protocol::ErrorCode;

use super::committer::{CommitContext, CommitFailure, CommitTicket, Committer};
use super::fetcher::{FetchStatus, Fetcher, Memory, Planned, Wants};
use super::membership::{Membership, MembershipError};
use super::missing::MissingPartitions;
use super::positions::{Positions, PositionsConfig};
use super::stalls::{Stall, StallCounters, Stalls};
use super::subscription::{AssignedFor, Subscription};
use super::types::{AssignmentEpoch, RequestId, Timestamp, TopicName, TopicPartition};
use crate::metadata::{MetadataView, Topics};
pub use types::{Action, Application, Counters, Fault, Fetched, GroupEvent, MachineConfig};

/// See the [module](self).
#[derive(Debug)]
pub struct ConsumerMachine {
    config: MachineConfig,
    group_id: String,
    membership: Option<Membership>,
    positions: Positions,
    fetcher: Fetcher,
    committer: Committer,
    subscription: Subscription,
    view: Arc<MetadataView>,
    assigned_for: AssignedFor,
    /// What the members of a group this one leads want.
    group_topics: BTreeSet<TopicName>,
    /// What the picture of the cluster has been asked to cover.
    wanted: Topics,
    /// The final errors about topics the application has been told.
    topic_errors: BTreeMap<TopicName, ErrorCode>,
    /// The owned partitions that their topics do not have.
    missing: MissingPartitions,
    revocation: Option<Revocation>,
    auto_commit_at: Timestamp,
    auto_committed: BTreeMap<TopicPartition, (AssignmentEpoch, i64)>,
    /// The automatic commits under way.
    auto_commits: BTreeSet<CommitTicket>,
    /// The member's epoch that each question for committed offsets was asked in.
    offsets_asked_in: BTreeMap<RequestId, i32>,
    stalls: Stalls,
    counters: Counters,
    metadata_wanted_at: Timestamp,
    /// When to ask for metadata again while an owned partition has no known leader.
    leaderless_at: Option<Timestamp>,
    wants: Wants,
    closing: bool,
    /// When commits are given up because the consumer closes.
    commit_by: Timestamp,
    /// What a closing consumer could not commit.
    lost_at_the_end: Vec<(TopicPartition, CommitFailure)>,
    /// Whether fetch sessions are being ended.
    closing_sessions: bool,
    left: bool,
    closed: bool,
}

#[derive(Debug)]
struct Revocation {
    ticket: RequestId,
    partitions: BTreeSet<TopicPartition>,
    given_back: bool,
}

/// What the committer may know: borrows every part of the machine but the committer.
macro_rules! commit_context {
    ($machine:ident) => {{
        let membership = $machine.membership.as_ref();
        let manual = $machine.subscription.is_manual();
        CommitContext {
            coordinator: membership.and_then(Membership::coordinator),
            identity: membership.filter(|_| !manual).and_then(Membership::identity),
            accepted_now: membership.is_some_and(Membership::accepts_commits),
            renewed_while_revoking: membership.is_some_and(Membership::renews_while_revoking),
            manual,
            outside: $machine.subscription.is_empty()
                && membership.is_some_and(Membership::is_idle),
            epoch: &|partition| $machine.positions.epoch(partition),
            revoking: &|partition| {
                $machine.positions.get(partition).is_some_and(|slot| slot.revoking)
            },
            unknown: &|it| $machine.view.partition(&it.topic, it.partition).is_none(),
            topic_id: &|topic| $machine.view.topic(topic).map(|topic| topic.id),
        }
    }};
}

impl ConsumerMachine {
    /// Starts a consumer that wants nothing yet.
    pub fn new(mut config: MachineConfig) -> Self {
        let positions = Positions::new(PositionsConfig {
            has_group: config.group.is_some(),
            reset: config.reset,
            retry_backoff_ms: config.retry_backoff_ms,
            retry_backoff_max_ms: config.retry_backoff_max_ms,
            seed: config.seed,
        });
        let group_id =
            config.group.as_ref().map(|group| group.group_id.clone()).unwrap_or_default();
        Self {
            membership: config.group.take().map(Membership::new),
            group_id: group_id.clone(),
            positions,
            fetcher: Fetcher::new(config.fetch.clone()),
            committer: Committer::new(
                group_id,
                config.retry_backoff_ms,
                config.retry_backoff_max_ms,
                config.seed,
            ),
            subscription: Subscription::None,
            view: Arc::default(),
            assigned_for: AssignedFor::default(),
            group_topics: BTreeSet::new(),
            wanted: Topics::Some(BTreeSet::new()),
            topic_errors: BTreeMap::new(),
            missing: MissingPartitions::default(),
            revocation: None,
            auto_commit_at: 0,
            auto_committed: BTreeMap::new(),
            auto_commits: BTreeSet::new(),
            offsets_asked_in: BTreeMap::new(),
            stalls: Stalls::default(),
            counters: Counters::default(),
            metadata_wanted_at: 0,
            leaderless_at: None,
            wants: Wants::default(),
            closing: false,
            commit_by: Timestamp::MAX,
            lost_at_the_end: Vec::new(),
            closing_sessions: false,
            left: false,
            closed: false,
            config,
        }
    }

    /// Decides what to do next; called after every event, once its actions were carried out.
    pub fn advance(&mut self, now: Timestamp, application: &dyn Application) -> Vec<Action> {
        let mut actions = self.with_group(now, |membership| membership.handle_timeout(now));
        self.forget_group_topics(&mut actions);
        self.check_poll_interval(now, application, &mut actions);
        self.check_auto_commit(now, application);
        self.advance_commits(now, &mut actions);
        self.advance_revocation(now, &mut actions);
        let coordinator = self.membership.as_ref().and_then(Membership::coordinator);
        let view = self.view.clone();
        let found = self.positions.advance(now, &view, coordinator.is_some());
        self.apply_positions(now, found, &mut actions);
        let planned = if self.closing {
            Planned::default()
        } else {
            let memory = Memory {
                used: application.used_bytes(),
                kept: application.kept_bytes(),
                starves: &|partition| application.starves(partition),
            };
            let buffered = |partition: &_| application.buffered(partition);
            self.fetcher.plan(now, &self.positions, &view, &buffered, &memory)
        };
        self.wants = planned.wants;
        actions.extend(planned.fetches.into_iter().map(Action::Fetch));
        if !planned.leaderless {
            self.leaderless_at = None;
        } else if self.leaderless_at.is_none_or(|at| now >= at) {
            // Asked again by the clock: an answer that knows no leader either wakes nobody later.
            self.leaderless_at = Some(now + self.config.retry_backoff_max_ms.max(1));
            actions.push(Action::RefreshMetadata);
        }
        self.look_for_stalls(now, application, &mut actions);
        let at_rest = self.left && !self.closing_sessions && self.committer.is_idle();
        if self.closing && at_rest && !self.closed {
            self.closed = true;
            actions.push(Action::Closed);
        }
        actions
    }

    /// Returns when [`advance`](Self::advance) has to be called without an event.
    pub fn poll_timeout(&self, now: Timestamp, application: &dyn Application) -> Option<Timestamp> {
        let group = self.membership.as_ref().and_then(Membership::poll_timeout);
        let coordinator = self.membership.as_ref().is_some_and(|it| it.coordinator().is_some());
        let idle = self.poll_deadline(application);
        let owns = self.positions.iter().next().is_some();
        let auto_commit = (!self.closing && self.config.auto_commit_interval_ms.is_some() && owns)
            .then_some(self.auto_commit_at);
        [
            group,
            idle,
            auto_commit,
            owns.then(|| self.stalls.look_at()),
            self.leaderless_at,
            self.positions.poll_timeout(now, coordinator),
            self.fetcher.poll_timeout(now),
            self.committer.poll_timeout(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Names what each owned partition is doing.
    pub fn status(
        &self,
        now: Timestamp,
        application: &dyn Application,
    ) -> BTreeMap<TopicPartition, FetchStatus> {
        let status = |(partition, _)| {
            let buffered = application.buffered(partition);
            let status =
                self.fetcher.status(now, partition, &self.positions, &self.view, buffered)?;
            let spent = application.used_bytes() > 0 && status == FetchStatus::Due;
            Some((partition.clone(), if spent { FetchStatus::BudgetSpent } else { status }))
        };
        self.positions.iter().filter_map(status).collect()
    }

    /// Returns the partitions that have waited for long.
    pub fn stalled(&self, now: Timestamp) -> Vec<Stall> {
        self.stalls.stalled(now)
    }

    /// Returns what was counted since the start.
    pub fn counters(&self) -> (&Counters, &StallCounters) {
        (&self.counters, self.stalls.counters())
    }

    /// Returns what would let more be fetched, as of the latest `advance`.
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// Returns how many bytes the fetches under way may bring.
    pub fn reserved_bytes(&self) -> i64 {
        self.fetcher.reserved_bytes()
    }

    /// Returns the group's coordinator, if known.
    pub fn coordinator(&self) -> Option<i32> {
        self.membership.as_ref().and_then(Membership::coordinator)
    }

    /// Returns the member's id and generation, while it has one.
    pub fn identity(&self) -> Option<(String, i32)> {
        let identity = self.membership.as_ref()?.identity()?;
        Some((identity.member_id, identity.generation))
    }

    /// Returns why the group does not have this member, while it refuses it.
    pub fn group_refusal(&self) -> Option<&MembershipError> {
        self.membership.as_ref().and_then(Membership::refusal)
    }

    /// Returns the topics wanted that the cluster cannot or will not describe, with why.
    pub fn topic_errors(&self) -> BTreeMap<TopicName, ErrorCode> {
        let wanted = self.subscription.topics();
        let wanted = wanted.into_iter();
        wanted.filter_map(|topic| Some((topic.clone(), self.view.topic_error(&topic)?))).collect()
    }

    /// Returns what was to be committed when the consumer was closed, or was being committed, and was not.
    pub fn lost_at_the_end(&self) -> &[(TopicPartition, CommitFailure)] {
        &self.lost_at_the_end
    }

    /// Returns what is wanted.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    fn look_for_stalls(
        &mut self,
        now: Timestamp,
        application: &dyn Application,
        actions: &mut Vec<Action>,
    ) {
        if self.stalls.is_due(now) && self.positions.iter().next().is_some() {
            let status = self.status(now, application);
            let begun = self.stalls.look(now, status);
            actions.extend(begun.into_iter().map(|it| Action::Event(GroupEvent::Stalled(it))));
        }
    }

    fn advance_commits(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        // After a refusal for good the coordinator is not looked for any more.
        if let Some(error) = self.group_refusal()
            && error.is_final()
            && let MembershipError::Refused { code, .. } = *error
        {
            self.committer.refuse(code);
        }
        let context = commit_context!(self);
        let commits = self.committer.advance(now, &context);
        self.apply_commits(now, commits, actions);
    }

    fn advance_revocation(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(revocation) = &self.revocation else { return };
        if revocation.given_back
            && !self.committer.is_committing(revocation.partitions.iter().cloned())
        {
            let ticket = revocation.ticket;
            actions
                .extend(self.with_group(now, |membership| membership.handle_revoked(now, ticket)));
        }
    }
}

mod answers;
mod calls;
mod cluster;
mod parts;
mod processed;
mod types;
