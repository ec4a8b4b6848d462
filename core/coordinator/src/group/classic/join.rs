//! JoinGroup: how a member gets in and how it comes back.
//!
//! | who | in | answer |
//! |---|---|---|
//! | no member id, dynamic, v4+ | any | MEMBER_ID_REQUIRED with an id, which stays *pending* (KIP-394) |
//! | no member id, dynamic, older | any | a new member |
//! | no member id, known instance | any | takes the instance over, see [`static_member`](super::static_member) |
//! | a pending id | any | a new member |
//! | a member | Preparing | parked until the join phase ends |
//! | a member, same metadata | Completing | the current generation: its answer was lost |
//! | a follower, same metadata | Stable | the current generation |
//! | the leader, or other metadata | Stable | rebalance |
//!
//! The leader's rejoin rebalances even without a reason we can see, because it is how a leader asks
//! for a new assignment when topics change.

use std::collections::BTreeSet;
use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::JoinGroupRequest;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolSubscription;

use super::member::{ClassicMember, Parked, PendingMember, Protocols};
use super::state::{ClassicGroup, ClassicState};
use crate::config::GroupConfig;
use crate::group::event::CauseKind;
use crate::group::hold::Held;
use crate::group::presence::{Presence, Whose};
use crate::group::record::LONGEST_NAME;
use crate::group::refused::join_error;
use crate::group::request::{RequestContext, check_group_id};
use crate::group::timer_key::TimerKey;
use crate::group::turn::Turn;
use crate::outcome::ReplyTo;
use crate::shard::Timestamp;
use crate::timers::Alarm;

/// A JoinGroup on its way through the group, its protocols taken out of the request's frame.
pub(super) struct Joining<'a> {
    pub(super) from: ReplyTo,
    pub(super) context: &'a RequestContext,
    pub(super) request: &'a JoinGroupRequest,
    pub(super) protocols: Protocols,
}

impl Joining<'_> {
    pub(super) fn version(&self) -> i16 {
        self.context.api_version
    }

    /// Returns the time the member wants to rejoin. Version 0 had only a session timeout, which also
    /// stands in for a time that is none.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        if self.version() == 0 || self.request.rebalance_timeout_ms < 0 {
            self.request.session_timeout_ms
        } else {
            self.request.rebalance_timeout_ms
        }
    }

    /// Returns why the client joins, if it says so.
    pub(super) fn reason(&self) -> Option<Arc<str>> {
        let reason = self.request.reason.as_deref();
        reason.filter(|reason| !reason.is_empty()).map(Arc::from)
    }

    pub(super) fn refuse(&self, turn: &mut Turn<'_>, error: ErrorCode, member_id: &str) {
        turn.reply(self.from, join_error(self.version(), error, member_id.to_owned()));
    }

    pub(super) fn parked(&self) -> Parked {
        Parked::Join { from: self.from, version: self.version() }
    }
}

/// Checks what can be said about a JoinGroup without its group.
pub(crate) fn check_join(
    config: &GroupConfig,
    context: &RequestContext,
    request: &JoinGroupRequest,
) -> Result<(), ErrorCode> {
    let session = config.group_min_session_timeout_ms..=config.group_max_session_timeout_ms;
    let instance = request.group_instance_id.as_deref().unwrap_or_default();
    let names = request.protocols.iter().map(|protocol| &*protocol.name);
    let names = names.chain([&*context.client_id, instance, &*request.protocol_type]);
    check_group_id(&request.group_id)?;
    if !session.contains(&request.session_timeout_ms) {
        Err(ErrorCode::INVALID_SESSION_TIMEOUT)
    } else if names.map(str::len).any(|length| length > LONGEST_NAME) {
        Err(ErrorCode::INVALID_REQUEST)
    } else {
        Ok(())
    }
}

impl ClassicGroup {
    /// Handles a JoinGroup that [`check_join`] has passed.
    pub(crate) fn join(
        &mut self,
        turn: &mut Turn<'_>,
        from: ReplyTo,
        context: &RequestContext,
        request: &JoinGroupRequest,
    ) {
        let joining = Joining {
            from,
            context,
            request,
            protocols: Protocols::from_request(&request.protocols),
        };
        let member_id = request.member_id.as_str();
        if !self.has_room_for(turn.config, request) {
            self.remove(turn, member_id, ErrorCode::GROUP_MAX_SIZE_REACHED);
            joining.refuse(turn, ErrorCode::GROUP_MAX_SIZE_REACHED, "");
            // Whom the others waited for may just have been turned away.
            self.maybe_complete_join(turn);
        } else if !self.supports(&request.protocol_type, &joining.protocols) {
            joining.refuse(turn, ErrorCode::INCONSISTENT_GROUP_PROTOCOL, member_id);
        } else if member_id.is_empty() {
            self.join_new(turn, joining);
        } else {
            self.rejoin(turn, joining);
        }
    }

    /// Tells whether the group may have this member.
    ///
    /// While the group prepares, those count who have joined: so a group that is too large, after
    /// `group.max.size` was lowered, loses the members that rejoin last.
    fn has_room_for(&self, config: &GroupConfig, request: &JoinGroupRequest) -> bool {
        let instance = request.group_instance_id.as_deref();
        let taken_over = instance.and_then(|instance| self.static_members.get(instance));
        let known = self.members.get(taken_over.map_or(request.member_id.as_str(), |id| id));
        match self.state {
            ClassicState::Empty => true,
            ClassicState::PreparingRebalance { .. } => {
                known.is_some_and(|member| member.awaits_join())
                    || self.joining < config.group_max_size
            }
            ClassicState::CompletingRebalance { .. } | ClassicState::Stable { .. } => {
                known.is_some() || self.members.len() < config.group_max_size
            }
        }
    }

    fn join_new(&mut self, turn: &mut Turn<'_>, joining: Joining<'_>) {
        let client_id = &*joining.context.client_id;
        if let Some(instance) = joining.request.group_instance_id.as_deref() {
            let member_id: Arc<str> = turn.member_ids.next(instance).into();
            match self.static_members.get_key_value(instance) {
                Some((instance, old)) => {
                    let (instance, old) = (instance.clone(), old.clone());
                    self.replace_static_member(turn, joining, instance, old, member_id);
                }
                None => self.add_member(turn, joining, member_id),
            }
            return;
        }
        let member_id: Arc<str> = turn.member_ids.next(client_id).into();
        if joining.version() < FIRST_VERSION_THAT_ASKS_FOR_AN_ID {
            self.add_member(turn, joining, member_id);
        } else {
            let mut pending = PendingMember::default();
            let due = turn.now + i64::from(joining.request.session_timeout_ms);
            let key = || TimerKey::session(&self.id, &member_id);
            turn.timers.arm(&mut pending.session, due, key);
            pending.presence.hear(turn, Whose { group: &self.id, member: &member_id });
            joining.refuse(turn, ErrorCode::MEMBER_ID_REQUIRED, &member_id);
            self.pending.insert(member_id, pending);
            self.await_quiet(turn);
        }
    }

    fn rejoin(&mut self, turn: &mut Turn<'_>, joining: Joining<'_>) {
        let request = joining.request;
        let member_id = request.member_id.as_str();
        let instance_id = request.group_instance_id.as_deref();
        if instance_id.is_none() && self.pending.contains_key(member_id) {
            self.add_member(turn, joining, member_id.into());
            return;
        }
        if let Err(error) = self.check_member(member_id, instance_id) {
            joining.refuse(turn, error, member_id);
            return;
        }
        let Some(member) = self.members.get(member_id) else {
            return;
        };
        let (member_id, unchanged) = (member.id.clone(), member.protocols == joining.protocols);
        self.hear(turn, &member_id);
        let leads = self.is_leader(&member_id);
        let reason = joining.reason();
        let cause = match self.state {
            // Members only leave an empty group, they never stay in one.
            ClassicState::Empty => {
                joining.refuse(turn, ErrorCode::UNKNOWN_MEMBER_ID, &member_id);
                return;
            }
            ClassicState::PreparingRebalance { .. } => None,
            ClassicState::Stable { .. } if leads => {
                let told = (!unchanged).then(|| self.rejoin_cause(&joining, &member_id));
                Some(match told {
                    Some(told) if !matches!(told, CauseKind::MetadataChanged { .. }) => told,
                    _ => self.leader_cause(turn, member_id.clone(), reason),
                })
            }
            _ if unchanged => {
                turn.reply(joining.from, self.join_response(joining.version(), &member_id));
                return;
            }
            _ => Some(self.rejoin_cause(&joining, &member_id)),
        };
        self.update_and_park(turn, joining, &member_id);
        if let Some(cause) = cause {
            self.rebalance_joined_by(turn, &member_id, cause);
        } else {
            self.note_joined(turn.now, &member_id);
            self.maybe_complete_join(turn);
        }
    }

    /// Finds out why a member rejoined with other metadata, by what it says in the group's protocol.
    fn rejoin_cause(&self, joining: &Joining<'_>, member_id: &Arc<str>) -> CauseKind {
        let (member, reason) = (member_id.clone(), joining.reason());
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let read = |protocols: &Protocols| {
            let read = protocols.metadata(protocol).filter(|_| self.is_consumer_group())?;
            ConsumerProtocolSubscription::from_bytes(read).ok()
        };
        let before = self.members.get(&**member_id).and_then(|member| read(&member.protocols));
        let (Some(before), Some(after)) = (before, read(&joining.protocols)) else {
            return CauseKind::MetadataChanged { member, reason };
        };
        let topics = |of: &ConsumerProtocolSubscription| -> BTreeSet<String> {
            of.topics.iter().cloned().collect()
        };
        if topics(&before) != topics(&after) {
            CauseKind::SubscriptionChanged { member, reason }
        } else if !owned(&before).is_subset(&owned(&after)) {
            CauseKind::GaveUpPartitions { member, reason }
        } else {
            CauseKind::MetadataChanged { member, reason }
        }
    }

    /// Finds out why a leader rejoined: topics that changed since its last assignment explain it.
    fn leader_cause(
        &self,
        turn: &Turn<'_>,
        member: Arc<str>,
        reason: Option<Arc<str>>,
    ) -> CauseKind {
        let now = self.partition_counts(turn);
        let changed = |(topic, count): &(&Arc<str>, &i32)| now.get(*topic) != Some(count);
        let topics: Vec<Arc<str>> =
            self.assigned_topics.iter().filter(changed).map(|(topic, _)| topic.clone()).collect();
        if topics.is_empty() {
            CauseKind::LeaderRejoined { member, reason }
        } else {
            CauseKind::TopicsChanged { member, topics }
        }
    }

    /// Adds a member that waits for the end of the join phase, which its coming may cause.
    fn add_member(&mut self, turn: &mut Turn<'_>, joining: Joining<'_>, member_id: Arc<str>) {
        self.remove_pending(turn, &member_id);
        if let ClassicState::PreparingRebalance { initial: Some(delay) } = &mut self.state {
            delay.member_added = true;
            self.await_quiet(turn);
        }
        if self.members.is_empty() {
            self.protocol_type = Some(joining.request.protocol_type.as_str().into());
        }
        let cause = CauseKind::MemberJoined { member: member_id.clone(), reason: joining.reason() };
        self.insert(ClassicMember {
            id: member_id.clone(),
            instance_id: joining.request.group_instance_id.as_deref().map(Arc::from),
            client_id: joining.context.client_id.clone(),
            client_host: joining.context.client_host.clone(),
            session_timeout_ms: joining.request.session_timeout_ms,
            rebalance_timeout_ms: joining.rebalance_timeout_ms(),
            session: Alarm::default(),
            presence: Presence::default(),
            held: Held::default(),
            is_new: true,
            parked: joining.parked(),
            protocols: joining.protocols,
        });
        self.hear(turn, &member_id);
        self.arm_session(turn, &member_id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.rebalance_joined_by(turn, &member_id, cause);
    }

    /// Rebalances because of `cause`, with `member_id` already there.
    pub(super) fn rebalance_joined_by(
        &mut self,
        turn: &mut Turn<'_>,
        member_id: &Arc<str>,
        cause: CauseKind,
    ) {
        self.note_cause(turn.now, cause);
        self.note_joined(turn.now, member_id);
        self.advance_rebalance(turn);
    }

    pub(super) fn update_and_park(
        &mut self,
        turn: &mut Turn<'_>,
        joining: Joining<'_>,
        member_id: &str,
    ) {
        let parked = joining.parked();
        self.update_member(
            member_id,
            joining.request.session_timeout_ms,
            joining.rebalance_timeout_ms(),
            joining.protocols,
        );
        self.park(turn, member_id, parked);
    }
}

/// Returns the partitions that a member says it has.
fn owned(subscription: &ConsumerProtocolSubscription) -> BTreeSet<(&str, i32)> {
    let topics = subscription.owned_partitions.iter();
    topics.flat_map(|of| of.partitions.iter().map(|partition| (&*of.topic, *partition))).collect()
}

/// From version 4 on, a member joins in two steps, so that a client that retries the first does not
/// leave a member behind each time (KIP-394).
const FIRST_VERSION_THAT_ASKS_FOR_AN_ID: i16 = 4;

/// How long a new member waits for its first answer at most. It has no id yet, so it can neither
/// send heartbeats nor be recognised when it retries: if its owner is gone, only time removes it
/// (KAFKA-7610). Kafka's value.
const NEW_MEMBER_JOIN_TIMEOUT_MS: Timestamp = 5 * 60 * 1000;
