//! Where the group's coordinator is, and the search for it.

use kohort_protocol::ErrorCode;

use super::GroupAction;
use crate::consumer::types::{Counter, RequestId, Retry, Timestamp};

/// What is known of the coordinator's place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Coordinator {
    Unknown { retry_at: Timestamp },
    Finding(RequestId),
    Known(i32),
}

impl Coordinator {
    /// Nothing is known, and nothing keeps the search from beginning.
    pub(super) const fn unknown() -> Self {
        Self::Unknown { retry_at: Timestamp::MIN }
    }

    /// Returns its node, when known.
    pub(super) fn known(self) -> Option<i32> {
        match self {
            Self::Known(node) => Some(node),
            _ => None,
        }
    }

    /// Returns when to begin a search, if one is needed.
    pub(super) fn search_at(self) -> Option<Timestamp> {
        match self {
            Self::Unknown { retry_at } => Some(retry_at),
            _ => None,
        }
    }

    /// Begins a search if one is due.
    pub(super) fn search(&mut self, now: Timestamp, ids: &mut Counter) -> Option<GroupAction> {
        self.search_at().filter(|at| now >= *at)?;
        let id = RequestId(ids.advance());
        *self = Self::Finding(id);
        Some(GroupAction::FindCoordinator(id))
    }

    /// Takes what a search brought, and returns the error if it is none that passes by itself. In any case
    /// another search follows, after a back-off.
    pub(super) fn found(
        &mut self,
        now: Timestamp,
        id: RequestId,
        found: Result<i32, ErrorCode>,
        backoff: &mut Retry,
    ) -> Option<ErrorCode> {
        if *self != Self::Finding(id) {
            return None;
        }
        match found {
            Ok(node) => {
                *self = Self::Known(node);
                None
            }
            Err(code) => {
                self.forget(now, backoff);
                (!code.is_retriable()).then_some(code)
            }
        }
    }

    /// Takes that a node which was asked is not the coordinator.
    pub(super) fn lost(&mut self, now: Timestamp, node: i32, backoff: &mut Retry) {
        if *self == Self::Known(node) {
            self.forget(now, backoff);
        }
    }

    /// Drops what is known; the next search begins after a back-off.
    pub(super) fn forget(&mut self, now: Timestamp, backoff: &mut Retry) {
        *self = Self::Unknown { retry_at: now + backoff.next_ms() };
    }
}
