//! What the handlers of one event share: the time, the tools, and the outcome they add to.

use std::sync::Arc;

use crate::config::GroupConfig;
use crate::member_ids::MemberIds;
use crate::metadata::MetadataImage;
use crate::shard::{ReplyTo, Timestamp};
use crate::timers::Timers;

use super::GroupOutcome;
use super::consumer::MemberAlarm;
use super::hold::Holders;
use super::presence::Heard;
use super::request::{ConnectionId, GroupResponse};

/// One event being handled.
pub(crate) struct Turn<'a> {
    pub(crate) now: Timestamp,
    pub(crate) config: &'a GroupConfig,
    pub(crate) image: &'a MetadataImage,
    /// How many members the shard's consumer groups have.
    pub(crate) own_consumer_members: &'a mut usize,
    /// How many those of the broker's other shards have.
    pub(crate) consumer_members_elsewhere: usize,
    pub(crate) timers: &'a mut Timers<TimerKey>,
    pub(crate) member_ids: &'a mut MemberIds,
    pub(crate) outcome: &'a mut GroupOutcome,
    /// Over which connection the request came that is being handled, if it is one.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) heard: &'a mut Heard,
    pub(crate) holders: &'a mut Holders,
}

impl Turn<'_> {
    /// Returns how many members of consumer groups the broker has.
    pub(crate) fn consumer_members(&self) -> usize {
        *self.own_consumer_members + self.consumer_members_elsewhere
    }

    pub(crate) fn reply(&mut self, from: ReplyTo, response: impl Into<GroupResponse>) {
        self.outcome.replies.push((from, response.into()));
    }
}

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
