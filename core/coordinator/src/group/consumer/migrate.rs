//! From one protocol to the other while the group runs.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

use super::ConsumerGroup;
use super::heartbeat::Refusal;
use crate::group::record::GroupRecord;
use crate::group::request::RequestContext;
use crate::group::turn::Turn;
use crate::group::{Group, GroupEntry};

/// Lets a member of the consumer protocol join what is no group of that protocol yet.
pub(super) fn join(
    entry: &mut GroupEntry,
    turn: &mut Turn<'_>,
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let before = turn.outcome.records.len();
    let mut group = ConsumerGroup::new(entry.id.clone());
    if let Group::Classic(classic) = &entry.group {
        if !classic.is_empty() {
            let why = "the group is of the classic protocol";
            return Err(Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, why));
        }
        if let Some(persisted) = classic.persisted() {
            group.replay_classic(Some(persisted.clone()));
            let group = entry.id.clone();
            turn.outcome.records.push(GroupRecord::GroupMetadataTombstone { group });
        }
    }
    match group.heartbeat(turn, context, request) {
        Ok(response) => {
            if let Group::Classic(classic) = &mut entry.group {
                classic.refuse_all_parked(turn, ErrorCode::REBALANCE_IN_PROGRESS);
                classic.disarm_all(turn.timers, turn.heard, turn.holders);
            }
            entry.group = Group::Consumer(Box::new(group));
            Ok(response)
        }
        Err(refusal) => {
            turn.outcome.records.truncate(before);
            group.disarm_all(turn.timers);
            Err(refusal)
        }
    }
}

/// Lets a classic member in: an empty group of this protocol makes way for a classic one. Returns whether
/// there is no such group in the way now.
pub(crate) fn make_way(entry: &mut GroupEntry, turn: &mut Turn<'_>) -> bool {
    let Group::Consumer(group) = &mut entry.group else {
        return true;
    };
    if !group.is_empty() {
        return false;
    }
    turn.outcome.records.extend(group.tombstones());
    group.disarm_all(turn.timers);
    entry.group = Group::Simple;
    true
}
