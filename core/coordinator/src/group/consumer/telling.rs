//! Notes what happens in a rebalance, and tells its story when it has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_assignor::server::PartitionId;

use super::draft::Decision;
use super::group::ConsumerGroup;
use super::record::{CurrentAssignment, MemberMetadata};
use super::story::{Moved, Story};
use crate::group::causes::{Causes, Place, Unfinished};
use crate::group::event::{CauseKind, Given, GroupEffect, Owner, Rebalance};
use crate::group::turn::Turn;
use crate::metadata::MetadataImage;
use crate::shard::Timestamp;

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
                given: Vec::new(),
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
        let (assigned, given) = (turn.now, Vec::new());
        self.story = Some(Box::new(Story { causes, assigned, members_before, moved, given }));
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
                story.given.push(partition);
                story.moved.entry(partition).or_default().to = Some(Owner {
                    member: member.clone(),
                    client_id: metadata.client_id.clone(),
                    client_host: metadata.client_host.clone(),
                });
            }
        }
    }

    /// Goes on with the story: says what somebody was given meanwhile.
    pub(super) fn go_on_with_story(&mut self, turn: &mut Turn<'_>) {
        let Some(story) = &mut self.story else {
            return;
        };
        let moves = story.take_given(turn.image);
        if !moves.is_empty() {
            let given = Given { group: self.id.clone(), at: turn.now, moves };
            turn.outcome.effects.push(GroupEffect::Given(Box::new(given)));
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
