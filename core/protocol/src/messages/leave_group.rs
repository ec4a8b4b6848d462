//! LeaveGroup (key 13): members leave a classic group; from version 3 several at once (KIP-345).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Takes members out of their group.
    pub struct LeaveGroupRequest: LeaveGroup [0..=5, flexible 4..] {
        /// The group.
        group_id: String [0..],
        /// The member's id.
        member_id: String [0..=2],
        /// The members to take out.
        members: Vec<MemberIdentity> [3..],
    }

    /// A member to take out, by member id or instance id.
    pub struct MemberIdentity {
        /// The member's id; empty if only the instance id is known.
        member_id: String [3..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [3.., nullable 3..],
        /// Why, in the client's words, for the broker's log (KIP-800), or null.
        reason: Option<String> [5.., nullable 5..],
    }
}

message! {
    /// Says for each member whether it left.
    pub struct LeaveGroupResponse: LeaveGroup [0..=5, flexible 4..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// Everyone in the group.
        members: Vec<MemberResponse> [3..],
    }

    /// The outcome for one member.
    pub struct MemberResponse {
        /// The member's id.
        member_id: String [3..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [3.., nullable 3..] = Some(String::new()),
        /// What went wrong, if anything did.
        error_code: ErrorCode [3..],
    }
}
