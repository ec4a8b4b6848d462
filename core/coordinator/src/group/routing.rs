//! Which shard a group belongs to, and how a request about several groups is shared out among the
//! shards and its answers put together again.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, OffsetFetchRequest,
};

use super::request::{GroupRequest, GroupResponse};

/// Returns the partition of `__consumer_offsets` that keeps a group: Java's hash of its id, without
/// the sign, modulo the number of partitions.
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group_id.encode_utf16().fold(0, step);
    // Kafka takes the amount, and 0 for the one number that has none.
    hash.checked_abs().unwrap_or(0) % partitions
}

impl GroupRequest {
    /// Returns the group that the request is about, if there can be no other.
    pub fn only_group(&self) -> Option<&str> {
        Some(match self {
            Self::JoinGroup(request) => &request.group_id,
            Self::SyncGroup(request) => &request.group_id,
            Self::Heartbeat(request) => &request.group_id,
            Self::LeaveGroup(request) => &request.group_id,
            Self::OffsetCommit(request) => &request.group_id,
            Self::OffsetDelete(request) => &request.group_id,
            Self::ConsumerGroupHeartbeat(request) => &request.group_id,
            // Before version 8 there is one group, and no list of them.
            Self::OffsetFetch(request) if request.groups.is_empty() => &request.group_id,
            Self::OffsetFetch(_)
            | Self::DescribeGroups(_)
            | Self::ConsumerGroupDescribe(_)
            | Self::DeleteGroups(_)
            | Self::ListGroups(_) => return None,
        })
    }
}

/// Splits a request into one for each partition of `__consumer_offsets` that it concerns.
///
/// A ListGroups concerns all of them. A request that names no group concerns none, and
/// [`merge`] answers it. Who names a group again is told of it once: a name costs a few bytes, and what
/// is told may be thousands.
pub fn split(request: GroupRequest, partitions: i32) -> Vec<(i32, GroupRequest)> {
    let place = |group_id: &String| partition_for(group_id, partitions);
    if let Some(group) = request.only_group() {
        return vec![(partition_for(group, partitions), request)];
    }
    match request {
        GroupRequest::OffsetFetch(mut r) => {
            let groups = std::mem::take(&mut r.groups);
            share_out(
                groups,
                |group| place(&group.group_id),
                |groups| OffsetFetchRequest { groups, ..r.clone() }.into(),
            )
        }
        GroupRequest::DescribeGroups(r) => share_out(once_each(r.groups), place, |groups| {
            let include_authorized_operations = r.include_authorized_operations;
            DescribeGroupsRequest { groups, include_authorized_operations }.into()
        }),
        GroupRequest::ConsumerGroupDescribe(r) => {
            share_out(once_each(r.group_ids), place, |group_ids| {
                let include_authorized_operations = r.include_authorized_operations;
                ConsumerGroupDescribeRequest { group_ids, include_authorized_operations }.into()
            })
        }
        GroupRequest::DeleteGroups(r) => {
            share_out(once_each(r.groups_names), place, |groups_names| {
                DeleteGroupsRequest { groups_names }.into()
            })
        }
        GroupRequest::ListGroups(r) => {
            (0..partitions).map(|partition| (partition, r.clone().into())).collect()
        }
        request => unreachable!("{request:?} is about one group"),
    }
}

/// Puts the answers to the parts of a [`split`] request together; `None` if there are none.
///
/// The first error of a ListGroups counts for the whole: a list that lacks groups looks complete.
pub fn merge(answers: impl IntoIterator<Item = GroupResponse>) -> Option<GroupResponse> {
    answers.into_iter().reduce(|mut whole, part| {
        match (&mut whole, part) {
            (GroupResponse::OffsetFetch(whole), GroupResponse::OffsetFetch(part)) => {
                whole.groups.extend(part.groups);
            }
            (GroupResponse::DescribeGroups(whole), GroupResponse::DescribeGroups(part)) => {
                whole.groups.extend(part.groups);
            }
            (
                GroupResponse::ConsumerGroupDescribe(whole),
                GroupResponse::ConsumerGroupDescribe(part),
            ) => {
                whole.groups.extend(part.groups);
            }
            (GroupResponse::DeleteGroups(whole), GroupResponse::DeleteGroups(part)) => {
                whole.results.extend(part.results);
            }
            (GroupResponse::ListGroups(whole), GroupResponse::ListGroups(part)) => {
                whole.groups.extend(part.groups);
                if whole.error_code == ErrorCode::NONE {
                    whole.error_code = part.error_code;
                }
            }
            (whole, part) => unreachable!("{part:?} is no part of {whole:?}"),
        }
        whole
    })
}

fn once_each(mut groups: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    groups.retain(|group| seen.insert(group.clone()));
    groups
}

fn share_out<T>(
    items: Vec<T>,
    place: impl Fn(&T) -> i32,
    request: impl Fn(Vec<T>) -> GroupRequest,
) -> Vec<(i32, GroupRequest)> {
    let mut parts: BTreeMap<i32, Vec<T>> = BTreeMap::new();
    for item in items {
        parts.entry(place(&item)).or_default().push(item);
    }
    let part = |(partition, items)| (partition, request(items));
    parts.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use kohort_protocol::messages::list_groups::ListedGroup;
    use kohort_protocol::messages::offset_fetch::OffsetFetchRequestGroup;
    use kohort_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

    use super::*;

    #[test]
    fn groups_live_where_kafka_keeps_them() {
        // Expected values as Java computes them; the last one hashes to the smallest integer.
        let expected = [
            ("", 0),
            ("a", 47),
            ("group", 47),
            // Its hash is negative.
            ("g-1795323946597585-1", 8),
            ("polygenelubricants", 0),
        ];
        for (group, partition) in expected {
            assert_eq!(partition_for(group, 50), partition, "{group}");
        }
    }

    #[test]
    fn a_request_about_several_groups_is_shared_out_and_put_together_again() {
        let groups_names = vec!["a".to_owned(), "b".to_owned(), "a".to_owned()];
        let parts = split(DeleteGroupsRequest { groups_names }.into(), 50);
        let places: Vec<i32> = parts.iter().map(|(partition, _)| *partition).collect();
        assert_eq!(places, [47, 48]);
        let refused = parts.iter().map(|(_, part)| part.refuse(2, ErrorCode::NOT_COORDINATOR));
        let Some(GroupResponse::DeleteGroups(whole)) = merge(refused) else {
            panic!("a DeleteGroups is answered as one");
        };
        let ids: Vec<_> = whole.results.iter().map(|result| &*result.group_id).collect();
        // The one named again is answered once.
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn whatever_is_asked_about_several_groups_each_is_answered_for() {
        let names = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let describe =
            DescribeGroupsRequest { groups: names(), include_authorized_operations: true };
        let consumer = ConsumerGroupDescribeRequest {
            group_ids: names(),
            include_authorized_operations: true,
        };
        let group = |group_id| OffsetFetchRequestGroup { group_id, ..Default::default() };
        let fetch = OffsetFetchRequest {
            groups: names().into_iter().map(group).collect(),
            require_stable: true,
            ..Default::default()
        };
        for request in [describe.into(), consumer.into(), fetch.into()] {
            let request: GroupRequest = request;
            let parts = split(request, 50);
            let places: Vec<i32> = parts.iter().map(|(partition, _)| *partition).collect();
            assert_eq!(places, [47, 48, 49]);
            let options_stay = parts.iter().all(|(_, part)| match part {
                GroupRequest::DescribeGroups(part) => part.include_authorized_operations,
                GroupRequest::ConsumerGroupDescribe(part) => part.include_authorized_operations,
                GroupRequest::OffsetFetch(part) => part.require_stable,
                other => panic!("{other:?}"),
            });
            assert!(options_stay, "{parts:?}");
            let refused = parts.iter().map(|(_, part)| part.refuse(8, ErrorCode::NOT_COORDINATOR));
            let ids: Vec<String> = match merge(refused) {
                Some(GroupResponse::DescribeGroups(whole)) => {
                    whole.groups.into_iter().map(|group| group.group_id).collect()
                }
                Some(GroupResponse::ConsumerGroupDescribe(whole)) => {
                    whole.groups.into_iter().map(|group| group.group_id).collect()
                }
                Some(GroupResponse::OffsetFetch(whole)) => {
                    whole.groups.into_iter().map(|group| group.group_id).collect()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(ids, names());
        }
    }

    #[test]
    fn before_there_was_a_list_a_fetch_was_about_one_group() {
        let fetch = OffsetFetchRequest { group_id: "b".to_owned(), ..Default::default() };
        assert_eq!(split(fetch.clone().into(), 50), [(48, fetch.into())]);
    }

    #[test]
    fn list_is_asked_of_every_partition_and_its_first_error_counts() {
        let request = ListGroupsRequest::default();
        let parts = split(request.clone().into(), 3);
        assert_eq!(parts, [0, 1, 2].map(|partition| (partition, request.clone().into())));
        let answer = |group_id: &str, error_code| {
            let group = ListedGroup { group_id: group_id.to_owned(), ..Default::default() };
            ListGroupsResponse { error_code, groups: vec![group], ..Default::default() }.into()
        };
        let (loading, moved) =
            (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::NOT_COORDINATOR);
        let answers = [answer("a", ErrorCode::NONE), answer("b", loading), answer("c", moved)];
        let Some(GroupResponse::ListGroups(whole)) = merge(answers) else {
            panic!("a ListGroups is answered as one");
        };
        let ids: Vec<_> = whole.groups.iter().map(|group| &*group.group_id).collect();
        assert_eq!((whole.error_code, &ids[..]), (loading, &["a", "b", "c"][..]));
    }
}
