//! What a group shard is asked and what it answers: Kafka's own messages, with the facts about the
//! caller that are not in them.

use std::sync::Arc;

use kohort_protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use kohort_protocol::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use kohort_protocol::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use kohort_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use kohort_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use kohort_protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use kohort_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use kohort_protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use kohort_protocol::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use kohort_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use kohort_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use kohort_protocol::{EncodeError, ErrorCode, Message, Writer};

use super::record::LONGEST_NAME;

/// A request with what is known about its sender.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupCall {
    /// Who asks, and in which version.
    pub context: RequestContext,
    /// What is asked.
    pub request: GroupRequest,
}

/// The facts about a request that its body does not carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The version the request came in; the reply will be written in the same one.
    pub api_version: i16,
    /// The client id of the request's header, empty if it had none.
    pub client_id: Arc<str>,
    /// The address of the peer as Kafka prints it, for example `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// Which connection the request came over.
    pub connection: ConnectionId,
}

/// Names one connection of one broker run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

macro_rules! calls {
    ($($name:ident: $request:ty => $response:ty,)*) => {
        /// A request to the group coordinator.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the variants are named after Kafka's APIs")]
        pub enum GroupRequest {
            $($name($request),)*
        }

        /// The group coordinator's answer to the [`GroupRequest`] of the same name.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the variants are named after Kafka's APIs")]
        pub enum GroupResponse {
            $($name($response),)*
        }

        impl GroupResponse {
            /// Writes the response's body as `version` has it.
            pub fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(response) => response.encode(writer, version),)*
                }
            }

            /// Returns every error code in the response but for those that say that all went well.
            pub fn errors(&self) -> Vec<ErrorCode> {
                match self {
                    $(Self::$name(response) => response.errors(),)*
                }
            }
        }

        $(
            impl From<$request> for GroupRequest {
                fn from(request: $request) -> Self {
                    Self::$name(request)
                }
            }

            impl From<$response> for GroupResponse {
                fn from(response: $response) -> Self {
                    Self::$name(response)
                }
            }
        )*
    };
}

calls! {
    JoinGroup: JoinGroupRequest => JoinGroupResponse,
    SyncGroup: SyncGroupRequest => SyncGroupResponse,
    Heartbeat: HeartbeatRequest => HeartbeatResponse,
    LeaveGroup: LeaveGroupRequest => LeaveGroupResponse,
    OffsetCommit: OffsetCommitRequest => OffsetCommitResponse,
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse,
    OffsetDelete: OffsetDeleteRequest => OffsetDeleteResponse,
    DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse,
    ListGroups: ListGroupsRequest => ListGroupsResponse,
    DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse,
    ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse,
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse,
}

impl GroupRequest {
    /// Tells whether a member sends it for itself, so that its connection is the member's.
    pub fn speaks_for_a_member(&self) -> bool {
        match self {
            Self::JoinGroup(_)
            | Self::SyncGroup(_)
            | Self::Heartbeat(_)
            | Self::ConsumerGroupHeartbeat(_) => true,
            Self::OffsetCommit(request) => !request.member_id.is_empty(),
            _ => false,
        }
    }

    /// Returns the id of the member it speaks for; empty if there is none, or none yet.
    pub fn member_id(&self) -> &str {
        match self {
            Self::JoinGroup(request) => &request.member_id,
            Self::SyncGroup(request) => &request.member_id,
            Self::Heartbeat(request) => &request.member_id,
            Self::ConsumerGroupHeartbeat(request) => &request.member_id,
            Self::OffsetCommit(request) => &request.member_id,
            _ => "",
        }
    }

    /// Tells whether who sends it is no member yet.
    pub fn begins_a_membership(&self) -> bool {
        match self {
            Self::JoinGroup(request) => request.member_id.is_empty(),
            Self::ConsumerGroupHeartbeat(request) => request.member_epoch == 0,
            _ => false,
        }
    }
}

/// Checks an id that must be there. Commits may go to the group without a name, as in Kafka.
pub(crate) fn check_group_id(group_id: &str) -> Result<(), ErrorCode> {
    if group_id.is_empty() || group_id.len() > LONGEST_NAME {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_speak_by_what_keeps_them_in_the_group_and_by_commits_in_their_name() {
        let member_id = || "m".to_owned();
        let speaks: [GroupRequest; 5] = [
            JoinGroupRequest { member_id: member_id(), ..Default::default() }.into(),
            SyncGroupRequest { member_id: member_id(), ..Default::default() }.into(),
            HeartbeatRequest { member_id: member_id(), ..Default::default() }.into(),
            ConsumerGroupHeartbeatRequest {
                member_id: member_id(),
                member_epoch: 1,
                ..Default::default()
            }
            .into(),
            OffsetCommitRequest { member_id: member_id(), ..Default::default() }.into(),
        ];
        for request in speaks {
            let told = (request.speaks_for_a_member(), request.member_id());
            assert_eq!(told, (true, "m"), "{request:?}");
            assert!(!request.begins_a_membership(), "{request:?}");
        }
        let others: [GroupRequest; 3] = [
            OffsetCommitRequest::default().into(),
            OffsetFetchRequest::default().into(),
            LeaveGroupRequest { member_id: member_id(), ..Default::default() }.into(),
        ];
        for request in others {
            let told = (request.speaks_for_a_member(), request.member_id());
            assert_eq!(told, (false, ""), "{request:?}");
            assert!(!request.begins_a_membership(), "{request:?}");
        }
        let founders: [GroupRequest; 2] = [
            JoinGroupRequest::default().into(),
            ConsumerGroupHeartbeatRequest { member_id: member_id(), ..Default::default() }.into(),
        ];
        for request in founders {
            assert!(request.begins_a_membership(), "{request:?}");
        }
    }
}
