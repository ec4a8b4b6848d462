//! When the next request goes out, and what else has its time.

use super::{
    ClassicMembership, Farewell, GroupAction, GroupRequest, Heartbeat, NO_GENERATION, State,
};
use crate::consumer::types::{RequestId, Timestamp};

impl ClassicMembership {
    /// Returns when [`handle_timeout`](Self::handle_timeout) has to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        let mut at = |time: Timestamp| next = Some(next.map_or(time, |earlier| earlier.min(time)));
        if let (true, Some(search_at)) = (self.needs_coordinator(), self.coordinator.search_at()) {
            at(search_at);
        }
        if let Some(leaving) = &self.leaving {
            at(leaving.deadline);
        }
        if let Some(until) = self.farewell.as_ref().and_then(Farewell::until) {
            at(until);
        }
        match &self.state {
            State::Ready if self.coordinator().is_some() && self.leaving.is_none() => {
                at(self.join_at());
            }
            State::Revoking { deadline, .. } => at(*deadline),
            _ => {}
        }
        if self.sends_heartbeats()
            && self.heartbeat.outstanding.is_none()
            && self.coordinator().is_some()
        {
            at(self.heartbeat.next_at);
        }
        next
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        if let State::Revoking { deadline, .. } = &self.state
            && now >= *deadline
        {
            self.finish_revocation(now, false, &mut actions);
        }
        if self.leaving.as_ref().is_some_and(|leaving| now >= leaving.deadline) {
            self.finish_leaving(false, &mut actions);
        }
        if self.farewell.as_ref().is_some_and(|farewell| farewell.is_over(now)) {
            self.end_farewell(&mut actions);
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Sends whatever the state calls for: the one place that decides when requests go out.
    pub(super) fn advance(&mut self, now: Timestamp, actions: &mut Vec<GroupAction>) {
        if self.state == State::Stable
            && self.leaving.is_none()
            && let Some(reason) = self.rejoin.take()
        {
            self.prepare(now, reason, actions);
        }
        if self.needs_coordinator() {
            actions.extend(self.coordinator.search(now, &mut self.ids));
        }
        let known = self.coordinator();
        if let Some(farewell) = &mut self.farewell {
            actions.extend(farewell.send(now, known, &mut self.ids));
        }
        let Some(coordinator) = known else { return };
        if self.state == State::Ready && self.leaving.is_none() && now >= self.join_at() {
            self.rejoin = None;
            self.picture_by = None;
            let request = match self.join_request() {
                Ok(join) => GroupRequest::Join(join),
                Err(error) => return self.fail(now, error, actions),
            };
            let id = RequestId(self.ids.advance());
            self.state = State::Joining(id);
            // The answer may take as long as the slowest member: whether the coordinator is there at all
            // is asked meanwhile.
            let next_at = now + self.probe_interval_ms();
            self.heartbeat = Heartbeat { next_at, outstanding: None };
            actions.push(GroupAction::Send { id, coordinator, request });
        }
        if self.sends_heartbeats()
            && self.heartbeat.outstanding.is_none()
            && now >= self.heartbeat.next_at
        {
            let id = RequestId(self.ids.advance());
            self.heartbeat.outstanding = Some(id);
            self.heartbeat.next_at = now + self.config.heartbeat_interval_ms;
            let request = if matches!(self.state, State::Joining(_)) {
                self.heartbeat.next_at = now + self.probe_interval_ms();
                GroupRequest::Probe
            } else {
                self.heartbeat_request()
            };
            actions.push(GroupAction::Send { id, coordinator, request });
        }
    }

    /// A third of the session, as for missed heartbeats: whoever else is in the group waits no longer.
    fn probe_interval_ms(&self) -> i64 {
        i64::from(self.config.session_timeout_ms / 3).max(self.config.heartbeat_interval_ms)
    }

    fn needs_coordinator(&self) -> bool {
        // An idle member needs it too: a consumer with assigned partitions commits through it.
        self.state != State::Failed || self.farewell.is_some()
    }

    /// The coordinator keeps a session for us from the answer to the join on. While it holds the join
    /// back, it is asked whether it is there.
    fn sends_heartbeats(&self) -> bool {
        if matches!(self.state, State::Joining(_)) {
            return true;
        }
        self.generation != NO_GENERATION
            && matches!(
                self.state,
                State::Stable
                    | State::Revoking { .. }
                    | State::Assigning(_)
                    | State::Syncing(_)
                    | State::Ready
            )
    }
}
