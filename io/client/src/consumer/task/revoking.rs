//! Partitions that have to be given back, and those that streams have: who must be done with them first.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use kohort_client_core::consumer::buffer::Buffer;
use kohort_client_core::consumer::{AssignmentEpoch, RequestId, TopicPartition};
use tokio::time::Instant;

use super::Task;
use crate::consumer::command::Command;
use crate::consumer::credits::Hold;
use crate::consumer::events::{GivenBack, RebalanceEvent, RevocationGuard, UNDELIVERED};
use crate::consumer::shared::Clock;
use crate::net::after;

impl Task {
    /// Asks for partitions back: a listener with a guard, everybody else at the next poll.
    pub(super) fn revoking(
        &mut self,
        clock: Clock,
        ticket: RequestId,
        partitions: BTreeSet<TopicPartition>,
        deadline: i64,
    ) {
        if self.closing.is_some() {
            self.give_back(clock, ticket);
            return;
        }
        let all_apart = {
            let buffer = self.shared.buffer.lock();
            partitions.iter().all(|partition| buffer.is_apart(partition))
        };
        if let Some(listener) = &self.listener {
            let deadline = after(Instant::now(), clock.until(deadline));
            // Weak, so that a guard nobody drops does not keep a dropped consumer from leaving.
            let commands = self.command_sender.clone();
            let done = GivenBack(Box::new(move |ticket| {
                // Without a consumer there is nobody left to tell.
                if let Some(commands) = commands.upgrade() {
                    let _ = commands.send(Command::GiveBack(ticket));
                }
            }));
            let shared = self.shared.clone();
            let guard = RevocationGuard { ticket, partitions, deadline, done, shared };
            match listener.try_send(RebalanceEvent::Revoking(guard)) {
                // A guard that could not be delivered gives back by being dropped; but nobody has
                // finished with anything yet, so its word does not count.
                Err(error) => {
                    if let RebalanceEvent::Revoking(mut guard) = error.into_inner() {
                        guard.ticket = UNDELIVERED;
                    }
                }
                Ok(()) => return,
            }
        }
        // Whoever polls, and whoever only reads streams, has nothing of a poll to finish.
        if all_apart || self.shared.is_polling() {
            self.give_back(clock, ticket);
        } else {
            *self.shared.revocation.lock() = Some(ticket);
            // The application may have begun to poll between the two lines above.
            if self.shared.is_polling() && self.shared.revocation.lock().take().is_some() {
                self.give_back(clock, ticket);
            }
        }
    }

    /// Gives partitions back on behalf of an application that has nothing to finish.
    fn give_back(&mut self, clock: Clock, ticket: RequestId) {
        self.shared.buffer.lock().give_back(|_| true);
        self.given_back(clock, ticket);
    }

    /// Goes on with a revocation once everybody is done with its partitions: streams are when they are
    /// dropped.
    pub(super) fn given_back(&mut self, clock: Clock, ticket: RequestId) {
        let at_work = self.shared.streams.any_revoked(&self.shared.buffer.lock());
        if self.closing.is_none() && at_work {
            self.awaiting_streams = Some(ticket);
            return;
        }
        self.awaiting_streams = None;
        let actions = self.machine.handle_given_back(clock.now(), ticket, &*self.shared);
        self.execute(clock, actions, None);
    }

    pub(super) fn apart(
        &mut self,
        clock: Clock,
        partition: &TopicPartition,
        epoch: AssignmentEpoch,
        apart: bool,
    ) {
        self.machine.handle_apart(partition, epoch, apart);
        if apart {
            self.keep_alone(&mut self.shared.buffer.lock(), partition);
            return;
        }
        let back_to = self.shared.buffer.lock().take_back_to(partition, epoch);
        if let Some(position) = back_to {
            let actions = self.machine.handle_seek(clock.now(), partition, position);
            self.execute(clock, actions.unwrap_or_default(), None);
        }
        if let Some(ticket) = self.awaiting_streams {
            self.given_back(clock, ticket);
        }
    }

    /// Frees the answers that a partition's waiting data came with, since it may stay for long.
    pub(super) fn keep_alone(&self, buffer: &mut Buffer<Hold>, partition: &TopicPartition) {
        buffer.for_each_waiting(partition, |chunk| {
            chunk.delivery.records = bytes::Bytes::copy_from_slice(&chunk.delivery.records);
            chunk.hold = self.shared.credits.take(chunk.delivery.records.len());
        });
    }

    /// Takes that the application is done without another poll: what it walked to the end is
    /// processed, and a revocation that waits for a poll goes on.
    pub(super) fn finish_given(&mut self, clock: Clock) {
        if self.shared.unread.lock().load(Ordering::SeqCst) == 0 {
            self.shared.buffer.lock().begin_poll();
        }
        let waiting = self.shared.revocation.lock().take();
        if let Some(ticket) = waiting {
            self.give_back(clock, ticket);
        }
    }
}
