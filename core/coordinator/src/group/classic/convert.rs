//! A classic group as it goes over to the consumer protocol, and as it comes back from there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::member::{ClassicMember, Parked, Protocols};
use super::state::{ClassicGroup, ClassicState};
use super::story::Before;
use crate::group::causes::{Place, Unfinished};
use crate::group::event::CauseKind;
use crate::group::hold::Held;
use crate::group::presence::Presence;
use crate::group::turn::Turn;
use crate::shard::Timestamp;
use crate::timers::Alarm;

/// A member as both protocols know it.
#[derive(Debug, Clone)]
pub(crate) struct ConvertedMember {
    pub(crate) id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// What it can speak, most wanted first.
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
    /// What it was assigned, in the members' own format.
    pub(crate) assignment: Bytes,
}

/// What a group of the consumer protocol hands over to the classic one that it becomes.
#[derive(Debug)]
pub(crate) struct HandedOver {
    /// The members that stay.
    pub(crate) members: Vec<ConvertedMember>,
    /// The rebalance under way, if there is one.
    pub(crate) unfinished: Unfinished,
    /// Who really had what, those who leave among them.
    pub(crate) owners: BTreeMap<Place, Arc<str>>,
    /// Since when those who leave have served nothing.
    pub(crate) gone: Vec<(Arc<str>, Timestamp)>,
}

impl ClassicGroup {
    /// Returns the members for a group of the consumer protocol.
    pub(crate) fn converted_members(&self) -> Vec<ConvertedMember> {
        let convert = |member: &ClassicMember| ConvertedMember {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.to_vec(),
            assignment: self.assignment(member),
        };
        self.members.values().map(|member| convert(member)).collect()
    }

    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    /// Returns the group that members of the classic protocol are left with when the last one of the
    /// other is gone, and writes it to the log. It is stable, and `rebalances` unless everybody keeps what they
    /// have. Either is told with its causes.
    pub(crate) fn of_converted(
        turn: &mut Turn<'_>,
        id: Arc<str>,
        generation: i32,
        handed_over: HandedOver,
        causes: impl IntoIterator<Item = CauseKind>,
        rebalances: bool,
    ) -> Self {
        let HandedOver { members, unfinished, owners, gone } = handed_over;
        let mut group = Self::new(id);
        group.orphans = unfinished.orphans;
        group.generation = generation;
        group.protocol_type = Some("consumer".into());
        let assignments: Vec<_> =
            members.iter().map(|member| (member.id.clone(), member.assignment.clone())).collect();
        for member in members {
            group.insert(ClassicMember {
                id: member.id,
                instance_id: member.instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                session_timeout_ms: member.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                protocols: Protocols::from_list(member.protocols),
                session: Alarm::default(),
                presence: Presence::default(),
                held: Held::default(),
                is_new: false,
                parked: Parked::Nothing,
            });
        }
        group.protocol = group.select_protocol();
        group.enter(turn.wall, ClassicState::Stable { pending_sync: BTreeSet::new() });
        group.update_subscribed(turn);
        let assignment = |member: &ClassicMember| {
            let found = assignments.iter().find(|(id, _)| *id == member.id);
            found.map(|(_, assignment)| assignment.clone()).unwrap_or_default()
        };
        group.persist(turn, assignment);
        for (member, _) in &assignments {
            group.refresh_session(turn, member);
        }
        for cause in causes {
            group.note_cause(turn.now, cause);
        }
        group.note_cause(turn.now, CauseKind::ProtocolChanged { to: "classic" });
        let (members, roll) = (unfinished.members_before, unfinished.roll);
        let before = Before { members, roll, owners };
        group.begin_before(unfinished.causes, before, unfinished.continues);
        for (member, since) in gone {
            group.note_given_up(&member, Some(since));
        }
        if rebalances {
            group.advance_rebalance(turn);
        } else {
            group.finish_rebalance(turn, assignment);
        }
        group
    }
}
