//! A group as it will be: what one event changes, laid over what the log says.
//!
//! Handlers decide before the records that they write are replayed. So they work on a draft: each change
//! adds the records that say it, and later questions see the changes before them. There is at most one
//! member that changes in an event, though several may go.
//!
//! ```text
//! members come, change or go ─► wanted patterns ─► epoch + 1, if topics or members changed
//!                                                      └─► new target, if it is time ─► one step of
//!                                                                                       the member
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_assignor::server::{GroupSpec, MemberSpec, PartitionId, PartitionSet};
use kohort_protocol::Uuid;

use super::reconcile::{MustRejoin, Step, reconcile};
use super::record::{
    ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata, ResolvedRegex, TargetEpoch,
};
use super::regex;
use super::state::{ConsumerState, Member};
use super::target;
use crate::metadata::MetadataImage;
use crate::shard::Timestamp;

/// What one event makes of a group.
pub(super) struct Draft<'a> {
    state: &'a ConsumerState,
    image: &'a MetadataImage,
    now: Timestamp,
    records: Vec<ConsumerRecord>,
    epoch: i32,
    target_epoch: i32,
    /// The new target assignment, if one was made.
    targets: Option<BTreeMap<Arc<str>, Arc<PartitionSet>>>,
    /// The member that changes.
    updated: Option<Member>,
    /// The members that go.
    removed: BTreeSet<Arc<str>>,
    /// The member whose place the one that changes takes.
    replaced: Option<Arc<str>>,
    /// The patterns that were resolved anew or are no longer wanted.
    regexes: BTreeMap<Arc<str>, Option<Arc<ResolvedRegex>>>,
}

/// What an event came to.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) records: Vec<ConsumerRecord>,
    /// Whether a target assignment is still to be made.
    pub(super) unassigned: bool,
    /// Whether one was made.
    pub(super) assigned: bool,
    /// How many members are on the way to where the target wants them.
    pub(super) unsettled: usize,
    /// The group's epoch.
    pub(super) epoch: i32,
    /// The member that took a step.
    pub(super) stepped: Option<Arc<str>>,
    removed: BTreeSet<Arc<str>>,
}

impl Decision {
    /// Tells whether the group is on the way to a new assignment.
    pub(super) fn is_under_way(&self) -> bool {
        self.unassigned || self.unsettled > 0
    }

    /// Returns the members once all of this is replayed.
    pub(super) fn members_after(&self, state: &ConsumerState) -> Vec<Arc<str>> {
        let stays = |id: &&Arc<str>| !self.removed.contains(*id);
        let mut members: BTreeSet<_> = state.member_ids().filter(stays).cloned().collect();
        members.extend(self.stepped.clone());
        members.into_iter().collect()
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &'a ConsumerState, image: &'a MetadataImage, now: Timestamp) -> Self {
        Self {
            state,
            image,
            now,
            records: Vec::new(),
            epoch: state.epoch(),
            target_epoch: state.target_epoch(),
            targets: None,
            updated: None,
            removed: BTreeSet::new(),
            replaced: None,
            regexes: BTreeMap::new(),
        }
    }

    // Changes.

    /// Takes a member out of the group.
    pub(super) fn remove(&mut self, id: &Arc<str>) {
        // The order in which Kafka loads them.
        self.records.push(ConsumerRecord::Current(id.clone(), None));
        self.records.push(ConsumerRecord::Target(id.clone(), None));
        self.records.push(ConsumerRecord::Member(id.clone(), None));
        self.removed.insert(id.clone());
    }

    /// Lets a static member take the place of the one before under a new id: returns it, with what
    /// the old one had.
    pub(super) fn replace(&mut self, old: &Member, new: Arc<str>) -> Member {
        self.remove(&old.id);
        let current = CurrentAssignment { epoch: 0, previous_epoch: 0, ..(*old.current).clone() };
        let member = Member { id: new, metadata: old.metadata.clone(), current: Arc::new(current) };
        let target = self.state.target(&old.id).cloned().unwrap_or_default();
        let id = || member.id.clone();
        self.records.push(ConsumerRecord::Member(id(), Some(member.metadata.clone())));
        self.records.push(ConsumerRecord::Target(id(), Some(target)));
        self.records.push(ConsumerRecord::Current(id(), Some(member.current.clone())));
        self.replaced = Some(old.id.clone());
        self.updated = Some(member.clone());
        member
    }

    /// Lets a static member be away, with what it has then.
    pub(super) fn leave_for_a_while(&mut self, member: &Member, away: CurrentAssignment) {
        let current = Arc::new(away);
        self.records.push(ConsumerRecord::Current(member.id.clone(), Some(current.clone())));
        self.updated = Some(Member { current, ..member.clone() });
    }

    /// Gives a member, who may be new, other metadata. Returns whether that is a change.
    pub(super) fn update(&mut self, member: &Member, metadata: MemberMetadata) -> bool {
        let changed = *member.metadata != metadata;
        let mut member = member.clone();
        if changed {
            member.metadata = Arc::new(metadata);
            let (id, metadata) = (member.id.clone(), member.metadata.clone());
            self.records.push(ConsumerRecord::Member(id, Some(metadata)));
        }
        self.updated = Some(member);
        changed
    }

    /// Sees to it that every wanted pattern is resolved and no other is kept; with `again`, also those
    /// that were. Returns whether that changes the topics of any that is wanted.
    pub(super) fn resolve_regexes(&mut self, again: bool) -> bool {
        if self.state.regexes().is_empty()
            && self.state.stored().regexes.is_empty()
            && self.updated.as_ref().is_none_or(|member| member.metadata.regex.is_none())
        {
            return false;
        }
        let wanted = self.wanted_regexes();
        for regex in self.state.stored().regexes.keys() {
            if !wanted.contains(regex) {
                self.records.push(ConsumerRecord::Regex(regex.clone(), None));
                self.regexes.insert(regex.clone(), None);
            }
        }
        let mut changed = false;
        for regex in wanted {
            let old = self.state.resolved(&regex);
            if old.is_some() && !again {
                continue;
            }
            let topics = regex::matching(&regex, self.image);
            if old.is_some_and(|old| old.topics == topics) {
                continue;
            }
            changed = true;
            let resolved = Arc::new(ResolvedRegex { topics, version: 0, at: self.now });
            self.records.push(ConsumerRecord::Regex(regex.clone(), Some(resolved.clone())));
            self.regexes.insert(regex, Some(resolved));
        }
        changed
    }

    /// Raises the group's epoch if `changed`, or if the subscribed topics are not what they were.
    pub(super) fn raise_epoch(&mut self, changed: bool) -> bool {
        let metadata_hash = target::metadata_hash(&self.subscribed_topics(), self.image);
        let topics_changed = metadata_hash != self.state.metadata_hash();
        if !changed && !topics_changed {
            return false;
        }
        self.epoch += 1;
        let epoch = GroupEpoch { epoch: self.epoch, metadata_hash };
        self.records.push(ConsumerRecord::Epoch(Some(epoch)));
        if self.state.stored().old_topics {
            self.records.push(ConsumerRecord::OldTopics(false));
        }
        true
    }

    /// Makes a new target assignment.
    pub(super) fn assign(&mut self, default_assignor: &str) {
        let assignor = self.preferred_assignor();
        let spec = self.spec();
        let assignor = assignor.as_deref().unwrap_or(default_assignor);
        let Some(targets) = target::assign(assignor, &spec, self.image) else {
            return;
        };
        for (id, target) in &targets {
            if self.target_of(id).is_none_or(|old| *old != *target) {
                self.records.push(ConsumerRecord::Target(id.clone(), Some(target.clone())));
            }
        }
        let target = TargetEpoch { epoch: self.epoch, made_at: self.now };
        self.records.push(ConsumerRecord::TargetEpoch(Some(target)));
        self.target_epoch = self.epoch;
        self.targets = Some(targets);
    }

    /// Lets the member that changes take a step towards its target. Returns where it stands then.
    pub(super) fn reconcile(
        &mut self,
        owned: Option<&PartitionSet>,
        resubscribed: bool,
    ) -> Result<Arc<CurrentAssignment>, MustRejoin> {
        let Some(member) = self.updated.clone() else {
            unreachable!("only a member that heartbeats takes a step");
        };
        if !resubscribed && member.current.is_settled(self.target_epoch) {
            return Ok(member.current);
        }
        let nothing = PartitionSet::default();
        let target = self.target_of(&member.id).map_or(&nothing, |target| target);
        let next = reconcile(&Step {
            current: &member.current,
            target_epoch: self.target_epoch,
            target,
            subscribes: &|topic| self.subscribes(&member.metadata, topic),
            resubscribed,
            owned,
            taken: &|partition| self.is_taken(partition, &member.id),
        })?;
        let Some(next) = next.map(Arc::new) else {
            return Ok(member.current);
        };
        self.records.push(ConsumerRecord::Current(member.id.clone(), Some(next.clone())));
        self.updated = Some(Member { current: next.clone(), ..member });
        Ok(next)
    }

    // Questions.

    pub(super) fn needs_assignment(&self) -> bool {
        self.epoch > self.target_epoch
    }

    /// Returns the member's part of the target assignment.
    pub(super) fn target_of(&self, id: &str) -> Option<&Arc<PartitionSet>> {
        if let Some(targets) = &self.targets {
            return targets.get(id);
        }
        let takes_over = self.updated.as_ref().filter(|member| *member.id == *id);
        let old = takes_over.and(self.replaced.as_ref());
        self.state.target(old.map_or(id, |old| old))
    }

    /// Returns the members that stay, the one that changes in its new form.
    pub(super) fn members(&self) -> impl Iterator<Item = Member> + '_ {
        let updated = self.updated.as_ref();
        let others = self.state.members().filter(move |member| {
            !self.removed.contains(&member.id)
                && updated.is_none_or(|updated| updated.id != member.id)
        });
        others.chain(updated.filter(|member| !self.removed.contains(&member.id)).cloned())
    }

    pub(super) fn into_decision(self) -> Decision {
        Decision {
            unsettled: self.unsettled(),
            unassigned: self.needs_assignment(),
            assigned: self.targets.is_some(),
            epoch: self.epoch,
            stepped: self.updated.map(|member| member.id),
            removed: self.removed,
            records: self.records,
        }
    }

    /// Counts the members that are on the way to where the target wants them.
    fn unsettled(&self) -> usize {
        let unsettled = |member: &Member| member.current.is_unsettled(self.target_epoch);
        if self.targets.is_some() {
            return self.members().filter(unsettled).count();
        }
        // Only these few have changed.
        let touched = self.removed.iter().chain(self.updated.iter().map(|member| &member.id));
        let touched: BTreeSet<_> = touched.collect();
        let before = touched.iter().filter_map(|id| self.state.member(id)).filter(unsettled);
        let updated = self.updated.iter().filter(|member| !self.removed.contains(&member.id));
        let after = updated.filter(|member| unsettled(member)).count();
        self.state.unsettled() + after - before.count()
    }

    /// Tells whether a member wants a topic.
    fn subscribes(&self, metadata: &MemberMetadata, topic: Uuid) -> bool {
        let Some(topic) = self.image.topic_by_id(topic) else {
            return false;
        };
        metadata.topics.contains(&topic.name)
            || metadata.regex.as_ref().is_some_and(|regex| {
                self.resolved(regex).is_some_and(|regex| regex.topics.contains(&topic.name))
            })
    }

    /// Tells whether a partition is another member's.
    fn is_taken(&self, partition: PartitionId, id: &str) -> bool {
        self.state
            .owner(partition)
            .is_some_and(|owner| **owner != *id && !self.removed.contains(owner))
    }

    fn resolved(&self, regex: &str) -> Option<&Arc<ResolvedRegex>> {
        match self.regexes.get(regex) {
            Some(resolved) => resolved.as_ref(),
            None => self.state.resolved(regex),
        }
    }

    /// Returns a member's metadata as the log has it.
    fn before(&self, id: &str) -> Option<Arc<MemberMetadata>> {
        self.state.member(id).map(|member| member.metadata)
    }

    /// Returns the metadata that count no longer, and that which counts now.
    fn difference(&self) -> (Vec<Arc<MemberMetadata>>, Option<&Arc<MemberMetadata>>) {
        let updated = self.updated.as_ref().filter(|member| !self.removed.contains(&member.id));
        let gone = self.removed.iter().chain(updated.map(|member| &member.id));
        let gone = gone.filter_map(|id| self.before(id)).collect();
        (gone, updated.map(|member| &member.metadata))
    }

    fn wanted_regexes(&self) -> BTreeSet<Arc<str>> {
        let mut counts = self.state.regexes().clone();
        let (gone, come) = self.difference();
        for regex in gone.iter().filter_map(|metadata| metadata.regex.as_ref()) {
            uncount(&mut counts, regex);
        }
        let come = come.and_then(|metadata| metadata.regex.clone());
        counts.into_keys().chain(come).collect()
    }

    /// Returns the topics that any member wants, be they there or not.
    pub(super) fn subscribed_topics(&self) -> BTreeSet<Arc<str>> {
        let mut counts = self.state.topics().clone();
        let (gone, come) = self.difference();
        for topic in gone.iter().flat_map(|metadata| &metadata.topics) {
            uncount(&mut counts, topic);
        }
        let mut topics: BTreeSet<_> = counts.into_keys().collect();
        topics.extend(come.into_iter().flat_map(|metadata| metadata.topics.iter().cloned()));
        for regex in self.wanted_regexes() {
            topics.extend(
                self.resolved(&regex).iter().flat_map(|regex| regex.topics.iter().cloned()),
            );
        }
        topics
    }

    /// Returns the assignor that most members would like; of equals the first by name.
    fn preferred_assignor(&self) -> Option<Arc<str>> {
        let mut counts = self.state.assignors().clone();
        let (gone, come) = self.difference();
        for name in gone.iter().filter_map(|metadata| metadata.assignor.as_ref()) {
            uncount(&mut counts, name);
        }
        if let Some(name) = come.and_then(|metadata| metadata.assignor.as_ref()) {
            *counts.entry(name.clone()).or_default() += 1;
        }
        let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| name)
    }

    /// Describes the group to an assignor.
    fn spec(&self) -> GroupSpec {
        // Most members want the same, so what it comes to is worked out once and shared.
        let mut known: Vec<(Arc<MemberMetadata>, Arc<BTreeSet<Uuid>>)> = Vec::new();
        let mut topics_of = |metadata: &Arc<MemberMetadata>| {
            let same = |other: &MemberMetadata| {
                other.topics == metadata.topics && other.regex == metadata.regex
            };
            let mut recent = known.iter().rev().take(RECENT_SUBSCRIPTIONS);
            if let Some((_, topics)) = recent.find(|(other, _)| same(other)) {
                return topics.clone();
            }
            let matched = metadata.regex.iter().filter_map(|regex| self.resolved(regex));
            let names = metadata.topics.iter().chain(matched.flat_map(|regex| &regex.topics));
            let ids = names.filter_map(|name| self.image.topic(name)).map(|topic| topic.id);
            let topics = Arc::new(ids.collect::<BTreeSet<_>>());
            known.push((metadata.clone(), topics.clone()));
            topics
        };
        let spec = |member: Member| {
            let spec = MemberSpec {
                topics: topics_of(&member.metadata),
                instance_id: member.metadata.instance_id.clone(),
                rack_id: member.metadata.rack_id.clone(),
                target: self.target_of(&member.id).cloned().unwrap_or_default(),
            };
            (member.id, spec)
        };
        GroupSpec { members: self.members().map(spec).collect() }
    }
}

fn uncount(counts: &mut BTreeMap<Arc<str>, usize>, name: &Arc<str>) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

/// How many different subscriptions back an equal one is looked for.
const RECENT_SUBSCRIPTIONS: usize = 8;
