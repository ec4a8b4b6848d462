//! A classic group as it goes over to the consumer protocol, and as it comes back from there.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::member::{ClassicMember, Parked, Protocols};
use super::state::{ClassicGroup, ClassicState};
use crate::group::event::CauseKind;
use crate::group::hold::Held;
use crate::group::presence::Presence;
use crate::group::turn::Turn;
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
    /// other is gone, and writes it to the log. It is stable, and rebalances if there is a cause.
    pub(crate) fn of_converted(
        turn: &mut Turn<'_>,
        id: Arc<str>,
        generation: i32,
        members: Vec<ConvertedMember>,
        causes: impl IntoIterator<Item = CauseKind>,
    ) -> Self {
        let mut group = Self::new(id);
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
        group.enter(turn.now, ClassicState::Stable { pending_sync: BTreeSet::new() });
        group.update_subscribed(turn);
        group.persist(turn, |member| {
            let found = assignments.iter().find(|(id, _)| *id == member.id);
            found.map(|(_, assignment)| assignment.clone()).unwrap_or_default()
        });
        for (member, _) in &assignments {
            group.refresh_session(turn, member);
        }
        for cause in causes {
            group.rebalance(turn, cause);
        }
        group
    }
}
