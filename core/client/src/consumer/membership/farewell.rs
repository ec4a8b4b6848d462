//! A leave that has to reach the coordinator: until it does, the partitions that the member had are read by
//! nobody, and that lasts for a session.
//!
//! A connection may break before the leave has arrived, or before its answer has. Nobody can tell which, so
//! it is said again, to whoever is the coordinator by then. That does no harm: a member that has left already
//! is told `UNKNOWN_MEMBER_ID`, or that there is no such group any more. So any answer ends it but one that
//! passes by itself: that of a broker which is not the coordinator, or not yet.
//!
//! Nobody waits for that for long: a cluster that is gone, or hangs, must not hold up whoever closes.

use super::types::{GroupAction, GroupRequest};
use crate::consumer::types::{Counter, RequestId, Timestamp};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Farewell {
    request: GroupRequest,
    under_way: Option<RequestId>,
    /// When it is given up, once it was tried.
    until: Option<Timestamp>,
}

/// How long a leave may take in all. It is written by then, and one that hangs may hear it yet.
const SAID_FOR_MS: i64 = 5_000;

/// For how long a leave that did not arrive is tried again. A coordinator that only lost a connection, or
/// handed the group to another broker, is back within that.
const TRIED_AGAIN_FOR_MS: i64 = 2_000;

impl Farewell {
    /// Begins to say this.
    pub(super) fn new(request: GroupRequest) -> Self {
        Self { request, under_way: None, until: None }
    }

    /// Says it, unless it is under way; `coordinator` is where, if that is known.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        coordinator: Option<i32>,
        ids: &mut Counter,
    ) -> Option<GroupAction> {
        if self.under_way.is_some() {
            return None;
        }
        let Some(coordinator) = coordinator else {
            self.bound(now + TRIED_AGAIN_FOR_MS);
            return None;
        };
        self.bound(now + SAID_FOR_MS);
        let id = RequestId(ids.advance());
        self.under_way = Some(id);
        Some(GroupAction::Send { id, coordinator, request: self.request.clone() })
    }

    /// Whether this is the number of the try under way.
    pub(super) fn is(&self, id: RequestId) -> bool {
        self.under_way == Some(id)
    }

    /// Takes that the try under way got no answer.
    pub(super) fn fail(&mut self, now: Timestamp) {
        self.under_way = None;
        self.bound(now + TRIED_AGAIN_FOR_MS);
    }

    /// Has it given up then, unless it is earlier.
    fn bound(&mut self, until: Timestamp) {
        self.until = Some(self.until.map_or(until, |earlier| earlier.min(until)));
    }

    /// Returns when it is given up, if that is known.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether it has to be given up.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}
