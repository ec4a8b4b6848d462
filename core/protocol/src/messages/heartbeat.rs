//! Heartbeat (key 12): a member of a classic group says that it lives.

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Keeps a member's session alive.
    pub struct HeartbeatRequest: Heartbeat [0..=4, flexible 4..] {
        /// The group.
        group_id: String [0..],
        /// The generation the member believes to be current.
        generation_id: i32 [0..],
        /// The member's id.
        member_id: String [0..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [3.., nullable 3..],
        /// For how many milliseconds the coordinator may hold the answer unless something happens
        /// before. A field of Kohort's own: others pass over it and answer at once.
        hold_ms: i32 [4.., tag 19272],
    }
}

message! {
    /// Says whether the member may go on, must rejoin or is no longer known.
    pub struct HeartbeatResponse: Heartbeat [0..=4, flexible 4..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
    }
}
