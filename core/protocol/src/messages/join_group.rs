//! JoinGroup (key 11): a member enters a classic group or rejoins it in a rebalance.
//!
//! Version 4 makes a new member ask twice, with the id it was given (KIP-394); 5 brought static
//! members (KIP-345); 9 lets the coordinator take over assigning from the leader (KIP-814).

use bytes::Bytes;

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks the coordinator to let a member into its group.
    pub struct JoinGroupRequest: JoinGroup [0..=9, flexible 6..] {
        /// The group.
        group_id: String [0..],
        /// After how many milliseconds without heartbeat the member is taken out.
        session_timeout_ms: i32 [0..],
        /// How many milliseconds the member may take to rejoin; -1 means the session timeout.
        rebalance_timeout_ms: i32 [1..] = -1,
        /// The member's id; empty for a new member.
        member_id: String [0..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [5.., nullable 5..],
        /// The kind of group; `consumer` for consumers.
        protocol_type: String [0..],
        /// What the member can speak, most wanted first.
        protocols: Vec<JoinGroupRequestProtocol> [0..],
        /// Why, in the client's words, for the broker's log (KIP-800), or null.
        reason: Option<String> [8.., nullable 8..],
    }

    /// A protocol the member can speak, with what it has to say in it.
    pub struct JoinGroupRequestProtocol {
        /// The protocol; for consumers the assignor's name.
        name: String [0..],
        /// What the member says in it; for consumers a ConsumerProtocolSubscription.
        metadata: Bytes [0..],
    }
}

message! {
    /// Tells the member its generation and, if it leads, who the members are.
    pub struct JoinGroupResponse: JoinGroup [0..=9, flexible 6..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [2..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The generation that begins, or -1.
        generation_id: i32 [0..] = -1,
        /// The kind of group; `consumer` for consumers.
        protocol_type: Option<String> [7.., nullable 7..],
        /// The protocol chosen for the generation.
        protocol_name: Option<String> [0.., nullable 7..] = Some(String::new()),
        /// The leader's member id.
        leader: String [0..],
        /// Whether the leader must not assign, because the coordinator keeps the assignments
        /// (KIP-814).
        skip_assignment: bool [9..],
        /// The id the coordinator knows the member by.
        member_id: String [0..],
        /// The members, for the leader; others get none.
        members: Vec<JoinGroupResponseMember> [0..],
    }

    /// A member, as the leader needs to know it.
    pub struct JoinGroupResponseMember {
        /// The member's id.
        member_id: String [0..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [5.., nullable 5..],
        /// What the member says in the protocol chosen.
        metadata: Bytes [0..],
    }
}
