//! DescribeGroups (key 15), request and response.

use bytes::Bytes;

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct DescribeGroupsRequest: DescribeGroups [0..=6, flexible 5..] {
        groups: Vec<String> [0..],
        include_authorized_operations: bool [3..],
    }
}

message! {
    pub struct DescribeGroupsResponse: DescribeGroups [0..=6, flexible 5..] {
        throttle_time_ms: i32 [1..],
        groups: Vec<DescribedGroup> [0..],
    }

    pub struct DescribedGroup {
        error_code: ErrorCode [0..],
        error_message: Option<String> [6.., nullable 6..],
        group_id: String [0..],
        group_state: String [0..],
        protocol_type: String [0..],
        protocol_data: String [0..],
        members: Vec<DescribedGroupMember> [0..],
        authorized_operations: i32 [3..] = i32::MIN,
    }

    pub struct DescribedGroupMember {
        member_id: String [0..],
        group_instance_id: Option<String> [4.., nullable 4..],
        client_id: String [0..],
        client_host: String [0..],
        member_metadata: Bytes [0..],
        member_assignment: Bytes [0..],
    }
}
