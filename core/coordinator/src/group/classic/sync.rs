//! SyncGroup: the leader hands in the assignment, everybody fetches theirs.
//!
//! The leader's Sync makes the record of the new generation and moves the group to Stable in the
//! same step. The answers leave only when the record is durable, and if it is lost the shard is
//! dropped with them; so there is no moment between handing in and storing in which the group could
//! have moved on, and nothing to check again or to roll back afterwards. See [`crate`].

use std::collections::BTreeMap;

use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::member::Parked;
use super::state::{ClassicGroup, ClassicState};
use crate::group::own::own;
use crate::group::refused::sync_error;
use crate::group::turn::Turn;
use crate::outcome::ReplyTo;

impl ClassicGroup {
    /// Handles a SyncGroup.
    pub(crate) fn sync(&mut self, turn: &mut Turn<'_>, from: ReplyTo, request: &SyncGroupRequest) {
        if let Err(error) = self.check_sync(request) {
            turn.reply(from, sync_error(error));
            return;
        }
        let member_id = request.member_id.as_str();
        self.hear(turn, member_id);
        match &mut self.state {
            ClassicState::Empty => turn.reply(from, sync_error(ErrorCode::UNKNOWN_MEMBER_ID)),
            ClassicState::PreparingRebalance { .. } => {
                turn.reply(from, sync_error(ErrorCode::REBALANCE_IN_PROGRESS));
            }
            ClassicState::CompletingRebalance { pending_sync } => {
                pending_sync.remove(member_id);
                self.park(turn, member_id, Parked::Sync { from });
                if self.is_leader(member_id) {
                    self.assign(turn, request);
                }
            }
            ClassicState::Stable { pending_sync } => {
                if pending_sync.remove(member_id) && pending_sync.is_empty() {
                    turn.timers.disarm(&mut self.phase);
                }
                if let Some(member) = self.members.get(member_id) {
                    turn.reply(from, self.sync_response(self.assignment(member)));
                }
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        let differs = |theirs: &Option<String>, ours: Option<&str>| match (theirs, ours) {
            (Some(theirs), Some(ours)) => theirs != ours,
            _ => false,
        };
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            Err(ErrorCode::ILLEGAL_GENERATION)
        } else if differs(&request.protocol_type, self.protocol_type())
            || differs(&request.protocol_name, self.protocol.as_deref())
        {
            Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
        } else {
            Ok(())
        }
    }

    /// Takes the leader's assignment: to the log, and to everybody who waits for it. A member the
    /// leader left out is assigned nothing, which is not an error.
    fn assign(&mut self, turn: &mut Turn<'_>, request: &SyncGroupRequest) {
        let assignments: BTreeMap<&str, Bytes> = request
            .assignments
            .iter()
            .map(|assigned| (assigned.member_id.as_str(), own(&assigned.assignment)))
            .collect();
        let assignment = |id: &str| assignments.get(id).cloned().unwrap_or_default();
        self.finish_rebalance(turn, |member| assignment(&member.id));
        self.persist(turn, |member| assignment(&member.id));

        let members: Vec<_> = self.members.keys().cloned().collect();
        for member_id in members {
            if let Parked::Sync { from } = self.unpark(&member_id) {
                turn.reply(from, self.sync_response(assignment(&member_id)));
                self.refresh_session(turn, &member_id);
            }
        }
        if let ClassicState::CompletingRebalance { pending_sync } = &mut self.state {
            let pending_sync = std::mem::take(pending_sync);
            if pending_sync.is_empty() {
                turn.timers.disarm(&mut self.phase);
            }
            self.enter(turn.wall, ClassicState::Stable { pending_sync });
        }
    }

    fn sync_response(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.as_deref().map(str::to_owned),
            protocol_name: self.protocol.as_deref().map(str::to_owned),
            assignment,
            ..SyncGroupResponse::default()
        }
    }
}
