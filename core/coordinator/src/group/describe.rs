//! How groups look from outside: DescribeGroups, ListGroups, and DeleteGroups, which needs to know
//! the same things.

use std::collections::BTreeSet;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use kohort_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};
use kohort_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use super::classic::ClassicGroup;
use super::entry::{GroupEntry, Groups};
use super::turn::Turn;

/// Handles a DescribeGroups.
///
/// A group that does not exist is described as Dead, which since version 6 is an error besides
/// (KIP-1043).
pub(crate) fn describe(
    groups: &Groups,
    version: i16,
    request: &DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let describe = |group_id: &String| {
        let mut described = match groups.get(group_id.as_str()) {
            Some(entry) if entry.group.consumer().is_none() => describe_group(entry),
            // A consumer group has a request of its own; here it is not known.
            Some(_) => unknown_group(version, group_id, "is not a classic group."),
            None => unknown_group(version, group_id, "not found."),
        };
        if request.include_authorized_operations && described.error_code.is_ok() {
            described.authorized_operations = ALL_GROUP_OPERATIONS;
        }
        described
    };
    DescribeGroupsResponse {
        groups: request.groups.iter().map(describe).collect(),
        ..DescribeGroupsResponse::default()
    }
}

/// Handles a ListGroups. States are compared without regard to case, as are types.
pub(crate) fn list(groups: &Groups, request: &ListGroupsRequest) -> ListGroupsResponse {
    let states = folded(&request.states_filter);
    let types = folded(&request.types_filter);
    let passes = |filter: &BTreeSet<String>, value: &str| {
        filter.is_empty() || filter.contains(&value.to_lowercase())
    };
    let listed = groups.values().map(|entry| {
        let group = &entry.group;
        ListedGroup {
            group_id: entry.id.to_string(),
            protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
            group_state: group.state_name().to_owned(),
            group_type: group.type_name().to_owned(),
        }
    });
    ListGroupsResponse {
        groups: listed
            .filter(|group| {
                passes(&states, &group.group_state) && passes(&types, &group.group_type)
            })
            .collect(),
        ..ListGroupsResponse::default()
    }
}

/// Handles a DeleteGroups: adds a tombstone for every record that the log has of the groups.
pub(crate) fn delete(
    groups: &Groups,
    turn: &mut Turn<'_>,
    request: &DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    let mut deleted = BTreeSet::new();
    for group_id in &request.groups_names {
        let result = deletable(groups, group_id);
        response.results.push(DeletableGroupResult {
            group_id: group_id.clone(),
            error_code: result.as_ref().err().copied().unwrap_or(ErrorCode::NONE),
        });
        if let Ok(entry) = result
            && deleted.insert(group_id)
        {
            let offsets = entry.offsets.tombstones(&entry.id, |_, _| true);
            turn.outcome.records.extend(offsets);
            turn.outcome.records.extend(entry.group.tombstones(&entry.id));
        }
    }
    response
}

fn deletable<'a>(groups: &'a Groups, group_id: &str) -> Result<&'a GroupEntry, ErrorCode> {
    let entry = groups.get(group_id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
    if entry.group.is_empty() { Ok(entry) } else { Err(ErrorCode::NON_EMPTY_GROUP) }
}

fn describe_group(entry: &GroupEntry) -> DescribedGroup {
    let classic = entry.group.classic();
    let protocol = classic.and_then(ClassicGroup::settled_protocol);
    DescribedGroup {
        group_id: entry.id.to_string(),
        group_state: entry.group.state_name().to_owned(),
        protocol_type: entry.group.protocol_type().unwrap_or_default().to_owned(),
        protocol_data: protocol.unwrap_or_default().to_owned(),
        members: classic.map(ClassicGroup::describe_members).unwrap_or_default(),
        ..DescribedGroup::default()
    }
}

fn unknown_group(version: i16, group_id: &str, why: &str) -> DescribedGroup {
    let dead = DescribedGroup {
        group_id: group_id.to_owned(),
        group_state: "Dead".to_owned(),
        ..DescribedGroup::default()
    };
    if version < FIRST_VERSION_WITH_NOT_FOUND {
        return dead;
    }
    DescribedGroup {
        error_code: ErrorCode::GROUP_ID_NOT_FOUND,
        error_message: Some(format!("Group {group_id} {why}")),
        ..dead
    }
}

fn folded(filter: &[String]) -> BTreeSet<String> {
    let fold = |value: &String| value.trim().to_lowercase();
    filter.iter().map(fold).collect()
}

const FIRST_VERSION_WITH_NOT_FOUND: i16 = 6;

/// Without an authorizer everybody may do everything that can be done to a group: Kafka's bits of
/// READ (3), DELETE (6), DESCRIBE (8), DESCRIBE_CONFIGS (10) and ALTER_CONFIGS (11).
pub(crate) const ALL_GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
