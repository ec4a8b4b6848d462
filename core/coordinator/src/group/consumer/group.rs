//! A group of the consumer protocol: what is known of it, and what the log says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::member_timers::MemberTimers;
use super::record::ConsumerRecord;
use super::state::ConsumerState;
use super::story::Story;
use super::topic_changes::TopicChanges;
use crate::group::record::{ClassicMetadata, GroupRecord};
use crate::shard::Timestamp;
use crate::timers::Alarm;

/// A group of the consumer protocol.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    pub(super) id: Arc<str>,
    /// Hard state, and what follows from it.
    pub(super) state: ConsumerState,
    /// Hard state, too: what the log says of a classic group of that name. It is there between the
    /// records of a conversion only, or if a compaction took some of them.
    pub(super) classic: Option<Arc<ClassicMetadata>>,
    pub(super) timers: BTreeMap<Arc<str>, Box<MemberTimers>>,
    /// When the next target assignment is made, if it had to wait.
    pub(super) assignment: Alarm,
    /// Topics changed since the group looked at them.
    pub(super) topics_may_have_changed: bool,
    /// Which did, to tell it.
    pub(super) topic_changes: TopicChanges,
    /// Until then a member whose connection closed may turn out to be gone.
    pub(super) member_in_doubt_until: Timestamp,
    /// The rebalance under way.
    pub(super) story: Option<Box<Story>>,
    /// When what there is of it is told, if it takes long.
    pub(super) part: Alarm,
}

impl ConsumerGroup {
    pub(crate) fn new(id: Arc<str>) -> Self {
        Self {
            id,
            state: ConsumerState::default(),
            classic: None,
            timers: BTreeMap::new(),
            assignment: Alarm::default(),
            topics_may_have_changed: false,
            topic_changes: TopicChanges::default(),
            member_in_doubt_until: Timestamp::MIN,
            story: None,
            part: Alarm::default(),
        }
    }

    /// Returns the state for questions.
    pub(crate) fn state(&self) -> &ConsumerState {
        &self.state
    }

    /// Tells whether the log says nothing of the group.
    pub(crate) fn is_vacant(&self) -> bool {
        self.state.is_vacant() && self.classic.is_none()
    }

    /// Tells whether the group has no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.member_count() == 0
    }

    /// Returns a tombstone for every record that the log has of the group.
    pub(crate) fn tombstones(&self) -> Vec<GroupRecord> {
        let classic = self.classic.as_ref();
        let classic =
            classic.map(|_| GroupRecord::GroupMetadataTombstone { group: self.id.clone() });
        let own = self.state.tombstones().into_iter().map(|record| self.record(record));
        own.chain(classic).collect()
    }

    /// Returns the classic group of that name that the log still has.
    pub(crate) fn classic(&self) -> Option<&Arc<ClassicMetadata>> {
        self.classic.as_ref()
    }

    /// Takes what the log says of a classic group of that name. Called by replay only.
    pub(crate) fn replay_classic(&mut self, classic: Option<Arc<ClassicMetadata>>) {
        self.classic = classic;
    }

    /// Puts one record in its place. Called by replay only.
    pub(crate) fn replay(&mut self, record: &ConsumerRecord) {
        self.state.replay(record);
    }

    pub(super) fn record(&self, record: ConsumerRecord) -> GroupRecord {
        GroupRecord::Consumer { group: self.id.clone(), record }
    }
}
