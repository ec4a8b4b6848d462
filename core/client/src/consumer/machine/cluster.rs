//! What a new picture of the cluster changes, and what the picture has to cover.

use std::collections::BTreeSet;
use std::sync::Arc;

use kohort_protocol::ErrorCode;

use super::{Action, ConsumerMachine, Fault, GroupEvent};
use crate::consumer::membership::{Membership, MembershipError, Wanted};
use crate::consumer::subscription::{Pattern, Subscription};
use crate::consumer::types::{Timestamp, TopicName, TopicPartition};
use crate::metadata::{MetadataView, Topics};

impl ConsumerMachine {
    /// Takes a new picture of the cluster.
    pub fn handle_metadata(&mut self, now: Timestamp, view: Arc<MetadataView>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.view = view;
        self.report_topic_errors(&mut actions);
        self.look_for_missing(now, &mut actions);
        self.take_anew(&mut actions);
        self.match_topics(now, &mut actions);
        let view = self.view.clone();
        actions.extend(self.with_group(now, |membership| membership.handle_metadata(now, &view)));
        self.watch_topics(now, &mut actions);
        actions
    }

    /// Takes that a node that was asked as a partition's leader says that it is not: here at once, and the
    /// shell has to know before it takes the next picture.
    pub(super) fn take_denial(
        &mut self,
        partition: TopicPartition,
        node: i32,
        actions: &mut Vec<Action>,
    ) {
        let next = self.view.with_denial(&partition.topic, partition.partition, node);
        if next.version != self.view.version {
            self.view = Arc::new(next);
            actions.push(Action::LeaderDenied { partition, node });
        }
    }

    /// Tells the application of wanted topics that asking again will not bring: each time one gets a
    /// final error it did not have.
    fn report_topic_errors(&mut self, actions: &mut Vec<Action>) {
        if self.view.topic_errors().len() == 0 && self.topic_errors.is_empty() {
            return;
        }
        let mut errors = self.topic_errors();
        errors.retain(|_, code| !code.is_retriable());
        for (topic, code) in &errors {
            if self.topic_errors.get(topic) != Some(code) {
                actions.push(Action::Fault(Fault::Topic { topic: topic.clone(), code: *code }));
            }
        }
        self.topic_errors = errors;
    }

    /// Tells the application of owned partitions that this picture lacks, as others did.
    fn look_for_missing(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let lacking = self.positions.iter().filter_map(|(it, slot)| {
            let lacks = !slot.revoking && self.view.lacks(&it.topic, it.partition);
            lacks.then_some(it)
        });
        let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        for partition in self.missing.look(now, self.config.retry_backoff_max_ms, lacking) {
            actions.push(Action::Fault(Fault::Partition { partition, code }));
        }
    }

    /// Starts over with partitions whose topic was deleted and created again.
    fn take_anew(&mut self, actions: &mut Vec<Action>) {
        let anew = self.positions.see_topics(&self.view);
        if anew.is_empty() {
            return;
        }
        let partitions: BTreeSet<_> = anew.iter().map(|(partition, _)| partition.clone()).collect();
        self.auto_committed.retain(|partition, _| !partitions.contains(partition));
        actions.push(Action::Own(anew));
        actions.push(Action::Event(GroupEvent::Recreated { partitions }));
    }

    /// Subscribes to the topics that match by now.
    fn match_topics(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Subscription::Pattern(pattern, topics) = &mut self.subscription else { return };
        // A picture of some topics says nothing about the others.
        if !self.view.complete {
            return;
        }
        let matching = pattern.resolve(&self.view);
        if matching == *topics {
            return;
        }
        topics.clone_from(&matching);
        actions.extend(self.with_group(now, |membership| {
            membership.handle_subscription(now, Wanted::matching(matching))
        }));
    }

    /// Matches an expression here, because the coordinator does not: the group is a classic one.
    pub(super) fn match_here(
        &mut self,
        now: Timestamp,
        code: ErrorCode,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Event(GroupEvent::Downgraded { code }));
        let Subscription::Regex(regex) = &self.subscription else { return };
        if let Some(pattern) = regex.here.clone() {
            actions.extend(self.handle_subscribe_pattern(now, pattern));
        } else {
            // Here nobody can match it; a group that could may have it.
            let code = ErrorCode::INVALID_REGULAR_EXPRESSION;
            let error = MembershipError::Refused { group_id: self.group_id.clone(), code };
            actions.extend(self.with_group(now, |membership| membership.give_up(now, error)));
        }
    }

    /// Joins again, as the group's leader, when topics are not what the assignment was made for.
    fn watch_topics(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if !self.leads() {
            return;
        }
        self.assigned_for.learn(&self.view);
        let Some(reason) = self.assigned_for.changed(&self.view) else { return };
        // What is seen now is what the next assignment is made for, so one change causes one rebalance.
        self.assigned_for.renew(&self.view);
        actions.extend(self.with_group(now, |membership| membership.handle_rejoin(now, &reason)));
    }

    /// Returns the topics of owned partitions that match: what is known before the first picture of all
    /// topics.
    pub(super) fn held_topics(&self, pattern: &Pattern) -> BTreeSet<TopicName> {
        let held: BTreeSet<_> = self.positions.iter().map(|(it, _)| it.topic.clone()).collect();
        held.into_iter().filter(|topic| (pattern.matches)(topic)).collect()
    }

    /// Says what the picture has to cover, if that is not what it covers already: as a group's leader,
    /// what any member wants.
    pub(super) fn want_topics(&mut self, actions: &mut Vec<Action>) {
        let wanted = match &self.subscription {
            Subscription::Pattern(..) | Subscription::Regex(_) => Topics::All,
            named => {
                let mut topics = named.topics();
                topics.extend(self.group_topics.iter().cloned());
                Topics::Some(topics)
            }
        };
        if wanted != self.wanted {
            self.wanted = wanted.clone();
            actions.push(Action::WantTopics(wanted));
        }
    }

    /// What other members want is followed only by their leader.
    pub(super) fn forget_group_topics(&mut self, actions: &mut Vec<Action>) {
        if !self.group_topics.is_empty() && !self.leads() {
            self.group_topics.clear();
            self.want_topics(actions);
        }
    }

    fn leads(&self) -> bool {
        self.membership.as_ref().is_some_and(Membership::is_leader)
    }

    /// Whether this member has a rack. As with Java's, a leader without one does not look for those of
    /// others.
    pub(super) fn has_rack(&self) -> bool {
        !self.config.fetch.rack.is_empty()
    }
}
