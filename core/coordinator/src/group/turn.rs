//! What the handlers of one event share: the time, the tools, and the outcome they add to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::GroupEffect;
use super::record::GroupRecord;
use super::request::{ConnectionId, GroupResponse};
use super::timer_key::TimerKey;
use crate::config::GroupConfig;
use crate::member_ids::MemberIds;
use crate::metadata::MetadataImage;
use crate::outcome::{Outcome, ReplyTo};
use crate::shard::Timestamp;
use crate::timers::Timers;

/// What a group shard decides.
pub type GroupOutcome = Outcome<GroupRecord, GroupResponse, GroupEffect>;

/// Who was heard last over which connection: connection, group and member.
pub(crate) type Heard = BTreeSet<(ConnectionId, Arc<str>, Arc<str>)>;

/// Whose heartbeat is held on which connection: group and member.
pub(crate) type Holders = BTreeMap<ConnectionId, (Arc<str>, Arc<str>)>;

/// One event being handled.
pub(crate) struct Turn<'a> {
    /// When it is, for everything that takes time: it never jumps.
    pub(crate) now: Timestamp,
    /// The time of day, for what is stored and compared after days. It may jump.
    pub(crate) wall: Timestamp,
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
