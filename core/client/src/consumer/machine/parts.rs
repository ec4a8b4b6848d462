//! What the parts decided, turned into actions, and passed on from one part to the next.

use std::collections::BTreeSet;

use kohort_protocol::messages::offset_fetch::OffsetFetchRequest;

use super::{Action, ConsumerMachine, Fault, GroupEvent, Revocation};
use crate::consumer::committer::{CommitAction, CommitFailure};
use crate::consumer::group_protocol::topics_of;
use crate::consumer::membership::{GroupAction, Membership};
use crate::consumer::offsets::{epoch_ends_request, list_offsets_request, offsets_request};
use crate::consumer::positions::PositionAction;
use crate::consumer::subscription::AssignedFor;
use crate::consumer::types::{IsolationLevel, Timestamp, TopicPartition};
use crate::metadata::is_unknown;

/// Whether the topic was deleted: nobody misses what was read of it.
fn is_gone(failure: &CommitFailure) -> bool {
    matches!(failure, CommitFailure::Refused(code) if is_unknown(*code))
}

impl ConsumerMachine {
    pub(super) fn with_group(
        &mut self,
        now: Timestamp,
        act: impl FnOnce(&mut Membership) -> Vec<GroupAction>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(membership) = &mut self.membership {
            let group = act(membership);
            self.apply_group(now, group, &mut actions);
        }
        actions
    }

    pub(super) fn apply_group(
        &mut self,
        now: Timestamp,
        group: Vec<GroupAction>,
        actions: &mut Vec<Action>,
    ) {
        for action in group {
            match action {
                GroupAction::FindCoordinator(id) => actions.push(Action::FindCoordinator(id)),
                GroupAction::Send { id, coordinator, request } => {
                    actions.push(Action::Group { id, coordinator, request });
                }
                GroupAction::Assign { id, protocol, members } => {
                    self.group_topics = topics_of(&members);
                    self.want_topics(actions);
                    actions.push(Action::Assign { id, protocol, members });
                }
                GroupAction::Watch { members } => {
                    self.group_topics = topics_of(&members);
                    self.want_topics(actions);
                    self.assigned_for =
                        AssignedFor::unseen(self.group_topics.iter().cloned(), self.has_rack());
                    self.assigned_for.learn(&self.view);
                }
                // Each time: one that is on its way may be older than what the membership asks after.
                GroupAction::RefreshMetadata => actions.push(Action::RefreshMetadata),
                GroupAction::Downgraded(code) => self.match_here(now, code, actions),
                GroupAction::Rebalancing(reason) => {
                    self.counters.rebalances += 1;
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
                    self.disown(partitions.clone(), false, actions);
                    actions.push(Action::Event(GroupEvent::Revoked { partitions }));
                }
                GroupAction::Lost { partitions, reason } => {
                    self.counters.partitions_lost += partitions.len() as u64;
                    self.revocation = None;
                    self.disown(partitions.clone(), true, actions);
                    actions.push(Action::Event(GroupEvent::Lost { partitions, reason }));
                }
                GroupAction::Assigned { added, owned, generation } => {
                    if self.auto_commit_at <= now {
                        self.auto_commit_at =
                            now + self.config.auto_commit_interval_ms.unwrap_or(0);
                    }
                    self.own(added.iter().cloned(), actions);
                    actions.push(Action::Event(GroupEvent::Assigned { added, owned, generation }));
                }
                GroupAction::Failed(error) => {
                    // Whoever closes has nothing left to leave.
                    self.left |= self.closing && error.is_final();
                    if error.is_final() || self.needs_group() {
                        actions.push(Action::Fault(Fault::Group(error)));
                    }
                }
                GroupAction::Left => self.left = true,
            }
        }
    }

    /// Whether anything waits for the group: its coordinator is looked for in any case, but whoever reads
    /// partitions by hand may never ask it.
    fn needs_group(&self) -> bool {
        let member = self.membership.as_ref().is_some_and(|it| !it.is_idle());
        member || self.positions.awaits_committed() || !self.committer.is_idle()
    }

    pub(super) fn apply_positions(
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
                        if let [group] = &request.groups[..] {
                            self.offsets_asked_in.insert(id, group.member_epoch);
                        }
                        actions.push(Action::FetchCommitted { id, coordinator, request });
                    }
                }
                PositionAction::ListOffsets { id, node, partitions } => {
                    let request = list_offsets_request(&partitions, self.config.fetch.isolation);
                    actions.push(Action::ListOffsets { id, node, request });
                }
                PositionAction::AskEpochEnds { id, node, partitions } => {
                    let request = epoch_ends_request(&partitions);
                    actions.push(Action::AskEpochEnds { id, node, request });
                }
                PositionAction::Truncated { partition, position, diverges_at, goes_on } => {
                    let offset = position.offset;
                    actions.push(if goes_on {
                        Action::Event(GroupEvent::Truncated { partition, offset, diverges_at })
                    } else {
                        Action::Fault(Fault::Truncated { partition, offset, diverges_at })
                    });
                }
                PositionAction::LeaderDenied { partition, node } => {
                    self.take_denial(partition, node, actions);
                }
                PositionAction::RefreshMetadata => self.want_metadata(now, actions),
                PositionAction::Start { partition, position_epoch, position } => {
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

    pub(super) fn apply_commits(
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
                    self.counters.commits += 1;
                    self.counters.commits_failed += u64::from(!failures.is_empty());
                    if self.closing {
                        let lost = failures.iter().filter(|(_, failure)| !is_gone(failure));
                        self.lost_at_the_end.extend(lost.cloned());
                    }
                    if self.auto_commits.remove(&ticket) {
                        // What could not be committed is committed again when the time comes.
                        for (partition, _) in &failures {
                            self.auto_committed.remove(partition);
                        }
                    }
                    actions.push(Action::CommitDone { ticket, failures });
                }
                CommitAction::CoordinatorLost(node) => {
                    self.counters.coordinators_lost += 1;
                    actions.extend(self.with_group(now, |membership| {
                        membership.handle_coordinator_lost(now, node)
                    }));
                }
                CommitAction::TopicUnknown => self.want_metadata(now, actions),
                CommitAction::MembershipError { generation, code } => {
                    actions.extend(self.with_group(now, |membership| {
                        membership.handle_commit_error(now, generation, code)
                    }));
                }
            }
        }
    }

    pub(super) fn own(
        &mut self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Own(self.positions.assign(partitions)));
        // Whose topics they are is seen at once, so that a topic created anew is noticed later.
        self.positions.see_topics(&self.view);
    }

    pub(super) fn disown(
        &mut self,
        partitions: BTreeSet<TopicPartition>,
        lost: bool,
        actions: &mut Vec<Action>,
    ) {
        if partitions.is_empty() {
            return;
        }
        self.positions.release(&partitions);
        self.auto_committed.retain(|partition, _| !partitions.contains(partition));
        actions.push(Action::Disown { partitions, lost });
    }

    /// Asks for a new picture, but not again and again while one is on its way.
    pub(super) fn want_metadata(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if now >= self.metadata_wanted_at {
            self.metadata_wanted_at = now + self.config.retry_backoff_ms;
            actions.push(Action::RefreshMetadata);
        }
    }

    pub(super) fn offsets_request(&self, partitions: &[TopicPartition]) -> OffsetFetchRequest {
        let group_id = self.group_id.clone();
        let stable = self.config.fetch.isolation == IsolationLevel::ReadCommitted;
        let member = self
            .membership
            .as_ref()
            .filter(|it| it.is_consumer_protocol() && !self.subscription.is_manual())
            .and_then(Membership::identity);
        offsets_request(group_id, member, partitions, stable, &self.view)
    }
}
