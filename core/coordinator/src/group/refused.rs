//! How a request is refused, each in the form that its API has for that: before a shard was asked, and after,
//! when what it said is not true because its records were lost.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeResponse, DescribedGroup as DescribedConsumerGroup,
};
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use kohort_protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsResponse};
use kohort_protocol::messages::describe_groups::{DescribeGroupsResponse, DescribedGroup};
use kohort_protocol::messages::heartbeat::HeartbeatResponse;
use kohort_protocol::messages::join_group::JoinGroupResponse;
use kohort_protocol::messages::leave_group::LeaveGroupResponse;
use kohort_protocol::messages::list_groups::ListGroupsResponse;
use kohort_protocol::messages::offset_delete::OffsetDeleteResponse;
use kohort_protocol::messages::offset_fetch::{OffsetFetchResponse, OffsetFetchResponseGroup};
use kohort_protocol::messages::sync_group::SyncGroupResponse;

use super::offsets;
use super::request::{GroupRequest, GroupResponse};

impl GroupRequest {
    /// Answers the request with `error` without asking a shard: the coordinator is loading, is
    /// elsewhere or is not there.
    ///
    /// A heartbeat to a loading coordinator succeeds, as in Kafka: the session will be armed anew
    /// when loading ends, and the member had better stay.
    pub fn refuse(&self, version: i16, error: ErrorCode) -> GroupResponse {
        match self {
            Self::JoinGroup(request) => {
                join_error(version, error, request.member_id.clone()).into()
            }
            Self::SyncGroup(_) => sync_error(error).into(),
            Self::Heartbeat(_) if error == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {
                HeartbeatResponse::default().into()
            }
            Self::Heartbeat(_) => heartbeat_error(error).into(),
            Self::LeaveGroup(_) => {
                LeaveGroupResponse { error_code: error, ..LeaveGroupResponse::default() }.into()
            }
            Self::OffsetCommit(request) => offsets::refuse_commit(version, request, error).into(),
            Self::OffsetFetch(request) => offsets::refuse_fetch(version, request, error).into(),
            Self::OffsetDelete(_) => {
                OffsetDeleteResponse { error_code: error, ..OffsetDeleteResponse::default() }.into()
            }
            Self::DescribeGroups(request) => DescribeGroupsResponse {
                groups: request
                    .groups
                    .iter()
                    .map(|group| DescribedGroup {
                        error_code: error,
                        group_id: group.clone(),
                        ..DescribedGroup::default()
                    })
                    .collect(),
                ..DescribeGroupsResponse::default()
            }
            .into(),
            Self::ListGroups(_) => {
                ListGroupsResponse { error_code: error, ..ListGroupsResponse::default() }.into()
            }
            Self::DeleteGroups(request) => DeleteGroupsResponse {
                results: request
                    .groups_names
                    .iter()
                    .map(|group| DeletableGroupResult {
                        group_id: group.clone(),
                        error_code: error,
                    })
                    .collect(),
                ..DeleteGroupsResponse::default()
            }
            .into(),
            Self::ConsumerGroupHeartbeat(_) => ConsumerGroupHeartbeatResponse {
                error_code: error,
                ..ConsumerGroupHeartbeatResponse::default()
            }
            .into(),
            Self::ConsumerGroupDescribe(request) => {
                let refused = |group_id: &String| DescribedConsumerGroup {
                    error_code: error,
                    group_id: group_id.clone(),
                    ..DescribedConsumerGroup::default()
                };
                ConsumerGroupDescribeResponse {
                    groups: request.group_ids.iter().map(refused).collect(),
                    ..ConsumerGroupDescribeResponse::default()
                }
                .into()
            }
        }
    }
}

impl GroupResponse {
    /// Turns an answer that was waiting for its records into one that says they were lost.
    ///
    /// What was refused for another reason keeps its reason.
    #[must_use]
    pub fn into_failed(mut self, error: ErrorCode) -> Self {
        let fail = |code: &mut ErrorCode| {
            if code.is_ok() {
                *code = error;
            }
        };
        match &mut self {
            Self::JoinGroup(response) if response.error_code.is_ok() => {
                *response = JoinGroupResponse {
                    error_code: error,
                    member_id: std::mem::take(&mut response.member_id),
                    protocol_name: response.protocol_name.take().map(|_| String::new()),
                    ..JoinGroupResponse::default()
                };
            }
            Self::SyncGroup(response) if response.error_code.is_ok() => {
                *response = sync_error(error);
            }
            Self::JoinGroup(_) | Self::SyncGroup(_) => {}
            Self::ConsumerGroupHeartbeat(response) => {
                if response.error_code.is_ok() {
                    *response = ConsumerGroupHeartbeatResponse {
                        error_code: error,
                        ..ConsumerGroupHeartbeatResponse::default()
                    };
                }
            }
            Self::Heartbeat(response) => fail(&mut response.error_code),
            Self::LeaveGroup(response) => {
                fail(&mut response.error_code);
                response.members.clear();
            }
            Self::OffsetCommit(response) => {
                for topic in &mut response.topics {
                    for partition in &mut topic.partitions {
                        fail(&mut partition.error_code);
                    }
                }
            }
            Self::OffsetFetch(response) => {
                let OffsetFetchResponse { error_code, topics, groups, .. } = response;
                if groups.is_empty() {
                    fail(error_code);
                    topics.clear();
                }
                for group in groups.iter_mut().filter(|group| group.error_code.is_ok()) {
                    *group = OffsetFetchResponseGroup {
                        group_id: std::mem::take(&mut group.group_id),
                        error_code: error,
                        ..OffsetFetchResponseGroup::default()
                    };
                }
            }
            Self::OffsetDelete(response) => {
                fail(&mut response.error_code);
                response.topics.clear();
            }
            Self::DescribeGroups(response) => {
                for group in &mut response.groups {
                    *group = DescribedGroup {
                        group_id: std::mem::take(&mut group.group_id),
                        error_code: error,
                        ..DescribedGroup::default()
                    };
                }
            }
            Self::ListGroups(response) => {
                fail(&mut response.error_code);
                response.groups.clear();
            }
            Self::DeleteGroups(response) => {
                for result in &mut response.results {
                    fail(&mut result.error_code);
                }
            }
            Self::ConsumerGroupDescribe(response) => {
                for group in &mut response.groups {
                    *group = DescribedConsumerGroup {
                        group_id: std::mem::take(&mut group.group_id),
                        error_code: error,
                        ..DescribedConsumerGroup::default()
                    };
                }
            }
        }
        self
    }
}

/// Returns the answer to a JoinGroup that is refused.
pub(crate) fn join_error(version: i16, error: ErrorCode, member_id: String) -> JoinGroupResponse {
    for_join_version(
        version,
        JoinGroupResponse { error_code: error, member_id, ..JoinGroupResponse::default() },
    )
}

/// Writes "no protocol" as the version at hand does: empty before version 7, null since.
pub(crate) fn for_join_version(version: i16, mut response: JoinGroupResponse) -> JoinGroupResponse {
    let name = response.protocol_name.take().filter(|name| !name.is_empty());
    response.protocol_name = if version < 7 { Some(name.unwrap_or_default()) } else { name };
    response
}

/// Returns the answer to a SyncGroup that is refused.
pub(crate) fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error, ..SyncGroupResponse::default() }
}

/// Returns the answer to a heartbeat, or its refusal.
pub(crate) fn heartbeat_error(error: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse { error_code: error, ..HeartbeatResponse::default() }
}

#[cfg(test)]
mod tests {
    use kohort_protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
    use kohort_protocol::messages::describe_groups::DescribeGroupsRequest;
    use kohort_protocol::messages::heartbeat::HeartbeatRequest;
    use kohort_protocol::messages::leave_group::MemberResponse;
    use kohort_protocol::messages::list_groups::ListedGroup;
    use kohort_protocol::messages::offset_commit::{
        OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    };
    use kohort_protocol::messages::offset_delete::OffsetDeleteResponseTopic;
    use kohort_protocol::messages::offset_fetch::OffsetFetchResponseTopics;

    use super::*;

    const REFUSED: ErrorCode = ErrorCode::GROUP_AUTHORIZATION_FAILED;
    const LOST: ErrorCode = ErrorCode::COORDINATOR_NOT_AVAILABLE;

    #[test]
    fn heartbeat_succeeds_while_the_coordinator_loads_and_is_refused_otherwise() {
        let heartbeat: GroupRequest = HeartbeatRequest::default().into();
        for (error, expected) in [
            (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::NONE),
            (ErrorCode::NOT_COORDINATOR, ErrorCode::NOT_COORDINATOR),
        ] {
            assert_eq!(heartbeat.refuse(4, error), heartbeat_error(expected).into());
        }
    }

    #[test]
    fn refused_commit_names_every_partition_and_its_topic_as_the_version_does() {
        let id = kohort_protocol::Uuid::from_random([1; 16]);
        let partitions = [3, 5].map(|partition_index| OffsetCommitRequestPartition {
            partition_index,
            ..Default::default()
        });
        let topic = OffsetCommitRequestTopic {
            name: "t".to_owned(),
            topic_id: id,
            partitions: partitions.to_vec(),
        };
        let commit: GroupRequest =
            OffsetCommitRequest { topics: vec![topic], ..Default::default() }.into();
        let none = kohort_protocol::Uuid::ZERO;
        for (version, name, topic_id) in [(9, "t", none), (10, "", id)] {
            let GroupResponse::OffsetCommit(answer) = commit.refuse(version, REFUSED) else {
                panic!("a commit is answered as one");
            };
            let [topic] = &answer.topics[..] else { panic!("{answer:?}") };
            assert_eq!((&*topic.name, topic.topic_id), (name, topic_id));
            let told: Vec<_> =
                topic.partitions.iter().map(|it| (it.partition_index, it.error_code)).collect();
            assert_eq!(told, [(3, REFUSED), (5, REFUSED)]);
        }
    }

    #[test]
    fn answer_whose_records_are_lost_tells_nothing_of_what_they_said() {
        let group_id = || "g".to_owned();
        let members = vec![MemberResponse::default()];
        let topics = vec![OffsetDeleteResponseTopic::default()];
        let groups = vec![ListedGroup::default()];
        let cases: [(GroupResponse, GroupResponse); 7] = [
            (
                LeaveGroupResponse { members, ..Default::default() }.into(),
                LeaveGroupResponse { error_code: LOST, ..Default::default() }.into(),
            ),
            (
                OffsetDeleteResponse { topics, ..Default::default() }.into(),
                OffsetDeleteResponse { error_code: LOST, ..Default::default() }.into(),
            ),
            (
                ListGroupsResponse { groups, ..Default::default() }.into(),
                ListGroupsResponse { error_code: LOST, ..Default::default() }.into(),
            ),
            (
                OffsetFetchResponse::default().into(),
                OffsetFetchResponse { error_code: LOST, ..Default::default() }.into(),
            ),
            (fetched(ErrorCode::NONE, 7), fetched(LOST, 0)),
            (
                DescribeGroupsResponse {
                    groups: vec![DescribedGroup {
                        group_id: group_id(),
                        group_state: "Stable".to_owned(),
                        ..Default::default()
                    }],
                    ..Default::default()
                }
                .into(),
                GroupRequest::from(DescribeGroupsRequest {
                    groups: vec![group_id()],
                    ..Default::default()
                })
                .refuse(0, LOST),
            ),
            (
                ConsumerGroupDescribeResponse {
                    groups: vec![DescribedConsumerGroup {
                        group_id: group_id(),
                        group_epoch: 3,
                        ..Default::default()
                    }],
                    ..Default::default()
                }
                .into(),
                GroupRequest::from(ConsumerGroupDescribeRequest {
                    group_ids: vec![group_id()],
                    ..Default::default()
                })
                .refuse(0, LOST),
            ),
        ];
        for (answer, expected) in cases {
            assert_eq!(answer.into_failed(LOST), expected);
        }
    }

    #[test]
    fn answer_that_was_a_refusal_keeps_its_reason_when_records_are_lost() {
        let refused: [GroupResponse; 7] = [
            join_error(9, REFUSED, "m".to_owned()).into(),
            sync_error(REFUSED).into(),
            heartbeat_error(REFUSED).into(),
            LeaveGroupResponse { error_code: REFUSED, ..Default::default() }.into(),
            OffsetDeleteResponse { error_code: REFUSED, ..Default::default() }.into(),
            ConsumerGroupHeartbeatResponse { error_code: REFUSED, ..Default::default() }.into(),
            fetched(REFUSED, 0),
        ];
        for answer in refused {
            assert_eq!(answer.clone().into_failed(LOST), answer);
        }
    }

    /// The answer to a fetch of one group with so many topics.
    fn fetched(error_code: ErrorCode, topics: usize) -> GroupResponse {
        let topics = vec![OffsetFetchResponseTopics::default(); topics];
        let group_id = "g".to_owned();
        let group = OffsetFetchResponseGroup { group_id, error_code, topics };
        OffsetFetchResponse { groups: vec![group], ..Default::default() }.into()
    }
}
