//! The shard itself: which handler an event goes to, and what a record changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_protocol::ErrorCode;

use super::consumer::{self, ConsumerGroup, ConsumerRecord};
use super::entry::{Group, GroupEntry, Groups, entry_of};
use super::event::GroupEffect;
use super::housekeeping::Housekeeping;
use super::membership::{heartbeat, join, leave, let_go, sync};
use super::offsets::{GroupOffsets, TopicNames};
use super::record::{ClassicMetadata, GroupRecord};
use super::request::{ConnectionId, GroupCall, GroupRequest, GroupResponse};
use super::timer_key::{MemberAlarm, TimerKey};
use super::turn::{GroupOutcome, Heard, Holders, Turn};
use super::{describe, offsets, presence};
use crate::clients::Signs;
use crate::config::GroupConfig;
use crate::member_ids::MemberIds;
use crate::metadata::MetadataImage;
use crate::outcome::ReplyTo;
use crate::shard::{Shard, Timestamp};
use crate::timers::Timers;

/// The groups of one `__consumer_offsets` partition.
#[derive(Debug)]
pub struct GroupShard {
    config: GroupConfig,
    member_ids: MemberIds,
    image: Option<MetadataImage>,
    pub(super) groups: Groups,
    topic_names: TopicNames,
    timers: Timers<TimerKey>,
    heard: Heard,
    holders: Holders,
    housekeeping: Housekeeping,
    /// How many members its consumer groups have.
    consumer_members: usize,
    /// How many the broker's other shards have.
    consumer_members_elsewhere: usize,
    /// How far the time of day is ahead of the shard's.
    wall_ahead: i64,
}

/// What the log says, for comparison: two shards that replayed the same log are equal in it,
/// whatever their members are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardState(BTreeMap<Arc<str>, StoredGroup>);

/// What the log says of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct StoredGroup {
    classic: Option<Arc<ClassicMetadata>>,
    consumer: consumer::Stored,
    offsets: GroupOffsets,
}

impl GroupShard {
    /// Returns an empty shard. Replay the log into it, then call [`Shard::handle_loaded`] and
    /// [`Shard::handle_metadata`]. Equal seeds make equal member ids.
    pub fn new(config: GroupConfig, seed: u64) -> Self {
        Self {
            config,
            member_ids: MemberIds::new(seed),
            image: None,
            groups: Groups::new(),
            topic_names: TopicNames::default(),
            timers: Timers::default(),
            heard: Heard::new(),
            holders: Holders::new(),
            housekeeping: Housekeeping::default(),
            consumer_members: 0,
            consumer_members_elsewhere: 0,
            wall_ahead: 0,
        }
    }

    /// Takes over other settings: they count from the next event on.
    pub fn set_config(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// Returns how many members the shard's consumer groups have.
    pub fn consumer_members(&self) -> usize {
        self.consumer_members
    }

    /// Tells the shard how many members the consumer groups of the broker's other shards have: how often
    /// its own may heartbeat depends on all of them.
    pub fn note_members_elsewhere(&mut self, members: usize) {
        self.consumer_members_elsewhere = members;
    }

    /// Tells the shard by how many milliseconds the time of day is ahead of the time that it is given with each
    /// event; less than zero if it is behind. Commits and states are stored with the time of day, and kept for as
    /// long as they are old by it; nothing else goes by it.
    pub fn note_wall_ahead(&mut self, ahead: i64) {
        self.wall_ahead = ahead;
    }

    /// Returns a copy of the hard state.
    pub fn hard_state(&self) -> HardState {
        let stored = self.groups.values().filter_map(|entry| {
            let consumer = entry.group.consumer().map(|group| group.state().stored().clone());
            let state = StoredGroup {
                classic: entry.group.persisted().cloned(),
                consumer: consumer.unwrap_or_default(),
                offsets: entry.offsets.clone(),
            };
            (state != StoredGroup::default()).then(|| (entry.id.clone(), state))
        });
        HardState(stored.collect())
    }

    /// Takes in that the peer closed a connection, and not the broker. Whoever was heard over it last
    /// has the grace to be heard again; see [`GroupConfig::group_disconnect_grace_ms`].
    pub fn handle_connection_closed(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
    ) -> GroupOutcome {
        let mut outcome = GroupOutcome::new();
        self.turn_of(Some(connection), now, &mut outcome, |groups, turn, _| {
            let_go(groups, turn);
            for (group, member) in presence::take_heard(turn.heard, connection) {
                match groups.get_mut(&group).map(|entry| &mut entry.group) {
                    Some(Group::Classic(group)) => group.handle_connection_closed(turn, &member),
                    Some(Group::Consumer(group)) => group.handle_connection_closed(turn, &member),
                    Some(Group::Simple) | None => {}
                }
            }
        });
        outcome
    }

    /// Answers a [`GroupEffect::SeekSigns`]: what there is of the member.
    pub fn handle_signs(
        &mut self,
        now: Timestamp,
        group: &str,
        member: &Arc<str>,
        signs: Signs,
    ) -> GroupOutcome {
        let mut outcome = GroupOutcome::new();
        self.turn(now, &mut outcome, |groups, turn, _| {
            let Some(entry) = groups.get_mut(group) else { return };
            match &mut entry.group {
                Group::Classic(group) => group.handle_signs(turn, member, signs),
                Group::Consumer(_) => consumer::handle_signs(entry, turn, member, signs),
                Group::Simple => {}
            }
        });
        outcome
    }

    /// Runs one handler with everything it may touch.
    fn turn<T>(
        &mut self,
        now: Timestamp,
        outcome: &mut GroupOutcome,
        handler: impl FnOnce(&mut Groups, &mut Turn<'_>, &mut Housekeeping) -> T,
    ) -> T {
        self.turn_of(None, now, outcome, handler)
    }

    /// The same for what came over a connection.
    fn turn_of<T>(
        &mut self,
        connection: Option<ConnectionId>,
        now: Timestamp,
        outcome: &mut GroupOutcome,
        handler: impl FnOnce(&mut Groups, &mut Turn<'_>, &mut Housekeeping) -> T,
    ) -> T {
        let no_topics;
        let image = if let Some(image) = &self.image {
            image
        } else {
            no_topics = MetadataImage::default();
            &no_topics
        };
        let mut turn = Turn {
            now,
            wall: now + self.wall_ahead,
            config: &self.config,
            image,
            own_consumer_members: &mut self.consumer_members,
            consumer_members_elsewhere: self.consumer_members_elsewhere,
            timers: &mut self.timers,
            member_ids: &mut self.member_ids,
            outcome,
            connection,
            heard: &mut self.heard,
            holders: &mut self.holders,
        };
        handler(&mut self.groups, &mut turn, &mut self.housekeeping)
    }
}

impl Shard for GroupShard {
    type Request = GroupCall;
    type Response = GroupResponse;
    type Record = GroupRecord;
    type Effect = GroupEffect;

    fn handle(&mut self, now: Timestamp, from: ReplyTo, call: GroupCall) -> GroupOutcome {
        let mut outcome = GroupOutcome::new();
        let GroupCall { context, request } = &call;
        let version = context.api_version;
        let connection = Some(context.connection);
        if self.holders.contains_key(&context.connection) {
            self.turn_of(connection, now, &mut outcome, |groups, turn, _| let_go(groups, turn));
        }
        self.turn_of(connection, now, &mut outcome, |groups, turn, _| match request {
            GroupRequest::JoinGroup(request) => join(groups, turn, from, context, request),
            GroupRequest::SyncGroup(request) => sync(groups, turn, from, version, request),
            GroupRequest::Heartbeat(request) => {
                heartbeat(groups, turn, from, request);
            }
            GroupRequest::LeaveGroup(request) => {
                let response = leave(groups, turn, context, request);
                turn.reply(from, response);
            }
            GroupRequest::OffsetCommit(request) => {
                let response = offsets::commit(groups, turn, context, request);
                turn.reply(from, response);
            }
            GroupRequest::OffsetFetch(request) => {
                turn.reply(from, offsets::fetch(groups, turn.image, version, request));
            }
            GroupRequest::OffsetDelete(request) => {
                let response = offsets::delete(groups, turn, request);
                turn.reply(from, response);
            }
            GroupRequest::DescribeGroups(request) => {
                turn.reply(from, describe::describe(groups, version, request));
            }
            GroupRequest::ListGroups(request) => {
                turn.reply(from, describe::list(groups, request));
            }
            GroupRequest::DeleteGroups(request) => {
                let response = describe::delete(groups, turn, request);
                turn.reply(from, response);
            }
            GroupRequest::ConsumerGroupHeartbeat(request) => {
                consumer::heartbeat(groups, turn, from, context, request);
            }
            GroupRequest::ConsumerGroupDescribe(request) => {
                let response = consumer::describe(groups, turn.config, turn.image, request);
                turn.reply(from, response);
            }
        });
        outcome
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Timestamp) -> GroupOutcome {
        let mut outcome = GroupOutcome::new();
        let Some(key) = self.timers.pop_due(now) else {
            return outcome;
        };
        let mut topic_names = std::mem::take(&mut self.topic_names);
        self.turn(now, &mut outcome, |groups, turn, housekeeping| match key {
            TimerKey::Session { group, member } => {
                if let Some(entry) = groups.get_mut(&group) {
                    handle_session_timeout(entry, turn, &member);
                }
            }
            TimerKey::Member { group, member, alarm } => {
                if let Some(entry) = groups.get_mut(&group) {
                    consumer::handle_member_timeout(entry, turn, &member, alarm);
                }
            }
            TimerKey::Assignment(group) => {
                if let Some(group) = groups.get_mut(&group).and_then(GroupEntry::consumer_mut) {
                    group.handle_assignment_due(turn);
                }
            }
            TimerKey::Story(group) => {
                if let Some(group) = groups.get_mut(&group).and_then(GroupEntry::consumer_mut) {
                    group.handle_part_due(turn);
                }
            }
            TimerKey::Absence { group, member } => {
                match groups.get_mut(&group).map(|entry| &mut entry.group) {
                    Some(Group::Classic(group)) => group.handle_absence_timeout(turn, &member),
                    Some(Group::Consumer(group)) => group.handle_absence_timeout(turn, &member),
                    Some(Group::Simple) | None => {}
                }
            }
            TimerKey::Hold { group, member } => {
                match groups.get_mut(&group).map(|entry| &mut entry.group) {
                    Some(Group::Classic(group)) => group.handle_hold_timeout(turn, &member),
                    Some(Group::Consumer(group)) => group.handle_hold_timeout(turn, &member),
                    Some(Group::Simple) | None => {}
                }
            }
            TimerKey::Phase(group) => {
                if let Some(group) = groups.get_mut(&group).and_then(GroupEntry::classic_mut) {
                    group.handle_phase_timeout(turn);
                }
            }
            TimerKey::OffsetExpiry => {
                housekeeping.handle_expiry(groups, turn);
                topic_names.forget_unused();
            }
            TimerKey::TopicDeletion => housekeeping.handle_deletion(groups, turn),
        });
        self.topic_names = topic_names;
        outcome
    }

    fn handle_loaded(&mut self, now: Timestamp) -> GroupOutcome {
        let mut outcome = GroupOutcome::new();
        // What the log took back piece by piece may have left the empty form of a group.
        self.groups.retain(|_, entry| !entry.is_vacant());
        self.turn(now, &mut outcome, |groups, turn, housekeeping| {
            for entry in groups.values_mut() {
                match &mut entry.group {
                    Group::Simple => {}
                    Group::Classic(group) => {
                        group.load(turn);
                        group.shrink_to_capacity(turn);
                    }
                    Group::Consumer(group) => group.load(turn),
                }
            }
            housekeeping.arm_expiry(turn);
        });
        outcome
    }

    fn handle_metadata(&mut self, now: Timestamp, image: &MetadataImage) -> GroupOutcome {
        let mut outcome = GroupOutcome::new();
        let old = self.image.replace(image.clone());
        self.housekeeping.deleted.note(old.as_ref(), image);
        self.turn(now, &mut outcome, |groups, turn, housekeeping| {
            if old.is_none() {
                for group in groups.values_mut().filter_map(GroupEntry::classic_mut) {
                    group.assume_topics(turn);
                }
            }
            let changed = old.as_ref().map(|old| old.changed_topics(turn.image));
            let concerned = |group: &&mut ConsumerGroup| {
                changed.as_ref().is_none_or(|changed| group.state().is_concerned(changed))
            };
            let consumers = groups.values_mut().filter_map(GroupEntry::consumer_mut);
            for group in consumers.filter(concerned) {
                group.handle_topics(turn, old.as_ref().zip(changed.as_ref()));
            }
            housekeeping.delete_offsets(groups, turn);
        });
        outcome
    }

    fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::OffsetCommit { group, topic, offsets } => {
                let entry = entry_of(&mut self.groups, group);
                entry.offsets.put(&mut self.topic_names, topic, offsets);
            }
            GroupRecord::OffsetCommitTombstone { group, topic, partition } => {
                // A group of which nothing is left is there until the search for expired offsets comes by.
                if let Some(entry) = self.groups.get_mut(group) {
                    entry.offsets.remove(topic, *partition);
                }
            }
            GroupRecord::GroupMetadata { group, value } => {
                let entry = entry_of(&mut self.groups, group);
                match &mut entry.group {
                    Group::Consumer(consumer) => consumer.replay_classic(Some(value.clone())),
                    _ => entry.become_classic().replay(Some(value.clone())),
                }
            }
            GroupRecord::GroupMetadataTombstone { group } => {
                if let Some(entry) = self.groups.get_mut(group) {
                    match &mut entry.group {
                        Group::Simple => self.forget_if_vacant(group),
                        Group::Consumer(consumer) => consumer.replay_classic(None),
                        Group::Classic(classic) => {
                            classic.disarm_all(
                                &mut self.timers,
                                &mut self.heard,
                                &mut self.holders,
                            );
                            entry.group = Group::Simple;
                            self.forget_if_vacant(group);
                        }
                    }
                }
            }
            GroupRecord::Consumer { group, record } => self.replay_consumer(group, record),
            GroupRecord::Unknown { .. } => {}
        }
    }

    fn resign(&mut self, error: ErrorCode) -> Vec<(ReplyTo, GroupResponse)> {
        let mut outcome = GroupOutcome::new();
        self.turn(0, &mut outcome, |groups, turn, _| {
            for entry in groups.values_mut() {
                match &mut entry.group {
                    Group::Simple => {}
                    Group::Classic(group) => group.refuse_all_parked(turn, error),
                    Group::Consumer(group) => group.refuse_all_held(turn, error),
                }
            }
        });
        outcome.replies
    }
}

impl GroupShard {
    fn replay_consumer(&mut self, group: &Arc<str>, record: &ConsumerRecord) {
        let entry = if record.is_tombstone() {
            // What is not there cannot be taken away.
            let Some(entry) = self.groups.get_mut(group) else { return };
            entry
        } else {
            entry_of(&mut self.groups, group)
        };
        let consumer = match &mut entry.group {
            Group::Simple | Group::Classic(_) if record.is_tombstone() => return,
            Group::Simple | Group::Classic(_) => {
                entry.become_consumer(&mut self.timers, &mut self.heard, &mut self.holders)
            }
            Group::Consumer(consumer) => consumer,
        };
        let before = consumer.state().member_count();
        consumer.replay(record);
        let after = consumer.state().member_count();
        self.consumer_members = self.consumer_members + after - before;
        if record.is_tombstone() && consumer.state().is_vacant() {
            consumer.disarm_all(&mut self.timers, &mut self.heard, &mut self.holders);
            let classic = consumer.classic().cloned();
            entry.group = Group::Simple;
            if let Some(classic) = classic {
                entry.become_classic().replay(Some(classic));
            }
            self.forget_if_vacant(group);
        }
    }

    /// Drops an entry of which the log knows nothing and in which nobody is.
    fn forget_if_vacant(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(GroupEntry::is_vacant) {
            self.groups.remove(group);
        }
    }
}

fn handle_session_timeout(entry: &mut GroupEntry, turn: &mut Turn<'_>, member: &Arc<str>) {
    match &mut entry.group {
        Group::Simple => {}
        Group::Classic(group) => group.handle_session_timeout(turn, member),
        Group::Consumer(_) => {
            consumer::handle_member_timeout(entry, turn, member, MemberAlarm::Session);
        }
    }
}
