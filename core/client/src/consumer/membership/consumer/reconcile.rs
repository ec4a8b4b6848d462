//! From what is owned to what is assigned, and what the coordinator is told of it.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::Uuid;
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatRequestTopicPartitions,
};

use super::{ConsumerMembership, GroupAction, JOIN_EPOCH, Revocation, Sent, State, Target};
use crate::consumer::membership::GroupRequest;
use crate::consumer::types::{RequestId, Timestamp, TopicPartition};

impl ConsumerMembership {
    /// Takes what is assigned and free, and asks for what is not assigned any more.
    ///
    /// A revocation under way is finished first: its partitions may be assigned to this member again by
    /// now, but the coordinator waits for the acknowledgement all the same and names them only after it.
    pub(super) fn reconcile(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        if self.state != State::Member {
            return;
        }
        let assigned = self.resolve();
        let added: BTreeSet<_> =
            assigned.keys().filter(|it| !self.owned.contains_key(*it)).cloned().collect();
        for it in &added {
            self.owned.insert(it.clone(), assigned[it]);
        }
        if self.announce || !added.is_empty() {
            self.announce = false;
            let owned = assigned.keys().cloned().collect();
            actions.push(GroupAction::Assigned { added, owned, generation: self.epoch });
        }
        if self.revocation.is_some() {
            return;
        }
        // A topic created anew has another id: the old partition goes and the new one comes.
        let gone: BTreeSet<_> = self
            .owned
            .iter()
            .filter(|(partition, id)| {
                !self.target.get(*id).is_some_and(|it| it.contains(&partition.partition))
            })
            .map(|(partition, _)| partition.clone())
            .collect();
        if !gone.is_empty() {
            actions.push(GroupAction::Rebalancing("partitions go to other members".to_owned()));
            self.revoke(now, gone, actions);
        } else if self.unknown_topics().is_empty() {
            self.reconciled = self.assignments;
        }
    }

    pub(super) fn revoke(
        &mut self,
        now: Timestamp,
        partitions: BTreeSet<TopicPartition>,
        actions: &mut Vec<GroupAction>,
    ) {
        let ticket = RequestId(self.ids.advance());
        let deadline = now + self.config.revocation_ms();
        actions.push(GroupAction::Revoke { ticket, partitions: partitions.clone(), deadline });
        self.revocation = Some(Revocation { ticket, partitions, deadline });
    }

    /// Takes that the application has given the partitions of a revocation back.
    pub fn handle_revoked(&mut self, now: Timestamp, ticket: RequestId) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.revocation.as_ref().is_some_and(|revocation| revocation.ticket == ticket) {
            self.finish_revocation(now, true, &mut actions);
        }
        self.advance(now, &mut actions);
        actions
    }

    pub(super) fn finish_revocation(
        &mut self,
        now: Timestamp,
        in_time: bool,
        actions: &mut Vec<GroupAction>,
    ) {
        let Some(Revocation { partitions, .. }) = self.revocation.take() else { return };
        for partition in &partitions {
            self.owned.remove(partition);
        }
        actions.push(GroupAction::given_up(partitions, in_time));
        match self.state {
            State::Returning if self.owned.is_empty() => self.send_leave(now, actions),
            State::Returning => self.return_all(now, actions),
            _ => self.reconcile(now, actions),
        }
    }

    /// Returns the ids of topics that are assigned and not known by name.
    pub(super) fn unknown_topics(&self) -> BTreeSet<Uuid> {
        let unknown = |id: &&Uuid| self.view.topic_by_id(**id).is_none();
        self.target.keys().filter(unknown).copied().collect()
    }

    /// Returns the assignment by name, without topics that have none yet.
    fn resolve(&self) -> BTreeMap<TopicPartition, Uuid> {
        let mut assigned = BTreeMap::new();
        for (id, partitions) in &self.target {
            if let Some(topic) = self.view.topic_by_id(*id) {
                let named = |it: &i32| TopicPartition { topic: topic.name.clone(), partition: *it };
                assigned.extend(partitions.iter().map(|it| (named(it), *id)));
            }
        }
        assigned
    }

    /// Returns what the coordinator has to know.
    pub(super) fn current(&self) -> Sent {
        let mut owned = Target::new();
        for (partition, id) in &self.owned {
            owned.entry(*id).or_default().insert(partition.partition);
        }
        Sent { wanted: self.subscribed.clone(), owned, reconciled: self.reconciled }
    }

    pub(super) fn heartbeat_request(&self, hold_ms: i32) -> GroupRequest {
        let current = self.current();
        let joining = self.epoch == JOIN_EPOCH;
        let sent = self.sent.as_ref().filter(|_| !joining);
        let full = sent.is_none();
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: self.config.group_id.clone(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            instance_id: self.config.group_instance_id.clone(),
            hold_ms,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        if joining {
            request.rack_id.clone_from(&self.config.rack);
        }
        if full {
            request.rebalance_timeout_ms = self.config.rebalance_timeout_ms;
            request.server_assignor.clone_from(&self.config.remote_assignor);
        }
        if sent.is_none_or(|sent| sent.wanted.topics != current.wanted.topics) {
            let names = current.wanted.topics.iter().map(ToString::to_string);
            request.subscribed_topic_names = Some(names.collect());
        }
        let sent_regex = sent.map(|sent| &sent.wanted.regex);
        if sent_regex.is_none_or(|sent| *sent != current.wanted.regex) {
            // An empty expression takes an earlier one back; there is none when all is new.
            request.subscribed_topic_regex = match &current.wanted.regex {
                Some(regex) => Some(regex.to_string()),
                None => sent_regex.is_some().then(String::new),
            };
        }
        // Said again after each new assignment, even if nothing changed: that is the acknowledgement. Said
        // by whoever speaks before it was answered, too: only so is the epoch before taken for an epoch.
        if !self.flight.is_empty()
            || sent.is_none_or(|sent| {
                sent.owned != current.owned || sent.reconciled != current.reconciled
            })
        {
            let topic = |(topic_id, partitions): (Uuid, BTreeSet<i32>)| {
                ConsumerGroupHeartbeatRequestTopicPartitions {
                    topic_id,
                    partitions: partitions.into_iter().collect(),
                }
            };
            request.topic_partitions = Some(current.owned.into_iter().map(topic).collect());
        }
        GroupRequest::ConsumerHeartbeat(request)
    }
}
