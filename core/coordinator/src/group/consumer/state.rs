//! What the log says of a consumer group, and what follows from it.
//!
//! The first part, [`Stored`], is hard state: one place for each record, see [`record`](super::record).
//! The second is derived from it and kept up to date by [`ConsumerState::replay`], so that a heartbeat
//! finds what it needs without looking at the other members: who owns a partition, how many subscribe to
//! a topic, how many are not where the target assignment wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_assignor::server::{PartitionId, PartitionSet};

use super::record::{
    ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata, MemberState, ResolvedRegex,
    TargetEpoch,
};

/// What the log says, place by place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(super) epoch: Option<GroupEpoch>,
    /// Whether there is still a record of kind 4.
    pub(super) old_topics: bool,
    pub(super) target: Option<TargetEpoch>,
    pub(super) members: BTreeMap<Arc<str>, StoredMember>,
    pub(super) regexes: BTreeMap<Arc<str>, Arc<ResolvedRegex>>,
}

/// The epoch of a member that joins.
pub(super) const JOIN_EPOCH: i32 = 0;
/// The epoch of a member that leaves.
pub(super) const LEAVE_EPOCH: i32 = -1;
/// The epoch of a static member that leaves and means to come back.
pub(super) const LEAVE_STATIC_EPOCH: i32 = -2;

/// What the log says of one member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredMember {
    pub(super) metadata: Option<Arc<MemberMetadata>>,
    pub(super) target: Option<Arc<PartitionSet>>,
    pub(super) current: Option<Arc<CurrentAssignment>>,
}

/// A member as handlers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(super) id: Arc<str>,
    pub(super) metadata: Arc<MemberMetadata>,
    pub(super) current: Arc<CurrentAssignment>,
}

/// What the log says and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct ConsumerState {
    stored: Stored,
    /// Who has each partition, or still has to give it up.
    owners: BTreeMap<PartitionId, Arc<str>>,
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// How many members want each topic by name.
    topics: BTreeMap<Arc<str>, usize>,
    /// How many members want each pattern.
    regexes: BTreeMap<Arc<str>, usize>,
    /// How many members would like each assignor.
    assignors: BTreeMap<Arc<str>, usize>,
    /// How many members speak each classic protocol.
    classic_protocols: BTreeMap<Arc<str>, usize>,
    members: usize,
    classic_members: usize,
    /// How many members are not yet where the target assignment wants them and on the way there.
    unsettled: usize,
    /// How many static members have left for a while.
    away: usize,
}

impl StoredMember {
    /// Tells whether it is a member: a target alone is none's.
    fn is_member(&self) -> bool {
        self.metadata.is_some() || self.current.is_some()
    }

    fn is_empty(&self) -> bool {
        !self.is_member() && self.target.is_none()
    }

    /// Tells whether it is on the way to the target assignment of that epoch.
    fn is_unsettled(&self, target_epoch: i32) -> bool {
        let unsettled = |current: &CurrentAssignment| current.is_unsettled(target_epoch);
        self.is_member() && self.current.as_deref().is_none_or(unsettled)
    }

    fn is_away(&self) -> bool {
        self.current.as_deref().is_some_and(CurrentAssignment::is_away)
    }

    fn view(&self, id: &Arc<str>) -> Option<Member> {
        self.is_member().then(|| Member {
            id: id.clone(),
            metadata: self.metadata.clone().unwrap_or_default(),
            current: self.current.clone().unwrap_or_default(),
        })
    }
}

impl CurrentAssignment {
    /// Tells whether the member has what the target assignment of that epoch gives it.
    pub(super) fn is_settled(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Tells whether the member is on the way to the target assignment of that epoch. Nobody takes a step
    /// for one that is away, and nobody can hurry it.
    pub(super) fn is_unsettled(&self, target_epoch: i32) -> bool {
        !self.is_settled(target_epoch) && !self.is_away()
    }

    /// Tells whether the member is a static one that left for a while.
    pub(super) fn is_away(&self) -> bool {
        self.epoch == LEAVE_STATIC_EPOCH
    }

    /// Returns the partitions that nobody else may have: the member's own and those it has to give up.
    pub(super) fn held(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.assigned.partitions().chain(self.revoking.partitions())
    }
}

impl Member {
    /// Returns somebody who has just come.
    pub(super) fn new(id: Arc<str>) -> Self {
        let current = CurrentAssignment { previous_epoch: -1, ..CurrentAssignment::default() };
        Self { id, metadata: Arc::default(), current: Arc::new(current) }
    }

    pub(super) fn is_classic(&self) -> bool {
        self.metadata.is_classic()
    }
}

impl ConsumerState {
    /// Puts one record in its place. The only writer of hard state.
    pub(crate) fn replay(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Epoch(epoch) => self.stored.epoch = *epoch,
            ConsumerRecord::OldTopics(there) => self.stored.old_topics = *there,
            ConsumerRecord::TargetEpoch(target) => {
                self.stored.target = *target;
                let epoch = self.target_epoch();
                let members = self.stored.members.values();
                self.unsettled = members.filter(|member| member.is_unsettled(epoch)).count();
            }
            ConsumerRecord::Regex(regex, Some(resolved)) => {
                self.stored.regexes.insert(regex.clone(), resolved.clone());
            }
            ConsumerRecord::Regex(regex, None) => {
                self.stored.regexes.remove(regex);
            }
            ConsumerRecord::Member(id, metadata) => self.replay_metadata(id, metadata.as_ref()),
            ConsumerRecord::Target(id, target) => {
                self.update(id, |member| member.target.clone_from(target));
            }
            ConsumerRecord::Current(id, current) => self.replay_current(id, current.as_ref()),
        }
    }

    fn replay_metadata(&mut self, id: &Arc<str>, metadata: Option<&Arc<MemberMetadata>>) {
        let old = self.stored.members.get(id).and_then(|member| member.metadata.clone());
        if let Some(old) = &old {
            self.count(old, false);
            if let Some(instance) = &old.instance_id
                && self.static_members.get(instance) == Some(id)
            {
                self.static_members.remove(instance);
            }
        }
        if let Some(new) = metadata {
            self.count(new, true);
            if let Some(instance) = &new.instance_id {
                self.static_members.insert(instance.clone(), id.clone());
            }
        }
        self.update(id, |member| member.metadata = metadata.cloned());
    }

    fn replay_current(&mut self, id: &Arc<str>, current: Option<&Arc<CurrentAssignment>>) {
        let old = self.stored.members.get(id).and_then(|member| member.current.clone());
        for partition in old.iter().flat_map(|old| old.held()) {
            if self.owners.get(&partition) == Some(id) {
                self.owners.remove(&partition);
            }
        }
        for partition in current.iter().flat_map(|new| new.held()) {
            self.owners.insert(partition, id.clone());
        }
        self.update(id, |member| member.current = current.cloned());
    }

    /// Changes a member and counts it anew.
    fn update(&mut self, id: &Arc<str>, change: impl FnOnce(&mut StoredMember)) {
        let target_epoch = self.target_epoch();
        let counts = |member: &StoredMember| {
            let is = [member.is_member(), member.is_unsettled(target_epoch), member.is_away()];
            is.map(usize::from)
        };
        let member = self.stored.members.entry(id.clone()).or_default();
        let before = counts(member);
        change(member);
        let after = counts(member);
        self.members = self.members + after[0] - before[0];
        self.unsettled = self.unsettled + after[1] - before[1];
        self.away = self.away + after[2] - before[2];
        if member.is_empty() {
            self.stored.members.remove(id);
        }
    }

    /// Counts what a member wants, or counts it no longer.
    fn count(&mut self, metadata: &MemberMetadata, there: bool) {
        metadata.topics.iter().for_each(|topic| tally(&mut self.topics, topic, there));
        metadata.regex.iter().for_each(|regex| tally(&mut self.regexes, regex, there));
        metadata.assignor.iter().for_each(|name| tally(&mut self.assignors, name, there));
        if let Some(classic) = &metadata.classic {
            for name in classic.protocol_names() {
                tally(&mut self.classic_protocols, name, there);
            }
            if there {
                self.classic_members += 1;
            } else {
                self.classic_members -= 1;
            }
        }
    }

    // Questions.

    pub(crate) fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Tells whether the log says nothing.
    pub(crate) fn is_vacant(&self) -> bool {
        self.stored == Stored::default()
    }

    /// Returns the group's epoch. A group begins in epoch 1, of which there is no record, as in Kafka.
    pub(super) fn epoch(&self) -> i32 {
        self.stored.epoch.map_or(1, |epoch| epoch.epoch)
    }

    pub(super) fn metadata_hash(&self) -> i64 {
        self.stored.epoch.map_or(0, |epoch| epoch.metadata_hash)
    }

    pub(super) fn target_epoch(&self) -> i32 {
        self.stored.target.map_or(0, |target| target.epoch)
    }

    /// Tells whether the group's epoch asks for a target assignment that there is not.
    pub(super) fn needs_assignment(&self) -> bool {
        self.epoch() > self.target_epoch()
    }

    /// Tells whether the group is on the way to a new assignment.
    pub(super) fn is_under_way(&self) -> bool {
        self.needs_assignment() || self.unsettled > 0
    }

    /// Returns when the target assignment was made, if that is known.
    pub(super) fn assigned_at(&self) -> Option<i64> {
        self.stored.target.map(|target| target.made_at).filter(|at| *at > 0)
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members
    }

    pub(super) fn classic_count(&self) -> usize {
        self.classic_members
    }

    pub(super) fn classic_protocols(&self) -> &BTreeMap<Arc<str>, usize> {
        &self.classic_protocols
    }

    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Returns how many partitions members have.
    pub(super) fn owned_count(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn member(&self, id: &str) -> Option<Member> {
        let (id, member) = self.stored.members.get_key_value(id)?;
        member.view(id)
    }

    /// Returns the member without taking part in its ownership, for the many heartbeats that change
    /// nothing.
    pub(super) fn peek(&self, id: &str) -> Option<(&MemberMetadata, &CurrentAssignment)> {
        let member = self.stored.members.get(id)?;
        Some((member.metadata.as_deref()?, member.current.as_deref()?))
    }

    pub(super) fn members(&self) -> impl Iterator<Item = Member> + '_ {
        self.stored.members.iter().filter_map(|(id, member)| member.view(id))
    }

    pub(super) fn member_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        let members = self.stored.members.iter().filter(|(_, member)| member.is_member());
        members.map(|(id, _)| id)
    }

    pub(super) fn static_member(&self, instance: &str) -> Option<Member> {
        self.member(self.static_members.get(instance)?)
    }

    pub(super) fn target(&self, id: &str) -> Option<&Arc<PartitionSet>> {
        self.stored.members.get(id)?.target.as_ref()
    }

    pub(super) fn owner(&self, partition: PartitionId) -> Option<&Arc<str>> {
        self.owners.get(&partition)
    }

    /// Returns who has each partition, or still has to give it up.
    pub(super) fn owners(&self) -> impl Iterator<Item = (PartitionId, &Arc<str>)> {
        self.owners.iter().map(|(partition, owner)| (*partition, owner))
    }

    pub(super) fn topics(&self) -> &BTreeMap<Arc<str>, usize> {
        &self.topics
    }

    pub(super) fn regexes(&self) -> &BTreeMap<Arc<str>, usize> {
        &self.regexes
    }

    pub(super) fn resolved(&self, regex: &str) -> Option<&Arc<ResolvedRegex>> {
        self.stored.regexes.get(regex)
    }

    pub(super) fn assignors(&self) -> &BTreeMap<Arc<str>, usize> {
        &self.assignors
    }

    /// Tells whether members subscribe to the topic, by name or by pattern.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        let matches = |regex: &Arc<ResolvedRegex>| regex.topics.contains(topic);
        self.topics.contains_key(topic) || self.stored.regexes.values().any(matches)
    }

    /// Tells whether a change of these topics may be one for the group. A pattern may come to match any.
    pub(crate) fn is_concerned(&self, changed: &BTreeSet<Arc<str>>) -> bool {
        !changed.is_empty()
            && (!self.regexes.is_empty()
                || changed.iter().any(|topic| self.topics.contains_key(topic)))
    }

    /// Returns the state's name in Kafka's answers, where a member that is away is on its way.
    pub(crate) fn name(&self) -> &'static str {
        if self.members == 0 {
            "Empty"
        } else if self.needs_assignment() {
            "Assigning"
        } else if self.unsettled > 0 || self.away > 0 {
            "Reconciling"
        } else {
            "Stable"
        }
    }

    /// Returns the records that make an empty group equal to this one.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = ConsumerRecord> + '_ {
        let Stored { epoch, target, members, regexes, old_topics } = &self.stored;
        let of_member = |(id, member): (&Arc<str>, &StoredMember)| {
            let StoredMember { metadata, target, current } = member.clone();
            let metadata = metadata.map(|value| ConsumerRecord::Member(id.clone(), Some(value)));
            let target = target.map(|value| ConsumerRecord::Target(id.clone(), Some(value)));
            let current = current.map(|value| ConsumerRecord::Current(id.clone(), Some(value)));
            metadata.into_iter().chain(target).chain(current)
        };
        let regex = |(id, value): (&Arc<str>, &Arc<ResolvedRegex>)| {
            ConsumerRecord::Regex(id.clone(), Some(value.clone()))
        };
        epoch
            .map(|epoch| ConsumerRecord::Epoch(Some(epoch)))
            .into_iter()
            .chain(target.map(|target| ConsumerRecord::TargetEpoch(Some(target))))
            .chain(members.iter().flat_map(of_member))
            .chain(regexes.iter().map(regex))
            .chain(old_topics.then_some(ConsumerRecord::OldTopics(true)))
    }

    /// Returns a tombstone for every record that the log has of the group.
    ///
    /// A member's assignments come before the member and the target's epoch before the group's: Kafka
    /// does not load a log in which they come the other way round.
    pub(crate) fn tombstones(&self) -> Vec<ConsumerRecord> {
        let Stored { epoch, old_topics, target, members, regexes } = &self.stored;
        let mut records = Vec::new();
        for (id, member) in members {
            if member.current.is_some() {
                records.push(ConsumerRecord::Current(id.clone(), None));
            }
        }
        for (id, member) in members {
            if member.target.is_some() {
                records.push(ConsumerRecord::Target(id.clone(), None));
            }
        }
        if target.is_some() {
            records.push(ConsumerRecord::TargetEpoch(None));
        }
        for (id, member) in members {
            if member.metadata.is_some() {
                records.push(ConsumerRecord::Member(id.clone(), None));
            }
        }
        records.extend(regexes.keys().map(|regex| ConsumerRecord::Regex(regex.clone(), None)));
        if *old_topics {
            records.push(ConsumerRecord::OldTopics(false));
        }
        if epoch.is_some() {
            records.push(ConsumerRecord::Epoch(None));
        }
        records
    }
}

fn tally(counts: &mut BTreeMap<Arc<str>, usize>, name: &Arc<str>, there: bool) {
    if there {
        *counts.entry(name.clone()).or_default() += 1;
    } else if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}
