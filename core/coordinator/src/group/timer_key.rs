//! Whose alarms they are that the shard keeps.

use std::sync::Arc;

/// Whose alarm it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TimerKey {
    /// The session of a member, or of a pending one.
    Session { group: Arc<str>, member: Arc<str> },
    /// The grace of a member whose connection closed.
    Absence { group: Arc<str>, member: Arc<str> },
    /// The end of the time a heartbeat is held.
    Hold { group: Arc<str>, member: Arc<str> },
    /// Another time that a member of a consumer group has.
    Member { group: Arc<str>, member: Arc<str>, alarm: MemberAlarm },
    /// The next target assignment of a consumer group.
    Assignment(Arc<str>),
    /// When a part of the rebalance of a consumer group is told.
    Story(Arc<str>),
    /// The current phase of a group's rebalance.
    Phase(Arc<str>),
    /// The search for expired offsets.
    OffsetExpiry,
    /// The rest of the search for offsets of deleted topics.
    TopicDeletion,
}

impl TimerKey {
    pub(crate) fn session(group: &Arc<str>, member: &Arc<str>) -> Self {
        Self::Session { group: group.clone(), member: member.clone() }
    }
}

/// One of the alarms of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberAlarm {
    /// Its session.
    Session,
    /// Its time to give partitions up.
    Revocation,
    /// The time of a classic member to join again.
    Join,
    /// The time of a classic member to ask for its assignment.
    Sync,
}

impl MemberAlarm {
    pub(crate) fn key(self, group: &Arc<str>, member: &Arc<str>) -> TimerKey {
        match self {
            Self::Session => TimerKey::session(group, member),
            Self::Revocation | Self::Join | Self::Sync => {
                TimerKey::Member { group: group.clone(), member: member.clone(), alarm: self }
            }
        }
    }
}
