//! A classic group: its state, its members, and the small questions the handlers ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_groups::DescribedGroupMember;
use kohort_protocol::messages::join_group::{JoinGroupResponse, JoinGroupResponseMember};

use super::member::{ClassicMember, PendingMember, Protocols, subscribed_topics};
use super::story::RebalanceInProgress;
use crate::group::causes::{Orphans, Place};
use crate::group::presence::Whose;
use crate::group::record::{ClassicMemberMetadata, ClassicMetadata, GroupRecord};
use crate::group::refused::for_join_version;
use crate::group::revocation::Revocations;
use crate::group::timer_key::TimerKey;
use crate::group::turn::{Heard, Holders, Turn};
use crate::shard::Timestamp;
use crate::timers::{Alarm, Timers};

/// A classic group.
///
/// `persisted` is hard state: it is what the log says and only replay writes it. Everything else is
/// the live machine, which handlers move. The two meet whenever a record is written: when the
/// leader's assignment arrives, when a static member returns, when the last member is gone.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    pub(super) id: Arc<str>,
    /// The last generation that reached the log; `None` for a group that never did, such as one
    /// that only stores offsets.
    persisted: Option<Arc<ClassicMetadata>>,
    pub(super) state: ClassicState,
    /// The time of day at which the group entered its state, if known.
    state_since: Option<Timestamp>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) leader: Option<Arc<str>>,
    /// Boxed, because a tree has empty places and most groups have few members.
    pub(super) members: BTreeMap<Arc<str>, Box<ClassicMember>>,
    /// The member id of each static member, by its instance id.
    pub(super) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids handed out with MEMBER_ID_REQUIRED whose owners have not come back yet (KIP-394).
    pub(super) pending: BTreeMap<Arc<str>, PendingMember>,
    /// How many members wait for the answer to a JoinGroup.
    pub(super) joining: usize,
    /// How many members can speak each protocol.
    pub(super) votes: BTreeMap<Arc<str>, usize>,
    /// The deadline of the current phase: of the join phase, or of the members' SyncGroups.
    pub(super) phase: Alarm,
    /// The topics its members subscribed to as of the last generation; `None` if nobody can tell.
    pub(super) subscribed: Option<BTreeSet<Arc<str>>>,
    /// The rebalance under way, as far as it can be explained.
    pub(super) rebalance: Option<Box<RebalanceInProgress>>,
    /// What a rebalance took from its owner and gave to nobody yet.
    pub(super) orphans: Orphans,
    /// What the last assignment took from members that are still there.
    pub(super) revocations: Revocations<Place>,
    /// The partition counts of the subscribed topics when the last assignment was made.
    pub(super) assigned_topics: BTreeMap<Arc<str>, i32>,
}

/// Where a classic group stands.
///
/// There is no variant for Dead: a group that is gone is not in the shard.
#[derive(Debug)]
pub(crate) enum ClassicState {
    /// There are no members. The group may hold offsets.
    ///
    /// *Answers*: Sync, Heartbeat and Leave with UNKNOWN_MEMBER_ID; commits without a generation
    /// are taken. *Next*: PreparingRebalance when a member joins; gone when its offsets are.
    Empty,
    /// The members are called to join.
    ///
    /// *Answers*: parks Join; Sync and Heartbeat with REBALANCE_IN_PROGRESS; takes commits of the
    /// generation before, so that members can save their work. *Next*: CompletingRebalance when
    /// all are there or time is up, Empty when nobody is left.
    PreparingRebalance {
        /// Set while an empty group waits for its first members, however many there are already.
        initial: Option<InitialDelay>,
    },
    /// The members know their generation and wait for the leader's assignment.
    ///
    /// *Answers*: parks Sync; Heartbeat as usual; commits with REBALANCE_IN_PROGRESS. *Next*:
    /// Stable when the leader's Sync arrives, PreparingRebalance when the membership changes.
    CompletingRebalance {
        /// Who has not sent its Sync yet.
        pending_sync: BTreeSet<Arc<str>>,
    },
    /// Every member has or can have its assignment.
    ///
    /// *Answers*: everything. *Next*: PreparingRebalance when the membership changes.
    Stable {
        /// Who has not fetched its assignment yet.
        pending_sync: BTreeSet<Arc<str>>,
    },
}

/// The wait of an empty group for more members (KIP-134).
#[derive(Debug)]
pub(crate) struct InitialDelay {
    /// The length of the current wait.
    pub(super) step_ms: i64,
    /// How much longer the wait may be extended.
    pub(super) remaining_ms: i64,
    /// A member joined during the current wait, so there is reason to extend it.
    pub(super) member_added: bool,
    /// When the wait ends at the latest, however quiet it is.
    pub(super) step_ends: Timestamp,
}

impl ClassicState {
    /// Returns the state's name in Kafka's answers.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance { .. } => "PreparingRebalance",
            Self::CompletingRebalance { .. } => "CompletingRebalance",
            Self::Stable { .. } => "Stable",
        }
    }
}

impl ClassicGroup {
    pub(crate) fn new(id: Arc<str>) -> Self {
        Self {
            id,
            persisted: None,
            state: ClassicState::Empty,
            state_since: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            joining: 0,
            votes: BTreeMap::new(),
            phase: Alarm::default(),
            subscribed: None,
            rebalance: None,
            orphans: Orphans::new(),
            revocations: Revocations::default(),
            assigned_topics: BTreeMap::new(),
        }
    }

    // Hard state.

    /// Takes what the log says, or `None` from a tombstone. Called by replay only.
    pub(crate) fn replay(&mut self, persisted: Option<Arc<ClassicMetadata>>) {
        self.persisted = persisted;
    }

    /// Returns what the log says.
    pub(crate) fn persisted(&self) -> Option<&Arc<ClassicMetadata>> {
        self.persisted.as_ref()
    }

    /// Returns what the leader assigned to a member. It is in the log and nowhere else.
    ///
    /// A static member that came back under a new id during a rebalance still shows what it had.
    pub(super) fn assignment(&self, member: &ClassicMember) -> Bytes {
        let Some(persisted) = &self.persisted else {
            return Bytes::new();
        };
        let same_instance = |other: &&ClassicMemberMetadata| {
            member.is_static() && other.instance_id == member.instance_id
        };
        let found =
            persisted.member(&member.id).or_else(|| persisted.members.iter().find(same_instance));
        found.map(|found| found.assignment.clone()).unwrap_or_default()
    }

    /// Rebuilds the live machine from the log: a group with members was stable when the
    /// coordinator went away, so it is stable now, and its members have a whole session to come
    /// back.
    pub(crate) fn load(&mut self, turn: &mut Turn<'_>) {
        let Some(persisted) = self.persisted.clone() else {
            return;
        };
        self.generation = persisted.generation;
        self.protocol_type.clone_from(&persisted.protocol_type);
        self.protocol.clone_from(&persisted.protocol);
        self.leader.clone_from(&persisted.leader);
        self.state_since = persisted.state_timestamp;
        let protocol = persisted.protocol.clone().unwrap_or_else(|| Arc::from(""));
        for metadata in &persisted.members {
            self.insert(ClassicMember::from_metadata(metadata, &protocol));
            self.refresh_session(turn, &metadata.member_id);
        }
        if !self.members.is_empty() {
            self.state = ClassicState::Stable { pending_sync: BTreeSet::new() };
            if self.leader.as_ref().is_none_or(|leader| !self.members.contains_key(leader)) {
                self.leader = self.members.keys().next().cloned();
            }
        }
        self.subscribed = self.compute_subscribed();
    }

    /// Writes the group to the log as it is now, with these assignments.
    pub(super) fn persist(
        &self,
        turn: &mut Turn<'_>,
        assignment: impl Fn(&ClassicMember) -> Bytes,
    ) {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |member: &ClassicMember| member.to_metadata(protocol, assignment(member));
        turn.outcome.records.push(GroupRecord::GroupMetadata {
            group: self.id.clone(),
            value: Arc::new(ClassicMetadata {
                generation: self.generation,
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                leader: self.leader.clone(),
                state_timestamp: self.state_since,
                members: self.members.values().map(|boxed| member(boxed)).collect(),
            }),
        });
    }

    // Questions.

    /// Tells whether the group has no members. It may have pending ones.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.state, ClassicState::Empty)
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn state(&self) -> &ClassicState {
        &self.state
    }

    /// Tells whether nobody is in the group or on the way.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.pending.is_empty()
    }

    /// Tells whether nothing would be lost with the group, in the log or outside.
    pub(crate) fn is_vacant(&self) -> bool {
        self.is_idle() && self.persisted.is_none()
    }

    /// Returns the time of day at which the group entered its state, if known.
    pub(crate) fn state_since(&self) -> Option<Timestamp> {
        self.state_since
    }

    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// Tells whether members subscribe to the topic. If nobody can tell, they may.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer_group(),
        }
    }

    /// Tells whether it is known which topics the members subscribe to.
    pub(crate) fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    pub(crate) fn is_consumer_group(&self) -> bool {
        self.protocol_type() == Some(CONSUMER)
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Tells whether everybody is there who is waited for. A group without members waits for nobody:
    /// it becomes empty at once, where one who was only given an id may join whatever it speaks.
    pub(super) fn all_joined(&self) -> bool {
        self.joining == self.members.len() && (self.pending.is_empty() || self.members.is_empty())
    }

    /// Returns the time members have to rejoin: the longest that one of them asks for.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout_ms);
        timeouts.max().unwrap_or(0).max(0).into()
    }

    /// Tells whether a member with these protocols fits in.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &Protocols) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let spoken_by_all = |name: &Arc<str>| self.votes.get(name) == Some(&self.members.len());
        self.protocol_type() == Some(protocol_type) && protocols.names().any(spoken_by_all)
    }

    /// Checks that the id is a member's, and the instance's if one is given.
    pub(super) fn check_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(current) if **current != *member_id => {
                    return Err(ErrorCode::FENCED_INSTANCE_ID);
                }
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UNKNOWN_MEMBER_ID)
        }
    }

    /// Chooses the protocol that most members want most, among those that all of them speak. Of
    /// equals the first by name wins, so that the choice is the same every time.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let everyone = self.members.len();
        let spoken_by_all = |name: &&Arc<str>| self.votes.get(*name) == Some(&everyone);
        let mut ballots: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(favourite) = member.protocols.names().find(spoken_by_all) {
                *ballots.entry(favourite).or_default() += 1;
            }
        }
        let winner = ballots.into_iter().rev().max_by_key(|(_, count)| *count);
        winner.map(|(name, _)| name.clone())
    }

    /// Returns the members with their metadata, as the leader is told them.
    pub(super) fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |member: &ClassicMember| JoinGroupResponseMember {
            member_id: member.id.to_string(),
            group_instance_id: member.instance_id.as_deref().map(str::to_owned),
            metadata: member.protocols.metadata(protocol).cloned().unwrap_or_default(),
        };
        self.members.values().map(|boxed| member(boxed)).collect()
    }

    /// Returns what a member is told about the current generation.
    pub(super) fn join_response(&self, version: i16, member_id: &str) -> JoinGroupResponse {
        let members =
            if self.is_leader(member_id) { self.members_for_leader() } else { Vec::new() };
        for_join_version(
            version,
            JoinGroupResponse {
                generation_id: self.generation,
                protocol_type: self.protocol_type.as_deref().map(str::to_owned),
                protocol_name: self.protocol.as_deref().map(str::to_owned),
                leader: self.leader.as_deref().unwrap_or_default().to_owned(),
                member_id: member_id.to_owned(),
                members,
                ..JoinGroupResponse::default()
            },
        )
    }

    /// Returns the protocol of a stable group, which is when DescribeGroups tells it.
    pub(crate) fn settled_protocol(&self) -> Option<&str> {
        match self.state {
            ClassicState::Stable { .. } => self.protocol.as_deref(),
            _ => None,
        }
    }

    /// Returns the members for DescribeGroups; their metadata only if the protocol is told, too.
    pub(crate) fn describe_members(&self) -> Vec<DescribedGroupMember> {
        let protocol = self.settled_protocol();
        let metadata = |member: &ClassicMember| member.protocols.metadata(protocol?).cloned();
        let describe = |member: &ClassicMember| DescribedGroupMember {
            member_id: member.id.to_string(),
            group_instance_id: member.instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            member_metadata: metadata(member).unwrap_or_default(),
            member_assignment: self.assignment(member),
        };
        self.members.values().map(|boxed| describe(boxed)).collect()
    }

    // Changes of the live machine.

    pub(super) fn enter(&mut self, wall: Timestamp, state: ClassicState) {
        self.state = state;
        self.state_since = Some(wall);
    }

    pub(super) fn arm_phase(&mut self, turn: &mut Turn<'_>, timeout_ms: i64) {
        let group = &self.id;
        turn.timers.arm(&mut self.phase, turn.now + timeout_ms, || TimerKey::Phase(group.clone()));
    }

    /// Disarms every timer of the group, which is about to go.
    pub(crate) fn disarm_all(
        &mut self,
        timers: &mut Timers<TimerKey>,
        heard: &mut Heard,
        holders: &mut Holders,
    ) {
        let group = &self.id;
        timers.disarm(&mut self.phase);
        for (member, pending) in &mut self.pending {
            timers.disarm(&mut pending.session);
            pending.presence.forget(timers, heard, Whose { group, member });
        }
        for (id, member) in &mut self.members {
            timers.disarm(&mut member.session);
            member.presence.forget(timers, heard, Whose { group, member: id });
            member.held.release(timers, holders);
        }
    }

    /// Works out which topics the members subscribe to, and how many partitions those have now.
    pub(super) fn update_subscribed(&mut self, turn: &Turn<'_>) {
        self.subscribed = self.compute_subscribed();
        self.assume_topics(turn);
    }

    /// Takes the topics as they are for what the last assignment was made with. To be called when
    /// a loaded group sees topics for the first time.
    pub(crate) fn assume_topics(&mut self, turn: &Turn<'_>) {
        self.assigned_topics = self.partition_counts(turn);
    }

    fn compute_subscribed(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_consumer_group() {
            return None;
        }
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            for topic in subscribed_topics(member.protocols.metadata(protocol)?).ok()? {
                if !topics.contains(topic.as_str()) {
                    topics.insert(Arc::from(topic));
                }
            }
        }
        Some(topics)
    }

    /// Returns the partition counts of the subscribed topics; 0 for those that do not exist.
    pub(super) fn partition_counts(&self, turn: &Turn<'_>) -> BTreeMap<Arc<str>, i32> {
        let count = |topic: &Arc<str>| {
            let partitions = turn.image.topic(topic).map_or(0, |topic| topic.partitions);
            (topic.clone(), partitions)
        };
        self.subscribed.iter().flatten().map(count).collect()
    }
}

/// The protocol type of consumers; Connect's workers and others have their own.
const CONSUMER: &str = "consumer";
