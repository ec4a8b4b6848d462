//! LeaveGroup: members go, one by one or, since version 3, several at once (KIP-345).
//!
//! Each member named has its own result, and one that is unknown does not keep the others from
//! leaving. A static member can be removed by its instance id alone, which is how administrators do
//! it. A pending id that leaves was never a member, so it does not rebalance the group (in Kafka it
//! does); but the join phase may have been waiting for it.

use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};

use super::state::ClassicGroup;
use crate::group::event::CauseKind;
use crate::group::request::RequestContext;
use crate::group::turn::Turn;
use crate::shard::Timestamp;

impl ClassicGroup {
    /// Handles the leave of some members: returns the result of each.
    pub(crate) fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        context: &RequestContext,
        leaving: &[MemberIdentity],
    ) -> Vec<MemberResponse> {
        let mut rebalance = false;
        let mut results = Vec::with_capacity(leaving.len());
        for identity in leaving {
            let result = self.leave_one(turn, context, identity);
            let error_code = result.as_ref().err().copied().unwrap_or(ErrorCode::NONE);
            results.push(member_response(identity, error_code));
            if let Ok(Some((cause, lost))) = result {
                self.note_gone(turn.now, cause, lost);
                rebalance = true;
            }
        }
        if rebalance {
            self.advance_rebalance(turn);
        } else {
            self.maybe_complete_join(turn);
        }
        results
    }

    /// Removes one member. Returns why that rebalances the group, if it does, and when the connection of
    /// one that is removed had closed. One that leaves worked until then.
    fn leave_one(
        &mut self,
        turn: &mut Turn<'_>,
        context: &RequestContext,
        identity: &MemberIdentity,
    ) -> Result<Option<(CauseKind, Option<Timestamp>)>, ErrorCode> {
        let member_id = identity.member_id.as_str();
        let instance_id = identity.group_instance_id.as_deref();
        let member: Arc<str> = if member_id.is_empty() {
            let instance_id = instance_id.unwrap_or_default();
            let member = self.static_members.get(instance_id);
            member.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?.clone()
        } else if self.pending.contains_key(member_id) {
            self.remove(turn, member_id, ErrorCode::UNKNOWN_MEMBER_ID);
            return Ok(None);
        } else {
            self.check_member(member_id, instance_id)?;
            member_id.into()
        };
        let client_id = self.members.get(&member).map(|member| member.client_id.clone());
        let cause = cause_of_leave(context, identity, &member, &client_id.unwrap_or_default());
        let lost = self.remove(turn, &member, ErrorCode::UNKNOWN_MEMBER_ID);
        let lost = lost.filter(|_| matches!(cause, CauseKind::MemberRemoved { .. }));
        Ok(Some((cause, lost)))
    }
}

/// Says why a member goes that a LeaveGroup names: it left, or an administrator removed it.
///
/// A request does not say who sends it, and which connection it comes over tells nothing: a client may leave over
/// another than it joined by. But it has one client id, and it knows its member id. So who asks under
/// another name, or for an instance whatever its id, is somebody else; and Java's Admin says so itself.
pub(crate) fn cause_of_leave(
    context: &RequestContext,
    identity: &MemberIdentity,
    member: &Arc<str>,
    client_id: &str,
) -> CauseKind {
    let member = member.clone();
    let reason = identity.reason.as_deref().filter(|reason| !reason.is_empty());
    let by_admin = identity.member_id.is_empty()
        || *context.client_id != *client_id
        || reason.is_some_and(|reason| reason.starts_with(REASON_OF_JAVAS_ADMIN));
    let reason = reason.map(Arc::from);
    if by_admin {
        let instance = identity.group_instance_id.as_deref().map(Arc::from);
        CauseKind::MemberRemoved { member, instance, reason }
    } else {
        CauseKind::MemberLeft { member, reason }
    }
}

/// Returns who leaves: before version 3 a request named one member, in another field.
pub(crate) fn leaving_members(version: i16, request: &LeaveGroupRequest) -> Vec<MemberIdentity> {
    if version >= FIRST_VERSION_FOR_SEVERAL_MEMBERS {
        return request.members.clone();
    }
    vec![MemberIdentity { member_id: request.member_id.clone(), ..MemberIdentity::default() }]
}

/// Returns the answer to a LeaveGroup, which before version 3 had room for one error.
pub(crate) fn leave_response(version: i16, members: Vec<MemberResponse>) -> LeaveGroupResponse {
    if version >= FIRST_VERSION_FOR_SEVERAL_MEMBERS {
        return LeaveGroupResponse { members, ..LeaveGroupResponse::default() };
    }
    LeaveGroupResponse {
        error_code: members.first().map_or(ErrorCode::NONE, |member| member.error_code),
        ..LeaveGroupResponse::default()
    }
}

/// Returns the result of one member's leave.
pub(crate) fn member_response(identity: &MemberIdentity, error_code: ErrorCode) -> MemberResponse {
    MemberResponse {
        member_id: identity.member_id.clone(),
        group_instance_id: identity.group_instance_id.clone(),
        error_code,
    }
}

/// What `Admin.removeMembersFromConsumerGroup` begins every reason with (KIP-800).
const REASON_OF_JAVAS_ADMIN: &str = "member was removed by an admin";
const FIRST_VERSION_FOR_SEVERAL_MEMBERS: i16 = 3;
