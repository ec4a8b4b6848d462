//! LeaveGroup (key 13), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct LeaveGroupRequest: LeaveGroup [0..=5, flexible 4..] {
        group_id: String [0..],
        member_id: String [0..=2],
        members: Vec<MemberIdentity> [3..],
    }

    pub struct MemberIdentity {
        member_id: String [3..],
        group_instance_id: Option<String> [3.., nullable 3..],
        reason: Option<String> [5.., nullable 5..],
    }
}

message! {
    pub struct LeaveGroupResponse: LeaveGroup [0..=5, flexible 4..] {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
        members: Vec<MemberResponse> [3..],
    }

    pub struct MemberResponse {
        member_id: String [3..],
        group_instance_id: Option<String> [3.., nullable 3..] = Some(String::new()),
        error_code: ErrorCode [3..],
    }
}
