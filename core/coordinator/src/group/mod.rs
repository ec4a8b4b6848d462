//! The group coordinator's shard: takes requests to their groups and records to their state.
//!
//! A group id names one entry. It holds the group's offsets and the group itself, which is of one
//! type at a time; a group that was only ever committed to is an empty classic one. An entry comes
//! into being when a member joins or a record is replayed, and goes when nothing of it is left in
//! the log and nobody is in it.

mod classic;
mod describe;
mod event;
mod hold;
mod offsets;
mod presence;
mod record;
mod request;
mod routing;
mod snapshot;
mod survey;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
};

use self::classic::{ClassicGroup, ClassicState};
use self::hold::Holders;
use self::offsets::{GroupOffsets, Sweep, TopicNames, TopicSweep};
use self::presence::Heard;
use self::record::LONGEST_NAME;
use self::request::{heartbeat_error, join_error, sync_error};
use self::turn::{TimerKey, Turn};
use crate::config::GroupConfig;
use crate::member_ids::MemberIds;
use crate::metadata::MetadataImage;
use crate::outcome::Outcome;
use crate::shard::{ReplyTo, Shard, Timestamp};
use crate::timers::{Alarm, Timers};

pub use self::event::{CauseKind, GroupEffect, Move, Owner, Rebalance, RebalanceCause};
pub use self::record::{ClassicMemberMetadata, ClassicMetadata, CommittedOffset, GroupRecord};
pub use self::request::{ConnectionId, GroupCall, GroupRequest, GroupResponse, RequestContext};
pub use self::routing::{merge, partition_for, split};
pub use self::snapshot::SnapshotPosition;
pub use self::survey::SurveyedGroup;

/// What a group shard decides.
pub type GroupOutcome = Outcome<GroupRecord, GroupResponse, GroupEffect>;

/// The groups of one `__consumer_offsets` partition.
#[derive(Debug)]
pub struct GroupShard {
    config: GroupConfig,
    member_ids: MemberIds,
    image: Option<MetadataImage>,
    groups: Groups,
    topic_names: TopicNames,
    timers: Timers<TimerKey>,
    heard: Heard,
    holders: Holders,
    housekeeping: Housekeeping,
}

/// The shard's own recurring work.
#[derive(Debug, Default)]
struct Housekeeping {
    expiry: Alarm,
    expired: Sweep,
    deletion: Alarm,
    deleted: TopicSweep,
}

type Groups = BTreeMap<Arc<str>, GroupEntry>;

/// One group with its offsets.
#[derive(Debug)]
struct GroupEntry {
    id: Arc<str>,
    group: Group,
    /// Hard state.
    offsets: GroupOffsets,
}

/// A group of one of the types that Kafka knows.
#[derive(Debug)]
enum Group {
    /// Nobody has joined and the log knows of no generation: there are offsets and nothing else. It
    /// looks and answers like a classic group that is empty, which it becomes when somebody joins.
    Simple,
    Classic(Box<ClassicGroup>),
}

/// What the log says, for comparison: two shards that replayed the same log are equal in it,
/// whatever their members are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardState(BTreeMap<Arc<str>, (Option<Arc<ClassicMetadata>>, GroupOffsets)>);

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
        }
    }

    /// Returns a copy of the hard state.
    pub fn hard_state(&self) -> HardState {
        let stored = self.groups.values().filter_map(|entry| {
            let persisted = entry.group.classic().and_then(ClassicGroup::persisted);
            let state = (persisted.cloned(), entry.offsets.clone());
            let empty = state.0.is_none() && state.1.is_empty();
            (!empty).then(|| (entry.id.clone(), state))
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
                if let Some(group) = groups.get_mut(&group).and_then(GroupEntry::classic_mut) {
                    group.handle_connection_closed(turn, &member);
                }
            }
        });
        outcome
    }

    /// Answers a [`GroupEffect::SeekSigns`]: whether there are signs of the member.
    pub fn handle_signs(
        &mut self,
        now: Timestamp,
        group: &str,
        member: &Arc<str>,
        signs: bool,
    ) -> GroupOutcome {
        let mut outcome = GroupOutcome::new();
        self.turn(now, &mut outcome, |groups, turn, _| {
            if let Some(group) = groups.get_mut(group).and_then(GroupEntry::classic_mut) {
                group.handle_signs(turn, member, signs);
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
        let no_topics = MetadataImage::default();
        let mut turn = Turn {
            now,
            config: &self.config,
            image: self.image.as_ref().unwrap_or(&no_topics),
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
            GroupRequest::SyncGroup(request) => sync(groups, turn, from, request),
            GroupRequest::Heartbeat(request) => {
                heartbeat(groups, turn, from, request);
            }
            GroupRequest::LeaveGroup(request) => {
                let response = leave(groups, turn, version, request);
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
                if let Some(group) = groups.get_mut(&group).and_then(GroupEntry::classic_mut) {
                    group.handle_session_timeout(turn, &member);
                }
            }
            TimerKey::Absence { group, member } => {
                if let Some(group) = groups.get_mut(&group).and_then(GroupEntry::classic_mut) {
                    group.handle_absence_timeout(turn, &member);
                }
            }
            TimerKey::Hold { group, member } => {
                if let Some(group) = groups.get_mut(&group).and_then(GroupEntry::classic_mut) {
                    group.handle_hold_timeout(turn, &member);
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
        self.turn(now, &mut outcome, |groups, turn, housekeeping| {
            for group in groups.values_mut().filter_map(GroupEntry::classic_mut) {
                group.load(turn);
                group.shrink_to_capacity(turn);
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
            housekeeping.delete_offsets(groups, turn);
        });
        outcome
    }

    fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::OffsetCommit { group, topic, partition, value } => {
                let names = &mut self.topic_names;
                if let Some(entry) = self.groups.get_mut(group) {
                    entry.offsets.put(names, topic, *partition, value);
                } else {
                    let entry = entry_of(&mut self.groups, group);
                    entry.offsets.put(names, topic, *partition, value);
                }
            }
            GroupRecord::OffsetCommitTombstone { group, topic, partition } => {
                if let Some(entry) = self.groups.get_mut(group) {
                    entry.offsets.remove(topic, *partition);
                    self.forget_if_vacant(group);
                }
            }
            GroupRecord::GroupMetadata { group, value } => {
                let classic = entry_of(&mut self.groups, group).become_classic();
                classic.replay(Some(value.clone()));
            }
            GroupRecord::GroupMetadataTombstone { group } => {
                if let Some(entry) = self.groups.get_mut(group) {
                    if let Some(classic) = entry.classic_mut() {
                        classic.disarm_all(&mut self.timers, &mut self.heard, &mut self.holders);
                    }
                    entry.group = Group::Simple;
                    self.forget_if_vacant(group);
                }
            }
            GroupRecord::Unknown { .. } => {}
        }
    }

    fn resign(&mut self, error: ErrorCode) -> Vec<(ReplyTo, GroupResponse)> {
        let mut outcome = GroupOutcome::new();
        self.turn(0, &mut outcome, |groups, turn, _| {
            for group in groups.values_mut().filter_map(GroupEntry::classic_mut) {
                group.refuse_all_parked(turn, error);
            }
        });
        outcome.replies
    }
}

impl GroupShard {
    /// Drops an entry of which the log knows nothing and in which nobody is.
    fn forget_if_vacant(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(GroupEntry::is_vacant) {
            self.groups.remove(group);
        }
    }
}

impl GroupEntry {
    fn new(id: &Arc<str>) -> Self {
        Self { id: id.clone(), group: Group::Simple, offsets: GroupOffsets::default() }
    }

    fn is_vacant(&self) -> bool {
        self.offsets.is_empty() && self.group.classic().is_none_or(ClassicGroup::is_vacant)
    }

    fn classic_mut(&mut self) -> Option<&mut ClassicGroup> {
        match &mut self.group {
            Group::Simple => None,
            Group::Classic(group) => Some(group),
        }
    }

    /// Returns the classic group that it is, or becomes now.
    fn become_classic(&mut self) -> &mut ClassicGroup {
        if let Group::Simple = self.group {
            self.group = Group::Classic(Box::new(ClassicGroup::new(self.id.clone())));
        }
        match &mut self.group {
            Group::Classic(group) => group,
            Group::Simple => unreachable!("it was made classic"),
        }
    }
}

impl Group {
    fn classic(&self) -> Option<&ClassicGroup> {
        match self {
            Self::Simple => None,
            Self::Classic(group) => Some(group),
        }
    }

    /// Returns the type's name in Kafka's answers.
    fn type_name(&self) -> &'static str {
        match self {
            Self::Simple | Self::Classic(_) => "classic",
        }
    }

    /// Returns the state's name in Kafka's answers.
    fn state_name(&self) -> &'static str {
        self.classic().map_or(ClassicState::Empty.name(), |group| group.state().name())
    }

    fn protocol_type(&self) -> Option<&str> {
        self.classic()?.protocol_type()
    }

    /// Tells whether the group has no members.
    fn is_empty(&self) -> bool {
        self.classic().is_none_or(ClassicGroup::is_empty)
    }

    /// Tells whether nobody is in the group or on the way.
    fn is_idle(&self) -> bool {
        self.classic().is_none_or(ClassicGroup::is_idle)
    }

    /// Tells whether the log has more of the group than its offsets.
    fn is_persisted(&self) -> bool {
        self.classic().is_some_and(|group| group.persisted().is_some())
    }

    /// Tells whether members subscribe to the topic. If nobody can tell, they may.
    fn is_subscribed_to(&self, topic: &str) -> bool {
        self.classic().is_some_and(|group| group.is_subscribed_to(topic))
    }
}

impl Housekeeping {
    fn handle_expiry(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        if !turn.timers.ring(&mut self.expiry, turn.now, || TimerKey::OffsetExpiry) {
            return;
        }
        if self.expired.run(groups, turn) {
            self.arm_expiry(turn);
        } else {
            turn.timers.arm(&mut self.expiry, turn.now, || TimerKey::OffsetExpiry);
        }
    }

    fn arm_expiry(&mut self, turn: &mut Turn<'_>) {
        let next = turn.now + turn.config.offsets_retention_check_interval_ms;
        turn.timers.arm(&mut self.expiry, next, || TimerKey::OffsetExpiry);
    }

    fn handle_deletion(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        if turn.timers.ring(&mut self.deletion, turn.now, || TimerKey::TopicDeletion) {
            self.delete_offsets(groups, turn);
        }
    }

    fn delete_offsets(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        if !self.deleted.run(groups, turn) {
            turn.timers.arm(&mut self.deletion, turn.now, || TimerKey::TopicDeletion);
        }
    }
}

fn entry_of<'a>(groups: &'a mut Groups, group: &Arc<str>) -> &'a mut GroupEntry {
    groups.entry(group.clone()).or_insert_with(|| GroupEntry::new(group))
}

/// A member without an id may found a group; one with an id must have got it from somewhere, so its
/// group is gone and it has to begin anew.
fn join(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    from: ReplyTo,
    context: &RequestContext,
    request: &JoinGroupRequest,
) {
    let founding = request.member_id.is_empty();
    let id: Arc<str> = request.group_id.as_str().into();
    let known = founding || groups.contains_key(&id);
    let found = if known { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) };
    if let Err(error) = classic::check_join(turn.config, context, request).and(found) {
        let member_id = request.member_id.clone();
        turn.reply(from, join_error(context.api_version, error, member_id));
        return;
    }
    let entry = entry_of(groups, &id);
    entry.become_classic().join(turn, from, context, request);
    if entry.is_vacant() {
        groups.remove(&id);
    }
}

fn sync(groups: &mut Groups, turn: &mut Turn<'_>, from: ReplyTo, request: &SyncGroupRequest) {
    match find(groups, &request.group_id) {
        Ok(group) => group.sync(turn, from, request),
        Err(error) => turn.reply(from, sync_error(error)),
    }
}

fn heartbeat(groups: &mut Groups, turn: &mut Turn<'_>, from: ReplyTo, request: &HeartbeatRequest) {
    match find(groups, &request.group_id) {
        Ok(group) => group.heartbeat(turn, from, request),
        Err(error) => turn.reply(from, heartbeat_error(error)),
    }
}

/// Answers the heartbeat that is held on this turn's connection, if there is one.
fn let_go(groups: &mut Groups, turn: &mut Turn<'_>) {
    let holder = turn.connection.and_then(|connection| turn.holders.get(&connection).cloned());
    let Some((group, member)) = holder else { return };
    if let Some(group) = groups.get_mut(&group).and_then(GroupEntry::classic_mut) {
        group.release_held(turn, &member, ErrorCode::NONE);
    }
}

fn leave(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    version: i16,
    request: &LeaveGroupRequest,
) -> LeaveGroupResponse {
    let leaving = classic::leaving_members(version, request);
    let results = match find(groups, &request.group_id) {
        Ok(group) => group.leave(turn, &leaving),
        Err(error @ ErrorCode::UNKNOWN_MEMBER_ID) => {
            let refuse = |identity| classic::member_response(identity, error);
            leaving.iter().map(refuse).collect()
        }
        Err(error_code) => {
            return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
        }
    };
    classic::leave_response(version, results)
}

/// Finds the group of a request that only its members may send.
fn find<'a>(groups: &'a mut Groups, group_id: &str) -> Result<&'a mut ClassicGroup, ErrorCode> {
    check_group_id(group_id)?;
    let group = groups.get_mut(group_id).and_then(GroupEntry::classic_mut);
    group.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
}

/// Checks an id that must be there. Commits may go to the group without a name, as in Kafka.
fn check_group_id(group_id: &str) -> Result<(), ErrorCode> {
    if group_id.is_empty() || group_id.len() > LONGEST_NAME {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    Ok(())
}
