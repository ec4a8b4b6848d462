//! The story of a rebalance, from its first cause until every member has what it is to have.
//!
//! It is soft state: after a restart the rest of a rebalance goes untold.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_assignor::server::PartitionId;

use super::ConsumerGroup;
use super::draft::Decision;
use super::record::{CurrentAssignment, MemberMetadata};
use crate::group::causes::{Causes, Place, Unfinished};
use crate::group::event::{CauseKind, GroupEffect, Move, Owner, Rebalance};
use crate::group::turn::Turn;
use crate::metadata::MetadataImage;
use crate::shard::Timestamp;

/// A rebalance that has not ended, as it will be told when it has.
#[derive(Debug)]
pub(super) struct Story {
    causes: Causes,
    /// When the last target assignment was made.
    assigned: Timestamp,
    members_before: Vec<Arc<str>>,
    /// The partitions that went out of somebody's hands, or came into them.
    moved: BTreeMap<PartitionId, Moved>,
}

/// Where a partition was and where it is.
#[derive(Debug, Default)]
struct Moved {
    /// Who had it first, and since when it was free.
    from: Option<(Arc<str>, Timestamp)>,
    to: Option<Owner>,
}

impl Story {
    fn told_moves(&mut self, image: &MetadataImage) -> (Vec<Move>, usize) {
        let told = |(partition, moved): (PartitionId, Moved)| {
            let topic = image.topic_by_id(partition.topic)?.name.clone();
            let Moved { from, to } = moved;
            let same = to
                .as_ref()
                .is_some_and(|to| from.as_ref().is_some_and(|(member, _)| *member == to.member));
            (!same).then(|| Move {
                topic,
                partition: partition.index,
                unserved_since: from.as_ref().map(|(_, since)| *since),
                from: from.map(|(member, _)| member),
                to,
            })
        };
        let moved = std::mem::take(&mut self.moved);
        let mut moves: Vec<_> = moved.into_iter().filter_map(told).collect();
        moves.sort_by_key(|one| one.to.is_none());
        let omitted = moves.len().saturating_sub(Rebalance::MAX_MOVES);
        moves.truncate(Rebalance::MAX_MOVES);
        (moves, omitted)
    }
}

impl ConsumerGroup {
    /// Notes why the group rebalances. To be called before the records of it are replayed.
    pub(super) fn note_cause(&mut self, now: Timestamp, kind: CauseKind) {
        let state = &self.state;
        let story = self.story.get_or_insert_with(|| {
            Box::new(Story {
                causes: Causes::new(now),
                assigned: now,
                members_before: state.member_ids().cloned().collect(),
                moved: BTreeMap::new(),
            })
        });
        story.causes.add(now, kind);
    }

    /// Goes on with the story that a classic group began which is one of this protocol now.
    pub(super) fn take_over_story(&mut self, turn: &Turn<'_>, begun: Unfinished) {
        let Unfinished { causes, members_before, orphans } = begun;
        let free = |((topic, index), was): (Place, (Arc<str>, Timestamp))| {
            let topic = turn.image.topic(&topic)?.id;
            Some((PartitionId { topic, index }, Moved { from: Some(was), to: None }))
        };
        let moved = orphans.into_iter().filter_map(free).collect();
        let causes = causes.unwrap_or_else(|| Causes::new(turn.now));
        self.story = Some(Box::new(Story { causes, assigned: turn.now, members_before, moved }));
        self.note_cause(turn.now, CauseKind::ProtocolChanged { to: "consumer" });
    }

    /// Returns what a group of the other protocol is to know of the rebalance under way.
    pub(super) fn unfinished(&mut self, image: &MetadataImage) -> Unfinished {
        let story = self.story.take();
        let orphans = story.iter().flat_map(|story| &story.moved).filter_map(|(place, moved)| {
            let name = image.topic_by_id(place.topic)?.name.clone();
            let from = moved.from.clone().filter(|_| moved.to.is_none())?;
            Some(((name, place.index), from))
        });
        let orphans = orphans.collect();
        match story {
            Some(story) => Unfinished {
                causes: Some(story.causes),
                members_before: story.members_before,
                orphans,
            },
            None => Unfinished {
                causes: None,
                members_before: self.state.member_ids().cloned().collect(),
                orphans,
            },
        }
    }

    pub(super) fn note_assigned(&mut self, now: Timestamp) {
        if let Some(story) = &mut self.story {
            story.assigned = now;
        }
    }

    /// Notes what a member gave up and what it was given.
    pub(super) fn note_step(
        &mut self,
        now: Timestamp,
        member: &Arc<str>,
        metadata: &MemberMetadata,
        before: &CurrentAssignment,
        after: &CurrentAssignment,
    ) {
        let Some(story) = &mut self.story else {
            return;
        };
        if before == after {
            return;
        }
        let holds = |partition: &PartitionId| {
            after.assigned.contains(*partition) || after.revoking.contains(*partition)
        };
        for partition in before.held().filter(|partition| !holds(partition)) {
            let moved = story.moved.entry(partition).or_default();
            moved.to = None;
            moved.from.get_or_insert_with(|| (member.clone(), now)).1 = now;
        }
        for partition in after.assigned.partitions() {
            // What it was to give up and keeps after all has not moved.
            if !before.assigned.contains(partition) && !before.revoking.contains(partition) {
                story.moved.entry(partition).or_default().to = Some(Owner {
                    member: member.clone(),
                    client_id: metadata.client_id.clone(),
                    client_host: metadata.client_host.clone(),
                });
            }
        }
    }

    /// Tells the story of the rebalance that ends with this decision, if one was under way.
    pub(super) fn finish_story(&mut self, turn: &mut Turn<'_>, decision: &Decision) {
        let Some(mut story) = self.story.take() else {
            return;
        };
        let (moves, omitted_moves) = story.told_moves(turn.image);
        turn.outcome.effects.push(GroupEffect::Rebalance(Box::new(Rebalance {
            group: self.id.clone(),
            group_type: "consumer",
            generation: decision.epoch,
            causes: story.causes.noted,
            omitted_causes: story.causes.omitted,
            started: story.causes.started,
            joined: story.assigned,
            ended: turn.now,
            last_to_join: decision.stepped.clone().map(|member| (member, turn.now)),
            members_before: story.members_before,
            members_after: decision.members_after(&self.state),
            leader: None,
            moves,
            omitted_moves,
        })));
    }
}
