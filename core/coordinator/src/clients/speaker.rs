//! Somebody who spoke over a connection.

use std::sync::Arc;

use crate::group::ConnectionId;

/// Somebody who spoke over a connection: a member, or one whose id is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Speaker {
    Member(Arc<str>),
    Over(ConnectionId),
}

impl Speaker {
    pub(super) fn is(&self, id: &str) -> bool {
        matches!(self, Self::Member(member) if **member == *id)
    }
}
