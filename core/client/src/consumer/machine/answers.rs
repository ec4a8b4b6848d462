//! What brokers answered, and the new pictures of the cluster.

use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::fetch::FetchResponse;
use kohort_protocol::messages::join_group::JoinGroupResponseMember;
use kohort_protocol::messages::list_offsets::ListOffsetsResponse;
use kohort_protocol::messages::offset_commit::OffsetCommitResponse;
use kohort_protocol::messages::offset_fetch::OffsetFetchResponse;
use kohort_protocol::messages::offset_for_leader_epoch::OffsetForLeaderEpochResponse;

use super::{Action, Application, ConsumerMachine, Fault};
use crate::consumer::committer::CommitContext;
use crate::consumer::group_protocol::topics_of;
use crate::consumer::membership::{GroupResponse, Membership};
use crate::consumer::offsets::{read_epoch_ends, read_listed, read_offsets};
use crate::consumer::subscription::AssignedFor;
use crate::consumer::types::{RequestId, Timestamp, is_about_membership};

impl ConsumerMachine {
    /// Takes the coordinator's node.
    pub fn handle_coordinator(
        &mut self,
        now: Timestamp,
        id: RequestId,
        found: Result<i32, ErrorCode>,
    ) -> Vec<Action> {
        if let Err(code) = found
            && !code.is_retriable()
        {
            self.committer.refuse(code);
        }
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
        self.assigned_for = AssignedFor::of(topics_of(&members), &self.view, self.has_rack());
        let view = self.view.clone();
        self.with_group(now, |membership| membership.handle_group_topics(now, id, members, &view))
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
                let context = commit_context!(self);
                self.committer.handle_response(now, id, answer, &context)
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
        let coordinator = self.membership.as_ref().and_then(Membership::coordinator);
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
        let asked_in = self.offsets_asked_in.remove(&id);
        if let (Err(code), Some(epoch)) = (&answer, asked_in)
            && is_about_membership(*code)
        {
            actions.extend(self.with_group(now, |membership| membership.handle_stale(now, epoch)));
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

    /// Takes where epochs ended, or that the leader did not answer.
    pub fn handle_epoch_ends(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Result<OffsetForLeaderEpochResponse, ErrorCode>,
        application: &dyn Application,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let consumed = |partition: &_| application.consumed(partition);
        let answer = answer.map(read_epoch_ends);
        let found = self.positions.handle_epoch_ends(now, id, answer, &consumed);
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
        let fetched = self.counters.fetched.entry(node).or_default();
        let Some(answer) = answer else {
            fetched.failures += 1;
            self.fetcher.handle_failure(now, node, id, &mut self.positions);
            self.want_metadata(now, &mut actions);
            return actions;
        };
        fetched.answers += 1;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let bytes = partitions.map(|it| it.records.as_ref().map_or(0, bytes::Bytes::len) as u64);
        fetched.bytes += bytes.sum::<u64>();
        let outcome = self.fetcher.handle_response(now, node, id, answer, &mut self.positions);
        actions.extend(outcome.deliveries.into_iter().map(Action::Deliver));
        for (partition, code) in outcome.errors {
            actions.push(Action::Fault(Fault::Partition { partition, code }));
        }
        if !outcome.leaders.is_empty() {
            self.view = Arc::new(self.view.with_brokers(&outcome.brokers));
            actions.push(Action::BrokersLearnt(outcome.brokers));
        }
        for (partition, node, epoch) in outcome.leaders {
            // Seen here at once, so that the old leader is not asked again until the shell knows.
            let (topic, index) = (&partition.topic, partition.partition);
            self.view = Arc::new(self.view.with_leader(topic, index, node, epoch));
            actions.push(Action::LeaderLearnt { partition, node, epoch });
        }
        for partition in outcome.denied {
            self.take_denial(partition, node, &mut actions);
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
}
