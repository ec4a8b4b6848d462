//! The story of a rebalance, from its first cause until every member has what it is to have.
//!
//! Members may be a long time on their way: one that was killed is waited for until its session ends. So a story
//! that takes long is told in parts. Each tells what happened in it, and the next one begins with the members
//! that there are then, and with what nobody has yet.
//!
//! It is soft state: after a restart the rest of a rebalance goes untold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_assignor::server::PartitionId;
use kohort_protocol::Uuid;

use crate::group::causes::Causes;
use crate::group::event::{Move, Owner, Rebalance};
use crate::group::revocation::{Revocations, Told};
use crate::group::who::Roll;
use crate::shard::Timestamp;

/// A rebalance that has not ended, as it will be told when it has.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) causes: Causes,
    /// When the last target assignment was made.
    pub(super) assigned: Timestamp,
    pub(super) members_before: Vec<Arc<str>>,
    /// Who is named in it, as far as the group may not know them when it is told.
    pub(super) roll: Roll,
    /// What members were asked to give up.
    pub(super) revocations: Revocations<PartitionId>,
    /// The partitions that went out of somebody's hands, or came into them.
    pub(super) moved: BTreeMap<PartitionId, Moved>,
    /// Those that were given to somebody just now.
    pub(super) given: Vec<PartitionId>,
    /// Whether a part of it is told already.
    pub(super) continues: bool,
    /// Whether nothing has happened since.
    pub(super) is_quiet: bool,
}

/// Where a partition was and where it is.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Who had it first, and since when it was free.
    pub(super) from: Option<(Arc<str>, Timestamp)>,
    pub(super) to: Option<Owner>,
    /// It is told already that it has no owner.
    pub(super) is_told: bool,
}

/// Tells how a topic is or was called.
pub(super) type NameOf<'a> = &'a dyn Fn(Uuid) -> Option<Arc<str>>;

impl Story {
    pub(super) fn new(now: Timestamp, members_before: Vec<Arc<str>>) -> Self {
        Self {
            causes: Causes::new(now),
            assigned: now,
            members_before,
            roll: Roll::new(),
            revocations: Revocations::default(),
            moved: BTreeMap::new(),
            given: Vec::new(),
            continues: false,
            is_quiet: true,
        }
    }

    /// Returns the part that follows this one, which is told.
    pub(super) fn next_part(&self, now: Timestamp, members: Vec<Arc<str>>) -> Self {
        let free = self.moved.iter().filter(|(_, moved)| moved.to.is_none());
        let free = free.map(|(place, moved)| {
            (*place, Moved { from: moved.from.clone(), to: None, is_told: true })
        });
        let moved: BTreeMap<_, _> = free.collect();
        let from: BTreeSet<_> = moved.values().flat_map(|it| &it.from).map(|it| &it.0).collect();
        let known = self.roll.iter().filter(|(id, _)| from.contains(id));
        let roll = known.map(|(id, who)| (id.clone(), who.clone())).collect();
        let revocations = self.revocations.going_on();
        Self { moved, roll, revocations, continues: true, ..Self::new(now, members) }
    }

    /// Takes in that something happened. What follows a part that is told begins with that.
    pub(super) fn note_news(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.is_quiet) && self.continues {
            self.causes.started = now;
            self.assigned = now;
        }
    }

    /// Returns the revocations as they are told.
    pub(super) fn told_revocations(&self, name_of: NameOf<'_>) -> Told {
        self.revocations.told(Rebalance::MAX_REVOCATIONS, |partition| {
            Some((name_of(partition.topic)?, partition.index))
        })
    }

    /// Returns what was given just now and somebody had before.
    pub(super) fn take_given(&mut self, name_of: NameOf<'_>) -> Vec<Move> {
        let given = std::mem::take(&mut self.given).into_iter();
        let moved = given.filter_map(|place| self.moved.get(&place)?.told(place, name_of));
        moved.filter(|moved| moved.from.is_some()).take(Rebalance::MAX_MOVES).collect()
    }

    /// Returns the moves as they are told, and how many more there were. A topic that was created anew under
    /// its old name is told as the one that somebody was given, and not besides as the one that went.
    pub(super) fn told_moves(&self, name_of: NameOf<'_>) -> (Vec<Move>, usize) {
        let moved = self.moved.iter();
        let mut moves: Vec<_> =
            moved.filter_map(|(partition, moved)| moved.told(*partition, name_of)).collect();
        moves.sort_by_key(|one| one.to.is_none());
        let mut told = BTreeSet::new();
        moves.retain(|one| told.insert((one.topic.clone(), one.partition)));
        let omitted = moves.len().saturating_sub(Rebalance::MAX_MOVES);
        moves.truncate(Rebalance::MAX_MOVES);
        (moves, omitted)
    }
}

impl Moved {
    /// Returns the move as it is told; `None` if the partition is where it was, nobody knows its topic's name any
    /// more, or it is known.
    fn told(&self, partition: PartitionId, name_of: NameOf<'_>) -> Option<Move> {
        let topic = name_of(partition.topic)?;
        let (from, unserved_since) = self.from.clone().unzip();
        let same = self.to.as_ref().is_some_and(|to| from.as_ref() == Some(&to.member));
        let to = self.to.clone();
        let known = self.is_told && self.to.is_none();
        (!same && !known).then_some(Move {
            topic,
            partition: partition.index,
            from,
            to,
            unserved_since,
        })
    }
}
