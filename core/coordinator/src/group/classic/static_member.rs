//! Static members (KIP-345): an instance comes back without its member id and takes over its place.
//!
//! The member gets a new id, and whoever still uses the old one is fenced. In a stable group
//! nothing else need change: the new id goes to the log with the old assignment, and the member is
//! told the generation it missed. It is no rebalance, but the members of the group change and with them
//! whose its partitions are: so an event tells of it ([`Rebalance::is_take_over`](crate::group::Rebalance::is_take_over)).
//!
//! - A leader that comes back this way is told the members but asked not to assign
//!   (`skip_assignment`, version 9, KIP-814). Older versions have no such field; they are told the
//!   leader's *old* id, so that the client does not take itself for the leader (KAFKA-13435).
//! - In CompletingRebalance the leader may be assigning to the old id, and the new one would go
//!   empty-handed: rebalance (KAFKA-9801).
//! - *A changed subscription* rebalances, too. Kafka does so only if it changes the chosen protocol
//!   and otherwise leaves the member with partitions of topics it no longer wants (KAFKA-12759,
//!   open). We compare topics, not bytes: the bytes also list owned partitions, which a restart
//!   always changes, and which would undo what static membership is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::JoinGroupResponse;

use super::join::Joining;
use super::member::{Protocols, subscribed_topics};
use super::state::{ClassicGroup, ClassicState};
use crate::group::event::CauseKind;
use crate::group::presence::Whose;
use crate::group::turn::Turn;

impl ClassicGroup {
    /// Lets `new` take the place of the instance's member `old`.
    pub(super) fn replace_static_member(
        &mut self,
        turn: &mut Turn<'_>,
        joining: Joining<'_>,
        instance: Arc<str>,
        old: Arc<str>,
        new: Arc<str>,
    ) {
        let resubscribed = self.resubscribes(&old, &joining.protocols);
        let silent_since = self.members.get(&old).map(|member| member.presence.silent_since());
        let old_leader = self.leader.clone();
        self.rename_static_member(turn, &joining, &instance, &old, &new);
        self.update_member(
            &new,
            joining.request.session_timeout_ms,
            joining.rebalance_timeout_ms(),
            joining.protocols.clone(),
        );
        self.hear(turn, &new);
        self.refresh_session(turn, &new);
        let same_protocol = self.select_protocol() == self.protocol;
        let cause =
            CauseKind::StaticMemberReplaced { instance, old: old.clone(), new: new.clone() };
        self.note_cause(turn.now, cause);
        self.note_given_up(&old, silent_since);
        match self.state {
            ClassicState::Stable { .. } if same_protocol && !resubscribed => {
                turn.reply(joining.from, self.resume_response(&joining, &new, old_leader));
                // What the log has under the old id is found by the instance.
                let assignments =
                    self.members.values().map(|it| (it.id.clone(), self.assignment(it)));
                let assignments: BTreeMap<_, _> = assignments.collect();
                let assignment = |id: &str| assignments.get(id).cloned().unwrap_or_default();
                self.finish_rebalance(turn, |member| assignment(&member.id));
                self.persist(turn, |member| assignment(&member.id));
            }
            ClassicState::PreparingRebalance { .. } => {
                self.park(turn, &new, joining.parked());
                self.note_joined(turn.now, &new);
                self.maybe_complete_join(turn);
            }
            _ => {
                self.park(turn, &new, joining.parked());
                self.note_joined(turn.now, &new);
                self.advance_rebalance(turn);
            }
        }
    }

    /// Gives the member its new id wherever the old one stands, and fences the old one's owner.
    fn rename_static_member(
        &mut self,
        turn: &mut Turn<'_>,
        joining: &Joining<'_>,
        instance: &Arc<str>,
        old: &Arc<str>,
        new: &Arc<str>,
    ) {
        self.refuse_parked(turn, old, ErrorCode::FENCED_INSTANCE_ID, old);
        self.release_held(turn, old, ErrorCode::FENCED_INSTANCE_ID);
        let Some(mut member) = self.members.remove(old) else {
            return;
        };
        turn.timers.disarm(&mut member.session);
        member.presence.forget(turn.timers, turn.heard, Whose { group: &self.id, member: old });
        if let Some(rebalance) = &mut self.rebalance {
            rebalance.gone.insert(old.clone(), member.who());
        }
        member.id = new.clone();
        member.client_id = joining.context.client_id.clone();
        member.client_host = joining.context.client_host.clone();
        member.is_new = false;
        self.members.insert(new.clone(), member);
        self.static_members.insert(instance.clone(), new.clone());
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if let ClassicState::CompletingRebalance { pending_sync }
        | ClassicState::Stable { pending_sync } = &mut self.state
            && pending_sync.remove(old)
        {
            pending_sync.insert(new.clone());
        }
    }

    /// Tells whether a member would subscribe to other topics than before. If one of the two
    /// cannot be read, nobody can tell, and Kafka's rule holds.
    fn resubscribes(&self, member_id: &str, protocols: &Protocols) -> bool {
        if !self.is_consumer_group() {
            return false;
        }
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let topics = |protocols: &Protocols| {
            let topics = subscribed_topics(protocols.metadata(protocol)?).ok()?;
            Some(topics.into_iter().collect::<BTreeSet<String>>())
        };
        let before = self.members.get(member_id).and_then(|member| topics(&member.protocols));
        let after = topics(protocols);
        before.is_some() && after.is_some() && before != after
    }

    fn resume_response(
        &self,
        joining: &Joining<'_>,
        member_id: &str,
        old_leader: Option<Arc<str>>,
    ) -> JoinGroupResponse {
        let mut response = self.join_response(joining.version(), member_id);
        if joining.version() >= FIRST_VERSION_TO_SKIP_ASSIGNMENT {
            response.skip_assignment = self.is_leader(member_id);
        } else {
            response.leader = old_leader.map_or_else(String::new, |leader| leader.to_string());
            response.members = Vec::new();
        }
        response
    }
}

const FIRST_VERSION_TO_SKIP_ASSIGNMENT: i16 = 9;
