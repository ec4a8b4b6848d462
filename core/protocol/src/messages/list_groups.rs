//! ListGroups (key 16): the groups a broker coordinates (KIP-518 and KIP-848 added filters).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the groups of a broker.
    pub struct ListGroupsRequest: ListGroups [0..=5, flexible 3..] {
        /// Only groups in these states; empty for all.
        states_filter: Vec<String> [4..],
        /// Only groups of these types; empty for all.
        types_filter: Vec<String> [5..],
    }
}

message! {
    /// Lists groups.
    pub struct ListGroupsResponse: ListGroups [0..=5, flexible 3..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The groups.
        groups: Vec<ListedGroup> [0..],
    }

    /// A group in brief.
    pub struct ListedGroup {
        /// The group.
        group_id: String [0..],
        /// The kind of group; `consumer` for consumers.
        protocol_type: String [0..],
        /// The group's state, such as `Stable`.
        group_state: String [4..],
        /// The group's type: `classic`, `consumer`, `share` or `streams`.
        group_type: String [5..],
    }
}
