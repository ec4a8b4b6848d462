//! What a group id stands for: offsets, and a group of one type at a time.
//!
//! Questions that do not depend on the type are asked here; what is done to a group, its type does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::classic::{ClassicGroup, ClassicState};
use super::consumer::ConsumerGroup;
use super::offsets::GroupOffsets;
use super::record::{ClassicMetadata, GroupRecord};
use super::timer_key::TimerKey;
use super::turn::{Heard, Holders};
use crate::timers::Timers;

/// The groups of a shard, by their ids.
pub(crate) type Groups = BTreeMap<Arc<str>, GroupEntry>;

/// One group with its offsets.
#[derive(Debug)]
pub(super) struct GroupEntry {
    pub(super) id: Arc<str>,
    pub(super) group: Group,
    /// Hard state.
    pub(super) offsets: GroupOffsets,
}

/// A group of one of the types that Kafka knows.
#[derive(Debug)]
pub(super) enum Group {
    /// Nobody has joined and the log knows of no generation: there are offsets and nothing else. It
    /// looks and answers like a classic group that is empty, which it becomes when somebody joins.
    Simple,
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

impl GroupEntry {
    pub(super) fn new(id: &Arc<str>) -> Self {
        Self { id: id.clone(), group: Group::Simple, offsets: GroupOffsets::default() }
    }

    /// Tells whether a classic member may have its id from here.
    pub(super) fn knows_classic_members(&self) -> bool {
        match &self.group {
            Group::Simple | Group::Classic(_) => true,
            Group::Consumer(group) => !group.is_empty(),
        }
    }

    pub(super) fn is_vacant(&self) -> bool {
        let nothing = match &self.group {
            Group::Simple => true,
            Group::Classic(group) => group.is_vacant(),
            Group::Consumer(group) => group.is_vacant(),
        };
        nothing && self.offsets.is_empty()
    }

    pub(super) fn classic_mut(&mut self) -> Option<&mut ClassicGroup> {
        match &mut self.group {
            Group::Classic(group) => Some(group),
            Group::Simple | Group::Consumer(_) => None,
        }
    }

    pub(super) fn consumer_mut(&mut self) -> Option<&mut ConsumerGroup> {
        match &mut self.group {
            Group::Consumer(group) => Some(group),
            Group::Simple | Group::Classic(_) => None,
        }
    }

    /// Returns the classic group that it is, or becomes now.
    pub(super) fn become_classic(&mut self) -> &mut ClassicGroup {
        if !matches!(self.group, Group::Classic(_)) {
            self.group = Group::Classic(Box::new(ClassicGroup::new(self.id.clone())));
        }
        match &mut self.group {
            Group::Classic(group) => group,
            Group::Simple | Group::Consumer(_) => unreachable!("it was made classic"),
        }
    }

    /// Returns the consumer group that it becomes now. What the log says of a classic group stays known.
    pub(super) fn become_consumer(
        &mut self,
        timers: &mut Timers<TimerKey>,
        heard: &mut Heard,
        holders: &mut Holders,
    ) -> &mut ConsumerGroup {
        let mut group = ConsumerGroup::new(self.id.clone());
        if let Group::Classic(classic) = &mut self.group {
            classic.disarm_all(timers, heard, holders);
            group.replay_classic(classic.persisted().cloned());
        }
        self.group = Group::Consumer(Box::new(group));
        match &mut self.group {
            Group::Consumer(group) => group,
            Group::Simple | Group::Classic(_) => unreachable!("it was made a consumer group"),
        }
    }
}

impl Group {
    pub(super) fn classic(&self) -> Option<&ClassicGroup> {
        match self {
            Self::Classic(group) => Some(group),
            Self::Simple | Self::Consumer(_) => None,
        }
    }

    pub(super) fn consumer(&self) -> Option<&ConsumerGroup> {
        match self {
            Self::Consumer(group) => Some(group),
            Self::Simple | Self::Classic(_) => None,
        }
    }

    /// Returns the type's name in Kafka's answers.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Simple | Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    /// Returns the state's name in Kafka's answers.
    pub(super) fn state_name(&self) -> &'static str {
        match self {
            Self::Simple => ClassicState::Empty.name(),
            Self::Classic(group) => group.state().name(),
            Self::Consumer(group) => group.state().name(),
        }
    }

    pub(super) fn protocol_type(&self) -> Option<&str> {
        match self {
            Self::Simple => None,
            Self::Classic(group) => group.protocol_type(),
            Self::Consumer(_) => Some("consumer"),
        }
    }

    pub(super) fn member_count(&self) -> usize {
        match self {
            Self::Simple => 0,
            Self::Classic(group) => group.member_count(),
            Self::Consumer(group) => group.state().member_count(),
        }
    }

    /// Tells whether the group has no members.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Simple => true,
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    /// Tells whether nobody is in the group or on the way.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Simple => true,
            Self::Classic(group) => group.is_idle(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    /// Returns what the log says of a classic group.
    pub(super) fn persisted(&self) -> Option<&Arc<ClassicMetadata>> {
        match self {
            Self::Simple => None,
            Self::Classic(group) => group.persisted(),
            Self::Consumer(group) => group.classic(),
        }
    }

    /// Returns a tombstone for every record that the log has of the group but for its offsets. A classic group
    /// has one in any case: it is what takes it away.
    pub(super) fn tombstones(&self, id: &Arc<str>) -> Vec<GroupRecord> {
        match self {
            Self::Consumer(group) => group.tombstones(),
            Self::Simple | Self::Classic(_) => {
                vec![GroupRecord::GroupMetadataTombstone { group: id.clone() }]
            }
        }
    }

    /// Tells whether members subscribe to the topic. If nobody can tell, they may.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Simple => false,
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.state().is_subscribed_to(topic),
        }
    }
}

/// Returns a group's entry, a new one if there is none.
pub(crate) fn entry_of<'a>(groups: &'a mut Groups, group: &Arc<str>) -> &'a mut GroupEntry {
    groups.entry(group.clone()).or_insert_with(|| GroupEntry::new(group))
}
