//! What follows from what the application has processed, and when it last polled: commits made for
//! it, and the end of a membership whose application is away.

use std::collections::BTreeSet;

use super::{Action, Application, ConsumerMachine, GroupEvent};
use crate::consumer::types::{
    AssignmentEpoch, OffsetAndMetadata, Position, Timestamp, TopicPartition,
};

impl ConsumerMachine {
    pub(super) fn check_auto_commit(&mut self, now: Timestamp, application: &dyn Application) {
        let Some(interval) = self.config.auto_commit_interval_ms else { return };
        if now < self.auto_commit_at || self.closing {
            return;
        }
        let processed = application.processed();
        // 1. The application commits up to 5; the machine has not heard of it yet.
        // 2. It polls twice: all up to 9 is processed.
        // 3. Auto commit sends 9, then the machine hears of the 5, and the offset goes back.
        // So auto commit waits its turn. Asked in this order, no commit made before can be missed.
        if application.is_committing() {
            self.auto_commit_at = now + 1;
            return;
        }
        self.auto_commit_at = now + interval;
        self.commit_processed(now, processed, None);
    }

    /// Commits what was processed since the last time; an offset never goes back but by a seek.
    pub(super) fn auto_commit(
        &mut self,
        now: Timestamp,
        application: &dyn Application,
        only: Option<&BTreeSet<TopicPartition>>,
    ) {
        self.commit_processed(now, application.processed(), only);
    }

    fn commit_processed(
        &mut self,
        now: Timestamp,
        processed: Vec<(TopicPartition, AssignmentEpoch, Position)>,
        only: Option<&BTreeSet<TopicPartition>>,
    ) {
        let mut offsets = Vec::new();
        for (partition, epoch, position) in processed {
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
            let deadline = self.commit_deadline(now, None);
            let ticket = self.committer.commit(offsets, deadline);
            self.auto_commits.insert(ticket);
        }
    }

    pub(super) fn commit_deadline(&self, now: Timestamp, timeout_ms: Option<i64>) -> Timestamp {
        now.saturating_add(timeout_ms.unwrap_or(self.config.api_timeout_ms)).min(self.commit_by)
    }

    pub(super) fn poll_deadline(&self, application: &dyn Application) -> Option<Timestamp> {
        let member = self.membership.as_ref().is_some_and(|membership| !membership.is_idle());
        let since = application.idle_since().filter(|_| member && !self.closing)?;
        Some(since.saturating_add(self.config.max_poll_interval_ms))
    }

    pub(super) fn check_poll_interval(
        &mut self,
        now: Timestamp,
        application: &dyn Application,
        actions: &mut Vec<Action>,
    ) {
        if self.poll_deadline(application).is_some_and(|deadline| now >= deadline) {
            let idle_ms = now - application.idle_since().unwrap_or(now);
            actions.push(Action::Event(GroupEvent::PollIntervalExceeded { idle_ms }));
            actions.extend(self.with_group(now, |it| it.handle_poll_interval_exceeded(now)));
        }
    }
}
