//! DescribeGroups (key 15): the state of classic groups.

use bytes::Bytes;

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the state of classic groups.
    pub struct DescribeGroupsRequest: DescribeGroups [0..=6, flexible 5..] {
        /// The groups of interest.
        groups: Vec<String> [0..],
        /// Whether to tell what the caller may do with each group.
        include_authorized_operations: bool [3..],
    }
}

message! {
    /// Tells the state of each group asked for.
    pub struct DescribeGroupsResponse: DescribeGroups [0..=6, flexible 5..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// The groups.
        groups: Vec<DescribedGroup> [0..],
    }

    /// A classic group and its members.
    pub struct DescribedGroup {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [6.., nullable 6..],
        /// The group.
        group_id: String [0..],
        /// The group's state, such as `Stable`; empty after an error.
        group_state: String [0..],
        /// The kind of group; `consumer` for consumers.
        protocol_type: String [0..],
        /// The protocol in use, or empty.
        protocol_data: String [0..],
        /// Everyone in the group.
        members: Vec<DescribedGroupMember> [0..],
        /// What the caller may do with the group, one bit per operation; i32::MIN if it was not
        /// asked for.
        authorized_operations: i32 [3..] = i32::MIN,
    }

    /// A member of a classic group.
    pub struct DescribedGroupMember {
        /// The member's id.
        member_id: String [0..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [4.., nullable 4..],
        /// What the member's client calls itself.
        client_id: String [0..],
        /// Where the member connects from.
        client_host: String [0..],
        /// What the member said about itself, in the protocol's own format.
        member_metadata: Bytes [0..],
        /// What the member gets, in the protocol's own format.
        member_assignment: Bytes [0..],
    }
}
