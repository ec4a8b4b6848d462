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

use kohort_protocol::messages::fetch::FetchResponse;
use kohort_protocol::messages::join_group::JoinGroupResponseMember;
use kohort_protocol::messages::list_offsets::ListOffsetsResponse;
use kohort_protocol::messages::offset_commit::OffsetCommitResponse;
use kohort_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use kohort_protocol::{ErrorCode, Uuid};

use super::committer::{CommitAction, CommitContext, CommitTicket, Committer};
use super::fetcher::{FetchStatus, Fetcher};
use super::group_protocol::topics_of;
use super::membership::{ClassicMembership, GroupAction, GroupResponse};
use super::offsets::{list_offsets_request, offsets_request, read_listed, read_offsets};
use super::positions::{PositionAction, Positions, PositionsConfig};
use super::subscription::{AssignedFor, Subscription};
use super::types::{
    AssignmentEpoch, IsolationLevel, OffsetAndMetadata, Position, RequestId, Timestamp, TopicName,
    TopicPartition,
};
use crate::metadata::MetadataView;
pub use types::{Action, Application, Fault, GroupEvent, MachineConfig};

/// See the [module](self).
#[derive(Debug)]
pub struct ConsumerMachine {
    config: MachineConfig,
    group_id: String,
    membership: Option<ClassicMembership>,
    positions: Positions,
    fetcher: Fetcher,
    committer: Committer,
    subscription: Subscription,
    view: Arc<MetadataView>,
    assigned_for: AssignedFor,
    revocation: Option<Revocation>,
    auto_commit_at: Timestamp,
    auto_committed: BTreeMap<TopicPartition, (AssignmentEpoch, i64)>,
    metadata_wanted_at: Timestamp,
    /// When to ask for metadata again while an owned partition has no known leader.
    leaderless_at: Option<Timestamp>,
    held_back: bool,
    closing: bool,
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
            coordinator: membership.and_then(ClassicMembership::coordinator),
            identity: membership.filter(|_| !manual).and_then(ClassicMembership::identity),
            accepted_now: membership.is_some_and(ClassicMembership::accepts_commits),
            manual,
            epoch: &|partition| $machine.positions.epoch(partition),
            revoking: &|partition| {
                $machine.positions.get(partition).is_some_and(|slot| slot.revoking)
            },
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
            membership: config.group.take().map(ClassicMembership::new),
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
            revocation: None,
            auto_commit_at: 0,
            auto_committed: BTreeMap::new(),
            metadata_wanted_at: 0,
            leaderless_at: None,
            held_back: false,
            closing: false,
            left: false,
            closed: false,
            config,
        }
    }

    /// Subscribes to topics as a member of the group, in place of whatever was wanted before.
    pub fn handle_subscribe(&mut self, now: Timestamp, topics: BTreeSet<TopicName>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.drop_manual(&mut actions);
        actions.push(Action::WantTopics(topics.clone()));
        self.subscription = if topics.is_empty() {
            Subscription::None
        } else {
            Subscription::Topics(topics.clone())
        };
        if let Some(membership) = &mut self.membership {
            let group = membership.handle_subscription(now, topics);
            self.apply_group(now, group, &mut actions);
        }
        actions
    }

    /// Takes partitions by hand; of those taken by hand before, the ones kept go on where they are.
    /// What the group gave is given back at once: asking for it says that the application is done.
    pub fn handle_assign(
        &mut self,
        now: Timestamp,
        partitions: BTreeSet<TopicPartition>,
        application: &dyn Application,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        if matches!(self.subscription, Subscription::Topics(_))
            && let Some(membership) = &mut self.membership
        {
            let group = membership.handle_subscription(now, BTreeSet::new());
            self.apply_group(now, group, &mut actions);
        }
        if let Some(ticket) = self.revocation.as_ref().map(|it| it.ticket) {
            actions.extend(self.handle_given_back(now, ticket, application));
            // What is to be committed leaves before the goodbye; its answer is not waited for.
            self.advance_commits(now, &mut actions);
            actions
                .extend(self.with_group(now, |membership| membership.handle_revoked(now, ticket)));
        }
        let held: BTreeSet<_> =
            self.positions.iter().map(|(partition, _)| partition.clone()).collect();
        self.disown(held.difference(&partitions).cloned().collect(), &mut actions);
        let added: Vec<_> = partitions.difference(&held).cloned().collect();
        self.subscription = Subscription::Partitions(partitions);
        actions.push(Action::WantTopics(self.subscription.topics()));
        actions.push(Action::Own(self.positions.assign(added)));
        actions
    }

    /// Takes the coordinator's node.
    pub fn handle_coordinator(
        &mut self,
        now: Timestamp,
        id: RequestId,
        found: Result<i32, ErrorCode>,
    ) -> Vec<Action> {
        self.with_group(now, |membership| membership.handle_coordinator(now, id, found))
    }

    /// Takes an answer of the coordinator to a membership request.
    pub fn handle_group(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Option<GroupResponse>,
    ) -> Vec<Action> {
        self.with_group(now, |membership| match answer {
            Some(answer) => membership.handle_response(now, id, answer),
            None => membership.handle_failure(now, id),
        })
    }

    /// Divides the group's partitions as its leader, by the present picture of the cluster.
    pub fn handle_group_topics(
        &mut self,
        now: Timestamp,
        id: RequestId,
        members: Vec<JoinGroupResponseMember>,
    ) -> Vec<Action> {
        self.assigned_for = AssignedFor::of(topics_of(&members), &self.view);
        let view = self.view.clone();
        self.with_group(now, |membership| membership.handle_group_topics(now, id, members, &view))
    }

    /// Takes that the application has finished with the partitions of a revocation.
    pub fn handle_given_back(
        &mut self,
        now: Timestamp,
        ticket: RequestId,
        application: &dyn Application,
    ) -> Vec<Action> {
        let Some(revocation) =
            self.revocation.as_mut().filter(|it| it.ticket == ticket && !it.given_back)
        else {
            return Vec::new();
        };
        revocation.given_back = true;
        if self.config.auto_commit_interval_ms.is_some() {
            let partitions = revocation.partitions.clone();
            self.auto_commit(now, application, Some(&partitions));
        }
        Vec::new()
    }

    /// Takes the application's wish to commit; `Action::CommitDone` follows.
    pub fn handle_commit(
        &mut self,
        now: Timestamp,
        offsets: Vec<(TopicPartition, OffsetAndMetadata, Option<AssignmentEpoch>)>,
        timeout_ms: Option<i64>,
    ) -> CommitTicket {
        let deadline = now.saturating_add(timeout_ms.unwrap_or(self.config.api_timeout_ms));
        self.committer.commit(offsets, deadline)
    }

    /// Takes the answer to a commit, or that there was none.
    pub fn handle_committed(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Option<OffsetCommitResponse>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let commits = match answer {
            Some(answer) => {
                let name = |id: Uuid| self.view.topic_by_id(id).map(|topic| topic.name.clone());
                let context = commit_context!(self);
                self.committer.handle_response(now, id, answer, &context, &name)
            }
            None => self.committer.handle_failure(now, id),
        };
        self.apply_commits(now, commits, &mut actions);
        actions
    }

    /// Takes committed offsets, or that the coordinator did not answer.
    pub fn handle_offsets(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Option<OffsetFetchResponse>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let coordinator = self.membership.as_ref().and_then(ClassicMembership::coordinator);
        let answer = match answer {
            Some(answer) => read_offsets(answer, &self.view),
            None => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        };
        if let (
            Err(ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE),
            Some(node),
        ) = (&answer, coordinator)
        {
            actions.extend(
                self.with_group(now, |membership| membership.handle_coordinator_lost(now, node)),
            );
        }
        let found = self.positions.handle_committed(now, id, answer);
        self.apply_positions(now, found, &mut actions);
        actions
    }

    /// Takes offsets by time, or that the leader did not answer.
    pub fn handle_listed(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Option<ListOffsetsResponse>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let answer = answer.map(read_listed).ok_or(ErrorCode::NETWORK_EXCEPTION);
        let found = self.positions.handle_listed(now, id, answer);
        self.apply_positions(now, found, &mut actions);
        actions
    }

    /// Takes records, or that the broker did not answer.
    pub fn handle_fetched(
        &mut self,
        now: Timestamp,
        node: i32,
        id: RequestId,
        answer: Option<FetchResponse>,
        application: &dyn Application,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(answer) = answer else {
            self.fetcher.handle_failure(now, node, id);
            self.want_metadata(now, &mut actions);
            return actions;
        };
        let outcome = self.fetcher.handle_response(now, node, id, answer, &mut self.positions);
        actions.extend(outcome.deliveries.into_iter().map(Action::Deliver));
        for (partition, code) in outcome.errors {
            actions.push(Action::Fault(Fault::Partition { partition, code }));
        }
        for (partition, node, epoch) in outcome.leaders {
            actions.push(Action::LeaderLearnt { partition, node, epoch });
        }
        for (partition, epoch) in outcome.out_of_range {
            // A reset would drop what was fetched before and still waits: that is read first.
            if application.buffered(&partition) > 0 {
                self.positions.back_off(now, &partition);
                continue;
            }
            let reset = self.positions.handle_out_of_range(now, &partition, epoch);
            self.apply_positions(now, reset, &mut actions);
        }
        if outcome.refresh_metadata {
            self.want_metadata(now, &mut actions);
        }
        actions
    }

    /// Takes a new picture of the cluster.
    pub fn handle_metadata(&mut self, now: Timestamp, view: Arc<MetadataView>) -> Vec<Action> {
        self.view = view;
        let leads = self.membership.as_ref().is_some_and(ClassicMembership::is_leader);
        let Some(topic) = self.assigned_for.changed(&self.view).filter(|_| leads).cloned() else {
            return Vec::new();
        };
        // The new counts are what the next assignment is made for, so one change causes one rebalance.
        self.assigned_for =
            AssignedFor::of(self.assigned_for.topics().cloned().collect::<Vec<_>>(), &self.view);
        let reason = format!("the number of partitions of `{topic}` changed");
        self.with_group(now, |membership| membership.handle_rejoin(now, &reason))
    }

    /// Reads on at an offset; nothing happens if the partition is not owned.
    pub fn handle_seek(
        &mut self,
        now: Timestamp,
        partition: &TopicPartition,
        position: Position,
    ) -> Option<Vec<Action>> {
        let mut actions = Vec::new();
        let start = self.positions.seek(partition, position)?;
        self.apply_positions(now, vec![start], &mut actions);
        Some(actions)
    }

    /// Reads on at an offset looked up by time; returns whether the partition is owned.
    pub fn handle_seek_to_time(&mut self, partition: &TopicPartition, time: i64) -> bool {
        self.positions.seek_to_time(partition, time)
    }

    /// Pauses or resumes a partition; returns whether it is owned.
    pub fn handle_pause(&mut self, partition: &TopicPartition, paused: bool) -> bool {
        self.positions.set_paused(partition, paused)
    }

    /// Asks the group for a rebalance.
    pub fn handle_rejoin(&mut self, now: Timestamp, reason: &str) -> Vec<Action> {
        self.with_group(now, |membership| membership.handle_rejoin(now, reason))
    }

    /// Takes that the application polls, after it had let `max.poll.interval.ms` pass.
    pub fn handle_poll(&mut self, now: Timestamp) -> Vec<Action> {
        self.with_group(now, |membership| membership.handle_poll(now))
    }

    /// Gives everything back, commits what is to be committed and leaves; `Action::Closed` follows.
    pub fn handle_close(
        &mut self,
        now: Timestamp,
        leave: bool,
        application: &dyn Application,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        self.closing = true;
        self.left = false;
        if self.subscription.is_manual() && self.config.auto_commit_interval_ms.is_some() {
            self.auto_commit(now, application, None);
        }
        match &mut self.membership {
            Some(membership) => {
                let group = membership.handle_close(now, leave);
                self.apply_group(now, group, &mut actions);
            }
            None => self.left = true,
        }
        // Whoever closes is done with everything, even if the guard of a revocation lies unread.
        if let Some(ticket) = self.revocation.as_ref().map(|it| it.ticket) {
            actions.extend(self.handle_given_back(now, ticket, application));
        }
        actions
    }

    /// Decides what to do next; called after every event, once its actions were carried out.
    pub fn advance(&mut self, now: Timestamp, application: &dyn Application) -> Vec<Action> {
        let mut actions = self.with_group(now, |membership| membership.handle_timeout(now));
        self.check_poll_interval(now, application, &mut actions);
        self.check_auto_commit(now, application);
        self.advance_commits(now, &mut actions);
        self.advance_revocation(now, &mut actions);
        let coordinator = self.membership.as_ref().and_then(ClassicMembership::coordinator);
        let view = self.view.clone();
        let found = self.positions.advance(now, &view, coordinator.is_some());
        self.apply_positions(now, found, &mut actions);
        let planned = self.fetcher.plan(
            now,
            &self.positions,
            &view,
            &|partition| application.buffered(partition),
            application.used_bytes(),
        );
        self.held_back = planned.held_back;
        actions.extend(planned.fetches.into_iter().map(Action::Fetch));
        if !planned.leaderless {
            self.leaderless_at = None;
        } else if self.leaderless_at.is_none_or(|at| now >= at) {
            // Asked again by the clock: an answer that knows no leader either wakes nobody later.
            self.leaderless_at = Some(now + self.config.retry_backoff_max_ms.max(1));
            actions.push(Action::RefreshMetadata);
        }
        if self.closing && self.left && !self.closed && self.committer.is_idle() {
            self.closed = true;
            actions.push(Action::Closed);
        }
        actions
    }

    /// Returns when [`advance`](Self::advance) has to be called without an event.
    pub fn poll_timeout(&self, now: Timestamp, application: &dyn Application) -> Option<Timestamp> {
        let group = self.membership.as_ref().and_then(ClassicMembership::poll_timeout);
        let coordinator = self.membership.as_ref().is_some_and(|it| it.coordinator().is_some());
        let idle = self.poll_deadline(application);
        let auto_commit = (!self.closing
            && self.config.auto_commit_interval_ms.is_some()
            && self.positions.iter().next().is_some())
        .then_some(self.auto_commit_at);
        [
            group,
            idle,
            auto_commit,
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

    /// Whether taking or dropping records would let more be fetched, as of the latest `advance`.
    pub fn is_held_back(&self) -> bool {
        self.held_back
    }

    /// Returns the group's coordinator, if known.
    pub fn coordinator(&self) -> Option<i32> {
        self.membership.as_ref().and_then(ClassicMembership::coordinator)
    }

    /// Returns the member's id and generation, while it has one.
    pub fn identity(&self) -> Option<(String, i32)> {
        let identity = self.membership.as_ref()?.identity()?;
        Some((identity.member_id, identity.generation))
    }

    /// Returns what is wanted.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    fn with_group(
        &mut self,
        now: Timestamp,
        act: impl FnOnce(&mut ClassicMembership) -> Vec<GroupAction>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(membership) = &mut self.membership {
            let group = act(membership);
            self.apply_group(now, group, &mut actions);
        }
        actions
    }

    fn apply_group(&mut self, now: Timestamp, group: Vec<GroupAction>, actions: &mut Vec<Action>) {
        for action in group {
            match action {
                GroupAction::FindCoordinator(id) => actions.push(Action::FindCoordinator(id)),
                GroupAction::Send { id, coordinator, request } => {
                    actions.push(Action::Group { id, coordinator, request });
                }
                GroupAction::Assign { id, protocol, members } => {
                    actions.push(Action::Assign { id, protocol, members });
                }
                GroupAction::Rebalancing(reason) => {
                    actions.push(Action::Event(GroupEvent::Rebalancing { reason }));
                }
                GroupAction::Revoke { ticket, partitions, deadline } => {
                    self.positions.mark_revoking(&partitions);
                    actions.push(Action::StopDelivery(partitions.clone()));
                    self.revocation = Some(Revocation {
                        ticket,
                        partitions: partitions.clone(),
                        given_back: false,
                    });
                    actions.push(Action::Event(GroupEvent::Revoking {
                        ticket,
                        partitions,
                        deadline,
                    }));
                }
                GroupAction::Released(partitions) => {
                    self.revocation = None;
                    self.disown(partitions.clone(), actions);
                    actions.push(Action::Event(GroupEvent::Revoked { partitions }));
                }
                GroupAction::Lost { partitions, reason } => {
                    self.revocation = None;
                    self.disown(partitions.clone(), actions);
                    actions.push(Action::Event(GroupEvent::Lost { partitions, reason }));
                }
                GroupAction::Assigned { added, owned, generation } => {
                    if self.auto_commit_at <= now {
                        self.auto_commit_at =
                            now + self.config.auto_commit_interval_ms.unwrap_or(0);
                    }
                    actions.push(Action::Own(self.positions.assign(added.iter().cloned())));
                    actions.push(Action::Event(GroupEvent::Assigned { added, owned, generation }));
                }
                GroupAction::Failed(error) => actions.push(Action::Fault(Fault::Group(error))),
                GroupAction::Left => self.left = true,
            }
        }
    }

    fn apply_positions(
        &mut self,
        now: Timestamp,
        found: Vec<PositionAction>,
        actions: &mut Vec<Action>,
    ) {
        for action in found {
            match action {
                PositionAction::FetchCommitted { id, partitions } => {
                    if let Some(coordinator) = self.coordinator() {
                        let request = self.offsets_request(&partitions);
                        actions.push(Action::FetchCommitted { id, coordinator, request });
                    }
                }
                PositionAction::ListOffsets { id, node, partitions } => {
                    let request = list_offsets_request(&partitions, self.config.fetch.isolation);
                    actions.push(Action::ListOffsets { id, node, request });
                }
                PositionAction::RefreshMetadata => self.want_metadata(now, actions),
                PositionAction::Start { partition, position_epoch, position, .. } => {
                    actions.push(Action::Start { partition, position_epoch, position });
                }
                PositionAction::Undecided { partition, out_of_range } => {
                    actions.push(Action::Fault(Fault::NoOffset { partition, out_of_range }));
                }
                PositionAction::Failed { partition, code } => {
                    actions.push(Action::Fault(Fault::Partition { partition, code }));
                }
            }
        }
    }

    fn apply_commits(
        &mut self,
        now: Timestamp,
        commits: Vec<CommitAction>,
        actions: &mut Vec<Action>,
    ) {
        for action in commits {
            match action {
                CommitAction::Send { id, coordinator, request } => {
                    actions.push(Action::Commit { id, coordinator, request });
                }
                CommitAction::Done { ticket, failures } => {
                    actions.push(Action::CommitDone { ticket, failures });
                }
                CommitAction::CoordinatorLost(node) => {
                    actions.extend(self.with_group(now, |membership| {
                        membership.handle_coordinator_lost(now, node)
                    }));
                }
                CommitAction::MembershipError { generation, code } => {
                    actions.extend(self.with_group(now, |membership| {
                        membership.handle_commit_error(now, generation, code)
                    }));
                }
            }
        }
    }

    fn advance_commits(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
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

    fn check_auto_commit(&mut self, now: Timestamp, application: &dyn Application) {
        let Some(interval) = self.config.auto_commit_interval_ms else { return };
        if now >= self.auto_commit_at && !self.closing {
            self.auto_commit_at = now + interval;
            self.auto_commit(now, application, None);
        }
    }

    /// Commits what was processed since the last time; an offset never goes back but by a seek.
    fn auto_commit(
        &mut self,
        now: Timestamp,
        application: &dyn Application,
        only: Option<&BTreeSet<TopicPartition>>,
    ) {
        let mut offsets = Vec::new();
        for (partition, epoch, position) in application.processed() {
            let chosen = only.is_none_or(|only| only.contains(&partition));
            let known = self.positions.epoch(&partition) == Some(epoch);
            let done = self.auto_committed.get(&partition) == Some(&(epoch, position.offset));
            if chosen && known && !done {
                self.auto_committed.insert(partition.clone(), (epoch, position.offset));
                let offset = OffsetAndMetadata {
                    offset: position.offset,
                    leader_epoch: position.leader_epoch,
                    metadata: String::new(),
                };
                offsets.push((partition, offset, Some(epoch)));
            }
        }
        if !offsets.is_empty() && self.membership.is_some() {
            self.committer.commit(offsets, now + self.config.api_timeout_ms);
        }
    }

    fn poll_deadline(&self, application: &dyn Application) -> Option<Timestamp> {
        let member = self.membership.as_ref().is_some_and(|membership| !membership.is_idle());
        let since = application.idle_since().filter(|_| member && !self.closing)?;
        Some(since.saturating_add(self.config.max_poll_interval_ms))
    }

    fn check_poll_interval(
        &mut self,
        now: Timestamp,
        application: &dyn Application,
        actions: &mut Vec<Action>,
    ) {
        if self.poll_deadline(application).is_some_and(|deadline| now >= deadline) {
            let idle_ms = now - application.idle_since().unwrap_or(now);
            actions.push(Action::Event(GroupEvent::PollIntervalExceeded { idle_ms }));
            actions.extend(self.with_group(now, ClassicMembership::handle_poll_interval_exceeded));
        }
    }

    fn drop_manual(&mut self, actions: &mut Vec<Action>) {
        if let Subscription::Partitions(partitions) = std::mem::take(&mut self.subscription) {
            self.disown(partitions, actions);
        }
    }

    fn disown(&mut self, partitions: BTreeSet<TopicPartition>, actions: &mut Vec<Action>) {
        if partitions.is_empty() {
            return;
        }
        self.positions.release(&partitions);
        self.auto_committed.retain(|partition, _| !partitions.contains(partition));
        actions.push(Action::Disown(partitions));
    }

    /// Asks for a new picture, but not again and again while one is on its way.
    fn want_metadata(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if now >= self.metadata_wanted_at {
            self.metadata_wanted_at = now + self.config.retry_backoff_ms;
            actions.push(Action::RefreshMetadata);
        }
    }

    fn offsets_request(&self, partitions: &[TopicPartition]) -> OffsetFetchRequest {
        let group_id = self.group_id.clone();
        let stable = self.config.fetch.isolation == IsolationLevel::ReadCommitted;
        offsets_request(group_id, partitions, stable, &self.view)
    }
}

mod types;
