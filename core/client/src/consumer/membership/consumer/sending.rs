//! When the next heartbeat goes out, and what else has its time.

use super::{ConsumerMembership, Eviction, Farewell, GroupAction, State};
use crate::consumer::types::{RequestId, Timestamp};

impl ConsumerMembership {
    /// Returns when [`handle_timeout`](Self::handle_timeout) has to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let search = self.coordinator.search_at().filter(|_| self.needs_coordinator());
        let deadline = self.revocation.as_ref().map(|revocation| revocation.deadline);
        let farewell = self.farewell.as_ref().and_then(Farewell::until);
        let resolve = (!self.unknown_topics().is_empty()).then_some(self.resolve_at);
        let beats = self.sends_heartbeats() && self.coordinator().is_some();
        let beat = (beats && self.flight.is_empty()).then_some(self.next_at);
        [search, deadline, farewell, resolve, beat].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if self.revocation.as_ref().is_some_and(|revocation| now >= revocation.deadline) {
            self.finish_revocation(now, false, &mut actions);
        }
        if self.farewell.as_ref().is_some_and(|farewell| farewell.is_over(now)) {
            self.end_farewell(now, &mut actions);
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Sends whatever the state calls for: the one place that decides when requests go out.
    pub(super) fn advance(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        if self.needs_coordinator() {
            actions.extend(self.coordinator.search(now, &mut self.ids));
        }
        if !self.unknown_topics().is_empty() && now >= self.resolve_at {
            self.resolve_at = now + self.config.retry_backoff_max_ms.max(1);
            actions.push(GroupAction::RefreshMetadata);
        }
        let known = self.coordinator();
        if let Some(farewell) = &mut self.farewell {
            actions.extend(farewell.send(now, known, &mut self.ids));
        }
        let Some(coordinator) = known else { return };
        if !self.sends_heartbeats() || !self.flight.lets_follow() {
            return;
        }
        let holds = self.flight.is_holder(coordinator);
        let changed = self.sent.as_ref().is_some_and(|sent| *sent != self.current());
        let due = now >= self.next_at && (self.hurry || self.flight.is_empty());
        let rests = holds && !self.asked_to_hold && self.flight.is_empty() && self.is_stable();
        if changed || due || rests {
            self.hurry = false;
            let id = RequestId(self.ids.advance());
            self.asked_to_hold = holds && self.is_stable();
            let hold_ms = match (holds, self.asked_to_hold) {
                (true, true) => HOLD_MS,
                (true, false) => 0,
                (false, _) => ASK_MS,
            };
            let request = self.heartbeat_request(hold_ms);
            self.flight.send(id, self.epoch, self.asked_to_hold);
            self.sent_at = now;
            self.next_at = now + self.interval_ms;
            self.sent = Some(self.current());
            actions.push(GroupAction::Send { id, coordinator, request });
        }
    }

    fn needs_coordinator(&self) -> bool {
        // An idle member needs it too: a consumer with assigned partitions commits through it.
        self.state != State::Failed || self.farewell.is_some()
    }

    fn sends_heartbeats(&self) -> bool {
        let beats = matches!(self.state, State::Joining | State::Member | State::Returning);
        beats && !matches!(self.eviction, Eviction::Leaving(_))
    }
}

/// For how long the answer to a heartbeat may be held while nothing changes: Kafka's interval. The
/// interval the coordinator names may be shorter, for members that have to ask again and again.
pub(super) const HOLD_MS: i32 = 5_000;
/// The shortest hold there is: asks a coordinator whether it holds answers.
pub(super) const ASK_MS: i32 = 1;
