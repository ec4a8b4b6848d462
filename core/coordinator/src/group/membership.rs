//! The classic protocol's requests on their way to a group, which may be of either protocol.

use std::sync::Arc;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
};

use super::entry::{Group, GroupEntry, Groups, entry_of};
use super::refused::{heartbeat_error, join_error, sync_error};
use super::request::{RequestContext, check_group_id};
use super::turn::Turn;
use super::{classic, consumer};
use crate::outcome::ReplyTo;

/// A member without an id may found a group; one with an id must have got it from somewhere, so its
/// group is gone and it has to begin anew.
pub(super) fn join(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    from: ReplyTo,
    context: &RequestContext,
    request: &JoinGroupRequest,
) {
    let founding = request.member_id.is_empty();
    let id: Arc<str> = request.group_id.as_str().into();
    let known = founding || groups.get(&id).is_some_and(GroupEntry::knows_classic_members);
    let found = if known { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) };
    if let Err(error) = classic::check_join(turn.config, context, request).and(found) {
        let member_id = request.member_id.clone();
        turn.reply(from, join_error(context.api_version, error, member_id));
        return;
    }
    let entry = entry_of(groups, &id);
    if !consumer::make_way(entry, turn) {
        match consumer::join(entry, turn, context, request) {
            Ok(response) => turn.reply(from, response),
            Err((error, id)) => turn.reply(from, join_error(context.api_version, error, id)),
        }
        return;
    }
    entry.become_classic().join(turn, from, context, request);
    if entry.is_vacant() {
        groups.remove(&id);
    }
}

/// From version 5 on a member says what it believes the group to speak (KIP-559). Who leaves it out is told so
/// whatever there is of the group, as in Kafka.
pub(super) fn sync(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    from: ReplyTo,
    version: i16,
    request: &SyncGroupRequest,
) {
    let names_its_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= FIRST_VERSION_THAT_NAMES_THE_PROTOCOL && !names_its_protocol {
        turn.reply(from, sync_error(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        return;
    }
    match find(groups, &request.group_id).map(|entry| &mut entry.group) {
        Ok(Group::Classic(group)) => group.sync(turn, from, request),
        Ok(Group::Consumer(group)) => {
            let response = consumer::sync(group, turn, request).unwrap_or_else(sync_error);
            turn.reply(from, response);
        }
        Ok(Group::Simple) => turn.reply(from, sync_error(ErrorCode::UNKNOWN_MEMBER_ID)),
        Err(error) => turn.reply(from, sync_error(error)),
    }
}

pub(super) fn heartbeat(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    from: ReplyTo,
    request: &HeartbeatRequest,
) {
    let result = match find(groups, &request.group_id).map(|entry| &mut entry.group) {
        Ok(Group::Classic(group)) => {
            group.heartbeat(turn, from, request);
            return;
        }
        Ok(Group::Consumer(group)) => {
            let result = consumer::classic_heartbeat(group, turn, request);
            group.hear(turn, &request.member_id);
            result
        }
        Ok(Group::Simple) => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        Err(error) => Err(error),
    };
    turn.reply(from, heartbeat_error(result.err().unwrap_or(ErrorCode::NONE)));
}

/// Answers the heartbeat that is held on this turn's connection, if there is one.
pub(super) fn let_go(groups: &mut Groups, turn: &mut Turn<'_>) {
    let holder = turn.connection.and_then(|connection| turn.holders.get(&connection).cloned());
    let Some((group, member)) = holder else { return };
    match groups.get_mut(&group).map(|entry| &mut entry.group) {
        Some(Group::Classic(group)) => group.release_held(turn, &member, ErrorCode::NONE),
        Some(Group::Consumer(group)) => group.let_go(turn, &member),
        Some(Group::Simple) | None => {}
    }
}

pub(super) fn leave(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    context: &RequestContext,
    request: &LeaveGroupRequest,
) -> LeaveGroupResponse {
    let version = context.api_version;
    let leaving = classic::leaving_members(version, request);
    let refuse = |error| {
        let refuse = |identity| classic::member_response(identity, error);
        leaving.iter().map(refuse).collect()
    };
    let results = match find(groups, &request.group_id) {
        Ok(entry) => match &mut entry.group {
            Group::Classic(group) => group.leave(turn, context, &leaving),
            Group::Consumer(_) => consumer::classic_leave(entry, turn, context, &leaving),
            Group::Simple => refuse(ErrorCode::UNKNOWN_MEMBER_ID),
        },
        Err(error @ ErrorCode::UNKNOWN_MEMBER_ID) => refuse(error),
        Err(error_code) => {
            return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
        }
    };
    classic::leave_response(version, results)
}

/// Finds the group of a request that only its members may send.
fn find<'a>(groups: &'a mut Groups, group_id: &str) -> Result<&'a mut GroupEntry, ErrorCode> {
    check_group_id(group_id)?;
    groups.get_mut(group_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
}

const FIRST_VERSION_THAT_NAMES_THE_PROTOCOL: i16 = 5;
