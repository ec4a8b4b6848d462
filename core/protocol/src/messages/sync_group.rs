//! SyncGroup (key 14): the leader of a classic group hands in assignments, all members collect
//! theirs.

use bytes::Bytes;

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the member's assignment and, from the leader, brings everyone's.
    pub struct SyncGroupRequest: SyncGroup [0..=5, flexible 4..] {
        /// The group.
        group_id: String [0..],
        /// The generation the member believes to be current.
        generation_id: i32 [0..],
        /// The member's id.
        member_id: String [0..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [3.., nullable 3..],
        /// The kind of group; `consumer` for consumers.
        protocol_type: Option<String> [5.., nullable 5..],
        /// The protocol chosen for the generation.
        protocol_name: Option<String> [5.., nullable 5..],
        /// Who gets what; only the leader fills it.
        assignments: Vec<SyncGroupRequestAssignment> [0..],
    }

    /// What one member gets.
    pub struct SyncGroupRequestAssignment {
        /// The member's id.
        member_id: String [0..],
        /// What the member gets, in the protocol's own format.
        assignment: Bytes [0..],
    }
}

message! {
    /// Brings the member its assignment.
    pub struct SyncGroupResponse: SyncGroup [0..=5, flexible 4..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The kind of group; `consumer` for consumers.
        protocol_type: Option<String> [5.., nullable 5..],
        /// The protocol chosen for the generation.
        protocol_name: Option<String> [5.., nullable 5..],
        /// What the member gets, in the protocol's own format; for consumers a
        /// ConsumerProtocolAssignment.
        assignment: Bytes [0..],
    }
}
