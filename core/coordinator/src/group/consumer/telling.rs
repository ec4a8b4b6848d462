//! Notes what happens in a rebalance, and tells its story when it has ended.

use std::sync::Arc;

use kohort_assignor::server::PartitionId;

use super::draft::Decision;
use super::group::ConsumerGroup;
use super::interval::heartbeat_interval_ms;
use super::record::{CurrentAssignment, MemberMetadata};
use super::state::Member;
use super::story::{Moved, Story};
use crate::group::causes::{Place, Unfinished};
use crate::group::event::{CauseKind, Given, GroupEffect, Owner, Rebalance};
use crate::group::revocation::Told;
use crate::group::timer_key::TimerKey;
use crate::group::turn::Turn;
use crate::group::who::{Roll, Who};
use crate::shard::Timestamp;

impl ConsumerGroup {
    /// Notes why the group rebalances. To be called before the records of it are replayed.
    pub(super) fn note_cause(&mut self, now: Timestamp, kind: CauseKind) {
        let state = &self.state;
        let story = self.story.get_or_insert_with(|| {
            Box::new(Story::new(now, state.member_ids().cloned().collect()))
        });
        story.note_news(now);
        story.causes.add(now, kind);
    }

    /// Goes on with the story that a classic group began which is one of this protocol now.
    pub(super) fn take_over_story(&mut self, turn: &Turn<'_>, begun: Unfinished) {
        let Unfinished { causes, members_before, roll, orphans, continues } = begun;
        let free = |((topic, index), was): (Place, (Arc<str>, Timestamp))| {
            let topic = turn.image.topic(&topic)?.id;
            let moved = Moved { from: Some(was), ..Moved::default() };
            Some((PartitionId { topic, index }, moved))
        };
        let mut story = Story::new(turn.now, members_before);
        story.moved = orphans.into_iter().filter_map(free).collect();
        (story.continues, story.roll) = (continues, roll);
        if let Some(causes) = causes {
            (story.causes, story.is_quiet) = (causes, false);
        }
        self.story = Some(Box::new(story));
        self.note_cause(turn.now, CauseKind::ProtocolChanged { to: "consumer" });
    }

    /// Returns what a group of the other protocol is to know of the rebalance under way. If partitions were
    /// given to somebody in it, it is told as far as it came: the other protocol compares with what is now.
    pub(super) fn unfinished(&mut self, turn: &mut Turn<'_>) -> Unfinished {
        let gave = |story: &Story| story.moved.values().any(|moved| moved.to.is_some());
        if self.story.as_deref().is_some_and(gave) {
            self.tell_part(turn);
        }
        turn.timers.disarm(&mut self.part);
        let story = self.story.take();
        let orphans = story.iter().flat_map(|story| &story.moved).filter_map(|(place, moved)| {
            let name = turn.image.topic_by_id(place.topic)?.name.clone();
            let from = moved.from.clone().filter(|_| moved.to.is_none())?;
            Some(((name, place.index), from))
        });
        let orphans = orphans.collect();
        let known = self.state.member_ids().filter_map(|id| Some((id.clone(), self.who(id)?)));
        let known = known.collect();
        match story.map(|story| *story) {
            Some(Story { causes, members_before, mut roll, continues, is_quiet, .. }) => {
                let causes = Some(causes).filter(|_| !is_quiet);
                roll.extend(known);
                Unfinished { causes, members_before, roll, orphans, continues }
            }
            None => Unfinished {
                causes: None,
                members_before: self.state.member_ids().cloned().collect(),
                roll: known,
                orphans,
                continues: false,
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
        story.roll.insert(member.clone(), who(metadata));
        if before == after {
            return;
        }
        let holds = |partition: &PartitionId| {
            after.assigned.contains(*partition) || after.revoking.contains(*partition)
        };
        for partition in before.held().filter(|partition| !holds(partition)) {
            story.note_news(now);
            let moved = story.moved.entry(partition).or_default();
            (moved.to, moved.is_told) = (None, false);
            moved.from.get_or_insert_with(|| (member.clone(), now)).1 = now;
        }
        if !after.revoking.is_empty() {
            story.revocations.ask(now, member, after.revoking.partitions());
        } else if before.revoking.partitions().any(|partition| !after.assigned.contains(partition))
        {
            story.revocations.finish(now, member);
        } else {
            story.revocations.call_off(member);
        }
        for partition in after.assigned.partitions() {
            // What it was to give up and keeps after all has not moved.
            if !before.assigned.contains(partition) && !before.revoking.contains(partition) {
                story.note_news(now);
                story.given.push(partition);
                story.moved.entry(partition).or_default().to = Some(Owner {
                    member: member.clone(),
                    client_id: metadata.client_id.clone(),
                    client_host: metadata.client_host.clone(),
                });
            }
        }
    }

    /// Notes that a member is waited for no longer, as it is gone, whenever it stopped working on what it had.
    pub(super) fn note_let_go(&mut self, now: Timestamp, member: &str) {
        if let Some(story) = &mut self.story {
            story.revocations.finish(now, member);
        }
    }

    /// Notes that a static member came back under another id, with what it had. Nobody has worked on that since
    /// there was no sign of it. To be called before the old one's timers are forgotten.
    pub(super) fn note_replaced(
        &mut self,
        now: Timestamp,
        old: &Member,
        new: &Arc<str>,
        metadata: &MemberMetadata,
    ) {
        let since = self.silent_since(&old.id).unwrap_or(now);
        let instance = old.metadata.instance_id.clone().unwrap_or_default();
        let (old_id, new_id) = (old.id.clone(), new.clone());
        self.note_cause(
            now,
            CauseKind::StaticMemberReplaced { instance, old: old_id, new: new_id },
        );
        let nothing = CurrentAssignment::default();
        self.note_let_go(now, &old.id);
        self.note_step(since, &old.id, &old.metadata, &old.current, &nothing);
        self.note_step(now, new, metadata, &nothing, &old.current);
    }

    /// Goes on with the story: says what somebody was given meanwhile, and sees to it that it is told in time.
    pub(super) fn go_on_with_story(&mut self, turn: &mut Turn<'_>) {
        let Some(story) = &mut self.story else {
            return;
        };
        let changes = &self.topic_changes;
        let moves = story.take_given(&|topic| changes.name(turn.image, topic).cloned());
        if !moves.is_empty() {
            let given = Given { group: self.id.clone(), at: turn.now, moves };
            turn.outcome.effects.push(GroupEffect::Given(Box::new(given)));
        }
        if !story.is_quiet && !self.part.is_armed() {
            let own = turn.image.group(&self.id);
            let members = turn.consumer_members();
            let interval = heartbeat_interval_ms(turn.config, &own, members, true);
            let due = turn.now + PART_MS_MIN.max(PART_HEARTBEATS * i64::from(interval));
            turn.timers.arm(&mut self.part, due, || TimerKey::Story(self.id.clone()));
        }
    }

    /// Handles the moment at which a rebalance has taken long enough for its story to be told as far as it came.
    pub(crate) fn handle_part_due(&mut self, turn: &mut Turn<'_>) {
        let group = &self.id;
        if turn.timers.ring(&mut self.part, turn.now, || TimerKey::Story(group.clone())) {
            self.tell_part(turn);
        }
    }

    fn tell_part(&mut self, turn: &mut Turn<'_>) {
        let Some(mut story) = self.story.take() else {
            return;
        };
        let members: Vec<_> = self.state.member_ids().cloned().collect();
        self.story = Some(Box::new(story.next_part(turn.now, members.clone())));
        let roll = std::mem::take(&mut story.roll);
        let told = self.told(turn, *story, self.state.epoch(), members);
        let mut told = Rebalance { unfinished: true, is_take_over: false, ..told };
        self.introduce(&mut told, &roll);
        turn.outcome.effects.push(GroupEffect::Rebalance(Box::new(told)));
    }

    /// Tells the story of the rebalance that ends with this decision, if one was under way.
    pub(super) fn finish_story(&mut self, turn: &mut Turn<'_>, decision: &Decision) {
        turn.timers.disarm(&mut self.part);
        let story = self.story.take();
        if let Some(story) = story {
            self.tell_end(turn, decision, *story);
        }
        // Whoever had a partition of a topic that is gone has given it up, unless nobody was asked to yet.
        if !self.topics_may_have_changed {
            self.topic_changes.forget_gone();
        }
    }

    fn tell_end(&mut self, turn: &mut Turn<'_>, decision: &Decision, mut story: Story) {
        story.note_news(turn.now);
        let members = decision.members_after(&self.state);
        let roll = std::mem::take(&mut story.roll);
        let told = self.told(turn, story, decision.epoch, members);
        let last = decision.stepped.clone().map(|member| (member, turn.now));
        let mut told = Rebalance { last_to_join: last.filter(|_| !told.is_take_over), ..told };
        self.introduce(&mut told, &roll);
        turn.outcome.effects.push(GroupEffect::Rebalance(Box::new(told)));
    }

    /// Says who the members are that a rebalance names.
    fn introduce(&self, rebalance: &mut Rebalance, roll: &Roll) {
        rebalance.introduce(|id| roll.get(id).cloned().or_else(|| self.who(id)));
    }

    fn who(&self, id: &str) -> Option<Who> {
        self.state.peek(id).map(|(metadata, _)| who(metadata))
    }

    /// Returns a story as it is told when it ends.
    fn told(
        &self,
        turn: &Turn<'_>,
        story: Story,
        epoch: i32,
        members_after: Vec<Arc<str>>,
    ) -> Rebalance {
        let name_of = |topic| self.topic_changes.name(turn.image, topic).cloned();
        let (moves, omitted_moves) = story.told_moves(&name_of);
        let Told { revocations, omitted, span } = story.told_revocations(&name_of);
        Rebalance {
            group: self.id.clone(),
            group_type: "consumer",
            generation: epoch,
            is_take_over: !story.continues && story.causes.are_of_a_take_over(),
            causes: story.causes.noted,
            omitted_causes: story.causes.omitted,
            started: story.causes.started,
            joined: story.assigned,
            ended: turn.now,
            last_to_join: None,
            revocations,
            omitted_revocations: omitted,
            revoking: span,
            members_before: story.members_before,
            members_after,
            members: Roll::new(),
            omitted_members: 0,
            leader: None,
            moves,
            omitted_moves,
            continues: story.continues,
            unfinished: false,
        }
    }
}

fn who(metadata: &MemberMetadata) -> Who {
    Who {
        client_id: metadata.client_id.clone(),
        client_host: metadata.client_host.clone(),
        instance_id: metadata.instance_id.clone(),
    }
}

/// How long a story may be before what there is of it is told: long enough for what a burst of members does to be one
/// event, and for a healthy rebalance, which takes three heartbeats of those on their way (to hear of it and give up,
/// to be asked again, to be given) and with the interval that they mostly have is over in a second.
const PART_MS_MIN: Timestamp = 5_000;
const PART_HEARTBEATS: Timestamp = 3;
