//! What the application asks for: topics or partitions, commits, seeks, pauses, the end.

use std::collections::BTreeSet;

use super::{Action, Application, ConsumerMachine};
use crate::consumer::committer::CommitTicket;
use crate::consumer::membership::{GroupMembershipOperation, Membership, Wanted};
use crate::consumer::subscription::{Pattern, Regex, Subscription};
use crate::consumer::types::{
    AssignmentEpoch, OffsetAndMetadata, Position, RequestId, Timestamp, TopicName, TopicPartition,
};

impl ConsumerMachine {
    /// Subscribes to topics as a member of the group, in place of whatever was wanted before.
    pub fn handle_subscribe(&mut self, now: Timestamp, topics: BTreeSet<TopicName>) -> Vec<Action> {
        let wanted = if topics.is_empty() {
            Subscription::None
        } else {
            Subscription::Topics(topics.clone())
        };
        self.subscribe(now, wanted, Wanted::topics(topics))
    }

    /// Subscribes to whichever topics match an expression, now and later. The coordinator matches under
    /// the consumer protocol; in a classic group it is done here.
    pub fn handle_subscribe_regex(&mut self, now: Timestamp, regex: Regex) -> Vec<Action> {
        let by_coordinator = self.membership.as_ref().is_some_and(Membership::is_consumer_protocol);
        match regex.here.clone() {
            Some(pattern) if !by_coordinator => self.handle_subscribe_pattern(now, pattern),
            _ => {
                let wanted = Wanted { regex: Some(regex.text.clone()), ..Wanted::default() };
                self.subscribe(now, Subscription::Regex(regex), wanted)
            }
        }
    }

    /// Subscribes to whichever topics match, now and later, as a member of the group. While none does,
    /// there is nothing to be a member for.
    pub fn handle_subscribe_pattern(&mut self, now: Timestamp, pattern: Pattern) -> Vec<Action> {
        // An older picture may lack topics that an answer on its way brings: partitions owned through
        // the earlier subscription would be given back for nothing.
        let topics = if self.view.complete {
            pattern.resolve(&self.view)
        } else {
            self.held_topics(&pattern)
        };
        let wanted = Wanted::matching(topics.clone());
        self.subscribe(now, Subscription::Pattern(pattern, topics), wanted)
    }

    fn subscribe(
        &mut self,
        now: Timestamp,
        subscription: Subscription,
        wanted: Wanted,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        self.drop_manual(&mut actions);
        self.subscription = subscription;
        self.topic_errors.clear();
        self.want_topics(&mut actions);
        if !self.topic_errors().is_empty() {
            // What was wrong may not be any more: the application asks anew, and so is the cluster.
            actions.push(Action::RefreshMetadata);
        }
        if let Some(membership) = &mut self.membership {
            let group = membership.handle_subscription(now, wanted);
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
        if !matches!(self.subscription, Subscription::None | Subscription::Partitions(_))
            && let Some(membership) = &mut self.membership
        {
            let group = membership.handle_subscription(now, Wanted::default());
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
        if self.subscription.is_manual() && self.config.auto_commit_interval_ms.is_some() {
            // What is let go of was processed, too.
            self.auto_commit(now, application, None);
        }
        self.disown(held.difference(&partitions).cloned().collect(), false, &mut actions);
        let added: Vec<_> = partitions.difference(&held).cloned().collect();
        self.subscription = Subscription::Partitions(partitions);
        self.topic_errors.clear();
        self.want_topics(&mut actions);
        self.own(added, &mut actions);
        actions
    }

    /// Takes the application's wish to commit; `Action::CommitDone` follows.
    pub fn handle_commit(
        &mut self,
        now: Timestamp,
        offsets: Vec<(TopicPartition, OffsetAndMetadata, Option<AssignmentEpoch>)>,
        timeout_ms: Option<i64>,
    ) -> CommitTicket {
        let deadline = self.commit_deadline(now, timeout_ms);
        self.committer.commit(offsets, deadline)
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

    /// Takes that a stream of its own reads a partition from now on, or does not any more.
    pub fn handle_apart(
        &mut self,
        partition: &TopicPartition,
        epoch: AssignmentEpoch,
        apart: bool,
    ) {
        self.positions.set_apart(partition, epoch, apart);
    }

    /// Asks the group for a rebalance.
    pub fn handle_rejoin(&mut self, now: Timestamp, reason: &str) -> Vec<Action> {
        self.with_group(now, |membership| membership.handle_rejoin(now, reason))
    }

    /// Takes that the application polls, after it had let `max.poll.interval.ms` pass.
    pub fn handle_poll(&mut self, now: Timestamp) -> Vec<Action> {
        self.with_group(now, |membership| membership.handle_poll(now))
    }

    /// Gives everything back, commits what is to be committed and leaves, or remains; `Action::Closed` follows. What
    /// is not committed at `commit_by` is given up, so that there is time left to leave.
    pub fn handle_close(
        &mut self,
        now: Timestamp,
        operation: GroupMembershipOperation,
        commit_by: Timestamp,
        application: &dyn Application,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        self.closing = true;
        self.commit_by = commit_by;
        self.committer.hurry(commit_by);
        self.left = false;
        if self.subscription.is_manual() && self.config.auto_commit_interval_ms.is_some() {
            self.auto_commit(now, application, None);
        }
        let sessions = self.fetcher.close_sessions();
        if !sessions.is_empty() {
            self.closing_sessions = true;
            actions.push(Action::CloseSessions(sessions));
        }
        match &mut self.membership {
            Some(membership) => {
                let group = membership.handle_close(now, operation);
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

    /// Takes that brokers were told of the end of fetch sessions, or cannot be.
    pub fn handle_sessions_closed(&mut self) {
        self.closing_sessions = false;
    }

    pub(super) fn drop_manual(&mut self, actions: &mut Vec<Action>) {
        if let Subscription::Partitions(partitions) = std::mem::take(&mut self.subscription) {
            self.disown(partitions, false, actions);
        }
    }
}
